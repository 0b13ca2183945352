"""Swap a factor: A = F G H^T over another basis F_new, without factoring A anew.

F_new S with the interface S = F_new^- F is the nearest that F_new offers to F; the swap is admissible iff what is
missing does not reach A, (F - F_new S) G = 0, and then A = F_new (S G) H^T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Inexact
from torch import Tensor

from polyad.tensors.meta_factorization.engine import oblique_projector


@final
@dataclass(frozen=True, eq=False)
class Replacement:
    """A ~ F_new (S G) H^T.

    Attributes:
        core: S G.
        interface: S = F_new^- F.
        criterion: |(F - F_new S) G|, zero iff the swap is admissible (Frobenius).
        residual: |A - F_new S G H^T| (Frobenius).
        admissible: criterion <= tolerance * |F G|.
    """

    core: Inexact[Tensor, "*batch k l"]
    interface: Inexact[Tensor, "*batch k j"]
    criterion: Float[Tensor, "*batch"]
    residual: Float[Tensor, "*batch"]
    admissible: Bool[Tensor, "*batch"]


def replace_factor(
    matrix: Inexact[Tensor, "*batch m n"],
    column_factor: Inexact[Tensor, "*batch m j"],
    core: Inexact[Tensor, "*batch j l"],
    row_factor: Inexact[Tensor, "*batch n l"],
    new_factor: Inexact[Tensor, "*batch m k"],
    *,
    sketch: Inexact[Tensor, "*batch m p"] | None = None,
    tolerance: float | None = None,
) -> Replacement:
    """The core over `new_factor` in place of `column_factor`; for a row factor give the transposes.

    Args:
        matrix: A, for the residual.
        column_factor: F.
        core: G.
        row_factor: H.
        new_factor: F_new.
        sketch: B, for the {1}-inverse (B^T F_new)^+ B^T; Moore-Penrose if not given.
        tolerance: of the criterion relative to |F G|; eps^(2/3) by default.

    Raises:
        InputError: a sketch that loses the rank of F_new.
    """
    interface = oblique_projector(new_factor, sketch=sketch).coordinates(column_factor)
    replaced = interface @ core
    kept = column_factor @ core
    criterion = torch.linalg.matrix_norm(kept - new_factor @ replaced)
    residual = torch.linalg.matrix_norm(matrix - new_factor @ (replaced @ row_factor.mH))
    if tolerance is None:
        tolerance = torch.finfo(criterion.dtype).eps ** (2 / 3)
    admissible = criterion <= tolerance * torch.linalg.matrix_norm(kept)
    return Replacement(replaced, interface, criterion, residual, admissible)
