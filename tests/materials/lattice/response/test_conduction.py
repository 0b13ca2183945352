"""Effective conductivity against closed forms, Kirchhoff's laws solved densely, and bounds."""

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice import LatticeBatch, Square, StrutLattice, Tube, effective_conductivity
from polyad.materials.lattice.response import conduction
from polyad.testing import assert_gradient_matches, assert_positive_semidefinite, assert_rotation_covariant
from tests.materials.lattice.seeds import (
    body_centred,
    body_centred_with_cube,
    diamond,
    kelvin,
    octet,
    random_net,
    simple_cubic,
)

IDENTITY = torch.eye(3, dtype=torch.float64)


def kirchhoff(lattice, conductivity):
    """Node potentials by the pseudo-inverse of the Laplacian."""
    vectors, length = lattice.edge_vectors.numpy(), lattice.edge_lengths.numpy()
    g = np.broadcast_to(conductivity, len(length)) * np.pi * lattice.radius.numpy() ** 2 / length
    incidence = np.zeros((len(length), lattice.num_nodes))
    for e, (i, j) in enumerate(lattice.edge_index.T.tolist()):
        incidence[e, j] += 1
        incidence[e, i] -= 1
    load = incidence.T @ (g[:, None] * vectors)
    laplacian = incidence.T @ (g[:, None] * incidence)
    direct = vectors.T @ (g[:, None] * vectors)
    return (direct - load.T @ np.linalg.pinv(laplacian, rcond=1e-12, hermitian=True) @ load) / float(lattice.volume)


@pytest.mark.parametrize(
    "lattice", [simple_cubic(), body_centred(), octet(), diamond(), kelvin(), body_centred_with_cube(), octet().tile(3)]
)
def test_cubic_lattices_reach_the_bound(lattice):
    found = effective_conductivity(lattice, conductivity=5.0)
    torch.testing.assert_close(found, 5.0 * lattice.relative_density / 3 * IDENTITY, rtol=1e-12, atol=1e-15)


def test_honeycomb_prism_conducts_half_its_walls_in_the_plane():
    root = np.sqrt(3)
    cell = [[root, 0, 0], [root / 2, 1.5, 0], [0, 0, 0.7]]
    edge_index = [[0, 0, 0, 0, 1], [1, 1, 1, 0, 1]]
    shift = [[0, 0, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1], [0, 0, 1]]
    lattice = StrutLattice(cell, [[0, 0, 0], [root / 2, 0.5, 0]], edge_index, shift, [0.05] * 3 + [0.08] * 2)
    assert lattice.edge_lengths[:3].tolist() == pytest.approx([1, 1, 1])
    strut = np.pi * lattice.radius.square() * lattice.edge_lengths / lattice.volume
    walls, posts = float(strut[:3].sum()), float(strut[3:].sum())
    expected = torch.diag(torch.tensor([walls / 2, walls / 2, posts], dtype=torch.float64))
    torch.testing.assert_close(effective_conductivity(lattice), expected, rtol=1e-12, atol=1e-15)


def test_struts_in_series_add_their_resistances():
    # a straight chain of two materials along x beside posts along y and z
    lattice = StrutLattice(
        np.diag([1.0, 2.0, 3.0]),
        [[0, 0, 0], [0.3, 0, 0]],
        [[0, 1, 0, 0], [1, 0, 0, 0]],
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]],
        0.1,
    )
    solid = torch.tensor([2.0, 0.5, 1.0, 7.0], dtype=torch.float64)
    area = np.pi * 0.1**2
    expected = [area / (0.3 / 2.0 + 0.7 / 0.5) / 6, 2 * area / 6, 7 * 3 * area / 6]
    found = effective_conductivity(lattice, conductivity=solid)
    torch.testing.assert_close(found, torch.diag(torch.tensor(expected, dtype=torch.float64)), rtol=1e-12, atol=1e-15)


def nets():
    return [random_net(k, nodes=2 + 5 * k, radius=3e-3) for k in range(8)] + [octet(), kelvin().tile(2)]


def test_a_ragged_batch_matches_kirchhoffs_laws_and_keeps_the_bound():
    batch = LatticeBatch.from_lattices(nets())
    solid = 0.1 + torch.rand(len(batch.radius), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = effective_conductivity(batch, conductivity=solid)
    assert_positive_semidefinite(found, tolerance=1e-10)
    for k, lattice in enumerate(nets()):
        own = solid[int(batch.edge_start[k]) : int(batch.edge_start[k + 1])]
        expected = torch.from_numpy(kirchhoff(lattice, own.numpy()))
        assert float((found[k] - expected).norm() / expected.norm()) < 1e-9
        torch.testing.assert_close(effective_conductivity(lattice, conductivity=own), found[k], rtol=1e-9, atol=1e-15)
        parallel = (own * np.pi * lattice.radius**2 * lattice.edge_lengths).sum() / lattice.volume
        assert float(found[k].trace()) <= float(parallel) * (1 + 1e-12)


def test_conjugate_gradients_find_the_same(monkeypatch):
    batch = LatticeBatch.from_lattices(nets())
    expected = effective_conductivity(batch)
    monkeypatch.setattr(conduction, "LARGEST_DENSE", 10)
    found = effective_conductivity(batch)
    assert float((found - expected).norm() / expected.norm()) < 1e-12


def test_a_large_block_is_solved_and_equals_its_cell():
    lattice = random_net(3, nodes=40, radius=1e-3)
    assert lattice.tile(3).num_nodes > conduction.LARGEST_DENSE
    expected = effective_conductivity(lattice)
    assert float((effective_conductivity(lattice.tile(3)) - expected).norm() / expected.norm()) < 1e-10
    # symmetry leaves no load at all in a large octet block
    torch.testing.assert_close(
        effective_conductivity(octet().tile(9)), octet().relative_density / 3 * IDENTITY, rtol=1e-10, atol=1e-13
    )


@pytest.mark.parametrize("seed", range(2))
def test_description_of_the_same_material_does_not_matter(seed):
    lattice = random_net(seed)
    expected = effective_conductivity(lattice)
    others = (
        lattice.tile((2, 1, 3)),
        lattice.change_cell([[1, 2, 0], [0, 1, -1], [1, 2, 1]]),
        lattice.subdivide(3),
        lattice.translate([0.3, -1.2, 0.7]).wrap(),
        lattice.replace(edge_index=lattice.edge_index.flip(0), edge_shift=-lattice.edge_shift),
    )
    for other in others:
        assert float((effective_conductivity(other) - expected).norm() / expected.norm()) < 1e-9
    assert_rotation_covariant(
        lambda cell, positions: effective_conductivity(lattice.replace(cell=cell, positions=positions)),
        [lattice.cell, lattice.positions],
        act_on_input=lambda q, x: x @ q.T,
        act_on_output=lambda q, x: q @ x @ q.T,
        count=3,
    )


def test_islands_chains_and_sheets_conduct_where_they_repeat():
    area = np.pi * 0.02**2
    edges = [(0, 0), (0, 0), (1, 1), (2, 3), (3, 4), (4, 2)]  # a sheet, a chain and a triangle
    shift = [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    positions = [[0, 0, 0], [0, 0.5, 0.5], [0.2, 0.2, 0.2], [0.4, 0.2, 0.3], [0.3, 0.4, 0.2]]
    lattice = StrutLattice(np.eye(3), positions, np.array(edges).T, shift, 0.02)
    expected = torch.diag(torch.tensor([2 * area, area, 0.0], dtype=torch.float64))
    torch.testing.assert_close(effective_conductivity(lattice), expected, rtol=1e-12, atol=1e-16)
    # and a node without any strut
    lonely = lattice.replace(positions=torch.cat([lattice.positions, torch.full((1, 3), 0.7, dtype=torch.float64)]))
    torch.testing.assert_close(effective_conductivity(lonely), expected, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("largest_dense", [100, 1])
def test_gradient_by_cell_positions_radii_and_conductivity(monkeypatch, largest_dense):
    monkeypatch.setattr(conduction, "LARGEST_DENSE", largest_dense)
    net = random_net(7, nodes=4, extra=3, radius=0.03)

    def conduct(cell, positions, radius, solid):
        lattice = StrutLattice(cell, positions, net.edge_index, net.edge_shift, radius)
        return 100 * effective_conductivity(lattice, conductivity=solid, tolerance=1e-12)

    solid = torch.linspace(0.5, 2.0, net.num_edges, dtype=torch.float64)
    assert_gradient_matches(conduct, (net.cell, net.positions, net.radius, solid), tolerance=1e-6)


def test_second_derivatives_are_refused_not_wrong():
    net = random_net(7, nodes=4, extra=3, radius=0.03)
    radius = net.radius.clone().requires_grad_()
    value = effective_conductivity(net.replace(radius=radius)).trace()
    with pytest.raises(InputError, match="second derivatives"):
        torch.autograd.grad(value, radius, create_graph=True)


def test_sections_and_dtype_follow_the_input():
    lattice = random_net(1)
    solid = effective_conductivity(lattice)
    torch.testing.assert_close(effective_conductivity(lattice, section=Tube(0.6)), (1 - 0.36) * solid)
    torch.testing.assert_close(effective_conductivity(lattice, section=Square()), 4 / np.pi * solid)
    single = effective_conductivity(lattice.to(dtype=torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), solid, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("solid", [0.0, -1.0, float("nan"), torch.ones(2)])
def test_bad_conductivity_is_named(solid):
    with pytest.raises(InputError, match="conductivity"):
        effective_conductivity(octet(), conductivity=solid)
