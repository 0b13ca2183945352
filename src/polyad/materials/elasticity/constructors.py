"""Stiffness tensors from engineering constants.

All return Kelvin-Mandel matrices. Constants are numbers or tensors, which broadcast; they may require gradients.
The result has the common dtype of the tensors given, or float64 if all are numbers. Constants that no stable
material has are refused.

    isotropic              C = 3 K J + 2 G (1 - J),  K = E / (3 (1 - 2 nu)),  G = E / (2 (1 + nu))
    cubic                  Voigt constants C_11, C_12, C_44 in the axes x, y, z
    transversely isotropic, orthotropic      compliance 1/E_i, -nu_ij/E_i, 1/(2 G_ij) (Mandel), then inverted

Poisson's ratio nu_ij is the contraction along j for a tension along i, and nu_ij / E_i = nu_ji / E_j.

Source: S. G. Lekhnitskii, Theory of Elasticity of an Anisotropic Body (1963).

When not to use it: for constants published in Voigt's notation use `voigt_stiffness_to_mandel` on the whole matrix.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.elasticity.checks import check_stiffness, compliance_of

Constant = float | int | Tensor


def isotropic(young: Constant, poisson: Constant) -> Float[Tensor, "... 6 6"]:
    """Isotropic stiffness from Young's modulus E > 0 and Poisson's ratio -1 < nu < 1/2."""
    young, poisson = _broadcast(young, poisson)
    if not bool(((young > 0) & (poisson > -1) & (poisson < 0.5)).all()):
        raise InputError(
            f"young, poisson: {_show(young)} and {_show(poisson)} were given; a stable isotropic material has "
            "young > 0 and -1 < poisson < 0.5"
        )
    bulk, shear = young / (3 * (1 - 2 * poisson)), young / (2 * (1 + poisson))
    lame = bulk - 2 * shear / 3
    return _three_plus_three(lame + 2 * shear, lame, 2 * shear)


def cubic(c11: Constant, c12: Constant, c44: Constant) -> Float[Tensor, "... 6 6"]:
    """Cubic stiffness in the axes x, y, z from Voigt's constants (c44 = C_2323)."""
    c11, c12, c44 = _broadcast(c11, c12, c44)
    stiffness = _three_plus_three(c11, c12, 2 * c44)
    check_stiffness(stiffness, positive=True, name="cubic(c11, c12, c44)")
    return stiffness


def transversely_isotropic(
    young_axial: Constant,
    young_transverse: Constant,
    poisson_axial: Constant,
    poisson_transverse: Constant,
    shear_axial: Constant,
) -> Float[Tensor, "... 6 6"]:
    """Stiffness with rotational symmetry about z.

    `poisson_axial` is nu_zx (contraction across for a tension along z), `poisson_transverse` nu_xy, and
    `shear_axial` G_xz = G_yz.
    """
    along, across, poisson_zx, poisson_xy, shear = _broadcast(
        young_axial, young_transverse, poisson_axial, poisson_transverse, shear_axial
    )
    poisson_xz = poisson_zx * across / along
    return orthotropic(
        (across, across, along),
        (poisson_xz, poisson_xz, poisson_xy),
        (shear, shear, across / (2 * (1 + poisson_xy))),
    )


def orthotropic(
    young: tuple[Constant, Constant, Constant],
    poisson: tuple[Constant, Constant, Constant],
    shear: tuple[Constant, Constant, Constant],
) -> Float[Tensor, "... 6 6"]:
    """Orthotropic stiffness from (E_x, E_y, E_z), (nu_yz, nu_xz, nu_xy) and (G_yz, G_xz, G_xy)."""
    ex, ey, ez, poisson_yz, poisson_xz, poisson_xy, gyz, gxz, gxy = _broadcast(*young, *poisson, *shear)
    zero = torch.zeros_like(ex)
    xy, xz, yz = -poisson_xy / ex, -poisson_xz / ex, -poisson_yz / ey
    for name, modulus in (("young", ex), ("young", ey), ("young", ez), ("shear", gyz), ("shear", gxz), ("shear", gxy)):
        if not bool((modulus > 0).all()):
            raise InputError(f"{name}: {_show(modulus)} was given; moduli must be positive")
    rows = [
        [1 / ex, xy, xz, zero, zero, zero],
        [xy, 1 / ey, yz, zero, zero, zero],
        [xz, yz, 1 / ez, zero, zero, zero],
        [zero, zero, zero, 1 / (2 * gyz), zero, zero],
        [zero, zero, zero, zero, 1 / (2 * gxz), zero],
        [zero, zero, zero, zero, zero, 1 / (2 * gxy)],
    ]
    compliance = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    check_stiffness(compliance, positive=True, name="compliance of the constants given")
    return compliance_of(compliance)


def _three_plus_three(diagonal: Tensor, off: Tensor, shear: Tensor) -> Tensor:
    unit = torch.eye(6, dtype=diagonal.dtype, device=diagonal.device)
    normal = torch.zeros_like(unit)
    normal[:3, :3] = 1.0
    normal_unit = normal * unit
    diagonal, off, shear = (constant[..., None, None] for constant in (diagonal, off, shear))
    return (diagonal - off) * normal_unit + off * normal + shear * (unit - normal_unit)


def _broadcast(*constants: Constant) -> tuple[Tensor, ...]:
    tensors = [constant for constant in constants if isinstance(constant, Tensor)]
    dtype = torch.float64
    if tensors:
        dtype = tensors[0].dtype
        for tensor in tensors[1:]:
            dtype = torch.promote_types(dtype, tensor.dtype)
    device = tensors[0].device if tensors else None
    return torch.broadcast_tensors(*(torch.as_tensor(constant, dtype=dtype, device=device) for constant in constants))


def _show(values: Tensor) -> str:
    low, high = values.min().item(), values.max().item()
    return f"{low:.6g}" if low == high else f"{low:.6g}..{high:.6g}"
