"""What a race came to, as plain facts for JSON and as a figure over time, steps and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from polyad.optim.racing.course import Course
from polyad.optim.racing.race import Race

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def race_facts(race: Race, *, target: float | None = None) -> dict[str, Any]:
    """Settings, target, rows, tuning and courses; numbers that are not finite become None.

    Args:
        race: that was run.
        target: of times and steps; by default the race's own.
    """
    aim = race.target() if target is None else target
    return _finite(
        {
            "settings": dict(race.settings),
            "target": aim,
            "rows": [vars(row) for row in race.rows(aim)],
            "tuning": {name: {"rate": t.rate, "trials": t.trials} for name, t in race.tunings.items()},
            "courses": {name: [vars(course) for course in courses] for name, courses in race.courses.items()},
        }
    )


def plot_race(race: Race, *, target: float | None = None) -> Figure:
    """Loss against time and steps, median and range over seeds, and best loss against the bytes of the state.

    Args:
        race: that was run.
        target: is drawn as a line; by default the race's own.
    """
    from matplotlib.figure import Figure

    aim = race.target() if target is None else target
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    by_time, by_steps, by_memory = figure.subplots(1, 3)
    for number, (name, courses) in enumerate(race.courses.items()):
        color = f"C{number % 10}"
        alive = [course for course in courses if math.isfinite(course.best)]
        label = name if alive else f"{name} ({courses[0].ended})"
        _draw(by_time, alive, "seconds", color, label)
        _draw(by_steps, alive, "steps", color, label)
        if alive:
            best = [course.best for course in alive]
            middle = median(best)
            ends = [[middle - min(best)], [max(best) - middle]]
            memory = max(course.state_bytes for course in courses) / 2**20
            by_memory.errorbar([memory], [middle], yerr=ends, fmt="o", capsize=3, color=color, label=label)
    clock = "processor" if race.settings.get("clock") == "process" else "wall"
    for axes, words in (
        (by_time, f"{clock} time [s]"),
        (by_steps, "steps"),
        (by_memory, "state of the optimiser [MiB]"),
    ):
        axes.set(xlabel=words, ylabel="best loss" if axes is by_memory else "loss")
        low, high = axes.dataLim.intervaly
        if low > 0 and high > 10 * low:  # over less than a decade, a logarithmic axis has hardly a number on it
            axes.set_yscale("log")
        if math.isfinite(aim):
            axes.axhline(aim, color="0.6", linewidth=0.8, linestyle=":")
    by_steps.set_xscale("symlog", linthresh=10)
    by_steps.set_xlim(left=0)
    by_memory.margins(x=0.15)
    by_time.legend(fontsize="small")
    figure.suptitle(f"{race.settings.get('problem', '')}: median and range of {race.settings.get('seeds', '?')} seeds")
    return figure


def _draw(axes: Axes, courses: Sequence[Course], unit: str, color: str, label: str) -> None:
    """The median of curves where all have points, and the range between them."""
    if not courses:
        axes.plot([], [], color=color, label=label)
        return
    import numpy as np

    curves = [(np.array([getattr(p, unit) for p in c.points]), np.array([p.loss for p in c.points])) for c in courses]
    end = min(places[-1] for places, _ in curves)
    grid = np.unique(np.concatenate([places[places <= end] for places, _ in curves]))
    losses = np.stack([np.interp(grid, places, values) for places, values in curves])
    axes.plot(grid, np.median(losses, axis=0), color=color, label=label)
    axes.fill_between(grid, losses.min(0), losses.max(0), color=color, alpha=0.2, linewidth=0)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
