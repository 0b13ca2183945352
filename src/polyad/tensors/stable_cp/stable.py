"""Stable CP decomposition from scratch: least squares and corrections in turn, to a target on error or sensitivity.

Least squares alone walks into swamps where terms grow and cancel. A correction between its passes brings it back to
the least sensitive tensor of the same error; from there it goes on (A.-H. Phan et al. 2020).

When not to use it: where a plain fit has a low sensitivity already (look at `cp_sensitivity`): correct that one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import cp_als
from polyad.tensors.stable_cp.correction import Progress, StableCP, cp_epc, cp_least_error

_REST = 25  # sweeps of a correction between two passes of least squares


def cp_stable(
    tensor: Num[Tensor, "..."],
    rank: int,
    *,
    error: float | None = None,
    sensitivity: float | None = None,
    slack: float = 0.0,
    initial: Sequence[Num[Tensor, "_ rank"]] | None = None,
    starts: int = 4,
    passes: int = 50,
    rounds: int = 40,
    sweeps: int = 500,
    tolerance: float = 1e-8,
    seconds: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> StableCP:
    """A CP decomposition of low sensitivity; without a gradient.

    Args:
        tensor: T, dense, real or complex.
        rank: number of terms.
        error: target for |T - x| / |T|. Passes and corrections alternate until a pass meets it, or stands still; the
            result is the least sensitive tensor found within it (`met` says whether it was reached).
        sensitivity: instead, a bound on ss: the closest tensor found within it.
        slack: with neither, the bound is the error of plain least squares times (1 + slack).
        initial: factors (n_k, rank) to begin from, instead of `starts`.
        starts: of the first least squares.
        passes: sweeps of least squares between two corrections.
        rounds: largest number of such passes.
        sweeps: largest number of sweeps of the last correction, and of the first least squares.
        tolerance: a relative change that counts as standing still.
        seconds: wall time for all of it.
        seed: of the random starts.
        progress: called with rounds done and the most there can be, the last correction one more; without a target
            on the error, with its sweeps.
    """
    if error is not None and sensitivity is not None:
        raise InputError("error, sensitivity: both were given; bound one of them, the other is made small")
    if error is not None and not 0 < error < 1:
        raise InputError(f"error: {error} was given; a relative error between 0 and 1 is needed")
    if min(passes, rounds) < 1 or not slack >= 0:
        raise InputError(f"passes, rounds, slack: {passes}, {rounds}, {slack} were given; need >= 1, >= 1 and >= 0")
    begun = time.perf_counter()

    def left() -> float | None:
        return None if seconds is None else max(seconds - (time.perf_counter() - begun), 1e-9)

    first = sweeps if error is None else passes
    fit = cp_als(tensor, rank, initial=initial, starts=starts, sweeps=first, seconds=left(), seed=seed)
    if error is None:
        if sensitivity is not None:
            found = cp_least_error(
                tensor,
                fit.value,
                sensitivity=sensitivity,
                sweeps=sweeps,
                tolerance=tolerance,
                seconds=left(),
                progress=progress,
            )
        else:
            found = cp_epc(
                tensor,
                fit.value,
                slack=slack,
                sweeps=sweeps,
                tolerance=tolerance,
                seconds=left(),
                progress=progress,
            )
        return replace(found, seconds=time.perf_counter() - begun)
    best = fit
    errors: list[float] = []
    sensitivities: list[float] = []
    for done in range(1, rounds + 1):
        if progress is not None:
            progress(done, rounds + 1)
        if fit.error <= best.error:
            best = fit
        over = seconds is not None and time.perf_counter() - begun > seconds
        still = bool(errors) and errors[-1] - fit.error <= tolerance * errors[-1]
        if fit.error <= error or over or still or done == rounds:
            break
        rested = cp_epc(tensor, fit.value, sweeps=_REST, tolerance=1e-4, seconds=left())
        errors.append(rested.error)
        sensitivities.append(rested.sensitivity)
        fit = cp_als(tensor, rank, initial=rested.value.factors, sweeps=passes, tolerance=0.0, seconds=left())
    found = cp_epc(tensor, best.value, error=max(error, best.error), sweeps=sweeps, tolerance=tolerance, seconds=left())
    if progress is not None:
        progress(rounds + 1, rounds + 1)
    return replace(
        found,
        met=found.met and best.error <= error,
        errors=(*errors, *found.errors),
        sensitivities=(*sensitivities, *found.sensitivities),
        seconds=time.perf_counter() - begun,
    )
