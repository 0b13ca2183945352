"""Atomic structures and graphs of other libraries become the lattices that they should."""

from __future__ import annotations

import importlib.util
import itertools

import numpy as np
import pytest
import torch

from polyad.errors import FileFormatError, InputError
from polyad.materials.lattice import effective_stiffness
from polyad.materials.lattice.io import from_networkx, from_structure, load, to_networkx
from polyad.materials.lattice.io.structures import neighbours
from polyad.materials.lattice.nets.named import named_cell

needs_ase = pytest.mark.skipif(not importlib.util.find_spec("ase"), reason="ase is not installed")
needs_networkx = pytest.mark.skipif(not importlib.util.find_spec("networkx"), reason="networkx is not installed")


@needs_ase
@pytest.mark.parametrize(
    ("symbol", "structure", "cutoff", "name"),
    [
        ("C", "diamond", 1.6, "diamond"),
        ("Cu", "fcc", 2.7, "octet"),
        ("Fe", "bcc", 2.6, "bcc"),
        ("Po", "sc", 3.5, "simple_cubic"),
    ],
)
def test_crystals(symbol, structure, cutoff, name):
    from ase.build import bulk

    lattice = from_structure(bulk(symbol, structure), cutoff=cutoff)
    reference = named_cell(name)
    assert (lattice.num_nodes, lattice.num_edges) == (reference.num_nodes, reference.num_edges)
    # the same material up to its orientation: equal traces of C and of C^2
    a, b = effective_stiffness(lattice), effective_stiffness(reference)
    assert float(a.trace()) == pytest.approx(float(b.trace()))
    assert float((a @ a).trace()) == pytest.approx(float((b @ b).trace()))


def test_neighbours_against_all_images():
    rng = np.random.default_rng(0)
    cell = np.eye(3) + 0.4 * rng.standard_normal((3, 3))
    positions = 3 * rng.standard_normal((4, 3))
    index, shift = neighbours(cell, positions, 1.3)
    found = {(i, j, *s) for (i, j), s in zip(index.T.tolist(), shift.tolist(), strict=True)}
    count = 0
    for i, j in itertools.product(range(4), repeat=2):
        centre = np.rint((positions[i] - positions[j]) @ np.linalg.inv(cell)).astype(int)
        for step in itertools.product(range(-6, 7), repeat=3):
            s = centre + step
            d = np.linalg.norm(positions[j] + s @ cell - positions[i])
            if 1e-12 < d < 1.3:
                count += 1
                assert (i, j, *s) in found or (j, i, *(-s)) in found
    assert count == 2 * len(found)


@needs_ase
@pytest.mark.parametrize("suffix", ["cif", "vasp", "extxyz"])
def test_files(suffix, tmp_path):
    import ase.io
    from ase.build import bulk

    path = tmp_path / f"structure.{suffix}"
    ase.io.write(path, bulk("C", "diamond", cubic=True), format=suffix)
    with pytest.raises(FileFormatError, match="cutoff"):
        load(path)
    (record,) = load(path, cutoff=1.6, density=0.02)
    assert (record.lattice.num_nodes, record.lattice.num_edges) == (8, 16)
    assert record.density == 0.02
    with pytest.raises(FileFormatError, match="raise it"):
        load(path, cutoff=0.5)
    with pytest.raises(FileFormatError, match="lower the cutoff"):
        load(path, cutoff=500.0)


@needs_ase
def test_broken_cif(tmp_path):
    path = tmp_path / "x.cif"
    path.write_text("data_x\n_cell_length_a 1\nloop_\n_atom_site_fract_x\n0.1\n'unclosed\n")
    with pytest.raises(FileFormatError) as caught:
        load(path, cutoff=1.0)
    assert "\n" not in str(caught.value)


def test_pymatgen():
    core = pytest.importorskip("pymatgen.core")
    structure = core.Structure(core.Lattice.cubic(3.0), ["Po"], [[0, 0, 0]])
    assert from_structure(structure, cutoff=3.1).num_edges == 3


@needs_ase
def test_refused():
    from ase import Atoms

    with pytest.raises(InputError, match="not periodic"):
        from_structure(Atoms("H", [[0, 0, 0]]), cutoff=1.0)
    with pytest.raises(InputError, match=r"neither ase\.Atoms"):
        from_structure([1, 2], cutoff=1.0)
    with pytest.raises(InputError, match="cutoff"):
        from_structure(Atoms("H", [[0, 0, 0]], cell=np.eye(3), pbc=True), cutoff=-1.0)


@needs_networkx
def test_networkx_round_trip():
    lattice = named_cell("bcc_sc")
    lattice = lattice.replace(radius=lattice.radius * torch.linspace(1, 2, lattice.num_edges).double())
    graph = to_networkx(lattice)
    back = from_networkx(graph)
    a, b = effective_stiffness(lattice), effective_stiffness(back)
    assert torch.allclose(a, b, rtol=1e-9, atol=1e-9 * float(a.max()))
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (2, 11)
    with pytest.raises(InputError, match="MultiDiGraph"):
        from_networkx(graph.to_undirected())


@needs_networkx
def test_networkx_undirected_without_shifts():
    import networkx

    graph = networkx.Graph(cell=np.eye(3))
    graph.add_node("a", position=np.array([0.1, 0, 0]))
    graph.add_node("b", position=[0.9, 0, 0])
    graph.add_edge("a", "b")
    lattice = from_networkx(graph, density=1e-4)
    assert float(lattice.edge_lengths[0]) == pytest.approx(0.2)
    del graph.graph["cell"]
    with pytest.raises(InputError, match="cell"):
        from_networkx(graph)


@needs_networkx
def test_node_link_file_of_networkx(tmp_path):
    import json

    import networkx

    path = tmp_path / "graph.json"
    path.write_text(json.dumps(networkx.node_link_data(to_networkx(named_cell("srs")), edges="links")))
    (record,) = load(path)
    assert (record.lattice.num_nodes, record.lattice.num_edges) == (4, 6)


@pytest.mark.parametrize("far", [1e8, -1e8, 1e30])
def test_an_atom_far_away_is_refused(far):
    with pytest.raises(InputError, match="a million cells away"):
        neighbours(np.eye(3), np.array([[0.0, 0, 0], [far, 0, 0]]), 1.1)
