"""Trainings by name: repeatable, and what counts falls."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.optim.racing.problem import as_problem
from polyad.problems.optimisation import logistic_regression
from polyad.problems.training import TRAININGS, find_training

RATES = {"quadratic": 0.3, "valley": 0.01, "logistic": 0.1, "text": 0.003}


@pytest.mark.parametrize("name", TRAININGS)
def test_training_lowers_what_counts(name: str) -> None:
    state = torch.get_rng_state()
    problem, again, other = (find_training(name).make(seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    as_problem(problem, origin=name)
    losses = [float(p.loss(p.model, torch.Generator().manual_seed(5)).detach()) for p in (problem, again, other)]
    assert losses[0] == losses[1] != losses[2]
    before = problem.judge()
    optimizer = torch.optim.Adam(problem.model.parameters(), lr=RATES.get(name, 0.003))
    generator = torch.Generator().manual_seed(0)
    for _ in range(25):
        optimizer.zero_grad()
        problem.loss(problem.model, generator).backward()
        optimizer.step()
    assert problem.judge() < 0.97 * before
    assert math.isfinite(before)


def test_batches_differ_and_average_to_what_counts() -> None:
    problem = find_training("logistic").make(0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        losses = torch.stack([problem.loss(problem.model, generator) for _ in range(300)])
    assert float(losses.std()) > 0
    assert float(losses.mean()) == pytest.approx(problem.judge(), abs=4 * float(losses.std()) / 300**0.5)
    f = logistic_regression(4_000, 50, seed=0, condition=1e3)
    with torch.no_grad():
        problem.model.layer.weight.copy_(f.minimum())
    assert problem.judge() == pytest.approx(float(f(f.minimum())))


def test_the_quadratic_ends_at_zero() -> None:
    from polyad.problems.optimisation import log_spectrum, quadratic

    problem = find_training("quadratic").make(3)
    f = quadratic(log_spectrum(100, 1e3), seed=0)
    assert problem.judge() == pytest.approx(float(f(problem.model.x.detach())), rel=1e-9)
    with torch.no_grad():
        problem.model.layer.weight.copy_(f.minimum)
    assert problem.judge() < 1e-25


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="quadratic, valley"):
        find_training("mnist")
