"""Optimisers beside AdamW and beside their peers: `python benchmarks/optim.py [row ...]`.

Without arguments all rows run (some minutes); their names are at the foot of this file. Times are processor time on one
thread, forward and backward included, taken in turns. A method that does some of its work every so many steps is timed
with and without that work; its step is the mean at the interval of its paper.

To add an optimiser to `step`, add a `Contender`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytorch_optimizer as peers
import torch
import torch.nn.functional as F
from harness import Benchmark, run_rows
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from polyad.claims.timing import log_slope, median_seconds, one_thread
from polyad.optim.kronecker import MKOR, Shampoo, factor_update_flops, updated_inverse
from polyad.optim.kronecker.inverse_free import InverseFreeKFAC
from polyad.optim.racing.course import state_bytes
from polyad.problems.text import CharacterTransformer, encoded_documentation

Row = dict[str, object]
NEVER = 10**9
ROWS, CONTEXT, WIDTH, LAYERS = 16, 64, 256, 6


@dataclass(frozen=True)
class Contender:
    """An optimiser whose training step is timed.

    Args:
        build: of a model.
        work: interval of the paper for each option that counts the steps between some work.
    """

    build: Callable[[nn.Module], torch.optim.Optimizer]
    work: Mapping[str, int] = field(default_factory=dict)


def shampoo(model: nn.Module, *, bits: int, base: str) -> torch.optim.Optimizer:
    """Ours, all work at every step."""
    return Shampoo(model.parameters(), lr=1e-6, base=base, bits=bits, statistics_every=1, roots_every=1)


SHAMPOO = {"statistics_every": 100, "roots_every": 500}
PEER = {"statistics_compute_steps": 100, "preconditioning_compute_steps": 500}
CONTENDERS = {
    "AdamW (torch)": Contender(lambda m: torch.optim.AdamW(m.parameters(), lr=1e-6)),
    **{
        f"Shampoo, {bits} bits, {base}": Contender(partial(shampoo, bits=bits, base=base), SHAMPOO)
        for base in ("sgd", "adamw")
        for bits in (32, 4)
    },
    # pytorch-optimizer's plain Shampoo ends in NaN at the second update of its roots on this model, at any rate
    "ScalableShampoo (pytorch-optimizer)": Contender(
        lambda m: peers.ScalableShampoo(
            m.parameters(),
            lr=1e-6,
            block_size=1024,
            start_preconditioning_step=1,
            preconditioning_compute_steps=1,
        ),
        PEER,
    ),
    "MKOR": Contender(
        lambda m: MKOR(m.parameters(), model=m, lr=1e-6, base="lamb", update_every=1), {"update_every": 10}
    ),
    "inverse-free K-FAC": Contender(
        lambda m: InverseFreeKFAC(m.parameters(), model=m, lr=1e-6, update_every=1), {"update_every": 10}
    ),
}


def transformer() -> nn.Module:
    """Six layers of width 256 over characters, the same weights each time."""
    torch.manual_seed(0)
    characters = len(encoded_documentation().characters)
    return CharacterTransformer(characters, context=CONTEXT, width=WIDTH, layers=LAYERS)


def set_interval(optimizer: torch.optim.Optimizer, option: str, steps: int) -> None:
    """Change an interval where the optimiser keeps it: in its groups, or as an attribute, public or not."""
    if option in optimizer.param_groups[0]:
        for group in optimizer.param_groups:
            group[option] = steps
        return
    (name,) = [name for name in (option, f"_{option}") if hasattr(optimizer, name)]
    setattr(optimizer, name, steps)


class Trained:
    """A model with its optimiser, through the first steps, in which all work is done."""

    def __init__(self, contender: Contender, batch: tuple[Tensor, Tensor]) -> None:
        self.model, self.batch = transformer(), batch
        self.optimizer = contender.build(self.model)
        self.step()
        self.work(contender, None)

    def step(self) -> None:
        inputs, targets = self.batch
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(inputs), targets).backward()
        self.optimizer.step()

    def work(self, contender: Contender, wanted: str | None) -> None:
        for option in contender.work:
            set_interval(self.optimizer, option, 1 if option == wanted else NEVER)


def whole_state(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of the state, with tensors in lists of objects that a peer keeps there."""
    objects = [item for state in optimizer.state.values() for item in state.values() if hasattr(item, "__dict__")]
    lists = [part for item in objects if not isinstance(item, Tensor) for part in vars(item).values()]
    inside = sum(x.nbytes for part in lists if isinstance(part, list) for x in part if isinstance(x, Tensor))
    return state_bytes(optimizer) + inside


def updating(step: Callable[[], object]) -> float:
    """Seconds of a step with an update: of one where it is long, whose interval divides its scatter."""
    start = time.process_time()
    step()
    first = time.process_time() - start
    return first if first > 2 else median_seconds({"": step}, repeats=3)[""]


def matrix_rate() -> float:
    """Operations a second of a large float32 product on this thread."""
    matrix = torch.rand(1024, 1024)
    return 2 * 1024**3 / median_seconds({"product": lambda: matrix @ matrix})["product"]


def step() -> list[Row]:
    """A training step on 1,024 characters, with every optimiser."""
    batch = encoded_documentation().draw(ROWS, CONTEXT, generator=torch.Generator().manual_seed(0))
    with one_thread():
        rate = matrix_rate()
        trained = {name: Trained(contender, batch) for name, contender in CONTENDERS.items()}
        plain = median_seconds({name: one.step for name, one in trained.items()}, repeats=7)
        rows = []
        for name, contender in CONTENDERS.items():
            one, seconds = trained[name], plain[name]
            for option, interval in contender.work.items():
                one.work(contender, option)
                seconds += (updating(one.step) - plain[name]) / interval
                one.work(contender, None)
            with FlopCounterMode(display=False) as counter:
                one.step()
            rows.append(
                {
                    "optimiser": name,
                    "ms a step": 1e3 * seconds,
                    "without updates ms": 1e3 * plain[name],
                    "ratio to AdamW": seconds / plain["AdamW (torch)"],
                    "matrix products Gflop": counter.get_total_flops() / 1e9,
                    "flop floor ms": 1e3 * counter.get_total_flops() / rate,
                    "state MB": whole_state(one.optimizer) / 1e6,
                    "intervals": ", ".join(map(str, contender.work.values())) or "-",
                }
            )
    return rows


def four_bits() -> list[Row]:
    """Bytes of Shampoo's state on the transformer, in 32 and in 4 bits."""
    batch = encoded_documentation().draw(2, CONTEXT, generator=torch.Generator().manual_seed(0))
    sizes = {}
    for bits in (32, 4):
        contender = Contender(partial(shampoo, bits=bits, base="adamw"))
        sizes[bits] = Trained(contender, batch).optimizer.state_bytes()
    parts: dict[str, Callable[[Any], int]] = {
        "preconditioners": lambda s: s.preconditioner,
        "AdamW's moments": lambda s: s.base,
        "whole state": lambda s: s.total,
    }
    return [
        {
            "bytes of": name,
            "32 bits MB": part(sizes[32]) / 1e6,
            "4 bits MB": part(sizes[4]) / 1e6,
            "ratio": part(sizes[4]) / part(sizes[32]),
        }
        for name, part in parts.items()
    ]


class Operations(TorchDispatchMode):
    """Counts operations as they are run: products of matrices and vectors, factorisations, and entries of all else."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0.0

    def __torch_dispatch__(self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        given = [x for x in args if isinstance(x, Tensor)]
        if name in ("mv", "mm", "addmv", "addmm", "dot"):
            left, right = given[-2:]
            self.count += 2 * left.numel() * (right.shape[1] if right.ndim == 2 else 1)
        elif name == "addr":  # outer product, scaling, difference
            self.count += 3 * given[0].numel()
        elif name == "linalg_cholesky_ex":
            self.count += given[0].shape[-1] ** 3 / 3
        elif name == "cholesky_inverse":
            self.count += 2 * given[0].shape[-1] ** 3 / 3
        elif isinstance(result, Tensor) and not function.is_view:
            self.count += result.numel()
        return result


def mkor() -> list[Row]:
    """Operations and time of one factor's update against the width: MKOR's, and KFAC's Gram matrix and inverse."""
    widths, samples = (256, 512, 1024, 2048), 256
    generator = torch.Generator().manual_seed(0)
    counted: dict[str, list[float]] = {}
    timed: dict[str, list[float]] = {}
    rows: list[Row] = []
    with one_thread():
        for width in widths:
            vectors = torch.randn(samples, width, generator=generator)
            factor = torch.eye(width) + vectors.mT @ vectors / samples
            calls: dict[str, Callable[[], object]] = {
                "MKOR": lambda factor=factor, vectors=vectors: updated_inverse(factor, vectors[0]),
                "KFAC's Gram": lambda vectors=vectors: vectors.mT @ vectors,
                "KFAC's inverse": lambda factor=factor: torch.cholesky_inverse(torch.linalg.cholesky(factor)),
            }
            seconds = median_seconds(calls, repeats=7)
            row: Row = {"width": width}
            for name, call in calls.items():
                with Operations() as operations:
                    call()
                counted.setdefault(name, []).append(operations.count)
                timed.setdefault(name, []).append(seconds[name])
                row |= {f"{name} Mflop": operations.count / 1e6, f"{name} ms": 1e3 * seconds[name]}
            row["MKOR by formula Mflop"] = factor_update_flops("mkor", [(width, width)]) / 2e6
            rows.append(row)
    slopes: Row = {"width": "slope"}
    for name in counted:
        slopes[f"{name} Mflop"] = log_slope(zip(widths, counted[name], strict=True))
        slopes[f"{name} ms"] = log_slope(zip(widths, timed[name], strict=True))
    return [*rows, slopes]


ALL = {
    "step": Benchmark(
        "Training step, transformer of 6 layers, width 256, on 1,024 characters (one thread)",
        "within 2 x of AdamW's step at the papers' intervals; no slower than a peer with the same method",
        step,
    ),
    "four_bits": Benchmark(
        "State of Shampoo on the same transformer", "preconditioners in 4 bits <= 0.15 x of 32 bits", four_bits
    ),
    "mkor": Benchmark(
        "Update of one Kronecker factor against its width",
        "counted operations of MKOR with slope 2.0 +- 0.1 (KFAC: 3, of its inverse)",
        mkor,
    ),
}

if __name__ == "__main__":
    run_rows("optim", ALL)
