"""Levels, magnetisation and susceptibility of a spin with zero-field splitting, exact in the 2S + 1 states.

    H(B) = S D S + mu_B B g S,    moment along axis a: mu_a = -dH/dB_a = -mu_B (g S)_a
    M_a = <mu_a>,    chi_ab = dM_a/dB_b at constant temperature

With eigenstates n, m of H(B), weights p_n = exp(-E_n / kT) / Z, and w_nm = (p_n - p_m) / (E_m - E_n), which is
p_n / kT where energies agree,

    chi_ab = sum over n, m of w_nm Re(<n|mu_a|m> <m|mu_b|n>) - M_a M_b / kT

Energies are wavenumbers (cm^-1), fields tesla, temperatures kelvin. Moments are then cm^-1/T, `BOHR_MAGNETON` each for
mu_B; chi is cm^-1/T^2 a molecule. `MOLAR` turns it into the cm^3/mol of the literature. As kT grows, chi T tends to
mu_B^2 g^2 S(S + 1) / 3k, along one axis as D / kT, in the mean over directions as (D / kT)^2.

Source: O. Kahn, Molecular Magnetism (VCH 1993), chapters 1 and 2; constants: CODATA 2018.

*When not to use it*: coupled centres (their states multiply), or spin-orbit coupling beyond the spin Hamiltonian.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.properties.magnetic_anisotropy.parameters import check_symmetric

BOHR_MAGNETON = 0.46686447783
"""mu_B in cm^-1 a tesla."""

BOLTZMANN = 0.695034800
"""k in cm^-1 a kelvin."""

MOLAR = 1.196265658
"""Molar susceptibility in cm^3/mol (CGS) of one cm^-1/T^2 a molecule: N h c in 10 J/mol."""

_ELECTRON = 2.00231930436


class Response(NamedTuple):
    """Equilibrium values of a spin in a field.

    Args:
        magnetization: (..., 3) mean moment, in cm^-1/T.
        susceptibility: (..., 3, 3) its derivative by the field, in cm^-1/T^2.
    """

    magnetization: Float[Tensor, "*batch 3"]
    susceptibility: Float[Tensor, "*batch 3 3"]


def spin_operators(
    spin: float, *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> Complex[Tensor, "3 states states"]:
    """S_x, S_y, S_z in the states m = S, S - 1, ..., -S.

    Args:
        spin: S, a positive multiple of 1/2.
        dtype: real; the matrices are complex of the same precision.
        device: of the matrices.

    Raises:
        InputError: another spin.
    """
    if not (math.isfinite(spin) and spin > 0 and float(2 * spin).is_integer()):
        raise InputError(f"spin: {spin} was given; it must be 1/2, 1, 3/2, ...")
    m = spin - torch.arange(round(2 * spin) + 1, dtype=dtype, device=device)
    up = torch.diag((spin * (spin + 1) - m[1:] * (m[1:] + 1)).sqrt(), 1)
    zero = torch.zeros_like(up)
    x, y = torch.complex(0.5 * (up + up.T), zero), torch.complex(zero, -0.5 * (up - up.T))
    return torch.stack([x, y, torch.complex(torch.diag(m), zero)])


def spin_hamiltonian(
    tensor: Float[Tensor, "*#batch 3 3"],
    spin: float,
    *,
    field: Float[Tensor, "*#batch 3"] | None = None,
    g: float | Float[Tensor, "3 3"] = _ELECTRON,
) -> Complex[Tensor, "... states states"]:
    """S D S + mu_B B g S, in cm^-1.

    Args:
        tensor: D, in cm^-1; batches of tensors and fields broadcast.
        spin: S.
        field: B, in tesla; by default none.
        g: a number, or the matrix that B multiplies from the left.
    """
    check_symmetric(tensor)
    operators = spin_operators(spin, dtype=tensor.dtype, device=tensor.device)
    squares = torch.einsum("amn,bnk->abmk", operators, operators)
    energy = torch.einsum("...ab,abmn->...mn", tensor.to(operators.dtype), squares)
    if field is None:
        return energy
    return energy - torch.einsum("...a,amn->...mn", field.to(operators.dtype), _moments(operators, g))


def spin_levels(
    tensor: Float[Tensor, "*#batch 3 3"],
    spin: float,
    *,
    field: Float[Tensor, "*#batch 3"] | None = None,
    g: float | Float[Tensor, "3 3"] = _ELECTRON,
) -> Float[Tensor, "... states"]:
    """Energies in cm^-1, ascending; arguments as `spin_hamiltonian`."""
    return torch.linalg.eigvalsh(spin_hamiltonian(tensor, spin, field=field, g=g))


def spin_response(
    tensor: Float[Tensor, "*#batch 3 3"],
    spin: float,
    *,
    temperature: float,
    field: Float[Tensor, "*#batch 3"] | None = None,
    g: float | Float[Tensor, "3 3"] = _ELECTRON,
) -> Response:
    """Magnetisation and isothermal susceptibility at a temperature.

    Args:
        tensor: D, in cm^-1.
        spin: S.
        temperature: in kelvin.
        field: B, in tesla; by default none, where the magnetisation vanishes.
        g: as for `spin_hamiltonian`.

    Raises:
        InputError: a temperature that is not positive.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(f"temperature: {temperature} was given; it must be positive, in kelvin")
    thermal = BOLTZMANN * temperature
    energy, states = torch.linalg.eigh(spin_hamiltonian(tensor, spin, field=field, g=g))
    moments = _moments(spin_operators(spin, dtype=tensor.dtype, device=tensor.device), g)
    inner = states.mH[..., None, :, :] @ moments @ states[..., None, :, :]
    weights = torch.softmax(-energy / thermal, dim=-1)
    mean = (inner.diagonal(dim1=-2, dim2=-1).real * weights[..., None, :]).sum(-1)
    # p (1 - exp(-gap / kT)) / gap, p that of the lower state: (p_n - p_m) / (E_m - E_n) without loss of digits
    gap = (energy[..., None, :] - energy[..., :, None]).abs() / thermal
    lower = torch.maximum(weights[..., None, :], weights[..., :, None])
    ratio = lower * _one_minus_exp_over(gap) / thermal
    chi = torch.einsum("...amn,...bnm,...mn->...ab", inner, inner, ratio.to(inner.dtype)).real
    return Response(mean, chi - mean[..., :, None] * mean[..., None, :] / thermal)


def curie_constant(spin: float, *, g: float = _ELECTRON) -> float:
    """Limit of chi T without splitting: mu_B^2 g^2 S(S + 1) / 3k, in cm^-1 K/T^2."""
    return (BOHR_MAGNETON * g) ** 2 * spin * (spin + 1) / (3 * BOLTZMANN)


def _moments(operators: Tensor, g: float | Tensor) -> Tensor:
    """-mu_B g S, a matrix for each axis of the field."""
    if isinstance(g, Tensor):
        return -BOHR_MAGNETON * torch.einsum("ab,bmn->amn", g.to(operators.dtype), operators)
    return -BOHR_MAGNETON * g * operators


def _one_minus_exp_over(x: Tensor) -> Tensor:
    """(1 - exp(-x)) / x for x >= 0, 1 at 0."""
    safe = torch.where(x > 0, x, torch.ones_like(x))
    return torch.where(x > 0, -torch.expm1(-safe) / safe, torch.ones_like(x))
