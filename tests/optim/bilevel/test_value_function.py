"""BOME's direction against its definition, and its descent."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.optim.bilevel import lower_descent, value_function_direction
from polyad.problems.bilevel import ridge_target


@pytest.mark.parametrize("strength", [0.5, 5.0])
def test_direction_by_autograd_of_the_gap(strength: float) -> None:
    problem = ridge_target(4)
    x = [torch.tensor([0.4, -0.2, 0.7, 0.1], dtype=torch.float64)]
    y = [torch.tensor([1.0, 0.3, -0.5, 0.2], dtype=torch.float64)]
    found = value_function_direction(problem.upper, problem.lower, x, y, steps=3, lr=0.2, strength=strength)
    end = lower_descent(problem.lower, x, y, steps=3, lr=0.2)
    assert found.gap == pytest.approx(float(problem.lower(x, y) - problem.lower(x, end)))

    def gap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return problem.lower([a], [b]) - problem.lower([a], end)

    q = torch.cat(torch.autograd.functional.jacobian(gap, (x[0], y[0])))
    first = torch.cat(torch.autograd.functional.jacobian(lambda a, b: problem.upper([a], [b]), (x[0], y[0])))
    multiplier = max(0.0, strength - float(first @ q / (q @ q)))
    assert (multiplier > 0) == (strength > 1)
    assert found.multiplier == pytest.approx(multiplier)
    torch.testing.assert_close(torch.cat([*found.upper, *found.lower]), first + multiplier * q)
    assert float(torch.cat([*found.upper, *found.lower]) @ q) >= strength * float(q @ q) - 1e-12


def test_it_solves_the_quadratic_problem() -> None:
    problem = ridge_target(4)
    x, y = [v.clone() for v in problem.start_upper], [v.clone() for v in problem.start_lower]
    for k in range(300):
        found = value_function_direction(problem.upper, problem.lower, x, y, steps=4, lr=0.5)
        rate = 0.2 / (1 + k / 50)
        x, y = [x[0] - rate * found.upper[0]], [y[0] - rate * found.lower[0]]
    assert float((x[0] - problem.solution_upper[0]).norm()) < 0.1 * float(problem.solution_upper[0].norm())
    with pytest.raises(InputError, match="strength"):
        value_function_direction(problem.upper, problem.lower, x, y, steps=1, lr=0.5, strength=0.0)
