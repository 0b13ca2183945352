"""A step along a line that lowers the value enough and flattens the slope: the strong Wolfe conditions.

    phi(t) <= phi(0) + c1 t phi'(0),    |phi'(t)| <= c2 |phi'(0)|,    0 < c1 < c2 < 1

Trials grow until they bracket such a step, then the bracket shrinks; each new trial is the minimum of the cubic through
values and slopes of two old ones, kept away from their ends. A trial that is not finite counts as too far. Two values
that rounding cannot tell apart are compared by the mean of their slopes times their distance.

Source: J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed., Springer 2006, algorithms 3.5 and 3.6, eq. (3.59);
the use of slopes at the limit of rounding follows W. W. Hager, H. Zhang, SIAM J. Optim. 16 (2005) 170.

*When not to use it*: on values with noise larger than the decrease that is looked for, such as changing batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from polyad.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class Trial:
    """A point of the line.

    Args:
        step: t.
        value: phi(t).
        slope: phi'(t).
        gradient: anything that belongs to the point and is handed through.
    """

    step: float
    value: float
    slope: float
    gradient: Any = None

    @property
    def finite(self) -> bool:
        """Whether value and slope are."""
        return math.isfinite(self.value) and math.isfinite(self.slope)


@final
@dataclass(frozen=True, eq=False)
class LineSearch:
    """What a search found.

    Args:
        trial: the point to go to; the start itself where nothing lower was found.
        evaluations: number of trials.
        satisfied: whether both conditions hold; if not, `trial` has the lowest value that meets the first.
    """

    trial: Trial
    evaluations: int
    satisfied: bool


def strong_wolfe(
    evaluate: Callable[[float], Trial],
    start: Trial,
    *,
    first: float = 1.0,
    sufficient_decrease: float = 1e-4,
    curvature: float = 0.9,
    evaluations: int = 25,
    resolution: float = 1e-15,
) -> LineSearch:
    """Search along a direction of descent.

    Args:
        evaluate: step -> trial.
        start: the trial at 0.
        first: first step tried.
        sufficient_decrease: c1.
        curvature: c2; near 0 the search is exact.
        evaluations: the most trials.
        resolution: relative rounding error of values.

    Raises:
        InputError: constants out of order, a first step that is not positive, or a start that does not descend.
    """
    if not 0 < sufficient_decrease < curvature < 1:
        raise InputError(
            f"strong_wolfe: sufficient_decrease {sufficient_decrease} and curvature {curvature} must satisfy "
            "0 < sufficient_decrease < curvature < 1"
        )
    if not (first > 0 and math.isfinite(first)) or evaluations < 1:
        raise InputError(f"strong_wolfe: first step {first} must be positive, evaluations {evaluations} at least 1")
    if not start.finite or start.slope >= 0:
        raise InputError(f"start: value {start.value}, slope {start.slope}; the slope must be negative, both finite")

    noise = resolution * abs(start.value)

    def rise(one: Trial, other: Trial) -> float:
        """Value at the other less value at the one."""
        difference = other.value - one.value
        if abs(difference) > noise:
            return difference
        return 0.5 * (one.slope + other.slope) * (other.step - one.step)

    def too_high(trial: Trial) -> bool:
        return not trial.finite or rise(start, trial) > sufficient_decrease * trial.step * start.slope

    def flat(trial: Trial) -> bool:
        return abs(trial.slope) <= -curvature * start.slope

    low, high, step, count = start, None, first, 0
    while high is None and count < evaluations:
        trial = evaluate(step)
        count += 1
        if too_high(trial) or (low is not start and rise(low, trial) >= 0):
            high = trial
        elif flat(trial):
            return LineSearch(trial, count, True)
        else:
            if trial.slope >= 0:
                high = low
            longer = _cubic_minimum(low, trial, rise(low, trial))
            step = min(max(1.1 * trial.step, longer if longer is not None else 2 * trial.step), 10 * trial.step)
            low = trial
    while high is not None and count < evaluations:
        if abs(high.step - low.step) <= 1e-15 * max(abs(high.step), abs(low.step)):
            break
        trial = evaluate(_inside(low, high, rise(low, high)))
        count += 1
        if too_high(trial) or rise(low, trial) >= 0:
            high = trial
            continue
        if flat(trial):
            return LineSearch(trial, count, True)
        if trial.slope * (high.step - low.step) >= 0:
            high = low
        low = trial
    return LineSearch(low, count, False)


def _inside(low: Trial, high: Trial, rise: float) -> float:
    """Where the cubic is lowest, a tenth of the bracket away from its ends; the middle where there is no cubic."""
    left, right = sorted((low.step, high.step))
    found = _cubic_minimum(low, high, rise)
    if found is None or not left < found < right:
        return 0.5 * (left + right)
    margin = 0.1 * (right - left)
    return min(max(found, left + margin), right - margin)


def _cubic_minimum(one: Trial, other: Trial, rise: float) -> float | None:
    """Minimiser of the cubic with these slopes that rises so much between the steps, or None where it has none."""
    gap = other.step - one.step
    if not (one.finite and other.finite) or gap == 0:
        return None
    first = one.slope + other.slope - 3 * rise / gap
    square = first * first - one.slope * other.slope
    if square < 0:
        return None
    second = math.copysign(math.sqrt(square), gap)
    bottom = other.slope - one.slope + 2 * second
    if bottom == 0:
        return None
    return other.step - gap * (other.slope + second - first) / bottom
