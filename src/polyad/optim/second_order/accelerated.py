"""Accelerated cubic Newton with a stochastic gradient and an inexact Hessian, for convex functions.

With alpha_t = 3 / (t + 3) and A_t = 6 / ((t + 1)(t + 2)(t + 3)), from y_0 = x_0 and G = 0,

    v       = (1 - alpha_t) x_t + alpha_t y_t
    x_{t+1} = v + argmin_h g(v).h + h.H(v)h/2 + dbar_t |h|^2/2 + M |h|^3/6
    G      += alpha_t / A_t g(x_{t+1})
    y_{t+1} = argmin_x b/2 |x - x_0|^2 + k/3 |x - x_0|^3 + G.x,     b = kappa2 + lambda,  k = kappa3

    lambda_t = sigma/R (t+3)^{5/2},                 dbar_t = delta2 + (sigma + tau)/R (t+3)^{3/2},
    kappa2_{t+1} = 2 dbar_t alpha_{t+1}^2/A_{t+1},  kappa3_{t+1} = 8M/3 alpha_{t+1}^3/A_{t+1}

Source: A. Agafonov, D. Kamzolov, A. Gasnikov, A. Kavis, K. Antonakopoulos, V. Cevher and M. Takac, ICLR 2024,
arXiv:2309.01570.

*Deviations*: the four schedules have the units and the growth that the paper's proof needs; their constants are not
copied from it. y_{t+1} takes lambda_{t}, the noise that G holds by then.

*When not to use it*: on small, smooth problems with exact derivatives plain Newton converges superlinearly and wins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.optim import checks
from polyad.optim.second_order.cubic import minimize_cubic

Hessian = Tensor | Callable[[Tensor], Tensor]
Oracle = Callable[[Tensor], tuple[Any, Tensor, Hessian]]
"""x -> (value, gradient, Hessian as a matrix or as v -> H v)."""


@final
class AcceleratedInexactNewton:
    """`step(oracle)` moves `x`; `y` and `total_gradient` (G) are the estimating sequence's.

    Args:
        start: x_0, (n,); copied to float64.
        cubic: M, at least twice the Lipschitz constant of the Hessian.
        radius: R, about |x_0 - x*|; matters only where `sigma` or `tau` is not 0.
        sigma: standard deviation of the gradient's noise.
        tau: norm of the cubic model's gradient that is small enough.
        delta2: spectral norm of the Hessian's error.

    Raises:
        InputError: a constant that cannot be used, or a start that is not finite.
    """

    def __init__(
        self,
        start: Float[Tensor, " n"],
        *,
        cubic: float,
        radius: float,
        sigma: float = 0.0,
        tau: float = 0.0,
        delta2: float = 0.0,
    ) -> None:
        checks.check_positive(cubic=cubic, radius=radius)
        checks.check_not_negative(sigma=sigma, tau=tau, delta2=delta2)
        if start.is_complex() or not bool(start.isfinite().all()):
            raise InputError("start: must be real and finite")
        self.cubic, self.radius, self.sigma, self.tau, self.delta2 = cubic, radius, sigma, tau, delta2
        self.start = start.detach().double().clone()
        self.x, self.y = self.start.clone(), self.start.clone()
        self.total_gradient = torch.zeros_like(self.start)
        self.steps = 0

    def step(self, oracle: Oracle) -> Any:
        """One step, two calls of the oracle; returns its value at the new x.

        Raises:
            InputError: a gradient or Hessian that is not finite; nothing has changed then.
        """
        t = self.steps
        alpha = _alpha(t)
        penalty = self.delta2 + (self.sigma + self.tau) / self.radius * (t + 3) ** 1.5
        v = (1 - alpha) * self.x + alpha * self.y
        _, gradient, hessian = oracle(v)
        model = minimize_cubic(gradient, hessian, cubic=self.cubic, quadratic=penalty, tolerance=self.tau)
        x = v + model.step
        value, gradient, _ = oracle(x)
        if not bool(gradient.isfinite().all()):
            raise InputError("oracle: the gradient is not finite; raise `cubic`, or look at the function")
        total = self.total_gradient + alpha / _weight(t) * gradient.double()
        after, weight = _alpha(t + 1), _weight(t + 1)
        linear = 2 * penalty * after**2 / weight + self.sigma / self.radius * (t + 3) ** 2.5
        self.x, self.total_gradient = x, total
        self.y = self.start + minimize_powers(total, linear, 8 * self.cubic / 3 * after**3 / weight)
        self.steps = t + 1
        return value

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on to the bit."""
        return {name: getattr(self, name) for name in ("start", "x", "y", "total_gradient", "steps")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Raises:
            InputError: the state of a point of another size.
        """
        if state["x"].shape != self.x.shape:
            raise InputError(f"state: has {len(state['x'])} numbers, here there are {len(self.x)}")
        for name in ("start", "x", "y", "total_gradient"):
            setattr(self, name, state[name].clone())
        self.steps = int(state["steps"])


def minimize_powers(slope: Float[Tensor, " n"], linear: float, square: float) -> Float[Tensor, " n"]:
    """The minimiser of b/2 |h|^2 + k/3 |h|^3 + G.h, with b = `linear` >= 0 and k = `square` > 0, in closed form."""
    norm = float(torch.linalg.vector_norm(slope))
    if norm == 0:
        return torch.zeros_like(slope)
    root = 2 * norm / (linear + math.sqrt(linear**2 + 4 * square * norm))  # of k r^2 + b r = |G|, without cancellation
    return -slope / (linear + square * root)


def _alpha(t: int) -> float:
    return 3 / (t + 3)


def _weight(t: int) -> float:
    return 6 / ((t + 1) * (t + 2) * (t + 3))
