"""Generalised inverses from two factors: A^- = D^T (B^T A D^T)^-1 B^T, the reconstruction equation of the inverse.

With r = rank(A) columns each, row factor R (n, r) and column factor B (m, r), R (B^T A R)^-1 B^T is the only
{1,2}-inverse with range col(R) and null space the complement of col(B) (A. Ben-Israel and T. Greville, *Generalized
Inverses*, 2003, chapter 2). R = rows and B = columns of A give the Moore-Penrose inverse; R = columns and B = rows the
group inverse; B = M A and R = N^-1 A^T the weighted one.
"""

from __future__ import annotations

import torch
from jaxtyping import Inexact
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.meta_factorization.constructors import column_basis
from polyad.tensors.meta_factorization.engine import oblique_projector


def generalized_inverse(
    matrix: Inexact[Tensor, "*batch m n"],
    *,
    range_factor: Inexact[Tensor, "*batch n k"],
    null_factor: Inexact[Tensor, "*batch m l"],
) -> Inexact[Tensor, "*batch n m"]:
    """The {1,2}-inverse with range col(`range_factor`) and null space orthogonal to col(`null_factor`).

    Both factors are orthonormalised first (their scale cancels); dependent columns are dropped.

    Raises:
        InputError: B^T A R has not the rank of both factors and of A, so that no such inverse exists.
    """
    onto, along = column_basis(range_factor), column_basis(null_factor)
    small = along.mH @ matrix @ onto
    if small.shape[-2] != small.shape[-1]:
        raise InputError(
            f"range_factor, null_factor: ranks {onto.shape[-1]} and {along.shape[-1]}; "
            "both must be the rank of the matrix"
        )
    projector = oblique_projector(matrix @ onto, sketch=along)
    if int(projector.rank.min()) < small.shape[-1]:
        raise InputError(
            f"range_factor: its rank {small.shape[-1]} is above rank {int(projector.rank.min())} of A R; "
            "its columns must be independent modulo the null space of the matrix"
        )
    inverse = onto @ projector.dual.mH
    missed = torch.linalg.matrix_norm(matrix - projector.project(matrix)) / torch.linalg.matrix_norm(matrix)
    if float(missed.max()) > torch.finfo(missed.dtype).eps ** 0.5:
        raise InputError(
            f"range_factor: A R spans only a part of the columns of A ({float(missed.max()):.1e} of its norm is left); "
            "give factors of the full rank of the matrix"
        )
    return inverse


def pseudoinverse(
    matrix: Inexact[Tensor, "*batch m n"],
    *,
    column_factor: Inexact[Tensor, "*batch m k"] | None = None,
    row_factor: Inexact[Tensor, "*batch n l"] | None = None,
) -> Inexact[Tensor, "*batch n m"]:
    """Moore-Penrose inverse from factors that span columns and rows of A; by default its pivot columns and rows."""
    columns = column_basis(matrix) if column_factor is None else column_factor
    rows = column_basis(matrix.mH) if row_factor is None else row_factor
    return generalized_inverse(matrix, range_factor=rows, null_factor=columns)


def group_inverse(matrix: Inexact[Tensor, "*batch n n"]) -> Inexact[Tensor, "*batch n n"]:
    """A^# with A A^# A = A, A^# A A^# = A^#, A A^# = A^# A: range and null space are those of A.

    Raises:
        InputError: rank(A^2) < rank(A), where it does not exist.
    """
    return generalized_inverse(matrix, range_factor=column_basis(matrix), null_factor=column_basis(matrix.mH))


def weighted_pseudoinverse(
    matrix: Inexact[Tensor, "*batch m n"],
    *,
    row_weight: Inexact[Tensor, "*batch m m"],
    column_weight: Inexact[Tensor, "*batch n n"],
) -> Inexact[Tensor, "*batch n m"]:
    """A^+_{M,N}: least squares in the norm of M = `row_weight`, of least norm in N = `column_weight` (both SPD).

    M A A^- and N A^- A are symmetric: B = M A and R = N^-1 A^T.
    """
    return generalized_inverse(
        matrix,
        range_factor=torch.linalg.solve(column_weight, column_basis(matrix.mH)),
        null_factor=row_weight @ column_basis(matrix),
    )
