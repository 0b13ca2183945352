"""The projector and reconstruction equations, solved: F Y^T F = F, H^T X H^T = H^T, A = F G H^T.

See the package for the equations. The pseudoinverse of B^T F is kept as its singular value decomposition and applied
factor by factor, so that F (Y^T A) is as accurate as A although Y itself may be large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Inexact, Int
from torch import Tensor

from polyad.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class ObliqueProjector:
    """P = F Y^T onto the columns of F along the complement of col(B B^T F), with Y^T = (B^T F)^+ B^T.

    Attributes:
        factor: F.
        sketch: B; None for the orthogonal projector, Y^T = F^+.
        left, inverse_values, right: U, 1 / s (zero below the cutoff) and V of B^T F (of F itself) = U diag(s) V^T.
    """

    factor: Inexact[Tensor, "*batch m k"]
    sketch: Inexact[Tensor, "*batch m p"] | None
    left: Inexact[Tensor, "*batch q j"]
    inverse_values: Float[Tensor, "*batch j"]
    right: Inexact[Tensor, "*batch k j"]

    @property
    def rank(self) -> Int[Tensor, "*batch"]:
        """Dimension of the space that is projected onto."""
        return (self.inverse_values > 0).sum(-1)

    @property
    def dual(self) -> Inexact[Tensor, "*batch m k"]:
        """Y."""
        lifted = self.left if self.sketch is None else self.sketch @ self.left
        return (lifted * self.inverse_values[..., None, :]) @ self.right.mH

    def coordinates(self, matrix: Inexact[Tensor, "*batch m n"]) -> Inexact[Tensor, "*batch k n"]:
        """Y^T matrix: the columns of `matrix` in terms of those of F."""
        sketched = matrix if self.sketch is None else self.sketch.mH @ matrix
        return self.right @ (self.inverse_values[..., None] * (self.left.mH @ sketched))

    def project(self, matrix: Inexact[Tensor, "*batch m n"]) -> Inexact[Tensor, "*batch m n"]:
        """P matrix."""
        return self.factor @ self.coordinates(matrix)

    @property
    def norm(self) -> Float[Tensor, "*batch"]:
        """Spectral norm of P, 1 / cos of the largest angle between col(F) and col(B B^T F): 1 where orthogonal."""
        triangle = torch.linalg.qr(self.factor, mode="r").R @ torch.linalg.qr(self.dual, mode="r").R.mH
        return torch.linalg.matrix_norm(triangle, ord=2)


@final
@dataclass(frozen=True, eq=False)
class MetaFactorization:
    """A ~ F G H^T, with the projectors that G came from: P = F Y^T of the columns, Q^T = H X^T of the rows."""

    column: ObliqueProjector
    core: Inexact[Tensor, "*batch k l"]
    row: ObliqueProjector

    def reconstruct(self) -> Inexact[Tensor, "*batch m n"]:
        """F G H^T."""
        return self.column.factor @ self.core @ self.row.factor.mH

    def residual(self, matrix: Inexact[Tensor, "*batch m n"]) -> Float[Tensor, "*batch"]:
        """|A - F G H^T| / |A| in the Frobenius norm (not divided where A is zero)."""
        return relative_residual(matrix, self.reconstruct())


@final
@dataclass(frozen=True, eq=False)
class StabilityReport:
    """What a choice of factors and sketches does to errors; norms of errors are Frobenius norms.

    Attributes:
        column_norm, row_norm: |F Y^T| and |X H^T| (spectral): how much each projector amplifies what it is not meant
            to keep, and rounding; 1 is best.
        column_error, row_error: |A - P_F A| and |A - A P_H| with the orthogonal projectors: no core does better.
        error: |A - P A Q|, what this choice leaves.
        bound: column_norm * column_error + column_norm * row_norm * row_error, never below `error`.
        amplification: error / max(column_error, row_error); 1 where both vanish.
    """

    column_norm: Float[Tensor, "*batch"]
    row_norm: Float[Tensor, "*batch"]
    column_error: Float[Tensor, "*batch"]
    row_error: Float[Tensor, "*batch"]
    error: Float[Tensor, "*batch"]
    bound: Float[Tensor, "*batch"]
    amplification: Float[Tensor, "*batch"]


def oblique_projector(
    factor: Inexact[Tensor, "*batch m k"],
    *,
    sketch: Inexact[Tensor, "*batch m p"] | None = None,
    cutoff: float | None = None,
) -> ObliqueProjector:
    """Solve the projector equation F Y^T F = F.

    Args:
        factor: F; its columns may be linearly dependent.
        sketch: B with rank(B^T F) = rank(F); F itself, and so the orthogonal projector, if not given.
        cutoff: singular values of B^T F below this times the largest count as zero; max(m, k, p) * eps by default.

    Raises:
        InputError: numbers that are not finite; rank(B^T F) < rank(F), so that no such projector exists.
    """
    _check_finite(factor, "factor")
    if sketch is not None:
        _check_finite(sketch, "sketch")
    small = factor if sketch is None else sketch.mH @ factor
    left, values, right = torch.linalg.svd(small, full_matrices=False)
    eps = torch.finfo(values.dtype).eps
    if cutoff is None:
        cutoff = max(*factor.shape[-2:], *small.shape[-2:]) * eps
    kept = values > cutoff * values[..., :1]
    inverse = torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)
    projector = ObliqueProjector(factor, sketch, left, inverse, right.mH)
    if sketch is not None:
        missed = float(relative_residual(factor, projector.project(factor)).max())
        allowed = max(eps ** (2 / 3), 10 * cutoff)
        if missed > allowed:
            raise InputError(
                f"sketch: B^T F has a lower rank than F: |F - F Y^T F| / |F| is {missed:.1e}, at most {allowed:.1e} is "
                "allowed; take a sketch with no direction of F orthogonal to it, such as F itself or a random one"
            )
    return projector


def meta_factorization(
    matrix: Inexact[Tensor, "*batch m n"],
    column_factor: Inexact[Tensor, "*batch m k"],
    row_factor: Inexact[Tensor, "*batch n l"],
    *,
    column_sketch: Inexact[Tensor, "*batch m p"] | None = None,
    row_sketch: Inexact[Tensor, "*batch n q"] | None = None,
    free_core: Inexact[Tensor, "*batch k l"] | None = None,
) -> MetaFactorization:
    """Factor A ~ F G H^T over given F and H; exact where F spans the columns of A and H its rows.

    Args:
        matrix: A.
        column_factor: F.
        row_factor: H.
        column_sketch: B, for Y^T = (B^T F)^+ B^T; F^+ if not given.
        row_sketch: D, for X = D (H^T D)^+; (H^T)^+ if not given.
        free_core: W, any (k, l); changes G where F or H has dependent columns, and F G H^T never.

    Raises:
        InputError: a sketch that loses rank, or numbers that are not finite.
    """
    _check_finite(matrix, "matrix")
    column = oblique_projector(column_factor, sketch=column_sketch)
    row = oblique_projector(row_factor, sketch=row_sketch)
    core = _two_sided(column, matrix, row)
    if free_core is not None:
        image = column.coordinates(column_factor @ free_core)
        core = core + free_core - row.coordinates(row_factor @ image.mH).mH
    return MetaFactorization(column, core, row)


def stability_report(matrix: Inexact[Tensor, "*batch m n"], factorization: MetaFactorization) -> StabilityReport:
    """How far sketches and factors are from the best choice: norms of the projectors, errors and their bound."""
    column, row = factorization.column, factorization.row
    column_norm, row_norm = column.norm, row.norm
    outside_columns = matrix - oblique_projector(column.factor).project(matrix)
    outside_rows = matrix - oblique_projector(row.factor).project(matrix.mH).mH
    column_error, row_error = (torch.linalg.matrix_norm(part) for part in (outside_columns, outside_rows))
    error = torch.linalg.matrix_norm(matrix - column.factor @ _two_sided(column, matrix, row) @ row.factor.mH)
    bound = column_norm * column_error + column_norm * row_norm * row_error
    least = torch.maximum(column_error, row_error)
    amplification = torch.where(least > 0, error / torch.where(least > 0, least, 1.0), 1.0)
    return StabilityReport(column_norm, row_norm, column_error, row_error, error, bound, amplification)


def relative_residual(
    matrix: Inexact[Tensor, "*batch m n"], approximation: Inexact[Tensor, "*batch m n"]
) -> Float[Tensor, "*batch"]:
    """|A - approximation| / |A| in the Frobenius norm; |A - approximation| where A is zero."""
    size = torch.linalg.matrix_norm(matrix)
    return torch.linalg.matrix_norm(matrix - approximation) / torch.where(size > 0, size, 1.0)


def _two_sided(column: ObliqueProjector, matrix: Tensor, row: ObliqueProjector) -> Tensor:
    """Y^T A X."""
    return row.coordinates(column.coordinates(matrix).mH).mH


def _check_finite(tensor: Tensor, name: str) -> None:
    if 0 in tensor.shape[-2:]:
        raise InputError(f"{name}: shape {tuple(tensor.shape)}; the last two dimensions must not be empty")
    if not bool(torch.isfinite(tensor.detach()).all()):
        raise InputError(f"{name}: holds NaN or infinite numbers; factor finite matrices only")
