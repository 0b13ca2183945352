"""Edges from the k nearest neighbours of every atom of a crystal, and from all that are as near as the last of them.

Every atom receives from its own k nearest, so edges are directed: an atom may be among another's nearest without the
reverse. Ties are taken whole, for a choice among equals would depend on the order of the atoms.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.properties.comformer.lattice import TOLERANCE, primitive_cells
from polyad.materials.structures import Structures
from polyad.materials.structures.kinds import number_kinds


def nearest_neighbors(structures: Structures, neighbors: int = 25, *, tolerance: float = TOLERANCE) -> Structures:
    """The same crystals in their cells, with an edge to every atom from each of its nearest, sorted by target.

    Args:
        structures: repeating in three directions; other edges and edge features are dropped.
        neighbors: of every atom, images included, its own too.
        tolerance: relative; neighbours that are this little farther than the last one are taken too.

    Raises:
        InputError: structures that do not repeat, no neighbours asked for, or atoms on top of one another.
    """
    if neighbors < 1 or not 0 < tolerance < 0.05:
        raise InputError(f"neighbors: {neighbors}, tolerance: {tolerance}; give at least 1, and a small positive one")
    if not bool(structures.periodic.all()):
        bad = int(torch.nonzero(~structures.periodic.all(1))[0])
        raise InputError(f"structures: number {bad} does not repeat in three directions; use with_neighbors(cutoff)")
    positions, cells = (x.detach().cpu().double().contiguous() for x in (structures.positions, structures.cell))
    if not all(bool(torch.isfinite(x).all()) for x in (positions, cells)) or bool((torch.linalg.det(cells) == 0).any()):
        raise InputError("positions, cell: must be finite, and cells must have volume")
    start = structures.node_start.cpu().numpy()
    index, shift, edge_start, clash = _nearest(positions.numpy(), start, cells.numpy(), neighbors, tolerance)
    if clash >= 0:
        raise InputError(f"positions: node {clash} lies on top of another; remove the duplicate")
    device = structures.positions.device
    return structures.replace(
        edge_index=torch.from_numpy(index).to(device),
        edge_shift=torch.from_numpy(shift).to(device),
        edge_start=torch.from_numpy(edge_start).to(device),
        edge_features={},
    )


def crystal_edges(structures: Structures, neighbors: int = 25, *, tolerance: float = TOLERANCE) -> Structures:
    """Primitive cells with nearest neighbours: what the paper's graphs are built of, whatever cell was given."""
    return nearest_neighbors(primitive_cells(structures, tolerance=tolerance), neighbors, tolerance=tolerance)


def crystal_graph(structures: Structures, species: Int[Tensor, " kinds"]) -> PointGraph:
    """Crystals with their edges and cells as the graph that networks take.

    Args:
        structures: repeating in three directions, with edges.
        species: atomic numbers in the order of the network's kinds.

    Raises:
        InputError: an element that is not among them, or structures without edges.
    """
    if structures.num_edges == 0:
        raise InputError("structures: have no edges; use crystal_edges or with_neighbors first")
    vectors = structures.edge_vectors()
    return PointGraph(
        edge_index=structures.edge_index,
        vectors=vectors,
        kind=number_kinds(structures.species, species),
        structure=structures.structure,
        num_structures=len(structures),
        positions=structures.positions,
        edge_scalars=vectors.new_zeros(len(vectors), 0),
        cell=structures.cell,
    )


@numba.njit(cache=True, nogil=True)
@no_type_check
def _nearest(positions, start, cells, neighbors, tolerance):
    """Edges (2, m), shifts (m, 3), edge starts, and an atom that lies on another or -1."""
    capacity = 2 * neighbors * len(positions) + 64
    index, shift = np.empty((2, capacity), np.int64), np.empty((capacity, 3), np.int64)
    edge_start = np.zeros(len(cells) + 1, np.int64)
    size = 0
    near = np.empty(1024)
    who = np.empty((1024, 4), np.int64)
    for b in range(len(cells)):
        low, high = start[b], start[b + 1]
        inverse = np.linalg.inv(cells[b])
        slope = np.sqrt((inverse * inverse).sum(axis=0))  # one over the heights of the cell
        spacing = abs(np.linalg.det(cells[b])) / max(high - low, 1)
        radius = 1.2 * (0.75 / math.pi * neighbors * spacing) ** (1 / 3)
        for i in range(low, high):
            while True:
                count = 0
                for j in range(low, high):
                    delta = (positions[j] - positions[i]) @ inverse
                    first, last_one = np.empty(3, np.int64), np.empty(3, np.int64)
                    for k in range(3):
                        first[k] = math.ceil(-radius * slope[k] - delta[k])
                        last_one[k] = math.floor(radius * slope[k] - delta[k])
                    for a in range(first[0], last_one[0] + 1):
                        for c in range(first[1], last_one[1] + 1):
                            for d in range(first[2], last_one[2] + 1):
                                if i == j and a == 0 and c == 0 and d == 0:
                                    continue
                                square = 0.0
                                for k in range(3):
                                    x = positions[j, k] - positions[i, k]
                                    x += a * cells[b, 0, k] + c * cells[b, 1, k] + d * cells[b, 2, k]
                                    square += x * x
                                if square > radius * radius:
                                    continue
                                if count == len(near):
                                    near, who = np.concatenate((near, near)), np.concatenate((who, who))
                                near[count] = square
                                who[count, 0], who[count, 1], who[count, 2], who[count, 3] = j, a, c, d
                                count += 1
                last = np.inf
                if count >= neighbors:
                    last = np.partition(near[:count], neighbors - 1)[neighbors - 1] * (1 + tolerance) ** 2
                if last <= radius * radius:
                    break
                radius *= 1.2
            for e in range(count):
                if near[e] > last:
                    continue
                if near[e] <= 1e-12 * last:
                    return index[:, :0].copy(), shift[:0], edge_start, i
                if size == len(shift):
                    index, shift = np.concatenate((index, index), axis=1), np.concatenate((shift, shift))
                index[0, size], index[1, size] = who[e, 0], i
                for k in range(3):  # the vector runs from the image of the source to the target
                    shift[size, k] = -who[e, 1 + k]
                size += 1
        edge_start[b + 1] = size
    return index[:, :size].copy(), shift[:size].copy(), edge_start, -1
