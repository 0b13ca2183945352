"""Trainings by name: repeatable, and what counts falls."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from polyad.errors import InputError
from polyad.optim.racing.problem import as_problem
from polyad.problems.optimisation import log_spectrum, logistic_regression, quadratic
from polyad.problems.training import TRAININGS, _random_photograph, find_training

RATES = {"quadratic": 0.3, "valley": 0.01, "logistic": 0.1, "text": 0.003}


@pytest.mark.parametrize("name", [name for name in TRAININGS if name != "poisson"])
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


@pytest.mark.parametrize("name", ["quadratic", "gap"])
def test_quadratics_have_their_spectrum_and_end_at_zero(name: str) -> None:
    problem = find_training(name).make(3)
    few, many = torch.logspace(-1, 0, 10), torch.logspace(-4, -2, 90)
    spectrum = {"quadratic": log_spectrum(100, 1e3), "gap": torch.cat([many, few]).double()}[name]
    f = quadratic(spectrum, seed=0)
    assert float(torch.linalg.eigvalsh(f.matrix)[-10]) == pytest.approx(float(spectrum[-10]))
    assert problem.judge() == pytest.approx(float(f(problem.model.x.detach())), rel=1e-9)
    with torch.no_grad():
        problem.model.layer.weight.copy_(f.minimum)
    assert problem.judge() < 1e-25


def test_the_image_is_grey_and_its_frequencies_fade() -> None:
    image = _random_photograph(64)
    assert (float(image.min()), float(image.max())) == (0.0, 1.0)
    power = torch.fft.rfft2(image).abs().square()
    slow, fast = power[1:3, 1:3].mean(), power[8:24, 8:24].mean()
    assert 16 < float(slow / fast) < 400  # 1 / f^2 between f = 2 and f = 22, of random numbers
    problem = find_training("image").make(0)
    places = torch.cartesian_prod(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 24))
    wrong = problem.model(places).detach() - _random_photograph(24).reshape(-1, 1)
    assert problem.judge() == pytest.approx(float(wrong.square().mean()), rel=1e-5)


def test_poisson_has_two_losses_that_vanish_at_the_solution() -> None:
    class Solution(nn.Module):
        def forward(self, points: torch.Tensor) -> torch.Tensor:
            return torch.sin(8 * math.pi * points).prod(-1, keepdim=True)

    problem = find_training("poisson").make(0)
    generator = torch.Generator().manual_seed(0)
    residual, boundary = (float(loss.detach()) for loss in problem.loss(problem.model, generator))
    assert residual > 1e4 * boundary > 0
    assert all(float(loss.detach()) < 1e-4 * residual for loss in problem.loss(Solution(), generator))
    assert problem.evaluate is not None
    assert problem.evaluate(Solution()) < 1e-5 < problem.judge()
    as_problem(problem, origin="poisson")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="quadratic, gap"):
        find_training("mnist")
