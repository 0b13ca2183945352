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
from polyad.tensors.formats._masked_slabs import (
    check_known,
    check_slices,
    filled_tucker,
    known_counts,
    slab_ranges,
    solve_known_rows,
)
from polyad.tensors.formats.base import rank_caps
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
        tensor, order = tensor.detach(), tensor.ndim
        caps, size = _checked(tensor, ranks, mask)
        begun = filled_tucker(tensor, mask, caps)
        core, factors = begun.core, list(begun.factors)
        history: list[float] = []
        reason = "sweeps"
        for sweep in range(sweeps):
            for mode in range(tensor.ndim):
                others = {k: factor for k, factor in enumerate(factors) if k != mode}
                design = unfold(multiply_modes(core, others, order), mode, order).mT
                factors[mode], triangle = torch.linalg.qr(solve_known_rows(tensor, mask, mode, design))
                core = multiply_modes(core, {mode: triangle}, order)
            core = _best_core(tensor, mask, core, factors)
            gap, _ = _seen(tensor, mask, core, factors)
            history.append(gap / size)
            if progress is not None:
                progress(sweep + 1, sweeps)
            if history[-1] <= tolerance or (len(history) > 1 and history[-2] - history[-1] < tolerance):
                reason = "tolerance"
            elif seconds is not None and time.perf_counter() - start > seconds:
                reason = "seconds"
            if reason != "sweeps":
                break
    return TuckerFit(Tucker(core, tuple(factors)), history[-1], tuple(history), reason, time.perf_counter() - start)


def _best_core(tensor: Tensor, mask: Tensor, core: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Conjugate gradients on the normal equations, from the core there is."""
    _, residual = _seen(tensor, mask, core, factors)
    direction, square = residual, _square(residual)
    enough = square * 1e-12
    for _ in range(CORE_STEPS):
        if not bool(square > enough):
            break
        size, image = _seen(None, mask, direction, factors)
        step = square / size**2
        core = core + step * direction
        residual = residual + step * image
        before, square = square, _square(residual)
        direction = residual + (square / before) * direction
    return core


def _seen(tensor: Tensor | None, mask: Tensor, core: Tensor, factors: Sequence[Tensor]) -> tuple[float, Tensor]:
    """mask * (tensor - core x_1 U_1 .. x_d U_d), without a tensor 0 in its place: its norm, and its projection
    x_1 U_1^H .. x_d U_d^H; in slabs of the first mode."""
    square, projected = 0.0, torch.zeros_like(core)
    rest, order = dict(enumerate(factors)), mask.ndim
    partial = multiply_modes(core, {mode: factor for mode, factor in rest.items() if mode}, order)
    for low, high in slab_ranges(mask.shape):
        own = factors[0][low:high]
        gap = multiply_modes(partial, {0: -own}, order)
        if tensor is not None:
            gap += tensor[low:high]
        # holes may hold anything, NaN included
        gap = torch.where(mask[low:high], gap, 0)
        square += float(_square(gap))
        projected += multiply_modes(gap, {mode: (rest[mode] if mode else own).mH for mode in rest}, order)
    return square**0.5, projected


def _square(tensor: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tensor).square()


def _checked(tensor: Tensor, ranks: int | Sequence[int], mask: Tensor) -> tuple[list[int], float]:
    """Largest ranks, and the norm of what is known."""
    size = check_known(tensor, mask)
    caps = rank_caps(ranks, [min(size, tensor.numel() // size) for size in tensor.shape])
    unknowns = prod(caps) + sum(rank * (size - rank) for rank, size in zip(caps, tensor.shape, strict=True))
    known = int(known_counts(mask).sum())
    if known < unknowns:
        raise InputError(f"mask: {known} known entries cannot fix the {unknowns} unknowns of ranks {caps}; lower them")
    for mode, rank in enumerate(caps):
        if rank > prod(caps) // rank:
            raise InputError(f"ranks: {rank} of mode {mode} exceeds the product of the others of {caps}; lower it")
    check_slices(mask, caps)
    return caps, size
