"""Bounds on the effective moduli of composites and porous materials: Voigt and Reuss, Hashin and Shtrikman.

Voigt and Reuss, for any microstructure and any anisotropy, in the sense of quadratic forms:

    (sum f S)^-1 <= C <= sum f C

Hashin and Shtrikman, for two isotropic phases in a statistically isotropic (for the bulk modulus also: cubic) mixture:

    K(z) = 1 / sum(f / (K_i + 4 z/3)) - 4 z/3        z = least or greatest G_i
    G(y) = 1 / sum(f / (G_i + y)) - y                y = G/6 (9 K + 8 G)/(K + 2 G), K and G least or greatest

Where one phase is stiffer in K and softer in G these are Walpole's bounds, weaker but still bounds. A void phase
has K = G = 0: lower bounds vanish, and K <= 4 G_s K_s (1 - f)/(4 G_s + 3 K_s f) for a void fraction f.

Sources: Z. Hashin and S. Shtrikman, J. Mech. Phys. Solids 11 (1963) 127; L. J. Walpole, ibid. 14 (1966) 151; G. W.
Milton, The Theory of Composites (2002), chapter 23.

When not to use it: Hashin-Shtrikman bounds for a *single direction* of an anisotropic lattice: E(n) may exceed
them, the Voigt bound not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.elasticity.averages import IsotropicModuli
from polyad.materials.elasticity.checks import check_stiffness, compliance_of


@final
@dataclass(frozen=True)
class StiffnessBounds:
    """Lower (Reuss) and upper (Voigt) bound on a stiffness, as Kelvin-Mandel matrices."""

    lower: Float[Tensor, "*batch 6 6"]
    upper: Float[Tensor, "*batch 6 6"]


@final
@dataclass(frozen=True)
class ModuliBounds:
    """Lower and upper bounds on bulk and shear modulus; Young's modulus rises with both, so they bound it too."""

    lower: IsotropicModuli
    upper: IsotropicModuli


def voigt_reuss_bounds(
    stiffness: Float[Tensor, "*batch phases 6 6"], fraction: Float[Tensor, "*batch phases"]
) -> StiffnessBounds:
    """Voigt and Reuss bounds of phases with the given volume fractions (which sum to one).

    A phase of zero stiffness (void) with a positive fraction makes the lower bound zero.
    """
    check_stiffness(stiffness)
    _check_fraction(fraction)
    total = fraction.detach().sum(-1)
    if bool(((total - 1).abs() > 1e-6).any()):
        raise InputError(f"fraction: sums to {total.flatten()[0].item():.6g}; volume fractions of all phases sum to 1")
    weight = fraction[..., None, None]
    void = (stiffness.detach() == 0).all(-1).all(-1)
    identity = torch.eye(6, dtype=stiffness.dtype, device=stiffness.device)
    compliance = compliance_of(torch.where(void[..., None, None], identity, stiffness))
    reuss = compliance_of((weight * compliance).sum(-3))
    porous = (void & (fraction.detach() > 0)).any(-1)[..., None, None]
    return StiffnessBounds(torch.where(porous, torch.zeros_like(reuss), reuss), (weight * stiffness).sum(-3))


def hashin_shtrikman_bounds(
    first: IsotropicModuli, second: IsotropicModuli, fraction: Float[Tensor, "*batch"]
) -> ModuliBounds:
    """Bounds for a mixture of two isotropic phases; `fraction` is the volume fraction of the second one."""
    for name, moduli in (("first", first), ("second", second)):
        for modulus in (moduli.bulk, moduli.shear):
            if not bool(((modulus >= 0) & torch.isfinite(modulus)).all()):
                raise InputError(f"{name}: a modulus is negative or not finite; give K >= 0 and G >= 0 (a void has 0)")
    _check_fraction(fraction)
    least = IsotropicModuli(torch.minimum(first.bulk, second.bulk), torch.minimum(first.shear, second.shear))
    most = IsotropicModuli(torch.maximum(first.bulk, second.bulk), torch.maximum(first.shear, second.shear))

    def mixture(reference: IsotropicModuli) -> IsotropicModuli:
        shift = 4 * reference.shear / 3
        bulk = _shifted_mean(first.bulk, second.bulk, fraction, shift)
        shear = _shifted_mean(first.shear, second.shear, fraction, _shear_shift(reference))
        return IsotropicModuli(bulk, shear)

    return ModuliBounds(lower=mixture(least), upper=mixture(most))


def porous_bounds(solid: IsotropicModuli, density: Float[Tensor, "*batch"]) -> ModuliBounds:
    """Hashin-Shtrikman bounds of a solid with voids; `density` is the relative density (fraction of solid)."""
    void = IsotropicModuli(torch.zeros_like(solid.bulk), torch.zeros_like(solid.shear))
    return hashin_shtrikman_bounds(solid, void, 1 - density)


def _shifted_mean(first: Tensor, second: Tensor, fraction: Tensor, shift: Tensor) -> Tensor:
    """1 / ((1 - f)/(a + s) + f/(b + s)) - s, written so that a void (b = s = 0) gives 0 with a finite gradient."""
    left, right = first + shift, second + shift
    bottom = (1 - fraction) * right + fraction * left
    alone = torch.where(fraction == 0, left, right)
    return torch.where(bottom == 0, alone, left * right / _one_for_zero(bottom)) - shift


def _shear_shift(moduli: IsotropicModuli) -> Tensor:
    bottom = moduli.bulk + 2 * moduli.shear
    return moduli.shear / 6 * (9 * moduli.bulk + 8 * moduli.shear) / _one_for_zero(bottom)


def _one_for_zero(bottom: Tensor) -> Tensor:
    """A denominator without zeros, for fractions whose numerator is zero there."""
    return torch.where(bottom == 0, torch.ones_like(bottom), bottom)


def _check_fraction(fraction: Tensor) -> None:
    if not bool(((fraction >= 0) & (fraction <= 1)).all()):
        raise InputError(
            f"fraction: values from {fraction.min().item():.6g} to {fraction.max().item():.6g} were given; "
            "volume fractions lie in 0..1"
        )
