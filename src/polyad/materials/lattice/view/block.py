"""What is drawn of a lattice: all struts that belong to a block of cells, as segments in space.

A strut belongs to the block 0 <= f <= k (coordinates f in units of the block's edges, k blocks along each of them) when
its midpoint does, faces and a little more included. So a simple cubic cell shows all twelve edges of its cube, although
it owns only three struts. The block of a primitive cell is a brick that tiles the same lattice, where there is one
(`drawing_box`): an octet truss is drawn as a cube, not as a leaning rhombohedron.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import final

import numpy as np

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice

MAXIMUM_CELLS = 12
"""Cells along one direction of a drawing; beyond it nothing can be told apart."""

AIM = 160
"""Struts of a drawing when the number of cells is left open."""

_FACE = 0.07
"""How far outside the block a midpoint may lie, in boxes: perturbed cells keep the struts of both opposite faces."""


@final
@dataclass(frozen=True, eq=False)
class Block:
    """Segments of a drawing: `strut` tells which strut of the lattice each of them is an image of."""

    starts: np.ndarray
    ends: np.ndarray
    radii: np.ndarray
    strut: np.ndarray
    outline: np.ndarray
    """(12, 2, 3) edges of the parallelepiped of all cells together."""


def lattice_block(lattice: StrutLattice, cells: int | None = None) -> Block:
    """The struts of cells x cells x cells boxes (`drawing_box`); None takes as many as make some 160 struts.

    Raises:
        InputError: `cells` is not between 1 and 12.
    """
    steps = drawing_box(lattice.cell.detach().cpu().double().numpy())
    count = default_cells(lattice.num_edges * abs(round(np.linalg.det(steps)))) if cells is None else cells
    if not 1 <= count <= MAXIMUM_CELLS:
        raise InputError(f"cells: is {cells}; draw between 1 and {MAXIMUM_CELLS} cells along each direction")
    home = plain_lattice(lattice)
    source, target = home.edge_index
    begin = home.fractional[source]
    along = home.fractional[target] + home.edge_shift - begin
    middle = begin + 0.5 * along
    cell, vector, radii = home.cell, along @ home.cell, home.radius

    reach = np.abs(steps).sum(axis=0) * _FACE
    low = np.ceil(count * np.minimum(steps, 0).sum(axis=0) - reach - middle.max(axis=0)).astype(int)
    high = np.floor(count * np.maximum(steps, 0).sum(axis=0) + reach - middle.min(axis=0)).astype(int)
    offset = np.stack(np.meshgrid(*map(np.arange, low, high + 1), indexing="ij"), axis=-1).reshape(-1, 3)
    reached = (middle[None] + offset[:, None]) @ np.linalg.inv(steps)
    image, strut = np.nonzero(((reached > -_FACE) & (reached < count + _FACE)).all(axis=-1))
    starts = (begin[strut] + offset[image]) @ cell
    return Block(starts, starts + vector[strut], radii[strut], strut, count * _cube_edges() @ steps @ cell)


@final
@dataclass(frozen=True, eq=False)
class PlainLattice:
    """A lattice as NumPy arrays, with every node inside the cell: fractional coordinates in [0, 1)."""

    cell: np.ndarray
    fractional: np.ndarray
    edge_index: np.ndarray
    edge_shift: np.ndarray
    radius: np.ndarray


def plain_lattice(lattice: StrutLattice) -> PlainLattice:
    """The lattice for drawing; strut e runs from f[source] to f[target] + shift, in units of the cell."""
    cell = lattice.cell.detach().cpu().double().numpy()
    fractional = lattice.positions.detach().cpu().double().numpy() @ np.linalg.inv(cell)
    index, shift = lattice.edge_index.cpu().numpy(), lattice.edge_shift.cpu().numpy()
    # a coordinate within rounding of 1 belongs to 0, or nodes on a face would land on either side
    whole = np.floor(fractional + 1e-9).astype(int)
    home = np.maximum(fractional - whole, 0.0)
    shift = shift - whole[index[0]] + whole[index[1]]
    return PlainLattice(cell, home, index, shift, lattice.radius.detach().cpu().double().numpy())


def drawing_box(cell: np.ndarray) -> np.ndarray:
    """(3, 3) integers M such that M @ cell are the edges of the drawn block.

    Bricks of lattice vectors with entries -2 to 2 and of at most eight cells are considered: the smallest along the
    axes x, y, z, or else the smallest at all, or else the cell itself (M = 1).
    """
    steps = _STEPS
    vectors = steps @ cell
    length = np.linalg.norm(vectors, axis=1)
    square = np.abs(vectors @ vectors.T) < 1e-6 * np.outer(length, length)
    a, b = np.nonzero(np.triu(square))
    pair, c = np.nonzero(square[a] & square[b] & (np.arange(len(steps)) > b[:, None]))
    bricks = np.stack([a[pair], b[pair], c], axis=1)
    volume = length[bricks].prod(axis=1) / abs(np.linalg.det(cell))
    bricks, volume = bricks[volume < 8.5], volume[volume < 8.5].round(6)
    if not len(bricks):
        return _right_and_upright(np.eye(3, dtype=int), cell)
    turned = (np.abs(vectors).max(axis=1) < (1 - 1e-6) * length)[bricks].any(axis=1)
    return _right_and_upright(steps[bricks[np.lexsort((volume, turned))[0]]], cell)


_STEPS = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[63:]
"""Vectors of entries -2 to 2, one of each pair +-n, without zero."""


def default_cells(struts: int) -> int:
    """Boxes along each direction that make a drawing of some 160 struts: 1 to 3."""
    return int(np.clip(round((AIM / struts) ** (1 / 3)), 1, 3))


def _right_and_upright(steps: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """The same box with its edges in the order and sense of the axes x, y, z that they are nearest to."""
    vectors = steps @ cell
    nearest = max(permutations(range(3)), key=lambda order: np.abs(vectors[list(order)].diagonal()).sum())
    steps = steps[list(nearest)]
    signs = np.sign((steps @ cell).diagonal())
    return steps * np.where(signs == 0, 1, signs).astype(int)[:, None]


def _cube_edges() -> np.ndarray:
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(-1, 3)
    pairs = [(a, b) for a in range(8) for b in range(a) if np.abs(corners[a] - corners[b]).sum() == 1]
    return corners[np.array(pairs)].astype(float)
