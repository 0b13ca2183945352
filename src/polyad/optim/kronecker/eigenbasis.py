"""Eigenvectors that follow a slowly changing matrix, are repaired after rounding, and give its inverse root."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def orthonormalize(basis: Float[Tensor, "... n n"], *, steps: int = 1) -> Float[Tensor, "... n n"]:
    """Bring a nearly orthogonal matrix nearer: V <- 1.5 V - 0.5 V V' V (Bjorck), `steps` times.

    Converges quadratically to the orthogonal polar factor where all singular values lie in (0, sqrt 3).
    """
    for _ in range(steps):
        basis = 1.5 * basis - 0.5 * basis @ (basis.mT @ basis)
    return basis


def subspace_iteration(
    matrix: Float[Tensor, "... n n"], basis: Float[Tensor, "... n n"]
) -> tuple[Float[Tensor, "... n n"], Float[Tensor, "... n"]]:
    """One orthogonal iteration towards eigenvectors, from those of a matrix before.

    Args:
        matrix: symmetric, positive semi-definite.
        basis: orthonormal columns.

    Returns:
        V = Q of the QR factorisation of matrix @ basis whose R has no negative diagonal, so that eigenvectors are a
        fixed point; and the diagonal of V' matrix V, which equals the eigenvalues in the limit only.
    """
    columns, triangle = torch.linalg.qr(matrix @ basis)
    diagonal = triangle.diagonal(dim1=-2, dim2=-1)
    columns = columns * torch.where(diagonal < 0, -1.0, 1.0).to(columns)[..., None, :]
    return columns, (columns * (matrix @ columns)).sum(-2).clamp_min(0)


def inverse_root(
    basis: Float[Tensor, "... n n"], eigenvalues: Float[Tensor, "... n"], *, eps: float = 1e-6, order: int = 4
) -> Float[Tensor, "... n n"]:
    """V diag(lambda + eps max(lambda))^(-1/order) V'; the identity where all eigenvalues vanish.

    Args:
        basis: orthonormal columns V.
        eigenvalues: not negative.
        eps: ridge over the largest eigenvalue.
        order: of the root.
    """
    largest = eigenvalues.amax(-1, keepdim=True)
    shifted = torch.where(largest > 0, eigenvalues + eps * largest, 1.0)
    return (basis * shifted.pow(-1 / order)[..., None, :]) @ basis.mT
