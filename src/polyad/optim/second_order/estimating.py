"""The estimating sequence of accelerated tensor methods: two sequences of points, weights, and sums of gradients.

For a method of order p, with alpha_t = (p + 1) / (t + p + 1) and A_t = prod_{0 < j <= t} (1 - alpha_j), from y_0 = x_0
and G = 0,

    v = (1 - alpha_t) x_t + alpha_t y_t,    x_{t+1} from a model at v,    G += alpha_t / A_t g(x_{t+1}),
    y_{t+1} = argmin_x (kappa_2 + lambda) / 2 |x - x_0|^2 + sum_{i=3}^{p+1} kappa_i / i |x - x_0|^i + G . (x - x_0)

Source: A. Agafonov, D. Kamzolov, A. Gasnikov, A. Kavis, K. Antonakopoulos, V. Cevher and M. Takac, ICLR 2024,
arXiv:2309.01570.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.second_order.oracles import checked_start, load, saved

Schedule = Callable[[int], float]
"""Number t of a step -> a weight that it uses."""

_STATE = ("start", "x", "y", "total_gradient", "steps", "skipped_steps")


def share(t: int, order: int) -> float:
    """alpha_t, the part of y in v."""
    return (order + 1) / (t + order + 1)


def weight(t: int, order: int) -> float:
    """A_t = (p + 1)! t! / (t + p + 1)!."""
    return math.factorial(order + 1) / math.prod(range(t + 1, t + order + 2))


def growth(t: int, order: int, power: int) -> float:
    """alpha_{t+1}^power / A_{t+1}, the growth of kappa_power."""
    return share(t + 1, order) ** power / weight(t + 1, order)


@final
class EstimatingSequence:
    """The points `x` and `y`, G (`total_gradient`) and the numbers of steps taken and skipped.

    Args:
        start: x_0, (n,); copied to float64.
        order: p.
        noise: lambda_t.
        kappas: kappa_2, ..., kappa_{p+1} that the step t ends with.
    """

    def __init__(self, start: Float[Tensor, " n"], *, order: int, noise: Schedule, kappas: Sequence[Schedule]) -> None:
        self.start = checked_start(start)
        self.order, self.noise, self.kappas = order, noise, tuple(kappas)
        self.x, self.y = self.start.clone(), self.start.clone()
        self.total_gradient = torch.zeros_like(self.start)
        self.steps = self.skipped_steps = 0

    def looking_point(self) -> Float[Tensor, " n"]:
        """v, where the model is taken."""
        alpha = share(self.steps, self.order)
        return (1 - alpha) * self.x + alpha * self.y

    def advance(self, x: Float[Tensor, " n"], gradient: Float[Tensor, " n"]) -> None:
        """Take x_{t+1} and the gradient there, and move y.

        Raises:
            InputError: a schedule's weight is negative or not finite; nothing has changed then.
        """
        t = self.steps
        total = self.total_gradient + share(t, self.order) / weight(t, self.order) * gradient
        weights = [kappa(t) for kappa in self.kappas]
        weights[0] += self.noise(t)
        y = self.start + minimize_powers(total, weights)
        self.x, self.total_gradient, self.y, self.steps = x, total, y, t + 1

    def state_dict(self) -> dict[str, Any]:
        """Points, gradients' sum and step number, copied."""
        return saved(self, *_STATE)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            InputError: the state of something else, or of a point of another size.
        """
        load(self, state, *_STATE)


def minimize_powers(slope: Float[Tensor, " n"], weights: Sequence[float]) -> Float[Tensor, " n"]:
    """The minimiser of k_2/2 |h|^2 + k_3/3 |h|^3 + ... + G.h, from `weights` (k_2, k_3, ...).

    Its length r is the root of k_2 r + k_3 r^2 + ... = |G|, in closed form where there are two powers.

    Raises:
        InputError: weights that are negative, not finite, or all 0.
    """
    if not all(math.isfinite(k) and k >= 0 for k in weights) or not any(weights):
        raise InputError(f"schedules: weights {tuple(weights)}; they must be finite, >= 0 and not all 0")
    norm = float(torch.linalg.vector_norm(slope))
    if norm == 0:
        return torch.zeros_like(slope)
    if len(weights) == 2:
        linear, square = weights
        root = 2 * norm / (linear + math.sqrt(linear**2 + 4 * square * norm))  # without cancellation
        return -slope / (linear + square * root)
    highest = min((norm / k) ** (1 / (i + 1)) for i, k in enumerate(weights) if k > 0)

    def stiffness(r: float) -> float:
        return sum(k * r**i for i, k in enumerate(weights))

    root = highest
    if stiffness(highest) * highest > norm:
        root = float(brentq(lambda r: stiffness(r) * r / norm - 1, 0.0, highest, xtol=1e-300, rtol=1e-15))
    return -slope / stiffness(root)
