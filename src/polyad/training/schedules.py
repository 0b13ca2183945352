"""Learning-rate schedules: the factor of the base rate as a function of progress, 0 at the start and 1 at the end.

Functions of progress and not of the step: the same schedule fits a run limited by steps, epochs or minutes, and a
resumed run continues on the same curve without any state.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from polyad.errors import InputError

Schedule = Callable[[float], float]
"""Progress in [0, 1] -> factor of the base learning rate."""


def constant(*, warmup: float = 0.0) -> Schedule:
    """The base rate, after a linear rise over the share `warmup` of the run."""
    return _warmed(warmup, lambda _: 1.0)


def cosine(*, warmup: float = 0.05, final: float = 0.0) -> Schedule:
    """Half a cosine from 1 down to `final` (Loshchilov and Hutter, ICLR 2017, without restarts)."""
    _check_share("final", final)
    return _warmed(warmup, lambda x: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * x)))


def linear(*, warmup: float = 0.05, final: float = 0.0) -> Schedule:
    """A straight line from 1 down to `final`."""
    _check_share("final", final)
    return _warmed(warmup, lambda x: 1 - (1 - final) * x)


def exponential(*, warmup: float = 0.0, final: float = 1e-2) -> Schedule:
    """A geometric fall from 1 to `final`, which must be positive."""
    _check_share("final", final)
    if final == 0:
        raise InputError("final: an exponential never reaches 0; give a positive share such as 0.01")
    return _warmed(warmup, lambda x: final**x)


def one_cycle(*, peak: float = 0.3, initial: float = 0.04, final: float = 4e-6) -> Schedule:
    """Half a cosine up from `initial` to 1 at the share `peak` of the run, and another down to `final` (Smith 2018)."""
    if not 0 < peak < 1:
        raise InputError(f"peak: must lie between 0 and 1, got {peak}")
    _check_share("initial", initial)
    _check_share("final", final)

    def factor(progress: float) -> float:
        if progress < peak:
            return initial + (1 - initial) * 0.5 * (1 - math.cos(math.pi * progress / peak))
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (progress - peak) / (1 - peak)))

    return factor


def _warmed(warmup: float, body: Schedule) -> Schedule:
    """A linear rise to the start of `body`; the first step never has rate 0."""
    if not 0 <= warmup < 1:
        raise InputError(f"warmup: a share of the run, at least 0 and below 1, got {warmup}")

    def factor(progress: float) -> float:
        if progress < warmup:
            return max(progress / warmup, 1e-3)
        return body((progress - warmup) / (1 - warmup))

    return factor


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name}: a share of the base rate, between 0 and 1, got {value}")
