"""Transition-metal complexes with an exact zero-field-splitting tensor, shaken at a temperature.

A cobalt ion (atom 0) with four to six ligands of one bead each, held by

    harmonic bonds + k (cos angle - cos angle0)^2 / 2 for every pair of ligands + Lennard-Jones between ligands,

and the tensor by the superposition model with a second-order term: with B = sum over ligands of

    A (r0 / r)^p (rhat rhat' - 1/3),    D = B + (B B - tr(B B) / 3) / C.

A, r0, p, k belong to the ligand's element, bond lengths to each ligand; C is 150 cm^-1. The energy does not know how
the complex is turned, so frames turn freely. Lengths in angstrom, energies in electronvolt, D in cm^-1 and symmetric
without trace.

Source of the superposition model: D. J. Newman and B. Ng, Rep. Prog. Phys. 52 (1989) 699.

*When not to use it*: as a model of a particular compound; the parameters are of the usual size, no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.structures import Structures
from polyad.problems._langevin import langevin, with_forces

_METAL = 27
_MASS = {27: 58.933, 7: 14.007, 8: 15.999, 17: 35.45}
# A in cm^-1, r0 in angstrom, p, k in eV / A^2
_ELEMENT = {7: (55.0, 2.05, 5.0, 7.0), 8: (38.0, 2.0, 6.0, 6.0), 17: (-30.0, 2.3, 4.0, 5.0)}
_BEND, _SECOND_ORDER = 2.5, 150.0
_LENNARD_JONES = (0.008, 2.5)
_STEP = 2.0  # fs

# ligands: direction, element, bond length; nowhere quite symmetric
_SITES = {
    4: (
        ((1.0, 0.9, 1.1), 7, 1.98), ((-1.0, -1.1, 0.9), 7, 2.02), ((-1.0, 1.0, -0.8), 8, 1.95),
        ((1.1, -1.0, -1.0), 17, 2.25),
    ),
    5: (
        ((0.0, 0.1, 1.0), 7, 2.05), ((1.0, 0.0, -0.2), 8, 1.98), ((-1.0, 0.2, -0.2), 7, 2.08),
        ((0.1, 1.0, -0.2), 7, 2.04), ((0.0, -1.0, -0.1), 17, 2.30),
    ),
    6: (
        ((0.0, 0.0, 1.0), 17, 2.35), ((0.1, 0.0, -1.0), 8, 2.02), ((1.0, 0.1, 0.0), 7, 2.08),
        ((-1.0, 0.0, 0.1), 7, 2.12), ((0.0, 1.0, 0.1), 7, 2.10), ((0.1, -1.0, 0.0), 8, 2.06),
    ),
}  # fmt: skip


@final
@dataclass(frozen=True, eq=False)
class MetalComplex:
    """A metal ion and its ligands; atom 0 is the metal.

    Args:
        ligands: how many, 4 (tetrahedron), 5 (square pyramid) or 6 (octahedron), all distorted.

    Raises:
        InputError: another number.
    """

    ligands: int = 6

    def __post_init__(self) -> None:
        if self.ligands not in _SITES:
            raise InputError(f"ligands: {self.ligands} was given; allowed are 4, 5 and 6")

    @property
    def species(self) -> Int[Tensor, " atoms"]:
        """Atomic numbers."""
        return torch.tensor([_METAL, *(element for _, element, _ in _SITES[self.ligands])])

    @property
    def mass(self) -> Float[Tensor, " atoms"]:
        """Atomic masses."""
        return torch.tensor([_MASS[z] for z in self.species.tolist()], dtype=torch.float64)

    @property
    def positions(self) -> Float[Tensor, "atoms 3"]:
        """Where bonds and angles are at rest; Lennard-Jones terms move the minimum a little."""
        return torch.cat([torch.zeros(1, 3, dtype=torch.float64), self._terms.length[:, None] * self._terms.rest])

    def energy(self, positions: Float[Tensor, "*frames atoms 3"]) -> Float[Tensor, "*frames"]:
        """In electronvolt."""
        terms = self._terms
        unit, distance = _directions(positions)
        stretch = 0.5 * terms.stiffness * (distance - terms.length).square()
        bend = 0.5 * _BEND * (_cosines(unit, terms.pairs) - terms.cosine).square()
        apart = positions.index_select(-2, 1 + terms.pairs[0]) - positions.index_select(-2, 1 + terms.pairs[1])
        strength, size = _LENNARD_JONES
        sixth = (size**2 / apart.square().sum(-1)) ** 3
        return stretch.sum(-1) + (bend + 4 * strength * (sixth.square() - sixth)).sum(-1)

    def zero_field_splitting(self, positions: Float[Tensor, "*frames atoms 3"]) -> Float[Tensor, "*frames 3 3"]:
        """D in cm^-1."""
        terms = self._terms
        unit, distance = _directions(positions)
        strength = terms.strength * (terms.reference / distance) ** terms.power
        first = _traceless(torch.einsum("...l,...li,...lj->...ij", strength, unit, unit))
        return first + _traceless(first @ first) / _SECOND_ORDER

    @cached_property
    def _terms(self) -> _Terms:
        sites, elements, lengths = zip(*_SITES[self.ligands], strict=True)
        directions = torch.tensor(sites, dtype=torch.float64)
        rest = directions / torch.linalg.vector_norm(directions, dim=1, keepdim=True)
        strength, reference, power, stiffness = torch.tensor([_ELEMENT[z] for z in elements], dtype=torch.float64).T
        pairs = torch.triu_indices(self.ligands, self.ligands, 1)
        length = torch.tensor(lengths, dtype=torch.float64)
        return _Terms(rest, length, strength, reference, power, stiffness, pairs, _cosines(rest, pairs))


class _Terms(NamedTuple):
    """Constants of energy and tensor, a row a ligand, and pairs of ligands."""

    rest: Tensor
    length: Tensor
    strength: Tensor
    reference: Tensor
    power: Tensor
    stiffness: Tensor
    pairs: Tensor
    cosine: Tensor


def _directions(positions: Tensor) -> tuple[Tensor, Tensor]:
    bonds = positions[..., 1:, :] - positions[..., :1, :]
    distance = torch.linalg.vector_norm(bonds, dim=-1)
    return bonds / distance[..., None], distance


def _cosines(unit: Tensor, pairs: Tensor) -> Tensor:
    return (unit.index_select(-2, pairs[0]) * unit.index_select(-2, pairs[1])).sum(-1)


def complex_trajectories(
    times: int,
    *,
    seed: int,
    system: MetalComplex | None = None,
    temperature: float = 300.0,
    replicas: int = 1,
    spacing: float = 4.0,
    friction: float = 0.01,
    equilibration: float = 1000.0,
) -> Float[Tensor, "replicas times atoms 3"]:
    """Positions along Langevin trajectories, in order of time; replicas run side by side.

    Args:
        times: of each replica.
        seed: of velocities and noise.
        system: by default that of six ligands.
        temperature: in kelvin.
        replicas: trajectories, each with its own noise.
        spacing: of times, in femtoseconds, in whole steps of 2.
        friction: in 1/fs; lines of a spectrum are as wide.
        equilibration: left out at the start, in femtoseconds; several times 1 / friction.

    Raises:
        InputError: numbers that are not positive, or a spacing that is no multiple of 2.
    """
    stride, first = round(spacing / _STEP), round(equilibration / _STEP)
    whole = stride * _STEP == spacing
    if min(times, replicas, stride) < 1 or first < 0 or not whole or not min(temperature, friction) > 0:
        raise InputError(
            f"complex_trajectories: {times} times every {spacing} fs, {replicas} replicas, {temperature} K, friction "
            f"{friction} /fs, equilibration {equilibration} fs; give positive numbers, spacing a multiple of {_STEP}"
        )
    system = system or MetalComplex()
    generator = torch.Generator().manual_seed(seed)
    start = system.positions.expand(replicas, -1, 3)
    motion = langevin(
        system.energy, start, system.mass[:, None], temperature=temperature, friction=friction, step=_STEP,
        generator=generator,
    )  # fmt: skip
    total = first + stride * times
    kept = islice(motion, first + stride - 1, total, stride)
    return torch.stack(list(kept), dim=1)


def complex_frames(
    count: int,
    *,
    seed: int,
    system: MetalComplex | None = None,
    temperature: float = 300.0,
    replicas: int = 50,
    spacing: float = 100.0,
) -> Structures:
    """Frames in random order with `energy`, `forces` and `zero_field_splitting`, for learning.

    Args:
        count: number of frames.
        seed: of trajectories and order; frames of different seeds are independent.
        system: by default that of six ligands.
        temperature: in kelvin.
        replicas: trajectories that they come from.
        spacing: of frames of one trajectory, in femtoseconds.

    Raises:
        InputError: as `complex_trajectories`.
    """
    if count < 1:
        raise InputError(f"count: {count} was given; at least 1 frame is needed")
    system = system or MetalComplex()
    runs = complex_trajectories(
        -(-count // replicas), seed=seed, system=system, temperature=temperature, replicas=replicas, spacing=spacing
    ).flatten(0, 1)
    order = torch.randperm(len(runs), generator=torch.Generator().manual_seed(seed))[:count]
    positions = runs[order]
    energy, forces = with_forces(system.energy, positions)
    return Structures.from_arrays(
        positions.reshape(-1, 3),
        system.species.repeat(count),
        sizes=[system.ligands + 1] * count,
        targets={"energy": energy, "zero_field_splitting": system.zero_field_splitting(positions)},
        node_targets={"forces": forces.reshape(-1, 3)},
    )


def _traceless(tensor: Tensor) -> Tensor:
    trace = tensor.diagonal(dim1=-2, dim2=-1).sum(-1)
    return tensor - trace[..., None, None] / 3 * torch.eye(3, dtype=tensor.dtype, device=tensor.device)
