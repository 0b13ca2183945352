"""Limits of the unfoldings: spectrum, isolated eigenvalue and alignment.

Second unfolding (n2, n1 n3). The eigenvalues of T_2 T_2^T, less n1 n3 / n_T and over sqrt(n1 n2 n3) / n_T, follow a law
whose Stieltjes transform m(z) = int (t - z)^-1 is the root with Im m Im z > 0 of

    a2 m^3 + (1 + z a2) m^2 + (z + a2 - a1) m + 1 = 0,      a_i = rho c_i / (1 - c3)

With b_i = c_i / (1 - c3) + beta_M^2 an eigenvalue leaves it at rho b1 b2 / beta_M^2 + 1 / (rho b2) and its vector has
the squared alignment

    zeta = 1 - [ (beta_M^2 / (rho b2))^2 + c2 b1 / (1 - c3) ] / (b2 beta_M^2)

with y, as soon as beta_M^4 > c1 c2 / (1 - c3)^2 and rho > beta_M^2 / (b2 sqrt(beta_M^4 - c1 c2 / (1 - c3)^2)).

Third unfolding (n3, n1 n2): a semicircle on [-2, 2]; with beta_T^2 (n1 n2 / (n1 + n2) + beta_M^2) =
rho3 sqrt(n1 n2 n3) / n_T an eigenvalue at rho3 + 1 / rho3, squared alignment with z 1 - 1 / rho3^2, for rho3 > 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.spiked.model import NestedMatrixTensor, check_shares, check_strengths


@final
@dataclass(frozen=True)
class SpikeLimit:
    """`alignment`: squared inner product with the truth, 0 below threshold; `spike`: eigenvalue, None below."""

    spike: float | None
    alignment: float


def centred_gram(tensor: Float[Tensor, "*batch n1 n2 n3"], mode: int) -> Float[Tensor, "*batch n n"]:
    """T_k T_k^T of the unfolding along `mode`, 1, 2 or 3, centred and scaled as the limits have it."""
    if mode not in (1, 2, 3):
        raise InputError(f"mode: {mode}; take 1, 2 or 3")
    sizes = tensor.shape[-3:]
    matrix = tensor.movedim(mode - 4, -3).flatten(-2)
    gram = matrix @ matrix.mT
    centre, scale = matrix.shape[-1] / sum(sizes), math.sqrt(math.prod(sizes)) / sum(sizes)
    return (gram - centre * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)) / scale


def second_unfolding_limit(c: tuple[float, float, float], *, beta_matrix: float, rho: float) -> SpikeLimit:
    """Spike and squared alignment with y of the second unfolding.

    Args:
        c: shares n_l / n_T.
        beta_matrix: beta_M.
        rho: beta_T^2 n_T / sqrt(n1 n2 n3).
    """
    check_shares(c)
    check_strengths(beta_matrix, rho)
    if rho <= algorithmic_threshold(c, beta_matrix=beta_matrix):
        return SpikeLimit(None, 0.0)
    b1, b2 = (c[k] / (1 - c[2]) + beta_matrix**2 for k in (0, 1))
    spike = rho * b1 * b2 / beta_matrix**2 + 1 / (rho * b2)
    return SpikeLimit(spike, second_unfolding_zeta(c, beta_matrix=beta_matrix, rho=rho))


def second_unfolding_zeta(c: tuple[float, float, float], *, beta_matrix: float, rho: float) -> float:
    """The expression zeta itself, also where it is no alignment (negative below the threshold)."""
    b1, b2 = (c[k] / (1 - c[2]) + beta_matrix**2 for k in (0, 1))
    return 1 - ((beta_matrix**2 / (rho * b2)) ** 2 + c[1] / (1 - c[2]) * b1) / (b2 * beta_matrix**2)


def algorithmic_threshold(c: tuple[float, float, float], *, beta_matrix: float) -> float:
    """The rho from which the second unfolding sees y; infinite where beta_M^4 <= c1 c2 / (1 - c3)^2."""
    excess = beta_matrix**4 - c[0] * c[1] / (1 - c[2]) ** 2
    if excess <= 0:
        return math.inf
    return beta_matrix**2 / ((c[1] / (1 - c[2]) + beta_matrix**2) * math.sqrt(excess))


def third_unfolding_limit(model: NestedMatrixTensor) -> SpikeLimit:
    """Spike and squared alignment with z of the third unfolding; depends on the sizes, not on their shares alone."""
    n1, n2, _ = model.n
    strength = model.beta_tensor**2 * (n1 * n2 / (n1 + n2) + model.beta_matrix**2)
    rho = strength * sum(model.n) / math.sqrt(math.prod(model.n))
    return SpikeLimit(rho + 1 / rho, 1 - 1 / rho**2) if rho > 1 else SpikeLimit(None, 0.0)


def stieltjes_transform(
    z: Complex[Tensor, "*points"], c: tuple[float, float, float], *, rho: float
) -> Complex[Tensor, "*points"]:
    """m(z) of the second unfolding, off the real axis.

    Raises:
        InputError: points on the real axis.
    """
    check_shares(c)
    if bool((z.imag == 0).any()):
        raise InputError("z: lies on the real axis; take the density there")
    a1, a2 = rho * c[0] / (1 - c[2]), rho * c[1] / (1 - c[2])
    roots = _cubic_roots(a2, 1 + z * a2, z + a2 - a1, z)
    return roots.gather(-1, (roots.imag * z.imag[..., None]).argmax(-1, keepdim=True)).squeeze(-1)


def second_unfolding_density(
    points: Float[Tensor, "*points"], c: tuple[float, float, float], *, rho: float
) -> Float[Tensor, "*points"]:
    """Density of the eigenvalues of the centred Gram matrix, without the isolated one: Im m / pi."""
    check_shares(c)
    check_strengths(rho)
    z = points.to(torch.complex128)
    a1, a2 = rho * c[0] / (1 - c[2]), rho * c[1] / (1 - c[2])
    roots = _cubic_roots(a2, 1 + z * a2, z + a2 - a1, z)
    return (roots.imag.amax(-1).clamp(min=0) / math.pi).to(points.dtype)


def _cubic_roots(leading: float, second: Tensor, third: Tensor, like: Tensor) -> Tensor:
    """Roots of leading m^3 + second m^2 + third m + 1: reciprocals of those of the monic polynomial read backwards."""
    companion = torch.zeros(*like.shape, 3, 3, dtype=torch.complex128, device=like.device)
    companion[..., 0, 0], companion[..., 0, 1], companion[..., 0, 2] = -third, -second, -leading
    companion[..., 1, 0] = companion[..., 2, 1] = 1.0
    reciprocal = torch.linalg.eigvals(companion)
    size = reciprocal.abs().amax(-1, keepdim=True)
    safe = torch.where(reciprocal.abs() > 1e-14 * size, reciprocal, 1.0)  # a root at infinity, where rho = 0
    return torch.where(reciprocal.abs() > 1e-14 * size, 1 / safe, 0.0)
