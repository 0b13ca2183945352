"""S011: multi-view clustering by the best rank-one tensor and by an unfolding, beside what theory predicts for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from torch import Tensor

from polyad.tensors.spiked import (
    NestedMatrixTensor,
    best_rank_one,
    clustering_accuracy,
    oracle_direction,
    predicted_accuracy,
    tensor_threshold,
    unfolding_direction,
    unfolding_threshold,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S011",
    "slug": "nested_spiked_clustering",
    "title": "Performance Gaps in Multi-view Clustering under the Nested Matrix-Tensor Model",
    "paper": "Lebeau, Seddik, Goulart, ICLR 2024, arXiv:2402.10677",
    "bibtex": """@inproceedings{lebeau2024performance,
  title = {Performance Gaps in Multi-view Clustering under the Nested Matrix-Tensor Model},
  author = {Lebeau, Hugo and Seddik, Mohamed El Amine and Goulart, Jos{\\'e} Henrique de Morais},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
  eprint = {2402.10677},
  archivePrefix = {arXiv}
}""",
    "package": "tensors",
    "module": "spiked",
    "api": [
        "NestedMatrixTensor", "best_rank_one", "unfolding_direction", "oracle_direction", "second_unfolding_limit",
        "second_unfolding_density", "third_unfolding_limit", "rank_one_limit", "predicted_accuracy", "phase_diagram",
    ],
    "tags": ["tensors", "spiked models", "random matrices", "clustering", "phase transitions", "multi-view data"],
    "claim": "The best rank-one tensor clusters multi-view data where unfolding fails, and both do as well as theory "
    "predicts.",
    "minutes": 1.5,
    "extras": [],
    "published": {"dimension": 150, "observations": 300, "views": 60, "view norms": [0.5, 1.5]},
}  # fmt: skip

_SIZES = (150, 300, 60)
_MEANS = np.linspace(0.2, 5.0, 25)
_VIEWS = (0.5, 1.5)
_DRAWS = 4
_MULTIPLES = (1.02, 1.05, 1.1, 1.2, 1.4)


@final
@dataclass(frozen=True)
class _Curve:
    """Measured and predicted accuracies over |mu|, by method, at one |h|."""

    measured: dict[str, np.ndarray]
    predicted: dict[str, np.ndarray]
    tensor_threshold: float
    unfolding_threshold: float


def run(report: Report) -> None:
    """Fill the report; a minute and a half on one core."""
    steps = len(_VIEWS) * (len(_MEANS) + len(_MULTIPLES))
    curves = {}
    for k, h in enumerate(_VIEWS):
        curves[h] = _curve(h, partial(_forward, report, k * len(_MEANS), steps))
    for h, curve in curves.items():
        _rows(report, h, curve)
    for k, h in enumerate(_VIEWS):
        _doubled(report, h)
        report.progress(len(_VIEWS) * len(_MEANS) + (k + 1) * len(_MULTIPLES), steps)
    gain = curves[0.5].measured["tensor"] - curves[0.5].measured["unfolding"]
    best = int(gain.argmax())
    report.row(
        quantity="largest gain over the unfolding in accuracy, |h| = 0.5",
        paper="a gap; >= 0.3 asked",
        baseline=curves[0.5].measured["unfolding"][best],
        ours=curves[0.5].measured["tensor"][best],
        holds=gain[best] >= 0.3,
    )
    report.note(f"{_DRAWS} draws of p, n, m = {_SIZES}; power method from two spectral starts, the larger value kept")
    report.note("near a threshold the transition is smeared at this size; nothing is asked between it and 1.1 x of it")
    report.figure(_figure(curves))


def _forward(report: Report, before: int, steps: int, done: int) -> None:
    report.progress(before + done, steps)


def _curve(h: float, progress: Callable[[int], None]) -> _Curve:
    measured: dict[str, list[float]] = {"tensor": [], "unfolding": [], "oracle": []}
    predicted: dict[str, list[float]] = {"tensor": [], "unfolding": [], "oracle": []}
    for index, mu in enumerate(_MEANS):
        model = NestedMatrixTensor(_SIZES, float(mu), h)
        found = [_accuracies(model, seed=1000 * index + seed) for seed in range(_DRAWS)]
        for method in measured:
            measured[method].append(float(np.mean([one[method] for one in found])))
            predicted[method].append(predicted_accuracy(model, method=method))  # type: ignore[arg-type]
        progress(index + 1)
    return _Curve(
        {method: np.array(values) for method, values in measured.items()},
        {method: np.array(values) for method, values in predicted.items()},
        tensor_threshold(_SIZES, beta_tensor=h),
        unfolding_threshold(_SIZES, beta_tensor=h),
    )


def _accuracies(model: NestedMatrixTensor, *, seed: int) -> dict[str, float]:
    labels = _labels(model.n[1], seed)
    sample = model.draw(seed=seed, labels=labels, dtype=torch.float32)
    estimates = {
        "tensor": best_rank_one(sample.tensor, tolerance=1e-6, sweeps=150).y,
        "unfolding": unfolding_direction(sample.tensor, 2),
        "oracle": oracle_direction(sample.tensor, sample.z),
    }
    return {method: float(clustering_accuracy(estimate, labels)) for method, estimate in estimates.items()}


def _labels(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.randint(0, 2, (count,), generator=generator).float() - 1.0


def _rows(report: Report, h: float, curve: _Curve) -> None:
    tensor, unfolding, oracle = (curve.measured[method] for method in ("tensor", "unfolding", "oracle"))
    means = _MEANS
    gap = float(np.abs(tensor - curve.predicted["tensor"])[means >= 1.1 * curve.tensor_threshold].mean())
    report.row(
        quantity=f"tensor: mean gap to the prediction from 1.1 x its threshold on, |h| = {h:g}",
        paper="<= 0.02",
        ours=gap,
        holds=gap <= 0.02,
    )
    gap = float(np.abs(unfolding - curve.predicted["unfolding"])[means > curve.unfolding_threshold].mean())
    report.row(
        quantity=f"unfolding: mean gap to the prediction above its threshold, |h| = {h:g}",
        paper="<= 0.06",
        ours=gap,
        holds=gap <= 0.06,
    )
    below = float(unfolding[means < 0.8 * curve.unfolding_threshold].max())
    report.row(
        quantity=f"unfolding: largest accuracy below 0.8 x its threshold, |h| = {h:g}",
        paper="0.5; <= 0.60 asked",
        ours=below,
        holds=below <= 0.60,
    )
    least = float((tensor - unfolding)[means > curve.tensor_threshold].min())
    report.row(
        quantity=f"tensor less unfolding above the tensor's threshold, the least, |h| = {h:g}",
        paper=">= -0.01",
        ours=least,
        holds=least >= -0.01,
    )
    excesses = np.maximum(tensor, unfolding) - oracle
    excess = float(excesses[means > curve.tensor_threshold].max())
    report.row(
        quantity=f"largest excess of either over the oracle, same draws, above the tensor's threshold, |h| = {h:g}",
        paper="<= 0.02",
        ours=excess,
        holds=excess <= 0.02,
    )
    report.note(
        f"thresholds of |mu| at |h| = {h:g}: tensor {curve.tensor_threshold:.3f}, unfolding "
        f"{curve.unfolding_threshold:.3f}; over the oracle by at most {float(excesses.max()):.4f} at any |mu|, where "
        "all are at chance below the thresholds"
    )


def _doubled(report: Report, h: float) -> None:
    """Gap of the unfolding to its prediction at the same multiples of its threshold, at one and two times the size."""
    gaps = []
    for factor, draws in ((1, _DRAWS), (2, 2)):
        sizes = (factor * _SIZES[0], factor * _SIZES[1], factor * _SIZES[2])
        threshold = unfolding_threshold(sizes, beta_tensor=h)
        found = []
        for index, multiple in enumerate(_MULTIPLES):
            model = NestedMatrixTensor(sizes, multiple * threshold, h)
            for seed in range(draws):
                labels = _labels(sizes[1], 7000 + 10 * index + seed)
                tensor = model.draw(seed=7000 + 10 * index + seed, labels=labels, dtype=torch.float32).tensor
                accuracy = float(clustering_accuracy(unfolding_direction(tensor, 2), labels))
                found.append(abs(accuracy - predicted_accuracy(model, method="unfolding")))
        gaps.append(float(np.mean(found)))
    report.row(
        quantity=f"unfolding: mean gap at 1.02 to 1.4 x its threshold, sizes doubled (baseline: not), |h| = {h:g}",
        paper="smaller",
        baseline=gaps[0],
        ours=gaps[1],
        holds=gaps[1] < gaps[0],
    )


def _figure(curves: dict[float, _Curve]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, (h, curve) in zip(figure.subplots(1, 2, sharey=True), curves.items(), strict=True):
        for color, method in enumerate(("oracle", "tensor", "unfolding")):
            axes.plot(_MEANS, curve.predicted[method], "-", color=f"C{color}", label=f"{method}, predicted")
            axes.plot(_MEANS, curve.measured[method], "o", color=f"C{color}", markersize=4, label=f"{method}, measured")
        axes.set(xlabel="|mu|", title=f"|h| = {h:g}")
        axes.axvline(curve.tensor_threshold, color="C1", linestyle=":")
        axes.axvline(curve.unfolding_threshold, color="C2", linestyle=":")
    figure.axes[0].set(ylabel="share of right labels")
    figure.axes[1].legend(fontsize=8)
    return figure
