"""Crystals for the tests of ComFormer, and ways to describe the same crystal by other numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from polyad.materials.structures import Structures
from polyad.tensors.rotations import random_rotations

FCC = [[0.0, 2, 2], [2, 0, 2], [2, 2, 0]]
BCC = [[-2.0, 2, 2], [2, -2, 2], [2, 2, -2]]
HEXAGONAL = [[3.0, 0, 0], [-1.5, 1.5 * math.sqrt(3), 0], [0, 0, 4.9]]
ORTHORHOMBIC = [[3.0, 0, 0], [0, 4, 0], [0, 0, 5]]
CUBIC = [[4.0, 0, 0], [0, 4, 0], [0, 0, 4]]


def crystal(cell: object, places: object, species: list[int]) -> Structures:
    """One crystal from fractional coordinates."""
    box, fractional = (torch.as_tensor(x, dtype=torch.float64) for x in (cell, places))
    return Structures.from_arrays(fractional @ box, species, cell=box[None])


def triclinic(seed: int, atoms: int = 5, kinds: int = 3) -> Structures:
    """A random crystal without symmetry, its atoms at least 1.5 apart."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        cell = 5 * torch.eye(3) + torch.randn(3, 3, generator=generator, dtype=torch.float64)
        places = torch.rand(atoms, 3, generator=generator, dtype=torch.float64)
        species = torch.randint(1, kinds + 1, (atoms,), generator=generator)
        found = crystal(cell, places, species.tolist())
        if found.with_neighbors(1.5).num_edges == 0:
            return found


def quartz(hand: int = 1) -> Structures:
    """Alpha quartz of P3121 (hand 1), or its mirror image in P3221."""
    u, x, y, z = 0.4697, 0.4135, 0.2669, 0.1191
    third = 1 / 3
    silicon = [[u, 0, third], [0, u, 2 * third], [-u, -u, 0]]
    oxygen = [
        [x, y, z + third], [-y, x - y, z + 2 * third], [y - x, -x, z],
        [y, x, -z + 2 * third], [x - y, -y, third - z], [-x, y - x, -z],
    ]  # fmt: skip
    cell = 4.9134 * torch.tensor([[1, 0, 0], [-0.5, math.sqrt(0.75), 0], [0, 0, 5.4052 / 4.9134]], dtype=torch.float64)
    found = crystal(cell, silicon + oxygen, [14] * 3 + [8] * 6)
    return mirrored(found) if hand < 0 else found


def mirrored(one: Structures) -> Structures:
    """The mirror image in the plane x = 0."""
    sign = torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    return one.replace(positions=one.positions * sign, cell=one.cell * sign)


def with_cell(one: Structures, change: object) -> Structures:
    """The same crystal with lattice vectors change @ cell, |det| >= 1: a supercell where it is more."""
    matrix = torch.as_tensor(change, dtype=torch.float64)
    count = round(abs(float(torch.linalg.det(matrix))))
    steps = torch.cartesian_prod(*[torch.arange(count, dtype=torch.float64)] * 3)
    residues = (count * steps @ torch.linalg.inv(matrix)).round() % count  # equal where steps differ by a supercell
    kinds = torch.unique(residues, dim=0, return_inverse=True)[1]
    chosen = torch.stack([steps[kinds == k][0] for k in range(count)])
    images = one.positions[:, None] + chosen @ one.cell[0]
    return Structures.from_arrays(
        images.reshape(-1, 3), one.species.repeat_interleave(count), cell=(matrix @ one.cell[0])[None]
    )


def noisy(one: Structures, size: float, seed: int) -> Structures:
    """Positions and cell with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    move, strain = (size * torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (one.num_nodes, 3))
    return one.replace(positions=one.positions + move, cell=one.cell + strain)


def descriptions(one: Structures, seed: int = 0) -> dict[str, Structures]:
    """The same crystal in other words."""
    q: Tensor = random_rotations(1, generator=torch.Generator().manual_seed(seed))[0]
    order = torch.randperm(one.num_nodes, generator=torch.Generator().manual_seed(seed))
    shift = torch.tensor([0.31, -2.2, 7.7], dtype=torch.float64)
    return {
        "unimodular": with_cell(one, [[1, 2, 0], [0, 1, 0], [-1, 0, 1]]),
        "left-handed cell": with_cell(one, [[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
        "supercell": with_cell(one, [[1, 1, 0], [0, 2, 0], [1, 0, 2]]),
        "origin": one.replace(positions=one.positions + shift),
        "images": one.replace(positions=one.positions + torch.arange(one.num_nodes)[:, None] * one.cell[0, 1]),
        "order": one.replace(positions=one.positions[order], species=one.species[order]),
        "rotation": one.replace(positions=one.positions @ q.T, cell=one.cell @ q.T),
    }
