"""What optimisers that ask for values share: counted oracles, checked starts, runs that are skipped, saved states.

An oracle takes points stacked along the leading dimension, "points ... event", and answers with one value for each,
"points ...": one call a step, however many values the step needs. Batches of runs lie between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.checks import warn_skipped

Values = Callable[[Tensor], Tensor]
"""Values at points: Float[Tensor, "points ... event"] -> Float[Tensor, "points ..."]."""


@final
class CountedValues:
    """An oracle that is counted: `evaluations` grows by the number of points a call holds, of each run.

    Args:
        oracle: values at points.
        event_dimensions: how many of the last dimensions make up one point.
    """

    def __init__(self, oracle: Values, event_dimensions: int) -> None:
        self.oracle = oracle
        self.event_dimensions = event_dimensions
        self.evaluations = 0

    def __call__(self, points: Tensor) -> Tensor:
        """Values at points.

        Raises:
            InputError: the oracle returned no tensor of one real value a point.
        """
        values: Any = self.oracle(points)
        expected = points.shape[: points.dim() - self.event_dimensions]
        if not isinstance(values, Tensor) or values.shape != expected or not values.is_floating_point():
            given = f"{tuple(values.shape)}, {values.dtype}" if isinstance(values, Tensor) else type(values).__name__
            raise InputError(
                f"oracle: must return a real tensor of one value a point, shape {tuple(expected)} for points of shape "
                f"{tuple(points.shape)}; it returned {given}"
            )
        self.evaluations += points.shape[0]
        return values.detach()


def checked_start(point: Tensor, event_dimensions: int) -> Tensor:
    """A copy of the start.

    Raises:
        InputError: not real floating point, not finite, without elements, or of too few dimensions.
    """
    if not point.is_floating_point():
        raise InputError(f"point: must be real floating point, got {point.dtype}")
    if point.dim() < event_dimensions or point.numel() == 0:
        raise InputError(
            f"point: needs {event_dimensions} or more dimensions and elements, got shape {tuple(point.shape)}"
        )
    if not bool(point.isfinite().all()):
        raise InputError("point: holds NaN or infinity; start from a finite point")
    return point.detach().clone()


@runtime_checkable
class OracleOptimizer(Protocol):
    """What the functions below expect of an optimiser by values: where its runs are, and what it counts."""

    point: Tensor
    generator: torch.Generator
    evaluations: int
    steps: int
    skipped_steps: int


@contextmanager
def refusal_changes_nothing(optimizer: OracleOptimizer) -> Iterator[None]:
    """What is drawn within is drawn again after an error, so that a step that failed can be taken anew."""
    before = optimizer.generator.get_state()
    try:
        yield
    except BaseException:
        optimizer.generator.set_state(before)
        raise


def usable_runs(optimizer: OracleOptimizer, gradient: Tensor, event_dimensions: int) -> Tensor | None:
    """Count a step; for each run, whether its gradient estimate is finite; None, the usual answer, where all are.

    The others are to stay where they are (`chosen`); such a step is counted as skipped, and reported the first time.
    """
    optimizer.steps += 1
    finite = gradient.flatten(-event_dimensions).abs().amax(-1).isfinite()
    if bool(finite.all()):
        return None
    if not optimizer.skipped_steps:
        warn_skipped(type(optimizer).__name__, stacklevel=5)
    optimizer.skipped_steps += 1
    return finite


def chosen(usable: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    """The new values of usable runs, the old ones of the others."""
    if usable is None:
        return new
    return torch.where(usable.reshape((*usable.shape, *[1] * (new.dim() - usable.dim()))), new, old)


def saved_state(optimizer: OracleOptimizer, *more: str) -> dict[str, Any]:
    """What an optimiser needs to go on to the bit: point, counters, the generator's state and the attributes named."""
    values = {name: getattr(optimizer, name) for name in (*_STATE, *more)}
    copies = {name: value.clone() if isinstance(value, Tensor) else value for name, value in values.items()}
    return copies | {"generator": optimizer.generator.get_state()}


def load_state(optimizer: OracleOptimizer, state: Mapping[str, Any], *more: str) -> None:
    """Go on from what `saved_state` gave, with the same names.

    Raises:
        InputError: it is no such state, or one of points of another shape or dtype; nothing has changed then.
    """
    names = (*_STATE, *more)
    if missing := {*names, "generator"} - set(state):
        raise InputError(
            f"state: lacks {sorted(missing)}; give what state_dict() of the same kind of optimiser returned"
        )
    for name in (*names, "generator"):
        own = optimizer.generator.get_state() if name == "generator" else getattr(optimizer, name)
        given = state[name]
        if isinstance(own, Tensor) and not (
            isinstance(given, Tensor) and given.shape == own.shape and given.dtype == own.dtype
        ):
            has = f"{tuple(given.shape)}, {given.dtype}" if isinstance(given, Tensor) else type(given).__name__
            raise InputError(
                f"state: {name} has shape {has}, here {tuple(own.shape)}, {own.dtype}; load the same problem's state"
            )
    for name in names:
        value = state[name]
        setattr(optimizer, name, value.to(own.device, copy=True) if isinstance(value, Tensor) else value)
    optimizer.generator.set_state(state["generator"].cpu())


_STATE = ("point", "evaluations", "steps", "skipped_steps")
