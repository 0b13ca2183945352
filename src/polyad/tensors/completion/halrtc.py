"""HaLRTC: completion of a tensor by the least weighted sum of nuclear norms of its unfoldings.

    minimise  sum_n a_n |X_(n)|_*   subject to  X = T at observed entries

by the alternating direction method of multipliers: M_n = shrink(X_(n) + Y_n / rho, a_n / rho), X = mean of
(M_n - Y_n / rho) at unknown entries, Y_n <- Y_n - rho (M_n - X). The penalty rho grows slowly, as in the paper.

Source: J. Liu, P. Musialski, P. Wonka, J. Ye, IEEE Trans. Pattern Anal. Mach. Intell. 35 (2013) 208, algorithm 4.

Deviations: the tensor is scaled to unit size inside, so that one rho suits all data; the growth of rho is an option
(1.0 gives the plain method with its proof of convergence).

When not to use it: for counts, whose noise is not constant (observed entries are reproduced exactly, noise and all);
for large tensors (an SVD of every unfolding in every iteration).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.errors import InputError

Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True, eq=False)
class HaLRTCFit:
    """A completed tensor.

    Args:
        value: equal to the input at observed entries.
        history: change of an iteration plus the disagreement of the unfoldings, relative to the size of the tensor.
        stopped_by: "tolerance", "iterations" or "seconds".
        seconds: wall time.
    """

    value: Tensor
    history: tuple[float, ...]
    stopped_by: str
    seconds: float


def halrtc(
    tensor: Float[Tensor, "..."],
    mask: Bool[Tensor, "..."],
    *,
    weights: Sequence[float] | None = None,
    rho: float = 1e-2,
    growth: float = 1.02,
    iterations: int = 1000,
    tolerance: float = 1e-6,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> HaLRTCFit:
    """Complete a tensor; without a gradient.

    Args:
        tensor: at least two modes; finite where observed, never read elsewhere.
        mask: True where an entry is known.
        weights: a_n >= 0, one a mode, with sum one; equal by default.
        rho: penalty at the start, for a tensor of unit root mean square.
        growth: factor of rho an iteration, >= 1.
        iterations: the most there can be.
        tolerance: ends when the history falls below.
        seconds: ends also when this wall time is over.
        progress: called with iterations done and the most there can be.

    Raises:
        InputError: shapes that differ, nothing observed, observed entries that are not finite or all zero, options
            out of range.
    """
    began = time.perf_counter()
    order = tensor.ndim
    shares = _checked(tensor, mask, weights, rho, growth, iterations)
    with torch.no_grad():
        known = torch.where(mask, tensor.detach(), 0)
        if not bool(torch.isfinite(known).all()):
            raise InputError("tensor: NaN or infinity at an observed entry; mask it")
        size = (known.square().sum() / mask.sum()).sqrt()
        if not bool(size > 0):
            raise InputError("tensor: all observed entries are zero; there is nothing to complete")
        known = known / size
        value = torch.where(mask, known, known.sum() / mask.sum())
        duals = [torch.zeros_like(value) for _ in shares]
        history: list[float] = []
        reason = "iterations"
        whole = torch.linalg.vector_norm(value)
        for iteration in range(iterations):
            copies = [
                _shrunk(value + dual / rho, mode, share / rho)
                for mode, (dual, share) in enumerate(zip(duals, shares, strict=True))
            ]
            mean = sum((copy - dual / rho for copy, dual in zip(copies, duals, strict=True)), torch.zeros_like(value))
            updated = torch.where(mask, known, mean / order)
            duals = [dual - rho * (copy - updated) for dual, copy in zip(duals, copies, strict=True)]
            change = torch.linalg.vector_norm(updated - value)
            gap = max(float(torch.linalg.vector_norm(copy - updated)) for copy in copies)
            history.append((float(change) + gap) / float(whole))
            value, rho = updated, rho * growth
            if progress is not None:
                progress(iteration + 1, iterations)
            if history[-1] < tolerance:
                reason = "tolerance"
                break
            if seconds is not None and time.perf_counter() - began > seconds:
                reason = "seconds"
                break
        completed = torch.where(mask, tensor.detach(), value * size)
    return HaLRTCFit(completed, tuple(history), reason, time.perf_counter() - began)


def _shrunk(tensor: Tensor, mode: int, threshold: float) -> Tensor:
    """Singular values of the unfolding lowered by the threshold, none below zero.

    By the Gram matrix of the short side: values near the threshold are far above its rounding.
    """
    moved = tensor.movedim(mode, 0)
    matrix = moved.flatten(1)
    if matrix.shape[0] <= matrix.shape[1]:
        squares, basis = torch.linalg.eigh(matrix @ matrix.mT)
    else:
        squares, basis = torch.linalg.eigh(matrix.mT @ matrix)
    values = squares.clamp_min(0).sqrt()
    kept = torch.where(values > threshold, 1 - threshold / torch.where(values > 0, values, 1), 0)
    projector = (basis * kept) @ basis.mT
    result = projector @ matrix if matrix.shape[0] <= matrix.shape[1] else matrix @ projector
    return result.reshape(moved.shape).movedim(0, mode)


def _checked(
    tensor: Tensor, mask: Tensor, weights: Sequence[float] | None, rho: float, growth: float, iterations: int
) -> list[float]:
    if tensor.ndim < 2 or mask.shape != tensor.shape:
        raise InputError(
            f"mask: shape {tuple(mask.shape)} was given beside a tensor {tuple(tensor.shape)}; "
            "both need the same shape with at least two modes"
        )
    if not bool(mask.any()):
        raise InputError("mask: nothing is observed")
    if not rho > 0 or not growth >= 1 or iterations < 1:
        raise InputError(
            f"rho={rho}, growth={growth}, iterations={iterations}: need rho > 0, growth >= 1, iterations >= 1"
        )
    shares = [1 / tensor.ndim] * tensor.ndim if weights is None else [float(weight) for weight in weights]
    if len(shares) != tensor.ndim or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise InputError(f"weights: {shares} were given; need one a mode, none negative, with sum 1")
    return shares
