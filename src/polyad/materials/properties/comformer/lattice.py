"""The frame that a crystal carries by itself: its three shortest independent lattice vectors, with signs.

Seen from any atom, its own periodic images are the vectors of the primitive lattice. Of these

    e1 = a shortest,    e2 = a next one that is not collinear,    e3 = a next one that is not coplanar,

and since every v comes with -v, signs are fixed by e1.e2 >= 0, e1.e3 >= 0 and det(e1, e2, e3) > 0, which leaves one
triple of a generic lattice, whatever cell describes it. The three lengths are the successive minima of the lattice, and
vectors that attain them form a basis of it.

Where lengths are equal, or a product vanishes, within the tolerance, there is no one choice: all triples that satisfy
the rules are listed (4 of an orthorhombic lattice, 12 of a hexagonal one, 24 of a simple cubic one, more where more
vectors are shortest), and what is averaged over them depends on the lattice alone.

Images in a supercell span a coarser lattice, so pure translations are found first, from positions and kinds. There are
N of them in the cell, a group, so each is a multiple of 1 / N and is known exactly from an approximate match.

Sources: Yan et al. 2024 (see `networks`), section 4.1; reduction: P. Nguyen and D. Stehle, Low-dimensional lattice
basis reduction revisited, ACM Trans. Algorithms 5 (2009) 46.

*When not to use it*: for distorted crystals whose distortion is near the tolerance: there a triple more or less is
admitted, and what depends on it jumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.properties.comformer.lattice_kernels import fold_atoms, triples_of_all
from polyad.materials.structures import Structures

TOLERANCE = 1e-4
"""Of lengths and cosines, and of positions in units of the mean spacing of atoms."""


@final
@dataclass(frozen=True, eq=False)
class Triples:
    """Admissible triples of lattice vectors of several crystals, those of one crystal side by side.

    Args:
        vectors: (triples, 3, 3) rows e1, e2, e3, differentiable in the cells.
        structure: (triples,) which crystal each belongs to, ascending.
        order: (structures,) how many primitive cells the given cell is.
    """

    vectors: Float[Tensor, "triples 3 3"]
    structure: Int[Tensor, " triples"]
    order: Int[Tensor, " structures"]

    def __len__(self) -> int:
        """Number of triples of all crystals."""
        return len(self.structure)

    def chosen(self, number: Int[Tensor, " structures"]) -> Triples:
        """One triple a crystal: number modulo how many it has."""
        counts = torch.bincount(self.structure, minlength=len(self.order))
        places = counts.cumsum(0) - counts + number % counts
        return Triples(self.vectors[places], self.structure[places], self.order)


def lattice_triples(
    positions: Float[Tensor, "nodes 3"],
    kind: Int[Tensor, " nodes"],
    structure: Int[Tensor, " nodes"],
    cell: Float[Tensor, "structures 3 3"],
    *,
    tolerance: float = TOLERANCE,
) -> Triples:
    """All admissible triples of the primitive lattices of crystals.

    Args:
        positions: (nodes, 3).
        kind: (nodes,) elements, by any numbers.
        structure: (nodes,) ascending.
        cell: (structures, 3, 3) rows are lattice vectors, of primitive cells or of others.
        tolerance: relative to lengths; of positions, relative to the mean spacing of atoms.

    Raises:
        InputError: a crystal without atoms, a cell without volume, numbers that are not finite, or a tolerance that is
            not small and positive.
    """
    counts = torch.bincount(structure, minlength=len(cell))
    start = np.concatenate([[0], np.cumsum(counts.cpu().numpy())])
    places, boxes = _checked(positions, start, cell, tolerance)
    coefficients, owner, order = triples_of_all(places, kind.cpu().numpy(), start, boxes, tolerance)
    number = torch.from_numpy(owner).to(cell.device)
    weights = torch.from_numpy(coefficients).to(cell)
    return Triples(torch.bmm(weights, cell[number]), number, torch.from_numpy(order).to(cell.device))


def primitive_cells(structures: Structures, *, tolerance: float = TOLERANCE) -> Structures:
    """The same crystals in primitive cells e1, e2, e3, copies of an atom averaged; neighbours and node targets dropped.

    Orientation, and the order of the atoms that stay, are those of the input; targets and names are kept.

    Raises:
        InputError: as `lattice_triples`, or structures that do not repeat in three directions.
    """
    if not bool(structures.periodic.all()):
        bad = int(torch.nonzero(~structures.periodic.all(1))[0])
        raise InputError(f"structures: number {bad} does not repeat in three directions; only crystals have a lattice")
    start = structures.node_start.cpu().numpy()
    places, boxes = _checked(structures.positions, start, structures.cell, tolerance)
    species = structures.species.cpu().numpy()
    coefficients, owner, orders = triples_of_all(places, species, start, boxes, tolerance)
    first = np.searchsorted(owner, np.arange(len(orders)))
    cells = coefficients[first] @ boxes
    kept: list[np.ndarray] = []
    moved: list[np.ndarray] = []
    for b, order in enumerate(orders):
        own = slice(start[b], start[b + 1])
        if order == 1:
            kept.append(np.arange(start[b], start[b + 1]))
            moved.append(places[own])
            continue
        reach = 4 * tolerance * (abs(np.linalg.det(boxes[b])) / (start[b + 1] - start[b])) ** (1 / 3)
        mean, atoms = fold_atoms(places[own], species[own], cells[b], order, reach)
        if (atoms < 0).any():
            raise InputError(
                f"structures: number {b} repeats {order} times in its cell, but its atoms do not; change the tolerance "
                f"from {tolerance}"
            )
        kept.append(start[b] + atoms)
        moved.append(mean)
    like = structures.positions
    return Structures.from_arrays(
        torch.from_numpy(np.concatenate(moved)).to(like),
        structures.species[torch.from_numpy(np.concatenate(kept)).to(like.device)],
        sizes=[len(x) for x in kept],
        cell=torch.from_numpy(cells).to(like),
        targets=structures.targets,
        names=structures.names,
    )


def vectors_from_features(
    lengths: Float[Tensor, " 3"], distances: Float[Tensor, " edges"], cosines: Float[Tensor, "edges 3"]
) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "edges 3"]]:
    """What invariants of one atom's edges determine: the triple and all edge vectors, up to a rotation.

    With G the Gram matrix of the unit vectors along e1, e2, e3 and c the cosines of an edge with them, c G^-1 c = 1.
    Six edges or more in general directions give G, the rule of signs gives the hand, and every edge is then found from
    its distance and its cosines. This is why the features are complete.

    Args:
        lengths: of e1, e2, e3.
        distances: of the edges.
        cosines: of every edge with e1, e2, e3.

    Raises:
        InputError: edges that do not determine the lattice.
    """
    i, j = torch.triu_indices(3, 3)
    products = cosines[:, i] * cosines[:, j] * torch.where(i == j, 1.0, 2.0).to(cosines)
    if int(torch.linalg.matrix_rank(products, rtol=1e-9)) < 6:
        raise InputError(f"cosines: {len(cosines)} edges do not determine the lattice; give more edges")
    inverse = cosines.new_zeros(3, 3)
    inverse[i, j] = torch.linalg.lstsq(products, torch.ones_like(distances)[:, None], driver="gelsd").solution[:, 0]
    inverse = inverse + inverse.triu(1).T
    unit = torch.linalg.cholesky(torch.linalg.inv(inverse))  # rows of positive determinant: right-handed
    directions = torch.linalg.solve(unit, cosines.T).T
    return lengths[:, None] * unit, distances[:, None] * directions


def _checked(positions: Tensor, start: np.ndarray, cell: Tensor, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions and cells as float64 arrays, when they can be worked with."""
    if not 0 < tolerance < 0.05:
        raise InputError(f"tolerance: {tolerance} was given; it must lie between 0 and 0.05, such as {TOLERANCE}")
    if len(start) != len(cell) + 1 or start[-1] != len(positions):
        raise InputError(f"structure: {len(positions)} nodes and {len(cell)} cells do not fit {start.tolist()}")
    if (np.diff(start) < 1).any():
        raise InputError(f"structure: number {int(np.argmax(np.diff(start) < 1))} has no atom; remove it")
    places = positions.detach().cpu().double().contiguous().numpy()
    boxes = cell.detach().cpu().double().contiguous().numpy()
    if not (np.isfinite(places).all() and np.isfinite(boxes).all()):
        raise InputError("positions, cell: must be finite; look for missing or exploded coordinates")
    volume = np.abs(np.linalg.det(boxes))
    flat = volume <= 1e-9 * np.linalg.norm(boxes, axis=2).prod(1)
    if flat.any():
        raise InputError(f"cell: structure {int(np.argmax(flat))} has no volume: {boxes[np.argmax(flat)].tolist()}")
    return places, boxes
