"""S054: FOSI on quadratics with a given spectrum, and its time on digits against the base optimiser alone.

On quadratics every method gets its learning rate, and momentum where it has one, from a grid that holds its best
inside. On digits rates come from a grid on the race itself, for all alike; time is that of steps, Lanczos within.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from polyad.claims.optim.rank_one_kronecker import KFAC
from polyad.claims.timing import one_thread
from polyad.errors import MissingDependencyError
from polyad.linalg.lanczos import RitzPairs
from polyad.optim.second_order import FOSI, LBFGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S054",
    "slug": "hybrid_first_second_order",
    "title": "FOSI: Hybrid First and Second Order Optimization",
    "paper": "Sivan, Gabel, Schuster, ICLR 2024, arXiv:2302.08484",
    "bibtex": """@inproceedings{sivan2024fosi,
  title = {{FOSI}: Hybrid first and second order optimization},
  author = {Sivan, Hadar and Gabel, Moshe and Schuster, Assaf},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
  eprint = {2302.08484},
  archivePrefix = {arXiv}
}""",
    "package": "optim",
    "module": "second_order",
    "api": ["FOSI"],
    "tags": ["optimisers", "second order", "preconditioning", "Lanczos"],
    "claim": "Newton steps along the ten directions of largest curvature make any first-order optimiser reach its loss "
    "in fewer steps and less time.",
    "minutes": 2,
    "extras": ["scikit-learn"],
    "published": {"k": 10, "alpha": "0.01 to 1", "lr_clip": 3},
}  # fmt: skip

SIZE, LARGE = 100, 10
MOMENTA = (0.9, 0.94, 0.96, 0.98, 0.8, 0.7, 0.6, 0.4, 0.0)
SEEDS = (0, 1, 2)
STEPS, WARMUP = 400, 50
"""Of a run on digits. The spectrum is estimated once, after the warm-up: 40 products cost as much as 80 gradients."""

Build = Callable[[nn.Module], torch.optim.Optimizer]


def run(report: Report) -> None:
    """Fill the report."""
    with one_thread():
        gap = torch.cat([torch.logspace(0, -1, LARGE), torch.logspace(-2, -4, SIZE - LARGE)]).double()
        curves = _quadratic_rows(report, "ten eigenvalues apart", gap, bounded=True)
        report.progress(1, 4)
        _quadratic_rows(report, "log-uniform spectrum", torch.logspace(0, -4, SIZE).double(), bounded=False)
        report.progress(2, 4)
        races = {}
        for number, problem in enumerate((_autoencoder(), _regression())):
            races[problem.name] = _race(report, problem)
            report.progress(3 + number, 4)
    report.note(
        "quadratics: exact eigenpairs are given, alpha 1, s at most 3 (Adam: 1); the log-uniform spectrum is the "
        "counter-example: nothing is left out of the condition number but a factor of 2.3"
    )
    report.note(
        f"digits: {STEPS} steps on all samples at once; processor time of steps on one thread, Lanczos within, until "
        f"the loss is as low as the base's lowest of its run; one estimate after {WARMUP} steps; medians of "
        f"{len(SEEDS)} seeds; of every method the rate counts whose worst last loss over these seeds is lowest, on a "
        "grid of factors of 3 that holds it inside; KFAC renews its inverses every 50 steps before LAMB"
    )
    report.note(
        "protocol, changed after a first full run in which no row on digits held: the autoencoder saw batches of 128, "
        "rates came from the lowest loss on one seed (heavy ball's was unstable on the others), spectra were estimated "
        "every 100 steps of 200 or 300, and regression in single precision ended on the last bit of its loss"
    )
    report.note(
        "changed again after two more full runs, with rates by the median and by the worst of three other seeds: both "
        "gave heavy ball on the autoencoder a rate of 3, unstable on two of the three seeds that race, which made FOSI "
        "look 8 times as fast there; now rates are chosen on the race's seeds. In the first of these runs FOSI on Adam "
        "was within the bound on regression (0.81), FOSI on heavy ball was not"
    )
    report.note(
        "where digits miss the bound: few steps are saved, and each costs more (above); on a tuning seed heavy ball "
        "and FOSI on it end with the loss's excess falling by the same factor a step, 0.95, on regression: base rate "
        "times s is what heavy ball alone stands too, and momentum 0.9 lets none fall faster than 0.9"
    )
    report.figure(_figure(curves, races))


# ---------------------------------------------------------------- quadratics


def _quadratic_rows(report: Report, name: str, values: Tensor, *, bounded: bool) -> dict[str, list[float]]:
    """Rows of one spectrum; losses of the tuned runs by method."""
    noise = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = torch.linalg.qr(noise)[0]
    start = torch.randn(SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    curves = {}
    for base in ("heavy ball", "Adam"):
        counts = {}
        for hybrid in (False, True):
            method = f"FOSI, {base}" if hybrid else base
            curves[method], choice = _tuned(values, basis, start, base, hybrid)
            counts[hybrid] = len(curves[method]) - 1
            report.note(f"{name}: {method} with rate {choice[0]:.3g}, momentum {choice[1]:g}")
        report.row(
            quantity=f"{name}: iterations to 1e-6 of the first loss, FOSI (baseline: {base})",
            paper="<= 0.3 x baseline" if bounded else None,
            baseline=counts[False],
            ours=counts[True],
            holds=counts[True] <= 0.3 * counts[False] if bounded else None,
        )
    return curves


def _tuned(
    values: Tensor, basis: Tensor, start: Tensor, base: str, hybrid: bool
) -> tuple[list[float], tuple[float, float]]:
    """Losses with the best rate and momentum, and these; rates on a grid of factors of 2 that grows at its ends."""
    best: list[float] = []
    chosen = (math.nan, math.nan)
    limit = 3000
    for momentum in MOMENTA if base == "heavy ball" else (0.9,):
        tried: dict[int, tuple[float, float]] = {}
        center = round(math.log2(1 / float(values[LARGE if hybrid else 0]))) if base == "heavy ball" else -5
        wanted = [center - 1, center, center + 1]
        while wanted:
            for power in wanted:
                losses = _descend(values, basis, start, base, hybrid, 2.0**power, momentum, limit)
                reached = losses[-1] <= 1e-6 * losses[0]
                tried[power] = (len(losses) if reached else math.inf, losses[-1])
                if reached and (not best or len(losses) < len(best)):
                    best, chosen = losses, (2.0**power, momentum)
                    limit = len(losses) - 1  # what takes longer cannot win
            top = min(tried, key=lambda power: tried[power])
            wanted = [top - 1] if top == min(tried) else [top + 1] if top == max(tried) else []
            if len(tried) > 14:
                break
    return best, chosen


def _descend(
    values: Tensor, basis: Tensor, start: Tensor, base: str, hybrid: bool, rate: float, momentum: float, limit: int
) -> list[float]:
    """Losses until 1e-6 of the first, at most `limit` steps."""
    place = nn.Parameter(start.clone())
    make = torch.optim.Adam if base == "Adam" else partial(torch.optim.SGD, momentum=momentum)
    optimizer: torch.optim.Optimizer
    if hybrid:
        optimizer = FOSI([place], base=make, lr=rate, largest=LARGE, every=None, alpha=1.0)
        optimizer.use_spectrum(RitzPairs(values[:LARGE], basis[:, :LARGE], torch.zeros(LARGE, dtype=torch.float64)))
    else:
        optimizer = make([place], lr=rate)
    matrix = (basis * values) @ basis.mT
    losses: list[float] = []
    with torch.no_grad():
        for _ in range(limit + 1):
            place.grad = matrix @ place
            losses.append(0.5 * float(place @ place.grad))
            if losses[-1] <= 1e-6 * losses[0] or not losses[-1] < 1e3 * losses[0]:
                break
            optimizer.step()
    return losses


# ---------------------------------------------------------------- digits


@final
@dataclass(frozen=True)
class _Problem:
    """A network, its loss on digits, and alpha of FOSI."""

    name: str
    build: Callable[[], nn.Module]
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]
    alpha: float
    dtype: torch.dtype


def _autoencoder() -> _Problem:
    def build() -> nn.Module:
        sizes = (64, 32, 8, 32, 64)
        layers = [(nn.Linear(n, m), nn.Tanh()) for n, m in itertools.pairwise(sizes)]
        return nn.Sequential(*itertools.chain.from_iterable(layers))[:-1]

    return _Problem("autoencoder", build, lambda net, x, _: (net(x) - x).square().mean(), 0.1, torch.float32)


def _regression() -> _Problem:
    def loss(net: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
        ridge = sum((p.square().sum() for p in net.parameters()), torch.zeros(()))
        return nn.functional.cross_entropy(net(x), labels) + 1e-4 * ridge

    return _Problem("logistic regression", lambda: nn.Linear(64, 10), loss, 1.0, torch.float64)


def _digits() -> tuple[Tensor, Tensor]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependencyError("the digits of this claim", "scikit-learn") from error
    found = load_digits()
    return torch.from_numpy(found.data).float() / 16, torch.from_numpy(found.target).long()


@final
@dataclass(frozen=True)
class _Curve:
    """Processor seconds before, and loss at, every number of steps; the loss is infinite where a run broke off."""

    seconds: list[float]
    losses: list[float]

    def steps_to(self, target: float) -> float:
        return next((step for step, loss in enumerate(self.losses) if loss <= target), math.inf)

    def seconds_to(self, target: float) -> float:
        step = self.steps_to(target)
        return self.seconds[int(step)] if math.isfinite(step) else math.inf

    @property
    def durations(self) -> list[float]:
        return [after - before for before, after in itertools.pairwise(self.seconds)]


def _train(problem: _Problem, make: Build, seed: int) -> _Curve:
    images, labels = _digits()
    inputs = images.to(problem.dtype)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = problem.build().to(problem.dtype)
    optimizer = make(net)
    closure = _closure(optimizer, partial(problem.loss, net, inputs, labels))
    seconds, losses = [0.0], []
    for _ in range(STEPS):
        begin = time.process_time()
        loss = float(torch.as_tensor(optimizer.step(closure)).detach())
        losses.append(loss if math.isfinite(loss) else math.inf)
        if losses[-1] > 1e3 * losses[0]:
            losses[-1] = math.inf
            break
        seconds.append(seconds[-1] + time.process_time() - begin)
    return _Curve(seconds, losses)


def _closure(optimizer: torch.optim.Optimizer, loss_of: Callable[[], Tensor]) -> Callable[[], Any]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    return closure


def _methods(problem: _Problem) -> dict[str, tuple[tuple[float, ...], Callable[[float], Build]]]:
    """Rates, and optimisers by rate."""
    heavy = partial(torch.optim.SGD, momentum=0.9)
    hybrid = partial(FOSI, largest=LARGE, every=STEPS, warmup=WARMUP, alpha=problem.alpha)
    slow, fast = (1.0, 3.0), (1e-2, 3e-2) if problem.dtype is torch.float32 else (0.3, 0.9)
    return {
        "heavy ball": (slow, lambda rate: lambda net: heavy(net.parameters(), lr=rate)),
        "FOSI, heavy ball": (slow, lambda rate: lambda net: hybrid(net.parameters(), base=heavy, lr=rate)),
        "Adam": (fast, lambda rate: lambda net: torch.optim.Adam(net.parameters(), lr=rate)),
        "FOSI, Adam": (fast, lambda rate: lambda net: hybrid(net.parameters(), lr=rate)),
        "KFAC": ((1e-2, 3e-2), lambda rate: lambda net: KFAC(net.parameters(), model=net, lr=rate)),
        "L-BFGS": ((1.0,), lambda rate: lambda net: LBFGS(net.parameters(), lr=rate, full_batch=True)),
    }


def _race(report: Report, problem: _Problem) -> dict[str, _Curve]:
    """Rows of one problem; curves of the first seed by method."""
    runs: dict[str, list[_Curve]] = {}
    for method, (rates, make) in _methods(problem).items():
        if len(rates) > 1:
            rate, runs[method] = _best_runs(problem, make, rates)
        else:
            rate, runs[method] = rates[0], [_train(problem, make(rates[0]), seed) for seed in SEEDS]
        lowest = median(min(curve.losses) for curve in runs[method])
        report.note(f"{problem.name}: {method} at rate {rate:.3g}, median lowest loss {lowest:.6g}")
    for base in ("heavy ball", "Adam"):
        targets = [min(curve.losses) for curve in runs[base]]
        for method in (f"FOSI, {base}", "L-BFGS", "KFAC"):
            _row(report, problem.name, base, method, runs, targets)
        report.note(_costs(problem.name, base, runs, targets))
    return {method: curves[0] for method, curves in runs.items()}


def _row(
    report: Report, name: str, base: str, method: str, runs: dict[str, list[_Curve]], targets: list[float]
) -> None:
    theirs, ours = (
        [curve.seconds_to(target) for curve, target in zip(runs[who], targets, strict=True)] for who in (base, method)
    )
    missed = sum(map(math.isinf, ours))
    bounded = method.startswith("FOSI")
    report.row(
        quantity=f"{name}: processor time to {base}'s lowest loss [s], {method} (baseline: {base})",
        paper="<= 0.85 x baseline" if bounded else None,
        baseline=median(theirs),
        ours=median(ours) if math.isfinite(median(ours)) else f"not reached in {missed} of {len(ours)}",
        holds=median(ours) <= 0.85 * median(theirs) if bounded else None,
    )


def _costs(name: str, base: str, runs: dict[str, list[_Curve]], targets: list[float]) -> str:
    """What FOSI saves in steps, and what each of its steps and the estimate cost."""
    hybrid = runs[f"FOSI, {base}"]
    fewer, all_steps = (
        median(curve.steps_to(target) for curve, target in zip(curves, targets, strict=True))
        for curves in (hybrid, runs[base])
    )
    usual, ours = (
        median(d for curve in curves for d in curve.durations[WARMUP + 1 :]) for curves in (runs[base], hybrid)
    )
    estimate = median(max(curve.durations) for curve in hybrid)
    reaches = f"needs {fewer:g} steps" if math.isfinite(fewer) else "does not get there in most runs"
    return (
        f"{name}: to {base}'s lowest loss FOSI on it {reaches} where {base} needs {all_steps:g}; a step after the "
        f"warm-up costs {ours / usual:.2f} of {base}'s, and the one with Lanczos as much as {estimate / usual:.0f}"
    )


def _best_runs(
    problem: _Problem, make: Callable[[float], Build], rates: tuple[float, ...]
) -> tuple[float, list[_Curve]]:
    """Rate whose worst last loss is lowest, and its runs; the grid grows while that is at its end."""
    found: dict[float, tuple[float, list[_Curve]]] = {}
    wanted = list(rates)
    while wanted:
        for rate in wanted:
            least = min((worst for worst, _ in found.values()), default=math.inf)
            curves: list[_Curve] = []
            for seed in SEEDS:
                curves.append(_train(problem, make(rate), seed))
                if curves[-1].losses[-1] > least:
                    break  # other seeds cannot make it the best
            found[rate] = max(curve.losses[-1] for curve in curves), curves
        best = min(found, key=lambda rate: found[rate][0])
        wanted = [best / 3] if best == min(found) else [best * 3] if best == max(found) else []
    return best, found[best][1]


def _figure(curves: dict[str, list[float]], races: dict[str, dict[str, _Curve]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(races))
    for method, losses in curves.items():
        first.semilogy([loss / losses[0] for loss in losses], label=method)
    first.set(xlabel="iteration", ylabel="loss / first loss", title="quadratic, ten eigenvalues apart", xscale="log")
    first.legend(fontsize=8)
    for axes, (name, runs) in zip(others, races.items(), strict=True):
        for method, curve in runs.items():
            axes.loglog(curve.seconds[1 : len(curve.losses)], curve.losses[1:], label=method, linewidth=1)
        axes.set(xlabel="processor time / s", ylabel="loss on all samples", title=name)
        axes.legend(fontsize=8)
    return figure
