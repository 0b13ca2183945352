"""The Moreau envelope of a lower level, and its gradient, which needs no second derivative.

    v(x, y) = min over theta of f(x, theta) + g(x, theta) + |theta - y|^2 / (2 gamma)
    grad_x v = grad_x (f + g)(x, theta*),     grad_y v = (y - theta*) / gamma

v <= f + g everywhere, with equality exactly where y is stationary for f(x, .) + g(x, .), as long as gamma is below
1 / rho with rho the weak-convexity modulus of f(x, .) + g(x, .).

Source: Liu, Liu, Yao, Zeng, Zhang, ICML 2024, arXiv:2405.09927, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from polyad.optim import checks
from polyad.optim.bilevel.objectives import Objective, Penalty, Variables, constants, descend, gradients, inner, leaves


@final
@dataclass(frozen=True, eq=False)
class Envelope:
    """v at a point.

    Args:
        value: v, a scalar, an upper bound where theta is not yet the minimiser.
        theta: where the minimum is.
        upper_gradient: by x.
        lower_gradient: by y.
    """

    value: Tensor
    theta: list[Tensor]
    upper_gradient: list[Tensor]
    lower_gradient: list[Tensor]


def moreau_envelope(
    lower: Objective,
    upper_variables: Variables,
    lower_variables: Variables,
    *,
    gamma: float,
    eta: float,
    steps: int,
    penalty: Penalty | None = None,
    start: Variables | None = None,
) -> Envelope:
    """The envelope after so many proximal gradient steps.

    Args:
        lower: f.
        upper_variables: x.
        lower_variables: y.
        gamma: of the envelope.
        eta: step, below 1 / (L + 1 / gamma) with L the Lipschitz constant of f's gradient by y.
        steps: number of them.
        penalty: g.
        start: theta to begin with; y if None.

    Raises:
        InputError: gamma or eta not positive.
    """
    checks.check_positive(gamma=gamma, eta=eta)
    theta = constants(lower_variables if start is None else start)
    for _ in range(steps):
        theta = envelope_step(lower, upper_variables, lower_variables, theta, gamma=gamma, eta=eta, penalty=penalty)
    x = leaves(upper_variables)
    away = [t - y.detach() for t, y in zip(theta, lower_variables, strict=True)]
    with torch.enable_grad():
        value = total(lower, penalty, x, theta)
        upper_gradient = gradients(value, x)
    value = value.detach() + inner(away, away) / (2 * gamma)
    return Envelope(value, theta, upper_gradient, [-a / gamma for a in away])


def envelope_step(
    lower: Objective,
    upper_variables: Variables,
    lower_variables: Variables,
    theta: Variables,
    *,
    gamma: float,
    eta: float,
    penalty: Penalty | None = None,
) -> list[Tensor]:
    """theta after one proximal gradient step, with the options of `moreau_envelope`."""
    x, point = constants(upper_variables), leaves(theta)
    with torch.enable_grad():
        slope = gradients(lower(x, point), point)
    with torch.no_grad():
        pull = torch._foreach_sub(constants(point), constants(lower_variables))
        moved = descend(constants(point), torch._foreach_add(slope, pull, alpha=1 / gamma), eta)
        return moved if penalty is None else penalty.prox(x, moved, eta)


def total(lower: Objective, penalty: Penalty | None, x: Variables, y: Variables) -> Tensor:
    """f + g."""
    value = lower(x, y)
    return value if penalty is None else value + penalty.value(x, y)
