"""Isotropic averages of elasticity tensors (Voigt, Reuss, Hill) and indices of anisotropy.

    Voigt   K = C_iikk / 9,      G = (3 C_ikik - C_iikk) / 30         (uniform strain: upper bound of a polycrystal)
    Reuss   K = 1 / S_iikk,      G = 15 / (6 S_ikik - 2 S_iikk)       (uniform stress: lower bound)
    Hill    arithmetic mean of both;    E = 9 K G / (3 K + G),  nu = (3 K - 2 G) / (6 K + 2 G)

    universal anisotropy        A_U = 5 G_V/G_R + K_V/K_R - 6              >= 0, zero for isotropic
    log-Euclidean anisotropy    A_L = sqrt(ln^2(K_V/K_R) + 5 ln^2(G_V/G_R))
    Zener ratio (cubic)         A_Z = 2 C_44 / (C_11 - C_12) (Voigt)       one for isotropic

Sources: R. Hill, Proc. Phys. Soc. A 65 (1952) 349; S. I. Ranganathan and M. Ostoja-Starzewski, Phys. Rev. Lett. 101
(2008) 055504; C. M. Kube, AIP Advances 6 (2016) 095209; C. Zener, Elasticity and Anelasticity of Metals (1948).

When not to use it: as moduli of a *single* crystal or lattice (those depend on direction: see `directional`);
Reuss, Hill and the indices need a positive definite stiffness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.elasticity.checks import check_stiffness, compliance_of
from polyad.materials.elasticity.symmetry import symmetry_distance


@final
@dataclass(frozen=True)
class IsotropicModuli:
    """Moduli of an isotropic material, in the unit of the stiffness (Poisson's ratio has none)."""

    bulk: Float[Tensor, "*batch"]
    shear: Float[Tensor, "*batch"]

    @property
    def young(self) -> Float[Tensor, "*batch"]:
        """Young's modulus 9 K G / (3 K + G)."""
        return 9 * self.bulk * self.shear / (3 * self.bulk + self.shear)

    @property
    def poisson(self) -> Float[Tensor, "*batch"]:
        """Poisson's ratio (3 K - 2 G) / (6 K + 2 G)."""
        return (3 * self.bulk - 2 * self.shear) / (6 * self.bulk + 2 * self.shear)


def voigt_average(stiffness: Float[Tensor, "*batch 6 6"]) -> IsotropicModuli:
    """Average of the stiffness over all orientations."""
    check_stiffness(stiffness)
    return IsotropicModuli(*_isotropic_part(stiffness))


def reuss_average(stiffness: Float[Tensor, "*batch 6 6"]) -> IsotropicModuli:
    """Average of the compliance over all orientations."""
    bulk, shear = _isotropic_part(compliance_of(stiffness))
    return IsotropicModuli(1 / (9 * bulk), 1 / (4 * shear))


def hill_average(stiffness: Float[Tensor, "*batch 6 6"]) -> IsotropicModuli:
    """Arithmetic mean of Voigt's and Reuss' moduli."""
    voigt, reuss = voigt_average(stiffness), reuss_average(stiffness)
    return IsotropicModuli((voigt.bulk + reuss.bulk) / 2, (voigt.shear + reuss.shear) / 2)


def universal_anisotropy(stiffness: Float[Tensor, "*batch 6 6"]) -> Float[Tensor, "*batch"]:
    """Universal anisotropy index A_U."""
    voigt, reuss = voigt_average(stiffness), reuss_average(stiffness)
    return 5 * voigt.shear / reuss.shear + voigt.bulk / reuss.bulk - 6


def log_euclidean_anisotropy(stiffness: Float[Tensor, "*batch 6 6"]) -> Float[Tensor, "*batch"]:
    """Log-Euclidean anisotropy A_L: the log-Euclidean distance between Voigt's and Reuss' averages.

    For the distance of the tensor itself to isotropy use `symmetry_distance` with metric="log_euclidean".
    """
    voigt, reuss = voigt_average(stiffness), reuss_average(stiffness)
    bulk, shear = (voigt.bulk / reuss.bulk).log(), (voigt.shear / reuss.shear).log()
    return torch.linalg.vector_norm(torch.stack([bulk, 5**0.5 * shear], dim=-1), dim=-1)


def zener_ratio(stiffness: Float[Tensor, "*batch 6 6"], *, tolerance: float = 1e-6) -> Float[Tensor, "*batch"]:
    """Zener ratio of tensors that are cubic in the axes x, y, z, to a relative `tolerance` (InputError otherwise)."""
    distance = symmetry_distance(stiffness.detach(), "cubic")
    if bool((distance > tolerance).any()):
        raise InputError(
            f"stiffness: not cubic in its axes, relative distance is {distance.max().item():.3g}, "
            f"allowed is {tolerance:g}; turn it to its cubic axes or take project_symmetry(stiffness, 'cubic')"
        )
    shear = stiffness[..., 3:, 3:].diagonal(dim1=-2, dim2=-1).mean(-1)
    normal = stiffness[..., :3, :3]
    diagonal = normal.diagonal(dim1=-2, dim2=-1).mean(-1)
    return shear / (diagonal - (normal.sum(dim=(-2, -1)) - 3 * diagonal) / 6)


def _isotropic_part(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """K and G of the isotropic part 3 K J + 2 G (1 - J)."""
    volume = matrix[..., :3, :3].sum(dim=(-2, -1))
    trace = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
    return volume / 9, (3 * trace - volume) / 30
