"""MEHA: bilevel optimisation in a single loop, with first derivatives only, for lower levels that need not be convex.

min over (x, y) of F(x, y) where y minimises f(x, .) + g(x, .) becomes F + c_k (f + g - v) with v the Moreau envelope
(`envelope`) and c_k = c0 (k + 1)^p. A step, with D = grad (f + g):

    theta <- prox_{eta g}( theta - eta (grad_y f(x, theta) + (theta - y) / gamma) )
    x <- x - alpha ( grad_x F(x, y) / c_k + D_x(x, y) - D_x(x, theta) )
    y <- prox_{beta g}( y - beta (grad_y F(x, y) / c_k + grad_y f(x, y) - (y - theta) / gamma) )

    optimizer = MEHA(x, y, gamma=1.0, eta=0.1, alpha=0.01, beta=0.1)
    for _ in range(1000):
        optimizer.step(upper, lower)

with objectives that are functions of both lists of variables (`objectives`). For stochastic objectives, hand over new
ones at each step.

Choices. gamma below 1 / rho, rho the weak-convexity modulus of f(x, .) + g(x, .) (theory: 1 / (2 rho)): with a larger
one theta may stay in another valley than y, and both stop at grad f = (y - theta) / gamma in place of at the bottom.
eta below 1 / (L + 1 / gamma) with L the Lipschitz constant of f's gradient by y. The error of x is about 1 / c_k and
steps on F have length alpha / c_k: p near 1/2 and a larger c0 are more accurate and slower.

Source: Liu, Liu, Yao, Zeng, Zhang, ICML 2024, arXiv:2405.09927, algorithm 1.

Deviations: objectives take their variables, in place of closures without arguments, so that f can be asked for at theta
without touching y. `order` also offers y before x, and both from the same point, which saves a pass through F and f. On
sines, gamma = 10 fails from starts that F draws over a ridge, not from those within the right valley.

When not to use it: where the lower level has a closed solution, or is so small that a Hessian costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim import checks
from polyad.optim.base import GradientOptimizer, add_scaled
from polyad.optim.bilevel.envelope import envelope_step, total
from polyad.optim.bilevel.objectives import Objective, Penalty, Variables, constants, descend, gradients, inner, leaves

ORDERS = {"upper": (("upper",), ("lower",)), "lower": (("lower",), ("upper",)), "together": (("upper", "lower"),)}
"""By name, which levels move after theta, one after the other or from the same point."""


@final
@dataclass(frozen=True)
class Residual:
    """How far a point is from stationary.

    Args:
        upper: length of the gradient of F + c (f + g - v) by x.
        lower: the same by y; with a penalty, of the proximal gradient map.
        gap: f + g - v, from the present theta a lower bound.
        strength: c_k.
    """

    upper: float
    lower: float
    gap: float
    strength: float

    @property
    def total(self) -> float:
        """Length over both levels."""
        return float((self.upper**2 + self.lower**2) ** 0.5)


@final
class MEHA(GradientOptimizer):
    """Single-loop, Hessian-free bilevel optimisation by the Moreau envelope.

    Args:
        upper_params: x.
        lower_params: y; theta is kept in their states and starts at y.
        gamma: of the envelope.
        eta: step of theta.
        alpha: step of x, the rate of the first parameter group.
        beta: step of y, the rate of the second.
        c0: first weight of the lower level.
        p: power by which it grows, below 1/2.
        order: one of `ORDERS`.
        penalty: g.

    Raises:
        InputError: an option out of its range, or what `polyad.optim.checks` refuses.
    """

    def __init__(
        self,
        upper_params: Variables,
        lower_params: Variables,
        *,
        gamma: float = 1.0,
        eta: float = 0.1,
        alpha: float = 0.01,
        beta: float = 0.1,
        c0: float = 1.0,
        p: float = 0.49,
        order: str = "upper",
        penalty: Penalty | None = None,
    ) -> None:
        checks.check_positive(gamma=gamma, eta=eta, c0=c0)
        if not 0 <= p < 0.5:
            raise InputError(f"p: must lie in [0, 0.5), got {p}")
        if order not in ORDERS:
            raise InputError(f"order: {order!r} is unknown; choose one of {', '.join(ORDERS)}")
        options = {"gamma": gamma, "eta": eta, "c0": c0, "p": p, "order": order, "steps": 0}
        groups = [
            {"params": list(upper_params), "lr": alpha, "name": "upper", **options},
            {"params": list(lower_params), "lr": beta, "name": "lower"},
        ]
        super().__init__(groups, {})
        self._penalty = penalty

    def check_options(self, group: dict[str, Any]) -> None:
        """Refuse groups beyond the two levels."""
        if len(self.param_groups) > 2:
            raise InputError("MEHA: has two groups, the upper and the lower level; give all tensors of a level at once")

    @property
    def strength(self) -> float:
        """c_k of the next step."""
        options = self.param_groups[0]
        return float(options["c0"] * (options["steps"] + 1) ** options["p"])

    def step(self, upper: Objective, lower: Objective) -> Tensor:  # type: ignore[override]
        """One step; returns F at its beginning.

        A step that would meet a gradient that is not finite is skipped whole and counted (`skipped_steps`).

        Args:
            upper: F.
            lower: f, without the penalty.
        """
        options = self.param_groups[0]
        before = [p.detach().clone() for p in (*self._x, *self._y)]
        gamma, eta = options["gamma"], options["eta"]
        theta = envelope_step(lower, self._x, self._y, self._theta(), gamma=gamma, eta=eta, penalty=self._penalty)
        values = []
        for levels in ORDERS[options["order"]]:
            value, directions = self._directions(upper, lower, theta, levels)
            values.append(value)
            if not checks.all_finite([*theta, *(d for ds in directions.values() for d in ds)]):
                with torch.no_grad():
                    torch._foreach_copy_([*self._x, *self._y], before)
                checks.count_skipped(self)
                return values[0]
            for level, direction in directions.items():
                self._move(level, direction)
        for y, point in zip(self._y, theta, strict=True):
            self.state[y]["theta"] = point
        options["steps"] += 1
        return values[0]

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Move the parameters of a group against their gradients by its rate."""
        add_scaled(parameters, [p.grad for p in parameters if p.grad is not None], -group["lr"])

    def residual(self, upper: Objective, lower: Objective) -> Residual:
        """Of the present point, with theta as it is after the last step.

        Args:
            upper: F.
            lower: f, without the penalty.
        """
        theta, strength = self._theta(), self.strength
        _, directions = self._directions(upper, lower, theta, ("upper", "lower"))
        with torch.no_grad():
            if self._penalty is not None:
                step = self.param_groups[1]["lr"]
                moved = self._penalty.prox(self._x, descend(self._y, directions["lower"], step), step)
                directions["lower"] = [(y - z) / step for y, z in zip(self._y, moved, strict=True)]
            away = torch._foreach_sub(theta, self._y)
            gap = total(lower, self._penalty, self._x, self._y) - total(lower, self._penalty, self._x, theta)
            gap = gap - inner(away, away) / (2 * self.param_groups[0]["gamma"])
        lengths = {level: strength * float(inner(d, d)) ** 0.5 for level, d in directions.items()}
        return Residual(lengths["upper"], lengths["lower"], float(gap), strength)

    @property
    def _x(self) -> list[Tensor]:
        return list(self.param_groups[0]["params"])

    @property
    def _y(self) -> list[Tensor]:
        return list(self.param_groups[1]["params"])

    def _theta(self) -> list[Tensor]:
        return [self.state[y]["theta"] if self.state.get(y) else y.detach().clone() for y in self._y]

    def _directions(
        self, upper: Objective, lower: Objective, theta: list[Tensor], levels: Sequence[str]
    ) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """F, and by level the gradient of F / c + f + g - v, by y without that of g."""
        x = leaves(self._x) if "upper" in levels else constants(self._x)
        y = leaves(self._y) if "lower" in levels else constants(self._y)
        variables = {"upper": x, "lower": y}
        with torch.enable_grad():
            wanted = [v for level in levels for v in variables[level]]
            value = upper(x, y)
            above = gradients(value, wanted)  # one graph at a time: that is what memory is needed for
            slopes = iter(descend(gradients(lower(x, y), wanted), above, -1 / self.strength))
            found = {level: [next(slopes) for _ in variables[level]] for level in levels}
            if "upper" in found:
                difference = -lower(x, theta)
                if self._penalty is not None:
                    difference = difference + self._penalty.value(x, constants(y)) - self._penalty.value(x, theta)
                found["upper"] = descend(found["upper"], gradients(difference, x), -1.0)
        if "lower" in found:
            away = torch._foreach_sub(constants(y), theta)
            found["lower"] = descend(found["lower"], away, 1 / self.param_groups[0]["gamma"])
        return value.detach(), found

    @torch.no_grad()
    def _move(self, level: str, directions: list[Tensor]) -> None:
        group = self.param_groups[0 if level == "upper" else 1]
        add_scaled(group["params"], directions, -group["lr"])
        if level == "lower" and self._penalty is not None:
            torch._foreach_copy_(self._y, self._penalty.prox(self._x, constants(self._y), group["lr"]))
