"""S098: gradient-normalised Newton with approximate Hessians beside exact ones, line search and super-universal Newton.

Soft maxima with the Fisher term of the Hessian left out, logistic regression on scikit-learn's breast cancer data, and
Gauss-Newton on the Chebyshev-Rosenbrock equations. All methods start with a constant of 1; super-universal Newton also
gets the best of two powers and three constants.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch

from polyad.errors import ConvergenceError
from polyad.optim.second_order import GradientNormalizedNewton, LineSearchGradient, SuperUniversalNewton
from polyad.problems.convex import chebyshev_equations, equations_oracle, logistic_oracle, soft_maximum
from polyad.problems.optimisation import LogisticRegression

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S098",
    "slug": "gradient_normalized_newton",
    "title": "Gradient-Normalized Smoothness for Optimization with Approximate Hessians",
    "paper": "Semenov, Jaggi, Doikov, 2025, arXiv:2506.13710",
    "bibtex": """@misc{semenov2025gradient,
  title = {Gradient-normalized smoothness for optimization with approximate {Hessians}},
  author = {Semenov, Andrei and Jaggi, Martin and Doikov, Nikita},
  year = {2025},
  eprint = {2506.13710},
  archivePrefix = {arXiv}
}""",
    "package": "optim",
    "module": "second_order",
    "api": [
        "GradientNormalizedNewton", "gradient_normalized_smoothness", "FunctionOracle", "SuperUniversalNewton",
        "AdaptiveCubicNewton", "LineSearchGradient",
    ],
    "tags": ["optimisers", "second order", "convex", "approximate Hessians"],
    "claim": "One rule for the damping, the gradient's norm over a radius that doubles or halves, makes Newton steps "
    "with exact or approximate Hessians converge at the rates of each class of functions, without its constants.",
    "minutes": 2,
    "extras": ["scikit-learn"],
    "published": {"progress constant": 8, "factor of the radius": 2},
}  # fmt: skip

TARGET = 1e-8
LIMIT = 25_000
"""Iterations after which descent is stopped; its rows then say so."""

Curve = list[float]


def run(report: Report) -> None:
    """Fill the report."""
    curves = {"soft maximum, mu = 0.1": _soft_maxima(report)}
    _logistic(report)
    report.progress(2, 3)
    curves["Chebyshev-Rosenbrock, d = 3"] = _chebyshev(report)
    report.progress(3, 3)
    report.note(
        f"iterations to f - f* < {TARGET:g}; line search is stopped after {LIMIT}, a count that is then its lower "
        "bound; soft maxima start at ones, with their minimum moved to 0, seed 0"
    )
    report.note(
        "the fixed Gram matrix bounds every Hessian, so the rate is linear and slow: those rows claim nothing; line "
        "search alone does better there"
    )
    report.note(
        "difficulty of Chebyshev-Rosenbrock grows exponentially with d; 20 is out of reach for all methods here"
    )
    report.figure(_figure(curves))


def _gaps(method: Any, oracle: Any, best: float, limit: int = LIMIT) -> Curve:
    """f - f* after every iteration, until the target, the limit, or what rounding allows."""
    gaps: Curve = []
    while len(gaps) < limit and not (gaps and gaps[-1] < TARGET):
        try:
            gaps.append(method.step(oracle) - best)
        except ConvergenceError:
            return gaps + [float("inf")] * (limit - len(gaps))
    return gaps


def _soft_maxima(report: Report) -> dict[str, Curve]:
    kept: dict[str, Curve] = {}
    for smoothing in (0.1, 0.05):
        problem = soft_maximum(200, 40, smoothing=smoothing, seed=0)
        start, best = torch.ones(40), float(problem(torch.zeros(40, dtype=torch.float64)))
        curves = {
            "exact Hessian": _gaps(GradientNormalizedNewton(start), problem.oracle(), best),
            "Fisher term left out": _gaps(GradientNormalizedNewton(start), problem.oracle("gauss_newton"), best),
            "line search": _gaps(LineSearchGradient(start), problem.oracle(), best),
        }
        kept = kept or curves
        exact, ours, descent = (len(curve) for curve in curves.values())
        report.row(
            quantity=f"iterations without Fisher term, mu = {smoothing} (baseline: exact Hessian)",
            paper="<= 10 x baseline",
            baseline=exact,
            ours=ours,
            holds=ours <= 10 * exact and curves["Fisher term left out"][-1] < TARGET,
        )
        report.row(
            quantity=f"iterations without Fisher term, mu = {smoothing} (baseline: gradient, line search)",
            paper="<= 0.1 x baseline",
            baseline=descent,
            ours=ours,
            holds=ours <= 0.1 * descent and curves["Fisher term left out"][-1] < TARGET,
        )
    report.progress(1, 3)
    return kept


def _logistic(report: Report) -> None:
    from sklearn.datasets import load_breast_cancer

    features, classes = load_breast_cancer(return_X_y=True)
    rows = torch.from_numpy((features - features.mean(0)) / features.std(0))
    labels = torch.from_numpy(2.0 * classes - 1)
    start = torch.zeros(rows.shape[1])
    for penalty in (1e-4, 1e-3, 1e-2):
        problem = LogisticRegression(rows, labels, penalty)
        best, oracle = float(problem(problem.minimum())), logistic_oracle(problem)
        ours = GradientNormalizedNewton(start)
        reached = _gaps(ours, oracle, best)[-1] < TARGET
        usual = SuperUniversalNewton(start)
        _gaps(usual, oracle, best)
        report.row(
            quantity=f"linear systems, logistic regression, l2 {penalty:g} (baseline: super-universal Newton)",
            paper="<= 1.2 x baseline",
            baseline=usual.solves,
            ours=ours.solves,
            holds=reached and ours.solves <= 1.2 * usual.solves,
        )
        tuned = []
        for power, constant in itertools.product((2 / 3, 1.0), (0.01, 0.1, 1.0)):
            rival = SuperUniversalNewton(start, power=power, constant=constant)
            if _gaps(rival, oracle, best)[-1] < TARGET:
                tuned.append(rival.solves)
        free = []
        for gamma in (1.0, 10.0, 100.0):
            method = GradientNormalizedNewton(start, gamma=gamma)
            if _gaps(method, oracle, best)[-1] < TARGET:
                free.append(method.solves)
        report.row(
            quantity=f"linear systems, l2 {penalty:g}, best first constants (baseline: super-universal Newton)",
            baseline=min(tuned),
            ours=min(free),
        )
        if penalty > 1e-4:
            gram = len(_gaps(GradientNormalizedNewton(start), logistic_oracle(problem, "gram"), best))
            descent = len(_gaps(LineSearchGradient(start), oracle, best))
            report.row(
                quantity=f"iterations, fixed Gram matrix, l2 {penalty:g} (baseline: gradient, line search)",
                baseline=descent,
                ours=gram,
            )


def _chebyshev(report: Report) -> dict[str, Curve]:
    kept: dict[str, Curve] = {}
    for order in (3, 5):
        start = torch.ones(order)
        start[0] = -1
        oracle = equations_oracle(chebyshev_equations)
        curves = {
            "Gauss-Newton": _gaps(GradientNormalizedNewton(start), oracle, 0.0),
            "line search": _gaps(LineSearchGradient(start), oracle, 0.0),
        }
        kept = kept or curves
        ours, descent = (len(curve) for curve in curves.values())
        report.row(
            quantity=f"iterations, Chebyshev-Rosenbrock, d = {order} (baseline: gradient, line search)",
            paper="<= 0.05 x baseline",
            baseline=descent,
            ours=ours,
            holds=curves["Gauss-Newton"][-1] < TARGET and descent >= 20 * ours,
        )
    return kept


def _figure(curves: dict[str, dict[str, Curve]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (name, methods) in zip(figure.subplots(1, 2), curves.items(), strict=True):
        for method, gaps in methods.items():
            axes.loglog(range(1, len(gaps) + 1), gaps, label=method)
        axes.set(xlabel="iteration", ylabel="f - f*", title=name, ylim=(TARGET / 10, None))
        axes.legend()
    return figure
