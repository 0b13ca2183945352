"""Hypergradients against closed forms and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.bilevel import implicit_gradient, lower_descent, unrolled_gradient
from polyad.problems.bilevel import penalised_regression, ridge_target, sine_valleys

X = [torch.tensor([0.4, -0.2, 0.7, 0.1], dtype=torch.float64)]


def exact() -> Tensor:
    """A'(A x - b) + x, with A and b read off the objectives."""
    problem = ridge_target(4)
    basis = torch.eye(4, dtype=torch.float64)
    zero = [torch.zeros(4, dtype=torch.float64)]
    columns = [lower_descent(problem.lower, [e], zero, steps=1, lr=1.0)[0] for e in basis]
    matrix = torch.stack(columns, 1)
    target = -torch.autograd.functional.jacobian(lambda y: problem.upper(zero, [y]), zero[0])
    return matrix.mT @ (matrix @ X[0] - target) + X[0]


def test_both_reach_the_exact_gradient_of_a_quadratic_level() -> None:
    problem = ridge_target(4)
    for found in (
        unrolled_gradient(problem.upper, problem.lower, X, problem.start_lower, steps=60, lr=0.5),
        implicit_gradient(problem.upper, problem.lower, X, problem.start_lower, steps=60, lr=0.5, cg_steps=4),
    ):
        torch.testing.assert_close(found.gradient[0], exact())
        assert not found.gradient[0].requires_grad
        torch.testing.assert_close(found.value, problem.upper(X, found.lower_variables))


def test_unrolled_is_the_derivative_of_the_steps_that_were_taken() -> None:
    """Few steps, far from the minimum: finite differences through the same steps; with a penalty too."""
    problem = penalised_regression(elastic=True)
    x, options = [torch.tensor([-2.0, -1.0], dtype=torch.float64)], {"steps": 7, "lr": 0.2}
    found = unrolled_gradient(problem.upper, problem.lower, x, problem.start_lower, penalty=problem.penalty, **options)
    for index in range(2):
        values = []
        for sign in (1, -1):
            moved = [x[0].clone()]
            moved[0][index] += sign * 1e-5
            y = lower_descent(problem.lower, moved, problem.start_lower, penalty=problem.penalty, **options)
            values.append(float(problem.upper(moved, y)))
        assert float(found.gradient[0][index]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)
    assert float(found.gradient[0].abs().min()) > 1e-4


def test_implicit_gradient_of_a_valley() -> None:
    """y = C + c - x: dF/dx = 2 (x - a) - 2 sum (y_i - a - c), whatever the number of steps of conjugate gradients."""
    problem = sine_valleys(3)
    x = [torch.tensor([1.0], dtype=torch.float64)]
    found = implicit_gradient(problem.upper, problem.lower, x, problem.start_lower, steps=400, lr=0.5, cg_steps=3)
    y = found.lower_variables[0]
    expected = 2 * (x[0] - 2) - 2 * (y - 4).sum()
    torch.testing.assert_close(found.gradient[0], expected)


def test_conjugate_gradients_stop_where_curvature_is_not_positive() -> None:
    """At a hill of the sine the solution is zero, and the direct gradient is left."""
    problem = sine_valleys(3, start=0.0)
    x = [torch.tensor([2.0 + torch.pi / 2], dtype=torch.float64)]
    found = implicit_gradient(problem.upper, problem.lower, x, problem.start_lower, steps=0, lr=0.5)
    torch.testing.assert_close(found.gradient[0], 2 * (x[0] - 2))
    damped = implicit_gradient(problem.upper, problem.lower, x, problem.start_lower, steps=0, lr=0.5, damping=3.0)
    torch.testing.assert_close(damped.gradient[0], 2 * (x[0] - 2) - (-1) / (3 - 1) * 3 * 2 * (0 - 4.0))


def test_bad_steps() -> None:
    problem = ridge_target(4)
    with pytest.raises(InputError, match="steps"):
        lower_descent(problem.lower, X, problem.start_lower, steps=-1, lr=0.1)
