"""Space-group expansion: the group's own laws, and a naive expansion by positions as an oracle."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from polyad.errors import InputError
from polyad.materials.lattice.nets.net import unique_edges
from polyad.materials.lattice.nets.orbits import cell_from_parameters, expand_net, space_group

SYMBOLS = [
    "P1",
    "P-1",
    "C12/c1",
    "A12/n1",
    "P212121",
    "Fddd:2",
    "I41/amd:2",
    "R-3c:H",
    "R-3m:R",
    "P6122",
    "Ia-3d",
    "Fd-3m:2",
]


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("primitive", [True, False])
def test_table_multiplies_operations(symbol, primitive):
    group = space_group(symbol, primitive=primitive)
    points = np.random.default_rng(0).random((4, 3))
    once = group.images(points)
    twice = np.einsum("hij,ngj->nhgi", group.rotations, once) + group.translations[:, None]
    assert np.allclose(twice, once[:, group.product] + group.carry, atol=1e-12)
    operations = gemmi.find_spacegroup_by_name(symbol).operations()
    assert group.order == (len(operations.sym_ops) if primitive else len(list(operations)))


def test_all_230_groups_are_closed():
    for number in range(1, 231):
        group = space_group(str(number))
        rows = np.sort(group.product, axis=1)
        assert (rows == np.arange(group.order)).all(), number
        assert abs(abs(np.linalg.det(group.rotations)) - 1).max() < 1e-9


def naive(symbol, cell, sites, edges):
    """All nodes and edges of the conventional cell by comparing positions, one operation at a time."""
    operations = gemmi.find_spacegroup_by_name(symbol).operations()

    def apply(op, x):
        return np.array(op.rot) / 24 @ x + np.array(op.tran) / 24

    nodes = []
    for op in operations:
        for site in sites:
            x = apply(op, site)
            x -= np.floor(x + 1e-6)
            if not any(np.abs((x - y) - np.rint(x - y)).max() < 1e-3 for y in nodes):
                nodes.append(x)
    found = set()
    for op in operations:
        for a, b in edges:
            ends = []
            for x in (apply(op, a), apply(op, b)):
                k = next(k for k, y in enumerate(nodes) if np.abs((x - y) - np.rint(x - y)).max() < 1e-3)
                ends.append((k, np.rint(x - nodes[k]).astype(int)))
            (i, s), (j, t) = ends
            d = tuple((t - s).tolist())
            found.add(min((i, j, d), (j, i, tuple(-x for x in d))))
    return len(nodes), len(found)


NETS = {
    "srs": ("I4132", (1, 1, 1), [(0.125, 0.125, 0.125)], [((0.125, 0.125, 0.125), (0.125, -0.125, 0.375))]),
    "quartz": ("P6222", (1, 1, 1.06), [(0, 0.5, 0.16667)], [((0, 0.5, 0.16667), (0.5, 0.5, -0.16667))]),
    "general": (
        "Pbca",
        (1, 1.2, 0.9),
        [(0.1, 0.2, 0.3)],
        [((0.1, 0.2, 0.3), (0.6, 0.3, 0.7)), ((0.1, 0.2, 0.3), (-0.1, -0.2, -0.3))],
    ),
    "lonsdaleite": (
        "P63/mmc",
        (1, 1, 1.633),
        [(0.33333, 0.66667, 0.0625)],
        [
            ((0.33333, 0.66667, 0.0625), (0.33333, 0.66667, 0.4375)),
            ((0.33333, 0.66667, 0.0625), (0.66667, 0.33333, -0.0625)),
        ],
    ),
    "two sites": ("Fm-3m", (1, 1, 1), [(0, 0, 0), (0.25, 0.25, 0.25)], [((0, 0, 0), (0.25, 0.25, 0.25))]),
}


@pytest.mark.parametrize("name", NETS)
def test_against_naive_expansion(name):
    symbol, edges, sites, struts = NETS[name]
    gamma = 120.0 if symbol.startswith("P6") else 90.0
    cell = cell_from_parameters(*edges, gamma=gamma)
    sites, struts = np.array(sites, dtype=float), np.array(struts, dtype=float)
    full = expand_net(space_group(symbol, primitive=False), cell, sites, struts)
    assert (len(full.positions), full.edge_index.shape[1]) == naive(symbol, cell, sites, struts)
    small = expand_net(space_group(symbol), cell, sites, struts)
    ratio = round(abs(np.linalg.det(full.cell) / np.linalg.det(small.cell)))
    assert len(full.positions) == ratio * len(small.positions)
    assert np.allclose(np.sort(full.edge_lengths), np.sort(np.repeat(small.edge_lengths, ratio)), atol=1e-12)


def test_rounded_coordinates_land_on_special_positions():
    """1/3 written with five digits: all images are exact afterwards, and struts of one orbit equally long."""
    cell = cell_from_parameters(4.99999, 5.00001, 8.165, gamma=120.0)
    site = np.array([[0.33333, 0.66667, 0.25]])
    near = np.array([[site[0], (1.33333, 0.66667, 0.25)], [site[0], (0.66667, 0.33333, 0.75)]])
    net = expand_net(space_group("P63/mmc"), cell, site, near)
    fractional = net.positions @ np.linalg.inv(net.cell)
    assert np.allclose(fractional * 12, np.rint(fractional * 12), atol=1e-12)
    for orbit in (0, 1):
        assert np.ptp(net.edge_lengths[net.edge_orbit == orbit]) < 1e-12
    assert len(net.positions) == 2
    assert net.edge_index.shape[1] == 12


def test_cell_parameters():
    cell = cell_from_parameters(2, 3, 4, 80, 95, 110)
    reference = np.array(gemmi.UnitCell(2, 3, 4, 80, 95, 110).orth.mat.tolist()).T
    assert np.allclose(cell, reference, atol=1e-12)
    for bad in [
        (0, 1, 1),
        (1, 1, float("nan")),
        (1, 1, 1, 10, 10, 120),
        (1, 1, 1, 180, 90, 90),
        (1, 1, 1, 90, 90, -120),
    ]:
        with pytest.raises(InputError):
            cell_from_parameters(*bad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": [[(0, 0, 0), (0.3, 0.1, 0.2)]]}, "no node is"),
        ({"edges": [[(0, 0, 0), (0, 0, 0)]]}, "zero length"),
        ({"sites": [(0, 0, 0), (1, 2, 3)]}, "images of each other"),
        ({"sites": [(0, 0, 1e9)]}, "below 10000"),
        ({"sites": [(0, 0, 0)] * 1001}, "too many"),
        ({"cell": np.diag([1.0, 2.0, 3.0])}, "symmetry"),
    ],
)
def test_refused(change, message):
    inputs = {"cell": np.eye(3), "sites": [(0, 0, 0)], "edges": [[(0, 0, 0), (1, 0, 0)]]} | change
    with pytest.raises(InputError, match=message):
        expand_net(
            space_group("Pm-3m"), inputs["cell"], np.array(inputs["sites"], float), np.array(inputs["edges"], float)
        )


def test_unknown_group():
    with pytest.raises(InputError, match="unknown"):
        space_group("Pq3")


def test_unique_edges_ignores_direction_and_order():
    index = np.array([[0, 1, 2, 2, 1], [1, 0, 2, 2, 0]])
    shift = np.array([[1, 0, 0], [-1, 0, 0], [0, 0, -1], [0, 0, 1], [1, 0, 0]])
    keep, index, shift = unique_edges(3, index, shift)
    assert sorted(keep.tolist()) == [0, 2, 4]
    assert index.T.tolist() == [[0, 1], [0, 1], [2, 2]]
    assert shift.tolist() == [[-1, 0, 0], [1, 0, 0], [0, 0, 1]]
    far = np.array([[2**40, 0, 0], [2**40, 0, 0]])
    assert len(unique_edges(3, np.zeros((2, 2), dtype=int), far)[0]) == 1
