"""Mechanical stability of elasticity tensors, and the log-Euclidean distance between stable ones.

A material is stable when its energy eps.C.eps / 2 is positive for every strain, that is, when the Kelvin-Mandel
matrix is positive definite; its eigenvectors are the eigen-strains, and the one of the smallest eigenvalue is how
the material gives way. (For each crystal class this is equivalent to the Born criteria; a Voigt matrix has other
eigenvalues, but the same signs.)

    distance(A, B) = |log A - log B|       symmetric, scale-free, the same for stiffness and compliance

Sources: M. Born and K. Huang, Dynamical Theory of Crystal Lattices (1954); F. Mouhat and F.-X. Coudert, Phys. Rev.
B 90 (2014) 224104; V. Arsigny et al., SIAM J. Matrix Anal. Appl. 29 (2007) 328.

When not to use it: under pre-stress, where stability is decided by other moduli.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.linalg.spd import spd_logarithm
from polyad.materials.elasticity.checks import check_stiffness
from polyad.tensors.notation import mandel_to_strain


@final
@dataclass(frozen=True)
class Stability:
    """Whether each tensor is stable, and its softest mode."""

    stable: Bool[Tensor, "*batch"]
    smallest_eigenvalue: Float[Tensor, "*batch"]
    """Smallest eigenvalue of the Kelvin-Mandel matrix (unit of the stiffness); differentiable where it is simple."""
    mode: Float[Tensor, "*batch 3 3"]
    """The unit strain with that eigenvalue (no gradient; its sign is arbitrary)."""


def stability(stiffness: Float[Tensor, "*batch 6 6"], *, tolerance: float = 0.0) -> Stability:
    """Positive definiteness: stable where the smallest eigenvalue exceeds `tolerance` times the largest magnitude."""
    check_stiffness(stiffness)
    values, vectors = torch.linalg.eigh(stiffness.detach())
    mode = vectors[..., 0]
    smallest = torch.einsum("...a,...ab,...b->...", mode, stiffness, mode)
    return Stability(values[..., 0] > tolerance * values.abs().amax(dim=-1), smallest, mandel_to_strain(mode))


def log_euclidean_distance(
    first: Float[Tensor, "*first 6 6"], second: Float[Tensor, "*second 6 6"]
) -> Float[Tensor, "..."]:
    """Frobenius norm of log A - log B for positive definite Kelvin-Mandel matrices; leading dimensions broadcast.

    The gradient at A = B is zero (a subgradient: the distance has a kink there).
    """
    check_stiffness(first, positive=True, name="first")
    check_stiffness(second, positive=True, name="second")
    return torch.linalg.matrix_norm(spd_logarithm(first) - spd_logarithm(second))
