"""What both constructions of a Chebyshev-Tucker function share: its record, the truncation, and when counts suffice.

The tensor of coefficients is cut at a tolerance: ranks by sequentially truncated HOSVD of the core, factors improved by
higher-order orthogonal iteration (each step the best factor of one mode, the others held). Counts suffice once the last
eighth of the coefficients along a variable holds less than the tolerance times all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.chebyshev.chebyshev_tucker import ChebyshevTucker
from polyad.tensors.chebyshev.transforms import Kind
from polyad.tensors.formats import Truncation, Tucker, hooi, st_hosvd
from polyad.tensors.formats.tucker import multiply_modes, unfold

FIRST_COUNT = 17


@final
@dataclass(frozen=True, eq=False)
class ChebyshevApproximation:
    """A function found in the Chebyshev-Tucker format.

    Args:
        value: the function.
        truncation: Frobenius norm of the coefficients that the ranks leave out (absolute).
        tails: share of the coefficients' norm in the last eighth along each variable: what more counts could change.
        evaluations: values of the function, or of all profiles together, that were asked for.
    """

    value: ChebyshevTucker
    truncation: Float[Tensor, ""]
    tails: tuple[float, ...]
    evaluations: int

    @property
    def truncation_bound(self) -> Float[Tensor, ""]:
        """Largest change of the function by the truncation: sqrt(product of counts) times its norm, as |T_k| <= 1."""
        return self.truncation * prod(self.value.counts) ** 0.5


def truncated(exact: Tucker, tolerance: float) -> Truncation[Tucker]:
    """A Tucker tensor with orthonormal factors at the ranks that the tolerance (relative, Frobenius) allows."""
    core = exact.core
    if not bool(core.detach().abs().max() > 0):
        zero = Tucker(core[(slice(0, 1),) * core.ndim], tuple(factor[:, :1] for factor in exact.factors))
        return Truncation(zero, core.detach().abs().max())
    with torch.no_grad():
        ranks = st_hosvd(core.detach(), tolerance=tolerance).value.ranks
        small = hooi(core.detach(), ranks)
    value = _with_derivative(core, small.value) if core.requires_grad else small.value
    factors = tuple(outer @ inner for outer, inner in zip(exact.factors, value.factors, strict=True))
    return Truncation(Tucker(value.core, factors), small.error)


def _with_derivative(core: Tensor, small: Tucker) -> Tucker:
    """The truncated tensor with the derivative of `core`, projected onto the tangent space of its ranks there.

    That is the part of the derivative that the format can follow. Unlike the derivative of singular vectors it is
    stable where small singular values are kept; rows of the unfolded core are scaled to length one for the same reason.
    """
    order, factors = core.ndim, []
    for mode, basis in enumerate(small.factors):
        others = {k: factor.mH for k, factor in enumerate(small.factors) if k != mode}
        reduced = unfold(multiply_modes(core, others, order), mode, order)
        rows = unfold(small.core, mode, order)
        lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
        inverse = torch.linalg.pinv(rows / lengths) / lengths.mT
        factors.append(_TangentFactor.apply(reduced, basis, inverse))
    projected = multiply_modes(core, {k: factor.mH for k, factor in enumerate(small.factors)}, order)
    return Tucker(projected, tuple(factors))


class _TangentFactor(torch.autograd.Function):
    """A factor U of fixed value, with dU = (1 - U U^H) d(reduced) inverse."""

    @staticmethod
    def forward(ctx: Any, reduced: Tensor, basis: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(basis, inverse)
        return basis.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        basis, inverse = ctx.saved_tensors
        return (gradient - basis @ (basis.mH @ gradient)) @ inverse.mH, None, None


def first_counts(counts: int | Sequence[int] | None, order: int, kind: Kind) -> list[int]:
    """The counts given, checked, or those where the doubling begins."""
    if counts is None:
        return [FIRST_COUNT] * order
    current = [counts] * order if isinstance(counts, int) else [int(count) for count in counts]
    least = 1 if kind == "nodes" else 2
    if len(current) != order or min(current) < least:
        raise InputError(f"counts: {counts} was given; one number for all, or one for each of {order}, from {least} on")
    return current


def resolution(tolerance: float, dtype: torch.dtype) -> float:
    """The tolerance, or rounding where that is larger: coefficients are not resolved below it."""
    return max(tolerance, 32 * torch.finfo(dtype).eps)


def tails_of_tucker(exact: Tucker) -> tuple[float, ...]:
    """Share of the norm in the last eighth along each mode; the factors are orthonormal."""
    core, tails = exact.core.detach(), []
    size = float(torch.linalg.vector_norm(core))
    for mode, factor in enumerate(exact.factors):
        last = min(len(factor), max(2, len(factor) // 8))
        tail = factor[-last:] @ unfold(core, mode, core.ndim)
        tails.append(float(torch.linalg.vector_norm(tail)) / size if size > 0 else 0.0)
    return tuple(tails)
