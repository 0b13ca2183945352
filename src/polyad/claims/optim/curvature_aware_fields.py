"""S028: coordinate networks by L-BFGS against Adam at the best of five rates, counted in loss-and-gradient evaluations.

The image is a grey crop of 64 x 64 pixels of the photograph that scikit-learn carries, the network has three layers of
64. All weights start from the same seed. Adam's grid is widened where its best rate lies at an end.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from polyad.claims.timing import one_thread
from polyad.errors import ConvergenceError, MissingDependencyError
from polyad.nn.coordinate import CoordinateMLP, PatchedCoordinateNet
from polyad.optim.second_order.fields import CurvatureAwareFit, FitRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S028",
    "slug": "curvature_aware_fields",
    "title": "Curvature-Aware Training for Coordinate Networks",
    "paper": "Saratchandran, Chng, Ramasinghe, MacDonald, Lucey, ICCV 2023, arXiv:2305.08552",
    "bibtex": """@inproceedings{saratchandran2023curvature,
  title = {Curvature-aware training for coordinate networks},
  author = {Saratchandran, Hemanth and Chng, Shin-Fang and Ramasinghe, Sameera and MacDonald, Lachlan and Lucey, Simon},
  booktitle = {International Conference on Computer Vision},
  year = {2023},
  eprint = {2305.08552},
  archivePrefix = {arXiv}
}""",
    "package": "optim",
    "module": "second_order",
    "api": [
        "CurvatureAwareFit", "FitRecord", "GaussNewton", "LBFGS", "gauss_newton_product", "psnr", "strong_wolfe",
    ],
    "tags": ["optimisers", "second order", "coordinate networks", "images"],
    "claim": "Networks of position with Gaussian activations are trained in less time by L-BFGS than by Adam.",
    "minutes": 2,
    "extras": ["scikit-learn"],
    "published": {"optimizer": "L-BFGS", "compared with": "Adam"},
}  # fmt: skip

RATES = (3e-3, 1e-3, 1e-2, 3e-4, 3e-2)
DEFAULT_RATE = 1e-3
LEVEL, CAP = 30.0, 600
"""Decibels to reach on the image, and the most evaluations."""

OTHERS_CAP, CHIRPS_CAP, TORUS_CAP = 200, 150, 60
"""The most evaluations of Gauss-Newton and patches, and of the other two signals."""

ACTIVATIONS = ("gaussian", "sine", "relu_pe")


def run(report: Report) -> None:
    """Fill the report."""
    with one_thread():
        coordinates, values = _photograph()
        curves = {}
        for number, activation in enumerate(ACTIVATIONS):
            curves[activation] = _race_on_image(report, activation, coordinates, values)
            report.progress(number + 1, 6)
        _others_on_image(report, coordinates, values)
        report.progress(4, 6)
        _race(report, "sum of chirps, 4,096 samples", *_chirps(), level=35.0, peak=2.0, cap=CHIRPS_CAP)
        report.progress(5, 6)
        _race(report, "distance to a torus, 16 x 16 x 16", *_torus(), level=40.0, peak=1.0, cap=TORUS_CAP)
        report.progress(6, 6)
    report.note(
        f"evaluations until a network was first seen with the level, at most {CAP} on the image; seconds are processor "
        "time on one thread and one run each; Adam's rate is chosen on the race itself, which favours Adam"
    )
    report.note(
        "protocol: four earlier runs were broken off for time, no full result seen, and the claim was made cheaper: at "
        f"most {CHIRPS_CAP} evaluations on chirps instead of 400, {TORUS_CAP} on the torus instead of 200, "
        f"{OTHERS_CAP} for Gauss-Newton and patches, and a rate of Adam ends once it can no longer be the best; after "
        "the first full run only the wording of rows that miss the level, and this note, changed"
    )
    report.figure(_figure(curves))


def _race_on_image(report: Report, activation: str, coordinates: Tensor, values: Tensor) -> dict[str, FitRecord]:
    """Rows of one activation; records by name."""
    ours = _fit(_network(2, activation), coordinates, values, "lbfgs", level=LEVEL, cap=CAP)
    adam = _adam(lambda: _network(2, activation), coordinates, values, level=LEVEL, cap=CAP)
    best = _best(adam, LEVEL)
    count, theirs = _count(ours, LEVEL, CAP), _count(adam[best], LEVEL, CAP)
    bounded = activation == "gaussian"
    report.row(
        quantity=f"{activation}: evaluations to {LEVEL:g} dB, L-BFGS (baseline: Adam, best rate)",
        paper="<= 0.6 x baseline" if bounded else None,
        baseline=theirs,
        ours=count,
        holds=ours.best >= LEVEL and count <= 0.6 * theirs if bounded else None,
    )
    report.row(
        quantity=f"{activation}: processor time of those [s]",
        baseline=adam[best].seconds_to(LEVEL) or _text(adam[best]),
        ours=ours.seconds_to(LEVEL) or _text(ours),
    )
    report.row(
        quantity=f"{activation}: the same with Adam at {DEFAULT_RATE:g}",
        baseline=adam[DEFAULT_RATE].evaluations_to(LEVEL) or _text(adam[DEFAULT_RATE]),
        ours=ours.evaluations_to(LEVEL) or _text(ours),
    )
    reached = ", ".join(f"{rate:g}: {record.evaluations_to(LEVEL) or 'not'}" for rate, record in sorted(adam.items()))
    start, end = (_curvature(activation, coordinates, values, steps) for steps in (0, 30))
    report.note(
        f"{activation}: Adam's evaluations by rate {reached} (best {best:g}); largest eigenvalue of the Hessian "
        f"{start:.3g} at the start and {end:.3g} after 30 evaluations of L-BFGS"
    )
    return {"L-BFGS": ours, f"Adam, {best:g}": adam[best], f"Adam, {DEFAULT_RATE:g}": adam[DEFAULT_RATE]}


def _others_on_image(report: Report, coordinates: Tensor, values: Tensor) -> None:
    """Gauss-Newton, and patches with a joint or a separate history."""
    newton = _fit(_network(2, "gaussian"), coordinates, values, "gauss_newton", level=LEVEL, cap=OTHERS_CAP)
    report.row(
        quantity=f"gaussian: evaluations and products to {LEVEL:g} dB, Gauss-Newton",
        ours=newton.evaluations_to(LEVEL) or _text(newton),
    )
    counts: dict[int, int | str] = {}
    for blocks in (1, 16):
        net = PatchedCoordinateNet(2, 1, (4, 4), 16, 2, deviation=0.3)
        record = _fit(net, coordinates, values, "lbfgs", level=LEVEL, cap=OTHERS_CAP, blocks=blocks)
        counts[blocks] = record.evaluations_to(LEVEL) or _text(record)
    report.row(
        quantity=f"4 x 4 patches: evaluations to {LEVEL:g} dB, a history a patch (baseline: one for all)",
        baseline=counts[1],
        ours=counts[16],
    )


def _race(
    report: Report, name: str, coordinates: Tensor, values: Tensor, *, level: float, peak: float, cap: int
) -> None:
    """One row: seconds of L-BFGS and of Adam at its best rate."""
    dimensions = coordinates.shape[1]
    ours = _fit(_network(dimensions, "gaussian"), coordinates, values, "lbfgs", level=level, cap=cap, peak=peak)
    adam = _adam(lambda: _network(dimensions, "gaussian"), coordinates, values, level=level, cap=cap, peak=peak)
    best = _best(adam, level)
    report.row(
        quantity=f"{name}: processor time to {level:g} dB [s] (baseline: Adam, best rate)",
        baseline=adam[best].seconds_to(level) or _text(adam[best]),
        ours=ours.seconds_to(level) or _text(ours),
    )
    report.note(
        f"{name}: best within {cap} evaluations {ours.best:.1f} dB by L-BFGS ({ours.evaluations_to(level) or 'not'} to "
        f"the level), {adam[best].best:.1f} dB by Adam at {best:g} ({adam[best].evaluations_to(level) or 'not'})"
    )


def _network(dimensions: int, activation: str) -> CoordinateMLP:
    return CoordinateMLP(dimensions, 1, 64, 3, activation=activation)


def _fit(
    net: nn.Module,
    coordinates: Tensor,
    values: Tensor,
    optimizer: str,
    *,
    level: float,
    cap: int,
    peak: float = 1.0,
    rate: float | None = None,
    blocks: int = 1,
) -> FitRecord:
    fit = CurvatureAwareFit(
        net, coordinates, values, optimizer=optimizer, lr=rate, blocks=blocks, peak=peak, clock=time.process_time
    )
    try:
        return fit.run(evaluations=cap, target=level)
    except ConvergenceError:
        return fit.record()


def _adam(
    build: object, coordinates: Tensor, values: Tensor, *, level: float, cap: int, peak: float = 1.0
) -> dict[float, FitRecord]:
    """Records by rate; the grid grows while its best rate lies at an end."""
    assert callable(build)
    found: dict[float, FitRecord] = {}
    wanted = [DEFAULT_RATE, *(rate for rate in RATES if rate != DEFAULT_RATE)]
    while wanted:
        for rate in wanted:
            limit = min([cap, *(_count(record, level, cap) for record in found.values())])  # slower cannot be best
            found[rate] = _fit(build(), coordinates, values, "adam", level=level, cap=limit, peak=peak, rate=rate)
        best = _best(found, level)
        wanted = [best / 3] if best == min(found) else [best * 3] if best == max(found) else []
    return found


def _best(records: dict[float, FitRecord], level: float) -> float:
    """Rate that reaches the level first, or comes nearest."""
    return min(records, key=lambda rate: (records[rate].evaluations_to(level) or math.inf, -records[rate].best))


def _count(record: FitRecord, level: float, cap: int) -> int:
    return record.evaluations_to(level) or cap


def _text(record: FitRecord) -> str:
    return f"{record.best:.1f} dB after {record.evaluations[-1]}"


def _curvature(activation: str, coordinates: Tensor, values: Tensor, evaluations: int) -> float:
    fit = CurvatureAwareFit(_network(2, activation), coordinates, values)
    fit.run(evaluations=evaluations)
    return fit.top_curvature()


def _grid(*counts: int) -> Tensor:
    axes = [torch.linspace(-1, 1, count) for count in counts]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(counts))


def _photograph() -> tuple[Tensor, Tensor]:
    try:
        from sklearn.datasets import load_sample_image
    except ImportError as error:
        raise MissingDependencyError("the photograph", "scikit-learn pillow") from error
    colours = torch.from_numpy(load_sample_image("china.jpg").copy()).float() / 255
    return _grid(64, 64), colours.mean(-1)[240:304, 320:384].reshape(-1, 1)


def _chirps() -> tuple[Tensor, Tensor]:
    """Three tones whose frequency changes, in [-1, 1]."""
    x = _grid(4096)
    tones = [(0.5, 20.0, 15.0), (0.3, 60.0, -25.0), (0.2, 110.0, 30.0)]
    return x, sum((size * torch.sin(low * x + bend * x**2) for size, low, bend in tones), torch.zeros_like(x))


def _torus() -> tuple[Tensor, Tensor]:
    """Signed distance to a torus of radii 0.6 and 0.25."""
    x = _grid(16, 16, 16)
    ring = x[:, :2].norm(dim=1) - 0.6
    return x, (torch.stack([ring, x[:, 2]], 1).norm(dim=1) - 0.25)[:, None]


def _figure(curves: dict[str, dict[str, FitRecord]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    for axes, (activation, records) in zip(figure.subplots(1, 3, sharey=True), curves.items(), strict=True):
        for name, record in records.items():
            axes.plot(record.evaluations, record.psnr, label=name, linewidth=1)
        axes.axhline(LEVEL, color="grey", linewidth=0.8, linestyle=":")
        axes.set(xlabel="loss-and-gradient evaluations", title=activation, ylim=(8, LEVEL + 2))
        axes.legend(loc="lower right")
    figure.axes[0].set_ylabel("peak signal to noise ratio / dB")
    return figure
