"""Harmonic decomposition of elasticity tensors: 2x0e + 2x2e + 1x4e.

An elasticity tensor (21 numbers) splits under rotation into two scalars, two deviatoric second-order tensors and
one totally symmetric traceless fourth-order tensor: 1 + 1 + 5 + 5 + 9 = 21. In an orthonormal basis adapted to this
splitting every rotation is block diagonal, with Wigner matrices for blocks, and norms are kept (Parseval).

The basis, in this order, with d the unit tensor, J = d d/3 and P = 1 - J the projectors onto volume and shape, and
T_m the real unit harmonic tensors of degree 2:

    0      0e  J                                          coefficient  3 * bulk modulus of the isotropic part
    1      0e  P / sqrt 5                                 coefficient  2 sqrt 5 * its shear modulus
    2-6    2e  (d T_m + T_m d) / sqrt 6                   couples volume and shape
    7-11   2e  P X_m P / norm                             X_m: eps -> T_m eps + eps T_m, on shape alone
    12-20  4e  H_m                                        real unit harmonic tensors of degree 4

A harmonic tensor of degree l is totally symmetric and traceless, and T_m : n...n is a *positive* multiple of the
real orthonormal spherical harmonic Y_lm(n), m = -l..l, index l*l + l + m over all degrees, z polar, without
Condon-Shortley sign: Y_1,-1 ~ y, Y_10 ~ z, Y_11 ~ x; Y_l,m ~ Re (x + iy)^m and Y_l,-m ~ Im (x + iy)^m with positive
factors at small angles to z. The pair of scalars and the pair of 2e could each be mixed by an orthogonal
2x2 matrix; here the split is by volume and shape.

Cartesian pieces: with dilatational tensor D_ij = C_ijkk and Voigt tensor V_ij = C_ikjk, their deviators D', V' and
traces,

    K = D_ii/9,  G = (3 V_ii - D_ii)/30,  a = (5 D' - 4 V')/7,  b = (3 V' - 2 D')/7
    C_ijkl = K d_ij d_kl + G (d_ik d_jl + d_il d_jk - 2/3 d_ij d_kl) + d_ij a_kl + a_ij d_kl
             + d_ik b_jl + d_il b_jk + d_jk b_il + d_jl b_ik + H_ijkl

Sources: G. Backus, Rev. Geophys. 8 (1970) 633; S. C. Cowin, Q. J. Mech. Appl. Math. 42 (1989) 249; S. Forte and M.
Vianello, J. Elasticity 43 (1996) 81.

When not to use it: piezoelectric or other odd tensors, and tensors without the major symmetry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.elasticity.checks import check_stiffness
from polyad.tensors.notation import mandel_to_tensor, mandel_to_vector, tensor_to_mandel, vector_to_mandel


@final
@dataclass(frozen=True)
class HarmonicPieces:
    """Cartesian pieces of an elasticity tensor; `stiffness()` puts them together again."""

    bulk: Float[Tensor, "*batch"]
    """Bulk modulus of the isotropic part (Voigt's average)."""
    shear: Float[Tensor, "*batch"]
    """Shear modulus of the isotropic part (Voigt's average)."""
    dilatational: Float[Tensor, "*batch 3 3"]
    """Deviator of C_ijkk."""
    voigt: Float[Tensor, "*batch 3 3"]
    """Deviator of C_ikjk."""
    harmonic: Float[Tensor, "*batch 3 3 3 3"]
    """Totally symmetric traceless part."""

    def stiffness(self) -> Float[Tensor, "*batch 6 6"]:
        """The Kelvin-Mandel stiffness that has these pieces."""
        return tensor_to_mandel(self._without_harmonic() + self.harmonic)

    def _without_harmonic(self) -> Tensor:
        unit = torch.eye(3, dtype=self.bulk.dtype, device=self.bulk.device)
        bulk, shear = (modulus[..., None, None, None, None] for modulus in (self.bulk, self.shear))
        isotropic = (bulk / 2 - shear / 3) * _two_products(unit) + shear / 2 * _four_products(unit)
        coupling = (5 * self.dilatational - 4 * self.voigt) / 7
        shape = (3 * self.voigt - 2 * self.dilatational) / 7
        return isotropic + _two_products(coupling) + _four_products(shape)


def harmonic_decomposition(stiffness: Float[Tensor, "*batch 6 6"]) -> HarmonicPieces:
    """The two scalars, two deviators and the harmonic tensor of a Kelvin-Mandel stiffness (or compliance)."""
    check_stiffness(stiffness)
    tensor = mandel_to_tensor(stiffness)
    dilatational = torch.einsum("...ijkk->...ij", tensor)
    voigt = torch.einsum("...ikjk->...ij", tensor)
    first, second = (torch.einsum("...ii->...", trace) for trace in (dilatational, voigt))
    unit = torch.eye(3, dtype=stiffness.dtype, device=stiffness.device)
    pieces = HarmonicPieces(
        bulk=first / 9,
        shear=(3 * second - first) / 30,
        dilatational=dilatational - first[..., None, None] * unit / 3,
        voigt=voigt - second[..., None, None] * unit / 3,
        harmonic=torch.zeros_like(tensor),
    )
    rest = tensor - pieces._without_harmonic()
    return HarmonicPieces(pieces.bulk, pieces.shear, pieces.dilatational, pieces.voigt, rest)


def harmonic_coefficients(stiffness: Float[Tensor, "*batch 6 6"]) -> Float[Tensor, "*batch 21"]:
    """Coefficients of a Kelvin-Mandel stiffness in the basis above; their norm is the stiffness' Frobenius norm."""
    check_stiffness(stiffness)
    basis = harmonic_basis(dtype=stiffness.dtype, device=stiffness.device)
    return mandel_to_vector(stiffness) @ basis.T


def harmonic_to_stiffness(coefficients: Float[Tensor, "*batch 21"]) -> Float[Tensor, "*batch 6 6"]:
    """The Kelvin-Mandel stiffness with the given coefficients: the inverse of `harmonic_coefficients`."""
    return vector_to_mandel(coefficients @ harmonic_basis(dtype=coefficients.dtype, device=coefficients.device))


def harmonic_basis(
    *, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> Float[Tensor, "21 21"]:
    """The orthogonal matrix whose rows are the basis tensors, each as a 21-vector (`mandel_to_vector`)."""
    return _harmonic_basis().to(dtype=dtype, device=device)


def harmonic_tensors(degree: int) -> Float[Tensor, "orders ..."]:
    """The 2l + 1 real unit harmonic tensors of degree l >= 1, m = -l..l, in float64, shape (2l + 1, 3, ..., 3).

    Made by the ladder: (-1)^l (e_x + i e_y)^l / 2^(l/2) is the complex tensor with m = l, the lowering operator
    gives the others, and (-1)^m sqrt 2 times real and imaginary part are those with m and -m.
    """
    if degree < 1:
        raise InputError(f"degree: {degree} was given; give an integer >= 1")
    return _harmonic_tensors(degree).clone()


@lru_cache(maxsize=8)
def _harmonic_tensors(degree: int) -> Tensor:
    raising = torch.tensor([1, 1j, 0], dtype=torch.complex128) / math.sqrt(2)
    state = torch.ones((), dtype=torch.complex128)
    for _ in range(degree):
        state = -torch.tensordot(state, raising, dims=0)
    # J_x - i J_y with (J_k)_ab = -i eps_kab
    lowering = torch.tensor([[0, 0, 1], [0, 0, -1j], [-1, 1j, 0]], dtype=torch.complex128)
    tensors = torch.zeros((2 * degree + 1,) + (3,) * degree, dtype=torch.float64)
    for order in range(degree, 0, -1):
        sign = (-1.0) ** order * math.sqrt(2)
        tensors[degree + order], tensors[degree - order] = sign * state.real, sign * state.imag
        lowered = sum(torch.tensordot(state, lowering, dims=([axis], [1])).movedim(-1, axis) for axis in range(degree))
        state = lowered / math.sqrt(degree * (degree + 1) - order * (order - 1))
    tensors[degree] = state.real
    return tensors


@lru_cache(maxsize=1)
def _harmonic_basis() -> Tensor:
    unit = torch.eye(3, dtype=torch.float64)
    volume = _two_products(unit) / 6
    deviators = _harmonic_tensors(2)
    coupling = _two_products(deviators)
    shape = _four_products(deviators) - 4 / 3 * coupling
    scalars = torch.stack([volume, (_four_products(unit) / 4 - volume) / math.sqrt(5)])
    rows = [scalars, coupling / math.sqrt(6), shape / math.sqrt(28 / 3), _harmonic_tensors(4)]
    return mandel_to_vector(tensor_to_mandel(torch.cat(rows)))


def _two_products(tensor: Tensor) -> Tensor:
    """d_ij t_kl + t_ij d_kl."""
    unit = torch.eye(3, dtype=tensor.dtype, device=tensor.device)
    return torch.einsum("ij,...kl->...ijkl", unit, tensor) + torch.einsum("...ij,kl->...ijkl", tensor, unit)


def _four_products(tensor: Tensor) -> Tensor:
    """d_ik t_jl + d_il t_jk + d_jk t_il + d_jl t_ik."""
    product = torch.einsum("ik,...jl->...ijkl", torch.eye(3, dtype=tensor.dtype, device=tensor.device), tensor)
    product = product + product.transpose(-4, -3)
    return product + product.transpose(-2, -1)
