"""One training: the optimiser's own steps, the same batches for all, and an end that says why."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn

from polyad.errors import InputError
from polyad.optim.racing import course as module
from polyad.optim.racing.course import run_course, state_bytes
from polyad.optim.racing.problem import Problem
from polyad.optim.registry import OPTIMIZERS, Entry

ADAM = OPTIMIZERS["adam"]


def noisy(seed: int = 0, **options: Any) -> Problem:
    """Least squares with a batch from the generator."""
    model = nn.Linear(4, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))

    def loss(model: nn.Module, generator: torch.Generator) -> torch.Tensor:
        x = torch.randn(8, 4, generator=generator)
        return (model(x) - x[:, :2]).square().mean()

    return Problem(model, loss, **options)


def test_a_course_is_the_training_written_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setitem(module.CLOCKS, "wall", lambda: float(next(ticks)))  # every step takes one second
    problem, peer = noisy(), noisy()
    course = run_course(ADAM, problem, rate=0.02, seed=5, seconds=12, clock="wall", points=4)
    assert [(p.steps, p.seconds) for p in course.points] == [(0, 0), (3, 3), (6, 6), (9, 9), (12, 12)]
    assert (course.ended, course.evaluations, course.seconds_a_step) == ("time", 12, 1.0)
    optimizer = torch.optim.Adam(peer.model.parameters(), lr=0.02)
    losses = [peer.judge()]
    for step in range(12):
        optimizer.zero_grad()
        peer.loss(peer.model, torch.Generator().manual_seed(5 * 1_000_003 + step)).backward()
        optimizer.step()
        losses.append(peer.judge())
    assert [p.loss for p in course.points] == losses[::3]
    assert course.best == min(losses[::3])
    assert course.first_below(losses[6]) == course.points[2]
    assert course.first_below(-1.0) is None
    expected = 2 * 10 * 4 + 2 * 4  # two moments of 10 numbers, and a count for each of two parameters
    assert course.state_bytes == state_bytes(optimizer) == expected


def test_state_that_is_shared_counts_once() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    assert state_bytes(optimizer) == 0
    whole = torch.zeros(10, dtype=torch.float64)
    optimizer.state[parameter] = {"a": whole, "parts": [whole[:5], {"b": torch.zeros(3)}], "steps": 3}
    assert state_bytes(optimizer) == 80 + 12


def test_closures_of_a_step_see_one_batch() -> None:
    draws: list[float] = []
    problem = noisy()

    def loss(model: nn.Module, generator: torch.Generator) -> torch.Tensor:
        value = problem.loss(model, generator)
        draws.append(float(torch.rand(1, generator=generator)))
        return value

    entry = OPTIMIZERS["lbfgs"]
    watched = Problem(problem.model, loss, lambda model: 1.0)
    course = run_course(entry, watched, rate=1.0, seed=0, seconds=60, max_steps=3)
    assert (course.ended, course.points[-1].steps) == ("steps", 3)
    assert course.evaluations == len(draws) > 3
    assert len(set(draws)) == 3


def two_terms(model: nn.Module, generator: torch.Generator) -> list[torch.Tensor]:
    x = torch.randn(8, 4, generator=generator)
    return [(model(x) - x[:, :2]).square().mean(), 1e3 * model(x[:1]).square().mean()]


def test_terms_go_to_those_who_take_them_and_the_sum_to_the_others() -> None:
    """MultiAdam does not see how large a term is; Adam, which gets the sum, does."""
    ends = {}
    for name, factor in itertools.product(("multiadam", "adam"), (1.0, 100.0)):
        problem = noisy()

        def scaled(model: nn.Module, generator: torch.Generator, factor: float = factor) -> list[torch.Tensor]:
            first, second = two_terms(model, generator)
            return [first, factor * second]

        scored = Problem(problem.model, scaled, lambda model: float(model.weight.square().sum()))
        course = run_course(OPTIMIZERS[name], scored, rate=0.02, seed=5, seconds=60, max_steps=4)
        assert (course.ended, course.evaluations) == ("steps", 4)
        ends[name, factor] = course.points[-1].loss
    assert ends["multiadam", 1.0] == pytest.approx(ends["multiadam", 100.0], rel=1e-5)
    assert ends["adam", 1.0] != pytest.approx(ends["adam", 100.0], rel=1e-5)

    def summed(model: nn.Module, generator: torch.Generator) -> torch.Tensor:
        return torch.stack(two_terms(model, generator)).sum()

    for name in ("adam", "lbfgs-wolfe"):
        both = [Problem(noisy().model, loss) for loss in (two_terms, summed)]
        courses = [run_course(OPTIMIZERS[name], p, rate=0.02, seed=5, seconds=60, max_steps=3) for p in both]
        assert courses[0].points[-1].loss == pytest.approx(courses[1].points[-1].loss, rel=1e-6)
        assert courses[0].points[-1].loss == both[0].judge() < courses[0].points[0].loss


def test_divergence_is_an_end_and_no_error() -> None:
    course = run_course(OPTIMIZERS["sgd"], noisy(), rate=1e6, seed=0, seconds=20, points=1)
    assert course.ended == "diverged"
    assert "loss" in course.reason
    assert math.isinf(course.best)
    assert all(math.isfinite(point.loss) for point in course.points)


def test_a_problem_that_an_optimiser_cannot_do_is_refused() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

    problem = Problem(Scale(), lambda model, generator: model.scale.square())
    course = run_course(OPTIMIZERS["mkor"], problem, rate=0.1, seed=0, seconds=5)
    assert course.ended == "refused"
    assert "model: has no linear" in course.reason


class _Failing(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:
        raise torch.linalg.LinAlgError("eigenvalues\nnot found")


def test_a_failed_decomposition_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Entry, "load", lambda self: _Failing)
    course = run_course(Entry("x", "here:X", "", (0.1, 1.0)), noisy(), rate=0.1, seed=0, seconds=5)
    assert (course.ended, course.reason) == ("refused", "eigenvalues not found")


def test_global_randomness_is_of_the_seed_and_left_alone() -> None:
    def drop() -> Problem:
        problem = noisy()
        return Problem(nn.Sequential(problem.model, nn.Dropout(0.5)), problem.loss)

    problems = [drop() for _ in range(3)]
    before = torch.get_rng_state()
    runs = [
        run_course(ADAM, problem, rate=0.1, seed=k, seconds=60, max_steps=3)
        for problem, k in zip(problems, (0, 0, 1), strict=True)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    ends = [run.points[-1].loss for run in runs]
    assert ends[0] == ends[1] != ends[2]


def test_bad_clocks_and_times_are_refused() -> None:
    for options in ({"clock": "sun"}, {"seconds": 0.0}, {"points": 0}, {"max_steps": 0}):
        with pytest.raises(InputError, match=next(iter(options))):
            run_course(ADAM, noisy(), rate=0.1, seed=0, **{"seconds": 1.0, **options})
    there = Problem(nn.Linear(2, 2, device="meta"), lambda model, generator: torch.tensor(0.0))
    with pytest.raises(InputError, match="choose 'wall'"):
        module.check_clock("process", there)
