"""Grid search returns the candidate whose trained lower level has the least F."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.optim.bilevel import grid_search
from polyad.problems.bilevel import ridge_target


def test_the_best_candidate_wins() -> None:
    problem = ridge_target(3)
    solution = problem.solution_upper[0]
    candidates = [[solution + shift] for shift in (0.5, 0.1, -0.3)]
    found = grid_search(problem.upper, problem.lower, candidates, problem.start_lower, steps=50, lr=0.5)
    assert found.best == 1
    assert torch.equal(found.upper_variables[0], solution + 0.1)
    least = float(problem.upper(problem.solution_upper, problem.solution_lower))
    for (candidate,), value in zip(candidates, found.values, strict=True):
        # F is quadratic along y = A x, so half a Hessian product above its least value
        assert value > least
        step = candidate - solution
        assert value - least <= float(step @ step) + 1e-9
    torch.testing.assert_close(
        problem.upper(found.upper_variables, found.lower_variables), torch.tensor(found.values[1]).double()
    )


def test_diverged_candidates_are_passed_over_and_none_is_an_error() -> None:
    problem = ridge_target(3)
    bad, good = [torch.full((3,), torch.nan).double()], [torch.zeros(3).double()]
    assert grid_search(problem.upper, problem.lower, [bad, good], problem.start_lower, steps=3, lr=0.5).best == 1
    for candidates in ([], [bad]):
        with pytest.raises(InputError, match="candidates"):
            grid_search(problem.upper, problem.lower, candidates, problem.start_lower, steps=3, lr=0.5)
