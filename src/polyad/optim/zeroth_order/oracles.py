"""What optimisers that ask for values share: oracles that are counted and checked, and starts that are checked.

An oracle takes points stacked along the leading dimension, "points ... event", and answers with one value for each,
"points ...": one call a step, however many values the step needs. Batches of runs lie between the two.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from polyad.errors import InputError, NumericalWarning

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
            InputError: the oracle returned no tensor of one value a point.
        """
        values: Any = self.oracle(points)
        expected = points.shape[: points.dim() - self.event_dimensions]
        if not isinstance(values, Tensor) or values.shape != expected:
            given = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise InputError(
                f"oracle: must return a tensor of one value a point, shape {tuple(expected)} for points of shape "
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


def warn_of_skipped(name: str) -> None:
    """Say once an optimiser that a run stands still where its values are not finite."""
    warnings.warn(
        f"{name}: the oracle's values are not all finite; such runs stay where they are, and the step is counted "
        "(skipped_steps); lower the learning rate or look for a division by zero in the oracle",
        NumericalWarning,
        stacklevel=3,
    )


def finite_runs(gradient: Tensor, event_dimensions: int) -> Tensor:
    """For each run, in a shape that broadcasts against points, whether its gradient estimate is finite."""
    finite = torch.isfinite(gradient)
    for place in range(-event_dimensions, 0):
        finite = finite.all(dim=place, keepdim=True)
    return finite
