"""Error-preserving correction: of all CP tensors as close to T as the one given, the one least sensitive to noise.

    cp_epc:              min ss  s.t.  |T - x| <= error |T|         (A.-H. Phan et al., ECCV 2020, arXiv:2008.05441)
    cp_least_error:      min |T - x|  s.t.  ss <= sensitivity

Both alternate over the factors; each subproblem is solved exactly by a scalar root (`factor_path`). After every sweep
the columns are rescaled to the least ss (`sensitivity.balance`). That does more than save sweeps: where every block is
optimal its own multiplier fulfils  multiplier_n (ss - fixed_n) = Re <x, T - x>,  with fixed_n the part of ss that does
not depend on factor n; balancing makes all fixed_n equal, hence all multipliers, so that a point where the alternation
rests is stationary for all factors together.

When not to use it: where terms hardly cancel there is little to gain at equal error; allow some slack.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import CP
from polyad.tensors.formats.base import check_dense
from polyad.tensors.stable_cp.factor_path import FactorPath, factor_path, residual_norm
from polyad.tensors.stable_cp.relaxation import relax
from polyad.tensors.stable_cp.sensitivity import balance, cp_sensitivity, diagnose_degeneracy

_CANCELS = 100.0  # intensity over |x|^2 from which a start counts as degenerate

Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True, eq=False)
class StableCP:
    """A CP tensor of low sensitivity and how it was reached.

    Attributes:
        value: weights one, columns balanced.
        error: relative residual |T - value| / |T|.
        sensitivity: ss of the value.
        met: whether the bound that was asked for (on error or ss) holds.
        errors: relative residual of the start (after its replacement, if any) and after every sweep.
        sensitivities: ss of the start (balanced) and after every sweep.
        stopped_by: "tolerance", "sweeps" or "seconds".
        seconds: wall time.
    """

    value: CP
    error: float
    sensitivity: float
    met: bool
    errors: tuple[float, ...]
    sensitivities: tuple[float, ...]
    stopped_by: str
    seconds: float


def cp_epc(
    tensor: Num[Tensor, "..."],
    initial: CP,
    *,
    error: float | None = None,
    slack: float = 0.0,
    sweeps: int = 500,
    tolerance: float = 1e-8,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> StableCP:
    """The least sensitive CP tensor within an error bound; without a gradient.

    A start outside the bound is first brought inside by least squares, as far as that goes: see `met`. A start whose
    terms cancel a hundredfold (see `Degeneracy.cancellation`) could hardly move within the bound; a penalised fit
    takes its place where one reaches the bound with less ss (see `relaxation`).

    Args:
        tensor: T, dense, real or complex, at least two modes.
        initial: the CP tensor to correct, such as `cp_als(...).value`; its rank stays.
        error: allowed |T - x| / |T|; by default what `initial` has.
        slack: the bound is error (1 + slack).
        sweeps: largest number of rounds over the factors.
        tolerance: stop when a sweep lowers ss (or, outside the bound, the error) by less than this share.
        seconds: stop when this wall time is over.
        progress: called with sweeps done and the most there can be.
    """
    size = check_problem(tensor, initial, tolerance, sweeps, seconds)
    if not slack >= 0 or (error is not None and not error >= 0):
        raise InputError(f"error, slack: {error} and {slack} were given; both must be at least 0")
    begun = time.perf_counter()
    with torch.no_grad():
        start = residual_norm(tensor, balance(initial).factors)
        delta = (start if error is None else error * size) * (1 + slack)

        def step(path: FactorPath, held: float) -> Tensor | None:
            found = path.with_error(delta)
            return path.factor(0.0) if found is None and held > delta else found

        if float(diagnose_degeneracy(initial).cancellation) > _CANCELS:
            deadline = None if seconds is None else begun + seconds / 2
            relaxed = relax(tensor.detach().contiguous(), initial, delta, deadline=deadline)
            if relaxed is not None and cp_sensitivity(relaxed) < cp_sensitivity(balance(initial)):
                initial = relaxed
            seconds = None if seconds is None else max(seconds - (time.perf_counter() - begun), 1e-9)
        return _alternate(tensor, initial, step, "error", delta, sweeps, tolerance, seconds, progress)


def cp_least_error(
    tensor: Num[Tensor, "..."],
    initial: CP,
    *,
    sensitivity: float,
    sweeps: int = 500,
    tolerance: float = 1e-8,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> StableCP:
    """The closest CP tensor whose sensitivity stays within a bound; without a gradient.

    Args:
        tensor: T, dense, real or complex, at least two modes.
        initial: where to begin; scaled down first where its ss exceeds the bound.
        sensitivity: largest ss, above zero.
        sweeps: largest number of rounds over the factors.
        tolerance: stop when a sweep lowers the error by less than this share.
        seconds: stop when this wall time is over.
        progress: called with sweeps done and the most there can be.
    """
    check_problem(tensor, initial, tolerance, sweeps, seconds)
    if not 0 < sensitivity < math.inf:
        raise InputError(f"sensitivity: {sensitivity} was given; a bound on ss is a finite number above 0")
    with torch.no_grad():
        begun = balance(initial)
        held = float(cp_sensitivity(begun))
        if held > sensitivity:  # ss grows with the power 2 (d - 1) of all factors
            shrink = (sensitivity / held) ** (0.5 / (begun.order - 1))
            begun = CP(begun.weights, tuple(factor * shrink for factor in begun.factors))

        def step(path: FactorPath, held: float) -> Tensor | None:
            return path.with_sensitivity(sensitivity)

        return _alternate(tensor, begun, step, "sensitivity", sensitivity, sweeps, tolerance, seconds, progress)


def check_problem(
    tensor: Tensor, initial: CP, tolerance: float, sweeps: int, seconds: float | None, *, order: int = 2
) -> float:
    """A dense tensor and a CP tensor of its shape, dtype and device; returns |T|."""
    check_dense(tensor)
    if tensor.ndim < order:
        raise InputError(f"tensor: it has {tensor.ndim} modes; at least {order} are needed")
    if initial.batch_shape or initial.shape != tuple(tensor.shape):
        raise InputError(
            f"initial: shape {initial.shape} (batch {initial.batch_shape}) was given, {tuple(tensor.shape)} without "
            "batch is needed"
        )
    if initial.dtype != tensor.dtype or initial.device != tensor.device:
        raise InputError(
            f"initial: {initial.dtype} on {initial.device} beside {tensor.dtype} on {tensor.device}; bring both to one"
        )
    if not all(bool(torch.isfinite(array).all()) for array in initial.arrays):
        raise InputError("initial: it holds NaN or Inf; begin from another start")
    if not tolerance >= 0 or sweeps < 0 or not (seconds is None or seconds > 0):
        raise InputError(
            f"tolerance, sweeps, seconds: {tolerance}, {sweeps}, {seconds} were given; need >= 0, >= 0 and None or > 0"
        )
    return float(torch.linalg.vector_norm(tensor))


def _alternate(
    tensor: Tensor,
    initial: CP,
    step: Callable[[FactorPath, float], Tensor | None],
    bounded: str,
    bound: float,
    sweeps: int,
    tolerance: float,
    seconds: float | None,
    progress: Progress | None,
) -> StableCP:
    """Sweeps of exact steps; a step that rounding carries over the bound, where the old factor kept it, is dropped."""
    begun = time.perf_counter()
    tensor = tensor.detach().contiguous()
    size = float(torch.linalg.vector_norm(tensor))
    rounding = torch.finfo(tensor.dtype).eps ** 0.6
    value = balance(initial)
    held = residual_norm(tensor, value.factors)
    errors, sensitivities, reason = [held], [float(cp_sensitivity(value))], "sweeps"

    def is_inside(residual: float, ss: float) -> bool:
        return (residual if bounded == "error" else ss) <= bound * (1 + rounding)

    for done in range(1, sweeps + 1):
        factors = list(value.factors)
        for mode in range(tensor.ndim):
            proposed = step(factor_path(tensor, factors, mode), held)
            if proposed is None:
                continue
            trial = [*factors[:mode], proposed, *factors[mode + 1 :]]
            residual = residual_norm(tensor, trial)
            if bounded == "error" and residual > max(held, bound) * (1 + rounding):
                continue
            factors, held = trial, residual
        value = balance(CP(value.weights, tuple(factors)))
        errors.append(held)
        sensitivities.append(float(cp_sensitivity(value)))
        if progress is not None:
            progress(done, sweeps)
        goals = sensitivities if bounded == "error" and is_inside(errors[-2], 0.0) else errors
        if goals[-2] - goals[-1] <= tolerance * goals[-2]:
            reason = "tolerance"
            break
        if seconds is not None and time.perf_counter() - begun > seconds:
            reason = "seconds"
            break
    final_error = residual_norm(tensor, value.factors)
    return StableCP(
        value,
        final_error / size,
        sensitivities[-1],
        is_inside(final_error, sensitivities[-1]),
        tuple(error / size for error in errors),
        tuple(sensitivities),
        reason,
        time.perf_counter() - begun,
    )
