"""Finite blocks of a lattice: n x m x k cells as plain struts between nodes, in millimetres, with graded radii.

A block is what a printer or a testing machine sees: no images, every strut with its own two ends. Struts cut by the
block's faces are kept whole, left out, or kept for a later cut with the window (`solid`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice

Boundary = Literal["keep", "drop", "trim"]
"""Struts cut by a face of the block: kept whole, left out, or kept together with all that reach into the block."""

Grading = Callable[[Tensor], Tensor]
"""Factor (n,) on the radius at positions (n, 3) in millimetres; the density follows its square."""

_INSIDE = 1e-6
"""Fractional distance from a face that still counts as on it."""


@final
@dataclass(frozen=True, eq=False)
class StrutBlock:
    """Struts of a finite piece of a lattice.

    Args:
        positions: (nodes, 3) in millimetres (or the lattice's unit).
        edge_index: (2, struts) node numbers.
        radii: (struts, 2) radius at source and target.
        strut: (struts,) the strut of the unit cell that each one is an image of.
        edges: (3, 3) edge vectors of the block's window, one corner of which is the origin.
    """

    positions: Float[Tensor, "nodes 3"]
    edge_index: Int[Tensor, "2 struts"]
    radii: Float[Tensor, "struts 2"]
    strut: Int[Tensor, " struts"]
    edges: Float[Tensor, "3 3"]

    @property
    def starts(self) -> Float[Tensor, "struts 3"]:
        """Position of every strut's source."""
        return self.positions[self.edge_index[0]]

    @property
    def ends(self) -> Float[Tensor, "struts 3"]:
        """Position of every strut's target."""
        return self.positions[self.edge_index[1]]

    @property
    def num_pieces(self) -> int:
        """Number of pieces that hang together through nodes."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        source, target = self.edge_index.numpy()
        graph = coo_array((np.ones(len(source), np.int8), (source, target)), shape=(len(self.positions),) * 2)
        return int(connected_components(graph, directed=False)[0])

    @property
    def cycle_rank(self) -> int:
        """Struts - nodes + pieces: the number of handles of the solid where struts meet in nodes only."""
        return self.edge_index.shape[1] - len(self.positions) + self.num_pieces


def in_millimetres(lattice: StrutLattice, cell_size_mm: float | None) -> StrutLattice:
    """The lattice scaled so that its first lattice vector is `cell_size_mm` long; None leaves it as it is."""
    if cell_size_mm is None:
        return lattice
    if not (np.isfinite(cell_size_mm) and cell_size_mm > 0):
        raise InputError(f"cell_size_mm: is {cell_size_mm!r}; the cell's first edge must be a positive length")
    scale = float(cell_size_mm / torch.linalg.vector_norm(lattice.cell[0].detach()))
    return lattice.replace(
        cell=lattice.cell * scale, positions=lattice.positions * scale, radius=lattice.radius * scale
    )


def strut_block(
    lattice: StrutLattice,
    counts: int | Sequence[int] = 1,
    *,
    cell_size_mm: float | None = None,
    boundary: Boundary = "keep",
    grading: Grading | None = None,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
) -> StrutBlock:
    """The struts of counts[0] x counts[1] x counts[2] cells (one number: the same along all three).

    Args:
        lattice: any lattice; gradients are not carried.
        cell_size_mm: length of the first lattice vector; None keeps the lattice's own unit.
        boundary: 'keep' takes every strut of which some length lies in the closed block, whole; 'drop' only those with
            both ends in it; 'trim' also those that merely reach into it with their thickness, for a cut by the window.
        grading: factor on the radius by position in millimetres, taken at both ends of every strut (tapered struts).
        origin: corner of the block in fractional coordinates of the cell: which part of the lattice is taken.

    Raises:
        InputError: counts below 1, an unknown boundary, a grading that is not positive, or no strut left.
    """
    repeats = [counts] * 3 if isinstance(counts, int) else [int(c) for c in counts]
    if len(repeats) != 3 or min(repeats) < 1:
        raise InputError(f"counts: is {counts!r}; give one positive integer or three")
    if boundary not in get_args(Boundary):
        raise InputError(f"boundary: is {boundary!r}; choose one of {', '.join(get_args(Boundary))}")
    scaled = in_millimetres(lattice.detach().to(dtype=torch.float64, device="cpu"), cell_size_mm)
    moved = scaled.translate(-torch.tensor(origin, dtype=torch.float64) @ scaled.cell).wrap()
    number, shift = _images(moved, np.array(repeats), boundary)
    if not len(number):
        raise InputError(f"counts: no strut lies within {' x '.join(map(str, repeats))} cells; take more, or 'keep'")

    source, target = moved.edge_index.numpy()
    ends = np.concatenate(
        [
            np.column_stack([source[number], shift]),
            np.column_stack([target[number], shift + moved.edge_shift.numpy()[number]]),
        ]
    )
    nodes, index = np.unique(ends, axis=0, return_inverse=True)
    positions = moved.positions[nodes[:, 0]] + torch.from_numpy(nodes[:, 1:]).double() @ moved.cell
    edge_index = torch.from_numpy(index.reshape(2, -1))
    strut = torch.from_numpy(number)
    radii = moved.radius[strut][:, None].expand(-1, 2) * _factors(grading, positions)[edge_index].T
    edges = moved.cell * torch.tensor(repeats, dtype=torch.float64)[:, None]
    return StrutBlock(positions, edge_index, radii.contiguous(), strut, edges)


def _factors(grading: Grading | None, positions: Tensor) -> Tensor:
    if grading is None:
        return positions.new_ones(len(positions))
    factor = torch.as_tensor(grading(positions)).to(positions)
    if factor.shape != (len(positions),):
        raise InputError(
            f"grading: gave shape {tuple(factor.shape)}; expected one factor for {len(positions)} positions"
        )
    if not bool((torch.isfinite(factor) & (factor > 0)).all()):
        raise InputError("grading: gave a factor that is not a positive number; radii must stay positive")
    return factor


def _images(lattice: StrutLattice, counts: np.ndarray, boundary: Boundary) -> tuple[np.ndarray, np.ndarray]:
    """Strut numbers (k,) and cells (k, 3) of all images that the block keeps."""
    inverse = np.linalg.inv(lattice.cell.numpy())
    begin = lattice.positions[lattice.edge_index[0]].numpy() @ inverse
    along = lattice.edge_vectors.numpy() @ inverse
    # a ball of radius r reaches r |column k of the inverse| in fractional coordinate k
    reach = lattice.radius.numpy()[:, None] * np.linalg.norm(inverse, axis=0) if boundary == "trim" else 0.0
    low = np.minimum(begin, begin + along) - reach
    high = np.maximum(begin, begin + along) + reach
    first = np.ceil(-high - _INSIDE).astype(np.int64)
    last = np.floor(counts - low + _INSIDE).astype(np.int64)
    numbers, shifts = [], []
    for e in range(lattice.num_edges):
        ranges = [np.arange(a, b + 1) for a, b in zip(first[e], last[e], strict=True)]
        shift = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
        if boundary == "drop":
            ends = np.stack([begin[e] + shift, begin[e] + along[e] + shift])
            kept = ((ends > -_INSIDE) & (ends < counts + _INSIDE)).all(axis=(0, 2))
        elif boundary == "keep":
            kept = _length_inside(begin[e] + shift, along[e], counts) > _INSIDE
        else:
            kept = np.ones(len(shift), dtype=bool)
        shifts.append(shift[kept])
        numbers.append(np.full(int(kept.sum()), e))
    return np.concatenate(numbers), np.concatenate(shifts)


def _length_inside(begin: np.ndarray, along: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Part (0 to 1) of each segment that lies in the closed box [0, counts]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (-_INSIDE - begin) / along, (counts + _INSIDE - begin) / along
    parallel = np.abs(along) < 1e-12
    beside = parallel & ((begin < -_INSIDE) | (begin > counts + _INSIDE))
    enter = np.where(parallel, 0.0, np.minimum(one, other)).max(axis=1)
    leave = np.where(parallel, 1.0, np.maximum(one, other)).min(axis=1)
    length = np.minimum(leave, 1.0) - np.maximum(enter, 0.0)
    # what the tolerance alone lets in is no length
    slack = 2 * _INSIDE / np.maximum(np.abs(along).max(), 1e-12)
    return np.where(beside.any(axis=1), 0.0, length - slack)
