"""Adsorbates on a metal's surface: periodic fcc(111) slabs of a copper-like metal with C, O or CO on them.

    E = sum over metal atoms of ( sum_j A exp(-p (r_ij / r_0 - 1)) - xi sqrt(rho_i) )
      + Morse between every pair with an atom of the adsorbate,   D ((1 - exp(-a (r - r_e)))^2 - 1)
    rho_i = sqrt( sum over l = 0..3 of t_l rho_il^2 ),   rho_il^2 = sum_jk f_ij f_ik P_l(cos jik)

with f_ij = s exp(-2 q (r_ij / r_s - 1)) of every neighbour, metal or not: an embedded atom whose density sees angles
(modified embedded atom: M. I. Baskes, Phys. Rev. B 46 (1992) 2727); with t_1 = t_2 = t_3 = 0 and no adsorbate it is the
second-moment potential of F. Cleri and V. Rosato, Phys. Rev. B 48 (1993) 22, whose A, xi, p, q, r_0 of copper are
taken. Every term carries a window that ends at CUTOFF with two derivatives. Energies in electronvolt, lengths in
angstrom.

*When not to use it*: as a model of copper, or of what binds to it.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.structures import Structures
from polyad.problems._labels import labelled, settled
from polyad.symmetry.radial import polynomial_window
from polyad.symmetry.spherical_harmonics import degree_slices, spherical_harmonics

CUTOFF = 4.2
"""Where all interactions end, in angstrom: between the second and the third neighbours of the metal."""

METAL, SPACING = 29, 2.5580667
"""Atomic number of the metal, and the distance of neighbours in its bulk at rest, in angstrom."""

_REPULSION, _BAND, _P, _Q, _R0 = 0.0855, 1.224, 10.96, 2.278, 2.556
_ANGULAR = (1.0, 0.5, 0.5, 0.5)  # t_l
_DENSITY = {METAL: (1.0, _R0), 6: (0.5, 1.87), 8: (0.4, 1.93)}  # s and r_s
_MORSE = {  # D, a, r_e
    (6, 6): (3.0, 2.0, 1.40), (6, 8): (4.0, 2.0, 1.15), (8, 8): (2.5, 2.0, 1.30),
    (6, METAL): (0.9, 1.8, 1.90), (8, METAL): (0.6, 1.8, 1.95),
}  # fmt: skip
_ADSORBATES = ((6,), (8,), (6, 8))


def slab_frames(count: int, *, seed: int, size: tuple[int, int, int] = (2, 2, 3), shake: float = 0.06) -> Structures:
    """Slabs with an adsorbate at a random place and angle, settled a little and shaken, with `energy` and `forces`.

    Species and sizes differ: C, O and CO are equally likely. The cell repeats along the surface, is strained at random
    by two percent, and holds the vacuum above it.

    Args:
        count: number of structures.
        seed: of all that is random; frames of different seeds are independent.
        size: metal atoms along the two directions of the surface, and layers.
        shake: standard deviation of every coordinate's last displacement, in angstrom.

    Raises:
        InputError: a count that is not positive, a cell narrower than the cutoff, or a negative amplitude.
    """
    if count < 1 or shake < 0 or min(size) < 1 or SPACING * 0.85 * min(size[:2]) < CUTOFF:
        raise InputError(f"slab_frames: count {count}, shake {shake}, size {size}; give 1 or more, >= 0 and (2, 2, 1)")
    generator = torch.Generator().manual_seed(seed)
    places, cell = fcc111(size)
    top = float(places[:, 2].max())
    positions, species, sizes, cells = [], [], [], []
    for number in torch.randint(len(_ADSORBATES), (count,), generator=generator).tolist():
        strain = 0.02 * torch.randn(2, 2, generator=generator, dtype=torch.float64)
        deform = torch.eye(3, dtype=torch.float64)
        deform[:2, :2] += 0.5 * (strain + strain.T)
        kinds = _ADSORBATES[number]
        axis = torch.nn.functional.normalize(
            torch.randn(3, generator=generator, dtype=torch.float64) + torch.tensor([0.0, 0, 1], dtype=torch.float64),
            dim=0,
        )
        lateral, height = torch.rand(2, generator=generator).double(), torch.rand((), generator=generator).double()
        foot = lateral @ cell[:2] + torch.tensor([0.0, 0, top + 1.2 + 0.8 * float(height)], dtype=torch.float64)
        atoms = [foot + 1.15 * k * axis for k in range(len(kinds))]
        positions.append(torch.cat([places, torch.stack(atoms)]) @ deform)
        species += [METAL] * len(places) + list(kinds)
        sizes.append(len(positions[-1]))
        cells.append(cell @ deform)
    slabs = Structures.from_arrays(
        torch.cat(positions),
        species,
        sizes=sizes,
        cell=torch.stack(cells),
        periodic=torch.tensor([True, True, False]).expand(count, 3),
    )
    slabs = settled(slabs, slab_potential, steps=25, length=0.1)
    noise = shake * torch.randn(slabs.positions.shape, generator=generator, dtype=torch.float64)
    return slab_potential(slabs.replace(positions=slabs.positions + noise))


def fcc111(
    size: tuple[int, int, int], *, vacuum: float = 15.0
) -> tuple[Float[Tensor, "atoms 3"], Float[Tensor, "3 3"]]:
    """Positions and cell of a clean slab of the metal, stacked ABC from z = 0 up, with this much empty space above."""
    first = SPACING * torch.tensor([1, 0, 0], dtype=torch.float64)
    second = SPACING * torch.tensor([0.5, math.sqrt(0.75), 0], dtype=torch.float64)
    layer = (first + second) / 3 + SPACING * torch.tensor([0, 0, math.sqrt(2 / 3)], dtype=torch.float64)
    grid = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in size)).view(-1, 3)
    # every third layer stands over the first
    shift = (grid[:, 2, None] // 3) * (first + second)
    places = grid @ torch.stack([first, second, layer]) - shift
    height = float(places[:, 2].max()) + vacuum
    cell = torch.stack([size[0] * first, size[1] * second, torch.tensor([0, 0, height], dtype=torch.float64)])
    return places, cell


def slab_potential(structures: Structures) -> Structures:
    """The same structures with neighbours within CUTOFF, `energy` and `forces`.

    Raises:
        InputError: a species that is none of the metal, C and O.
    """
    strangers = sorted(set(structures.species.tolist()) - set(_DENSITY))
    if strangers:
        raise InputError(f"species: {strangers} given; the slab potential has {sorted(_DENSITY)}")
    return labelled(structures, CUTOFF, _atom_energies)


def _atom_energies(vectors: Tensor, edge_index: Tensor, species: Tensor) -> Tensor:
    nodes, (source, target) = len(species), edge_index
    distance = torch.linalg.vector_norm(vectors, dim=-1)
    window = polynomial_window(distance, CUTOFF, power=12)
    metal = species == METAL
    pair = _pair_energies(distance, species[source], species[target]) * window
    strength, reach = (_by_species(species, column)[target] for column in (0, 1))
    density = window * strength * torch.exp(-2 * _Q * (distance / reach - 1))
    # by the addition theorem, rho_l^2 is the square of a density in harmonics
    harmonics = spherical_harmonics(vectors, 3, normalization="norm")
    moments = vectors.new_zeros(nodes, 16).index_add(0, source, density[:, None] * harmonics)
    terms = [t * moments[:, place].square().sum(-1) for t, place in zip(_ANGULAR, degree_slices(3), strict=True)]
    squares = torch.stack(terms).sum(0)
    embedded = -_BAND * torch.where(metal, squares, torch.ones_like(squares)).clamp_min(1e-24).pow(0.25)
    energy = vectors.new_zeros(nodes).index_add(0, source, 0.5 * pair)
    return energy + torch.where(metal, embedded, torch.zeros_like(embedded))


def _pair_energies(distance: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Twice the repulsion of two metal atoms (each has its own share), the Morse energy of all other pairs."""
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    energy = 2 * _REPULSION * torch.exp(-_P * (distance / _R0 - 1))
    for (a, b), (depth, steepness, rest) in _MORSE.items():
        morse = depth * ((1 - torch.exp(-steepness * (distance - rest))).square() - 1)
        energy = torch.where((low == a) & (high == b), morse, energy)
    return energy


def _by_species(species: Tensor, column: int) -> Tensor:
    values = torch.zeros(len(species), dtype=torch.float64, device=species.device)
    for number, row in _DENSITY.items():
        values = torch.where(species == number, row[column], values)
    return values
