"""Reductions change the graph, never the material: densities, lengths and stiffness stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice import effective_stiffness
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.nets.named import named_cell
from polyad.materials.lattice.nets.reduction import (
    drop_duplicate_struts,
    merge_nodes,
    merge_struts,
    primitive,
    split_struts,
)


def same_material(a, b, tolerance=1e-8):
    first, second = effective_stiffness(a), effective_stiffness(b)
    assert float((first - second).norm() / first.norm()) < tolerance
    assert float(a.relative_density) == pytest.approx(float(b.relative_density), rel=1e-9)


@pytest.mark.parametrize("name", ["octet", "srs", "bcc_sc", "quartz"])
def test_merge_struts_inverts_subdivide(name):
    lattice = named_cell(name)
    back = merge_struts(lattice.subdivide(3))
    assert (back.num_nodes, back.num_edges) == (lattice.num_nodes, lattice.num_edges)
    assert torch.allclose(back.edge_lengths.sort().values, lattice.edge_lengths.sort().values, atol=1e-12)
    same_material(back, lattice)


def test_merge_struts_keeps_bends_other_radii_and_lines():
    bent = named_cell("kelvin").subdivide(2)
    bent = bent.replace(positions=bent.positions + 0.01 * torch.randn(bent.positions.shape, dtype=torch.float64))
    assert merge_struts(bent).num_nodes == bent.num_nodes
    thick = named_cell("simple_cubic").subdivide(2)
    thick = thick.replace(radius=thick.radius * torch.tensor([1.0, 2.0] * 3, dtype=torch.float64))
    assert merge_struts(thick).num_nodes == thick.num_nodes
    line = StrutLattice(np.eye(3), [[0, 0, 0], [0.5, 0, 0]], [[0, 1], [1, 0]], [[0, 0, 0], [1, 0, 0]], 0.01)
    assert merge_struts(line).num_nodes == 1


def test_merge_struts_only_where_allowed():
    lattice = named_cell("diamond").subdivide(2)
    only = torch.zeros(lattice.num_nodes, dtype=torch.bool)
    only[2] = True
    assert merge_struts(lattice, only=only).num_nodes == lattice.num_nodes - 1


def test_merge_nodes_across_faces():
    """Every node doubled, half of the copies displaced by lattice vectors and a little noise."""
    lattice = named_cell("bcc_sc").tile(2)
    noise = 1e-7 * torch.randn(lattice.num_nodes, 3, dtype=torch.float64)
    moved = lattice.positions + noise + torch.tensor([1, -2, 0], dtype=torch.float64) @ lattice.cell
    nodes = lattice.num_nodes
    index = lattice.edge_index.clone()
    index[1] += nodes  # targets are the copies
    shift = lattice.edge_shift - torch.tensor([1, -2, 0])
    doubled = StrutLattice(lattice.cell, torch.cat([lattice.positions, moved]), index, shift, lattice.radius)
    merged = merge_nodes(doubled, 1e-5)
    assert (merged.num_nodes, merged.num_edges) == (nodes, lattice.num_edges)
    same_material(merged, lattice, 1e-5)
    short = StrutLattice(np.eye(3), [[0, 0, 0], [0.01, 0, 0]], [[0], [1]], [[0, 0, 0]], 1e-4)
    with pytest.raises(InputError, match="no strut is left"):
        merge_nodes(short, 0.1)


def test_drop_duplicates():
    lattice = named_cell("octet")
    twice = StrutLattice(
        lattice.cell,
        lattice.positions,
        torch.cat([lattice.edge_index, lattice.edge_index.flip(0)], 1),
        torch.cat([lattice.edge_shift, -lattice.edge_shift]),
        torch.cat([lattice.radius, lattice.radius]),
    )
    once = drop_duplicate_struts(twice)
    assert once.num_edges == 6
    same_material(once, lattice)
    assert drop_duplicate_struts(lattice) is lattice


def test_split_at_crossings_and_on_struts():
    """Face diagonals that cross unjoined become the face-centred cell; a node on a strut cuts it."""
    crossing = StrutLattice(
        np.eye(3),
        [[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 1, 0, 1, 0, 2], [0, 2, 0, 3, 0, 3]],
        [[1, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 1], [0, 0, 0]],
        0.01,
    )
    joined = split_struts(crossing)
    reference = named_cell("face_centred")
    assert (joined.num_nodes, joined.num_edges) == (reference.num_nodes, reference.num_edges)
    same_material(joined, reference.replace(radius=torch.full((12,), 0.01, dtype=torch.float64)))
    touching = StrutLattice(
        np.eye(3) * 2, [[0, 0, 0], [1, 0, 0], [0.5, 0.7, 0]], [[0, 2], [1, 2]], [[0, 0, 0], [0, -1, 0]], 0.01
    )
    split = split_struts(touching)
    assert (split.num_nodes, split.num_edges) == (4, 4)


def test_split_parallel_overlap():
    """Two collinear struts that overlap: three pieces, the shared one once."""
    overlap = StrutLattice(
        np.eye(3) * 4,
        [[0, 0, 0], [2, 0, 0], [1, 0, 0], [3, 0, 0]],
        [[0, 2], [1, 3]],
        np.zeros((2, 3), int),
        0.01,
    )
    split = split_struts(overlap)
    assert sorted(split.edge_lengths.tolist()) == pytest.approx([1, 1, 1])
    assert split.num_nodes == 4


def test_split_leaves_proper_lattices_alone():
    for name in ("octet", "weaire_phelan", "chiral_cubic"):
        lattice = named_cell(name, density=0.001)
        split = split_struts(lattice)
        assert (split.num_nodes, split.num_edges) == (lattice.num_nodes, lattice.num_edges)


@pytest.mark.parametrize("name", ["bcc", "octet", "diamond", "kelvin", "ths", "rhombic_dodecahedron", "srs", "bcc_sc"])
def test_primitive_undoes_tiling_and_centring(name):
    small = named_cell(name)
    for large in (small.tile((2, 1, 3)), named_cell(name, primitive=False).tile((1, 2, 1))):
        found = primitive(large)
        assert (found.num_nodes, found.num_edges) == (small.num_nodes, small.num_edges)
        assert float(found.volume) == pytest.approx(float(small.volume))
        same_material(found, large)


def test_primitive_sees_radii():
    lattice = named_cell("simple_cubic").tile((2, 1, 1))
    radius = lattice.radius.clone()
    radius[0] *= 2
    assert primitive(lattice.replace(radius=radius)).num_nodes == 2
