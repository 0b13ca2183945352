"""Preconditioned conjugate gradients for several right-hand sides at once.

For a symmetric positive (semi-)definite operator A and preconditioner M, every column of A x = b runs its own
recurrence (Hestenes and Stiefel, J. Res. NBS 49 (1952) 409; Saad, Iterative Methods for Sparse Linear Systems, 2003,
algorithm 9.1), but operator and preconditioner are applied to all columns in one call, which is where memory-bound
work is saved. Columns that have converged are frozen. The residual that is reported is recomputed from its definition.

When not to use: indefinite or unsymmetric operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import ConvergenceError


@final
@dataclass(frozen=True, eq=False)
class KrylovSolution:
    """`solution` (*shape, columns), `residual` (columns,) = |b - A x| / scale, and the number of iterations."""

    solution: Float[Tensor, "*shape columns"]
    residual: Float[Tensor, " columns"]
    iterations: int


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor],
    right_hand_side: Float[Tensor, "*shape columns"],
    *,
    preconditioner: Callable[[Tensor], Tensor] | None = None,
    start: Float[Tensor, "*shape columns"] | None = None,
    scale: Float[Tensor, " columns"] | None = None,
    tolerance: float = 1e-8,
    max_iterations: int = 20_000,
    progress: Callable[[int, int], None] | None = None,
) -> KrylovSolution:
    """Solve A x = b for every column of b; the last dimension counts columns.

    Args:
        operator: x -> A x, of the shape of the right-hand side.
        right_hand_side: b. A column of zeros has the solution zero.
        preconditioner: r -> M r with M symmetric positive definite, near the inverse of A.
        start: initial guess (zero if not given).
        scale: what residuals are measured against, |b| of every column if not given; a larger one for columns that are
            small by cancellation, whose own size rounding cannot reach.
        tolerance: stop when |b - A x| <= tolerance * scale in every column.
        max_iterations: give up after so many.
        progress: called now and then with (digits gained x 100, digits wanted x 100).

    Raises:
        ConvergenceError: the tolerance was not reached, with the residual that was.
    """
    b = right_hand_side
    precondition = preconditioner or (lambda r: r)
    over = tuple(range(b.ndim - 1))
    norm = torch.linalg.vector_norm(b, dim=over) if scale is None else scale
    target = tolerance * norm
    x = torch.zeros_like(b) if start is None else start.clone()
    r = b - operator(x) if start is not None else b.clone()
    z = precondition(r)
    p = z.clone()
    rho = (r * z).sum(over)
    iteration, checked = 0, False
    size = torch.linalg.vector_norm(r, dim=over)
    worst = _worst(r, norm, over)
    while iteration < max_iterations:
        q = operator(p)
        curvature = (p * q).sum(over)
        # a column that is done takes no step: what is left of it is rounding, which would grow
        moving = (size > target) & (curvature > 0)
        alpha = torch.where(moving, rho / torch.where(moving, curvature, 1.0), 0.0)
        x.addcmul_(p, alpha.expand_as(p))
        r.addcmul_(q, -alpha.expand_as(q))
        iteration += 1
        size = torch.linalg.vector_norm(r, dim=over)
        if bool((size <= target).all()):
            # the recurrence drifts from the true residual: confirm, and go on from the truth if it does not hold
            r = b - operator(x)
            size = torch.linalg.vector_norm(r, dim=over)
            if bool((size <= target).all()) or checked:
                break
            checked = True
            p = precondition(r).clone()
            rho = (r * p).sum(over)
            continue
        if progress is not None and iteration % 25 == 0:
            progress(*_digits(worst, float((size / norm.clamp_min(1e-300)).max()), tolerance))
        z = precondition(r)
        rho_next = (r * z).sum(over)
        beta = torch.where(rho > 0, rho_next / torch.where(rho > 0, rho, 1.0), 0.0)
        p.mul_(beta).add_(z)
        rho = rho_next
    residual = torch.linalg.vector_norm(b - operator(x), dim=over) / norm.clamp_min(torch.finfo(b.dtype).tiny)
    if not bool((residual <= 2 * tolerance).all()):
        raise ConvergenceError(
            f"conjugate gradients reached a residual of {float(residual.max()):.2e} in {iteration} iterations, not "
            f"{tolerance:.0e}; allow more iterations, loosen the tolerance or look for a near-mechanism"
        )
    if progress is not None:
        progress(*_digits(worst, tolerance, tolerance))
    return KrylovSolution(x, residual, iteration)


def _worst(r: Tensor, norm: Tensor, over: tuple[int, ...]) -> float:
    return float((torch.linalg.vector_norm(r, dim=over) / norm.clamp_min(torch.finfo(r.dtype).tiny)).max())


def _digits(first: float, now: float, tolerance: float) -> tuple[int, int]:
    wanted = max(math.log10(max(first, tolerance) / tolerance), 1e-9)
    gained = min(max(math.log10(max(first, tolerance) / max(now, tolerance)), 0.0), wanted)
    return int(100 * gained), max(int(100 * wanted), 1)
