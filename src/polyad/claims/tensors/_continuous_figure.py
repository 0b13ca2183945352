"""Figure of the functional Tucker claim: the surface, latent functions with bands, predictions, errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from polyad.claims.tensors._continuous_problems import Outcome, cells_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(outcome: Outcome, outcomes: Sequence[Outcome], shaped: Sequence[float]) -> Figure:
    """The surface problem above, fields of three modes below; `shaped` are their errors on shaped grids."""
    from matplotlib.figure import Figure

    problem = outcome.problem
    figure = Figure(figsize=(12, 7.5), layout="constrained")
    axes = figure.subplots(2, 3)
    cells = cells_of(problem.test_indices, outcome.baseline_grid)
    on_grid = outcome.baseline_fit.value.entries(cells) + problem.values.mean()
    found = outcome.fit.predict(problem.test_indices, noise=False)
    limit = float(problem.test_values.abs().max())
    for axis, values, title in zip(
        axes[0],
        (problem.test_values, found.mean, on_grid),
        ("the surface and 200 noisy values", "functions", "Tucker on its best grid"),
        strict=True,
    ):
        picture = axis.imshow(
            values.reshape(100, 100).mT, origin="lower", extent=(0, 1, 0, 1), cmap="RdBu", vmin=-limit, vmax=limit
        )
        axis.set(xlabel="first index", ylabel="second index", title=title)
    axes[0, 0].plot(*problem.indices.mT, "k.", markersize=2)
    figure.colorbar(picture, ax=axes[0, 2], label="value")
    _draw_course(axes[1, 0], axes[1, 1], outcomes[-1 if len(outcomes) == 1 else 1])
    _draw_errors(axes[1, 2], outcomes, shaped)
    return figure


def _draw_course(functions: Axes, scatter: Axes, outcome: Outcome) -> None:
    line = torch.linspace(0.4, 0.5, 800, dtype=torch.float64)
    means, covariances = outcome.fit.functions[2].values_at(line)
    for function in range(2):
        width = 1.645 * covariances[:, function, function].sqrt()
        drawn = functions.plot(line, means[:, function], linewidth=0.8)[0]
        functions.fill_between(
            line, means[:, function] - width, means[:, function] + width, color=drawn.get_color(), alpha=0.3
        )
    functions.set(
        xlabel="time [share of the period]",
        ylabel="latent function [1]",
        title=f"{outcome.problem.name}: functions of time",
    )
    found = outcome.fit.predict(outcome.problem.test_indices)
    scatter.plot(outcome.problem.test_values, found.mean, ".", markersize=2)
    ends = [float(outcome.problem.test_values.min()), float(outcome.problem.test_values.max())]
    scatter.plot(ends, ends, color="0.4", linewidth=1)
    scatter.set(
        xlabel="value held back [standardised]",
        ylabel="prediction [standardised]",
        title=f"{outcome.problem.name}: predictions",
    )


def _draw_errors(axis: Axes, outcomes: Sequence[Outcome], shaped: Sequence[float]) -> None:
    places = torch.arange(len(outcomes)).double()
    for shift, baselines, label in (
        (-0.2, [outcome.baseline for outcome in outcomes], "the named grids"),
        (0.2, shaped, "grids shaped after the problem"),
    ):
        heights = [outcome.ours / baseline for outcome, baseline in zip(outcomes, baselines, strict=True)]
        axis.bar(places + shift, heights, width=0.38, label=label)
    axis.axhline(1, color="0.4", linestyle="--", linewidth=1)
    axis.set_xticks(places, [outcome.problem.name.replace(" ", "\n", 1) for outcome in outcomes])
    axis.set(ylabel="our RMSE / baseline's", ylim=(0, 1.4), title="errors against Tucker or CP on")
    axis.legend(loc="upper left", fontsize=8)
