"""Gradient-normalised smoothness: how far the linear model of a gradient is good, relative to the gradient.

    gamma(x) = largest gamma with |grad f(x + h) - grad f(x) - H h| <= |grad f(x)| |h| / gamma for all |h| <= gamma

Source: A. Semenov, M. Jaggi and N. Doikov, arXiv:2506.13710 (2025).

*When not to use it*: as a bound. Sampling and local search find too large a radius where they miss the worst step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.second_order.metric import Metric

_FRACTIONS = (0.01, 0.1, 0.3, 0.6, 0.8, 0.9, 1.0)


def gradient_normalized_smoothness(
    gradient: Callable[[Tensor], Tensor],
    x: Float[Tensor, " n"],
    hessian: Float[Tensor, "n n"],
    *,
    seed: int,
    metric: Float[Tensor, "n n"] | None = None,
    directions: int = 64,
    ascents: int = 50,
    largest: float = 1e8,
) -> float:
    """Estimate of gamma(x), in float64; infinity where no violation is found up to `largest`.

    Args:
        gradient: x -> grad f(x).
        x: where.
        hessian: H, exact or not.
        seed: of the directions.
        metric: B, with which |h|^2 is h.B h and |g|^2 of gradients is g.B^-1 g.
        directions: sampled, beside their negatives.
        ascents: random changes of the worst direction, each kept if it is worse.
        largest: radius at which the search ends.

    Raises:
        InputError: a gradient at x that is 0 or not finite.
    """
    x, hessian = x.double(), hessian.double()
    root = Metric(metric, like=x).root
    if root is not None:  # in z = root' x both norms are Euclidean
        back, given = torch.linalg.inv(root).mT, gradient
        gradient = lambda z: back.mT @ given(back @ z).double()  # noqa: E731
        x, hessian = root.mT @ x, back.mT @ hessian @ back
    g = gradient(x).double()
    norm = float(torch.linalg.vector_norm(g))
    if not (math.isfinite(norm) and norm > 0):
        raise InputError(f"gradient: its norm at x is {norm}; gamma is defined where it is positive and finite")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(directions, len(x), generator=generator, dtype=torch.float64).to(x.device)
    noise = 64 * torch.finfo(torch.float64).eps

    def allowed(h: Tensor) -> float:
        there, linear = gradient(x + h).double(), hessian @ h
        miss = float((there - g - linear).norm())
        rounding = noise * (norm + float(there.norm()) + float(linear.norm()))
        return math.inf if miss <= rounding else norm * float(h.norm()) / miss

    def holds(gamma: float) -> bool:
        steps = [sign * s * gamma * d / d.norm() for d in drawn for sign in (1, -1) for s in _FRACTIONS]
        worst = min(steps, key=allowed)
        level, spread = allowed(worst), 0.3
        for _ in range(ascents):
            if not level >= gamma:
                return False
            change = torch.randn(len(x), generator=generator, dtype=torch.float64).to(x.device)
            trial = worst + spread * worst.norm() * change / change.norm()
            trial = trial * min(1.0, gamma / float(trial.norm()))
            if (found := allowed(trial)) < level:
                worst, level = trial, found
            else:
                spread *= 0.9
        return level >= gamma

    if holds(largest):
        return math.inf
    low, high = 1e-16 * largest, largest
    while high > 1.002 * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
