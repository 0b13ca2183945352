"""Periodic Voronoi and Delaunay foams from random seed points.

The Delaunay tetrahedra of the seeds and enough of their images are found once; a tetrahedron belongs to the cell if the
first of its seeds (by number, then by image) lies there. Neighbouring tetrahedra are joined for the Voronoi foam (nodes
are circumcentres, four struts at each), seeds for the Delaunay foam. Which nodes and struts are equal modulo the cell
follows from seed numbers and image integers alone, without comparing positions. There are enough images when every
circumsphere lies within the region that they fill.

Source: Zhu, Hobdell, Windle, Acta Mater. 48 (2000) 4893-4900 (Voronoi foams); Okabe, Boots, Sugihara, Chiu, Spatial
Tessellations (2000), chapter 2 (the empty-sphere property).
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import Delaunay, QhullError

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.nets.net import Net, contract, lattice_of, unique_edges, with_uniform_radius

_MAXIMUM_SEEDS = 5000


def voronoi_foam(
    count: int, *, seed: int = 0, density: float = 0.01, spacing: float = 0.5, shortest: float = 0.15, cell: Any = None
) -> StrutLattice:
    """Struts along the edges of the Voronoi cells of random points, all of one radius.

    Args:
        count: number of seed points (foam cells) in the unit cell.
        seed: of the random numbers.
        density: relative density by the beam formula.
        spacing: smallest distance of seeds as a part of that in the densest packing, (sqrt 2 V / count)^(1/3); 0 gives
            a Poisson process, beyond 0.7 seeds may not fit.
        shortest: struts shorter than this part of the mean are contracted, as they are in real foams; 0 keeps all.
        cell: (3, 3) lattice vectors; default the unit cube.

    Raises:
        InputError: a parameter out of range, seeds that do not fit or have no unique tessellation (one in a cube, often
            two), a density too high for the shortest strut.
    """
    tetrahedra = _tetrahedra(*_seeds(count, seed, spacing, cell))
    home = tetrahedra.home
    index = np.stack([np.repeat(np.arange(len(home)), 4), tetrahedra.targets])
    _, edge_index, edge_shift = unique_edges(
        len(home), index, tetrahedra.offsets[tetrahedra.neighbours[home].reshape(-1)]
    )
    net = Net(tetrahedra.cell, tetrahedra.centres[home], edge_index, edge_shift, np.ones(edge_index.shape[1]))
    if shortest > 0:
        net = contract(net, shortest * float(net.lengths.mean()))
    return lattice_of(with_uniform_radius(net, density))


def delaunay_foam(
    count: int, *, seed: int = 0, density: float = 0.01, spacing: float = 0.5, cell: Any = None
) -> StrutLattice:
    """Struts between random points that are neighbours (whose Voronoi cells share a face), all of one radius.

    Arguments are those of `voronoi_foam`.
    """
    tetrahedra = _tetrahedra(*_seeds(count, seed, spacing, cell))
    a, b = np.array(list(itertools.combinations(range(4), 2))).T
    corners, images = tetrahedra.corners[tetrahedra.home], tetrahedra.images[tetrahedra.home]
    index = np.stack([corners[:, a].reshape(-1), corners[:, b].reshape(-1)])
    _, edge_index, edge_shift = unique_edges(count, index, (images[:, b] - images[:, a]).reshape(-1, 3))
    net = Net(tetrahedra.cell, tetrahedra.seeds, edge_index, edge_shift, np.ones(edge_index.shape[1]))
    return lattice_of(with_uniform_radius(net, density))


class _Tetrahedra(NamedTuple):
    """Delaunay tetrahedra of seeds and their images.

    corners (t, 4) seed numbers in ascending order, images (t, 4, 3) their cells, offsets (t, 3) the cell of the first,
    centres (t, 3) of the home ones, neighbours (t, 4); home: those with offset 0; targets (4 home,): which home
    tetrahedron every neighbour of a home one is an image of.
    """

    cell: np.ndarray
    seeds: np.ndarray
    corners: np.ndarray
    images: np.ndarray
    offsets: np.ndarray
    centres: np.ndarray
    neighbours: np.ndarray
    home: np.ndarray
    targets: np.ndarray


def _seeds(count: int, seed: int, spacing: float, cell: Any) -> tuple[np.ndarray, np.ndarray]:
    """Lattice vectors and (count, 3) points by random sequential addition."""
    cell = np.eye(3) if cell is None else np.asarray(cell, dtype=float)
    if cell.shape != (3, 3) or not abs(np.linalg.det(cell)) > 0:
        raise InputError("cell must be three linearly independent lattice vectors")
    if not 1 <= count <= _MAXIMUM_SEEDS:
        raise InputError(f"count is {count}; a foam has 1 to {_MAXIMUM_SEEDS} seeds")
    if not 0 <= spacing < 1:
        raise InputError(f"spacing is {spacing!r}; it must lie in [0, 1), usually below 0.7")
    random = np.random.default_rng(seed)
    near = spacing * float(np.cbrt(np.sqrt(2) * abs(np.linalg.det(cell)) / count))
    points = np.empty((count, 3))
    placed = refused = 0
    while placed < count:
        point = random.random(3)
        difference = points[:placed] - point
        difference -= np.rint(difference)
        if placed and np.linalg.norm(difference @ cell, axis=1).min() < near:
            refused += 1
            if refused > 1000 * count:
                raise InputError(f"{count} seeds with spacing {spacing:g} do not fit; lower the spacing")
            continue
        points[placed] = point
        placed += 1
    return cell, points @ cell


def _tetrahedra(cell: np.ndarray, points: np.ndarray) -> _Tetrahedra:
    fractional = points @ np.linalg.inv(cell)
    margin = max(0.5, 2.2 * len(points) ** (-1 / 3))
    while margin < 6:
        found = _try_tetrahedra(cell, fractional, margin)
        if found is not None:
            return found
        margin *= 1.5
    # two seeds have inversion centres, one in a cube mirrors: more than four images may lie on one sphere
    raise InputError(f"no unique tessellation of {len(points)} seeds in this cell; take three or more, or another seed")


def _try_tetrahedra(cell: np.ndarray, fractional: np.ndarray, margin: float) -> _Tetrahedra | None:
    """The tetrahedra with images up to `margin` cells beyond the faces; None if a circumsphere leaves that region."""
    count, reach = len(fractional), int(np.ceil(margin))
    cells = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    places = (fractional[None] + cells[:, None]).reshape(-1, 3)
    inside = ((places > -margin) & (places < 1 + margin)).all(axis=1)
    owner, image = np.tile(np.arange(count), len(cells))[inside], np.repeat(cells, count, axis=0)[inside]
    positions = places[inside] @ cell
    try:
        mesh = Delaunay(positions)
    except QhullError:
        return None
    corners, images = owner[mesh.simplices], image[mesh.simplices]
    # order by seed number, then by image: the same for all translated copies
    rank = ((corners * 64 + images[..., 0] + 32) * 64 + images[..., 1] + 32) * 64 + images[..., 2] + 32
    order = np.argsort(rank, axis=1)
    corners = np.take_along_axis(corners, order, axis=1)
    images = np.take_along_axis(images, order[..., None], axis=1)
    offsets = images[:, 0]
    home = np.flatnonzero((offsets == 0).all(axis=1))
    relative = images - offsets[:, None]
    keys = np.concatenate([corners, relative.reshape(-1, 12)], axis=1)
    tetrahedron = positions[mesh.simplices]
    # |x - p0|^2 = |x - pk|^2 for k = 1, 2, 3
    sides = tetrahedron[:, 1:] - tetrahedron[:, :1]
    centres = np.full((len(sides), 3), np.nan)
    if (np.abs(np.linalg.det(sides[home])) < 1e-12 * abs(np.linalg.det(cell))).any():
        return None
    halves = 0.5 * (sides[home] ** 2).sum(axis=2, keepdims=True)
    centres[home] = tetrahedron[home, 0] + np.linalg.solve(sides[home], halves)[..., 0]
    radius = np.linalg.norm(centres[home] - tetrahedron[home, 0], axis=1)
    to_fractional = np.linalg.inv(cell)
    centre, extent = centres[home] @ to_fractional, radius[:, None] * np.linalg.norm(to_fractional, axis=0)
    if not ((centre - extent > -margin) & (centre + extent < 1 + margin)).all():
        return None
    number = {key: n for n, key in enumerate(map(tuple, keys[home].tolist()))}
    outer = list(map(tuple, keys[mesh.neighbors[home].reshape(-1)].tolist()))
    if (mesh.neighbors[home] < 0).any() or not number.keys() >= set(outer):
        return None
    targets = [number[key] for key in outer]
    seeds = fractional @ cell
    return _Tetrahedra(cell, seeds, corners, images, offsets, centres, mesh.neighbors, home, np.array(targets))
