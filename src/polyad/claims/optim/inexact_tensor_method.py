"""S002: accelerated cubic Newton under noisy gradients and inexact Hessians, beside plain cubic Newton.

Chains of third powers, d = 10, with Gaussian noise on gradients, then with noise on Hessians; and logistic regression
on scikit-learn's breast cancer data with a tenth of the samples in every Hessian, beside stochastic gradient descent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from polyad.optim.second_order import AcceleratedInexactNewton, minimize_cubic
from polyad.optim.second_order.estimating import growth
from polyad.problems.optimisation import LogisticRegression

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S002",
    "slug": "inexact_tensor_method",
    "title": "Advancing the lower bounds: An accelerated, stochastic, second-order method with optimal adaptation to "
    "inexactness",
    "paper": "Agafonov, Kamzolov, Gasnikov, Kavis, Antonakopoulos, Cevher, Takac, ICLR 2024, arXiv:2309.01570",
    "bibtex": """@inproceedings{agafonov2024advancing,
  title = {Advancing the lower bounds: An accelerated, stochastic, second-order method with optimal adaptation to
           inexactness},
  author = {Agafonov, Artem and Kamzolov, Dmitry and Gasnikov, Alexander and Kavis, Ali and Antonakopoulos, Kimon and
            Cevher, Volkan and Tak{\\'a}{\\v{c}}, Martin},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
  eprint = {2309.01570},
  archivePrefix = {arXiv}
}""",
    "package": "optim",
    "module": "second_order",
    "api": [
        "AcceleratedInexactNewton", "AcceleratedInexactTensor", "minimize_cubic", "CubicStep", "minimize_quartic",
        "QuarticStep",
    ],
    "tags": ["optimisers", "second order", "convex", "stochastic"],
    "claim": "Accelerated cubic Newton keeps the best rates under errors of gradients and Hessians: the gap falls as "
    "sigma R / sqrt(T) + delta2 R^2 / T^2 + L R^3 / T^3.",
    "minutes": 2,
    "extras": ["scikit-learn"],
    "published": {"rate": "sigma R / sqrt(T) + delta2 R^2 / T^2 + L R^3 / T^3"},
}  # fmt: skip

ORDER = 10
NOISE, NOISY_STEPS, SEEDS = 0.1, 400, 5
ERRORS, ERROR_STEPS, ERROR_SEEDS = (3.0, 1.0, 0.1), 200, 3
PENALTY, GAP, SHARE, EPOCHS = 1e-3, 1e-3, 0.1, 50
TUNING_SEEDS, LOGISTIC_SEEDS = (100, 101, 102), (0, 1, 2, 3, 4)
SGD_GRID = ((8, 32), (0.3, 1.0, 3.0, 10.0), (0.0, 0.3, 1.0, 3.0))
"""Batch, first rate, and its decay a pass: rate / (1 + decay * passes)."""

NEWTON_GRID = ((0.3, 1.0, 3.0), (0.03, 0.1, 0.3), (1.0, 0.1, 0.01, 0.001))
"""M, delta2, and what kappa_2 and kappa_3 of the schedules are multiplied by."""

BIDIAGONAL = (torch.eye(ORDER) - torch.diag(torch.ones(ORDER - 1), 1)).double()
CUBIC = 4 * float(torch.linalg.matrix_norm(BIDIAGONAL, 2)) ** 3
RADIUS = math.sqrt(sum(i * i for i in range(1, ORDER + 1)))
BEST = -2 * ORDER / 3

Answer = tuple[float, Tensor, Tensor]
Gaps = list[float]


def run(report: Report) -> None:
    """Fill the report."""
    curves = {"noise 0.1 on gradients": _noisy_gradients(report)}
    curves |= _inexact_hessians(report)
    _logistic(report)
    report.note(
        "the chain is easy: with ten variables local superlinear convergence hides the global rate, and cubic Newton "
        "without any penalty for the noise is far better on it; so is plain cubic Newton at small errors of the Hessian"
    )
    report.note(
        f"noise on {SEEDS} seeds, errors of Hessians on {ERROR_SEEDS}, where 10 were planned; random symmetric "
        "matrices of spectral norm delta2, drawn anew at every call"
    )
    report.note(
        "second run: in the first, SGD's rate was chosen on one seed, where it met the gap by chance, and did not "
        "reach it on the others (50 passes against 25.2 of ours); more rates and seeds for both since, the chain "
        "as before"
    )
    report.note(
        "the last row does not hold: two full gradients and a tenth of the samples for the Hessian make 2.1 passes a "
        "step, so twelve steps cost more than SGD needs on 569 samples; the delta2 chosen lies at the edge of its grid"
    )
    report.figure(_figure(curves))


def _chain(x: Tensor) -> Answer:
    """sum |Bx|_i^3 / 3 - x_1."""
    u = BIDIAGONAL @ x
    gradient = BIDIAGONAL.mT @ (u * u.abs())
    gradient[0] -= 1
    return float((u.abs() ** 3).sum() / 3 - x[0]), gradient, BIDIAGONAL.mT @ (2 * u.abs()[:, None] * BIDIAGONAL)


def _inexact(seed: int, noise: float, error: float) -> Callable[[Tensor], Answer]:
    """The chain with a gradient off by a normal vector of this root mean square norm, and a Hessian off by `error`."""
    generator = torch.Generator().manual_seed(seed)

    def oracle(x: Tensor) -> Answer:
        value, gradient, hessian = _chain(x)
        if noise:
            gradient = gradient + noise / math.sqrt(ORDER) * torch.randn(ORDER, generator=generator).double()
        if error:
            drawn = torch.randn(ORDER, ORDER, generator=generator, dtype=torch.float64)
            drawn = drawn + drawn.mT
            hessian = hessian + error * drawn / torch.linalg.matrix_norm(drawn, 2)
        return value, gradient, hessian

    return oracle


def _accelerated(seed: int, steps: int, noise: float = 0.0, error: float = 0.0) -> Gaps:
    method = AcceleratedInexactNewton(torch.zeros(ORDER), cubic=CUBIC, radius=RADIUS, sigma=noise, delta2=error)
    oracle = _inexact(seed, noise, error)
    return [method.step(oracle) - BEST for _ in range(steps)]


def _plain(seed: int, steps: int, noise: float, error: float, penalty: Callable[[int], float]) -> Gaps:
    """Cubic Newton from point to point."""
    oracle, x, gaps = _inexact(seed, noise, error), torch.zeros(ORDER, dtype=torch.float64), []
    for t in range(steps):
        _, gradient, hessian = oracle(x)
        x = x + minimize_cubic(gradient, hessian, cubic=CUBIC, quadratic=penalty(t)).step
        gaps.append(_chain(x)[0] - BEST)
    return gaps


def _constant(value: float) -> Callable[[int], float]:
    return lambda t: value


def _mean(runs: list[Gaps]) -> Gaps:
    return torch.tensor(runs, dtype=torch.float64).mean(0).tolist()


def _noisy_gradients(report: Report) -> dict[str, Gaps]:
    same = lambda t: NOISE / RADIUS * (t + 3) ** 1.5  # noqa: E731
    runs: dict[str, list[Gaps]] = {"accelerated": [], "cubic Newton, same penalty": [], "cubic Newton, no penalty": []}
    for seed in range(SEEDS):
        runs["accelerated"].append(_accelerated(seed, NOISY_STEPS, noise=NOISE))
        runs["cubic Newton, same penalty"].append(_plain(seed, NOISY_STEPS, NOISE, 0.0, same))
        runs["cubic Newton, no penalty"].append(_plain(seed, NOISY_STEPS, NOISE, 0.0, lambda t: 0.0))
        report.progress(seed + 1, 2 * SEEDS)
    curves = {name: _mean(found) for name, found in runs.items()}
    ours, usual, free = (curve[-1] for curve in curves.values())
    report.row(
        quantity=f"mean gap after {NOISY_STEPS} steps, noise {NOISE} (baseline: cubic Newton, same penalty)",
        paper="<= baseline / 3",
        baseline=usual,
        ours=ours,
        holds=ours <= usual / 3,
    )
    report.row(
        quantity=f"mean gap after {NOISY_STEPS} steps, noise {NOISE} (baseline: cubic Newton, no penalty)",
        baseline=free,
        ours=ours,
    )
    return curves


def _inexact_hessians(report: Report) -> dict[str, dict[str, Gaps]]:
    kept: dict[str, dict[str, Gaps]] = {}
    for number, error in enumerate(ERRORS):
        curves = {
            "accelerated": _mean([_accelerated(s, ERROR_STEPS, error=error) for s in range(ERROR_SEEDS)]),
            "cubic Newton, same penalty": _mean(
                [_plain(s, ERROR_STEPS, 0.0, error, _constant(error)) for s in range(ERROR_SEEDS)]
            ),
        }
        ours, usual = (curve[-1] for curve in curves.values())
        report.row(
            quantity=f"mean gap after {ERROR_STEPS} steps, Hessian off by {error:g} (baseline: cubic Newton)",
            paper="<= baseline / 5" if error == ERRORS[0] else None,
            baseline=usual,
            ours=ours,
            holds=ours <= usual / 5 if error == ERRORS[0] else None,
        )
        kept = kept or {f"Hessian off by {error:g}": curves}
        report.progress(SEEDS + 2 * (number + 1), 2 * SEEDS)
    return kept


@final
class _Samples:
    """Logistic regression with full gradients and Hessians from a share of samples; `seen` counts samples of both."""

    def __init__(self, problem: LogisticRegression, seed: int) -> None:
        self.problem, self.seen, self.count = problem, 0, len(problem.labels)
        self.generator = torch.Generator().manual_seed(seed)

    def first_order(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Value and gradient of all samples."""
        self.seen += self.count
        return self.problem(x), self.problem.gradient(x)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The Hessian from its share of samples, too."""
        chosen = torch.randperm(self.count, generator=self.generator)[: int(SHARE * self.count)]
        self.seen += len(chosen)
        part = LogisticRegression(self.problem.features[chosen], self.problem.labels[chosen], self.problem.penalty)
        return *self.first_order(x), part.hessian(x)


def _logistic(report: Report) -> None:
    from sklearn.datasets import load_breast_cancer

    features, classes = load_breast_cancer(return_X_y=True)
    rows = torch.from_numpy((features - features.mean(0)) / features.std(0))
    problem = LogisticRegression(rows, torch.from_numpy(2.0 * classes - 1), PENALTY)
    best = float(problem(problem.minimum()))

    def passes(method: Callable[..., float], choice: tuple[float, ...], seeds: tuple[int, ...]) -> float:
        return median(method(problem, best, seed, *choice) for seed in seeds)

    def chosen(method: Callable[..., float], grid: Any) -> tuple[tuple[float, ...], float]:
        choice = min(itertools.product(*grid), key=lambda choice: passes(method, choice, TUNING_SEEDS))
        return choice, passes(method, choice, LOGISTIC_SEEDS)

    sgd_choice, usual = chosen(_sgd_passes, SGD_GRID)
    choice, ours = chosen(_newton_passes, NEWTON_GRID)
    report.row(
        quantity=f"passes over the samples to gap {GAP:g}, logistic regression (baseline: SGD)",
        paper="<= baseline",
        baseline=usual,
        ours=ours,
        holds=ours < usual and ours < EPOCHS,
    )
    report.note(
        f"logistic regression, l2 {PENALTY:g}: median of {len(LOGISTIC_SEEDS)} seeds, at most {EPOCHS} passes (a count "
        f"of {EPOCHS} means not reached); SGD with batch, rate, decay {sgd_choice}, ours with M, delta2, factor of "
        f"kappas {choice}, chosen from grids by the median of 3 other seeds; a "
        "Hessian's sample counts like a gradient's"
    )


def _sgd_passes(problem: LogisticRegression, best: float, seed: int, batch: int, rate: float, decay: float) -> float:
    """Passes over the samples until the gap is small, looked at every twentieth of a pass."""
    generator, count = torch.Generator().manual_seed(seed), len(problem.labels)
    x = torch.zeros(problem.features.shape[1], dtype=torch.float64)
    seen, look = 0, 0
    while seen < EPOCHS * count:
        drawn = torch.randint(count, (batch,), generator=generator)
        part = LogisticRegression(problem.features[drawn], problem.labels[drawn], problem.penalty)
        x = x - rate / (1 + decay * seen / count) * part.gradient(x)
        seen += batch
        if seen >= look:
            look += count // 20
            if float(problem(x)) - best < GAP:
                return seen / count
    return float(EPOCHS)


def _newton_passes(
    problem: LogisticRegression, best: float, seed: int, cubic: float, error: float, factor: float
) -> float:
    """Passes over the samples until the gap is small."""
    oracle = _Samples(problem, seed)
    method = AcceleratedInexactNewton(
        torch.zeros(problem.features.shape[1]),
        cubic=cubic,
        radius=1.0,
        delta2=error,
        square_schedule=lambda t: factor * 2 * error * growth(t, 2, 2),
        cube_schedule=lambda t: factor * 8 * cubic / 3 * growth(t, 2, 3),
    )
    while oracle.seen < EPOCHS * oracle.count:
        if method.step(oracle) - best < GAP:
            return oracle.seen / oracle.count
    return float(EPOCHS)


def _figure(curves: dict[str, dict[str, Gaps]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (name, methods) in zip(figure.subplots(1, 2), curves.items(), strict=True):
        for method, gaps in methods.items():
            axes.loglog(range(1, len(gaps) + 1), gaps, label=method)
        axes.set(xlabel="step", ylabel="mean gap f - f*", title=f"chain, d = {ORDER}: {name}")
        axes.legend()
    return figure
