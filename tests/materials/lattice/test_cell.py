"""Lattices as values: densities, operations that keep the material, graph export, validation."""

import math

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice import LatticeBatch, StrutLattice
from tests.materials.lattice.seeds import body_centred, kelvin, octet, random_net, random_rotation, simple_cubic


def strut_set(lattice):
    """All struts as rounded (midpoint modulo the cell, direction up to sign, radius): geometry without names."""
    start = lattice.positions[lattice.edge_index[0]]
    middle = torch.linalg.solve(lattice.cell.T, (start + lattice.edge_vectors / 2).T).T
    rows = set()
    for m, v, r in zip(middle, lattice.edge_vectors, lattice.radius, strict=True):
        wrapped = tuple(round(float(x) % 1 + 1e-9, 6) % 1 for x in m)
        sign = 1 if tuple(v.tolist()) > (0, 0, 0) else -1
        rows.add((wrapped, tuple(round(sign * float(x) + 0.0, 6) for x in v), round(float(r), 8)))
    return rows


def test_edge_vectors_follow_their_definition():
    lattice = random_net(0)
    for e in range(lattice.num_edges):
        i, j = lattice.edge_index[:, e].tolist()
        expected = lattice.positions[j] - lattice.positions[i] + lattice.edge_shift[e].double() @ lattice.cell
        torch.testing.assert_close(lattice.edge_vectors[e], expected)


@pytest.mark.parametrize(("lattice", "struts", "length"), [(simple_cubic(), 3, 1.0), (octet(), 24 / 4, 0.5**0.5)])
def test_density_and_its_inverse(lattice, struts, length):
    radius = float(lattice.radius[0])
    expected = struts * math.pi * radius**2 * length / float(lattice.volume)
    assert float(lattice.relative_density) == pytest.approx(expected, rel=1e-12)
    assert float(lattice.with_density(0.02, uniform=True).relative_density) == pytest.approx(0.02, rel=1e-12)
    uneven = random_net(3)
    scaled = uneven.with_density(1e-4)
    torch.testing.assert_close(scaled.radius / scaled.radius[0], uneven.radius / uneven.radius[0])
    assert float(scaled.relative_density) == pytest.approx(1e-4, rel=1e-12)


def test_connectivity():
    assert simple_cubic().connectivity == 6
    assert octet().connectivity == 12
    assert body_centred().coordination.tolist() == [8]
    assert kelvin().coordination.tolist() == [4] * 6
    assert kelvin().num_edges == 12


def test_tiling_places_every_strut_where_it_was():
    net = random_net(4)
    counts = (2, 1, 3)
    big = net.tile(counts)
    assert (big.num_nodes, big.num_edges) == (net.num_nodes * 6, net.num_edges * 6)
    expected = set()
    fraction = torch.linalg.solve(big.cell.T, net.cell.T).T  # the small cell in units of the large one
    start = net.positions[net.edge_index[0]]
    middle = torch.linalg.solve(big.cell.T, (start + net.edge_vectors / 2).T).T
    for a in range(2):
        for c in range(3):
            moved = middle + a * fraction[0] + c * fraction[2]
            for m, v, r in zip(moved, net.edge_vectors, net.radius, strict=True):
                sign = 1 if tuple(v.tolist()) > (0, 0, 0) else -1
                wrapped = tuple(round(float(x) % 1 + 1e-9, 6) % 1 for x in m)
                expected.add((wrapped, tuple(round(sign * float(x) + 0.0, 6) for x in v), round(float(r), 8)))
    assert strut_set(big) == expected


def test_wrapping_moves_nodes_into_the_cell_and_no_strut():
    net = random_net(5).translate([2.3, -7.7, 0.4])
    wrapped = net.wrap()
    fractional = wrapped.fractional
    assert bool(((fractional > -1e-12) & (fractional < 1)).all())
    torch.testing.assert_close(wrapped.edge_vectors, net.edge_vectors, rtol=0, atol=1e-12)
    assert strut_set(wrapped) == strut_set(net)


def test_a_node_on_the_face_wraps_to_zero():
    lattice = StrutLattice(np.eye(3), [[1 - 1e-16, 1.0, -1e-17]], [[0], [0]], [[1, 0, 0]], 0.1)
    assert lattice.wrap().positions.abs().max() < 1e-12


def test_rotation_turns_every_strut():
    net, rotation = random_net(6), random_rotation(1, reflect=True)
    torch.testing.assert_close(net.rotate(rotation).edge_vectors, net.edge_vectors @ rotation.T)


def test_subdivision_cuts_into_equal_pieces():
    net = random_net(7)
    cut = net.subdivide(4)
    torch.testing.assert_close(cut.edge_lengths, (net.edge_lengths / 4).repeat_interleave(4))
    torch.testing.assert_close(cut.relative_density, net.relative_density)
    assert bool((cut.coordination[net.num_nodes :] == 2).all())


def test_perturbation_moves_every_node_by_its_length_and_repeats():
    net = octet(0.01).tile(2)
    moved = net.perturb(0.03, seed=4)
    torch.testing.assert_close((moved.positions - net.positions).norm(dim=1), torch.full((8,), 0.03).double())
    assert torch.equal(moved.positions, net.perturb(0.03, seed=4).positions)
    assert not torch.equal(moved.positions, net.perturb(0.03, seed=5).positions)


def test_selecting_struts_drops_bare_nodes():
    net = kelvin()
    keep = torch.zeros(12, dtype=torch.bool)
    keep[0] = True
    assert net.select_edges(keep).num_nodes == 2
    assert torch.equal(net.select_edges(~keep).edge_lengths, net.edge_lengths[1:])


def test_graph_has_both_directions():
    net = random_net(1)
    graph = net.to_graph()
    m = net.num_edges
    assert graph["edge_index"].shape == (2, 2 * m)
    torch.testing.assert_close(graph["edge_vectors"][m:], -graph["edge_vectors"][:m])
    start = net.positions[graph["edge_index"][0]]
    end = net.positions[graph["edge_index"][1]] + graph["edge_shift"].double() @ net.cell
    torch.testing.assert_close(end - start, graph["edge_vectors"])


def test_batch_returns_its_lattices():
    lattices = [random_net(k, nodes=3 + k) for k in range(4)]
    batch = LatticeBatch.from_lattices(lattices)
    assert len(batch) == 4
    for k in (0, 3, -1):
        for name in ("cell", "positions", "edge_index", "edge_shift", "radius"):
            assert torch.equal(getattr(batch[k], name), getattr(lattices[k], name))
    torch.testing.assert_close(batch.relative_density, torch.stack([x.relative_density for x in lattices]))
    torch.testing.assert_close(batch.volume, torch.stack([x.volume for x in lattices]))
    with pytest.raises(IndexError):
        batch[4]


def test_gradients_reach_every_lattice_of_a_batch():
    radius = [torch.full((3,), r, dtype=torch.float64, requires_grad=True) for r in (0.02, 0.03)]
    base = simple_cubic()
    batch = LatticeBatch.from_lattices([base.replace(radius=r) for r in radius])
    batch.relative_density.sum().backward()
    for r in radius:
        torch.testing.assert_close(r.grad, 2 * math.pi * r.detach())


GOOD = {
    "cell": np.eye(3),
    "positions": [[0.0, 0, 0], [0.5, 0.5, 0.5]],
    "edge_index": [[0, 0], [1, 1]],
    "edge_shift": [[0, 0, 0], [-1, 0, 0]],
    "radius": 0.05,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": np.ones((3, 3))}, "linearly dependent"),
        ({"cell": np.eye(2)}, "cell: shape"),
        ({"cell": np.diag([1, 1, np.inf])}, "cell: holds NaN"),
        ({"positions": [[0.0, 0, 0]]}, "names node 1"),
        ({"positions": [[0.0, 0, np.nan], [0.5, 0.5, 0.5]]}, "positions: holds NaN"),
        ({"positions": "abc"}, "positions: cannot be read"),
        ({"positions": [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]}, "zero length"),
        ({"positions": np.zeros((0, 3))}, "at least one of each"),
        ({"edge_index": [[0, 0], [1, 2]]}, "names node 2"),
        ({"edge_index": [[0, 0], [1, -1]]}, "edge_index"),
        ({"edge_index": [[0.5, 0], [1, 1]]}, "must hold integers"),
        ({"edge_shift": [[0, 0, 0]]}, "edge_shift: shape"),
        ({"edge_shift": [[0, 0, 0], [10**9, 0, 0]]}, "image index"),
        ({"radius": 0.0}, "must be positive"),
        ({"radius": [0.05, -0.05]}, "must be positive"),
        ({"radius": [0.05]}, "radius: shape"),
        ({"radius": 0.44}, "beyond half its length"),
        ({"radius": float("nan")}, "radius: holds NaN"),
    ],
)
def test_what_is_no_lattice_is_refused_by_name(change, message):
    StrutLattice(**GOOD)
    with pytest.raises(InputError, match=message) as caught:
        StrutLattice(**(GOOD | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x.with_density(-0.1), "density"),
        (lambda x: x.with_density(float("nan")), "density"),
        (lambda x: x.with_density(8.0), "beyond half"),
        (lambda x: x.rotate(2 * torch.eye(3).double()), "orthogonal"),
        (lambda x: x.tile(0), "counts"),
        (lambda x: x.tile((1, 2)), "counts"),
        (lambda x: x.change_cell([[2, 0, 0], [0, 1, 0], [0, 0, 1]]), "determinant"),
        (lambda x: x.subdivide(0), "pieces"),
        (lambda x: x.replace(colour=1), "unknown field"),
        (lambda x: LatticeBatch.from_lattices([]), "empty"),
        (lambda x: LatticeBatch.from_lattices([x, x.to(dtype=torch.float32)]), "dtype"),
        (lambda x: LatticeBatch.from_geometries(x), "batch sizes"),
    ],
)
def test_bad_arguments_of_operations_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call(octet())
