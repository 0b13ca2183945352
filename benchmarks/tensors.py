"""Tensor formats beside their peers, tensorly and torchTT: `python benchmarks/tensors.py [row ...]`.

Without arguments all rows run (some minutes); their names are at the foot of this file. torchTT is a source package
that needs torch while it builds: `pip install --no-build-isolation torchTT`, in an environment of its own if need be
(then run this file with its python); without it tensorly takes its place where it can.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import tensorly
import torch
from harness import Benchmark, interleave, once, peak_bytes, run_rows
from tensorly.decomposition import parafac, tensor_train

from polyad.tensors.formats import (
    CP,
    TensorRing,
    TensorTrain,
    TreeTensorNetwork,
    Tucker,
    balanced_tree,
    cp_als,
    st_hosvd,
    tree_svd,
    tt_cross,
    tt_svd,
    tucker_als,
)
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


def memory() -> list[Row]:
    """Most bytes held at one time, beside the need: operands and result, and a working set where the method has one.

    A method's working set is what the docstring of its module says; the table repeats its formula.
    """
    seed = torch.Generator().manual_seed(0)
    train = TensorTrain.random((30,) * 30, 24, generator=seed)
    tucker = Tucker.random((300,) * 4, 12, generator=seed)
    tree = TreeTensorNetwork.random((50,) * 16, 12, tree=balanced_tree(16), generator=seed)
    terms = CP.random((400,) * 8, 20, generator=seed)
    ring = TensorRing.random((30,) * 8, 4, generator=seed)
    dense = TensorTrain.random((16,) * 6, 6, generator=seed).to_dense()
    cube = CP.random((200,) * 3, 20, generator=seed).to_dense()
    hidden = torch.rand(cube.shape, generator=seed) < 0.5
    return [
        _peak(
            "cross approximation, 16^10",
            [],
            lambda: tt_cross(_wave, (16,) * 10, tolerance=1e-6),
            16**10,
            working=("blocks, as many as the train has", lambda found: found.value.storage.bytes),
        ),
        *(
            row
            for name, x in (("train", train), ("Tucker", tucker), ("tree", tree), ("CP", terms), ("ring", ring))
            for row in (
                _peak(f"{name}: add", [x], lambda x=x: x + x, prod(x.shape)),
                _peak(f"{name}: inner", [x], lambda x=x: x.inner(x), prod(x.shape)),
                _peak(f"{name}: norm", [x], lambda x=x: x.norm(), prod(x.shape)),
                _peak(
                    f"{name}: round x + x",
                    [x + x],
                    lambda s=x + x, x=x: _rounded(s, x),
                    prod(x.shape),
                    working=_ring_working(x) if isinstance(x, TensorRing) else None,
                ),
            )
        ),
        _peak("TT-SVD, 16^6 given", [dense], lambda: tt_svd(dense, tolerance=1e-6), dense.numel()),
        _peak("ST-HOSVD, 16^6 given", [dense], lambda: st_hosvd(dense, tolerance=1e-6), dense.numel()),
        _peak(
            "tree SVD, 16^6 given", [dense], lambda: tree_svd(dense, balanced_tree(6), tolerance=1e-6), dense.numel()
        ),
        _peak("CP-ALS, 200^3 given", [cube], lambda: cp_als(cube, 20, sweeps=5), cube.numel()),
        _peak(
            "CP-ALS, half of 200^3 hidden",
            [cube, hidden],
            lambda: cp_als(cube, 5, mask=hidden, sweeps=3),
            cube.numel(),
        ),
        _peak(
            "Tucker-ALS, half of 200^3 hidden",
            [cube, hidden],
            lambda: tucker_als(cube, 5, mask=hidden, sweeps=2),
            cube.numel(),
        ),
    ]


def _ring_working(x: TensorRing) -> tuple[str, Callable[[Any], int]]:
    """What truncating x + x takes: triangles of the difference of a ring of twice x's ranks and the result."""
    most, size = (2 * max(x.ranks)) ** 2, x.cores[0].element_size()
    return "3 m^2, m = r^2 + s^2", lambda found: 3 * (most + max(found.ranks) ** 2) ** 2 * size


def _peak(
    what: str,
    operands: list[Any],
    run: Callable[[], Any],
    entries: int,
    *,
    working: tuple[str, Callable[[Any], int]] | None = None,
) -> Row:
    held = sum(_bytes(operand) for operand in operands)
    run()  # what is made once stays out
    extra, result = peak_bytes(run)
    plain = held + _bytes(getattr(result, "value", result))
    need = plain + (0 if working is None else working[1](result))
    return {
        "what": what,
        "peak MB": (held + extra) / 1e6,
        "own need MB": need / 1e6,
        "working set in it, numbers": "none" if working is None else working[0],
        "ratio": (held + extra) / need,
        "without working set": (held + extra) / plain,
        "dense MB": 8 * entries / 1e6,
        "within 2 x": bool(held + extra <= 2 * need),
    }


def _rounded(total: Any, x: Any) -> Any:
    return total.round(ranks=x.ranks) if isinstance(x, CP) else total.round(tolerance=1e-6)


def _bytes(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else value.storage.bytes


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
    "memory": Benchmark(
        "Memory of tensor formats",
        "no dense tensor unless it was given; peak within 2 x of the need: operands (masks too), result, working set",
        memory,
    ),
}

if __name__ == "__main__":
    run_rows("tensors", ROWS)
