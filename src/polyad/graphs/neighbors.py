"""Neighbour lists: every pair of points closer than a cutoff, with periodic images.

An edge runs from a source to a target and carries the integers that name the image of the target:

    edge vector = positions[target] + edge_shift @ cell - positions[source],    0 < |edge vector| < cutoff.

Both directions of a pair are listed, and a point sees its own images. Edges are sorted by source, target and shift, so
the same points give the same list, and sums over it the same bits, whatever the machine. Several structures lie one
after another in one list, as `node_start` says; no edge joins two of them.

The search is vesin's cell list (linear in the number of points); vectors and distances are computed here from the
positions, so gradients flow into positions and cells while the list itself is a constant.

*When not to use it*: points on an accelerator are copied to the host and the list back; for molecular dynamics of a
large system there, use a list that lives on the device.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.errors import InputError

MAXIMUM_EDGES = 50_000_000
"""Edges that a list may have unless told otherwise: two gigabytes of indices and shifts."""

_SAME_PLACE = 1e-6  # of the cutoff
_FARTHEST = 10**6  # cells; further out, positions have lost the digits that distances need


@final
@dataclass(frozen=True, eq=False)
class NeighborList:
    """Edges between points, of one structure or of several one after another.

    Args:
        edge_index: (2, edges) source and target.
        edge_shift: (edges, 3) integers, the image of the target in units of the cell's rows.
        edge_start: (structures + 1,) structure b owns the edges edge_start[b] .. edge_start[b + 1].
    """

    edge_index: Int[Tensor, "2 edges"]
    edge_shift: Int[Tensor, "edges 3"]
    edge_start: Int[Tensor, " structures_plus_one"]

    def __len__(self) -> int:
        """Number of edges."""
        return self.edge_index.shape[1]


def neighbor_list(
    positions: Float[Tensor, "nodes 3"],
    cutoff: float,
    *,
    cell: Float[Tensor, "3 3"] | None = None,
    periodic: bool | Bool[Tensor, " 3"] | None = None,
    maximum_edges: int = MAXIMUM_EDGES,
) -> NeighborList:
    """All pairs of one structure within a cutoff.

    Args:
        positions: (nodes, 3), in any unit; they need not lie inside the cell.
        cutoff: largest distance, in the unit of the positions.
        cell: (3, 3) rows are the lattice vectors; none for a finite cluster.
        periodic: along which of them the structure repeats. By default along all, if there is a cell.
        maximum_edges: refuse to build a longer list.

    Raises:
        InputError: a cutoff that is not positive, a degenerate cell, positions that are not finite, two points in one
            place, or a list that would be too long.
    """
    node_start = torch.tensor([0, len(positions)])
    cells = None if cell is None else cell[None]
    flags = periodic[None] if isinstance(periodic, Tensor) else periodic
    return neighbor_lists(positions, node_start, cutoff, cells=cells, periodic=flags, maximum_edges=maximum_edges)


def neighbor_lists(
    positions: Float[Tensor, "nodes 3"],
    node_start: Int[Tensor, " structures_plus_one"],
    cutoff: float,
    *,
    cells: Float[Tensor, "structures 3 3"] | None = None,
    periodic: bool | Bool[Tensor, "structures 3"] | None = None,
    maximum_edges: int = MAXIMUM_EDGES,
) -> NeighborList:
    """All pairs within a cutoff of many structures; structure b owns nodes node_start[b] .. node_start[b + 1].

    Args:
        positions: (nodes, 3) of all structures.
        node_start: (structures + 1,) rises from 0 to the number of nodes.
        cutoff: largest distance, in the unit of the positions.
        cells: (structures, 3, 3) rows are the lattice vectors; none for finite clusters.
        periodic: (structures, 3) flags, or one for all. By default all true, if there are cells.
        maximum_edges: refuse to build a longer list.

    Raises:
        InputError: as `neighbor_list`, naming the structure.
    """
    if not (math.isfinite(cutoff) and cutoff > 0):
        raise InputError(f"cutoff: must be a positive length, got {cutoff}")
    start = np.asarray(node_start.detach().cpu())
    if len(start) < 1 or start[0] != 0 or start[-1] != len(positions) or (np.diff(start) < 0).any():
        raise InputError(f"node_start: must rise from 0 to the number of nodes, {len(positions)}, got {start.tolist()}")
    points = positions.detach().to("cpu", torch.float64)
    if not all(bool(torch.isfinite(x).all()) for x in (points, *(() if cells is None else (cells,)))):
        raise InputError("positions, cell: must be finite; look for missing or exploded coordinates")
    boxes, flags = _boxes(cells, periodic, len(start) - 1)
    edges = [
        _pairs(
            points[low:high], cutoff, boxes[b], flags[b], maximum_edges, f"structure {b}: " if len(start) > 2 else ""
        )
        for b, (low, high) in enumerate(itertools.pairwise(start))
    ]
    counts = torch.tensor([0, *(index.shape[1] for index, _ in edges)])
    if int(counts.sum()) > maximum_edges:
        raise InputError(f"cutoff: {cutoff} gives {int(counts.sum()):,} pairs, more than {maximum_edges:,}; lower it")
    index = [index + int(low) for (index, _), low in zip(edges, start[:-1], strict=True)]
    return NeighborList(
        edge_index=torch.cat([*index, torch.zeros(2, 0, dtype=torch.int64)], dim=1).to(positions.device),
        edge_shift=torch.cat([*(s for _, s in edges), torch.zeros(0, 3, dtype=torch.int64)]).to(positions.device),
        edge_start=torch.cumsum(counts, 0).to(positions.device),
    )


def edge_vectors(
    positions: Float[Tensor, "nodes 3"],
    edge_index: Int[Tensor, "2 edges"],
    edge_shift: Int[Tensor, "edges 3"] | None = None,
    cells: Float[Tensor, "structures 3 3"] | None = None,
    structure: Int[Tensor, " nodes"] | None = None,
) -> Float[Tensor, "edges 3"]:
    """Vectors from source to target, differentiable in positions and cells.

    Args:
        positions: (nodes, 3).
        edge_index: (2, edges) source and target.
        edge_shift: (edges, 3) image of the target; needs `cells`.
        cells: (structures, 3, 3) rows are lattice vectors.
        structure: (nodes,) which cell each node lives in; by default all in the first.
    """
    source, target = edge_index
    vectors = positions[target] - positions[source]
    if edge_shift is None or cells is None:
        return vectors
    shift = edge_shift.to(positions.dtype)
    if len(cells) == 1:
        return vectors + shift @ cells[0]
    if structure is None:
        raise InputError("structure: with several cells, say which one each node lives in")
    return vectors + torch.bmm(shift[:, None], cells[structure[source]])[:, 0]


def _boxes(
    cells: Tensor | None, periodic: bool | Tensor | None, structures: int
) -> tuple[Tensor, Bool[Tensor, "structures 3"]]:
    """Cells as float64 and flags, one row a structure; rows along which nothing repeats are completed to a basis."""
    if cells is None:
        if periodic is not None and bool(torch.as_tensor(periodic).any()):
            raise InputError("periodic: needs a cell; pass cell= or leave periodic out")
        return torch.eye(3, dtype=torch.float64).expand(structures, 3, 3), torch.zeros(structures, 3, dtype=torch.bool)
    if len(cells) != structures:
        raise InputError(f"cells: one a structure is needed, got {len(cells)} for {structures}")
    boxes = cells.detach().to("cpu", torch.float64)
    flags = torch.as_tensor(True if periodic is None else periodic).cpu().expand(structures, 3)
    periods = torch.where(flags[..., None], boxes, torch.zeros(()))
    # what does not repeat may hold anything, zeros too: it only has to be independent of what does
    _, values, right = torch.linalg.svd(periods)
    rank = (values > 1e-9 * values[:, :1].clamp_min(1e-300)).sum(1)
    if bool((rank < flags.sum(1)).any()):
        bad = int(torch.nonzero(rank < flags.sum(1))[0])
        raise InputError(f"cell: structure {bad} repeats along dependent or zero vectors: {boxes[bad].tolist()}")
    spare = torch.cumsum(~flags, 1) - 1 + rank[:, None]  # rows of `right` that are orthogonal to all periods
    completed = torch.gather(right, 1, spare.clamp(0, 2)[..., None].expand(-1, 3, 3))
    return torch.where(flags[..., None], boxes, completed), flags


def _pairs(
    points: Tensor, cutoff: float, box: Tensor, flags: Tensor, maximum_edges: int, where: str
) -> tuple[Int[Tensor, "2 edges"], Int[Tensor, "edges 3"]]:
    """Sorted edges of one structure."""
    import vesin

    if len(points) == 0:
        return torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.int64)
    _check_length(points, cutoff, box, flags, maximum_edges, where)
    search = vesin.NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    source, target, shift, distance = search.compute(points.numpy(), box.numpy(), flags.numpy(), "ijSd")
    source, target, shift = source.astype(np.int64), target.astype(np.int64), shift.astype(np.int64)
    if len(distance) and distance.min() <= _SAME_PLACE * cutoff:
        first = int(distance.argmin())
        raise InputError(
            f"positions: {where}nodes {source[first]} and {target[first]} lie {distance[first]:.3g} apart, on top of "
            "one another; remove the duplicate"
        )
    order = _order(source, target, shift, len(points))
    index = np.stack([source[order], target[order]])
    return torch.from_numpy(index), torch.from_numpy(np.ascontiguousarray(shift[order]))


def _order(source: np.ndarray, target: np.ndarray, shift: np.ndarray, nodes: int) -> np.ndarray:
    """Order of the edges by (source, target, shift): one sort of one integer an edge, where that fits 64 bits."""
    if len(source) == 0:
        return source
    low = shift.min(axis=0)
    width = shift.max(axis=0) - low + 1
    if nodes**2 * math.prod(width.tolist()) >= 2**63:
        return np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], target, source))
    key = source * nodes + target
    for axis in range(3):
        key = key * width[axis] + (shift[:, axis] - low[axis])
    return np.argsort(key, kind="stable")


def _check_length(points: Tensor, cutoff: float, box: Tensor, flags: Tensor, maximum_edges: int, where: str) -> None:
    """Before a search that could fill the memory: the number of pairs, from the mean density."""
    fractional = torch.linalg.solve(box.T, points.T).T
    if float(torch.where(flags, fractional.abs(), torch.zeros(())).amax()) > _FARTHEST:
        raise InputError(f"positions: {where}some lie more than a million cells away; wrap them into the cell")
    extent = fractional.amax(0) - fractional.amin(0)
    height = 1 / torch.linalg.vector_norm(torch.linalg.inv(box), dim=0)  # between opposite faces of the cell
    # one period, or what the points fill: at least a cutoff, for a sphere that sticks out meets nothing there
    extent = torch.where(flags, torch.ones(()), torch.maximum(extent, cutoff / height))
    fill = float(extent.prod() * torch.linalg.det(box).abs())
    expected = len(points) ** 2 * 4 / 3 * math.pi * cutoff**3 / fill
    if expected > maximum_edges:
        raise InputError(
            f"cutoff: {where}{cutoff} would give about {expected:.1e} pairs of {len(points):,} nodes, more than "
            f"{maximum_edges:,}; lower the cutoff or raise maximum_edges (40 bytes a pair)"
        )
