"""Foams obey the laws of periodic tessellations, not only look like them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.graphs.periodic import periodic_components
from polyad.materials.lattice.nets.foams import _seeds, delaunay_foam, voronoi_foam
from polyad.materials.lattice.nets.orbits import cell_from_parameters

SKEW = cell_from_parameters(1.2, 0.9, 1.0, 75, 100, 110)


@pytest.mark.parametrize(("count", "cell"), [(3, SKEW), (5, np.eye(3)), (12, SKEW), (60, np.eye(3))])
def test_voronoi_nodes_are_equidistant_from_their_four_seeds(count, cell):
    """Every node: four struts; the four nearest seed images equally far, and no other nearer."""
    foam = voronoi_foam(count, seed=7, density=1e-9, shortest=0, cell=cell)
    assert set(foam.coordination.tolist()) == {4}
    found = periodic_components(foam.num_nodes, foam.edge_index, foam.edge_shift)
    assert found.dimension.tolist() == [3]
    _, seeds = _seeds(count, 7, 0.5, cell)
    reach = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) @ cell
    for node in foam.wrap().positions.numpy():
        distance = np.sort(np.linalg.norm((seeds[None] + reach[:, None]).reshape(-1, 3) - node, axis=1))
        assert distance[3] - distance[0] < 1e-9
        assert distance[4] > distance[3] + 1e-9


@pytest.mark.parametrize("count", [4, 9, 40])
def test_euler_characteristic(count):
    """On the torus seeds - Delaunay struts + faces - tetrahedra = 0, with two faces a tetrahedron."""
    tetrahedra = voronoi_foam(count, seed=1, density=1e-9, shortest=0, cell=SKEW).num_nodes
    delaunay = delaunay_foam(count, seed=1, density=1e-9, cell=SKEW)
    assert count - delaunay.num_edges + 2 * tetrahedra - tetrahedra == 0
    assert delaunay.num_nodes == count


def test_density_and_contraction():
    foam = voronoi_foam(20, seed=3, density=0.01)
    assert float(foam.relative_density) == pytest.approx(0.01)
    raw = voronoi_foam(20, seed=3, density=1e-9, shortest=0)
    assert float(foam.edge_lengths.min()) > float(raw.edge_lengths.min())
    assert foam.num_nodes < raw.num_nodes
    assert periodic_components(foam.num_nodes, foam.edge_index, foam.edge_shift).dimension.tolist() == [3]


def test_seeds_keep_their_distance():
    cell, points = _seeds(30, 0, 0.6, SKEW)
    difference = (points[:, None] - points) @ np.linalg.inv(cell)
    distance = np.linalg.norm((difference - np.rint(difference)) @ cell, axis=2) + 9 * np.eye(30)
    assert distance.min() >= 0.6 * np.cbrt(np.sqrt(2) * abs(np.linalg.det(SKEW)) / 30)


@pytest.mark.parametrize("make", [voronoi_foam, delaunay_foam])
def test_seeds_decide(make):
    first, again, other = (make(6, seed=s, density=1e-4) for s in (5, 5, 6))
    assert torch.equal(first.positions, again.positions)
    assert torch.equal(first.edge_shift, again.edge_shift)
    assert first.positions.shape != other.positions.shape or not torch.equal(first.positions, other.positions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count"),
        ({"count": 1}, "tessellation"),
        ({"count": 5, "spacing": 1.0}, "spacing"),
        ({"count": 30, "spacing": 0.95}, "do not fit"),
        ({"count": 5, "cell": np.zeros((3, 3))}, "independent"),
        ({"count": 5, "density": -1.0}, "density"),
        ({"count": 50, "shortest": 0, "density": 0.3}, "radius"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        voronoi_foam(**arguments)
