"""Two-point estimates against closed forms; saddles that hold the unperturbed method and not the perturbed one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from polyad.errors import InputError, NumericalWarning
from polyad.optim.zeroth_order.stationarity import second_order_stationarity
from polyad.optim.zeroth_order.two_point import (
    PerturbedTwoPointZO,
    first_evaluations_below,
    theory_parameters,
    two_point_step_size,
)
from polyad.problems.saddles import SaddleProblem, matrix_factorization, octopus, strict_saddle_quartic


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("directions", ["gaussian", "sphere"])
def test_mean_of_a_million_estimates_is_the_gradient_of_a_quadratic(directions: str) -> None:
    matrix = normal(6, 6)
    matrix = matrix + matrix.mT
    at = normal(6, seed=1)
    draws = 1_000_000
    optimizer = PerturbedTwoPointZO(
        at.expand(draws, 6), lr=1.0, smoothing=0.7, noise=0.0, directions=directions, seed=3
    )
    estimates = optimizer.estimate(lambda x: 0.5 * ((x @ matrix) * x).sum(-1) + x[..., 0])
    gradient = matrix @ at
    gradient[0] += 1
    error = estimates.mean(0) - gradient
    assert bool((error.abs() <= 4.5 * estimates.std(0) / math.sqrt(draws)).all())
    assert optimizer.evaluations == 2


@pytest.mark.parametrize("count", [1, 3])
def test_second_moment_on_a_linear_function(count: int) -> None:
    slope = normal(20, seed=2)
    optimizer = PerturbedTwoPointZO(torch.zeros(50_000, 20, dtype=torch.float64), lr=1.0, count=count, smoothing=0.1)
    estimates = optimizer.estimate(lambda x: x @ slope)
    ratio = float((estimates**2).sum(-1).mean() / (slope**2).sum())
    assert ratio == pytest.approx((20 + count + 1) / count, rel=0.03)


def test_perturbation_has_the_length_asked_for() -> None:
    optimizer = PerturbedTwoPointZO(torch.zeros(20_000, 30, dtype=torch.float64), lr=1.0, noise=0.5)
    moved = optimizer.step(lambda x: torch.zeros(x.shape[:-1], dtype=x.dtype))
    assert float((moved**2).sum(-1).mean()) == pytest.approx(0.25, rel=0.02)


def test_coordinates_are_central_differences() -> None:
    at = normal(4, 5, seed=5)

    def values(x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x).prod(-1) + (x**3).sum(-1)

    u = 1e-2
    optimizer = PerturbedTwoPointZO(at, lr=1.0, smoothing=u / math.sqrt(5), directions="coordinates")
    found = optimizer.estimate(values)
    for run in range(4):
        for place in range(5):
            move = torch.zeros(5, dtype=torch.float64)
            move[place] = u
            expected = (values(at[run] + move) - values(at[run] - move)) / (2 * u)
            assert float(found[run, place]) == pytest.approx(float(expected), abs=1e-8)
    assert optimizer.evaluations == 10


SADDLES = [strict_saddle_quartic(6), matrix_factorization(4, 2), octopus(3)]


@pytest.mark.parametrize("problem", SADDLES, ids=lambda problem: problem.name)
@pytest.mark.parametrize("directions", ["gaussian", "sphere", "coordinates"])
def test_only_the_perturbed_method_leaves_a_saddle(problem: SaddleProblem, directions: str) -> None:
    runs = problem.saddle.expand(5, -1)
    settings: dict[str, Any] = {
        "lr": two_point_step_size(problem.dimension, count=1, lipschitz=problem.lipschitz),
        "directions": directions,
    }
    still = PerturbedTwoPointZO(runs, noise=0.0, smoothing=0.3, **settings)
    for _ in range(20):
        still.step(problem.function)
    assert torch.equal(still.point, runs)
    moving = PerturbedTwoPointZO(runs, noise=1e-2, **settings)
    start = float(problem.function(problem.saddle))
    goal = problem.minimum + 0.01 * (start - problem.minimum)
    reached = first_evaluations_below(moving, problem.function, levels=[goal], limit=20_000)
    assert bool(reached.isfinite().all())


def test_escape_times_are_of_each_run_and_each_level() -> None:
    optimizer = PerturbedTwoPointZO(
        torch.tensor([[3.0], [1.0]], dtype=torch.float64), lr=0.25, noise=0.0, directions="coordinates"
    )
    times = first_evaluations_below(optimizer, lambda x: (x**2).sum(-1), levels=[2.0, 0.2], limit=8)
    # x halves every two values: 9, 2.25, 0.5625, 0.1406 and 1, 0.25, 0.0625
    assert times.tolist() == [[4.0, 0.0], [6.0, 4.0]]
    slow = PerturbedTwoPointZO(torch.tensor([[3.0]], dtype=torch.float64), lr=0.25, noise=0.0, directions="coordinates")
    assert first_evaluations_below(slow, lambda x: (x**2).sum(-1), levels=[1e-9], limit=6).tolist() == [[math.inf]]


def test_stationarity_tells_saddles_from_minima() -> None:
    problem = strict_saddle_quartic(4)
    check = {"gradient_tolerance": 1e-3, "hessian_lipschitz": problem.hessian_lipschitz}
    saddle = second_order_stationarity(problem.function, problem.saddle, **check)
    assert (saddle.gradient_norm, saddle.holds) == (0.0, False)
    assert saddle.lowest_curvature == pytest.approx(-1.0)
    minimum = problem.saddle.clone()
    minimum[0] = 1.0
    found = second_order_stationarity(problem.function, minimum, **check)
    assert found.holds
    assert found.lowest_curvature == pytest.approx(1.0)
    minimum[1] = 0.01
    off = second_order_stationarity(problem.function, minimum, **check)
    assert off.gradient_norm == pytest.approx(0.01)
    assert not off.holds
    with pytest.raises(InputError, match="finite"):
        second_order_stationarity(lambda x: x.sum().log(), -minimum, **check)
    with pytest.raises(InputError, match="Hessian"):
        second_order_stationarity(lambda x: (x * x).sum() ** 0.75, 0 * minimum, **check)


def test_theory_parameters_scale_as_the_theorem() -> None:
    base: dict[str, Any] = {
        "gradient_tolerance": 1e-2, "curvature_tolerance": 0.1, "lipschitz": 2.0, "hessian_lipschitz": 4.0,
        "dimension": 100,
    }  # fmt: skip
    one, five = theory_parameters(**base), theory_parameters(**base, count=5)
    logarithm = math.log(100 * 2 / (1e-2 * 0.1 * 0.1))
    assert one.lr == pytest.approx(1 / (100 * 2 * logarithm))
    assert (one.smoothing, one.noise) == (pytest.approx(0.05 / 100), pytest.approx(1e-2))
    assert one.steps == math.ceil(logarithm * 2 * 100 / (1e-4 * 0.1))
    assert five.lr == pytest.approx(5 * one.lr)
    assert five.steps == pytest.approx(one.steps / 5, abs=1)
    scaled = theory_parameters(**base, constants=(2.0, 3.0, 4.0, 0.5))
    assert (scaled.lr, scaled.smoothing, scaled.noise) == pytest.approx((2 * one.lr, 3 * one.smoothing, 4 * one.noise))


def test_state_goes_on_to_the_bit_and_start_is_left_alone() -> None:
    problem = octopus(3)
    start = problem.saddle.clone()
    one = PerturbedTwoPointZO(start, lr=0.05, seed=4)
    for _ in range(5):
        one.step(problem.function)
    state = one.state_dict()
    other = PerturbedTwoPointZO(start, lr=0.05, seed=9)
    other.load_state_dict(state)
    for optimizer in (one, other):
        for _ in range(5):
            optimizer.step(problem.function)
    assert torch.equal(one.point, other.point)
    assert one.evaluations == other.evaluations == 20
    assert torch.equal(start, problem.saddle)
    with pytest.raises(InputError, match="same problem"):
        PerturbedTwoPointZO(start[:2], lr=0.05).load_state_dict(state)


def test_runs_whose_values_are_not_finite_stand_still_and_are_counted() -> None:
    start = torch.tensor([[1.0, 1.0], [-9.0, 1.0]], dtype=torch.float64)
    optimizer = PerturbedTwoPointZO(start, lr=0.1)

    def values(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[..., 0] > -5, (x**2).sum(-1), math.nan)

    with pytest.warns(NumericalWarning, match="skipped_steps"):
        optimizer.step(values)
    optimizer.step(values)
    assert torch.equal(optimizer.point[1], start[1])
    assert not torch.equal(optimizer.point[0], start[0])
    assert (optimizer.steps, optimizer.skipped_steps) == (2, 2)


def test_bad_input_is_refused() -> None:
    point = torch.zeros(3, dtype=torch.float64)
    calls: list[Callable[[], Any]] = [
        lambda: PerturbedTwoPointZO(point, lr=0.0),
        lambda: PerturbedTwoPointZO(point, lr=0.1, smoothing=-1.0),
        lambda: PerturbedTwoPointZO(point, lr=0.1, noise=math.nan),
        lambda: PerturbedTwoPointZO(point, lr=0.1, count=0),
        lambda: PerturbedTwoPointZO(point, lr=0.1, directions="cubic"),
        lambda: PerturbedTwoPointZO(point + math.inf, lr=0.1),
        lambda: PerturbedTwoPointZO(torch.zeros(4, 0), lr=0.1),
        lambda: PerturbedTwoPointZO(point, lr=0.1).step(lambda x: None),  # type: ignore[arg-type, return-value]
        lambda: PerturbedTwoPointZO(point, lr=0.1).step(lambda x: x.sum()),
        lambda: two_point_step_size(0, count=1, lipschitz=1.0),
    ]
    for call in calls:
        with pytest.raises(InputError):
            call()
