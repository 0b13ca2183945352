"""Learning rates, searched with the same number of short trainings for every optimiser, by Optuna.

The first half of the trials is a grid over the optimiser's range, equally spaced in the logarithm; the others are drawn
where the first were good (tree-structured Parzen estimator). Trials are trainings with a seed that does not race.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from polyad.errors import InputError, MissingDependencyError
from polyad.optim.registry import Entry

EDGE = 0.05
"""Share of the logarithmic range, at either end, that counts as its edge."""


@final
@dataclass(frozen=True)
class Tuning:
    """A learning rate that was chosen.

    Args:
        rate: the best of those tried; not a number where every trial failed.
        trials: (rate, what it came to) in order; infinite for those that diverged.
        at_edge: whether the rate lies at an end of the range, so that a wider one may hold a better.
    """

    rate: float
    trials: tuple[tuple[float, float], ...]
    at_edge: bool = False


def tune_rate(entry: Entry, score: Callable[[int, float], float], *, trials: int, seed: int = 0) -> Tuning:
    """The learning rate with the smallest score.

    Args:
        entry: whose range is searched.
        score: of the number of a trial and a rate; infinite or NaN for a training that failed.
        trials: number of trainings.
        seed: of the draws; the same seed and scores give the same rates.

    Raises:
        InputError: less than one trial.
        MissingDependencyError: Optuna is not installed.
    """
    if trials < 1:
        raise InputError(f"trials: must be at least 1, got {trials}; or give rates")
    try:
        import optuna
    except ImportError as error:
        raise MissingDependencyError("tuning learning rates", "polyad[race]") from error
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        grid = _grid(entry.rates, -(-trials // 2))
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=len(grid))
        study = optuna.create_study(direction="minimize", sampler=sampler)
        for rate in grid:
            study.enqueue_trial({"rate": rate})
        found = []
        for number in range(trials):
            trial = study.ask()
            rate = trial.suggest_float("rate", *entry.rates, log=True)
            value = score(number, rate)
            value = value if math.isfinite(value) else math.inf
            study.tell(trial, value)
            found.append((rate, value))
    finally:
        optuna.logging.set_verbosity(level)
    rate, value = min(found, key=lambda pair: pair[1])
    if not math.isfinite(value):
        return Tuning(math.nan, tuple(found))
    return Tuning(rate, tuple(found), _at_edge(rate, entry.rates))


def _grid(bounds: tuple[float, float], count: int) -> list[float]:
    """Middles of equal parts of the logarithmic range."""
    low, high = map(math.log, bounds)
    return [math.exp(low + (high - low) * (k + 0.5) / count) for k in range(count)]


def _at_edge(rate: float, bounds: tuple[float, float]) -> bool:
    low, high = map(math.log, bounds)
    place = (math.log(rate) - low) / (high - low)
    return not EDGE <= place <= 1 - EDGE
