"""Stationary Matern processes on the line as linear stochastic differential equations.

A process of smoothness p + 1/2 is the first component of the state x = (f, f', .., f^(p)), and over a step s

    x(t + s) = A(s) x(t) + N(0, Q(s)),   x(t) ~ N(0, P),   Q(s) = P - A(s) P A(s)^T.

With lambda = sqrt(2 p + 1) / lengthscale, J the companion matrix of (s + lambda)^{p+1}, N = J + lambda I (nilpotent)
and e_i the i-th derivative of s^p e^{-lambda s} / p!,

    A(s) = e^{-lambda s} sum_{j <= p} (s N)^j / j!,   Q(s)_ij = q int_0^s e_i(r) e_j(r) dr,
    q = variance (2 lambda)^{2p+1} p!^2 / (2p)!,

the integrals by incomplete gamma functions: P - A P A^T loses all its digits for small s, these do not.

Source: J. Hartikainen and S. Sarkka, IEEE International Workshop on Machine Learning for Signal Processing 2010, 379.

When not to use it: for a smooth kernel such as the squared exponential, which has no finite state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError

_DERIVATIVES = {"matern12": 0, "matern32": 1, "matern52": 2}


@final
@dataclass(frozen=True, eq=False)
class Matern:
    """Independent stationary Matern processes, one for every entry of `lengthscale` and `variance`.

    Args:
        kernel: "matern12", "matern32" or "matern52": 0, 1 or 2 derivatives exist.
        lengthscale: (*batch,), in the unit of the index, > 0.
        variance: (*batch,), of the function's values, > 0.

    Raises:
        InputError: an unknown kernel, shapes that differ, numbers that are not positive and finite.
    """

    kernel: str
    lengthscale: Tensor
    variance: Tensor

    def __post_init__(self) -> None:
        if self.kernel not in _DERIVATIVES:
            raise InputError(f"kernel: {self.kernel!r} was given, allowed are {', '.join(_DERIVATIVES)}")
        for name in ("lengthscale", "variance"):
            value = getattr(self, name)
            if not value.is_floating_point() or not bool((torch.isfinite(value) & (value > 0)).all()):
                raise InputError(f"{name}: positive finite floating-point numbers are needed")
        if self.lengthscale.shape != self.variance.shape:
            raise InputError(
                f"variance: shape {tuple(self.variance.shape)} was given beside lengthscale "
                f"{tuple(self.lengthscale.shape)}; give one of each a process"
            )

    @property
    def order(self) -> int:
        """Components of the state: the value and its derivatives."""
        return _DERIVATIVES[self.kernel] + 1

    @property
    def rate(self) -> Float[Tensor, "*batch"]:
        """lambda = sqrt(2 p + 1) / lengthscale."""
        return math.sqrt(2 * self.order - 1) / self.lengthscale

    def covariance(self, distance: Float[Tensor, "*points"]) -> Float[Tensor, "*batch *points"]:
        """The kernel at these distances (their sign does not matter): dense oracle of everything else here."""
        shape = (*self.rate.shape, *(1,) * distance.ndim)
        scaled = self.rate.reshape(shape) * distance.abs()
        polynomial = {1: 1 + 0 * scaled, 2: 1 + scaled, 3: 1 + scaled + scaled.square() / 3}[self.order]
        return self.variance.reshape(shape) * polynomial * torch.exp(-scaled)

    def stationary_covariance(self) -> Float[Tensor, "*batch n n"]:
        """P, the covariance of the state at any one index."""
        square = self.rate.square()
        if self.order == 1:
            rows = [[1 + 0 * square]]
        elif self.order == 2:
            rows = [[1 + 0 * square, 0 * square], [0 * square, square]]
        else:
            zero, third = 0 * square, square / 3
            rows = [[1 + zero, zero, -third], [zero, third, zero], [-third, zero, square.square()]]
        return self.variance[..., None, None] * _matrix(rows)

    def transition(
        self, step: Float[Tensor, "*points"]
    ) -> tuple[Float[Tensor, "*batch *points n n"], Float[Tensor, "*batch *points n n"]]:
        """A and Q over steps >= 0."""
        rate = self.rate.reshape(*self.rate.shape, *(1,) * step.ndim)
        decay, zero = torch.exp(-rate * step), 0 * rate * step
        if self.order == 1:
            growth, columns = [[1 + zero]], [[1.0]]
        elif self.order == 2:
            growth = [[1 + rate * step, step + zero], [-rate.square() * step, 1 - rate * step]]
            columns = [[0.0, 1.0], [1.0, -1.0]]
        else:
            s = rate * step
            growth = [
                [1 + s + s.square() / 2, step * (1 + s), step.square() / 2 + zero],
                [-(s.square()) * rate / 2, 1 + s - s.square(), step * (1 - s / 2)],
                [rate.square() * s * (s / 2 - 1), rate * s * (s - 3), 1 - 2 * s + s.square() / 2],
            ]
            columns = [[0.0, 0.0, 0.5], [0.0, 1.0, -0.5], [1.0, -2.0, 0.5]]
        return decay[..., None, None] * _matrix(growth), self._noise(rate, step, columns)

    def _noise(self, rate: Tensor, step: Tensor, columns: list[list[float]]) -> Tensor:
        """Q: row i of `columns` holds e_i as a polynomial in lambda s, up to lambda^(i - p) and the exponential."""
        last = self.order - 1
        variance = self.variance.reshape(rate.shape)
        scale = variance * 2 ** (2 * last + 1) * math.factorial(last) ** 2 / math.factorial(2 * last)
        argument = 2 * rate * step
        moments = [  # int_0^(lambda s) r^k e^(-2 r) dr
            math.factorial(k) / 2 ** (k + 1) * torch.special.gammainc(torch.full_like(argument, k + 1), argument)
            for k in range(2 * last + 1)
        ]
        entries = []
        for i, first in enumerate(columns):
            row = []
            for j, second in enumerate(columns):
                total = torch.zeros_like(argument)
                for a, left in enumerate(first):
                    for b, right in enumerate(second):
                        if left * right:
                            total = total + left * right * moments[a + b]
                row.append(scale * rate ** (i + j) * total)
            entries.append(row)
        return _matrix(entries)


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(torch.broadcast_tensors(*row), -1) for row in rows], -2)
