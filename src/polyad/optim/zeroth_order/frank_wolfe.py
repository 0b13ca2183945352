"""Frank-Wolfe from noisy values: minimises over a convex set without gradients and without projections.

With a gradient estimate g_t from differences of values, all of a step taken with the same noise,

    d_t = (1 - rho_t) d_{t-1} + rho_t g_t,   d_{-1} = 0
    v_t = argmin_{v in C} <v, d_t>
    x_{t+1} = (1 - gamma_{t+1}) x_t + gamma_{t+1} v_t

stays in C, because x_{t+1} is an average of its points. Estimates, of which `differences` says more:

    rdsa    [F(x + c z) - F(x)] / c z, z ~ N(0, I)             2 values
    irdsa   the mean of m of them                              m + 1 values
    kwsa    sum_i [F(x + c e_i) - F(x)] / c e_i                d + 1 values

and gamma_t = 2 / (t + 8) with

    rdsa    rho_t = 4 / (d^(1/3) (t + 8)^(2/3)),               c_t = 2 / (d^(3/2) (t + 8)^(1/3))
    irdsa   rho_t = 4 / ((1 + d/m)^(1/3) (t + 8)^(2/3)),       c_t = 2 sqrt(m) / (d^(3/2) (t + 8)^(1/3))
    kwsa    rho_t = 4 / (t + 8)^(2/3),                         c_t = 2 / (d^(1/2) (t + 8)^(1/3))

for convex functions; gamma = T^(-3/4) for others, where T steps are taken.

A. K. Sahu, M. Zaheer, S. Kar, 'Towards gradient free and projection free stochastic optimization', AISTATS 2019,
arXiv:1810.03233.

Deviations: schedules are arguments; the classic gamma = 2 / (t + 2), whose bound 2 L D^2 / (t + 2) the default does
not keep, can be one of them.

When not to use it: where gradients can be had, or where projecting is as cheap as a vertex. Values are asked for at
x + c z, up to about c sqrt(d) outside of C. As c falls fast with d, differences in float32 drown in rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.checks import check_positive
from polyad.optim.zeroth_order.differences import coordinate_directions, gaussian_directions, one_sided
from polyad.optim.zeroth_order.oracles import (
    CountedValues,
    checked_start,
    chosen,
    load_state,
    refusal_changes_nothing,
    saved_state,
    usable_runs,
)
from polyad.optim.zeroth_order.sets import ConvexSet

NoisyValues = Callable[[Tensor, int], Tensor]
"""Values at points: Float[Tensor, "points ... event"] and a seed -> Float[Tensor, "points ..."].

All noise is drawn from the seed, the same for all points of a call; runs may have noise of their own.
"""

ESTIMATORS = ("rdsa", "irdsa", "kwsa")
"""Random directions, several of them, or all coordinates; see the module."""


@final
@dataclass(frozen=True)
class Schedule:
    """Numbers of step t = 0, 1, 2, ...

    Attributes:
        step: the share of the vertex in the next point, gamma_{t+1}; within [0, 1].
        averaging: the share of the new estimate in d_t, rho_t; within (0, 1].
        smoothing: c_t.
    """

    step: Callable[[int], float]
    averaging: Callable[[int], float]
    smoothing: Callable[[int], float]


def paper_schedule(estimator: str, dimension: int, *, count: int = 1, total_steps: int | None = None) -> Schedule:
    """The schedules of the module's table.

    Args:
        estimator: one of `ESTIMATORS`.
        dimension: d.
        count: m, of "irdsa".
        total_steps: T, for functions that are not convex: gamma = T^(-3/4) in all steps.

    Raises:
        InputError: an unknown estimator, or numbers that are not positive.
    """
    _check_estimator(estimator, count)
    check_positive(dimension=dimension, total_steps=1 if total_steps is None else total_steps)
    spread = {"rdsa": dimension, "irdsa": 1 + dimension / count, "kwsa": 1}[estimator] ** (1 / 3)
    width = {"rdsa": dimension**-1.5, "irdsa": count**0.5 * dimension**-1.5, "kwsa": dimension**-0.5}[estimator]
    constant = None if total_steps is None else total_steps**-0.75
    return Schedule(
        step=lambda t: 2 / (t + 9) if constant is None else constant,
        averaging=lambda t: min(1.0, 4 / (spread * (t + 8) ** (2 / 3))),  # rounding alone may exceed 1
        smoothing=lambda t: 2 * width / (t + 8) ** (1 / 3),
    )


@final
class ZerothOrderFrankWolfe:
    """Frank-Wolfe from noisy values; `step(oracle)` moves `point`.

    Args:
        point: start, in the set; its last dimensions are one point ("d", or "n m" for sets of matrices), the dimensions
            before are independent runs. It is copied.
        constraint: the set, of `sets` or of your own.
        estimator: one of `ESTIMATORS`.
        count: m, directions a step of "irdsa"; 1 for the others.
        schedule: by default that of the paper for the estimator; without it, in float32, mind its small c.
        seed: of directions and of the seeds that the oracle gets.

    Attributes:
        point: where the runs are.
        direction: d_t, the averaged gradient estimate.
        gap: <d_t, x_t - v_t> of the last step, a run: an estimate of the Frank-Wolfe gap, which bounds the error in
            value of a convex function; too small in the first steps, where d_t still remembers d_{-1} = 0.
        evaluations: values asked for so far, a run.
        steps: steps taken.
        skipped_steps: steps at which a run stood still because its values were not finite.

    Raises:
        InputError: a start that is not finite and real, or not in the set; an unknown estimator, or a count that does
            not fit it.
    """

    def __init__(
        self,
        point: Tensor,
        constraint: ConvexSet,
        *,
        estimator: str = "rdsa",
        count: int = 1,
        schedule: Schedule | None = None,
        seed: int = 0,
    ) -> None:
        _check_estimator(estimator, count)
        self.constraint, self.estimator, self.count = constraint, estimator, count
        self.point = checked_start(point, constraint.event_dimensions)
        runs, event = point.shape[: -constraint.event_dimensions], point.shape[-constraint.event_dimensions :]
        outside = float(constraint.violation(self.point).max())
        if outside > torch.finfo(point.dtype).eps ** 0.5 * constraint.diameter(event):
            raise InputError(f"point: lies {outside:.3g} outside of {constraint}; start at a point of the set")
        self.dimension = event.numel()
        self.schedule = schedule or paper_schedule(estimator, self.dimension, count=count)
        self.generator = torch.Generator(point.device).manual_seed(seed)
        self.direction = torch.zeros_like(self.point)
        self.gap = self.point.new_full(runs, torch.inf)
        self.evaluations = self.steps = self.skipped_steps = 0

    @torch.no_grad()
    def estimate(self, oracle: NoisyValues) -> Tensor:
        """A gradient estimate at `point`, counted; arguments and errors as of `step`."""
        with refusal_changes_nothing(self):
            return self._estimate(oracle)

    def _estimate(self, oracle: NoisyValues) -> Tensor:
        seed = int(torch.randint(2**62, (), device=self.point.device, generator=self.generator))
        counted = CountedValues(lambda points: oracle(points, seed), self.constraint.event_dimensions)
        smoothing = self.schedule.smoothing(self.steps)
        if self.estimator == "kwsa":
            directions = coordinate_directions(self.point, self.constraint.event_dimensions)
            smoothing /= self.dimension**0.5  # the directions are sqrt(d) e_i
        else:
            directions = gaussian_directions(self.point, self.count, generator=self.generator)
        gradient = one_sided(counted, self.point, directions, smoothing)
        self.evaluations += counted.evaluations
        return gradient

    def step(self, oracle: NoisyValues) -> Tensor:
        """One step; returns the new `point`.

        Args:
            oracle: values at points, `NoisyValues`; called once, with all points of the step.

        Raises:
            InputError: the oracle returns something else.
        """
        return self.move(self.estimate(oracle))

    @torch.no_grad()
    def move(self, gradient: Tensor) -> Tensor:
        """One step with a gradient, or an estimate of one, in the shape of `point`; returns the new `point`.

        Raises:
            InputError: a gradient of another shape.
        """
        if gradient.shape != self.point.shape:
            raise InputError(f"gradient: has shape {tuple(gradient.shape)}, the point {tuple(self.point.shape)}")
        averaging, share = self.schedule.averaging(self.steps), self.schedule.step(self.steps)
        usable = usable_runs(self, gradient, self.constraint.event_dimensions)
        self.direction = chosen(usable, self.direction.lerp(gradient, averaging), self.direction)
        vertex = self.constraint.vertex(self.direction)
        gap = (self.direction * (self.point - vertex)).flatten(-self.constraint.event_dimensions).sum(-1)
        self.gap = chosen(usable, gap, self.gap)
        self.point = chosen(usable, self.point.lerp(vertex, share), self.point)
        return self.point

    def state_dict(self) -> dict[str, Any]:
        """Point, direction, gap, counters and the generator's state: what `load_state_dict` needs."""
        return saved_state(self, "direction", "gap")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            InputError: a state of points of another shape or dtype.
        """
        load_state(self, state, "direction", "gap")


def _check_estimator(estimator: str, count: int) -> None:
    if estimator not in ESTIMATORS:
        raise InputError(f"estimator: must be one of {ESTIMATORS}, got {estimator!r}")
    check_positive(count=count)
    if count != 1 and estimator != "irdsa":
        raise InputError(f"count: {estimator!r} has no choice of directions, got {count}; 'irdsa' takes several")
