"""Tensor formats beside their peers, tensorly and torchTT: `python benchmarks/tensors.py [row ...]`.

Without arguments all rows run (some minutes); their names are at the foot of this file. torchTT is a source package
that needs torch while it builds: `pip install --no-build-isolation torchTT`, in an environment of its own if need be
(then run this file with its python); without it tensorly takes its place where it can.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorly
import torch
from harness import Benchmark, interleave, once, run_rows
from tensorly.decomposition import parafac, tensor_train

from polyad.tensors.formats import CP, cp_als, tt_cross, tt_svd
from polyad.tensors.formats.als import run_als
from polyad.tensors.formats.als_targets import DenseTarget

Row = dict[str, object]


def als() -> list[Row]:
    """Seconds a full sweep at equal starts, and seconds to the residual that the peer reaches."""
    size, rank = 200, 20
    generator = torch.Generator().manual_seed(0)
    planted = CP.random((size,) * 3, rank, generator=generator).to_dense()
    noise = torch.randn(planted.shape, generator=generator, dtype=torch.float64)
    dense = planted + 0.1 * planted.norm() / noise.norm() * noise
    array = dense.numpy()
    begin = [torch.randn(size, rank, generator=generator, dtype=torch.float64) for _ in range(3)]
    start = tensorly.cp_tensor.CPTensor((np.ones(rank), [factor.numpy() for factor in begin]))
    target = DenseTarget(dense)
    sweeps = 5

    def peer_sweeps(count: int) -> Callable[[], object]:
        return lambda: parafac(array, rank, init=start, n_iter_max=count, tol=0)

    def our_sweeps(count: int) -> Callable[[], object]:
        return lambda: run_als(target, begin, sweeps=count, tolerance=-1.0)

    # the difference of a long and a short run leaves the sweeps alone, without either's set-up
    times = interleave(
        {
            "ours long": our_sweeps(sweeps + 1),
            "ours short": our_sweeps(1),
            "peer long": peer_sweeps(sweeps + 1),
            "peer short": peer_sweeps(1),
        },
        repeats=5,
        rest=0.5,
    )
    ours, theirs = ((times[f"{who} long"] - times[f"{who} short"]) / sweeps for who in ("ours", "peer"))
    flops = 2 * 2 * size**3 * rank  # two passes over the tensor
    rows: list[Row] = [
        {
            "what": f"one sweep, {size}^3, rank {rank}",
            "ours s": ours,
            "tensorly s": theirs,
            "ratio": theirs / ours,
            "ours Gflop/s": flops / ours / 1e9,
        }
    ]
    for name in ("svd", "random"):
        seconds, result = once(
            lambda name=name: parafac(
                array, rank, init=name, random_state=0, n_iter_max=500, tol=1e-8, return_errors=True
            )
        )
        mine, fit = once(lambda: cp_als(dense, rank))
        rows.append(
            {
                "what": f"to the end, tensorly's start '{name}'",
                "ours s": mine,
                "tensorly s": seconds,
                "ratio": seconds / mine,
                "ours residual": fit.error,
                "tensorly residual": result[1][-1],
                "residual no worse": bool(fit.error <= float(result[1][-1]) + 1e-7),
            }
        )
    return rows


def train() -> list[Row]:
    """TT-SVD of a smooth function with some noise on 16^6 points, to two tolerances."""
    axis = torch.linspace(0, 1, 16, dtype=torch.float64)
    grid = torch.meshgrid(*[axis] * 6, indexing="ij")
    total = sum(x * (1 + 0.3 * k) for k, x in enumerate(grid))
    dense = torch.sin(3 * total) + 1 / (1 + total)
    dense = dense + 1e-8 * torch.randn(dense.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    peer = "torchTT" if importlib.util.find_spec("torchtt") else "tensorly (our ranks given)"
    rows: list[Row] = []
    for tolerance in (1e-3, 1e-6):
        mine = tt_svd(dense, tolerance=tolerance).value
        theirs = _peer_train(dense, tolerance, mine.ranks)
        times = interleave(
            {
                "ours": lambda tolerance=tolerance: tt_svd(dense, tolerance=tolerance),
                "peer": lambda tolerance=tolerance, ranks=mine.ranks: _peer_train(dense, tolerance, ranks),
            },
            repeats=3,
        )
        error = float((mine.to_dense() - dense).norm() / dense.norm())
        rows.append(
            {
                "what": f"16^6 to {tolerance:g}",
                "ours s": times["ours"],
                "peer": peer,
                "peer s": times["peer"],
                "ratio": times["peer"] / times["ours"],
                "our ranks": " ".join(map(str, mine.ranks)),
                "peer's ranks": " ".join(map(str, theirs)),
                "our error": error,
                "bound kept": bool(error <= tolerance),
            }
        )
    return rows


def cross() -> list[Row]:
    """Evaluations that a 10-dimensional function takes, at the error that ours reaches or better."""
    order, size = 10, 16
    points = torch.randint(0, size, (5000, order), generator=torch.Generator().manual_seed(9))
    rows: list[Row] = []
    for name, function in (("1/(1 + sum i)", _hilbert), ("exp wave", _wave)):
        for tolerance in (1e-3, 1e-6):
            seconds, mine = once(lambda f=function, t=tolerance: tt_cross(f, (size,) * order, tolerance=t))
            exact = function(points)
            error = float((mine.value.entries(points) - exact).norm() / exact.norm())
            row: Row = {
                "what": f"{name}, {size}^{order}, to {tolerance:g}",
                "our evaluations": mine.evaluations,
                "our error": error,
                "ours s": seconds,
            }
            rows.append(row | _peer_cross(function, (size,) * order, points, exact, error))
    return rows


def _hilbert(indices: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + indices.double().sum(1))


def _wave(indices: torch.Tensor) -> torch.Tensor:
    x = indices.double() / 15
    return torch.exp(-((x.sum(1) - 3) ** 2)) * torch.cos(3 * x[:, 0] + x[:, 5])


def _peer_train(dense: torch.Tensor, tolerance: float, ranks: tuple[int, ...]) -> list[int]:
    if importlib.util.find_spec("torchtt"):
        import torchtt

        return [int(rank) for rank in torchtt.TT(dense, eps=tolerance).R[1:-1]]
    return [int(rank) for rank in tensor_train(dense.numpy(), rank=[1, *ranks, 1]).rank[1:-1]]


def _peer_cross(function: Any, shape: tuple[int, ...], points: torch.Tensor, exact: torch.Tensor, wanted: float) -> Row:
    """The peer at the loosest of its own tolerances that reaches our error."""
    if not importlib.util.find_spec("torchtt"):
        return {"peer": "none (torchTT is not installed)"}
    import torchtt

    asked = 0

    def counted(indices: torch.Tensor) -> torch.Tensor:
        nonlocal asked
        asked += len(indices)
        return function(indices)

    for eps in 10.0 ** -np.arange(1, 12, 0.5):
        asked = 0
        torch.manual_seed(0)
        seconds, found = once(
            lambda eps=eps: torchtt.interpolate.dmrg_cross(counted, list(shape), eps=float(eps), dtype=torch.float64)
        )
        row = torch.ones(len(points), 1, dtype=torch.float64)
        for mode, core in enumerate(found.cores):
            row = (row[:, None, :] @ core[:, points[:, mode], :].movedim(1, 0))[:, 0]
        error = float((row[:, 0] - exact).norm() / exact.norm())
        if error <= wanted:
            break
    return {"peer": "torchTT", "peer's evaluations": asked, "peer's error": error, "peer s": seconds}


ROWS = {
    "als": Benchmark(
        "CP by alternating least squares",
        ">= 1.5 x faster a sweep, >= 3 x to the same residual, never a worse one",
        als,
    ),
    "train": Benchmark(
        "Tensor train of a dense tensor", ">= 4 x faster than torchTT, no rank above the peer's, bound kept", train
    ),
    "cross": Benchmark(
        "Cross approximation in ten dimensions", "fewer evaluations than the peer for the same error", cross
    ),
}

if __name__ == "__main__":
    run_rows("tensors", ROWS)
