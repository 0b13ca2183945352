"""S067: MultiAdam beside Adam and two reweightings on a Poisson problem whose residual swamps its boundary.

Three seeds are trained as one stack of networks: Adam's rule acts entry by entry, and each network has its own points
and, where losses are reweighted, its own weight, so that the stack is three trainings in a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from polyad.claims.timing import one_thread
from polyad.optim.multiscale import MultiAdam
from polyad.pde.pinn import PINNProblem, poisson_1d, poisson_2d, poisson_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S067",
    "slug": "multiscale_adam",
    "title": "MultiAdam: Parameter-wise Scale-invariant Optimizer for Multiscale Training of Physics-informed Neural "
    "Networks",
    "paper": "Yao, Su, Hao, Liu, Su, Zhu, ICML 2023, arXiv:2306.02816",
    "bibtex": """@inproceedings{yao2023multiadam,
  title = {{MultiAdam}: Parameter-wise scale-invariant optimizer for multiscale training of physics-informed neural
    networks},
  author = {Yao, Jiachen and Su, Chang and Hao, Zhongkai and Liu, Songming and Su, Hang and Zhu, Jun},
  booktitle = {International Conference on Machine Learning},
  year = {2023},
  eprint = {2306.02816},
  archivePrefix = {arXiv}
}""",
    "package": "optim",
    "module": "multiscale",
    "api": ["MultiAdam"],
    "tags": ["optimisers", "physics-informed networks", "differential equations", "multiscale"],
    "claim": "Adam with running means for each loss trains physics-informed networks where the losses differ by orders "
    "of magnitude, because no loss can swamp another.",
    "minutes": 5,
    "extras": [],
    "published": {"betas": "(0.99, 0.99)", "gain": "1-2 orders of magnitude"},
}  # fmt: skip

SEEDS = (0, 1, 2)
SMALL, LARGE = 0.125, 8.0
ITERATIONS = {SMALL: 5000, LARGE: 1500}
"""Steps of each side."""
INSIDE, OUTSIDE = 128, 48
ADAM = ("Adam, 0.001", "Adam, 0.003", "Adam, 0.01")
"""With its learning rate; on the small side the best counts."""
REWEIGHTED = {"annealed": "max over mean gradient", "balanced": "ratio of gradient norms"}
METHODS = {SMALL: ("MultiAdam", *ADAM, *REWEIGHTED), LARGE: ("MultiAdam", ADAM[0])}
RATE = 1e-3
KEEP, EVERY = 0.9, 10
"""Decay of the weight of a reweighted loss, and steps between its updates."""


def run(report: Report) -> None:
    """Fill the report; all seeds of a method and a side at once."""
    total, done = sum(ITERATIONS[side] * len(METHODS[side]) for side in ITERATIONS), 0

    def tick() -> None:
        nonlocal done
        done += 100
        report.progress(done, total)

    curves: dict[float, dict[str, list[list[float]]]] = {}
    with one_thread():
        for side, iterations in ITERATIONS.items():
            curves[side] = {name: _train(name, poisson_2d(side), iterations, tick) for name in METHODS[side]}
    final = {side: {name: errors[-1] for name, errors in found.items()} for side, found in curves.items()}
    middle = {name: median(errors) for name, errors in final[SMALL].items()}
    best = min(ADAM, key=lambda name: middle[name])
    report.row(
        quantity=f"relative L2 error, side {SMALL:g} (baseline: Adam, equal weights, best of {len(ADAM)} rates)",
        paper="<= 0.3 x baseline",
        baseline=middle[best],
        ours=middle["MultiAdam"],
        holds=middle["MultiAdam"] <= 0.3 * middle[best],
    )
    report.row(
        quantity=f"relative L2 error, side {SMALL:g} (baseline: Adam at MultiAdam's rate)",
        paper="<= 0.3 x baseline",
        baseline=middle[ADAM[0]],
        ours=middle["MultiAdam"],
        holds=middle["MultiAdam"] <= 0.3 * middle[ADAM[0]],
    )
    for name, words in REWEIGHTED.items():
        report.row(
            quantity=f"relative L2 error, side {SMALL:g} (baseline: Adam, reweighted by {words})",
            paper="<= 0.5 x baseline",
            baseline=middle[name],
            ours=middle["MultiAdam"],
            holds=middle["MultiAdam"] <= 0.5 * middle[name],
        )
    report.row(
        quantity=f"relative L2 error, side {LARGE:g} after {ITERATIONS[LARGE]} steps (baseline: Adam)",
        baseline=median(final[LARGE][ADAM[0]]),
        ours=median(final[LARGE]["MultiAdam"]),
    )
    for side, found in final.items():
        spread = "; ".join(f"{name} {', '.join(f'{e:.3g}' for e in errors)}" for name, errors in found.items())
        report.note(f"side {side:g}, errors of seeds {SEEDS}: {spread}")
    _bound_rows(report)
    order = sorted(middle, key=lambda name: middle[name])
    report.note(f"side {SMALL:g}, best first by median: {'; '.join(f'{name} {middle[name]:.3g}' for name in order)}")
    if middle["balanced"] < middle["MultiAdam"]:
        report.note(
            "weights by the ratio of the gradients' lengths end "
            f"{middle['MultiAdam'] / middle['balanced']:.1f} times lower than MultiAdam: where one weight balances the "
            "losses, that is the better choice on this problem"
        )
    report.note(
        "4 layers of 50 tanh units on raw coordinates, 128 + 48 new points each step; 'annealed' weighs the boundary "
        "by max |grad residual| / mean |grad boundary| (Wang, Teng, Perdikaris 2021), 'balanced' by the ratio of the "
        "gradients' lengths, both as running means"
    )
    report.note(
        f"MultiAdam and the reweighted ones at a rate of {RATE} alone (on seeds that do not race, 0.003 served "
        "MultiAdam no better after 1500 steps, 0.56 against 0.52); three seeds as one stack; an earlier run of 1500 "
        "steps, with Adam at 0.001 and 0.01 only, ended at 0.42 for MultiAdam, 0.62 for Adam, 1.0 annealed, 0.031 "
        "balanced; the one-dimensional problem is left out"
    )
    report.figure(_figure(curves))


def _bound_rows(report: Report) -> None:
    """What a residual of one size hides: the first eigenfunction, on intervals of growing length."""
    for length in (1.0, 8.0, 64.0):
        problem = poisson_1d(length)
        height = 0.1 * length**2 / torch.pi**2
        found = poisson_errors(partial(_lifted, problem, 1 + height), problem)
        report.row(
            quantity=f"error where the residual loss is {found.residual_loss:.2g}, length {length:g} (baseline: bound)",
            paper="grows with the domain",
            baseline=found.bound,
            ours=found.error,
            holds=found.error <= found.bound * (1 + 1e-9),
        )


def _lifted(problem: PINNProblem, factor: float, points: Tensor) -> Tensor:
    return factor * problem.exact(points)


class _Stack(nn.Module):
    """One tanh network a seed, stacked; points (seeds, n, 2) or (n, 2)."""

    def __init__(self, seeds: Sequence[int], *, width: int = 50, depth: int = 4) -> None:
        super().__init__()
        sizes = [2, *[width] * depth, 1]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        for inputs, outputs in pairwise(sizes):
            made = [nn.init.xavier_normal_(torch.empty(inputs, outputs), generator=g) for g in generators]
            self.weights.append(torch.stack(made))
            self.biases.append(torch.zeros(len(seeds), 1, outputs))

    def forward(self, points: Tensor) -> Tensor:
        """Values (seeds, n)."""
        x = points
        last = len(self.weights) - 1
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight + bias
            x = torch.tanh(x) if k < last else x
        return x[..., 0]


def _train(method: str, problem: PINNProblem, iterations: int, tick: Callable[[], None]) -> list[list[float]]:
    """Relative errors of all seeds after every hundred steps."""
    model = _Stack(SEEDS)
    generators = [torch.Generator().manual_seed(1000 + seed) for seed in SEEDS]
    make = MultiAdam if method == "MultiAdam" else torch.optim.Adam
    rate = float(method.split()[1]) if method in ADAM else RATE
    optimizer: torch.optim.Optimizer = make(model.parameters(), lr=rate)
    weight = torch.ones(len(SEEDS))
    errors = []
    for step in range(iterations):
        inside = torch.stack([problem.interior(INSIDE, g) for g in generators])
        outside = torch.stack([problem.boundary(OUTSIDE, g) for g in generators])
        losses = problem.losses(model, inside, outside)
        if isinstance(optimizer, MultiAdam):
            totals = [loss.sum() for loss in losses]
            optimizer.step(partial(list, totals))
        else:
            if method in REWEIGHTED and step % EVERY == 0:
                weight = KEEP * weight + (1 - KEEP) * _ratio(method, model, losses)
            optimizer.zero_grad()
            (losses[0] + weight * losses[1]).sum().backward()
            optimizer.step()
        if step % 100 == 99:
            errors.append(problem.relative_error(model).tolist())
            tick()
    return errors


def _ratio(method: str, model: nn.Module, losses: Sequence[Tensor]) -> Tensor:
    """Weight of the boundary loss of every seed."""
    flat = []
    for loss in losses:
        found = torch.autograd.grad(loss.sum(), list(model.parameters()), retain_graph=True, materialize_grads=True)
        flat.append(torch.cat([g.flatten(1) for g in found], 1))
    residual, boundary = flat
    if method == "annealed":
        return residual.abs().amax(1) / boundary.abs().mean(1)
    return residual.norm(dim=1) / boundary.norm(dim=1)


def _figure(curves: dict[float, dict[str, list[list[float]]]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (side, found) in zip(figure.subplots(1, 2), curves.items(), strict=True):
        for name, errors in found.items():
            table = torch.tensor(errors)
            steps = 100 * torch.arange(1, len(table) + 1)
            (line,) = axes.semilogy(steps, table.median(1).values, label=name)
            axes.fill_between(steps, table.amin(1), table.amax(1), alpha=0.2, color=line.get_color())
        axes.set(xlabel="step", ylabel="relative L2 error", title=f"-lap u = f, square of side {side:g}")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(METHODS[SMALL]))
    return figure
