"""S146: MEHA beside unrolled differentiation where labels are cleaned, and beside implicit differentiation on sines.

Cleaning: 500 digits of which 30 % have a wrong label, 500 clean ones for the upper level, a network of one hidden
layer. Both methods are timed until F1 of detection and accuracy on the upper level's data are within a point of where
unrolled differentiation ends. Settings come from grids on a split that does not race.

Sines: a lower level with a valley every 2 pi, starts drawn uniformly from [-3, 3].
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple, final

import torch
from torch import Tensor

from polyad.claims.timing import one_thread
from polyad.optim.bilevel import MEHA, implicit_gradient, unrolled_gradient
from polyad.problems.bilevel import Cleaning, hyper_cleaning, sine_valleys

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S146",
    "slug": "moreau_bilevel",
    "title": "Moreau Envelope for Nonconvex Bi-Level Optimization: A Single-loop and Hessian-free Solution Strategy",
    "paper": "Liu, Liu, Yao, Zeng, Zhang, ICML 2024, arXiv:2405.09927",
    "bibtex": """@inproceedings{liu2024moreau,
  title = {{Moreau} envelope for nonconvex bi-level optimization: A single-loop and {Hessian}-free solution strategy},
  author = {Liu, Risheng and Liu, Zhu and Yao, Wei and Zeng, Shangzhi and Zhang, Jin},
  booktitle = {International Conference on Machine Learning},
  year = {2024},
  eprint = {2405.09927},
  archivePrefix = {arXiv}
}""",
    "package": "optim",
    "module": "bilevel",
    "api": ["MEHA", "Residual", "moreau_envelope", "unrolled_gradient", "implicit_gradient", "value_function_direction",
            "grid_search", "ElasticNet"],
    "tags": ["optimisers", "bilevel optimisation", "hyper-parameters", "noisy labels"],
    "claim": "One loop of first derivatives solves bilevel problems whose lower level is not convex, in less time and "
    "memory than differentiating through inner steps.",
    "minutes": 3,
    "extras": ["scikit-learn"],
    "published": {},
}  # fmt: skip

TUNING_SEED, SEEDS = 100, (0, 1, 2)
INNER_RATE = 0.5
"""Of the lower level, the same for both."""

UNROLLED = {"steps": (5, 10, 20, 40), "rate": (0.1, 0.3, 1.0)}
"""Inner steps; rate of Adam on x."""

OURS = {"alpha": (10.0, 30.0, 100.0), "c0": (1.0, 3.0), "order": ("together", "upper")}
"""With gamma = 3 and p = 0.25."""

OUTER_STEPS, OUR_STEPS = 50, 400
POINT = 0.01


@final
class Trace(NamedTuple):
    """After every step: process time in steps, F1, accuracy on the upper level's data; at the end, on other data."""

    seconds: list[float]
    f1: list[float]
    accuracy: list[float]
    held_out: float
    saved_bytes: int

    def time_to(self, f1: float, accuracy: float) -> float:
        """Seconds until both are reached; twice the whole time where they never are."""
        for second, one, other in zip(self.seconds, self.f1, self.accuracy, strict=True):
            if one >= f1 and other >= accuracy:
                return second
        return 2 * self.seconds[-1]


@final
class Digits(NamedTuple):
    """A task and what scores are taken on."""

    task: Cleaning
    validation: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]

    def accuracy(self, y: list[Tensor], data: tuple[Tensor, Tensor]) -> float:
        """Of a network's weights."""
        with torch.no_grad():
            return float((Cleaning.logits(y, data[0]).argmax(1) == data[1]).float().mean())


def run(report: Report) -> None:
    """Fill the report."""
    with one_thread():
        starts = _sines(report)
        _cleaning(report, starts)


def _cleaning(report: Report, starts: dict[str, Tensor]) -> None:
    tuning = _digits(TUNING_SEED)
    unrolled_options = list(_products(UNROLLED))
    our_options = list(_products(OURS))
    total, done = len(unrolled_options) + len(our_options) + 2 * len(SEEDS), 0

    def tick() -> None:
        nonlocal done
        done += 1
        report.progress(done, total)

    found = []
    for options in unrolled_options:
        found.append((unrolled(tuning, **options), options))
        tick()
    best = max(found, key=lambda one: one[0].f1[-1] + one[0].accuracy[-1])[0]
    target = best.f1[-1] - POINT, best.accuracy[-1] - POINT
    unrolled_choice = min(found, key=lambda one: one[0].time_to(*target))[1]
    ours_found = []
    for options in our_options:
        ours_found.append((ours(tuning, **options), options))
        tick()
    our_choice = min(ours_found, key=lambda one: one[0].time_to(*target))[1]
    report.note(f"chosen by the time to the target on the tuning split: unrolled {unrolled_choice}, ours {our_choice}")
    traces: dict[str, list[Trace]] = {"unrolled": [], "ours": []}
    for seed in SEEDS:
        data = _digits(seed)
        traces["unrolled"].append(unrolled(data, **unrolled_choice))
        tick()
        traces["ours"].append(ours(data, **our_choice))
        tick()
    _rows(report, traces)
    report.figure(_figure(traces, starts))


def _rows(report: Report, traces: dict[str, list[Trace]]) -> None:
    pairs = list(zip(traces["unrolled"], traces["ours"], strict=True))
    for name, score in (("F1 of detection", "f1"), ("accuracy on the upper level's data", "accuracy")):
        before, now = (fmean(getattr(pair[side], score)[-1] for pair in pairs) for side in (0, 1))
        report.row(
            quantity=f"cleaning, at the end: {name} (baseline: unrolled)",
            paper="within a point",
            baseline=before,
            ours=now,
            holds=now >= before - POINT,
        )
    report.row(
        quantity="cleaning, at the end: accuracy on 797 other digits (baseline: unrolled)",
        baseline=fmean(pair[0].held_out for pair in pairs),
        ours=fmean(pair[1].held_out for pair in pairs),
    )
    times = [fmean(pair[side].time_to(*_target(pair[0])) for pair in pairs) for side in (0, 1)]
    report.row(
        quantity="cleaning: process time to within a point of where unrolled ends [s] (baseline: unrolled itself)",
        paper="<= 0.5 x baseline",
        baseline=times[0],
        ours=times[1],
        holds=times[1] <= 0.5 * times[0],
    )
    whole = fmean(pair[0].seconds[-1] for pair in pairs)
    report.row(
        quantity=f"cleaning: the same [s] (baseline: all {OUTER_STEPS} steps of unrolled)",
        baseline=whole,
        ours=times[1],
    )
    saved = [max(pair[side].saved_bytes for pair in pairs) for side in (0, 1)]
    report.row(
        quantity="cleaning: most bytes that graphs hold at once (baseline: unrolled)",
        paper="<= 0.3 x baseline",
        baseline=saved[0],
        ours=saved[1],
        holds=saved[1] <= 0.3 * saved[0],
    )
    report.note(
        "time counts steps only, on one thread; a run that never reaches the target counts twice its whole time; the "
        "target is both scores within a point; means over 3 splits"
    )
    report.note(
        "memory: the graphs of unrolled grow with its inner steps, of which the setting that is fastest to the target has "
        "only 5; the rows compare with that setting, not with the one that scored best on the tuning split"
    )


def _target(trace: Trace) -> tuple[float, float]:
    return trace.f1[-1] - POINT, trace.accuracy[-1] - POINT


def unrolled(data: Digits, *, steps: int, rate: float) -> Trace:
    """Adam on x along gradients through the inner steps, which go on from where the last ended."""
    problem = data.task.problem
    x, _ = problem.start()
    y = problem.start_lower
    adam = torch.optim.Adam(x, lr=rate)

    def step() -> list[Tensor]:
        nonlocal y
        found = unrolled_gradient(problem.upper, problem.lower, x, y, steps=steps, lr=INNER_RATE)
        x[0].grad, y = found.gradient[0], found.lower_variables
        adam.step()
        return y

    return _trace(data, list(x), step, OUTER_STEPS)


def ours(data: Digits, *, alpha: float, c0: float, order: str) -> Trace:
    """MEHA."""
    problem = data.task.problem
    x, y = problem.start()
    optimizer = MEHA(x, y, gamma=3.0, eta=INNER_RATE, alpha=alpha, beta=INNER_RATE, c0=c0, p=0.25, order=order)

    def step() -> list[Tensor]:
        optimizer.step(problem.upper, problem.lower)
        return list(y)

    return _trace(data, list(x), step, OUR_STEPS)


def _trace(data: Digits, x: list[Tensor], step: Callable[[], list[Tensor]], steps: int) -> Trace:
    seconds, f1, accuracy, spent = [], [], [], 0.0
    for _ in range(steps):
        start = time.process_time()
        y = step()
        spent += time.process_time() - start
        seconds.append(spent)
        f1.append(data.task.detection_f1(x))
        accuracy.append(data.accuracy(y, data.validation))
    with _saved_tensors() as peak:  # one more step, for its memory alone
        step()
    return Trace(seconds, f1, accuracy, data.accuracy(y, data.held_out), peak[0])


@contextmanager
def _saved_tensors() -> Iterator[list[int]]:
    """The most bytes, in the one entry of the list, that graphs hold at once; memory that is shared counts once."""
    peak, held, counts = [0], 0, dict[int, int]()

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal held
            self.tensor, storage = tensor, tensor.untyped_storage()
            self.place, self.bytes = storage.data_ptr(), storage.nbytes()
            counts[self.place] = counts.get(self.place, 0) + 1
            held += self.bytes if counts[self.place] == 1 else 0
            peak[0] = max(peak[0], held)

        def __del__(self) -> None:
            nonlocal held
            counts[self.place] -= 1
            held -= self.bytes if counts[self.place] == 0 else 0

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        yield peak


def _sines(report: Report) -> dict[str, Tensor]:
    """Counts of starts that end near the solution; errors by method."""
    problem, count = sine_valleys(10), 20
    start = 6 * torch.rand(count, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 3
    x, y = start[:, :1], start[:, 1:]
    errors: dict[str, Tensor] = {}
    for p in (0.25, 0.49):
        variables = [torch.nn.Parameter(x.clone())], [torch.nn.Parameter(y.clone())]
        optimizer = MEHA(*variables, gamma=1.0, eta=0.5, alpha=0.02, beta=0.1, c0=1.0, p=p)
        for _ in range(20_000):
            optimizer.step(problem.upper, problem.lower)  # starts do not meet: all in one
        errors[f"MEHA, p = {p}"] = (variables[0][0].detach() - problem.solution_upper[0]).abs().flatten()
    tried: dict[float, Tensor] = {}
    for rate in (0.01, 0.03, 0.06):
        ends = []
        for number in range(count):
            a, b = [x[number].clone()], [y[number].clone()]
            for _ in range(60):
                found = implicit_gradient(problem.upper, problem.lower, a, b, steps=20, lr=0.5, cg_steps=10)
                a, b = [a[0] - rate * found.gradient[0]], found.lower_variables
            ends.append(a[0])
        tried[rate] = (torch.cat(ends) - problem.solution_upper[0]).abs()
    best = max(tried, key=lambda rate: (_near(tried[rate]), -float(tried[rate].median())))
    errors["implicit differentiation"] = tried[best]
    for name in ("MEHA, p = 0.25", "MEHA, p = 0.49"):
        ours, theirs = _near(errors[name]), _near(tried[best])
        report.row(
            quantity=f"sines: of {count} starts those that end with |x - x*| < 0.1, {name} (baseline: implicit)",
            paper=">= 1.5 x baseline",
            baseline=theirs,
            ours=ours,
            holds=ours >= 1.5 * theirs and ours > 0,
        )
    report.note(
        "sines: 20,000 steps of MEHA; implicit differentiation with 20 inner steps, 10 of conjugate gradients and 60 "
        f"outer steps, at the best rate of three ({best}), after which it stands still: counts "
        f"{ {rate: _near(error) for rate, error in tried.items()} }"
    )
    return errors


def _near(errors: Tensor) -> int:
    return int((errors < 0.1).sum())


def _digits(seed: int) -> Digits:
    """Split and spoilt by the seed."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = torch.randperm(len(found.data), generator=torch.Generator().manual_seed(seed))
    features = torch.tensor(found.data, dtype=torch.float32)[order] / 16
    labels = torch.tensor(found.target)[order]
    parts = list(zip(features.split([500, 500, 797]), labels.split([500, 500, 797]), strict=True))
    return Digits(hyper_cleaning(*parts[0], *parts[1], flipped=0.3, seed=seed), parts[1], parts[2])


def _products(grid: dict[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _figure(traces: dict[str, list[Trace]], errors: dict[str, Tensor]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for number, (name, found) in enumerate(traces.items()):
        for seed, trace in enumerate(found):
            label = name if seed == 0 else None
            left.plot(trace.seconds, trace.f1, f"C{number}", linewidth=0.9, label=label)
            middle.plot(trace.seconds, trace.accuracy, f"C{number}", linewidth=0.9, label=label)
    left.set(xlabel="process time [s]", ylabel="F1 of wrong labels", title="cleaning, 3 splits")
    middle.set(xlabel="process time [s]", ylabel="accuracy, upper level's data", title="cleaning, 3 splits")
    left.legend()
    for name, error in errors.items():
        right.plot(range(1, len(error) + 1), error.sort().values.clamp_min(1e-4), "o-", markersize=3, label=name)
    right.axhline(0.1, color="grey", linewidth=0.8)
    right.set(yscale="log", xlabel="start, by its error", ylabel="|x - x*|", title="sines")
    right.legend(fontsize=8)
    return figure
