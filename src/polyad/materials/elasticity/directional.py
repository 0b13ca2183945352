"""Elastic moduli along directions: E(n), beta(n), c(n), G(n, m), nu(n, m), and the bulk modulus.

With the compliance S and unit vectors n (load) and m (transverse, m.n = 0):

    young_modulus            E(n)     = 1 / S_ijkl n_i n_j n_k n_l
    linear_compressibility   beta(n)  = S_ijkk n_i n_j              (strain along n per unit of pressure)
    longitudinal_stiffness   c(n)     = C_ijkl n_i n_j n_k n_l      (uniaxial strain)
    shear_modulus            G(n, m)  = 1 / (4 S_ijkl n_i m_j n_k m_l)
    poisson_ratio            nu(n, m) = -S_ijkl n_i n_j m_k m_l / S_ijkl n_i n_j n_k n_l
    bulk_modulus             K        = 1 / S_iikk

Stiffnesses are Kelvin-Mandel matrices with leading batch dimensions. Directions are one vector (3,), giving a
result of the batch's shape, or an array (..., n, 3) of n vectors whose leading dimensions broadcast against the
batch, giving (..., n): a grid (n, 3) serves all tensors. Vectors are normalised; for pairs, `transverse` must
broadcast with `directions` and be orthogonal to it. Moduli carry the stiffness' unit. Batched and differentiable in
stiffness and directions.

Source: J. F. Nye, Physical Properties of Crystals (1957), chapter VIII; A. N. Norris, Proc. R. Soc. A 462 (2006)
3385 for nu and G.

When not to use it: for a singular stiffness (mechanisms), where E, G and nu do not exist; `longitudinal_stiffness`
still does.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.elasticity.checks import check_stiffness, compliance_of
from polyad.tensors.notation import strain_to_mandel


def young_modulus(
    stiffness: Float[Tensor, "*batch 6 6"], directions: Float[Tensor, "*directions 3"]
) -> Float[Tensor, "..."]:
    """Young's modulus E(n) for uniaxial stress along each direction."""
    normal = _dyad(unit(directions))
    return 1 / _form(compliance_of(stiffness), normal, normal)


def linear_compressibility(
    stiffness: Float[Tensor, "*batch 6 6"], directions: Float[Tensor, "*directions 3"]
) -> Float[Tensor, "..."]:
    """Contraction beta(n) along each direction per unit of hydrostatic pressure (unit: 1/stiffness)."""
    normal = _dyad(unit(directions))
    trace = strain_to_mandel(torch.eye(3, dtype=normal.dtype, device=normal.device))
    return _form(compliance_of(stiffness), normal, trace.expand_as(normal))


def longitudinal_stiffness(
    stiffness: Float[Tensor, "*batch 6 6"], directions: Float[Tensor, "*directions 3"]
) -> Float[Tensor, "..."]:
    """Stiffness c(n) = C_nnnn for uniaxial strain along each direction."""
    check_stiffness(stiffness)
    normal = _dyad(unit(directions))
    return _form(stiffness, normal, normal)


def shear_modulus(
    stiffness: Float[Tensor, "*batch 6 6"],
    directions: Float[Tensor, "*directions 3"],
    transverse: Float[Tensor, "*transverse 3"],
) -> Float[Tensor, "..."]:
    """Shear modulus G(n, m) for the shear stress on the plane with normal n along m; symmetric in n and m."""
    normal, side = _unit_pair(directions, transverse)
    shear = strain_to_mandel(normal[..., :, None] * side[..., None, :])
    return 1 / (4 * _form(compliance_of(stiffness), shear, shear))


def poisson_ratio(
    stiffness: Float[Tensor, "*batch 6 6"],
    directions: Float[Tensor, "*directions 3"],
    transverse: Float[Tensor, "*transverse 3"],
) -> Float[Tensor, "..."]:
    """Poisson's ratio nu(n, m): contraction along m over extension along n, for uniaxial stress along n."""
    normal, side = (_dyad(vector) for vector in _unit_pair(directions, transverse))
    compliance = compliance_of(stiffness)
    return -_form(compliance, normal, side) / _form(compliance, normal, normal)


def bulk_modulus(stiffness: Float[Tensor, "*batch 6 6"]) -> Float[Tensor, "*batch"]:
    """Bulk modulus K under hydrostatic pressure (equal to Reuss' average)."""
    return 1 / compliance_of(stiffness)[..., :3, :3].sum(dim=(-2, -1))


def unit(directions: Float[Tensor, "*directions 3"], *, name: str = "directions") -> Float[Tensor, "*directions 3"]:
    """The vectors divided by their lengths; InputError for a vector without direction (zero, NaN, infinite)."""
    length = torch.linalg.vector_norm(directions, dim=-1, keepdim=True)
    if not bool(((length > 0) & torch.isfinite(length)).all()):
        raise InputError(f"{name}: a vector is zero or not finite; give vectors of positive finite length")
    return directions / length


def _unit_pair(directions: Tensor, transverse: Tensor) -> tuple[Tensor, Tensor]:
    normal, side = torch.broadcast_tensors(unit(directions), unit(transverse, name="transverse"))
    cosine = (normal * side).sum(-1).abs().max().item() if normal.numel() else 0.0
    tolerance = 1e-7 if normal.dtype == torch.float64 else 1e-4
    if cosine > tolerance:
        raise InputError(
            f"transverse: not orthogonal to directions, largest |cosine| is {cosine:.3g}, allowed is {tolerance:g}; "
            "subtract the part along the direction"
        )
    return normal, side


def _dyad(vector: Tensor) -> Tensor:
    return strain_to_mandel(vector[..., :, None] * vector[..., None, :])


def _form(matrix: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """left . matrix . right for one pair of 6-vectors, or for n pairs along the last but one dimension."""
    if left.ndim == 1:
        return (matrix @ right) @ left
    return ((right @ matrix.mT) * left).sum(-1)
