"""Inverse p-th roots and polar factors of matrices by products alone, in batches.

Inverse root of a symmetric positive definite A by the coupled Newton iteration (Iannazzo 2006; Guo and Higham 2006,
equation 1.8), from M_0 = z A, X_0 = z^{1/p} I with z = (p + 1) / (2 |A|):

    N = ((p + 1) I - M) / p,     X <- X N,     M <- N^p M        X -> A^{-1/p},  M = X^p A -> I

It converges where all eigenvalues of M_0 lie in (0, p + 1). A *warm start* X_0 is used if X_0^p A is symmetric enough
and near the identity. That is so where A has kept its eigenvectors (a new damping, a decayed average); the iteration
does not contract errors that do not commute with A, so the result is verified by |X^p A - I| and, if it fails, computed
again from the cold start. The oracle is `inverse_root_eigh`.

Polar factor U V^T of G = U S V^T by Newton-Schulz from X_0 = G / |G|_F: the cubic X <- 1.5 X - 0.5 X X^T X converges to
it; the quintic X <- a X + b X X^T X + c (X X^T)^2 X with (a, b, c) = (3.4445, -4.7750, 2.0315) (Jordan 2024) does not
converge but brings singular values near 1 within 5 steps, into [0.68, 1.14].

Sources: C.-H. Guo and N. J. Higham, SIAM J. Matrix Anal. Appl. 28 (2006) 788; N. J. Higham, Functions of Matrices, SIAM
2008, chapters 7 and 8; K. Jordan et al., Muon, 2024 (the quintic's coefficients).

*When not to use it*: singular matrices without a ridge; the cubic for singular values below about 1e-7 of the largest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import ConvergenceError, InputError

QUINTIC = (3.4445, -4.7750, 2.0315)


@final
@dataclass(frozen=True, eq=False)
class InverseRoot:
    """`root` A^{-1/p}, `residual` max |X^p A - I| of each matrix, and `iterations` over all attempts."""

    root: Float[Tensor, "*batch n n"]
    residual: Float[Tensor, "*batch"]
    iterations: int


def inverse_root(
    matrix: Float[Tensor, "*batch n n"],
    p: int,
    *,
    ridge: float = 0.0,
    start: Float[Tensor, "*batch n n"] | None = None,
    tolerance: float | None = None,
    max_iterations: int = 100,
) -> InverseRoot:
    """(A + ridge |A| I)^{-1/p} of symmetric positive definite matrices by the coupled Newton iteration.

    Args:
        matrix: A, float32 or float64; only its symmetric part is read.
        p: the root, 1 for the inverse.
        ridge: share of a bound of the largest eigenvalue that is added to the diagonal.
        start: an earlier root of matrices that have changed little.
        tolerance: of max |X^p A - I|; by default n * 1e-10 in float64 and n * 1e-5 in float32.
        max_iterations: of an attempt.

    Raises:
        InputError: a root below 1, or numbers that are not finite.
        ConvergenceError: the tolerance was not reached: not positive definite, or too ill-conditioned.
    """
    if p < 1:
        raise InputError(f"p: must be 1, 2, ..., got {p}")
    if not bool(matrix.isfinite().all()):
        raise InputError("matrix: holds numbers that are not finite")
    size = matrix.shape[-1]
    if matrix.numel() == 0:
        return InverseRoot(matrix.clone(), matrix.new_zeros(matrix.shape[:-2]), 0)
    tolerance = tolerance or size * (1e-10 if matrix.dtype == torch.float64 else 1e-5)
    identity = torch.eye(size, dtype=matrix.dtype, device=matrix.device)
    a = (matrix + matrix.mT) / 2
    a = a + ridge * _norm_bound(a) * identity
    used = 0
    if start is not None:
        coupled = torch.linalg.matrix_power(start, p) @ a
        near = (coupled - identity).abs().sum(-1).amax(-1) < 0.5  # then eigenvalues lie in (0.5, 1.5)
        if bool(near.all()):
            root, used = _coupled_newton(start, (coupled + coupled.mT) / 2, p, tolerance, max_iterations)
            residual = _root_residual(root, a, p)
            if bool((residual <= tolerance).all()):
                return InverseRoot(root, residual, used)
    scale = (p + 1) / (2 * _norm_bound(a))
    root, more = _coupled_newton(scale ** (1 / p) * identity, scale * a, p, tolerance, max_iterations)
    residual = _root_residual(root, a, p)
    if not bool((residual <= tolerance).all()):
        raise ConvergenceError(
            f"inverse root: residual {float(residual.max()):.2e} after {more} iterations, not {tolerance:.0e}; "
            "the matrix must be positive definite: add a ridge, or compute in float64"
        )
    return InverseRoot(root, residual, used + more)


def inverse_root_eigh(
    matrix: Float[Tensor, "*batch n n"], p: float, *, ridge: float = 0.0, rank_tolerance: float | None = None
) -> Float[Tensor, "*batch n n"]:
    """(A + ridge lambda_max I)^{-1/p} by eigenvalues, computed in float64: the oracle, and the root of singular ones.

    Args:
        matrix: A, symmetric positive (semi-)definite; only its lower triangle is read.
        p: the root, any positive number.
        ridge: share of the largest eigenvalue that is added to all.
        rank_tolerance: eigenvalues below this share of the largest give 0 (the pseudo-inverse's root); by default every
            eigenvalue must be positive.

    Raises:
        InputError: an eigenvalue that is not positive where none is allowed, or p not positive.
    """
    if not p > 0:
        raise InputError(f"p: must be positive, got {p}")
    if matrix.numel() == 0:
        return matrix.clone()
    values, vectors = torch.linalg.eigh(matrix.double())
    largest = values[..., -1:]
    values = values + ridge * largest
    if rank_tolerance is None:
        if not bool((values > 0).all()):
            raise InputError(
                f"matrix: smallest eigenvalue {float(values.min()):.3g} is not positive; add a ridge or allow a rank"
            )
        powers = values ** (-1 / p)
    else:
        kept = values > rank_tolerance * largest.clamp_min(0)
        powers = torch.where(kept, torch.where(kept, values, 1.0) ** (-1 / p), 0.0)
    return ((vectors * powers[..., None, :]) @ vectors.mT).to(matrix.dtype)


def polar_factor(
    matrix: Float[Tensor, "*batch m n"], *, method: str = "svd", steps: int | None = None
) -> Float[Tensor, "*batch m n"]:
    """U V^T of G = U S V^T, the nearest matrix with orthonormal rows or columns; zero for zero.

    Args:
        matrix: G.
        method: 'svd', 'cubic' or 'quintic' (see the module).
        steps: of the iterations; 18 for the cubic, 5 for the quintic.

    Raises:
        InputError: an unknown method or fewer than one step.
    """
    if method not in ("svd", "cubic", "quintic"):
        raise InputError(f"method: {method!r}; allowed are 'svd', 'cubic' and 'quintic'")
    if matrix.numel() == 0:
        return matrix.clone()
    if method == "svd":
        return _polar_by_svd(matrix)
    steps = (18 if method == "cubic" else 5) if steps is None else steps
    if steps < 1:
        raise InputError(f"steps: must be at least 1, got {steps}")
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    # by the largest entry first: squares of small numbers would vanish
    x = x / x.abs().amax((-2, -1), keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    for _ in range(steps):
        gram = x @ x.mT
        if method == "cubic":
            x = 1.5 * x - 0.5 * (gram @ x)
        else:
            a, b, c = QUINTIC
            x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x


def _polar_by_svd(matrix: Tensor) -> Tensor:
    """The sum over singular triplets that are not rounding of zero."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    floor = max(matrix.shape[-2:]) * torch.finfo(matrix.dtype).eps * values[..., :1]
    kept = (values > floor).to(matrix.dtype)
    return (left * kept[..., None, :]) @ right


def _coupled_newton(root: Tensor, coupled: Tensor, p: int, tolerance: float, max_iterations: int) -> tuple[Tensor, int]:
    """Roots and the number of iterations; matrices that have converged are left alone."""
    identity = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
    error = (coupled - identity).abs().amax((-2, -1))
    target = min(tolerance, 1e-2) / 100  # the iteration is quadratic: rounding is what ends it
    iterations = 0
    while iterations < max_iterations:
        factor = ((p + 1) * identity - coupled) / p
        further = torch.linalg.matrix_power(factor, p) @ coupled
        change = (further - identity).abs().amax((-2, -1))
        # while eigenvalues are far from 1 the largest entry may stall; later, growth means that rounding has taken over
        better = (change < error) | (error > 0.5)
        better &= (error > target) & change.isfinite()
        if not bool(better.any()):
            break
        keep = better[..., None, None]
        root = torch.where(keep, root @ factor, root)
        coupled = torch.where(keep, (further + further.mT) / 2, coupled)
        error = torch.where(better, change, error)
        iterations += 1
    return (root + root.mT) / 2, iterations


def _root_residual(root: Tensor, matrix: Tensor, p: int) -> Tensor:
    identity = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
    error = (torch.linalg.matrix_power(root, p) @ matrix - identity).abs().amax((-2, -1))
    return torch.where(error.isfinite(), error, torch.inf)


def _norm_bound(matrix: Tensor) -> Tensor:
    """At least the largest |eigenvalue| of symmetric matrices, (*batch, 1, 1)."""
    rows = matrix.abs().sum(-1).amax(-1)
    bound = torch.minimum(rows, torch.linalg.matrix_norm(matrix))
    return bound.clamp_min(torch.finfo(matrix.dtype).tiny)[..., None, None]
