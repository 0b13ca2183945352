"""Free clusters of like atoms with pair and angular forces: a small many-body problem with exact energies and forces.

    E = sum over pairs of (1 - exp(-a (r - 1)))^2 - 1      (Morse, a = 4, depth and distance of rest 1)
      + lambda sum over atoms i and pairs j, k of neighbours of g(r_ij) g(r_ik) (cos jik - cos 109.47)^2,  lambda = 2

with g the polynomial window that ends at 1.7. The Morse term alone would pack the atoms; the angles will not have it.
Reduced units: the depth of the pair's well, and its distance.

*When not to use it*: as a model of a material.
"""

from __future__ import annotations

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.structures import Structures
from polyad.problems._labels import labelled, settled
from polyad.symmetry.radial import polynomial_window

CUTOFF = 3.0
"""Where the pair's force ends, by a window."""

_STEEPNESS, _ANGULAR, _REACH = 4.0, 2.0, 1.7


def cluster_frames(count: int, *, seed: int, atoms: int = 8, shake: float = 0.05) -> Structures:
    """Clusters settled from random positions, then shaken, with `energy` and `forces`.

    Args:
        count: number of clusters.
        seed: of all that is random; frames of different seeds are independent.
        atoms: of every cluster.
        shake: standard deviation of every coordinate's last displacement.

    Raises:
        InputError: a count that is not positive, fewer than two atoms, or a negative amplitude.
    """
    if count < 1 or atoms < 2 or shake < 0:
        raise InputError(f"cluster_frames: count {count}, atoms {atoms}, shake {shake}; give 1, 2, 0 or more")
    generator = torch.Generator().manual_seed(seed)
    spread = 0.5 * atoms ** (1 / 3)
    places = spread * torch.randn(count * atoms, 3, generator=generator, dtype=torch.float64)
    clusters = Structures.from_arrays(places, [18] * (count * atoms), sizes=[atoms] * count)
    clusters = settled(clusters, cluster_potential, steps=50, length=0.15)
    noise = shake * torch.randn(places.shape, generator=generator, dtype=torch.float64)
    return cluster_potential(clusters.replace(positions=clusters.positions + noise))


def cluster_potential(structures: Structures) -> Structures:
    """The same structures with neighbours within CUTOFF, `energy` and `forces`; species do not matter."""
    return labelled(structures, CUTOFF, _atom_energies)


def _atom_energies(vectors: Tensor, edge_index: Tensor, species: Tensor) -> Tensor:
    distance = torch.linalg.vector_norm(vectors, dim=-1)
    pair = ((1 - torch.exp(-_STEEPNESS * (distance - 1))).square() - 1) * polynomial_window(distance, CUTOFF, power=12)
    near = polynomial_window(distance, _REACH)
    unit = vectors / distance[:, None]
    # (c - c0)^2 = c^2 - 2 c c0 + c0^2 summed over ordered pairs j, k is a sum of squares of moments of the neighbours
    zeroth, first = near[:, None], near[:, None] * unit
    second = (first[:, :, None] * unit[:, None, :]).flatten(1)
    moments = vectors.new_zeros(len(species), 13).index_add(0, edge_index[0], torch.cat([zeroth, first, second], dim=1))
    rest = -1 / 3
    ordered = moments[:, 4:].square().sum(-1) - 2 * rest * moments[:, 1:4].square().sum(-1)
    ordered = ordered + rest**2 * moments[:, 0].square()
    itself = vectors.new_zeros(len(species)).index_add(0, edge_index[0], near.square() * (1 - rest) ** 2)
    energy = vectors.new_zeros(len(species)).index_add(0, edge_index[0], 0.5 * pair)
    return energy + 0.5 * _ANGULAR * (ordered - itself)
