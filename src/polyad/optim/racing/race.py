"""A race of optimisers on one problem: rates tuned with equal budgets, then the same seeds and the same clock for all.

from polyad.optim.racing.race import race
from polyad.problems.training import TRAININGS

result = race(TRAININGS["glyphs-mlp"].make, ["adamw", "shampoo"], seconds=20, seeds=3)
for row in result.rows():
    print(row.optimizer, row.rate, row.best)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, final

import torch

from polyad.errors import InputError
from polyad.optim.racing.course import DIVERGED, POINTS, REFUSED, Course, check_clock, run_course, threads
from polyad.optim.racing.problem import Maker
from polyad.optim.racing.store import Store
from polyad.optim.racing.tuning import Tuning, tune_rate
from polyad.optim.registry import Entry, find_optimizer

TUNING_SEED = 1_000
"""Of the trainings that choose rates; race seeds are 0, 1, ..."""

TRIALS, SHARE = 8, 0.5
"""Trainings that choose a rate, and how long each takes, as a share of a training that races."""


@final
@dataclass(frozen=True)
class Row:
    """What an optimiser came to; medians over seeds.

    Args:
        optimizer: name.
        rate: learning rate.
        best: the smallest of what counts; infinite where it diverged.
        lowest: over seeds.
        highest: over seeds.
        seconds: to the target; infinite where less than half of the seeds reach it.
        steps: to the target.
        seconds_a_step: mean.
        state_bytes: largest size of the state.
        note: what deserves a look.
    """

    optimizer: str
    rate: float
    best: float
    lowest: float
    highest: float
    seconds: float
    steps: float
    seconds_a_step: float
    state_bytes: int
    note: str


@final
@dataclass(frozen=True)
class Race:
    """A race that was run.

    Args:
        courses: by optimiser, one a seed.
        tunings: by optimiser; those whose rate was given have none.
        settings: of the race.
    """

    courses: Mapping[str, Sequence[Course]]
    tunings: Mapping[str, Tuning] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def target(self) -> float:
        """What the first optimiser comes to that does not diverge: the median over seeds of its best."""
        for courses in self.courses.values():
            best = median(course.best for course in courses)
            if math.isfinite(best):
                return best
        return math.nan

    def rows(self, target: float | None = None) -> list[Row]:
        """One row an optimiser.

        Args:
            target: of the times and steps; by default `target()`.
        """
        aim = self.target() if target is None else target
        return [self._row(name, courses, aim) for name, courses in self.courses.items()]

    def _row(self, name: str, courses: Sequence[Course], target: float) -> Row:
        best = [course.best for course in courses]
        reached = [None if math.isinf(c.best) else c.first_below(target) for c in courses]
        return Row(
            name,
            courses[0].rate,
            median(best),
            min(best),
            max(best),
            median(math.inf if point is None else point.seconds for point in reached),
            median(math.inf if point is None else point.steps for point in reached),
            median(course.seconds_a_step for course in courses),
            max(course.state_bytes for course in courses),
            self._note(name, courses),
        )

    def _note(self, name: str, courses: Sequence[Course]) -> str:
        refused = [course.reason for course in courses if course.ended == REFUSED]
        if refused:
            return f"refused: {refused[0]}"
        lost = [course for course in courses if course.ended == DIVERGED]
        if lost:
            return f"diverged on {len(lost)} of {len(courses)} seeds: {lost[0].reason}"
        return "rate at the edge of its range" if name in self.tunings and self.tunings[name].at_edge else ""


def race(
    make: Maker,
    optimizers: Sequence[str | Entry],
    *,
    seconds: float,
    seeds: int = 3,
    rates: Mapping[str, float] | None = None,
    trials: int = TRIALS,
    clock: str = "process",
    num_threads: int = 1,
    points: int = POINTS,
    name: str = "problem",
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Race:
    """Tune every optimiser, then train with each on the same seeds; one that diverges or refuses is a row.

    Args:
        make: the problem of a seed.
        optimizers: names in `polyad.optim.registry`, or entries of one's own.
        seconds: of each training that races; a trial of the tuning takes `SHARE` of it.
        seeds: number of trainings for each optimiser.
        rates: learning rates that are given, by name, and not tuned.
        trials: trainings that choose a rate, for each optimiser.
        clock: `process` or `wall`.
        num_threads: of torch.
        points: times at which a training is judged.
        name: of the problem, kept with the results.
        folder: where every training is kept when it ends, and found again; None keeps nothing.
        progress: called with the seconds of training done, and in all.

    Raises:
        InputError: unknown or repeated names, numbers that are not positive, a clock that does not fit, or a folder
            with a race of other settings.
        MissingDependencyError: rates are tuned and Optuna is not installed.
    """
    entries = [find_optimizer(one) if isinstance(one, str) else one for one in optimizers]
    given = dict(rates or {})
    _check(entries, given, seconds, seeds, num_threads)
    check_clock(clock, make(0))
    settings = {"problem": name, "seconds": seconds, "clock": clock, "threads": num_threads, "points": points}
    store = Store(folder, settings)
    tuned = [entry for entry in entries if entry.name not in given]
    meter = _Meter(progress, SHARE * seconds * trials * len(tuned) + seconds * seeds * len(entries))

    def course(entry: Entry, kind: str, rate: float, seed: int, length: float) -> Course:
        found = store.load(entry, kind, rate, seed)
        if found is None:
            with torch.random.fork_rng():
                torch.manual_seed(seed)  # for makers that forget to
                problem = make(seed)
            found = run_course(
                entry, problem, rate=rate, seed=seed, seconds=length, clock=clock, points=points,
                progress=meter.within,
            )  # fmt: skip
            store.save(entry, kind, found)
        meter.finish(length)
        return found

    with threads(num_threads):
        tunings = {}
        for entry in tuned:

            def score(number: int, rate: float, entry: Entry = entry) -> float:
                return course(entry, f"trial{number}", rate, TUNING_SEED, SHARE * seconds).best

            tunings[entry.name] = tune_rate(entry, score, trials=trials)
        chosen = {**{key: tuning.rate for key, tuning in tunings.items()}, **given}
        courses: dict[str, list[Course]] = {entry.name: [] for entry in entries}
        for seed in range(seeds):  # in turns, so that a change of the machine meets all alike
            for entry in entries:
                rate = chosen[entry.name] if math.isfinite(chosen[entry.name]) else entry.rates[0]
                courses[entry.name].append(course(entry, "race", rate, seed, seconds))
    return Race(courses, tunings, {**settings, "seeds": seeds, "trials": trials})


def _check(entries: list[Entry], rates: dict[str, float], seconds: float, seeds: int, num_threads: int) -> None:
    names = [entry.name for entry in entries]
    if not names or len(set(names)) < len(names):
        raise InputError(f"optimizers: give at least one and each once, got {', '.join(names) or 'none'}")
    if not 0 < seconds < math.inf or seeds < 1 or num_threads < 1:
        raise InputError(f"seconds, seeds, num_threads: must be positive, got {seconds}, {seeds}, {num_threads}")
    for name, rate in rates.items():
        if name not in names:
            raise InputError(f"rates: {name!r} does not race; there are {', '.join(names)}")
        if not 0 < rate < math.inf:
            raise InputError(f"rates: {name}={rate} must be positive and finite")


@final
class _Meter:
    """Turns seconds of single trainings into progress of the whole."""

    def __init__(self, report: Callable[[int, int], None] | None, total: float) -> None:
        self._report, self._total, self._done = report, total, 0.0

    def within(self, seconds: float) -> None:
        if self._report is not None:
            self._report(round(self._done + seconds), round(self._total))

    def finish(self, seconds: float) -> None:
        self._done += seconds
        self.within(0.0)
