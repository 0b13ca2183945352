"""MEHA against closed forms, a step written out, and what it must not do."""

from __future__ import annotations

import io
import math
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError, NumericalWarning
from polyad.optim.bilevel import MEHA, ElasticNet, grid_search, moreau_envelope
from polyad.optim.bilevel.objectives import Variables
from polyad.problems.bilevel import BilevelProblem, penalised_regression, ridge_target, sine_valleys


def solve(problem: BilevelProblem, steps: int, **options: Any) -> tuple[list[nn.Parameter], list[nn.Parameter], MEHA]:
    x, y = problem.start()
    optimizer = MEHA(x, y, penalty=problem.penalty, **options)
    for _ in range(steps):
        optimizer.step(problem.upper, problem.lower)
    return x, y, optimizer


@pytest.mark.parametrize("order", ["upper", "lower", "together"])
def test_limit_of_a_constant_strength_is_that_of_the_penalised_problem(order: str) -> None:
    """f - v = gamma / (1 + gamma) |y - A x|^2 / 2: the minimiser of F + c (f - v) solves a linear system."""
    problem, strength, gamma = ridge_target(4), 2.0, 0.5
    zero = torch.zeros(4, dtype=torch.float64)

    def penalised(z: Tensor) -> Tensor:
        x, y = [z[:4]], [z[4:]]
        return problem.upper(x, y) + strength * gamma / (1 + gamma) * problem.lower(x, y)

    start = torch.cat([zero, zero])
    hessian = torch.autograd.functional.hessian(penalised, start)
    expected = -torch.linalg.solve(hessian, torch.autograd.functional.jacobian(penalised, start))
    options = {"gamma": gamma, "eta": 0.3, "alpha": 0.5, "beta": 0.5, "c0": strength, "p": 0.0, "order": order}
    x, y, optimizer = solve(problem, 250, **options)
    torch.testing.assert_close(torch.cat([x[0].detach(), y[0].detach()]), expected, atol=1e-7, rtol=0)
    residual = optimizer.residual(problem.upper, problem.lower)
    assert residual.total < 1e-6
    assert residual.gap == pytest.approx(gamma / (1 + gamma) * float(problem.lower(x, y).detach()), rel=1e-5)
    assert residual.strength == strength


@pytest.mark.slow
def test_strongly_convex_to_a_thousandth_and_weaker_settings_are_worse() -> None:
    problem = ridge_target(5)
    options = {"gamma": 1.0, "eta": 0.3, "alpha": 0.3, "beta": 0.3}
    ends = {}
    for c0, p, steps in ((10.0, 0.49, 20_000), (1.0, 0.25, 5000)):
        x, _, _ = solve(problem, steps, c0=c0, p=p, **options)
        ends[c0] = float((x[0] - problem.solution_upper[0]).detach().norm())
    assert ends[10.0] < 1e-3
    assert ends[1.0] > 1e-2


@pytest.mark.slow
def test_lower_level_with_many_valleys() -> None:
    problem = sine_valleys(10, a=2.0, offsets=2.0, start=2.0)
    x, y, _ = solve(problem, 20_000, gamma=1.0, eta=0.5, alpha=0.02, beta=0.1, c0=1.0, p=0.49)
    assert float((x[0] - problem.solution_upper[0]).detach().abs()) < 1e-2
    assert float((y[0] - problem.solution_lower[0]).detach().abs().max()) < 1e-2
    valley = -math.pi / 2 + 2 * math.pi
    assert float(problem.upper(x, y).detach()) == pytest.approx(10 * (valley - 4) ** 2 / 11, abs=1e-2)


def test_envelope_too_wide_for_the_valleys_holds_y_on_a_slope() -> None:
    """F draws y over a ridge. With gamma = 1 theta follows; with 10 its pull on theta is too weak and it stays behind.

    Where theta = y - 2 pi, both levels are stationary at cos(x + y_i - c_i) = 2 pi / gamma, if gamma is over 2 pi, in
    place of at the bottom, where it is 0: x is then off by n / (1 + n) times how far up the slope that is.
    """
    problem, n = sine_valleys(10, start=1.0), 10
    ends, away = {}, {}
    for gamma in (1.0, 10.0):
        x, y, optimizer = solve(problem, 800, gamma=gamma, eta=0.5, alpha=0.02, beta=0.1, c0=1.0, p=0.49)
        ends[gamma] = float((x[0] - problem.solution_upper[0]).detach())
        away[gamma] = float((y[0] - optimizer.state[y[0]]["theta"]).detach().mean())
    assert abs(ends[1.0]) < 0.02
    assert abs(away[1.0]) < 0.02
    up_the_slope = math.pi / 2 - math.acos(2 * math.pi / 10)
    assert ends[10.0] == pytest.approx(n / (1 + n) * up_the_slope, abs=0.02)
    assert away[10.0] == pytest.approx(2 * math.pi, abs=0.05)


def upper(x: Variables, y: Variables) -> Tensor:
    return (y[0] * x[0]).sum() + y[0].square().sum() + x[0].cos().sum()


def lower(x: Variables, y: Variables) -> Tensor:
    return (y[0] - x[0].square()).square().sum() / 2 + (y[0] * x[0]).sin().sum()


@pytest.mark.parametrize("order", ["upper", "lower", "together"])
@pytest.mark.parametrize("lasso", [True, False])
def test_two_steps_written_out(order: str, lasso: bool) -> None:
    """Derivatives by hand, the new theta, and the new x or y where the order says so."""
    gamma, eta, alpha, beta, c0, p = 0.7, 0.2, 0.05, 0.1, 2.0, 0.3
    weight = 0.4 if lasso else 0.0

    def soft(z: Tensor, x: Tensor, step: float) -> Tensor:
        return z.sign() * (z.abs() - step * weight * x.exp()).clamp_min(0)

    def by_y(x: Tensor, y: Tensor) -> Tensor:
        return y - x.square() + x * (y * x).cos()

    def by_x(x: Tensor, y: Tensor) -> Tensor:
        return -2 * x * (y - x.square()) + y * (y * x).cos() + weight * x.exp() * y.abs()

    x, y = torch.tensor([0.5, 1.2], dtype=torch.float64), torch.tensor([0.9, -0.3], dtype=torch.float64)
    parameters = nn.Parameter(x.clone()), nn.Parameter(y.clone())
    net = ElasticNet(lambda x: (weight * x[0].exp(), torch.tensor(0.0, dtype=torch.float64)))
    optimizer = MEHA(
        [parameters[0]], [parameters[1]], gamma=gamma, eta=eta, alpha=alpha, beta=beta, c0=c0, p=p, order=order,
        penalty=net if lasso else None,
    )  # fmt: skip
    theta = y
    for k in range(2):
        c = c0 * (k + 1) ** p
        theta = soft(theta - eta * (by_y(x, theta) + (theta - y) / gamma), x, eta)
        old_x, old_y = x, y

        def move_x(y: Tensor, x: Tensor = old_x, t: Tensor = theta, c: float = c) -> Tensor:
            return x - alpha * ((y - x.sin()) / c + by_x(x, y) - by_x(x, t))

        def move_y(x: Tensor, y: Tensor = old_y, t: Tensor = theta, c: float = c) -> tuple[Tensor, Tensor]:
            return y - beta * ((x + 2 * y) / c + by_y(x, y) - (y - t) / gamma), x

        if order == "lower":
            moved, at = move_y(old_x)
            y = soft(moved, at, beta)
            x = move_x(y)
        else:
            x = move_x(old_y)
            moved, _ = move_y(x if order == "upper" else old_x)
            y = soft(moved, x, beta)
        value = optimizer.step(upper, lower)
        torch.testing.assert_close(value, upper([old_x], [old_y]))
        torch.testing.assert_close(parameters[0].detach(), x)
        torch.testing.assert_close(parameters[1].detach(), y)


def test_no_second_derivatives() -> None:
    problem = penalised_regression()
    real = torch.autograd.grad
    asked = []

    def grad(*args: Any, **options: Any) -> Any:
        asked.append(options.get("create_graph", False) or options.get("retain_graph", False))
        return real(*args, **options)

    with mock.patch.object(torch.autograd, "grad", grad):
        solve(problem, 3, alpha=0.1)
    assert len(asked) >= 9
    assert not any(asked)


def test_a_small_gamma_pins_theta_to_y() -> None:
    problem = sine_valleys(4)
    _, y = problem.start()
    before = y[0].detach().clone()
    _, y, optimizer = solve(problem, 1, gamma=1e-9, eta=1e-9)
    torch.testing.assert_close(optimizer.state[y[0]]["theta"], before, atol=1e-8, rtol=0)


def test_residual_is_the_gradient_of_the_penalised_objective() -> None:
    """With theta settled, against finite differences of F + c (f - v) with the envelope computed to the end."""
    x, y = [nn.Parameter(torch.tensor([0.5], dtype=torch.float64))], [nn.Parameter(torch.tensor([0.9]).double())]
    optimizer = MEHA(x, y, gamma=0.4, eta=0.1, alpha=1e-14, beta=1e-14, c0=3.0, p=0.0)
    for _ in range(120):
        optimizer.step(upper, lower)

    def penalised(a: Tensor, b: Tensor) -> float:
        envelope = moreau_envelope(lower, [a], [b], gamma=0.4, eta=0.1, steps=120)
        return float(upper([a], [b]) + 3 * (lower([a], [b]) - envelope.value))

    a, b = x[0].detach(), y[0].detach()
    slopes = (
        (penalised(a + 1e-4, b) - penalised(a - 1e-4, b)) / 2e-4,
        (penalised(a, b + 1e-4) - penalised(a, b - 1e-4)) / 2e-4,
    )
    residual = optimizer.residual(upper, lower)
    assert residual.upper == pytest.approx(abs(slopes[0]), abs=1e-6)
    assert residual.lower == pytest.approx(abs(slopes[1]), abs=1e-6)
    assert residual.total == pytest.approx(math.hypot(*slopes), abs=1e-6)
    envelope = moreau_envelope(lower, x, y, gamma=0.4, eta=0.1, steps=120)
    assert residual.gap == pytest.approx(float(lower(x, y).detach() - envelope.value), abs=1e-9)


def test_the_weight_of_a_lasso_reaches_the_best_of_a_grid() -> None:
    """F at MEHA's weight, with the lower level solved, is within one percent of the best of 20 weights."""
    problem = penalised_regression()
    x, _, optimizer = solve(problem, 500, gamma=1.0, eta=0.2, alpha=5.0, beta=0.2, c0=10.0, p=0.3)
    weights = [[torch.tensor([w], dtype=torch.float64)] for w in torch.linspace(-5, -1, 20).tolist()]
    options = {"steps": 80, "lr": 0.3, "penalty": problem.penalty}
    best = grid_search(problem.upper, problem.lower, weights, problem.start_lower, **options)
    ours = grid_search(problem.upper, problem.lower, [[x[0].detach()]], problem.start_lower, **options)
    assert ours.values[0] < 1.01 * min(best.values)
    assert max(best.values) > 1.2 * min(best.values)
    assert optimizer.residual(problem.upper, problem.lower).lower < 0.1


def test_steps_without_finite_gradients_change_nothing() -> None:
    problem = ridge_target(3)
    x, y, optimizer = solve(problem, 2)
    before = [p.detach().clone() for p in (*x, *y)], optimizer.state[y[0]]["theta"].clone(), optimizer.strength
    with pytest.warns(NumericalWarning, match="skipped"):
        optimizer.step(
            lambda x, y: problem.upper(x, y) * torch.where(x[0].sum() != before[0][0].sum(), math.nan, 1.0),
            problem.lower,
        )
    assert optimizer.skipped_steps == 1
    for parameter, value in zip((*x, *y), before[0], strict=True):
        assert torch.equal(parameter, value)
    assert torch.equal(optimizer.state[y[0]]["theta"], before[1])
    assert optimizer.strength == before[2]


def test_a_saved_search_goes_on_to_the_bit() -> None:
    problem = ridge_target(4)
    x, y, optimizer = solve(problem, 5)
    file = io.BytesIO()
    torch.save([[v.detach() for v in (*x, *y)], optimizer.state_dict()], file)
    file.seek(0)
    values, state = torch.load(file, weights_only=True)
    a, b = nn.Parameter(values[0]), nn.Parameter(values[1])
    resumed = MEHA([a], [b], order="lower")
    resumed.load_state_dict(state)
    for _ in range(5):
        optimizer.step(problem.upper, problem.lower)
        resumed.step(problem.upper, problem.lower)
    assert torch.equal(a, x[0])
    assert torch.equal(b, y[0])


@pytest.mark.parametrize(
    "options",
    [{"gamma": 0.0}, {"eta": -1.0}, {"p": 0.5}, {"p": -0.1}, {"c0": 0.0}, {"order": "theta"}],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    x, y = ridge_target(3).start()
    with pytest.raises(InputError, match=next(iter(options))):
        MEHA(x, y, **options)
    with pytest.raises(InputError, match="lr"):
        MEHA(x, y, alpha=0.0)
    with pytest.raises(InputError, match="two groups"):
        MEHA(x, y).add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 0.1})
