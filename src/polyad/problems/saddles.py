"""Functions with strict saddles and known minima, for methods that must leave saddles.

All take batches, Float[Tensor, "... d"] to Float[Tensor, "..."], are twice differentiable, and are even about their
start, a saddle with negative curvature (of phase retrieval a maximum): a method that only sees f(x + v) - f(x - v) does
not move there.

The octopus is that of Du, Jin, Lee, Jordan, Singh, Poczos, 'Gradient descent can take exponential time to escape saddle
points', NeurIPS 2017, section 4. There it is given along the path that descent takes; here the same pieces are put
together so that it is defined everywhere,

    f(x) = a(x_1) + sum_{j > 1} s(x_{j-1}) a(x_j) + (1 - s(x_{j-1})) L x_j^2,

with the even well a (curvature -2 gamma at 0, 2 L about its minima at +-4 tau) and the switch s, 0 up to tau and 1 from
2 tau: coordinate j becomes unstable once the one before has left. The saddles on the path, the start and d - 1 more,
are (4 tau, ..., 4 tau, 0, ..., 0).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from polyad.errors import InputError


@final
@dataclass(frozen=True)
class SaddleProblem:
    """A function, the saddle to start from and what is known of it.

    Attributes:
        name: what it is called.
        function: values at points, Float[Tensor, "... d"] to Float[Tensor, "..."].
        saddle: Float[Tensor, "d"], float64, a strict saddle about which the function is even.
        minimum: its least value; for the octopus that of the minimum at the end of its path.
        lipschitz: a constant L of the gradient on the way from saddle to minimum.
        hessian_lipschitz: a scale rho of the Hessian's change there.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    saddle: Tensor
    minimum: float
    lipschitz: float
    hessian_lipschitz: float

    @property
    def dimension(self) -> int:
        """Number of variables."""
        return len(self.saddle)


def strict_saddle_quartic(dimension: int) -> SaddleProblem:
    """x_1^4 / 4 - x_1^2 / 2 + sum_{i > 1} x_i^2 / 2: minima -1/4 at x_1 = +-1."""
    _check_dimension(dimension, 1)

    def function(x: Tensor) -> Tensor:
        return x[..., 0] ** 4 / 4 - x[..., 0] ** 2 / 2 + (x[..., 1:] ** 2).sum(-1) / 2

    return SaddleProblem("quartic", function, _zeros(dimension), -0.25, 2.0, 6.0)


def cubic_regularized_quadratic(
    dimension: int, *, negative: float = 0.5, hessian_lipschitz: float = 1.0
) -> SaddleProblem:
    """(-gamma x_1^2 + sum_{i > 1} x_i^2) / 2 + rho ||x||^3 / 6, least at x_1 = +-2 gamma / rho: -2 gamma^3 / (3 rho^2).

    Args:
        dimension: d.
        negative: gamma, the curvature against the first coordinate.
        hessian_lipschitz: rho.
    """
    _check_dimension(dimension, 1)
    if not (negative > 0 and hessian_lipschitz > 0):
        raise InputError(f"negative, hessian_lipschitz: must be positive, got {negative}, {hessian_lipschitz}")

    def function(x: Tensor) -> Tensor:
        quadratic = -negative * x[..., 0] ** 2 + (x[..., 1:] ** 2).sum(-1)
        square = (x * x).sum(-1)
        cube = torch.where(square > 0, torch.where(square > 0, square, 1.0) ** 1.5, 0.0)  # its Hessian at 0 is 0
        return quadratic / 2 + hessian_lipschitz / 6 * cube

    minimum = -2 * negative**3 / (3 * hessian_lipschitz**2)
    return SaddleProblem("cubic", function, _zeros(dimension), minimum, 1 + 2 * negative, hessian_lipschitz)


def matrix_factorization(rows: int, rank: int, *, seed: int = 0) -> SaddleProblem:
    """||U U' - M||_F^2 over U of rows x rank, d = rows * rank, with M a random projection on `rank` directions.

    The minimum is 0, the origin a strict saddle (curvature -4), the curvature at the minima at most 8.

    Args:
        rows: of U and M.
        rank: columns of U.
        seed: of M.
    """
    _check_dimension(rank, 1)
    _check_dimension(rows, rank)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(rows, rank, dtype=torch.float64, generator=generator)).Q

    def function(x: Tensor) -> Tensor:  # ||U'U||^2 - 2 ||B'U||^2 + ||M||^2 with M = B B': no matrix of rows x rows
        factor = x.reshape(*x.shape[:-1], rows, rank)
        return _squares(factor.mT @ factor) - 2 * _squares(basis.to(x).mT @ factor) + rank

    return SaddleProblem("matrix factorisation", function, _zeros(rows * rank), 0.0, 8.0, 24.0)


def phase_retrieval(dimension: int, *, measurements: int | None = None, seed: int = 0) -> SaddleProblem:
    """(1 / 4n) sum_i ((a_i . x)^2 - (a_i . x*)^2)^2 with normal a_i and ||x*|| = 1; the origin is a maximum.

    Args:
        dimension: d.
        measurements: n, 8 d unless given.
        seed: of a_i and x*.
    """
    _check_dimension(dimension, 1)
    count = 8 * dimension if measurements is None else measurements
    _check_dimension(count, 1)
    generator = torch.Generator().manual_seed(seed)
    sensors = torch.randn(count, dimension, dtype=torch.float64, generator=generator)
    truth = torch.randn(dimension, dtype=torch.float64, generator=generator)
    intensities = (sensors @ (truth / torch.linalg.vector_norm(truth))) ** 2

    def function(x: Tensor) -> Tensor:
        return (((x @ sensors.mT.to(x)) ** 2 - intensities.to(x)) ** 2).mean(-1) / 4

    spread = torch.linalg.matrix_norm(sensors, 2) ** 2 / count
    return SaddleProblem("phase retrieval", function, _zeros(dimension), 0.0, 6 * float(spread), 24.0)


def octopus(dimension: int, *, lipschitz: float = 1.0, negative: float = 0.5, length: float = 1.0) -> SaddleProblem:
    """A chain of strict saddles, one a coordinate (see the module): minimum -d nu at x_i = +-4 tau.

    Args:
        dimension: d.
        lipschitz: L > gamma; the largest curvature along the path is 2 L.
        negative: gamma, half the negative curvature.
        length: tau.
    """
    _check_dimension(dimension, 1)
    if not (0 < negative <= lipschitz and length > 0):
        raise InputError(
            f"octopus: needs 0 < negative <= lipschitz and length > 0, got {negative}, {lipschitz}, {length}"
        )
    turn = torch.tensor(2 * length, dtype=torch.float64)
    depth = 4 * lipschitz * length**2 - float(_well_middle(turn, lipschitz, negative, length))

    def well(x: Tensor) -> Tensor:
        size = x.abs()  # not in the inner piece: autograd's second derivative of |x| at 0 is wrong in a square
        middle = _well_middle(size, lipschitz, negative, length)
        outer = lipschitz * (size - 4 * length) ** 2 - depth
        return torch.where(size <= length, -negative * x**2, torch.where(size <= 2 * length, middle, outer))

    def switch(x: Tensor) -> Tensor:
        s = ((x.abs() - length) / length).clamp(0, 1)
        return s**3 * (10 - 15 * s + 6 * s**2)

    def function(x: Tensor) -> Tensor:
        on, after = switch(x[..., :-1]), x[..., 1:]
        return well(x[..., 0]) + (on * well(after) + (1 - on) * lipschitz * after**2).sum(-1)

    return SaddleProblem(
        "octopus", function, _zeros(dimension), -dimension * depth, 2 * lipschitz, 10 * lipschitz / length
    )


def _well_middle(t: Tensor, lipschitz: float, negative: float, length: float) -> Tensor:
    """Between tau and 2 tau: joins -gamma t^2 to L (t - 4 tau)^2 - nu with two derivatives."""
    shifted = t - length
    return (
        -negative * t**2
        + (-14 * lipschitz + 10 * negative) / (3 * length) * shifted**3
        + (5 * lipschitz - 3 * negative) / (2 * length**2) * shifted**4
    )


def _squares(matrix: Tensor) -> Tensor:
    return (matrix * matrix).sum((-2, -1))


def _zeros(dimension: int) -> Tensor:
    return torch.zeros(dimension, dtype=torch.float64)


def _check_dimension(given: int, least: int) -> None:
    if given < least:
        raise InputError(f"dimension: must be at least {least}, got {given}")
