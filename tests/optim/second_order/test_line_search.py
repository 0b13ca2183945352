"""Strong Wolfe steps: conditions checked on hard functions, exact minima, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from polyad.errors import InputError
from polyad.optim.second_order.line_search import Trial, strong_wolfe

Function = Callable[[float], tuple[float, float]]


def bends(alpha: float) -> tuple[float, float]:
    """-a / (a^2 + 2), the first of More and Thuente (1994)."""
    return -alpha / (alpha**2 + 2), (alpha**2 - 2) / (alpha**2 + 2) ** 2


def flat_start(alpha: float) -> tuple[float, float]:
    """(a + b)^5 - 2 (a + b)^4 with b = 0.004, their second."""
    x = alpha + 0.004
    return x**5 - 2 * x**4, 5 * x**4 - 8 * x**3


def waves(alpha: float) -> tuple[float, float]:
    """Many minima of no use: 0.05 sin(30 a) on a parabola."""
    return (alpha - 3) ** 2 + 0.05 * math.sin(30 * alpha), 2 * (alpha - 3) + 1.5 * math.cos(30 * alpha)


def barrier(alpha: float) -> tuple[float, float]:
    """-log(1 - a) - 3 a: not finite from 1 on, lowest at 2/3."""
    return (-math.log(1 - alpha) - 3 * alpha, 1 / (1 - alpha) - 3) if alpha < 1 else (math.nan, math.nan)


def trial_of(function: Function) -> Callable[[float], Trial]:
    return lambda step: Trial(step, *function(step), gradient=f"at {step}")


@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 10.0, 1e3])
@pytest.mark.parametrize(("low", "high"), [(1e-4, 0.9), (1e-3, 0.1), (1e-4, 1e-3)])
@pytest.mark.parametrize("function", [bends, flat_start, waves, barrier])
def test_both_conditions_hold(function: Function, low: float, high: float, first: float) -> None:
    calls: list[float] = []

    def evaluate(step: float) -> Trial:
        calls.append(step)
        return trial_of(function)(step)

    start = trial_of(function)(0.0)
    found = strong_wolfe(evaluate, start, first=first, sufficient_decrease=low, curvature=high, evaluations=60)
    value, slope = function(found.trial.step)
    assert found.satisfied
    assert value <= start.value + low * found.trial.step * start.slope
    assert abs(slope) <= high * abs(start.slope)
    assert found.evaluations == len(calls)
    assert found.trial.gradient == f"at {found.trial.step}"


def test_a_parabola_is_solved_by_one_interpolation() -> None:
    for first in (0.01, 1.0, 9.0):
        evaluate = trial_of(lambda a: (3 * (a - 0.7) ** 2 + 1, 6 * (a - 0.7)))
        found = strong_wolfe(evaluate, evaluate(0.0), first=first, curvature=1e-3, evaluations=25)
        assert found.trial.step == pytest.approx(0.7, abs=1e-3 * 0.7)
        assert found.evaluations <= 5


def test_the_lowest_trial_comes_back_when_evaluations_run_out_and_the_start_when_nothing_is_lower() -> None:
    evaluate = trial_of(waves)
    found = strong_wolfe(evaluate, evaluate(0.0), first=1e-3, curvature=1e-3, evaluations=3)
    assert not found.satisfied
    assert found.evaluations == 3
    assert found.trial.step > 0
    assert found.trial.value < waves(0.0)[0]
    upward = strong_wolfe(trial_of(lambda a: (a, 1.0)), Trial(0.0, 0.0, -1.0, "start"), evaluations=8)
    assert (upward.trial.gradient, upward.satisfied, upward.evaluations) == ("start", False, 8)


def test_bad_input_is_refused() -> None:
    good = Trial(0.0, 1.0, -1.0)
    evaluate = trial_of(bends)
    for start, options in (
        (Trial(0.0, 1.0, 0.0), {}),
        (Trial(0.0, math.nan, -1.0), {}),
        (good, {"first": 0.0}),
        (good, {"first": math.inf}),
        (good, {"evaluations": 0}),
        (good, {"sufficient_decrease": 0.5, "curvature": 0.4}),
    ):
        with pytest.raises(InputError):
            strong_wolfe(evaluate, start, **options)
