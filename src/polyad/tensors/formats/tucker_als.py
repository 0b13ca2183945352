"""Tucker decomposition of a tensor with missing entries, by alternating least squares (ALS).

    minimise  | mask * (x - g x_1 U_1 .. x_d U_d) |

over one factor at a time, whose rows are separate least-squares problems over the known entries of their slice, and
over the core, whose normal equations conjugate gradients solve (the factors have orthonormal columns, so they are
close to a multiple of the identity). Nothing is imputed, and missing entries are never read.

Source: C. A. Andersson and R. Bro, Chemom. Intell. Lab. Syst. 42 (1998) 93 (Tucker by ALS; here with weights 0 and 1).

When not to use it: without missing entries; `st_hosvd` and `hooi` are faster and carry a bound. Where few entries are
known, or whole groups are missing together, the fit is exact and the prediction is not: hold some entries back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from jaxtyping import Bool, Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.als_targets import solve_rows
from polyad.tensors.formats.base import check_dense, rank_caps
from polyad.tensors.formats.hosvd import st_hosvd
from polyad.tensors.formats.tucker import Tucker, multiply_modes, unfold

CORE_STEPS = 30


@final
@dataclass(frozen=True, eq=False)
class TuckerFit:
    """A Tucker decomposition of known entries and how it was reached.

    Args:
        value: factors with orthonormal columns.
        error: relative residual |mask * (x - value)| / |mask * x|.
        history: relative residual after every sweep.
        stopped_by: "tolerance", "sweeps" or "seconds".
        seconds: wall time.
    """

    value: Tucker
    error: float
    history: tuple[float, ...]
    stopped_by: str
    seconds: float


def tucker_als(
    tensor: Num[Tensor, "..."],
    ranks: int | Sequence[int],
    *,
    mask: Bool[Tensor, "..."],
    sweeps: int = 200,
    tolerance: float = 1e-8,
    seconds: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TuckerFit:
    """Tucker decomposition of the entries that are known; real or complex, without a gradient.

    Args:
        tensor: dense; finite where known, not zero.
        ranks: one for all or one a mode.
        mask: True where an entry is known; the others are never read.
        sweeps: largest number of sweeps over factors and core.
        tolerance: a sweep that lowers the relative residual by less is the last.
        seconds: largest wall time.
        progress: called with sweeps done and the most there can be.
    """
    start = time.perf_counter()
    if seconds is not None and not seconds > 0:
        raise InputError(f"seconds: {seconds} was given; give a positive time, or None for no limit")
    with torch.no_grad():
        tensor, caps = _checked(tensor.detach(), ranks, mask)
        known, size = mask.to(tensor.dtype), torch.linalg.vector_norm(tensor)
        filled = torch.where(mask, tensor, tensor.sum() / mask.sum())
        begun = st_hosvd(filled, ranks=caps).value
        core, factors = begun.core, list(begun.factors)
        history: list[float] = []
        reason = "sweeps"
        for sweep in range(sweeps):
            for mode in range(tensor.ndim):
                others = {k: factor for k, factor in enumerate(factors) if k != mode}
                design = unfold(multiply_modes(core, others, tensor.ndim), mode, tensor.ndim).mT
                rows = solve_rows(unfold(tensor, mode, tensor.ndim), unfold(known, mode, tensor.ndim), design)
                factors[mode], triangle = torch.linalg.qr(rows)
                core = multiply_modes(core, {mode: triangle}, tensor.ndim)
            core = _best_core(tensor, known, core, factors)
            gap = tensor - known * multiply_modes(core, dict(enumerate(factors)), tensor.ndim)
            history.append(float(torch.linalg.vector_norm(gap) / size))
            if progress is not None:
                progress(sweep + 1, sweeps)
            if history[-1] <= tolerance or (len(history) > 1 and history[-2] - history[-1] < tolerance):
                reason = "tolerance"
            elif seconds is not None and time.perf_counter() - start > seconds:
                reason = "seconds"
            if reason != "sweeps":
                break
    return TuckerFit(Tucker(core, tuple(factors)), history[-1], tuple(history), reason, time.perf_counter() - start)


def _best_core(tensor: Tensor, known: Tensor, core: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Conjugate gradients on the normal equations, from the core there is."""
    expand, shrink = dict(enumerate(factors)), {mode: factor.mH for mode, factor in enumerate(factors)}
    order = tensor.ndim
    residual = multiply_modes(tensor - known * multiply_modes(core, expand, order), shrink, order)
    direction, square = residual, _square(residual)
    enough = square * 1e-12
    for _ in range(CORE_STEPS):
        if not bool(square > enough):
            break
        image = known * multiply_modes(direction, expand, order)
        step = square / _square(image)
        core = core + step * direction
        residual = residual - step * multiply_modes(image, shrink, order)
        before, square = square, _square(residual)
        direction = residual + (square / before) * direction
    return core


def _square(tensor: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tensor).square()


def _checked(tensor: Tensor, ranks: int | Sequence[int], mask: Tensor) -> tuple[Tensor, list[int]]:
    if mask.shape != tensor.shape or mask.dtype != torch.bool:
        raise InputError(f"mask: {mask.dtype} {tuple(mask.shape)} was given, bool {tuple(tensor.shape)} is needed")
    tensor = torch.where(mask, tensor, 0)
    check_dense(tensor)
    caps = rank_caps(ranks, [min(size, tensor.numel() // size) for size in tensor.shape])
    unknowns = prod(caps) + sum(rank * (size - rank) for rank, size in zip(caps, tensor.shape, strict=True))
    known = int(mask.sum())
    if known < unknowns:
        raise InputError(f"mask: {known} known entries cannot fix the {unknowns} unknowns of ranks {caps}; lower them")
    for mode, rank in enumerate(caps):
        if rank > prod(caps) // rank:
            raise InputError(f"ranks: {rank} of mode {mode} exceeds the product of the others of {caps}; lower it")
        counts = mask.movedim(mode, 0).flatten(1).sum(1)
        if int(counts.min()) < rank:
            where = f"slice {int(counts.argmin())} of mode {mode}"
            raise InputError(f"mask: {where} has {int(counts.min())} known entries, rank {rank} needs as many; drop it")
    return tensor, caps
