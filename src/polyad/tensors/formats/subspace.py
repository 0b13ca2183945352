"""Dominant subspaces: the one numerical step of every truncation, with a derivative that survives equal values.

For B (m x k) and any W with G = W W^H, the dominant left subspace U of B W holds the leading eigenvectors of
B G B^H = U diag(s^2) U^H + rest. U has a derivative only across the gap between kept and discarded values, which is
all that a projection U U^H B depends on (rotations within either group drop out):

    dU = U_o [ (U_o^H d(B G B^H) U)_ij / (s_j^2 - s_i^2) ],          U_o: discarded directions, s_i = 0 beyond the rank

So repeated or vanishing singular values, which make the derivative of a plain SVD infinite, do no harm here. W itself
may come from a QR decomposition without derivative: the derivative flows through G.

When not to use it: where the individual singular vectors are needed, not the space that they span.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Num
from torch import Tensor


def dominant_basis(
    matrix: Num[Tensor, "... rows inner"],
    *,
    budget: Num[Tensor, "..."] | None,
    cap: int,
    root: Num[Tensor, "... inner columns"] | None = None,
    gram: Num[Tensor, "... inner inner"] | None = None,
) -> tuple[Num[Tensor, "... rows rank"], Num[Tensor, "..."]]:
    """Orthonormal basis of the dominant left subspace of matrix @ root, and the squared norm of what it leaves out.

    Args:
        matrix: B.
        budget: largest squared norm that may be left out, one number a batch entry; None for none but the cap.
        cap: largest rank.
        root: W with gram = W W^H, used without derivative; the identity by default.
        gram: G = W W^H with its derivative; needed where a gradient must flow through W.

    The rank is the smallest that keeps every batch entry within its budget, at least one.
    """
    with torch.no_grad():
        weighted = matrix.detach() if root is None else matrix.detach() @ root.detach()
        left, values, doubt = _left_singular(weighted, budget)
        tail = _tail_energies(values) + doubt[..., None]
        rank = min(_smallest_rank(tail, budget), cap, values.shape[-1])
        lost = tail[..., rank].clamp_min(0) if rank < values.shape[-1] else doubt
    needs_gradient = torch.is_grad_enabled() and (matrix.requires_grad or (gram is not None and gram.requires_grad))
    return _DominantBasis.apply(matrix, gram, left, values, rank) if needs_gradient else left[..., :rank], lost


def triangular_root(matrix: Num[Tensor, "... rows columns"]) -> Num[Tensor, "... rank columns"]:
    """R of a QR decomposition (no derivative): R^H R = matrix^H matrix, with at most `columns` rows."""
    with torch.no_grad():
        if matrix.shape[-2] <= matrix.shape[-1]:
            return matrix.detach()
        return torch.linalg.qr(matrix.detach(), mode="r").R


def _left_singular(matrix: Tensor, budget: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Left singular vectors and values of the thin SVD, and the doubt in the squared values' partial sums.

    Where the budget lies far above the rounding of a Gram matrix, the latter is far cheaper; its eigenvalues are
    known to a few units of rounding of |matrix|^2, which is added to what is lost so that the bound holds.
    """
    rows, columns = matrix.shape[-2:]
    if matrix.is_cuda or budget is None or columns < 2 * rows:
        return (*_left_by_qr(matrix), torch.zeros(matrix.shape[:-2], dtype=matrix.real.dtype, device=matrix.device))
    energy = torch.linalg.vector_norm(matrix, dim=(-2, -1)).square()
    doubt = 16 * torch.finfo(matrix.dtype).eps * energy
    if bool((budget < 8 * doubt).any()):
        return (*_left_by_qr(matrix), torch.zeros_like(doubt))
    squares, left = torch.linalg.eigh(matrix @ matrix.mH)
    return left.flip(-1), squares.flip(-1).clamp_min(0).sqrt(), doubt


def _left_by_qr(matrix: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = matrix.shape[-2:]
    if columns > 2 * rows:  # the small triangle has the same left singular vectors
        matrix = torch.linalg.qr(matrix.mH, mode="r").R.mH
    elif rows > 2 * columns:
        orthonormal, triangle = torch.linalg.qr(matrix)
        left, values, _ = torch.linalg.svd(triangle, full_matrices=False)
        return orthonormal @ left, values
    left, values, _ = torch.linalg.svd(matrix, full_matrices=False)
    return left, values


def _tail_energies(values: Tensor) -> Tensor:
    """tail[..., r] = sum of the squared values from r on, r = 0..count."""
    tail = values.square().flip(-1).cumsum(-1).flip(-1)
    return torch.cat([tail, torch.zeros_like(tail[..., :1])], dim=-1)


def _smallest_rank(tail: Tensor, budget: Tensor | None) -> int:
    count = tail.shape[-1] - 1
    if budget is None:
        return count
    fits = (tail <= budget[..., None]).reshape(-1, count + 1).all(0)
    fits[count] = True
    return max(1, int(fits.int().argmax()))


class _DominantBasis(torch.autograd.Function):
    """The basis, with the derivative of the module's docstring."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, gram: Tensor | None, left: Tensor, values: Tensor, rank: int) -> Tensor:
        ctx.save_for_backward(matrix, gram, left, values)
        ctx.rank = rank
        return left[..., :rank].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        matrix, gram, left, values = ctx.saved_tensors
        kept, others = left[..., : ctx.rank], left[..., ctx.rank :]
        squares = values.square()
        gaps = squares[..., None, : ctx.rank] - squares[..., ctx.rank :, None]
        outside = gradient - left @ (left.mH @ gradient)
        push = others @ (_divide(others.mH @ gradient, gaps)) + _divide(outside, squares[..., None, : ctx.rank])
        reduced_kept, reduced_push = kept.mH @ matrix, push.mH @ matrix
        if gram is None:
            return push @ reduced_kept + kept @ reduced_push, None, None, None, None
        on_matrix = push @ (reduced_kept @ gram) + kept @ (reduced_push @ gram)
        on_gram = reduced_push.mH @ reduced_kept
        return on_matrix, (on_gram + on_gram.mH) / 2, None, None, None


def _divide(numerator: Tensor, gap: Tensor) -> Tensor:
    """A gap of zero separates directions whose values are equal: no derivative exists, and none is taken."""
    return torch.where(gap > 0, numerator / torch.where(gap > 0, gap, 1), 0)
