"""Grid search: train the lower level anew for every candidate of the upper level, and keep the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.bilevel.hypergradients import lower_descent
from polyad.optim.bilevel.objectives import Objective, Penalty, Variables


@final
@dataclass(frozen=True, eq=False)
class GridSearch:
    """What the search has found.

    Args:
        upper_variables: x of the best candidate.
        lower_variables: y trained for it.
        values: F of every candidate, in their order.
        best: number of the candidate.
    """

    upper_variables: list[Tensor]
    lower_variables: list[Tensor]
    values: list[float]
    best: int


def grid_search(
    upper: Objective,
    lower: Objective,
    candidates: Sequence[Variables],
    lower_variables: Variables,
    *,
    steps: int,
    lr: float,
    penalty: Penalty | None = None,
) -> GridSearch:
    """The candidate with the least F.

    Args:
        upper: F.
        lower: f.
        candidates: values of x.
        lower_variables: y to begin with, the same for all.
        steps: of the lower level for each.
        lr: their length.
        penalty: g.

    Raises:
        InputError: no candidate, or none whose F is finite.
    """
    if not candidates:
        raise InputError("candidates: need one at least")
    values, ends = [], []
    for candidate in candidates:
        ends.append(lower_descent(lower, candidate, lower_variables, steps=steps, lr=lr, penalty=penalty))
        with torch.no_grad():
            values.append(float(upper(candidate, ends[-1])))
    finite = [number for number, value in enumerate(values) if value - value == 0]
    if not finite:
        raise InputError(f"candidates: F is finite for none of {len(values)}; lower the inner step lr = {lr}")
    best = min(finite, key=lambda number: values[number])
    return GridSearch([x.detach().clone() for x in candidates[best]], ends[best], values, best)
