"""Sub-flows: small differential equations X' = f(t, X), solved by sub-steps of RK4 that keep inside its stability.

RK4 is stable along the imaginary axis for h |J| <= 2.8, J the derivative of f, but accuracy asks for more: sub-steps
with h |J| = s leave an error of T |J| s^4 / 120 at time T, however short the steps around them. |J| comes from a few
power iterations on differences of f, so one sub-step too many is rare and one too few is not:

    v <- J v / |J v|,     J v = (f(t, X + e v) - f(t, X)) / e

Sub-flows are values: what they need travels with them, so that any `concurrent.futures.Executor` can solve them.

When not to use it: stiff equations, where an explicit method spends its sub-steps on directions that decay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass
from math import ceil
from typing import Any, final

import numpy
import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import ConvergenceError, InputError
from polyad.tensors.tree_integrators.work import FlopCount

Rate = Callable[[float, Tensor], Tensor]

_POWER_STEPS = 6
_SAFETY = 1.3


@final
@dataclass(frozen=True)
class SubFlow:
    """X' = sign f(t, X) from `start` over [time, time + step].

    Args:
        rate: f.
        start: X at `time`.
        time: begin.
        step: length, may be negative.
        substeps: number of RK4 sub-steps; None for the number that keeps step |J| / substeps below `stiffness`.
        stiffness: largest product of sub-step and estimated |J|.
        sign: -1 integrates -f over the same times (the backward sub-flows of projector splitting).
    """

    rate: Rate
    start: Tensor
    time: float
    step: float
    substeps: int | None = None
    stiffness: float = 0.25
    sign: float = 1.0

    def solve(self) -> Num[Tensor, "..."]:
        """X at the end.

        Raises:
            ConvergenceError: the solution grew beyond all numbers.
        """
        count = self.substeps
        if count is None:
            norm = _SAFETY * derivative_norm(self.rate, self.time, self.start)
            count = max(1, ceil(abs(self.step) * norm / self.stiffness))
        solution = rk4(self.rate, self.start, self.time, self.step, count, sign=self.sign)
        if not bool(torch.isfinite(torch.view_as_real(solution) if solution.is_complex() else solution).all()):
            raise ConvergenceError(
                f"a sub-flow overflowed at time {self.time:g} with {count} sub-steps of RK4; "
                "take a smaller step or more sub-steps"
            )
        return solution

    def __getstate__(self) -> dict[str, Any]:
        """Tensors travel as numpy arrays: by value, to any process on any machine."""
        return {item.name: _pack(getattr(self, item.name)) for item in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """See `__getstate__`."""
        for name, value in state.items():
            object.__setattr__(self, name, _unpack(value))


def rk4(
    rate: Rate, start: Num[Tensor, "..."], time: float, step: float, substeps: int, *, sign: float = 1.0
) -> Num[Tensor, "..."]:
    """The classical Runge-Kutta method of order 4 for X' = sign f(t, X), in equal sub-steps."""
    if substeps < 1:
        raise InputError(f"substeps: {substeps} was given; at least 1 is needed")
    size, value = step / substeps, start
    for number in range(substeps):
        now, signed = time + number * size, sign * size
        first = rate(now, value)
        second = rate(now + size / 2, torch.add(value, first, alpha=signed / 2))
        third = rate(now + size / 2, torch.add(value, second, alpha=signed / 2))
        fourth = rate(now + size, torch.add(value, third, alpha=signed))
        total = torch.add(first, second, alpha=2).add(third, alpha=2).add(fourth)
        value = torch.add(value, total, alpha=signed / 6)
    return value


def derivative_norm(rate: Rate, time: float, value: Num[Tensor, "..."]) -> float:
    """Estimate of |J|, the norm of the derivative of f with respect to X, from below."""
    there = rate(time, value)
    size = float(torch.linalg.vector_norm(value)) or 1.0
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(value.shape, dtype=value.dtype, generator=generator).to(value.device)
    found = 0.0
    for _ in range(_POWER_STEPS):
        direction = direction * (1e-3 * size / torch.linalg.vector_norm(direction))
        change = rate(time, value + direction) - there
        grown = float(torch.linalg.vector_norm(change)) / (1e-3 * size)
        if grown <= 1e-9 * found or grown == 0.0:
            break
        found, direction = max(found, grown), change
    return found


def solve_all(flows: Sequence[SubFlow], *, executor: Executor | None, count: bool) -> list[tuple[Tensor, int]]:
    """Solutions of independent sub-flows and their flops, side by side where an executor is given.

    The largest one stays in this process, which would only wait otherwise (n processes are an executor with n - 1), and
    so do those below a sixteenth of its size, which are solved sooner than sent.

    Raises:
        ConvergenceError: see `SubFlow.solve`.
        InputError: a worker process died.
    """
    if executor is None or len(flows) < 2:
        return [_solve(flow, count) for flow in flows]
    try:
        sizes = [flow.start.numel() for flow in flows]
        sent = [number for number, size in enumerate(sizes) if 16 * size >= max(sizes)]
        sent.remove(sizes.index(max(sizes)))
        waiting = {number: executor.submit(_solve_there, flows[number], count) for number in sent}
        done = {number: _solve(flow, count) for number, flow in enumerate(flows) if number not in waiting}
        for number, future in waiting.items():
            solution, flops = future.result()
            done[number] = torch.from_numpy(solution).to(flows[number].start.device), flops
    except BrokenExecutor as error:
        raise InputError("a worker process died, most likely for want of memory; use fewer workers") from error
    return [done[number] for number in range(len(flows))]


def _solve(flow: SubFlow, count: bool) -> tuple[Tensor, int]:
    if not count:
        return flow.solve(), 0
    with FlopCount() as counted:
        solution = flow.solve()
    return solution, counted.flops


def _solve_there(flow: SubFlow, count: bool) -> tuple[numpy.ndarray, int]:
    solution, flops = _solve(flow, count)
    return solution.cpu().numpy(), flops


@final
@dataclass(frozen=True)
class _Packed:
    """A tensor, or the fields of a rate, on the way."""

    kind: Any
    content: Any


def _pack(value: Any) -> Any:
    if torch.is_tensor(value):
        return _Packed(None, value.detach().resolve_conj().cpu().numpy())
    if type(value) in (tuple, list):
        return type(value)(_pack(item) for item in value)
    if isinstance(value, dict):
        return {key: _pack(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _pack(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return _Packed(type(value), fields)
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, _Packed):
        if value.kind is None:
            return torch.from_numpy(value.content)
        return value.kind(**_unpack(value.content))
    if type(value) in (tuple, list):
        return type(value)(_unpack(item) for item in value)
    if isinstance(value, dict):
        return {key: _unpack(item) for key, item in value.items()}
    return value
