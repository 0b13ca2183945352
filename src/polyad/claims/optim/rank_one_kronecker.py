"""S068: rank-one factor updates beside dense inverses: time, bytes, and steps to a loss.

KFAC here has second moments of the same layers in place of two vectors, inverted with damping every 50 steps, and the
same LAMB behind it. Every method gets its learning rate, and threshold or damping, from a grid on a seed that does not
race.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor, nn

from polyad.optim.base import GradientOptimizer
from polyad.optim.curvature.kronecker import KroneckerCollector
from polyad.optim.kronecker import MKOR, application_flops, communication_bytes, factor_update_flops, updated_inverse
from polyad.optim.kronecker.base_updates import base_update
from polyad.optim.kronecker.shampoo import graft
from polyad.problems.glyphs import glyphs
from polyad.problems.text import CharacterTransformer, encoded_documentation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S068",
    "slug": "rank_one_kronecker",
    "title": "MKOR: Momentum-Enabled Kronecker-Factor-Based Optimizer Using Rank-1 Updates",
    "paper": "Mozaffari, Li, Zhang, Mehri Dehnavi, NeurIPS 2023, arXiv:2306.01685",
    "bibtex": """@inproceedings{mozaffari2023mkor,
  title = {{MKOR}: Momentum-enabled {Kronecker}-factor-based optimizer using rank-1 updates},
  author = {Mozaffari, Mohammad and Li, Sikan and Zhang, Zhao and Mehri Dehnavi, Maryam},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2023},
  eprint = {2306.01685},
  archivePrefix = {arXiv}
}""",
    "package": "optim",
    "module": "kronecker",
    "api": [
        "MKOR", "MeanRecorder", "Means", "averaged", "updated_inverse", "communication_bytes", "factor_update_flops",
        "application_flops",
    ],
    "tags": ["optimisers", "preconditioning", "natural gradient", "distributed training"],
    "claim": "Inverse Kronecker factors follow the data by rank-one updates at quadratic cost and vectors of traffic, "
    "so that they can be renewed often.",
    "minutes": 5,
    "extras": [],
    "published": {"factor update": "O(d^2)", "communication": "O(d)"},
}  # fmt: skip

RATES = (0.003, 0.01, 0.03)
OPTIONS: dict[str, tuple[float, ...]] = {"LAMB": (0.0,), "MKOR": (2.0, 100.0), "KFAC": (0.003, 0.03)}
"""Beside rates: nothing, the stabiliser's threshold, the damping."""

TUNING_SEED, SEEDS = 100, (0, 1, 2)
METHODS = tuple(OPTIONS)
_LAMB = {"base": "lamb", "betas": (0.9, 0.999), "momentum": 0.0, "adam_eps": 1e-8, "weight_decay": 0.0}


@final
class LAMB(GradientOptimizer):
    """The base method alone."""

    def __init__(self, params: Any, *, lr: float) -> None:
        super().__init__(params, _LAMB | {"lr": lr})

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """A step along the gradients."""
        base_update(self.state, group, parameters, [p.grad for p in parameters if p.grad is not None])


@final
class KFAC(GradientOptimizer):
    """Kronecker-factored natural gradient on LAMB, factors renewed and inverted every `every` steps."""

    def __init__(self, params: Any, *, model: nn.Module, lr: float, every: int = 50, damping: float = 0.03) -> None:
        super().__init__(params, _LAMB | {"lr": lr})
        self.collector = KroneckerCollector(model)
        self.every, self.damping, self.steps = every, damping, 0
        self.weights = dict(model.named_parameters())
        self.inverses: dict[str, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Renew the inverses where it is time, precondition, and step."""
        if self.steps % self.every == 0:
            for name, factors in self.collector.factors().items():
                if factors.layer.kind == "dense":
                    assert factors.input is not None
                    self.inverses[name] = (self._inverse(factors.output), self._inverse(factors.input))
        self.collector.reset()
        self.steps += 1
        self.collector.enabled = self.steps % self.every == 0
        directions = {p: p.grad.clone() for p in parameters if p.grad is not None}
        for name, (left, right) in self.inverses.items():
            layer = self.collector.layers[name]
            weight = directions[self.weights[layer.weight]].flatten(1)[slice(*(layer.rows or (None,)))]
            gradient, bias = weight, None
            if layer.bias is not None:
                bias = directions[self.weights[layer.bias]][slice(*(layer.rows or (None,)))]
                gradient = torch.cat([weight, bias[:, None]], 1)
            direction = graft(left @ gradient @ right, gradient)
            weight.copy_(direction[:, : weight.shape[1]])
            if bias is not None:
                bias.copy_(direction[:, -1])
        base_update(self.state, group, parameters, [directions[p] for p in parameters])

    def _inverse(self, factor: Tensor) -> Tensor:
        ridge = (self.damping**0.5) * factor.diagonal().mean().clamp_min(1e-12)
        return torch.cholesky_inverse(torch.linalg.cholesky(factor + ridge * torch.eye(len(factor))))


def run(report: Report) -> None:
    """Fill the report."""
    total = 1 + 2 * (sum(len(values) for values in OPTIONS.values()) * len(RATES) + len(METHODS) * len(SEEDS))
    _factor_update(report)
    report.progress(1, total)
    layers = [(1024, 1024)]
    ours, dense = (communication_bytes(method, layers) for method in ("mkor", "kfac"))
    report.row(
        quantity="bytes sent for an update, 1024 x 1024 layer (baseline: KFAC)",
        paper="<= 1 %",
        baseline=dense,
        ours=ours,
        holds=ours <= 0.01 * dense,
    )
    curves = {}
    done = 1

    def tick() -> None:
        nonlocal done
        done += 1
        report.progress(done, total)

    for name, problem in (("glyphs", _glyph_problem), ("text", _text_problem)):
        curves[name] = _race(report, name, problem, tick)
    report.note(
        "drawn digits, not scikit-learn's; KFAC renews factors and inverses every 50 steps, MKOR at each; pairs are "
        "rate and threshold (MKOR) or damping (KFAC), from a grid; applying the factors costs both the same"
    )
    report.note(
        "second run: the first, before the update was made faster, gave 0.95 and 1.22 on text (steps, time) and 0.94 "
        "of KFAC's time on glyphs; targets, grids and MKOR's interval were set on the tuning seed. Why text gains "
        "nothing is not shown; its layers stand behind layer norms, whose mean is zero, and one mean vector is what "
        "MKOR sees"
    )
    report.figure(_figure(curves))


def _factor_update(report: Report) -> None:
    """Process time of one factor of 2048, interleaved."""
    order = 2048
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(order, generator=generator)
    inverse = torch.eye(order)
    factor = inverse + torch.outer(vector, vector)
    times: dict[str, list[float]] = {"ours": [], "Cholesky": [], "eigh": []}
    work: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: updated_inverse(inverse, vector),
        "Cholesky": lambda: torch.cholesky_inverse(torch.linalg.cholesky(factor)),
        "eigh": lambda: torch.linalg.eigh(factor).eigenvectors,
    }
    for name in ("ours", "Cholesky", "ours", "Cholesky", "ours", "Cholesky", "ours", "eigh"):
        start = time.process_time()
        work[name]()
        times[name].append(time.process_time() - start)
    ours = median(times["ours"])
    for name in ("Cholesky", "eigh"):
        report.row(
            quantity=f"factor update at 2048 [ms] (baseline: inverse by {name})",
            paper="<= 0.1 x baseline",
            baseline=1e3 * median(times[name]),
            ours=1e3 * ours,
            holds=ours <= 0.1 * median(times[name]),
        )
    shapes = [(order, order)]
    report.row(
        quantity="operations of that update [1e9] (baseline: KFAC's inverses)",
        baseline=factor_update_flops("kfac", shapes) / 1e9,
        ours=factor_update_flops("mkor", shapes) / 1e9,
    )
    report.row(
        quantity="operations of applying the factors [1e9], the same for both",
        baseline=application_flops("kfac", shapes) / 1e9,
        ours=application_flops("mkor", shapes) / 1e9,
    )


Problem = tuple[nn.Module, Iterator[tuple[Tensor, Tensor]], int, float]
"""Model, batches, steps, and the loss to reach (running mean with decay 0.9)."""


def _glyph_problem(seed: int) -> Problem:
    images, labels = glyphs(6_000, classes=10, size=16, seed=1, noise=0.15, turn=0.5, stretch=0.25)
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            chosen = torch.randint(len(images), (128,), generator=generator)
            yield images[chosen], labels[chosen]

    return model, batches(), 500, 0.3


def _text_problem(seed: int) -> Problem:
    """Documentation of the standard library, character by character."""
    text = encoded_documentation()
    torch.manual_seed(seed)
    model = CharacterTransformer(len(text.characters), context=32)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield text.draw(16, 32, generator=generator)

    return model, batches(), 250, 1.8


def _optimizer(name: str, model: nn.Module, rate: float, option: float) -> torch.optim.Optimizer:
    if name == "KFAC":
        return KFAC(model.parameters(), model=model, lr=rate, damping=option)
    if name == "MKOR":
        return MKOR(model.parameters(), model=model, lr=rate, base="lamb", update_every=1, threshold=option)
    return LAMB(model.parameters(), lr=rate)


def _train(name: str, rate: float, option: float, problem: Problem) -> tuple[list[float], list[float]]:
    """Running mean of the loss, and process time, after every step."""
    model, batches, steps, _ = problem
    optimizer = _optimizer(name, model, rate, option)
    smooth, losses, times = None, [], []
    start = time.process_time()
    for _ in range(steps):
        inputs, targets = next(batches)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        value = float(loss.detach())
        smooth = value if smooth is None else 0.9 * smooth + 0.1 * value
        losses.append(smooth)
        times.append(time.process_time() - start)
    return losses, times


def _race(
    report: Report, name: str, make: Callable[[int], Problem], tick: Callable[[], None]
) -> dict[str, list[float]]:
    """Rows of one problem; mean loss curves by method."""
    choices: dict[str, tuple[float, float]] = {}
    reached, seconds, curves = {}, {}, {}
    for method in METHODS:
        found = {}
        for choice in itertools.product(RATES, OPTIONS[method]):
            problem = make(TUNING_SEED)
            losses, _ = _train(method, *choice, problem)
            found[choice] = (_steps_to(problem[3], losses), losses[-1])
            tick()
        choices[method] = min(found, key=lambda choice: found[choice])
    for method in METHODS:
        runs = []
        for seed in SEEDS:
            problem = make(seed)
            runs.append(_train(method, *choices[method], problem))
            tick()
        target, steps = problem[3], problem[2]
        counts = [_steps_to(target, losses) for losses, _ in runs]
        reached[method] = median(counts)
        seconds[method] = median(times[count - 1] for count, (_, times) in zip(counts, runs, strict=True))
        curves[method] = torch.tensor([losses for losses, _ in runs]).mean(0).tolist()
        report.note(f"{name}: {method} with {choices[method]}, steps to loss {target}: {counts} (at most {steps})")
    report.row(
        quantity=f"{name}: median steps to the set loss (baseline: LAMB)",
        paper="<= 0.9 x baseline",
        baseline=reached["LAMB"],
        ours=reached["MKOR"],
        holds=reached["MKOR"] <= 0.9 * reached["LAMB"],
    )
    report.row(
        quantity=f"{name}: process time to the set loss [s] (baseline: KFAC)",
        paper="<= baseline",
        baseline=seconds["KFAC"],
        ours=seconds["MKOR"],
        holds=seconds["MKOR"] <= seconds["KFAC"],
    )
    return curves


def _steps_to(target: float, losses: list[float]) -> int:
    return next((k + 1 for k, loss in enumerate(losses) if loss <= target), len(losses))


def _figure(curves: dict[str, dict[str, list[float]]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (name, methods) in zip(figure.subplots(1, 2), curves.items(), strict=True):
        for method, losses in methods.items():
            axes.plot(range(1, len(losses) + 1), losses, label=method)
        axes.set(xlabel="step", ylabel="training loss (running mean)", title=name)
        axes.legend()
    return figure
