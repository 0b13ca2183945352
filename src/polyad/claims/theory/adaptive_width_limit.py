"""S042: Adam as the width grows: features that learn or a nonlinear kernel, and rates that transfer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polyad.claims.timing import log_slope, one_thread
from polyad.errors import MissingDependencyError, NumericalWarning
from polyad.theory.width_limits import (
    ABCDParam,
    AdamUpdate,
    TrainingRecord,
    UpdateFunction,
    initial_weights,
    kernel_dynamics,
    mup_limit_shallow,
    preset,
    sign,
    tangent_kernel,
    train,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S042",
    "slug": "adaptive_width_limit",
    "title": "Tensor Programs IVb: Adaptive Optimization in the Infinite-Width Limit",
    "paper": "Yang, Littwin, 2023, arXiv:2308.01814",
    "bibtex": """@misc{yang2023tensor,
  title = {Tensor Programs {IVb}: Adaptive Optimization in the Infinite-Width Limit},
  author = {Yang, Greg and Littwin, Etai},
  year = {2023},
  eprint = {2308.01814},
  archivePrefix = {arXiv}
}""",
    "package": "theory",
    "module": "width_limits",
    "api": [
        "ABCDParam", "preset", "classify", "apply_mup", "coord_check", "adaptive_kernel", "kernel_dynamics",
        "mup_limit_shallow", "TensorProgram",
    ],
    "tags": ["optimisers", "infinite width", "neural tangent kernel", "width transfer"],
    "claim": "Under Adam as under SGD, a wide network either learns features (muP) or follows a kernel (NTP), which is "
    "nonlinear; the best rate is the same at all widths in muP only.",
    "minutes": 2,
    "extras": ["scikit-learn"],
    "published": {},
}  # fmt: skip

TRAINED, WATCHED = 24, 24
STEPS, RATE, SEEDS = 20, 0.02, 10
SHALLOW_WIDTHS, NEURONS = (64, 256, 1024, 4096), 100_000
KERNEL_WIDTHS = (128, 512, 2048)
DEEP_WIDTHS, DEEP_SEEDS = (64, 256, 512), 5
SIGN_WIDTH, SIGN_SEEDS, LINEAR_RATES = 2048, 5, 81
TRANSFER_POINTS, TRANSFER_WIDTHS, TRANSFER_SEEDS, TRANSFER_STEPS = 128, (64, 256, 512), 3, 20
GRIDS = {"mup": range(-8, 2), "ntp": range(-8, 2), "sp": range(-13, -4)}
"""Powers of two that are tried as rates."""

TITLES = {"mup": "muP, Adam", "ntp": "NTP, Adam", "sp": "torch's own rates, Adam"}

Tick = Callable[[], None]


def run(report: Report) -> None:
    """Fill the report."""
    total = len(SHALLOW_WIDTHS) + len(DEEP_WIDTHS) + len(KERNEL_WIDTHS) + 1
    total += len(TRANSFER_WIDTHS) * sum(map(len, GRIDS.values()))
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        report.progress(done, total)

    inputs, targets = _digits(TRAINED, WATCHED)
    with one_thread():
        learning = _feature_learning(report, inputs, targets, tick)
        freezing = _kernel(report, inputs, targets, tick)
        _linear(report, inputs, targets, tick)
        curves = _transfer(report, tick)
    report.note(
        f"threes and eights of the digits, unit vectors, targets -1 and 1, mean of squares on {TRAINED} of them, "
        f"{WATCHED} more watched; full batches, ReLU, {STEPS} steps at eta = {RATE}; in the search for rates "
        f"{TRANSFER_POINTS} digits, {TRANSFER_STEPS} steps, {TRANSFER_SEEDS} seeds, two hidden layers, and rates that "
        "differ by a power of two count as one. Sizes from pilots with widths of at most 256"
    )
    report.figure(_figure(learning, freezing, curves))


def _feature_learning(report: Report, inputs: Tensor, targets: Tensor, tick: Tick) -> dict[str, dict[int, float]]:
    """muP: change of features, and distance from the limit's outputs, one hidden layer; the change of two."""
    limit = mup_limit_shallow(
        inputs, targets, update=AdamUpdate(), learning_rate=RATE, steps=STEPS, samples=NEURONS
    ).outputs
    moved = float(_rms(limit[-1]))
    changes, errors = {}, {}
    for width in SHALLOW_WIDTHS:
        record = _networks(preset("mup", depth=2), width, SEEDS, inputs, targets, AdamUpdate())
        changes[width] = float(_rms(record.changes[-1]))
        errors[width] = float(_rms(record.outputs[-1] - limit[-1])) / moved
        tick()
    deep = {}
    for width in DEEP_WIDTHS:
        deep[width] = float(
            _rms(_networks(preset("mup"), width, DEEP_SEEDS, inputs, targets, AdamUpdate()).changes[-1])
        )
        tick()
    for name, found in (("one hidden layer", changes), ("two hidden layers", deep)):
        slope = log_slope(found.items())
        report.row(
            quantity=f"muP, {name}: exponent of the width in the change of hidden coordinates",
            paper="0 +- 0.1",
            ours=slope,
            holds=abs(slope) <= 0.1,
        )
    slope = log_slope(errors.items())
    report.row(
        quantity="muP: exponent of the width in the distance from the limit's outputs",
        paper="<= -0.4",
        ours=slope,
        holds=slope <= -0.4,
    )
    report.note(
        f"muP: widths {_list(changes)}, changes {_numbers(changes)}, relative distances from the limit of {NEURONS} "
        f"virtual neurons {_numbers(errors)}, {SEEDS} seeds; two hidden layers: widths {_list(deep)}, {_numbers(deep)}"
    )
    return {"muP: features": changes, "muP: distance from the limit": errors}


def _kernel(report: Report, inputs: Tensor, targets: Tensor, tick: Tick) -> dict[str, dict[int, float]]:
    """NTP: change of features, and distance of outputs from the kernel recursion, two hidden layers."""
    changes, errors = {}, {}
    for width in KERNEL_WIDTHS:
        record = _networks(preset("ntp"), width, SEEDS, inputs, targets, AdamUpdate())
        changes[width] = float(_rms(record.changes[-1]))
        errors[width] = _distance(record.outputs, _recursion(record.outputs[0], inputs, targets, AdamUpdate()))
        tick()
    slope = log_slope(changes.items())
    report.row(
        quantity="NTP: exponent of the width in the change of hidden coordinates",
        paper="-0.5 +- 0.1",
        ours=slope,
        holds=abs(slope + 0.5) <= 0.1,
    )
    report.row(
        quantity=f"NTP: relative rms error of the kernel recursion after {STEPS} steps, n = {KERNEL_WIDTHS[-1]}",
        paper="<= 0.1",
        ours=errors[KERNEL_WIDTHS[-1]],
        holds=errors[KERNEL_WIDTHS[-1]] <= 0.1,
    )
    report.note(f"NTP: widths {_list(changes)}, changes {_numbers(changes)}, errors {_numbers(errors)}, {SEEDS} seeds")
    return {"NTP: features": changes, "NTP: distance from the kernel": errors}


def _linear(report: Report, inputs: Tensor, targets: Tensor, tick: Tick) -> None:
    """Sign updates in NTP: the nonlinear kernel beside the tangent kernel at the rate that fits the networks best."""
    outputs = _networks(preset("ntp"), SIGN_WIDTH, SIGN_SEEDS, inputs, targets, sign()).outputs
    ours = _distance(outputs, _recursion(outputs[0], inputs, targets, sign()))
    kernel = tangent_kernel(inputs, depth=3).to(outputs)
    found = {}
    for rate in torch.logspace(-2, 2, LINEAR_RATES).tolist():
        path = outputs[0]
        for _ in range(STEPS):
            path = path - rate * (path[:, :TRAINED] - targets) @ kernel[:TRAINED] / TRAINED
        found[rate] = _distance(outputs, path)
    best = min(found, key=lambda rate: found[rate] if math.isfinite(found[rate]) else math.inf)
    tick()
    report.row(
        quantity=f"sign updates, n = {SIGN_WIDTH}: relative rms error of the prediction (baseline: linear kernel)",
        paper="<= 1/3 x baseline",
        baseline=found[best],
        ours=ours,
        holds=ours <= found[best] / 3,
    )
    report.note(f"linear kernel at the best of {LINEAR_RATES} rates from 0.01 to 100 for these networks: {best:.3g}")


def _transfer(report: Report, tick: Tick) -> dict[str, dict[int, dict[int, float]]]:
    """Mean loss by parametrisation, width and power of two."""
    inputs, targets = _digits(TRANSFER_POINTS, 0)
    curves: dict[str, dict[int, dict[int, float]]] = {name: {width: {} for width in TRANSFER_WIDTHS} for name in GRIDS}
    for name, grid in GRIDS.items():
        for width, power in product(TRANSFER_WIDTHS, grid):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NumericalWarning)  # rates of the grid that are too large
                record = _networks(
                    preset(name),
                    width,
                    TRANSFER_SEEDS,
                    inputs,
                    targets,
                    AdamUpdate(),
                    rate=2.0**power,
                    steps=TRANSFER_STEPS,
                )
            loss = float(0.5 * (record.outputs[-1] - targets).square().mean())
            curves[name][width][power] = loss if math.isfinite(loss) else math.inf
            tick()
    wanted = {"mup": ("<= 1", lambda moved: moved <= 1), "ntp": (">= 2", lambda moved: moved >= 2)}
    for name, found in curves.items():
        best = [min(losses, key=losses.__getitem__) for losses in found.values()]
        moved = max(best) - min(best)
        paper, holds = wanted.get(name, wanted["ntp"])
        report.row(
            quantity=f"{name}: powers of two by which the best rate moves, widths {_list(found)}",
            paper=paper,
            ours=moved,
            holds=holds(moved),
        )
        losses = ", ".join(f"{found[width][power]:.2g}" for width, power in zip(found, best, strict=True))
        report.note(f"{name}: best rates {', '.join(f'2^{power}' for power in best)}, losses {losses}")
    report.note(
        "the best rate stays in the NTP too: its rates fall with the width as muP's do (n^-c), so training has a limit "
        "and the limit a best rate. What the NTP loses is features; torch's own rates (sp) have no limit"
    )
    return curves


def _digits(trained: int, watched: int) -> tuple[Tensor, Tensor]:
    """Inputs to train on and to watch, and targets of the former."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependencyError("the digits data set", "scikit-learn>=1.5") from error
    found = load_digits()
    kept = torch.tensor((found.target == 3) | (found.target == 8)).nonzero()[: trained + watched, 0]
    images = torch.tensor(found.data, dtype=torch.float32)[kept]
    labels = torch.tensor(found.target)[kept][:trained]
    return images / images.norm(dim=1, keepdim=True), torch.where(labels == 8, 1.0, -1.0)


def _networks(
    spec: ABCDParam,
    width: int,
    seeds: int,
    inputs: Tensor,
    targets: Tensor,
    update: UpdateFunction,
    *,
    rate: float = RATE,
    steps: int = STEPS,
) -> TrainingRecord:
    """Trained from seeds that depend on the width, a few at once."""
    generator = torch.Generator().manual_seed(width)
    at_once = max(1, 2**20 // width**2) if spec.depth > 2 else seeds
    records = []
    for start in range(0, seeds, at_once):
        weights = initial_weights(
            spec,
            width=width,
            inputs=inputs.shape[1],
            seeds=min(at_once, seeds - start),
            generator=generator,
            dtype=inputs.dtype,
        )
        records.append(train(spec, weights, inputs, targets, update=update, learning_rate=rate, steps=steps))
    return TrainingRecord(torch.cat([r.outputs for r in records], 1), torch.cat([r.changes for r in records], 1))


def _recursion(starts: Tensor, inputs: Tensor, targets: Tensor, update: UpdateFunction) -> Tensor:
    """Outputs at the end in the kernel limit, from the outputs that each network started with."""
    ends = [
        kernel_dynamics(inputs, targets, start, update=update, learning_rate=RATE, steps=STEPS)[-1] for start in starts
    ]
    return torch.stack(ends).to(starts)


def _distance(outputs: Tensor, ends: Tensor) -> float:
    """Of networks from predicted ends, relative to how far they moved."""
    return float(_rms(outputs[-1] - ends) / _rms(outputs[-1] - outputs[0]))


def _rms(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()


def _numbers(values: dict[int, float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values.values())


def _list(values: Any) -> str:
    return ", ".join(map(str, values))


def _figure(
    learning: dict[str, dict[int, float]],
    freezing: dict[str, dict[int, float]],
    curves: dict[str, dict[int, dict[int, float]]],
) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 3.8), layout="constrained")
    axes = figure.subplots(1, 4)
    for name, found in (learning | freezing).items():
        axes[0].loglog(list(found), list(found.values()), "o-", label=name)
    axes[0].set(xlabel="width", ylabel="rms change, relative rms distance", title="Adam, 20 steps")
    axes[0].set_ylim(1e-2, 10)
    axes[0].legend(fontsize=7, loc="upper right")
    for place, (name, curve) in zip(axes[1:], curves.items(), strict=True):
        for width, losses in curve.items():
            finite = {2.0**power: loss for power, loss in losses.items() if math.isfinite(loss)}
            place.loglog(list(finite), list(finite.values()), "o-", label=f"width {width}", base=2)
        place.set(xlabel="eta", yscale="log", ylim=(5e-3, 2), title=TITLES[name])
        place.legend(fontsize=7)
    axes[1].set_ylabel(f"loss after {TRANSFER_STEPS} steps")
    return figure
