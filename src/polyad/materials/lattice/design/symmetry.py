"""The space group of a strut lattice, as permutations of its nodes and struts.

spglib proposes the operations x -> W x + w (fractional coordinates) of a crystal with one atom at every node and one
at every strut's middle; atoms are of one species when the coordination or, for struts, the radius is the same. An
operation is kept only if it maps the *graph* onto itself: node i to node p(i) moved by whole cells c(i), and so strut
(i, j, s) to

    (p(i), p(j), W s + c(j) - c(i)),

which must be a strut of the same radius. Averages over the group then project: displacements of the nodes, radii and
deformations of the cell that survive are exactly those that keep the symmetry.

Source: A. Togo, K. Shinohara, I. Tanaka, Sci. Technol. Adv. Mater.: Methods 4 (2024) 2384822 (spglib).

When not to use it: symmetry that only the graph has (a distorted net) is not found; positions decide, to a tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.nets.net import Net, net_of


@final
@dataclass(frozen=True, eq=False)
class LatticeSymmetry:
    """Operations of the space group modulo whole cells; operation g maps node i to node_map[g, i].

    Args:
        symbol: Hermann-Mauguin symbol, or "subgroup of" the one whose operations were selected from.
        rotations: (order, 3, 3) Cartesian and orthogonal, acting on column vectors.
        fractional: (order, 3, 3) the same in units of the lattice vectors: integers.
        node_map: (order, nodes).
        node_shift: (order, nodes, 3) cell in which the image of a node lies.
        edge_map: (order, edges).
    """

    symbol: str
    rotations: Float[Tensor, "order 3 3"]
    fractional: Int[Tensor, "order 3 3"]
    node_map: Int[Tensor, "order nodes"]
    node_shift: Int[Tensor, "order nodes 3"]
    edge_map: Int[Tensor, "order edges"]

    @property
    def order(self) -> int:
        """Number of operations."""
        return len(self.rotations)

    def fixing(self, direction: Float[Tensor, "3"]) -> LatticeSymmetry:
        """The operations that turn `direction` into itself or its opposite."""
        vector = torch.as_tensor(direction, dtype=torch.float64)
        vector = vector / torch.linalg.vector_norm(vector)
        keep = (self.rotations @ vector @ vector).abs() > 1 - 1e-9
        fields = ("rotations", "fractional", "node_map", "node_shift", "edge_map")
        symbol = self.symbol if bool(keep.all()) else f"subgroup of {self.symbol.removeprefix('subgroup of ')}"
        return replace(self, symbol=symbol, **{name: getattr(self, name)[keep] for name in fields})

    def project_displacements(self, displacements: Float[Tensor, "*batch nodes 3"]) -> Float[Tensor, "*batch nodes 3"]:
        """Average of displacements (Cartesian) over the group: the part that keeps the symmetry."""
        total = torch.zeros_like(displacements)
        for rotation, target in zip(self.rotations, self.node_map, strict=True):
            total[..., target, :] += displacements @ rotation.T
        return total / self.order

    def project_radii(self, radius: Float[Tensor, "*batch edges"]) -> Float[Tensor, "*batch edges"]:
        """Mean over the orbit of every strut."""
        return radius[..., self.edge_map].mean(-2)

    def project_deformations(self, matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
        """Average of R A R^T over the group: the deformations of space that commute with it."""
        turned = self.rotations @ matrix[..., None, :, :] @ self.rotations.mT
        return turned.mean(-3)


def find_symmetry(lattice: StrutLattice, *, tolerance: float = 1e-5) -> LatticeSymmetry:
    """The space group of a lattice.

    Args:
        lattice: at least the identity is always found.
        tolerance: positions agree within this part of the mean strut length, radii within this part of the largest.

    Raises:
        InputError: a tolerance out of range, or so large that the operations found do not form a group, or that spglib
            gives up.
    """
    if not 0 < tolerance < 0.1:
        raise InputError(f"tolerance: {tolerance} must lie in (0, 0.1), in mean strut lengths")
    net = net_of(lattice)
    near = tolerance * float(net.lengths.mean())
    symbol, rotations, translations = _crystal_operations(net, tolerance, near)
    edges = _edge_table(net, tolerance)
    kept = []
    for rotation, translation in zip(rotations, translations, strict=True):
        nodes = _map_nodes(net, rotation, translation, near)
        struts = None if nodes is None else _map_edges(net, rotation, *nodes, edges)
        if nodes is not None and struts is not None:
            kept.append((rotation, *nodes, struts))
    fractional, node_map, node_shift, edge_map = (np.array(x) for x in zip(*kept, strict=True))
    cell = _symmetrise_cell(net.cell, fractional)
    cartesian = cell.T @ fractional @ np.linalg.inv(cell.T)
    arrays = (cartesian, fractional, node_map, node_shift, edge_map)
    symbol = symbol if len(kept) == len(rotations) else f"subgroup of {symbol}"
    symmetry = LatticeSymmetry(symbol, *(torch.from_numpy(np.ascontiguousarray(x)) for x in arrays))
    _check_group(symmetry)
    return symmetry


def symmetrise(lattice: StrutLattice, symmetry: LatticeSymmetry) -> StrutLattice:
    """The lattice moved onto its symmetry: cell, positions and radii averaged over the group, exact to rounding."""
    net = net_of(lattice)
    fractional, node_map, node_shift = (
        x.numpy() for x in (symmetry.fractional, symmetry.node_map, symmetry.node_shift)
    )
    cell = _symmetrise_cell(net.cell, fractional)
    positions = net.positions @ np.linalg.inv(net.cell)
    for _ in range(2):  # exact after one round, the second removes its rounding
        reached = np.einsum("gij,nj->gni", fractional, positions) - node_shift
        reached += (positions[node_map] - reached).mean(axis=1, keepdims=True)  # best translation of every operation
        total = np.zeros_like(positions)
        for target, image in zip(node_map, reached, strict=True):
            total[target] += image
        positions = total / symmetry.order
    radius = symmetry.project_radii(torch.from_numpy(net.radius))
    return StrutLattice(cell, positions @ cell, lattice.edge_index, lattice.edge_shift, radius)


def _crystal_operations(net: Net, tolerance: float, near: float) -> tuple[str, np.ndarray, np.ndarray]:
    import spglib

    inverse = np.linalg.inv(net.cell)
    points = np.concatenate([net.positions, net.positions[net.edge_index[0]] + 0.5 * net.vectors])
    coordination = np.bincount(net.edge_index.reshape(-1), minlength=len(net.positions))
    labels = [("node", int(k)) for k in coordination]
    labels += [("strut", int(k)) for k in _radius_classes(net.radius, tolerance)]
    sites, species = _merge_points(points @ inverse, labels, net.cell, near)
    try:
        data = spglib.get_symmetry_dataset((net.cell.tolist(), sites.tolist(), species), symprec=near)
    except getattr(spglib, "SpglibError", ()) as error:  # older versions return None instead
        raise InputError(f"lattice: spglib finds no operations ({error}); change the tolerance") from error
    if data is None:
        raise InputError("lattice: spglib finds no operations; change the tolerance")
    return str(data.international), data.rotations.astype(np.int64), data.translations


def _merge_points(
    points: np.ndarray, labels: list[tuple[str, int]], cell: np.ndarray, near: float
) -> tuple[np.ndarray, list[int]]:
    """Coinciding points (struts that cross in their middles) become one atom whose species is all their labels."""
    owner = np.full(len(points), -1)
    for i in range(len(points)):
        if owner[i] < 0:
            difference = points - points[i]
            same = np.linalg.norm((difference - np.rint(difference)) @ cell, axis=1) < 2 * near
            owner[same & (owner < 0)] = i
    first = np.unique(owner)
    together = [tuple(sorted(labels[j] for j in np.nonzero(owner == i)[0])) for i in first]
    number = {label: k for k, label in enumerate(sorted(set(together)), start=1)}
    return points[first], [number[label] for label in together]


def _radius_classes(radius: np.ndarray, tolerance: float) -> np.ndarray:
    order = np.argsort(radius, kind="stable")
    steps = np.diff(radius[order], prepend=radius[order[0]]) > tolerance * radius.max()
    classes = np.empty(len(radius), dtype=np.int64)
    classes[order] = np.cumsum(steps)
    return classes


def _map_nodes(
    net: Net, rotation: np.ndarray, translation: np.ndarray, near: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Image of every node and the cell it lies in, or None where a node has no image."""
    points = net.positions @ np.linalg.inv(net.cell)
    reached = points @ rotation.T + translation
    difference = reached[:, None] - points[None]
    cells = np.rint(difference)
    distance = np.linalg.norm((difference - cells) @ net.cell, axis=2)
    target = distance.argmin(axis=1)
    rows = np.arange(len(points))
    if not (distance[rows, target] < 4 * near).all() or len(np.unique(target)) < len(target):
        return None
    return target, cells[rows, target].astype(np.int64)


_EdgeTable = dict[tuple[int, ...], list[int]]


def _edge_table(net: Net, tolerance: float) -> _EdgeTable:
    """Struts by (class of radius, source, target, shift), in both directions."""
    classes = _radius_classes(net.radius, tolerance)
    table: _EdgeTable = {}
    for e, (i, j) in enumerate(net.edge_index.T.tolist()):
        shift = net.edge_shift[e].tolist()
        keys = {(int(classes[e]), i, j, *shift), (int(classes[e]), j, i, *(-x for x in shift))}
        for key in keys:
            table.setdefault(key, []).append(e)
    return table


def _map_edges(
    net: Net, rotation: np.ndarray, node_map: np.ndarray, node_shift: np.ndarray, table: _EdgeTable
) -> np.ndarray | None:
    """Image of every strut, or None where one has none."""
    i, j = net.edge_index
    shift = net.edge_shift @ rotation.T + node_shift[j] - node_shift[i]
    radius_class = np.empty(len(i), dtype=np.int64)
    for key, struts in table.items():
        radius_class[struts] = key[0]
    rank: dict[tuple[int, ...], int] = {}
    target = np.empty(len(i), dtype=np.int64)
    for e in range(len(i)):
        key = (int(radius_class[e]), int(node_map[i[e]]), int(node_map[j[e]]), *shift[e].tolist())
        found = table.get(key, [])
        place = rank.get(key, 0)  # doubled struts take one image each
        if place >= len(found):
            return None
        rank[key] = place + 1
        target[e] = found[place]
    return target if len(np.unique(target)) == len(target) else None


def _symmetrise_cell(cell: np.ndarray, fractional: np.ndarray) -> np.ndarray:
    """The nearest cell (cell F with F symmetric) whose metric all operations keep."""
    metric = np.einsum("gki,kl,glj->ij", fractional, cell @ cell.T, fractional) / len(fractional)
    inverse = np.linalg.inv(cell)
    values, vectors = np.linalg.eigh(inverse @ metric @ inverse.T)
    return cell @ (vectors * np.sqrt(values)) @ vectors.T


def _check_group(symmetry: LatticeSymmetry) -> None:
    """An average over operations is a projection only if they form a group."""
    generator = torch.Generator().manual_seed(0)
    shapes = (symmetry.node_map.shape[1], 3), (symmetry.edge_map.shape[1],), (3, 3)
    projections = symmetry.project_displacements, symmetry.project_radii, symmetry.project_deformations
    for shape, project in zip(shapes, projections, strict=True):
        once = project(torch.randn(shape, generator=generator, dtype=torch.float64))
        if not bool((project(once) - once).abs().max() < 1e-9):
            raise InputError("tolerance: the operations found do not form a group; lower the tolerance")
