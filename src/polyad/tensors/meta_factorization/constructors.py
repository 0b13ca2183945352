"""Known factorisations as solutions of the projector and reconstruction equations, each from the one engine.

Bases of the column and row space come from column-pivoted QR (LAPACK's geqp3, through SciPy, chooses the columns; what
is differentiated is the rest). Every constructor returns factors with A ~ U T V^T and the relative residual of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float, Inexact, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.meta_factorization.engine import meta_factorization, oblique_projector, relative_residual


@final
@dataclass(frozen=True, eq=False)
class Factorization:
    """A ~ U T V^T: `left` U, `core` T, `right` V, and `residual` |A - U T V^T| / |A| (Frobenius)."""

    left: Inexact[Tensor, "*batch m k"]
    core: Inexact[Tensor, "*batch k l"]
    right: Inexact[Tensor, "*batch n l"]
    residual: Float[Tensor, "*batch"]

    def reconstruct(self) -> Inexact[Tensor, "*batch m n"]:
        """U T V^T."""
        return self.left @ self.core @ self.right.mH


def singular_value_decomposition(matrix: Inexact[Tensor, "*batch m n"], *, rank: int | None = None) -> Factorization:
    """SVD: orthonormal F and H, and the core G = F^T A H diagonalised; truncated to the best of rank `rank`."""
    columns, rows = column_basis(matrix), column_basis(matrix.mH)
    left, values, right = torch.linalg.svd(meta_factorization(matrix, columns, rows).core, full_matrices=False)
    k = _checked_rank(rank, values.shape[-1])
    core = torch.diag_embed(values[..., :k]).to(matrix.dtype)
    return _factorization(matrix, columns @ left[..., :k], core, rows @ right[..., :k, :].mH)


def pivoted_qr(matrix: Inexact[Tensor, "*batch m n"], *, rank: int | None = None) -> Factorization:
    """A P = Q R: F = Q spans the first `rank` pivot columns, H = P is the permutation, the core is R (k, n)."""
    pivots, found = column_pivots(matrix)
    permuted = _columns(matrix, pivots)
    basis = torch.linalg.qr(permuted[..., : _checked_rank(rank, found)]).Q
    core = oblique_projector(basis).coordinates(permuted).triu()
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand(*matrix.shape[:-2], -1, -1)
    return _factorization(matrix, basis, core, _columns(identity, pivots))


def utv(
    matrix: Inexact[Tensor, "*batch m n"],
    *,
    rank: int | None = None,
    sides: Literal["one", "two"] = "two",
    core: Literal["svd", "qr", "lu"] = "qr",
) -> Factorization:
    """UTV: the core over an orthonormal row basis H (and, two-sided, column basis F) made diagonal or triangular.

    `qr` gives an upper triangular T (URV, with pivoting), `lu` a lower triangular one (ULV; its V is not orthogonal),
    `svd` a diagonal one. One-sided, A H takes the place of F^T A H and U comes from its factorisation.
    """
    rows = column_basis(matrix.mH, rank=rank)
    columns = column_basis(matrix, rank=rank) if sides == "two" else None
    middle = matrix @ rows if columns is None else meta_factorization(matrix, columns, rows).core
    if core == "lu":
        permutation, lower, upper = torch.linalg.lu(middle)
        left, inner, right = permutation, lower, upper.mH
        if columns is None:  # L is (m, k): its orthonormal basis belongs to U; the core stays lower triangular
            left, inner = _lower_from_left(permutation @ lower)
    else:
        factors = (singular_value_decomposition if core == "svd" else pivoted_qr)(middle)
        left, inner, right = factors.left, factors.core, factors.right
    return _factorization(matrix, left if columns is None else columns @ left, inner, rows @ right)


def cur(
    matrix: Inexact[Tensor, "*batch m n"],
    *,
    rank: int | None = None,
    columns: Int[Tensor, " k"] | None = None,
    rows: Int[Tensor, " l"] | None = None,
    core: Literal["projection", "skeleton"] = "projection",
) -> Factorization:
    """CUR: F and H are columns and rows of A itself, by default the first pivots of QR.

    `projection` takes B = F and D = H, the best core for them, C^+ A R^+; `skeleton` takes unit vectors as sketches:
    the core is the pseudoinverse of the block where the rows and columns cross, and A is not read elsewhere.
    """
    taken, crossed = (
        _chosen(side, given, rank, name)
        for side, given, name in ((matrix, columns, "columns"), (matrix.mH, rows, "rows"))
    )
    left, right = _columns(matrix, taken), _columns(matrix.mH, crossed)
    if core == "projection":
        return _factorization(matrix, left, meta_factorization(matrix, left, right).core, right)
    block = _columns(left.mH, crossed).mH
    inner = oblique_projector(block).dual.mH
    return _factorization(matrix, left, inner, right)


def full_rank(matrix: Inexact[Tensor, "*batch m n"], *, rank: int | None = None) -> Factorization:
    """Full-rank factorisation A = B C: `left` holds pivot columns B of A, `right`^T their coefficients C = B^+ A."""
    left = _columns(matrix, _chosen(matrix, None, rank, "columns"))
    coefficients = oblique_projector(left).coordinates(matrix)
    return _factorization(matrix, left, _identity(left), coefficients.mH)


def wedderburn(
    matrix: Inexact[Tensor, "*batch m n"],
    *,
    left_probes: Inexact[Tensor, "*batch m k"] | None = None,
    right_probes: Inexact[Tensor, "*batch n k"] | None = None,
) -> Factorization:
    """Outer products by rank reduction, A = sum_i (A_i d_i)(A_i^T b_i)^T / w_i with w_i = b_i^T A_i d_i.

    A_{i+1} = A_i - (A_i d_i)(A_i^T b_i)^T / w_i has a rank lower by one. All steps at once: F = A D and H = A^T B with
    the sketches B and D, whose small matrix B^T A D = L U (the b_i reordered by the pivots) is split in the middle.
    `core` is diag(1 / w). The probes default to orthonormal bases of the column and row space.
    """
    b = column_basis(matrix) if left_probes is None else left_probes
    d = column_basis(matrix.mH) if right_probes is None else right_probes
    oblique_projector(matrix @ d, sketch=b)  # refuses probes that would divide by zero
    permutation, lower, upper = torch.linalg.lu(b.mH @ matrix @ d)
    pivots = upper.diagonal(dim1=-2, dim2=-1)
    left = torch.linalg.solve_triangular(upper / pivots[..., None], matrix @ d, upper=True, left=False)
    right = torch.linalg.solve_triangular(lower.mH, matrix.mH @ b @ permutation, upper=True, left=False)
    return _factorization(matrix, left, torch.diag_embed(1 / pivots), right)


def generalized_nystrom(
    matrix: Inexact[Tensor, "*batch m n"],
    *,
    rank: int,
    oversampling: float = 1.5,
    width: int | None = None,
    seed: int = 0,
) -> Factorization:
    """Generalised Nystrom, A ~ A D (B^T A D)^+ B^T A, from two products of A with Gaussian sketches: one projector.

    D has `width` columns (`rank` if not given; more are truncated to `rank` afterwards), B `oversampling` times as
    many. Directions below rounding are left out, not divided by. (Y. Nakatsukasa, arXiv:2009.11392, 2020.)
    """
    k = _checked_rank(rank, min(matrix.shape[-2:]))
    narrow = min(max(k, width or k), *matrix.shape[-2:])
    if not oversampling >= 1:
        raise InputError(f"oversampling: {oversampling}; must be at least 1, 1.5 is usual")
    generator = torch.Generator(device=matrix.device).manual_seed(seed)
    d = _gaussian(matrix, matrix.shape[-1], narrow, generator)
    b = _gaussian(matrix, matrix.shape[-2], min(round(oversampling * narrow), matrix.shape[-2]), generator)
    projector = oblique_projector(matrix @ d, sketch=b)
    left = projector.factor @ projector.right * projector.inverse_values[..., None, :]
    right = matrix.mH @ b @ projector.left
    if narrow > k:
        left, right = _truncated(left, right, k)
    return _factorization(matrix, left, _identity(left), right)


def randomized_svd(
    matrix: Inexact[Tensor, "*batch m n"], *, rank: int, oversampling: int = 10, power: int = 1, seed: int = 0
) -> Factorization:
    """Randomised SVD: F = orthonormal basis of (A A^T)^power A D with D Gaussian, and the SVD of F^T A, truncated."""
    _checked_rank(rank, min(matrix.shape[-2:]))
    if oversampling < 0 or power < 0:
        raise InputError(f"oversampling, power: {oversampling}, {power}; neither may be negative")
    generator = torch.Generator(device=matrix.device).manual_seed(seed)
    width = min(rank + oversampling, *matrix.shape[-2:])
    basis = torch.linalg.qr(matrix @ _gaussian(matrix, matrix.shape[-1], width, generator)).Q
    for _ in range(power):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.mH @ basis).Q).Q
    small = oblique_projector(basis).coordinates(matrix)
    left, values, right = torch.linalg.svd(small, full_matrices=False)
    core = torch.diag_embed(values[..., :rank]).to(matrix.dtype)
    return _factorization(matrix, basis @ left[..., :rank], core, right[..., :rank, :].mH)


def column_pivots(matrix: Inexact[Tensor, "*batch m n"]) -> tuple[Int[Tensor, "*batch n"], int]:
    """Order in which column-pivoted QR takes the columns, and the numerical rank (the largest in the batch).

    Raises:
        InputError: numbers that are not finite, or a zero matrix, which has no pivot.
    """
    if not bool(torch.isfinite(matrix.detach()).all()):
        raise InputError("matrix: holds NaN or infinite numbers; factor finite matrices only")
    stack = matrix.detach().resolve_conj().cpu().reshape(-1, *matrix.shape[-2:]).numpy()
    orders, rank = [], 0
    for single in stack:
        triangle, order = scipy.linalg.qr(single, mode="r", pivoting=True, check_finite=False)
        size = np.abs(np.diagonal(triangle))
        rank = max(rank, int((size > max(single.shape) * np.finfo(single.dtype).eps * size[0]).sum()))
        orders.append(torch.from_numpy(order.astype(np.int64)))
    if rank == 0:
        raise InputError("matrix: is zero; there is nothing to factor")
    return torch.stack(orders).reshape(*matrix.shape[:-2], -1).to(matrix.device), rank


def column_basis(matrix: Inexact[Tensor, "*batch m n"], *, rank: int | None = None) -> Inexact[Tensor, "*batch m k"]:
    """Orthonormal basis of the first `rank` pivot columns; of the column space where no rank is given."""
    return torch.linalg.qr(_columns(matrix, _chosen(matrix, None, rank, "columns"))).Q


def _chosen(matrix: Tensor, given: Tensor | None, rank: int | None, name: str) -> Tensor:
    """Indices of columns, (..., k)."""
    if given is None:
        pivots, found = column_pivots(matrix)
        return pivots[..., : _checked_rank(rank, found)]
    if given.numel() == 0 or int(given.min()) < 0 or int(given.max()) >= matrix.shape[-1]:
        raise InputError(f"{name}: {given.tolist()}; give at least one index, each from 0 to {matrix.shape[-1] - 1}")
    return given.expand(*matrix.shape[:-2], -1)


def _checked_rank(rank: int | None, largest: int) -> int:
    if rank is None:
        return largest
    if rank < 1:
        raise InputError(f"rank: {rank}; must be at least 1")
    return min(rank, largest)


def _columns(matrix: Tensor, index: Tensor) -> Tensor:
    return torch.take_along_dim(matrix, index[..., None, :], dim=-1)


def _identity(left: Tensor) -> Tensor:
    k = left.shape[-1]
    return torch.eye(k, dtype=left.dtype, device=left.device).expand(*left.shape[:-2], k, k)


def _gaussian(like: Tensor, size: int, count: int, generator: torch.Generator) -> Tensor:
    """One sketch for the whole batch."""
    sketch = torch.randn(size, count, dtype=like.dtype, device=like.device, generator=generator)
    return sketch.expand(*like.shape[:-2], size, count)


def _lower_from_left(tall: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal U and lower triangular L with U L = tall: QR of the columns in reverse order."""
    basis, triangle = torch.linalg.qr(tall.flip(-1))
    return basis.flip(-1), triangle.flip(-1, -2)


def _truncated(left: Tensor, right: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Factors of the best approximation of left right^T of this rank."""
    (q, r), (p, s) = torch.linalg.qr(left), torch.linalg.qr(right)
    u, values, v = torch.linalg.svd(r @ s.mH, full_matrices=False)
    return q @ (u[..., :rank] * values[..., None, :rank]), p @ v[..., :rank, :].mH


def _factorization(matrix: Tensor, left: Tensor, core: Tensor, right: Tensor) -> Factorization:
    return Factorization(left, core, right, relative_residual(matrix, left @ core @ right.mH))
