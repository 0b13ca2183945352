"""S083: out of strict saddles with two values a direction, beside differences along all coordinates.

Every run starts exactly at the saddle. Step sizes are those of theory (m / ((d + m + 1) L); 1 / L for differences along
all coordinates); then each method takes the best multiple of its own from one grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polyad.claims.timing import log_slope
from polyad.optim.zeroth_order.stationarity import second_order_stationarity
from polyad.optim.zeroth_order.two_point import PerturbedTwoPointZO, first_evaluations_below, two_point_step_size
from polyad.problems.saddles import SaddleProblem, matrix_factorization, octopus

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S083",
    "slug": "perturbed_two_point",
    "title": "Escaping saddle points in zeroth-order optimization: the power of two-point estimators",
    "paper": "Ren, Tang, Li, ICML 2023, arXiv:2209.13555",
    "bibtex": """@inproceedings{ren2023escaping,
  title = {Escaping saddle points in zeroth-order optimization: the power of two-point estimators},
  author = {Ren, Zhaolin and Tang, Yujie and Li, Na},
  booktitle = {International Conference on Machine Learning},
  year = {2023},
  eprint = {2209.13555},
  archivePrefix = {arXiv}
}""",
    "package": "optim",
    "module": "zeroth_order.two_point",
    "api": ["PerturbedTwoPointZO", "first_evaluations_below", "theory_parameters", "two_point_step_size"],
    "tags": ["optimisers", "zeroth order", "saddle points"],
    "claim": "With two values along one random direction a step, and a little noise, descent leaves strict saddles at "
    "about the cost of differences along all coordinates, and at nearly the same for one direction as for many.",
    "minutes": 2,
    "extras": [],
    "published": {"step size": "of order m / d", "steps": "of order d / (m eps^2 psi)"},
}  # fmt: skip

RUNS, LIMIT, GOAL = 20, 100_000, 1e-3
NOISE, SMOOTHING = 1e-2, 1e-4
PROBLEMS: dict[str, tuple[Callable[[int], SaddleProblem], tuple[int, ...], float]] = {
    "matrix factorisation": (lambda d: matrix_factorization(d // 2, 2), (50, 100, 200), 0.2),
    "octopus": (octopus, (5, 10, 20, 40), 0.08),
}
"""How to make each, its dimensions, and a gradient's norm eps that the goal keeps and with which the saddle is told."""

METHODS = ("m = 1", "m = 5", "m = d", "2d-point")
MULTIPLES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
TUNING_SEED = 100
BELOW, SHARES = 1e-12, torch.logspace(-5, 0, 41, dtype=torch.float64).flip(0)


def run(report: Report) -> None:
    """Fill the report: 28 settings at the step sizes of theory, 12 more to tune."""
    total = sum(len(dimensions) * len(METHODS) for _, dimensions, _ in PROBLEMS.values()) + 2 * len(MULTIPLES)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        report.progress(done, total)

    times: dict[str, dict[tuple[int, str], Tensor]] = {}
    for name, (make, dimensions, eps) in PROBLEMS.items():
        times[name] = {}
        for d in dimensions:
            problem = make(d)
            for method in METHODS:
                optimizer = _optimizer(problem, method)
                times[name][d, method] = first_evaluations_below(
                    optimizer, problem.function, levels=_levels(problem), limit=LIMIT
                )
                if method == "m = 1" and d == dimensions[-1]:
                    _stationary_row(report, name, problem, optimizer.point, eps)
                tick()
        _cost_rows(report, name, times[name], dimensions)
    _progress_rows(report, times["matrix factorisation"])
    _saddle_rows(report, times)
    _tuned_row(report, tick)
    report.note(
        f"all runs start at the saddle; r = {NOISE}, u = {SMOOTHING}; goal: value within {GOAL} of the minimum, where "
        f"end points are second-order stationary; medians of {RUNS} seeds; limit {LIMIT:,} evaluations"
    )
    report.note(
        "the octopus has d saddles in a row, each of which takes of order d evaluations: the total grows faster than "
        "d, the evaluations a saddle do not"
    )
    report.note(
        "on matrix factorisation a value below the saddle's comes at once with one direction, the first percent of the "
        "way down takes both as long; on the octopus differences along all coordinates wait at every saddle, because "
        "they run the coordinates to come down to the noise first"
    )
    report.figure(_figure(times))


def _optimizer(problem: SaddleProblem, method: str, *, multiple: float = 1.0, **options: Any) -> PerturbedTwoPointZO:
    d = problem.dimension
    count = {"m = 1": 1, "m = 5": 5, "m = d": d}.get(method)
    if count is None:
        options |= {"lr": multiple / problem.lipschitz, "directions": "coordinates"}
    else:
        lr = multiple * two_point_step_size(d, count=count, lipschitz=problem.lipschitz)
        options |= {"lr": lr, "count": count}
    start = problem.saddle.expand(options.pop("runs", RUNS), -1)
    return PerturbedTwoPointZO(start, **({"noise": NOISE, "smoothing": SMOOTHING, "seed": d} | options))


def _levels(problem: SaddleProblem) -> list[float]:
    """Values: just below the saddle's, a percent of the way down, and further down to the goal."""
    top = float(problem.function(problem.saddle))
    shares = SHARES[SHARES * (top - problem.minimum) > GOAL]
    between = problem.minimum + (top - problem.minimum) * torch.cat([shares.new_tensor([0.99]), shares[1:]])
    return [top - BELOW, *between.tolist(), problem.minimum + GOAL]


def _median(times: Tensor, level: int = -1) -> float:
    return float(times[level].median())


def _stationary_row(report: Report, name: str, problem: SaddleProblem, points: Tensor, eps: float) -> None:
    checks = {"gradient_tolerance": eps, "hessian_lipschitz": problem.hessian_lipschitz}
    held = [second_order_stationarity(problem.function, point, **checks).holds for point in points]
    start = second_order_stationarity(problem.function, problem.saddle, **checks).holds
    report.row(
        quantity=f"{name}, d = {problem.dimension}: second-order stationary ends [%] (baseline: the start)",
        paper="all",
        baseline=100 * float(start),
        ours=100 * sum(held) / len(held),
        holds=all(held) and not start,
    )


def _cost_rows(report: Report, name: str, times: dict[tuple[int, str], Tensor], dimensions: tuple[int, ...]) -> None:
    for d in dimensions:
        cost = {method: _median(times[d, method]) for method in METHODS}
        few = [cost[method] for method in METHODS[:3]]
        report.row(
            quantity=f"{name}, d = {d}: evaluations to the goal, m = 1 (baseline: 2d-point)",
            paper="<= 1.5 x baseline",
            baseline=cost["2d-point"],
            ours=cost["m = 1"],
            holds=cost["m = 1"] <= 1.5 * cost["2d-point"],
        )
        report.row(
            quantity=f"{name}, d = {d}: dearest over cheapest of m = 1, 5, d",
            paper="<= 3",
            ours=max(few) / min(few),
            holds=max(few) <= 3 * min(few),
        )
    slope = log_slope((d, _median(times[d, "m = 1"])) for d in dimensions)
    report.row(
        quantity=f"{name}: exponent of d in evaluations, m = 1 (baseline: 2d-point)",
        paper="<= 1.3",
        baseline=log_slope((d, _median(times[d, "2d-point"])) for d in dimensions),
        ours=slope,
        holds=slope <= 1.3,
    )
    if name == "octopus":
        report.row(
            quantity=f"{name}: exponent of d in evaluations a saddle, m = 1 (baseline: 2d-point)",
            paper="<= 1.3",
            baseline=log_slope((d, _median(times[d, "2d-point"]) / d) for d in dimensions),
            ours=slope - 1,
            holds=slope - 1 <= 1.3,
        )


def _progress_rows(report: Report, times: dict[tuple[int, str], Tensor]) -> None:
    d = max(d for d, _ in times)
    first = {method: _median(times[d, method], 0) for method in METHODS}
    report.row(
        quantity=f"matrix factorisation, d = {d}: evaluations to a value below the saddle's (baseline: 2d-point)",
        paper="<= d / 10",
        baseline=first["2d-point"],
        ours=first["m = 1"],
        holds=first["m = 1"] <= d / 10,
    )
    report.row(
        quantity=f"matrix factorisation, d = {d}: evaluations to 1 % of the way down (baseline: 2d-point)",
        baseline=_median(times[d, "2d-point"], 1),
        ours=_median(times[d, "m = 1"], 1),
    )


def _saddle_rows(report: Report, times: dict[str, dict[tuple[int, str], Tensor]]) -> None:
    """Runs that reach the goal, with and without noise, at the same number of evaluations."""
    for name, (make, dimensions, _) in PROBLEMS.items():
        d = dimensions[1]
        problem, perturbed = make(d), times[name][d, "m = 1"][-1]
        still = _optimizer(problem, "m = 1", noise=0.0)
        found = first_evaluations_below(
            still, problem.function, levels=[problem.minimum + GOAL], limit=int(perturbed.max())
        )
        failed, reached = float(found.isfinite().double().mean()), float(perturbed.isfinite().double().mean())
        report.row(
            quantity=f"{name}, d = {d}: runs that reach the goal [%] (baseline: no noise)",
            paper=">= 95, baseline 0",
            baseline=100 * failed,
            ours=100 * reached,
            holds=failed == 0 and reached >= 0.95,
        )


def _tuned_row(report: Report, tick: Callable[[], None]) -> None:
    """Both with the best multiple of their step size, chosen on a seed of its own."""
    d = 100
    problem = PROBLEMS["matrix factorisation"][0](d)
    level, best, cost = [problem.minimum + GOAL], {}, {}
    for method in ("m = 1", "2d-point"):
        dearest = {}
        for multiple in MULTIPLES:
            trial = _optimizer(problem, method, multiple=multiple, runs=5, seed=TUNING_SEED)
            found = first_evaluations_below(trial, problem.function, levels=level, limit=LIMIT // 4)
            dearest[multiple] = float(found.max())
            tick()
        best[method] = min(dearest, key=lambda multiple: dearest[multiple])
        tuned = _optimizer(problem, method, multiple=best[method])
        cost[method] = _median(first_evaluations_below(tuned, problem.function, levels=level, limit=LIMIT))
    report.row(
        quantity=f"matrix factorisation, d = {d}: evaluations, best step sizes, m = 1 (baseline: 2d-point)",
        paper="<= 1.5 x baseline",
        baseline=cost["2d-point"],
        ours=cost["m = 1"],
        holds=math.isfinite(cost["m = 1"]) and cost["m = 1"] <= 1.5 * cost["2d-point"],
    )
    report.note(f"best multiples of the step sizes, from {MULTIPLES} on seed {TUNING_SEED}: {best}")


def _figure(times: dict[str, dict[tuple[int, str], Tensor]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    *paths, growth = figure.subplots(1, 3)
    for axes, (name, d) in zip(paths, (("matrix factorisation", 100), ("octopus", 20)), strict=True):
        problem = PROBLEMS[name][0](d)
        height = torch.tensor(_levels(problem)) - problem.minimum
        for method in METHODS:
            found = times[name][d, method]
            (line,) = axes.semilogy(found.median(1).values, height, label=method)
            axes.fill_betweenx(height, found.amin(1), found.amax(1), alpha=0.15, color=line.get_color())
        axes.set(xlabel="evaluations", ylabel="value above the minimum", title=f"{name}, d = {d}")
    paths[0].legend(loc="lower left")
    for name, style in (("matrix factorisation", "o-"), ("octopus", "s--")):
        for place, method in enumerate(METHODS):
            dimensions = PROBLEMS[name][1]
            costs = [_median(times[name][d, method]) for d in dimensions]
            label = f"{name}, {method}" if method in ("m = 1", "2d-point") else None
            growth.loglog(dimensions, costs, style, color=f"C{place}", label=label)
    growth.set(xlabel="dimension d", ylabel="evaluations to the goal", title="median of 20 seeds")
    growth.legend(fontsize="small", loc="upper left")
    growth.set_ylim(top=5e5)
    return figure
