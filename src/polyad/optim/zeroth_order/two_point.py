"""Perturbed two-point descent: out of strict saddles with two values a direction, at the cost of few directions.

    g = (1/m) sum_i [f(x + u Z_i) - f(x - u Z_i)] / (2 u) Z_i,   Z_i ~ N(0, I)
    x <- x - lr (g + Y),                                         Y ~ N(0, (r^2 / d) I), so E||Y||^2 = r^2

At a saddle about which f is even both values are equal for every Z, so that without Y the method stands still for ever;
with Y it leaves along the negative curvature. To a point where ||grad f|| <= eps and lambda_min(Hess f) >= -psi it
needs about d / (m eps^2 psi) steps of 2 m values: in total nearly independent of m, and no more than differences along
all d coordinates, which pay 2 d values before their first step.

Z. Ren, Y. Tang, N. Li, 'Escaping saddle points in zeroth-order optimization: the power of two-point estimators', ICML
2023, arXiv:2209.13555.

Deviations: the scale of Y is the usual one of perturbed gradient descent. `theory_parameters` has the orders of the
theorem; its constants are the caller's.

When not to use it: where gradients can be had. The number of values grows with the dimension.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.checks import check_not_negative, check_positive
from polyad.optim.zeroth_order.differences import (
    coordinate_directions,
    gaussian_directions,
    sphere_directions,
    two_sided,
)
from polyad.optim.zeroth_order.oracles import (
    CountedValues,
    Values,
    checked_start,
    chosen,
    load_state,
    refusal_changes_nothing,
    saved_state,
    usable_runs,
)

DIRECTIONS = ("gaussian", "sphere", "coordinates")
"""What two-point steps can look along: normal, of length sqrt(d), or all d coordinates (the deterministic method)."""


@final
class PerturbedTwoPointZO:
    """Perturbed two-point descent; `step(oracle)` moves `point`.

    Args:
        point: start, Float[Tensor, "... d"]; leading dimensions are independent runs. It is copied.
        lr: step size; `two_point_step_size` gives one that is safe.
        smoothing: u, the half distance of the two values.
        noise: r, the length of the perturbation; 0 leaves it out.
        count: m, directions a step; the coordinates are always all d of them.
        directions: one of `DIRECTIONS`; "coordinates" needs 2 d values a step.
        seed: of directions and noise.

    Attributes:
        point: Float[Tensor, "... d"], where the runs are.
        evaluations: values asked for so far, a run.
        steps: steps taken.
        skipped_steps: steps at which a run stood still because its values were not finite.

    Raises:
        InputError: a start that is not finite and real, step sizes or smoothing not positive, negative noise, no
            directions, or unknown ones.
    """

    def __init__(
        self,
        point: Float[Tensor, "... d"],
        *,
        lr: float,
        smoothing: float = 1e-4,
        noise: float = 1e-2,
        count: int = 1,
        directions: str = "gaussian",
        seed: int = 0,
    ) -> None:
        check_positive(lr=lr, smoothing=smoothing, count=count)
        check_not_negative(noise=noise)
        if directions not in DIRECTIONS:
            raise InputError(f"directions: must be one of {DIRECTIONS}, got {directions!r}")
        self.point = checked_start(point, 1)
        self.lr, self.smoothing, self.noise, self.count, self.directions = lr, smoothing, noise, count, directions
        self.generator = torch.Generator(point.device).manual_seed(seed)
        self.evaluations = self.steps = self.skipped_steps = 0

    @torch.no_grad()
    def estimate(self, oracle: Values) -> Float[Tensor, "... d"]:
        """A gradient estimate at `point`, counted.

        Args:
            oracle: values at points, as in `step`.

        Raises:
            InputError: the oracle returns something else.
        """
        counted = CountedValues(oracle, 1)
        with refusal_changes_nothing(self):
            gradient = two_sided(counted, self.point, self._draw(), self.smoothing)
        self.evaluations += counted.evaluations
        return gradient

    @torch.no_grad()
    def step(self, oracle: Values) -> Float[Tensor, "... d"]:
        """One step; returns the new `point`.

        Args:
            oracle: values at points, Float[Tensor, "k ... d"] to Float[Tensor, "k ..."]; called once, with all points.

        Raises:
            InputError: the oracle returns something else.
        """
        gradient = self.estimate(oracle)
        if self.noise:
            scale = self.noise / self.point.shape[-1] ** 0.5
            gradient = gradient + scale * gaussian_directions(self.point, 1, generator=self.generator)[0]
        usable = usable_runs(self, gradient, 1)
        self.point = chosen(usable, self.point - self.lr * gradient, self.point)
        return self.point

    def state_dict(self) -> dict[str, Any]:
        """Point, counters and the generator's state: what `load_state_dict` needs to go on to the bit."""
        return saved_state(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            InputError: a state of points of another shape or dtype.
        """
        load_state(self, state)

    def _draw(self) -> Tensor:
        if self.directions == "coordinates":
            return coordinate_directions(self.point)
        draw = gaussian_directions if self.directions == "gaussian" else sphere_directions
        return draw(self.point, self.count, generator=self.generator)


@torch.no_grad()
def first_evaluations_below(
    optimizer: PerturbedTwoPointZO, oracle: Values, *, levels: Sequence[float], limit: int, every: int = 1
) -> Float[Tensor, "levels ..."]:
    """Step until every run was below the lowest level; when each run first was below each level: its escape times.

    Args:
        optimizer: it is moved.
        oracle: values at points, as in `step`; the looks at where the runs are are not counted.
        levels: values to come below.
        limit: evaluations after which the search ends.
        every: steps between two looks.

    Returns:
        Evaluations a run, infinity where a run did not come below.
    """
    threshold = torch.as_tensor(list(levels), dtype=optimizer.point.dtype, device=optimizer.point.device)
    runs = optimizer.point.shape[:-1]
    found = torch.full((len(threshold), *runs), math.inf, dtype=torch.float64, device=optimizer.point.device)
    shaped = threshold.reshape(-1, *[1] * len(runs))
    while True:
        below = (oracle(optimizer.point[None]) < shaped) & found.isinf()
        found[below] = float(optimizer.evaluations)
        if optimizer.evaluations >= limit or not bool(found.isinf().any()):
            return found
        for _ in range(every):
            optimizer.step(oracle)


def two_point_step_size(dimension: int, *, count: int, lipschitz: float) -> float:
    """m / ((d + m + 1) L): 1 / L divided by E||g||^2 / ||grad f||^2 = (d + m + 1) / m.

    Args:
        dimension: d.
        count: m.
        lipschitz: L, of the gradient.
    """
    check_positive(dimension=dimension, count=count, lipschitz=lipschitz)
    return count / ((dimension + count + 1) * lipschitz)


@final
@dataclass(frozen=True)
class TheoryParameters:
    """What `theory_parameters` proposes: step size, smoothing, noise and number of steps."""

    lr: float
    smoothing: float
    noise: float
    steps: int


def theory_parameters(
    *,
    gradient_tolerance: float,
    curvature_tolerance: float,
    lipschitz: float,
    hessian_lipschitz: float,
    dimension: int,
    count: int = 1,
    failure: float = 0.1,
    constants: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
) -> TheoryParameters:
    """Orders of the theorem: to ||grad f|| <= eps and lambda_min >= -psi with probability 1 - failure.

        lr = c_1 m / (d L log),  u = c_2 sqrt(eps / rho) / d,  r = c_3 eps,  steps = c_4 log L d / (m eps^2 min(1, psi))

    with log = max(1, ln(d L / (eps min(1, psi) failure))).

    Args:
        gradient_tolerance: eps.
        curvature_tolerance: psi, usually sqrt(rho eps).
        lipschitz: L, of the gradient.
        hessian_lipschitz: rho, of the Hessian.
        dimension: d.
        count: m.
        failure: probability of failure.
        constants: c_1, ..., c_4.

    Raises:
        InputError: a number that is not positive.
    """
    check_positive(
        gradient_tolerance=gradient_tolerance,
        curvature_tolerance=curvature_tolerance,
        lipschitz=lipschitz,
        hessian_lipschitz=hessian_lipschitz,
        dimension=dimension,
        count=count,
        failure=failure,
    )
    curvature = min(1.0, curvature_tolerance)
    logarithm = max(1.0, math.log(dimension * lipschitz / (gradient_tolerance * curvature * failure)))
    return TheoryParameters(
        lr=constants[0] * count / (dimension * lipschitz * logarithm),
        smoothing=constants[1] * math.sqrt(gradient_tolerance / hessian_lipschitz) / dimension,
        noise=constants[2] * gradient_tolerance,
        steps=math.ceil(constants[3] * logarithm * lipschitz * dimension / (count * gradient_tolerance**2 * curvature)),
    )
