"""How much arithmetic a step takes, and how much of it cannot run side by side.

A step is a graph of tasks: each is counted where it runs, and its critical path is its own count plus the longest path
among the tasks that it waits for. The critical path of a step is what is left with unlimited processes.

Counts are those of the operations that torch carries out: 2 m n k a matrix product (8 m n k for complex numbers),
textbook leading terms for QR, SVD and symmetric eigenproblems (times 4 for complex ones), one an entry for sums.

When not to use it: to predict times of small tensors, which memory and dispatch decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar, final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from polyad.tensors.formats.tree_layout import Node

Result = TypeVar("Result")
Key = tuple[str, int]

FLOWS = ("leaf", "core")
"""Kinds of tasks that solve differential equations."""

_ELEMENTWISE = {"add", "sub", "mul", "div", "rsub", "neg"}


@final
class FlopCount(TorchDispatchMode):
    """Counts the floating point operations of what runs inside: `with FlopCount() as count: ...; count.flops`."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and add its count."""
        result = func(*args, **(kwargs or {}))
        self.flops += _flops(func.overloadpacket.__name__, args, result)
        return result


@final
@dataclass(frozen=True)
class Task:
    """A counted task: its kind and place, its flops, and those of the longest path that ends with it."""

    kind: str
    place: int
    flops: int
    path: int


@final
@dataclass
class Ledger:
    """Runs tasks and keeps their counts; with `count` false it only runs them."""

    count: bool = True
    tasks: dict[Key, Task] = field(default_factory=dict)

    def run(
        self,
        kind: str,
        place: int,
        function: Callable[..., Result],
        *arguments: Any,
        after: Iterable[Key] = (),
    ) -> Result:
        """The function's value; the task is known as (kind, place) and waits for the tasks named in `after`."""
        if not self.count:
            return function(*arguments)
        with FlopCount() as counted:
            result = function(*arguments)
        self.record(kind, place, counted.flops, after=after)
        return result

    def record(self, kind: str, place: int, flops: int, *, after: Iterable[Key] = ()) -> None:
        """Note a task that ran elsewhere. Names in `after` that are unknown count as ready from the start."""
        if self.count:
            waited = max((self.tasks[key].path for key in after if key in self.tasks), default=0)
            self.tasks[(kind, place)] = Task(kind, place, flops, flops + waited)

    def work(self) -> Work:
        """Totals of the tasks so far."""
        kinds: dict[str, int] = {}
        for task in self.tasks.values():
            kinds[task.kind] = kinds.get(task.kind, 0) + task.flops
        path = max((task.path for task in self.tasks.values()), default=0)
        largest = max((task.flops for task in self.tasks.values() if task.kind in FLOWS), default=0)
        return Work(sum(kinds.values()), path, largest, kinds)


def flow_key(node: Node, place: int) -> Key:
    """The name of a node's differential equation."""
    return ("core" if node.children else "leaf", place)


@final
@dataclass(frozen=True)
class Work:
    """Flops of a step: in all, on the critical path, of the largest sub-flow, and by kind of task.

    Kinds: `below`, `frame`, `rate` (moving the centre, restricting the field), `leaf` and `core` (their differential
    equations), `augment` (new bases and cores), `weigh` and `round` (truncation).
    """

    flops: int = 0
    critical: int = 0
    largest_flow: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def __add__(self, other: Work) -> Work:
        """One step after the other."""
        kinds = {kind: self.kinds.get(kind, 0) + other.kinds.get(kind, 0) for kind in {*self.kinds, *other.kinds}}
        largest = max(self.largest_flow, other.largest_flow)
        return Work(self.flops + other.flops, self.critical + other.critical, largest, kinds)

    @property
    def parallelism(self) -> float:
        """Flops in all over those of the critical path: the largest speed-up that processes can give."""
        return self.flops / self.critical if self.critical else 1.0


def _flops(name: str, arguments: Any, result: Any) -> int:
    if name in _ELEMENTWISE:
        return result.numel() * (2 if result.is_complex() else 1)
    if name in ("mm", "bmm", "addmm", "baddbmm", "mv", "dot", "vdot"):
        left = arguments[1] if name.endswith("addmm") or name == "baddbmm" else arguments[0]
        return (8 if left.is_complex() else 2) * left.shape[-1] * result.numel()
    if name in ("linalg_qr", "_linalg_svd", "_linalg_eigh"):
        matrix: Tensor = arguments[0]
        rows, columns = max(matrix.shape[-2:]), min(matrix.shape[-2:])
        batch = prod(matrix.shape[:-2]) * (4 if matrix.is_complex() else 1)
        if name == "linalg_qr":
            thin = torch.is_tensor(result[0]) and result[0].numel() > 0
            return batch * (4 if thin else 2) * (rows * columns**2 - columns**3 // 3)
        return batch * (6 * rows * columns**2 + 20 * columns**3 if name == "_linalg_svd" else 9 * rows**3)
    return 0
