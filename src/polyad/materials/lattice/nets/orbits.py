"""Nets from a space group: a few nodes and edges, and all their images.

Coordinates in files are rounded (0.33333 for 1/3), so images that should coincide do not. Here positions are compared
once: every site is averaged over its stabiliser (the operations that leave it in place within a tolerance), and every
end of an edge is recognised as one image of one site. All that follows is arithmetic on integers in the group's
multiplication table,

    h (g x + t) = (h g) x + c(h, g) + R_h t,

with c the whole cells that the product of two operations exceeds its representative in the table by; so images of nodes
and edges merge exactly.

Source: International Tables for Crystallography A (2016), chapters 1.2 and 1.5 (coset decomposition, primitive bases);
gemmi (Wojdyr, JOSS 7 (2022) 4200) knows the group symbols, including `:1`, `:2`, `:H` and `:R`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import final

import numpy as np

from polyad.errors import InputError
from polyad.materials.lattice.nets.net import unique_edges

_DENOMINATOR = 24  # all translations of the 230 groups are multiples of 1/24

_MAXIMUM_SITES, _MAXIMUM_WORK = 1000, 50_000_000  # some seconds

_PRIMITIVE_BASES = {
    "P": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "A": [[1, 0, 0], [0, 1 / 2, -1 / 2], [0, 1 / 2, 1 / 2]],
    "B": [[1 / 2, 0, -1 / 2], [0, 1, 0], [1 / 2, 0, 1 / 2]],
    "C": [[1 / 2, 1 / 2, 0], [-1 / 2, 1 / 2, 0], [0, 0, 1]],
    "I": [[-1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [1 / 2, 1 / 2, -1 / 2]],
    "F": [[0, 1 / 2, 1 / 2], [1 / 2, 0, 1 / 2], [1 / 2, 1 / 2, 0]],
    "R": [[2 / 3, 1 / 3, 1 / 3], [-1 / 3, 1 / 3, 1 / 3], [-1 / 3, -2 / 3, 1 / 3]],
}


@final
@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """Operations x -> R x + t modulo whole cells, with their multiplication table.

    Args:
        symbol: Hermann-Mauguin symbol as gemmi writes it.
        basis: (3, 3) rows are the lattice vectors used, in units of the conventional ones.
        rotations: (order, 3, 3) integers.
        translations: (order, 3), in [0, 1).
        product: (order, order) operation h g at [h, g].
        carry: (order, order, 3) whole cells: h(g x) = product[h, g](x) + carry[h, g].
    """

    symbol: str
    basis: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray
    product: np.ndarray
    carry: np.ndarray

    @property
    def order(self) -> int:
        """Number of operations modulo whole cells."""
        return len(self.rotations)

    def images(self, points: np.ndarray) -> np.ndarray:
        """(points, order, 3): every operation applied to every fractional position."""
        return np.einsum("hij,nj->nhi", self.rotations, points) + self.translations


@final
@dataclass(frozen=True, eq=False)
class OrbitNet:
    """All nodes and edges of a net in one cell.

    Args:
        cell: (3, 3) rows are the lattice vectors.
        positions: (nodes, 3) Cartesian.
        edge_index: (2, edges), edge_shift: (edges, 3), as in `StrutLattice`.
        node_orbit: (nodes,) number of the site that every node is an image of.
        edge_orbit: (edges,) number of the given edge that every edge is an image of.
    """

    cell: np.ndarray
    positions: np.ndarray
    edge_index: np.ndarray
    edge_shift: np.ndarray
    node_orbit: np.ndarray
    edge_orbit: np.ndarray

    @property
    def edge_lengths(self) -> np.ndarray:
        """(edges,) Euclidean lengths."""
        i, j = self.edge_index
        return np.linalg.norm(self.positions[j] - self.positions[i] + self.edge_shift @ self.cell, axis=1)


@functools.lru_cache(maxsize=512)
def space_group(symbol: str, *, primitive: bool = True) -> SpaceGroup:
    """Operations of a space group by its symbol, in the primitive or the conventional cell.

    Args:
        symbol: Hermann-Mauguin symbol, short or full, spaces optional, with `:1`, `:2`, `:H` or `:R` where a group has
            several settings (default: the first; `:H` for rhombohedral ones), or the number in International Tables.
        primitive: use the smallest cell. Otherwise every centring translation is an operation of its own.

    Raises:
        InputError: an unknown symbol.
    """
    import gemmi

    if symbol.isdecimal() and 1 <= int(symbol) <= 230:
        found = gemmi.find_spacegroup_by_number(int(symbol))
    else:
        found = gemmi.find_spacegroup_by_name(symbol)
    if found is None:
        raise InputError(
            f"space group {symbol!r} is unknown; give a Hermann-Mauguin symbol such as 'Fd-3m:2', or 1 to 230"
        )
    operations = found.operations()
    if primitive:
        basis = np.array(_PRIMITIVE_BASES[operations.find_centering()], dtype=float)
        pairs = [(op.rot, op.tran) for op in operations.sym_ops]
    else:
        basis = np.eye(3)
        pairs = [
            (op.rot, [a + b for a, b in zip(op.tran, centring, strict=True)])
            for centring in operations.cen_ops
            for op in operations.sym_ops
        ]
    # columns transform as x_conventional = basis' x
    to = np.linalg.inv(basis.T)
    rotations = np.rint(to @ (np.array([r for r, _ in pairs]) / _DENOMINATOR) @ basis.T).astype(np.int64)
    steps = np.rint(np.array([t for _, t in pairs]) @ to.T).astype(np.int64) % _DENOMINATOR
    product, carry = _multiplication_table(rotations, steps)
    return SpaceGroup(found.xhm(), basis, rotations, steps / _DENOMINATOR, product, carry)


def _multiplication_table(rotations: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    products = np.einsum("hij,gjk->hgik", rotations, rotations)
    reached = np.einsum("hij,gj->hgi", rotations, steps) + steps[:, None]
    keys = _keys(rotations, steps)
    order = np.argsort(keys)
    product = order[np.searchsorted(keys[order], _keys(products, reached % _DENOMINATOR))]
    return product, reached // _DENOMINATOR


def _keys(rotations: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """One integer for every operation."""
    digits = (rotations + 3).reshape(*rotations.shape[:-2], 9) @ (7 ** np.arange(9))
    return digits * _DENOMINATOR**3 + steps @ (_DENOMINATOR ** np.arange(3))


def cell_from_parameters(
    a: float, b: float, c: float, alpha: float = 90.0, beta: float = 90.0, gamma: float = 90.0
) -> np.ndarray:
    """(3, 3) lattice vectors as rows: a along x, b in the xy plane; angles in degrees.

    Raises:
        InputError: a length that is not positive, or angles that no cell has.
    """
    values = (a, b, c, alpha, beta, gamma)
    if not all(math.isfinite(x) for x in values) or min(a, b, c) <= 0 or max(a, b, c) > 1e6 * min(a, b, c):
        raise InputError(f"cell {values}: lengths must be positive numbers of comparable size")
    # exact for the common angles: cos(90 degrees) must be 0, not 6e-17
    exact = {90.0: 0.0, 60.0: 0.5, 120.0: -0.5}
    cos_alpha, cos_beta, cos_gamma = (exact.get(x, math.cos(math.radians(x))) for x in (alpha, beta, gamma))
    sin_gamma = math.sqrt(max(1.0 - cos_gamma**2, 0.0))
    across = (cos_alpha - cos_beta * cos_gamma) / sin_gamma if sin_gamma > 1e-6 else 2.0
    height = 1.0 - cos_beta**2 - across**2
    if height < 1e-12 or not all(0 < x < 180 for x in (alpha, beta, gamma)):
        raise InputError(f"cell angles {alpha:g}, {beta:g}, {gamma:g}: no three vectors enclose them")
    return np.array(
        [[a, 0.0, 0.0], [b * cos_gamma, b * sin_gamma, 0.0], [c * cos_beta, c * across, c * math.sqrt(height)]]
    )


def expand_net(
    group: SpaceGroup, cell: np.ndarray, sites: np.ndarray, edges: np.ndarray, *, tolerance: float = 2e-3
) -> OrbitNet:
    """All images of some nodes and edges under a space group, each once.

    Args:
        group: see `space_group`.
        cell: (3, 3) conventional lattice vectors; averaged over the group, so that rounded parameters become exact.
        sites: (sites, 3) fractional positions of one node an orbit, in the conventional cell.
        edges: (edges, 2, 3) fractional positions of the two ends of one edge an orbit; every end must be an image of a
            site.
        tolerance: two positions are the same if they are closer than this part of the shortest given edge.

    Raises:
        InputError: more sites or edges than is sensible, an edge that ends where no node is, a zero-length edge, two
            sites in one orbit, a cell that the group does not leave unchanged.
    """
    work = len(sites) * group.order * max(group.order, 2 * len(edges))
    if len(sites) > _MAXIMUM_SITES or work > _MAXIMUM_WORK:
        raise InputError(
            f"net has {len(sites)} nodes and {len(edges)} edges before symmetry; that is too many to expand"
        )
    if not (np.abs(sites).max(initial=0) < 1e4 and np.abs(edges).max(initial=0) < 1e4):
        raise InputError("fractional coordinates must be finite and below 10000")
    cell = group.basis @ _symmetrise_cell(group, cell)
    to_basis = np.linalg.inv(group.basis)
    sites, ends = sites @ to_basis, (edges @ to_basis).reshape(-1, 3)
    lengths = np.linalg.norm((ends[1::2] - ends[0::2]) @ cell, axis=1)
    if not len(lengths) or not len(sites):
        raise InputError(f"net has {len(sites)} nodes and {len(lengths)} edges; it needs at least one of each")
    if not lengths.min() > 1e-5 * np.cbrt(abs(np.linalg.det(cell))):
        raise InputError(f"edge {int(lengths.argmin()) + 1} has zero length; remove it")
    near = tolerance * float(lengths.min())

    stabiliser, sites = _onto_special_positions(group, sites, cell, near)
    images = group.images(sites)
    _refuse_shared_orbits(images, sites, cell, near)
    # operations g and g s lead to the same node for every s in the stabiliser: the first stands for all
    first = np.where(stabiliser[:, None, :], group.product, group.order).min(axis=2)
    is_first = first == np.arange(group.order)
    number = np.cumsum(is_first.reshape(-1)).reshape(is_first.shape) - 1
    node = np.take_along_axis(number, first, axis=1)
    orbit = np.repeat(np.arange(len(sites)), is_first.sum(axis=1))
    fractional = images[is_first]
    fractional = fractional - np.floor(fractional + 1e-9)
    node_shift = np.rint(images - fractional[node]).astype(np.int64)

    end_site, end_operation, end_cells = _recognise(ends, images, cell, 5 * near)
    reached = group.product[:, end_operation].T  # (ends, order)
    index = node[end_site[:, None], reached]
    place = (
        node_shift[end_site[:, None], reached]
        + group.carry[:, end_operation].transpose(1, 0, 2)
        + np.einsum("hij,ej->ehi", group.rotations, end_cells)
    )
    edge_index = np.stack([index[0::2].reshape(-1), index[1::2].reshape(-1)])
    edge_shift = (place[1::2] - place[0::2]).reshape(-1, 3)
    edge_orbit = np.repeat(np.arange(len(lengths)), group.order)
    keep, edge_index, edge_shift = unique_edges(len(fractional), edge_index, edge_shift)
    if ((edge_index[0] == edge_index[1]) & (edge_shift == 0).all(axis=1)).any():
        raise InputError("an edge joins a node to itself: its ends merge within the tolerance; separate them")
    return OrbitNet(cell, fractional @ cell, edge_index, edge_shift, orbit, edge_orbit[keep])


def _symmetrise_cell(group: SpaceGroup, cell: np.ndarray) -> np.ndarray:
    """Conventional lattice vectors whose metric G = cell cell' is averaged over the point group."""
    metric = cell @ cell.T
    # rotations act on columns in the group's basis; on conventional rows as basis' R basis'^-1
    to = group.basis.T
    conventional = to @ group.rotations @ np.linalg.inv(to)
    mean = np.einsum("hki,kl,hlj->ij", conventional, metric, conventional) / group.order
    if np.abs(mean - metric).max() > 0.02 * np.abs(metric).max():
        raise InputError(f"cell does not have the symmetry of {group.symbol}; check CELL against the space group")
    a, b, c = (math.sqrt(x) for x in np.diag(mean))

    cosines = np.array([mean[1, 2] / (b * c), mean[0, 2] / (a * c), mean[0, 1] / (a * b)])
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return cell_from_parameters(a, b, c, *np.round(angles, 10).tolist())


def _onto_special_positions(
    group: SpaceGroup, sites: np.ndarray, cell: np.ndarray, near: float
) -> tuple[np.ndarray, np.ndarray]:
    """(stabiliser mask (sites, order), sites averaged over it)."""
    difference, distance = _offsets(group, sites, cell)
    stabiliser = distance < near
    weights = stabiliser / stabiliser.sum(axis=1, keepdims=True)
    averaged = sites + np.einsum("nh,nhi->ni", weights, difference)
    _, residual = _offsets(group, averaged, cell)
    if not (residual[stabiliser] < 1e-6 * near).all():
        worst = int(np.argmax(np.where(stabiliser, residual, 0).max(axis=1)))
        raise InputError(f"node {worst + 1} lies near, but not on, a special position; give more decimals")
    return stabiliser, averaged


def _offsets(group: SpaceGroup, points: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vector and distance from every point to the nearest image of it under every operation."""
    difference = group.images(points) - points[:, None]
    difference -= np.rint(difference)
    return difference, np.linalg.norm(difference @ cell, axis=2)


def _refuse_shared_orbits(images: np.ndarray, sites: np.ndarray, cell: np.ndarray, near: float) -> None:
    for k in range(1, len(sites)):
        difference = images[k] - sites[:k, None]
        difference -= np.rint(difference)
        distance = np.linalg.norm(difference @ cell, axis=2).min(axis=1)
        if (distance < near).any():
            other = int(distance.argmin())
            raise InputError(f"nodes {other + 1} and {k + 1} are images of each other; give one of them")


def _recognise(
    points: np.ndarray, images: np.ndarray, cell: np.ndarray, near: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(site, operation, whole cells) of the image nearest to every point."""
    flat = images.reshape(-1, 3)
    whole = np.empty(points.shape, dtype=np.int64)
    best = np.empty(len(points), dtype=np.int64)
    for k, point in enumerate(points):
        difference = point - flat
        cells = np.rint(difference)
        distance = np.einsum("ni,ni->n", (difference - cells) @ cell, (difference - cells) @ cell)
        best[k] = distance.argmin()
        whole[k] = cells[best[k]]
        if not distance[best[k]] < near**2:
            raise InputError(
                f"edge {k // 2 + 1} ends where no node is (nearest at {math.sqrt(distance[best[k]]):.3g}); "
                "list that node, or give the coordinates more exactly"
            )
    site, operation = np.divmod(best, images.shape[1])
    return site, operation, whole
