"""Logarithm of symmetric positive definite matrices, differentiable at repeated eigenvalues.

For A = V diag(a) V^T the logarithm is V diag(log a) V^T. Differentiating through the eigenvectors divides by a_i -
a_j and gives NaN at repeated eigenvalues, which every symmetric material has. The derivative of the logarithm
itself is harmless (Daleckii and Krein):

    d log A = V (Gamma * (V^T dA V)) V^T,   Gamma_ij = (log a_i - log a_j) / (a_i - a_j),   Gamma_ii = 1/a_i

Gamma is computed as log1p(x)/x / a_j with x = (a_i - a_j)/a_j, which loses no digits when a_i is close to a_j.

Source: Yu. L. Daleckii and S. G. Krein, AMS Translations 47 (1965) 1; N. J. Higham, Functions of Matrices, SIAM
2008, theorem 3.11.

When not to use it: for second derivatives (the backward pass is not differentiable again), or for large sparse
matrices.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from polyad.errors import InputError


def spd_logarithm(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """Matrix logarithm of symmetric positive definite matrices; its inverse is `torch.linalg.matrix_exp`.

    Only the symmetric part of `matrix` is read. Raises InputError where an eigenvalue is not positive (or NaN).
    """
    result: Tensor = _SpdLogarithm.apply(matrix)
    return result


class _SpdLogarithm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
        if not bool((values > 0).all()):
            raise InputError(
                f"matrix: smallest eigenvalue is {values.min().item():.6g}, must be positive for a logarithm; "
                "give a positive definite matrix"
            )
        ctx.save_for_backward(values, vectors)
        return (vectors * values.log()[..., None, :]) @ vectors.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        values, vectors = ctx.saved_tensors
        column = values[..., None, :]
        relative = (values[..., :, None] - column) / column
        equal = relative == 0
        safe = torch.where(equal, torch.ones_like(relative), relative)
        slopes = torch.where(equal, torch.ones_like(relative), torch.log1p(safe) / safe) / column
        inner = vectors.mT @ (gradients[0] + gradients[0].mT) @ vectors / 2
        return vectors @ (slopes * inner) @ vectors.mT
