"""The value-function penalty method (BOME): first derivatives only, with a number of inner steps at every step.

With y_T after T steps of gradient descent on f(x, .) from y, and q = f(x, y) - f(x, y_T) where y_T is held fixed,

    (x, y) <- (x, y) - lr (grad F + lambda grad q),     lambda = max(0, phi - <grad F, grad q> / |grad q|^2)

with phi = strength |grad q|^2 over |grad q|^2, that is `strength`: q falls at least as fast as its own gradient flow
times `strength`.

Source: Liu, Ye, Wright, Stone, Liu, NeurIPS 2022, arXiv:2209.08709, algorithm 1 with phi = eta |grad q|^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from polyad.optim import checks
from polyad.optim.bilevel.hypergradients import lower_descent
from polyad.optim.bilevel.objectives import Objective, Variables, descend, gradients, inner, leaves


@final
@dataclass(frozen=True, eq=False)
class ValueFunctionDirection:
    """Along which both levels step down.

    Args:
        value: F(x, y).
        upper: direction of x.
        lower: direction of y.
        multiplier: lambda.
        gap: q.
    """

    value: Tensor
    upper: list[Tensor]
    lower: list[Tensor]
    multiplier: float
    gap: float


def value_function_direction(
    upper: Objective,
    lower: Objective,
    upper_variables: Variables,
    lower_variables: Variables,
    *,
    steps: int,
    lr: float,
    strength: float = 0.5,
) -> ValueFunctionDirection:
    """grad F + lambda grad q.

    Args:
        upper: F.
        lower: f.
        upper_variables: x.
        lower_variables: y.
        steps: inner steps.
        lr: their length.
        strength: eta of the paper.
    """
    checks.check_positive(strength=strength)
    end = lower_descent(lower, upper_variables, lower_variables, steps=steps, lr=lr)
    x, y = leaves(upper_variables), leaves(lower_variables)
    with torch.enable_grad():
        value = upper(x, y)
        first = gradients(value, [*x, *y])
        gap = lower(x, y) - lower(x, end)
        second = gradients(gap, [*x, *y])
    size = float(inner(second, second))
    multiplier = max(0.0, strength - float(inner(first, second)) / size) if size > 0 else 0.0
    both = descend(first, second, -multiplier)
    return ValueFunctionDirection(value.detach(), both[: len(x)], both[len(x) :], multiplier, float(gap.detach()))
