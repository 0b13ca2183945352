"""Finite blocks of a lattice for testing: n x m x k cells, graded, with struts missing, cut at the faces.

`strut_block` says which struts lie in the block; here the block is made ready for a test: struts that cross a face are
left out, kept whole or cut at the face, a share of all struts is removed at random, and what then hangs loose is taken
away. Struts that lie in a face of the block keep their whole section, so small blocks are denser than the lattice, by
terms of the order of one over the number of cells.

When not to use: as the shape to print; that is a solid, cut at the faces (`polyad.materials.lattice.solids.solid`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.solids.block import Grading, StrutBlock, strut_block

BOUNDARIES = ("drop", "keep", "cut")
"""Struts that cross a face of the block: left out, kept whole, or ended at the face by a new node."""

_ON_FACE = 1e-6
"""Distance from a face, in units of the block, that still counts as on it."""


def finite_block(
    lattice: StrutLattice,
    counts: int | Sequence[int],
    *,
    cell_size_mm: float | None = None,
    boundary: str = "drop",
    grading: Grading | None = None,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    remove: float | Bool[Tensor, " struts"] = 0.0,
    seed: int = 0,
    keep_dangling: bool = False,
) -> StrutBlock:
    """A block of counts[0] x counts[1] x counts[2] cells (one number: the same along all three), ready for a test.

    Args:
        lattice: any lattice; the block's faces are parallel to those of its cell, so take a conventional cell for a
            rectangular block (`named_cell(name, primitive=False)`). Gradients are not carried.
        cell_size_mm: length of the first lattice vector; None keeps the lattice's own unit.
        boundary: what becomes of struts that cross a face: 'drop' leaves them out, 'keep' keeps them whole, 'cut' ends
            them at the face by a new node, which serves nets without nodes on the faces (foams).
        grading: factor on the radius by position in millimetres, at both ends of every strut.
        origin: corner of the block in fractional coordinates of the cell.
        remove: share of the struts to remove at random (rounded to whole struts), or a mask over the struts that the
            block has without removal.
        seed: of the random choice.
        keep_dangling: keep struts that end freely inside the block, and pieces that join no two opposite faces (the
            largest one stays). Ends on or beyond a face are not free: a plate may hold them.

    Raises:
        InputError: counts, boundary, grading or removal out of range, or no strut left.
    """
    if boundary not in BOUNDARIES:
        raise InputError(f"boundary: is {boundary!r}; choose one of {', '.join(BOUNDARIES)}")
    block = strut_block(
        lattice,
        counts,
        cell_size_mm=cell_size_mm,
        boundary="drop" if boundary == "drop" else "keep",
        grading=grading,
        origin=origin,
    )
    if boundary == "cut":
        block = cut_at_faces(block)
    stays = ~_removed(remove, block.edge_index.shape[1], seed)
    if not keep_dangling:
        stays = _without_loose_struts(block, stays)
    if not bool(stays.any()):
        raise InputError("remove: no strut is left in the block; remove fewer or take more cells")
    return select_struts(block, stays)


def block_coordinates(block: StrutBlock) -> Float[Tensor, "nodes 3"]:
    """Positions of the nodes in units of the block's edges: its faces are at 0 and 1."""
    return torch.linalg.solve(block.edges.T, block.positions.T).T


def select_struts(block: StrutBlock, keep: Bool[Tensor, " struts"]) -> StrutBlock:
    """The block with some of its struts; nodes left without any are dropped."""
    used, compact = torch.unique(block.edge_index[:, keep], return_inverse=True)
    return replace(
        block,
        positions=block.positions[used],
        edge_index=compact,
        radii=block.radii[keep],
        strut=block.strut[keep],
    )


def cut_at_faces(block: StrutBlock) -> StrutBlock:
    """End every strut that leaves the block at the face, by a node of its own there; radii are interpolated."""
    coordinates = block_coordinates(block)
    source, target = block.edge_index
    begin, along = coordinates[source], coordinates[target] - coordinates[source]
    # a strut is inside between its last entry and its first exit over the three pairs of faces
    moving = along.abs() > _ON_FACE
    slope = torch.where(moving, along, 1.0)
    low = torch.where(moving, torch.minimum(-begin / slope, (1 - begin) / slope), 0.0).amax(1)
    high = torch.where(moving, torch.maximum(-begin / slope, (1 - begin) / slope), 1.0).amin(1)
    # a node that rounding puts outside is left where it is
    low, high = torch.where(low > _ON_FACE, low, 0.0), torch.where(high < 1 - _ON_FACE, high, 1.0)
    inside = high - low > _ON_FACE
    positions, ends, radii = [block.positions], [], []
    count = len(block.positions)
    for fraction, node, moved in ((low, source, low > 0), (high, target, high < 1)):
        start, vector = block.positions[source[moved]], (block.ends - block.starts)[moved]
        positions.append(start + fraction[moved, None] * vector)
        end = node.clone()
        end[moved] = count + torch.arange(int(moved.sum()))
        count += int(moved.sum())
        ends.append(end)
        radii.append(block.radii[:, 0] + fraction * (block.radii[:, 1] - block.radii[:, 0]))
    whole = replace(
        block, positions=torch.cat(positions), edge_index=torch.stack(ends), radii=torch.stack(radii, dim=1)
    )
    return select_struts(whole, inside)


def _removed(remove: float | Tensor, struts: int, seed: int) -> Bool[Tensor, " struts"]:
    if isinstance(remove, Tensor) and remove.dtype == torch.bool:
        if remove.shape != (struts,):
            raise InputError(f"remove: the mask has shape {tuple(remove.shape)}; the block has {struts} struts")
        return remove
    share = float(remove)
    if not 0 <= share < 1:
        raise InputError(f"remove: is {share}; give a share of the struts from 0 to below 1, or a mask")
    gone = torch.zeros(struts, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    gone[torch.randperm(struts, generator=generator)[: round(share * struts)]] = True
    return gone


def _without_loose_struts(block: StrutBlock, stays: Bool[Tensor, " struts"]) -> Bool[Tensor, " struts"]:
    """Take away pieces that join no two opposite faces, then, again and again, struts that end freely inside."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    coordinates = block_coordinates(block)
    low, high = coordinates < _ON_FACE, coordinates > 1 - _ON_FACE
    outer = (low | high).any(1)
    source, target = block.edge_index
    joined = block.edge_index[:, stays].numpy()
    graph = coo_array((np.ones(joined.shape[1], np.int8), tuple(joined)), shape=(len(outer),) * 2)
    pieces, label = connected_components(graph, directed=False)
    piece = torch.from_numpy(label).long()
    touches = [torch.zeros(pieces, 3, dtype=torch.int64).index_add(0, piece, face.long()) > 0 for face in (low, high)]
    spans = (touches[0] & touches[1]).any(1)
    spans[torch.bincount(piece[source[stays]], minlength=pieces).argmax()] = True
    stays = stays & spans[piece[source]]
    while True:
        ends = torch.bincount(block.edge_index[:, stays].reshape(-1), minlength=len(coordinates))
        loose = (ends == 1) & ~outer
        leaves = stays & (loose[source] | loose[target])
        if not bool(leaves.any()):
            return stays
        stays = stays & ~leaves
