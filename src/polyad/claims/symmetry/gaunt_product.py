"""S003: the product of features at O(L^3): counted work, seconds beside the dense product, and a force field."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from polyad.claims.symmetry._clusters import ClusterNetwork, DenseProduct, make_clusters, train_together
from polyad.claims.timing import log_slope, median_seconds, one_thread
from polyad.symmetry.coupling import gaunt_tensor
from polyad.symmetry.gaunt import GauntTensorProduct, gaunt_product, product_grid
from polyad.symmetry.lebedev import LebedevGrid
from polyad.symmetry.sphere_fourier import torus_shape
from polyad.symmetry.sphere_grid import DENSE_DEGREE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from polyad.claims.report import Report

CARD = {
    "id": "S003",
    "slug": "gaunt_product",
    "title": "Enabling Efficient Equivariant Operations in the Fourier Basis via Gaunt Tensor Products",
    "paper": "Luo, Chen, Krishnapriyan, ICLR 2024, arXiv:2401.10216",
    "bibtex": """@inproceedings{luo2024enabling,
  title = {Enabling Efficient Equivariant Operations in the Fourier Basis via Gaunt Tensor Products},
  author = {Luo, Shengjie and Chen, Tianlang and Krishnapriyan, Aditi S.},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
  eprint = {2401.10216},
  archivePrefix = {arXiv}
}""",
    "package": "symmetry",
    "module": "gaunt",
    "api": ["gaunt_product", "gaunt_convolution", "GauntTensorProduct"],
    "tags": ["molecules", "spheres", "rotations", "tensor products", "equivariant networks"],
    "claim": "The full product of equivariant features costs O(L^3) instead of O(L^6), and learns as accurately.",
    "minutes": 1.5,
    "extras": [],
    "published": {"cost of the full product": "O(L^3)", "cost of the Clebsch-Gordan product": "O(L^6)"},
}

_ROWS = 256
_STEPS = 800


def run(report: Report) -> None:
    """Fill the report; a minute on one core, most of it the two force fields."""
    with one_thread():
        counts = _count(report)
        times = _time_products(report)
        _time_many_body(report)
        _learn(report)
    report.figure(_figure(counts, times))
    report.open("accuracy on OC20 and 3BPA, which takes GPUs")


def _dense_count(lmax: int) -> float:
    return float((lmax + 1) ** 6)


def _fourier_count(lmax: int) -> float:
    """Multiply-adds of the FFT backend, real ones: a complex times a real number is 2, a complex product 4."""
    azimuth, polar = torus_shape(2 * lmax, lmax)
    points = polar * azimuth
    pairs = (lmax + 1) * (lmax + 2) // 2
    tables = 2 * pairs * (2 * lmax + 1) * 2 + pairs * (4 * lmax + 1) * 4
    return tables + 3 * 2.5 * points * math.log2(points) + points


def _grid_count(lmax: int) -> float:
    grid = product_grid([lmax, lmax], lmax)
    if isinstance(grid, LebedevGrid):
        return 3.0 * grid.points * (lmax + 1) ** 2
    heights, azimuths = grid.shape
    return 3.0 * heights * ((lmax + 1) * (lmax + 2) + 2 * (lmax + 1) * azimuths) + grid.points


def _count(report: Report) -> dict[str, list[tuple[int, float]]]:
    sizes = range(6, 17)
    counts = {
        name: [(lmax, count(lmax)) for lmax in sizes]
        for name, count in (("dense", _dense_count), ("FFT", _fourier_count), ("grid", _grid_count))
    }
    slopes = {name: log_slope((lmax + 1, count) for lmax, count in points) for name, points in counts.items()}
    report.row(
        quantity="slope of counted work over L + 1, L = 6..16: dense",
        paper=">= 5.5",
        ours=slopes["dense"],
        holds=slopes["dense"] >= 5.5,
    )
    report.row(
        quantity="slope of counted work: FFT",
        paper="<= 3.6",
        baseline=slopes["dense"],
        ours=slopes["FFT"],
        holds=slopes["FFT"] <= 3.6,
    )
    separable = log_slope((lmax + 1, count) for lmax, count in counts["grid"] if lmax > DENSE_DEGREE)
    report.row(
        quantity=f"slope of counted work, L = {DENSE_DEGREE + 1}..16: grid, order by order",
        baseline=slopes["dense"],
        ours=separable,
    )
    dense, fourier, grid = _dense_count(10), _fourier_count(10), _grid_count(10)
    report.row(
        quantity="counted multiply-adds at L = 10: FFT",
        paper="<= 1/5",
        baseline=dense,
        ours=fourier,
        holds=dense >= 5 * fourier,
    )
    report.row(quantity="counted multiply-adds at L = 10: grid", baseline=dense, ours=grid)
    return counts


def _dense_products(lmax: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """The dense product in two orders of contraction; which is faster depends on the machine."""
    size = (lmax + 1) ** 2
    table = gaunt_tensor(lmax, lmax, lmax).float()
    matrix = table.flatten(1).contiguous()

    def factor_first(first: Tensor, second: Tensor) -> Tensor:
        return torch.bmm(second[:, None], (first @ matrix).view(-1, size, size))[:, 0]

    def outer_first(first: Tensor, second: Tensor) -> Tensor:
        return (first[:, :, None] * second[:, None]).flatten(1) @ matrix.view(size * size, size)

    return (
        {"factor first": factor_first, "outer product first": outer_first}
        if lmax <= 12
        else {"factor first": factor_first}
    )


def _time_products(report: Report) -> dict[str, list[tuple[int, float]]]:
    times: dict[str, list[tuple[int, float]]] = {"dense": [], "FFT": [], "grid": []}
    sizes = (2, 4, 6, 8, 10, 12, 14, 16)
    for lmax in sizes:
        generator = torch.Generator().manual_seed(lmax)
        first, second = torch.randn(2, _ROWS, (lmax + 1) ** 2, generator=generator)
        dense = {f"dense {name}": run for name, run in _dense_products(lmax).items()}
        calls: dict[str, Callable[[], object]] = {name: partial(run, first, second) for name, run in dense.items()}
        calls["grid"] = partial(gaunt_product, [first, second], lmax, backend="grid")
        calls["FFT"] = partial(gaunt_product, [first, second], lmax, backend="fft")
        seconds = median_seconds(calls, clock=time.perf_counter)
        times["dense"].append((lmax, min(value for name, value in seconds.items() if name.startswith("dense"))))
        times["grid"].append((lmax, seconds["grid"]))
        times["FFT"].append((lmax, seconds["FFT"]))
    speed = {
        name: [d / t for (_, d), (_, t) in zip(times["dense"], times[name], strict=True)] for name in ("grid", "FFT")
    }
    best = [max(pair) for pair in zip(*speed.values(), strict=True)]
    for name in ("FFT", "grid"):
        report.row(
            quantity=f"ms at L = 16, {_ROWS} rows: {name}", paper="<= 1/4", baseline=1e3 * times["dense"][-1][1],
            ours=1e3 * times[name][-1][1], holds=speed[name][-1] >= 4,
        )  # fmt: skip
    for name in ("FFT", "grid"):
        report.row(
            quantity=f"times faster than dense at L = {', '.join(map(str, sizes))}: {name}", paper="rising with L",
            ours=", ".join(f"{value:.2g}" for value in speed[name]),
            holds=log_slope((lmax + 1, value) for lmax, value in zip(sizes, speed[name], strict=True)) > 0,
        )  # fmt: skip
    first_win = next((lmax for lmax, value in zip(sizes, speed["FFT"], strict=True) if value > 1), None)
    report.row(quantity="first L at which the FFT beats the dense product", ours=first_win or "none")
    report.row(quantity="times faster than dense, the better backend, at L = 2", ours=best[0])
    return times


def _time_many_body(report: Report) -> None:
    lmax = 4
    size = (lmax + 1) ** 2
    factors = list(torch.randn(3, _ROWS, size, generator=torch.Generator().manual_seed(0)))
    wide = gaunt_tensor(lmax, lmax, 2 * lmax).float().flatten(1).contiguous()
    back = gaunt_tensor(lmax, 2 * lmax, lmax).float().flatten(1).contiguous()

    def chained() -> Tensor:
        middle = torch.bmm(factors[1][:, None], (factors[0] @ wide).view(_ROWS, size, -1))
        return torch.bmm(middle, (factors[2] @ back).view(_ROWS, (2 * lmax + 1) ** 2, size))[:, 0]

    def chained_outer() -> Tensor:
        middle = (factors[0][:, :, None] * factors[1][:, None]).flatten(1) @ wide.view(size * size, -1)
        return (factors[2][:, :, None] * middle[:, None]).flatten(1) @ back.view(-1, size)

    seconds = median_seconds(
        {
            "factor first": chained,
            "outer product first": chained_outer,
            "grid": lambda: gaunt_product(factors, lmax, backend="grid"),
            "FFT": lambda: gaunt_product(factors, lmax, backend="fft"),
        },
        repeats=31,
        clock=time.perf_counter,
    )
    seconds["dense"] = min(seconds["factor first"], seconds["outer product first"])
    difference = (gaunt_product(factors, lmax) - chained()).abs().max() / chained().abs().max()
    if not float(difference) < 1e-4:
        raise AssertionError(f"the chained dense product is another function: difference {float(difference):.2e}")
    report.row(
        quantity="ms, three factors at L = 4: grid beside two dense products through degree 8", paper="<= 1/3",
        baseline=1e3 * seconds["dense"], ours=1e3 * seconds["grid"], holds=seconds["dense"] >= 3 * seconds["grid"],
    )  # fmt: skip
    report.row(quantity="ms, the same: FFT", baseline=1e3 * seconds["dense"], ours=1e3 * seconds["FFT"])


def _learn(report: Report) -> None:
    lmax, channels = 3, 16
    data, held_out = make_clusters(600, seed=1), make_clusters(200, seed=2)

    def gaunt() -> GauntTensorProduct:
        return GauntTensorProduct(lmax, lmax, lmax, channels=channels, generator=torch.Generator().manual_seed(5))

    def dense() -> DenseProduct:
        return DenseProduct(lmax, channels=channels, generator=torch.Generator().manual_seed(5))

    models = {
        name: ClusterNetwork(product, lmax=lmax, channels=channels, generator=torch.Generator().manual_seed(3))
        for name, product in (("dense", dense), ("gaunt", gaunt))
    }
    trained = train_together(models, data, held_out, steps=_STEPS, batch=20, progress=report.progress)
    ours, baseline = trained["gaunt"], trained["dense"]
    report.row(
        quantity="force MAE on 200 clusters, epsilon / sigma", paper="<= 1.15 x dense", baseline=baseline.force_error,
        ours=ours.force_error, holds=ours.force_error <= 1.15 * baseline.force_error,
    )  # fmt: skip
    report.row(
        quantity="ms a training step, energies and forces", paper="lower", baseline=1e3 * baseline.step_seconds,
        ours=1e3 * ours.step_seconds, holds=ours.step_seconds < baseline.step_seconds,
    )  # fmt: skip
    report.row(quantity="parameters", baseline=baseline.parameters, ours=ours.parameters)
    report.row(quantity="mean absolute force of these clusters", ours=float(held_out.forces.abs().mean()))
    report.note(
        f"force fields: {_STEPS} steps of 20 clusters of 8 atoms (Lennard-Jones and Axilrod-Teller), 600 for training, "
        "degrees to 3, 16 channels; the dense product has one weight a path, the Gaunt product one a degree"
    )
    report.note(
        f"the grid is one dense matrix to L = {DENSE_DEGREE}, and works order by order above: the step in its counts"
    )
    report.note(f"seconds are of one thread, float32, forward alone, {_ROWS} rows; dense is the faster of two orders")


def _figure(counts: dict[str, list[tuple[int, float]]], times: dict[str, list[tuple[int, float]]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, series, scale, label in zip(
        figure.subplots(1, 2), (counts, times), (1.0, 1e3),
        ("multiply-adds a product (counted)", f"time of {_ROWS} products / ms, one thread"), strict=True,
    ):  # fmt: skip
        for name, points in series.items():
            axes.loglog(
                [lmax + 1 for lmax, _ in points], [scale * value for _, value in points], "o-", label=name, markersize=4
            )
        ticks = [lmax + 1 for lmax, _ in points][:: max(1, len(points) // 4)]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("L + 1")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure
