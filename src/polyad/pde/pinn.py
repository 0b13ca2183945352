"""Physics-informed networks: problems with closed-form solutions, their residuals by autograd, samplers and errors.

A field u(x) is trained on two mean squares, that of the equation's residual inside and that of the conditions on the
boundary and at the initial time:

    problem = poisson_2d(side=0.125)
    generator = torch.Generator().manual_seed(0)

    def closure():
        inside, outside = problem.interior(128, generator), problem.boundary(48, generator)
        return problem.losses(model, inside, outside)    # [residual, boundary]

On a domain of size a the first changes as a^-4 against the second where the solution keeps its height. How much either
means for the error is known for -u'' = f on [0, a] (`poisson_errors`): the root mean square of the error is at most

    (a / pi)^2 sqrt(L_pde) + sqrt(L_bc)

because the smallest eigenvalue of -u'' is (pi / a)^2, and a line between two wrong end values is no further off than
their root mean square: on a large domain a small residual says little.

Sources: Raissi, Perdikaris, Karniadakis, J. Comput. Phys. 378 (2019) 686; Yao et al., ICML 2023, arXiv:2306.02816
(scaled Poisson); Hao et al., PINNacle, 2023, arXiv:2306.08827 (heat on several scales); Basdevant et al., Comput.
Fluids 14 (1986) 23 (Burgers).

Deviations: the bound is derived here; the paper shows one of the same form without its constants. Poisson's equation in
one dimension may have several half waves.

When not to use it: where a mesh fits, finite elements give more digits in less time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError

Field = Callable[[Tensor], Tensor]
"""From points (..., n, d) to values (..., n) or (..., n, 1), each of its own point alone."""


@final
@dataclass(frozen=True, eq=False)
class PINNProblem:
    """An equation on a box, with its solution.

    Args:
        name: in tables.
        lower: smallest coordinates; where there is time, it comes last.
        upper: largest coordinates.
        residual: `residual(u, points)` vanishes at every point where the field u solves the equation.
        exact: the solution, which also gives boundary and initial values.
        faces: (axis, end) of the sides where values are given, end 0 or 1.
    """

    name: str
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    residual: Callable[[Field, Tensor], Tensor]
    exact: Field
    faces: tuple[tuple[int, int], ...]

    def interior(
        self, number: int, generator: torch.Generator, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "number d"]:
        """Points drawn uniformly from the box.

        Args:
            number: of points.
            generator: of randomness.
            dtype: of the points.
        """
        lower, upper = torch.tensor(self.lower, dtype=dtype), torch.tensor(self.upper, dtype=dtype)
        return lower + (upper - lower) * torch.rand(number, len(lower), generator=generator, dtype=dtype)

    def boundary(
        self, number: int, generator: torch.Generator, *, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "number d"]:
        """Points drawn uniformly from the faces in turn, so that every face has its share.

        Args:
            number: of points.
            generator: of randomness.
            dtype: of the points.
        """
        points = self.interior(number, generator, dtype=dtype)
        faces = torch.tensor(self.faces)[torch.arange(number) % len(self.faces)]
        ends = torch.tensor([self.lower, self.upper], dtype=dtype)[faces[:, 1], faces[:, 0]]
        return points.scatter(1, faces[:, :1], ends[:, None])

    def losses(
        self, field: Field, interior: Float[Tensor, "*batch n d"], boundary: Float[Tensor, "*batch m d"]
    ) -> list[Float[Tensor, "*batch"]]:
        """Mean squares of the residual and of the error on the boundary, to be differentiated.

        Args:
            field: what is trained.
            interior: points inside.
            boundary: points on the faces.
        """
        wrong = values(field, boundary) - self.exact(boundary)
        return [self.residual(field, interior).square().mean(-1), wrong.square().mean(-1)]

    def relative_error(self, field: Field, *, points: int = 64) -> Float[Tensor, "*batch"]:
        """|u - exact| / |exact| in the L2 norm of the box, by a midpoint rule.

        Args:
            field: to be judged.
            points: of the rule along each axis.

        Raises:
            InputError: fewer than one point.
        """
        if points < 1:
            raise InputError(f"points: must be at least 1, got {points}")
        middle = (torch.arange(points) + 0.5) / points
        axes = [a + (b - a) * middle for a, b in zip(self.lower, self.upper, strict=True)]
        grid = torch.cartesian_prod(*axes).reshape(-1, len(axes))
        with torch.no_grad():
            exact = self.exact(grid.double())
            return (values(field, grid) - exact).norm(dim=-1) / exact.norm()


def values(field: Field, points: Float[Tensor, "*batch n d"]) -> Float[Tensor, "..."]:
    """Values (..., n) of a field, whether it gives them as (..., n) or as (..., n, 1).

    Args:
        field: a function or module.
        points: where; leading dimensions of the result may be the field's own.
    """
    found = field(points)
    return found.squeeze(-1) if found.ndim > 1 and found.shape[-2:] == (points.shape[-2], 1) else found


def derivatives(
    field: Field, points: Float[Tensor, "*batch n d"], *, second: Sequence[int] = ()
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."], list[Float[Tensor, "..."]]]:
    """Values, gradients (..., n, d), and second derivatives along the axes that are asked for.

    Args:
        field: to be differentiated; a batch of fields needs its points in a batch, too.
        points: where.
        second: axes.
    """
    with torch.enable_grad():
        x = points if points.requires_grad else points.detach().requires_grad_()
        u = values(field, x)
        (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return u, first, [_along(first, x, axis) for axis in second]


def _along(first: Tensor, x: Tensor, axis: int) -> Tensor:
    """Second derivative along one axis; zero where the gradient is constant."""
    if not first.requires_grad:
        return torch.zeros_like(first[..., axis])
    found = torch.autograd.grad(first[..., axis].sum(), x, create_graph=True, allow_unused=True)[0]
    return torch.zeros_like(first[..., axis]) if found is None else found[..., axis]


def poisson_1d(length: float = 1.0, *, half_waves: int = 1) -> PINNProblem:
    """-u'' = f on [0, length] with u = sin(half_waves pi x / length).

    Args:
        length: of the interval.
        half_waves: between the ends, where u = 0.
    """
    _check(length=length, half_waves=half_waves)
    k = half_waves * math.pi / length

    def exact(x: Tensor) -> Tensor:
        return torch.sin(k * x[..., 0])

    def residual(u: Field, x: Tensor) -> Tensor:
        _, _, (u_xx,) = derivatives(u, x, second=(0,))
        return -u_xx - k**2 * exact(x)

    return PINNProblem(f"Poisson on [0, {length:g}]", (0.0,), (length,), residual, exact, ((0, 0), (0, 1)))


def poisson_2d(side: float = 1.0) -> PINNProblem:
    """-lap u = 2 (pi / side)^2 u on a square, u = sin(pi x / side) sin(pi y / side).

    Args:
        side: of the square.
    """
    _check(side=side)
    k = math.pi / side

    def exact(x: Tensor) -> Tensor:
        return torch.sin(k * x[..., 0]) * torch.sin(k * x[..., 1])

    def residual(u: Field, x: Tensor) -> Tensor:
        _, _, (u_xx, u_yy) = derivatives(u, x, second=(0, 1))
        return -u_xx - u_yy - 2 * k**2 * exact(x)

    return PINNProblem(f"Poisson, side {side:g}", (0.0, 0.0), (side, side), residual, exact, _sides(2))


def helmholtz(wavenumber: float = 1.0, *, waves: tuple[int, int] = (1, 4)) -> PINNProblem:
    """lap u + wavenumber^2 u = f on [-1, 1]^2 with u = sin(waves_1 pi x) sin(waves_2 pi y).

    Args:
        wavenumber: of the equation.
        waves: of the solution.
    """
    _check(wavenumber=wavenumber, waves=min(waves))
    a, b = (math.pi * wave for wave in waves)

    def exact(x: Tensor) -> Tensor:
        return torch.sin(a * x[..., 0]) * torch.sin(b * x[..., 1])

    def residual(u: Field, x: Tensor) -> Tensor:
        value, _, (u_xx, u_yy) = derivatives(u, x, second=(0, 1))
        return u_xx + u_yy + wavenumber**2 * value - (wavenumber**2 - a**2 - b**2) * exact(x)

    return PINNProblem("Helmholtz", (-1.0, -1.0), (1.0, 1.0), residual, exact, _sides(2))


def heat_multiscale(*, time: float = 5.0, scale: float = 500.0, waves: int = 20) -> PINNProblem:
    """u_t = u_xx / (scale pi)^2 + u_yy / pi^2 on [0, 1]^2, from sin(waves pi x) sin(pi y), zero on the sides.

    Args:
        time: until when.
        scale: ratio of the diffusion lengths.
        waves: half waves along x at the start.
    """
    _check(time=time, scale=scale, waves=waves)
    rate = (waves / scale) ** 2 + 1

    def exact(x: Tensor) -> Tensor:
        start = torch.sin(waves * math.pi * x[..., 0]) * torch.sin(math.pi * x[..., 1])
        return start * torch.exp(-rate * x[..., 2])

    def residual(u: Field, x: Tensor) -> Tensor:
        _, first, (u_xx, u_yy) = derivatives(u, x, second=(0, 1))
        return first[..., 2] - u_xx / (scale * math.pi) ** 2 - u_yy / math.pi**2

    faces = (*_sides(2), (2, 0))
    return PINNProblem("heat on several scales", (0.0,) * 3, (1.0, 1.0, time), residual, exact, faces)


def burgers(viscosity: float = 0.01 / math.pi, *, time: float = 1.0) -> PINNProblem:
    """u_t + u u_x = viscosity u_xx on [-1, 1] from -sin(pi x), zero at both ends; exact by Cole and Hopf's integral.

    Args:
        viscosity: at least 0.001.
        time: until when.
    """
    _check(viscosity=viscosity, time=time)
    if viscosity < 1e-3:
        raise InputError(f"viscosity: {viscosity:g} is under 0.001, where the exact solution needs more nodes")

    def exact(x: Tensor) -> Tensor:
        nodes, logarithms = (of.to(x) for of in _gauss_hermite())
        y = x[..., :1] - torch.sqrt(4 * viscosity * x[..., 1:]) * nodes
        logarithm = logarithms - torch.cos(math.pi * y) / (2 * math.pi * viscosity)
        return -(torch.softmax(logarithm, -1) * torch.sin(math.pi * y)).sum(-1)

    def residual(u: Field, x: Tensor) -> Tensor:
        value, first, (u_xx,) = derivatives(u, x, second=(0,))
        return first[..., 1] + value * first[..., 0] - viscosity * u_xx

    faces = ((0, 0), (0, 1), (1, 0))
    return PINNProblem("Burgers", (-1.0, 0.0), (1.0, time), residual, exact, faces)


@final
@dataclass(frozen=True)
class PoissonErrors:
    """Both losses, the error as a root mean square over the interval, and the bound on it that the losses give."""

    residual_loss: float
    boundary_loss: float
    error: float
    bound: float


def poisson_errors(field: Field, problem: PINNProblem, *, nodes: int = 200) -> PoissonErrors:
    """What losses on -u'' = f say of the error (see the module).

    Args:
        field: to be judged, in float64 where digits matter.
        problem: of `poisson_1d`.
        nodes: of Gauss and Legendre's rule.

    Raises:
        InputError: a problem with more than one dimension, or fewer than one node.
    """
    if len(problem.lower) != 1 or nodes < 1:
        raise InputError("problem, nodes: needs a problem of poisson_1d and at least one node")
    (start,), (end,) = problem.lower, problem.upper
    places, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(nodes))
    x = (start + (end - start) * (places + 1) / 2)[:, None]
    ends = torch.tensor([[start], [end]], dtype=torch.float64)
    residual = problem.residual(field, x).detach()
    with torch.no_grad():
        wrong, wrong_ends = (values(field, at) - problem.exact(at) for at in (x, ends))
    losses = (residual.square() @ weights / 2, wrong_ends.square().mean())
    bound = ((end - start) / math.pi) ** 2 * losses[0].sqrt() + losses[1].sqrt()
    return PoissonErrors(*(float(v) for v in (*losses, (wrong.square() @ weights / 2).sqrt(), bound)))


def _sides(dimensions: int) -> tuple[tuple[int, int], ...]:
    return tuple((axis, end) for axis in range(dimensions) for end in (0, 1))


def _check(**numbers: float) -> None:
    for name, value in numbers.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name}: must be positive and finite, got {value}")


@cache
def _gauss_hermite() -> tuple[Tensor, Tensor]:
    """Nodes, and logarithms of weights, of integrals against exp(-z^2)."""
    nodes, weights = np.polynomial.hermite.hermgauss(200)
    kept = weights > 0  # the outermost underflow
    return torch.from_numpy(nodes[kept]), torch.from_numpy(weights[kept]).log()
