"""Steps and whole integrations: what every integrator of this package returns, and the loop over time."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.tree import TreeTensorNetwork
from polyad.tensors.formats.tree_layout import Node, layout
from polyad.tensors.tree_integrators.fields import Field, OperatorField
from polyad.tensors.tree_integrators.frames import is_orthonormal
from polyad.tensors.tree_integrators.work import Work


@final
@dataclass(frozen=True, eq=False)
class Step:
    """One step.

    Args:
        value: at the end, orthonormal.
        truncation_error: bound on what truncation took (Frobenius norm).
        rejected: how often it was repeated.
        estimate: |F(Y_0) in the fresh directions of all modes|, the largest over the nodes; 0 where not asked for.
        work: counted flops, where counted.
    """

    value: TreeTensorNetwork
    truncation_error: float = 0.0
    rejected: int = 0
    estimate: float = 0.0
    work: Work = field(default_factory=Work)


@runtime_checkable
class Integrator(Protocol):
    """Anything with a step."""

    def step(self, value: TreeTensorNetwork, time: float, step: float) -> Step:
        """The value at time + step."""


@final
@dataclass(frozen=True, eq=False)
class Trajectory:
    """A whole integration: the last value, the time reached, and a history, one entry a step."""

    value: TreeTensorNetwork
    time: float
    norms: tuple[float, ...]
    largest_ranks: tuple[int, ...]
    truncation_errors: tuple[float, ...]
    rejected: tuple[int, ...]
    work: Work


def integrate(
    integrator: Integrator,
    value: TreeTensorNetwork,
    *,
    interval: tuple[float, float] = (0.0, 1.0),
    steps: int,
    seconds: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """Equal steps over an interval.

    Args:
        integrator: takes the steps.
        value: at the begin of the interval.
        interval: begin and end; the end may lie before the begin.
        steps: how many.
        seconds: stop after the step that exceeds this wall time; the time reached tells.
        progress: called with steps done and in all.
    """
    begin, end = interval
    if steps < 1 or not math.isfinite(begin) or not math.isfinite(end) or begin == end:
        raise InputError(
            f"interval, steps: {interval} and {steps} were given; two different times and >= 1 step needed"
        )
    size, started, total = (end - begin) / steps, clock.monotonic(), Work()
    norms, ranks, errors, rejected = [], [], [], []
    for number in range(steps):
        result = integrator.step(value, begin + number * size, size)
        value, total = result.value, total + result.work
        norms.append(float(torch.linalg.vector_norm(value.cores[-1])))
        ranks.append(max(value.ranks))
        errors.append(result.truncation_error)
        rejected.append(result.rejected)
        if progress is not None:
            progress(number + 1, steps)
        if seconds is not None and clock.monotonic() - started > seconds:
            break
    reached = begin + len(norms) * size
    return Trajectory(value, reached, tuple(norms), tuple(ranks), tuple(errors), tuple(rejected), total)


def prepare(field: Field, value: TreeTensorNetwork) -> tuple[Sequence[Node], list[Tensor]]:
    """Layout and orthonormal arrays of a value, in the field's dtype."""
    if value.batch_shape:
        raise InputError(f"value: batch dimensions {value.batch_shape} were given; integrate one tensor at a time")
    if isinstance(field, OperatorField):
        if field.operator.shape != value.shape:
            raise InputError(f"value: shape {value.shape} was given; the operator acts on {field.operator.shape}")
        value = value.with_nodes([array.to(field.operator.dtype) for array in value.by_node()])
    arrays = value.by_node()
    if not is_orthonormal(arrays, 1e3 * torch.finfo(value.dtype).eps):
        arrays = value.orthogonalise().by_node()
    return layout(value.tree), [array.detach() for array in arrays]


def check_options(tol: float, r_max: int | None, substeps: int | None, stiffness: float) -> None:
    """Refuse options that make no sense."""
    if not (tol >= 0 and math.isfinite(tol)):
        raise InputError(f"tol: {tol} was given; a finite number >= 0 is needed")
    if r_max is not None and r_max < 1:
        raise InputError(f"r_max: {r_max} was given; at least 1, or None for no limit")
    if substeps is not None and substeps < 1:
        raise InputError(f"substeps: {substeps} was given; at least 1, or None to choose them")
    if not 0 < stiffness <= 2.5:
        raise InputError(f"stiffness: {stiffness} was given; between 0 and 2.5, where RK4 is stable")
