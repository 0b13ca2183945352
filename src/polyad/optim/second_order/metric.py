"""A metric of points and gradients: |h|^2 = h.B h, |g|*^2 = g.B^-1 g, with B the identity unless a matrix is given."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError


@final
class Metric:
    """B and its Cholesky factor `root`, B = root root'; both None for the identity.

    Args:
        matrix: B, symmetric positive definite.
        like: a point; size, dtype and device are its.

    Raises:
        InputError: another size, or not symmetric positive definite.
    """

    def __init__(self, matrix: Float[Tensor, "m m"] | None, *, like: Float[Tensor, " n"]) -> None:
        self.matrix = self.root = None
        if matrix is None:
            return
        if matrix.shape != (len(like), len(like)):
            raise InputError(f"metric: has shape {tuple(matrix.shape)}, here it must be {len(like)} by {len(like)}")
        given = matrix.detach().to(like)
        if not bool(given.isfinite().all()):
            raise InputError("metric: holds NaN or infinity")
        root, failed = torch.linalg.cholesky_ex(given)
        symmetric = torch.allclose(given, given.mT, rtol=1e-10, atol=1e-10 * float(given.abs().max()))
        if bool(failed) or not symmetric:
            raise InputError("metric: must be symmetric and positive definite; add a small multiple of the identity")
        self.matrix, self.root = given, root

    def apply(self, h: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """B h."""
        return h if self.matrix is None else self.matrix @ h

    def solve(self, g: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """B^-1 g."""
        return g if self.root is None else torch.cholesky_solve(g[:, None], self.root)[:, 0]

    def dual_square(self, g: Float[Tensor, " n"]) -> float:
        """g.B^-1 g."""
        return float(g @ self.solve(g))

    def added_to(self, hessian: Float[Tensor, "n n"], damping: float) -> Float[Tensor, "n n"]:
        """H + damping B."""
        if self.matrix is not None:
            return hessian + damping * self.matrix
        shifted = hessian.clone()
        shifted.diagonal().add_(damping)
        return shifted
