"""The Newton kernel 1/r as a sum of Gaussians, split by range.

    1/r = (2/sqrt(pi)) int_0^inf exp(-r^2 t^2) dt = (2/sqrt(pi)) int exp(s - r^2 e^(2s)) ds
        ~ sum_k w_k exp(-t_k^2 r^2),      t_k = e^(s_k),  s_k equally spaced by h,  w_k = (2/sqrt(pi)) h t_k

The rule converges exponentially, with a relative error of about exp(-pi^2 / (2 h)); ends that are cut off cost the
missing part of the integral. Gaussians with t_k <= t* are smooth: the long-range part. The others vanish beyond a few
1/t*: the short-range part.

Sources: F. Stenger, *Numerical Methods Based on Sinc and Analytic Functions*, Springer 1993; P. Benner, V. Khoromskaia,
B. N. Khoromskij, SIAM J. Sci. Comput. 40 (2018) A1034 (range separation).

When not to use it: at distances below a few e^(-s) of the last s, where the sum stays finite and 1/r does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class GaussianSum:
    """sum_k weights_k exp(-rates_k^2 r^2).

    Args:
        weights: in 1/length.
        rates: t_k >= 0 in 1/length, ascending.
    """

    weights: Tensor
    rates: Tensor

    def __post_init__(self) -> None:
        if self.weights.ndim != 1 or self.weights.shape != self.rates.shape:
            raise InputError(
                f"weights: {tuple(self.weights.shape)} beside rates {tuple(self.rates.shape)}; give one each a Gaussian"
            )
        if not bool((self.rates >= 0).all() and (self.rates.diff() > 0).all()):
            raise InputError("rates: they must be finite, >= 0 and strictly ascending")

    def evaluate(self, distances: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Values at distances r."""
        squares = distances.square()
        total = torch.zeros_like(distances)
        for weight, rate in zip(self.weights, self.rates, strict=True):
            total = total + weight * torch.exp(-(rate**2) * squares)
        return total

    def split(self, cutoff: float) -> tuple[GaussianSum, GaussianSum]:
        """Long-range part (t_k <= cutoff) and short-range rest; their sum is this sum.

        Raises:
            InputError: a cutoff that leaves one part empty.
        """
        count = int((self.rates <= cutoff).sum())
        if not 0 < count < len(self.rates):
            raise InputError(
                f"cutoff: {cutoff:g} leaves one part empty; choose it between {float(self.rates[0]):g} and "
                f"{float(self.rates[-1]):g}"
            )
        long, short = slice(None, count), slice(count, None)
        return (
            GaussianSum(self.weights[long], self.rates[long]),
            GaussianSum(self.weights[short], self.rates[short]),
        )

    def reach(self, tolerance: float) -> float:
        """A distance beyond which the sum stays below `tolerance` (in 1/length); infinite with a rate of zero."""
        if float(self.evaluate(self.rates.new_zeros(()))) <= tolerance:
            return 0.0
        if float(self.rates[0]) == 0:
            return math.inf
        low, high = 0.0, 1 / float(self.rates[0])
        while float(self.evaluate(self.rates.new_tensor(high))) > tolerance:
            low, high = high, 2 * high
        for _ in range(60):
            middle = (low + high) / 2
            inside = float(self.evaluate(self.rates.new_tensor(middle))) > tolerance
            low, high = (middle, high) if inside else (low, middle)
        return high


def sinc_gaussians(
    lower: float = -12.0,
    upper: float = 6.0,
    terms: int = 160,
    *,
    tail: bool = False,
    dtype: torch.dtype = torch.float64,
) -> GaussianSum:
    """1/r by the rule with `terms` equally spaced s = log t from `lower` to `upper`.

    Args:
        tail: add one constant, a Gaussian of rate 0, for all s below `lower`: the error there falls from
            (2/sqrt(pi)) t r to about t^3 r^3 relative to 1/r.
    """
    if terms < 2 or not lower < upper:
        raise InputError(
            f"terms: {terms} on [{lower:g}, {upper:g}] were given; at least 2, and lower < upper are needed"
        )
    step = (upper - lower) / (terms - 1)
    rates = torch.exp(torch.linspace(lower, upper, terms, dtype=torch.float64))
    weights = 2 / math.sqrt(math.pi) * step * rates
    if tail:
        rest = weights[:1] / math.expm1(step)  # the geometric series of the weights below
        weights, rates = torch.cat([rest, weights]), torch.cat([torch.zeros_like(rest), rates])
    return GaussianSum(weights.to(dtype), rates.to(dtype))


def newton_kernel(
    nearest: float, farthest: float, *, accuracy: float = 1e-8, dtype: torch.dtype = torch.float64
) -> GaussianSum:
    """1/r to a relative accuracy for distances from `nearest` to `farthest`, with few Gaussians and a constant."""
    if not (0 < nearest < farthest < math.inf and 0 < accuracy < 0.1):
        raise InputError(
            f"nearest: {nearest:g}, farthest {farthest:g}, accuracy {accuracy:g}; 0 < nearest < farthest and "
            "0 < accuracy < 0.1 are needed"
        )
    step = math.pi**2 / (2 * math.log(6 / accuracy))
    upper = math.log(math.sqrt(math.log(1 / accuracy)) / nearest)
    lower = math.log(accuracy ** (1 / 3) / farthest)
    terms = max(2, 1 + math.ceil((upper - lower) / step))
    return sinc_gaussians(upper - (terms - 1) * step, upper, terms, tail=True, dtype=dtype)
