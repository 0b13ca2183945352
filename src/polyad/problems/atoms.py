"""Molecules and crystals with exact energies and forces: what potentials are trained and tested on where no data are.

`molecule_frames`: an ethanol-sized molecule (9 atoms, C2H6O) at a temperature, from Langevin trajectories of

    harmonic bonds + k (cos angle - cos angle0)^2 / 2 + V (1 + cos 3 torsion) / 2 + Lennard-Jones between atoms three
    bonds apart and more + Stillinger-Weber three-body terms between all neighbours within 2.6

`silicon_frames`: periodic cells of Stillinger-Weber silicon (F. Stillinger and T. Weber, Phys. Rev. B 31 (1985) 5262),
strained and shaken, with stresses.

Energies in electronvolt, lengths in angstrom. Forces and stresses are derivatives by automatic differentiation.

*When not to use it*: as models of ethanol or silicon.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.graphs.neighbors import edge_vectors
from polyad.materials.structures import Structures
from polyad.problems._langevin import langevin, with_forces

_SPECIES = (6, 6, 8, 1, 1, 1, 1, 1, 1)
_MASS = {1: 1.008, 6: 12.011, 8: 15.999}
_BONDS = ((0, 1), (1, 2), (0, 3), (0, 4), (0, 5), (1, 6), (1, 7), (2, 8))
_LENGTH = {(6, 6): 1.52, (6, 8): 1.43, (1, 6): 1.09, (1, 8): 0.97}
_STIFFNESS = {(6, 6): 26.0, (6, 8): 30.0, (1, 6): 30.0, (1, 8): 45.0}  # eV / A^2
_PLACES = (
    (-1.19, -0.33, 0.0), (0.0, 0.62, 0.0), (1.19, -0.16, 0.0), (-2.12, 0.25, 0.0), (-1.17, -0.97, 0.88),
    (-1.17, -0.97, -0.88), (0.04, 1.26, 0.88), (0.04, 1.26, -0.88), (1.94, 0.46, 0.0),
)  # fmt: skip


def molecule_frames(
    count: int, *, seed: int, temperature: float = 500.0, replicas: int = 25, spacing: int = 40
) -> Structures:
    """Frames of the molecule with `energy` and `forces`, drawn from replicas that run side by side.

    Args:
        count: number of frames.
        seed: of velocities and noise; frames of different seeds are independent.
        temperature: in kelvin.
        replicas: trajectories run at once, each from the same geometry with its own noise.
        spacing: steps of half a femtosecond between two frames of a replica; the first 400 steps are left out.

    Raises:
        InputError: a count, spacing or temperature that is not positive.
    """
    if min(count, replicas, spacing) < 1 or not temperature > 0:
        raise InputError(f"molecule_frames: count {count}, replicas {replicas}, spacing {spacing}, {temperature} K")
    generator = torch.Generator().manual_seed(seed)
    model = _Molecule.build()
    mass = torch.tensor([_MASS[z] for z in _SPECIES], dtype=torch.float64)[:, None]
    start = torch.tensor(_PLACES, dtype=torch.float64).expand(replicas, 9, 3)
    motion = langevin(model.energy, start, mass, temperature=temperature, friction=0.02, step=0.5, generator=generator)
    found: list[Tensor] = []
    total = 400 + spacing * -(-count // replicas)
    for number, x in enumerate(islice(motion, total), 1):
        if number > 400 and (number - 400) % spacing == 0:
            found.append(x - (x * mass).sum(1, keepdim=True) / mass.sum())
    positions = torch.stack(found, dim=1).reshape(-1, 9, 3)[torch.randperm(len(found) * replicas, generator=generator)]
    positions = positions[:count]
    energy, forces = with_forces(model.energy, positions)
    return Structures.from_arrays(
        positions.reshape(-1, 3),
        _SPECIES * count,
        sizes=[9] * count,
        targets={"energy": energy},
        node_targets={"forces": forces.reshape(-1, 3)},
    )


def molecule_energy(positions: Float[Tensor, "*frames 9 3"]) -> Float[Tensor, "*frames"]:
    """Energy of the molecule, in electronvolt; atoms are C C O, three H on the first C, two on the second, one on O."""
    return _Molecule.build().energy(positions)


class _Molecule(NamedTuple):
    """Terms of the energy, as index tensors and constants."""

    bonds: Tensor
    lengths: Tensor
    stiffness: Tensor
    angles: Tensor
    torsions: Tensor
    far: Tensor
    triples: Tensor

    @staticmethod
    def build() -> _Molecule:
        kinds = [(_SPECIES[i], _SPECIES[j]) for i, j in _BONDS]
        pairs = [(min(pair), max(pair)) for pair in kinds]
        joined: dict[int, list[int]] = {k: [] for k in range(9)}
        for i, j in _BONDS:
            joined[i].append(j)
            joined[j].append(i)
        angles = [(a, k, b) for k in range(9) for n, a in enumerate(joined[k]) for b in joined[k][:n]]
        torsions = [(a, i, j, b) for i, j in _BONDS for a in joined[i] for b in joined[j] if a != j and b != i]
        close = {(min(a, b), max(a, b)) for a, _, b in angles} | {(min(b), max(b)) for b in _BONDS}
        far = [(i, j) for j in range(9) for i in range(j) if (i, j) not in close]
        triples = [(j, i, k) for i in range(9) for k in range(9) for j in range(k) if i not in (j, k)]
        return _Molecule(
            torch.tensor(_BONDS),
            torch.tensor([_LENGTH[pair] for pair in pairs], dtype=torch.float64),
            torch.tensor([_STIFFNESS[pair] for pair in pairs], dtype=torch.float64),
            torch.tensor(angles),
            torch.tensor(torsions),
            torch.tensor(far),
            torch.tensor(triples),
        )

    def energy(self, x: Tensor) -> Tensor:
        a, b = x[..., self.bonds[:, 0], :], x[..., self.bonds[:, 1], :]
        stretch = 0.5 * self.stiffness * (_norm(a - b) - self.lengths).square()
        bend = 0.5 * 4.0 * (_cosine(x, self.angles) + 1 / 3).square()
        twist = 0.5 * 0.12 * (1 + _cosine_of_three(x, self.torsions))
        distance = _norm(x[..., self.far[:, 0], :] - x[..., self.far[:, 1], :])
        sixth = (2.4 / distance) ** 6
        lennard_jones = 4 * 0.006 * (sixth.square() - sixth)
        three = _stillinger_weber(x, self.triples)
        return stretch.sum(-1) + bend.sum(-1) + twist.sum(-1) + lennard_jones.sum(-1) + three.sum(-1)


def _norm(x: Tensor) -> Tensor:
    return x.square().sum(-1).sqrt()


def _cosine(x: Tensor, triples: Tensor) -> Tensor:
    a, b = (x[..., triples[:, end], :] - x[..., triples[:, 1], :] for end in (0, 2))
    return (a * b).sum(-1) / (_norm(a) * _norm(b))


def _cosine_of_three(x: Tensor, torsions: Tensor) -> Tensor:
    """cos 3 phi = 4 cos^3 phi - 3 cos phi, without the angle itself."""
    p = [x[..., torsions[:, k], :] for k in range(4)]
    first, second = torch.linalg.cross(p[1] - p[0], p[2] - p[1]), torch.linalg.cross(p[2] - p[1], p[3] - p[2])
    cosine = (first * second).sum(-1) / (_norm(first) * _norm(second)).clamp_min(1e-6)
    return 4 * cosine**3 - 3 * cosine


def _stillinger_weber(x: Tensor, triples: Tensor, *, reach: float = 2.6, strength: float = 0.8) -> Tensor:
    """strength (cos + 1/3)^2 exp(1 / (r1 - reach) + 1 / (r2 - reach)) within reach of the middle atom."""
    a, b = (x[..., triples[:, end], :] - x[..., triples[:, 1], :] for end in (0, 2))
    near = (_norm(a) < reach - 1e-3) & (_norm(b) < reach - 1e-3)
    inside = torch.where(near, 1 / (_norm(a) - reach) + 1 / (_norm(b) - reach), -torch.inf)
    return strength * (_cosine(x, triples) + 1 / 3).square() * torch.exp(inside)


def silicon_frames(count: int, *, seed: int, shake: float = 0.12, strain: float = 0.03) -> Structures:
    """Conventional cells (8 atoms) of silicon, strained and shaken at random, with energy, forces and stress.

    Args:
        count: number of cells.
        seed: of strains and displacements.
        shake: standard deviation of every coordinate, in angstrom.
        strain: standard deviation of the components of the symmetric strain.

    Raises:
        InputError: a count that is not positive, or a negative amplitude.
    """
    if count < 1 or min(shake, strain) < 0:
        raise InputError(f"silicon_frames: count {count}, shake {shake}, strain {strain}; give positive numbers")
    generator = torch.Generator().manual_seed(seed)
    fcc = torch.tensor([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], dtype=torch.float64)
    places = 5.431 * torch.cat([fcc, fcc + 0.25])
    draw = strain * torch.randn(count, 3, 3, generator=generator, dtype=torch.float64)
    deform = torch.eye(3, dtype=torch.float64) + 0.5 * (draw + draw.mT)
    positions = places @ deform + shake * torch.randn(count, 8, 3, generator=generator, dtype=torch.float64)
    cells = Structures.from_arrays(positions.reshape(-1, 3), [14] * (8 * count), sizes=[8] * count, cell=5.431 * deform)
    return stillinger_weber_silicon(cells)


def stillinger_weber_silicon(structures: Structures) -> Structures:
    """The same structures with energy, forces and, where all repeat, stress of Stillinger-Weber silicon."""
    structures = structures.with_neighbors(1.8 * 2.0951 - 1e-6)
    eye = torch.eye(3, dtype=torch.float64)
    strain = structures.positions.new_zeros(len(structures), 3, 3).requires_grad_()
    deform = eye + 0.5 * (strain + strain.mT)
    positions = torch.bmm(structures.positions[:, None], deform[structures.structure])[:, 0]
    positions = positions + torch.zeros_like(positions).requires_grad_()
    index = structures.edge_index
    vectors = edge_vectors(positions, index, structures.edge_shift, structures.cell @ deform, structures.structure)
    atomic = _silicon_atoms(vectors, index[0], structures.num_nodes)
    energy = positions.new_zeros(len(structures)).index_add(0, structures.structure, atomic)
    force, virial = torch.autograd.grad(energy.sum(), [positions, strain])
    targets = {"energy": energy.detach()}
    if bool(structures.periodic.all()):
        targets["stress"] = virial / torch.linalg.det(structures.cell).abs()[:, None, None]
    return structures.replace(targets=targets, node_targets={"forces": -force})


def _silicon_atoms(vectors: Tensor, source: Tensor, nodes: int) -> Tensor:
    """Energies of the atoms: half of every pair term, and the three-body terms centred on the atom."""
    sigma, epsilon, big_a, big_b, reach, lam, gamma = 2.0951, 2.1683, 7.049556277, 0.6022245584, 1.8, 21.0, 1.2
    r = _norm(vectors) / sigma
    pair = epsilon * big_a * (big_b * r**-4 - 1) * torch.exp(1 / (r - reach))
    energy = vectors.new_zeros(nodes).index_add(0, source, 0.5 * pair)
    # all pairs of edges of one atom: edges are sorted by source
    first, second = _edge_pairs(source, nodes)
    cosine = (vectors[first] * vectors[second]).sum(-1) / (_norm(vectors[first]) * _norm(vectors[second]))
    decay = torch.exp(gamma / (r[first] - reach) + gamma / (r[second] - reach))
    return energy.index_add(0, source[first], epsilon * lam * (cosine + 1 / 3).square() * decay)


def _edge_pairs(source: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """Numbers of two different edges with one source, each pair once."""
    counts = torch.bincount(source, minlength=nodes)
    start = counts.cumsum(0) - counts
    number = torch.arange(len(source))
    ahead = start[source] + counts[source] - number - 1  # edges of the same atom that come later
    first = torch.repeat_interleave(number, ahead)
    offset = torch.arange(len(first)) - torch.repeat_interleave(ahead.cumsum(0) - ahead, ahead)
    return first, first + 1 + offset
