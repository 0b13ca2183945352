"""Leading eigenspaces and matrix square roots whose derivatives of any order are stable under degeneracy.

A truncation uses the isometry U of the k leading eigenvectors of a Gram matrix G only through what does not change
under U -> U R with R orthogonal, so its derivative may be taken without motion inside the kept space:

    dU = Q X,   X K - H X = Q dG U,   K = U^T G U,   H = Q G Q,   Q = 1 - U U^T.

Only differences between kept and discarded eigenvalues enter (torch's own eigh divides by all differences, and a Gram
matrix has many equal, zero ones). The Sylvester solve is itself a differentiable function, whose derivative is another
Sylvester solve: second derivatives come for free.

When not to use it: where the result depends on individual eigenvectors, or where the cut splits a multiplet of equal,
non-zero eigenvalues (there is no derivative; such pairs are left out).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError

_SMALLEST_GAP = 450  # units of rounding of the largest kept eigenvalue; closer pairs have no weight or no derivative


def leading_isometry(
    gram: Float[Tensor, "*batch n n"], count: int, *, vectors: Float[Tensor, "*batch n n"] | None = None
) -> Float[Tensor, "*batch n k"]:
    """Orthonormal basis of the space of the `count` leading eigenvectors of a symmetric positive matrix.

    Args:
        vectors: all eigenvectors in ascending order, where they are known already.

    Raises:
        InputError: `count` outside 1..n, or entries that are not finite.
    """
    _check(gram, count, gram.shape[-1])
    return _LeadingEigenvectors.apply(gram, count, vectors)


def leading_left_isometry(matrix: Float[Tensor, "*batch n m"], count: int) -> Float[Tensor, "*batch n k"]:
    """Orthonormal basis of the space of the `count` leading left singular vectors, by a singular value decomposition.

    Raises:
        InputError: `count` outside 1..n, or entries that are not finite.
    """
    _check(matrix, count, matrix.shape[-2])
    return _LeadingSingularVectors.apply(matrix, count)


def sylvester(
    left: Float[Tensor, "*batch n n"], right: Float[Tensor, "*batch k k"], value: Float[Tensor, "*batch n k"]
) -> Float[Tensor, "*batch n k"]:
    """X with X right - left X = value, for symmetric `left` and `right`; no part where their eigenvalues agree."""
    return _Sylvester.apply(left, right, value)


def square_root(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """The positive square root of a symmetric positive definite matrix."""
    return _SquareRoot.apply(matrix)


def _check(matrix: Tensor, count: int, largest: int) -> None:
    if not 1 <= count <= largest:
        raise InputError(f"count is {count}; it must lie in 1..{largest}, the size of the space")
    if not bool(torch.isfinite(matrix.detach()).all()):
        raise InputError("the matrix holds NaN or Inf; rescale the tensors before the truncation")


def _gradient_of_gram(gram: Tensor, isometry: Tensor, gradient: Tensor) -> Tensor:
    """Gradient by the Gram matrix, from that by the isometry."""
    kept = isometry.mT @ gram @ isometry
    rest = gram - isometry @ kept @ isometry.mT
    across = gradient - isometry @ (isometry.mT @ gradient)
    product = sylvester(rest, kept, across) @ isometry.mT
    return (product + product.mT) / 2


class _LeadingEigenvectors(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gram: Any, count: Any, vectors: Any) -> Any:
        vectors = torch.linalg.eigh(gram).eigenvectors if vectors is None else vectors
        isometry = vectors[..., -count:].flip(-1).contiguous()
        ctx.save_for_backward(gram, isometry)
        return isometry

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        gram, isometry = ctx.saved_tensors
        return _gradient_of_gram(gram, isometry, gradient), None, None


class _LeadingSingularVectors(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Any, count: Any) -> Any:
        isometry = torch.linalg.svd(matrix, full_matrices=matrix.shape[-1] < count).U[..., :count].contiguous()
        ctx.save_for_backward(matrix, isometry)
        return isometry

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        matrix, isometry = ctx.saved_tensors
        return 2 * _gradient_of_gram(matrix @ matrix.mT, isometry, gradient) @ matrix, None


class _Sylvester(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Any, right: Any, value: Any) -> Any:
        lower, rows = torch.linalg.eigh(left)
        upper, columns = torch.linalg.eigh(right)
        gap = upper.unsqueeze(-2) - lower.unsqueeze(-1)
        smallest = _SMALLEST_GAP * torch.finfo(value.dtype).eps * upper.abs().amax(-1)[..., None, None]
        inverse = torch.where(gap.abs() > smallest, 1 / gap, torch.zeros_like(gap))
        solution = rows @ (inverse * (rows.mT @ value @ columns)) @ columns.mT
        ctx.save_for_backward(left, right, solution)
        return solution

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        left, right, solution = ctx.saved_tensors
        adjoint = sylvester(left, right, gradient)
        return adjoint @ solution.mT, -solution.mT @ adjoint, adjoint


class _SquareRoot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Any) -> Any:
        values, vectors = torch.linalg.eigh(matrix)
        root = (vectors * values.clamp(min=0).sqrt().unsqueeze(-2)) @ vectors.mT
        ctx.save_for_backward(root)
        return root

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        (root,) = ctx.saved_tensors
        return sylvester(-root, root, gradient)
