"""Bilevel problems: known solutions, and that each gives a lower level something to learn and an upper one a choice."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.optim.bilevel import lower_descent, unrolled_gradient
from polyad.problems.bilevel import (
    BilevelProblem,
    Cleaning,
    differentiable_cell,
    few_shot_head,
    hyper_cleaning,
    penalised_regression,
    ridge_target,
    sine_valleys,
)
from polyad.problems.glyphs import glyphs


@pytest.mark.parametrize("problem", [ridge_target(4), sine_valleys(6), sine_valleys(3, a=-1.0, offsets=0.5)])
def test_known_solutions_are_stationary(problem: BilevelProblem) -> None:
    """grad_y f vanishes, and F along y(x), whose derivative the lower level gives, has a minimum."""
    x, y = problem.solution_upper, problem.solution_lower
    slope = torch.autograd.functional.jacobian(lambda b: problem.lower(x, [b]), y[0])
    assert float(slope.abs().max()) < 1e-9
    options = {"steps": 60, "lr": 0.5}
    hyper = unrolled_gradient(problem.upper, problem.lower, x, y, **options)
    assert float(hyper.gradient[0].abs().max()) < 1e-8
    best = float(problem.upper(x, y))
    for shift in (0.1, -0.1):
        moved = [x[0] + shift]
        assert float(problem.upper(moved, lower_descent(problem.lower, moved, y, **options))) > best


def test_sines_end_in_the_valley_nearest_to_the_target() -> None:
    problem = sine_valleys(10)
    valley = 3 * math.pi / 2
    assert float(problem.solution_upper[0]) == pytest.approx((-9 * 2 + 10 * valley) / 11)
    best = float(problem.upper(problem.solution_upper, problem.solution_lower))
    assert best == pytest.approx(10 * (valley - 4) ** 2 / 11)


def cleaning(seed: int = 0) -> Cleaning:
    images, labels = glyphs(240, classes=4, size=8, seed=seed)
    features = images.flatten(1)
    return hyper_cleaning(features[:160], labels[:160], features[160:], labels[160:], flipped=0.3, hidden=16, seed=seed)


def test_cleaning_flips_the_part_it_says_and_its_gradient_tells_wrong_from_right() -> None:
    images, labels = glyphs(240, classes=4, size=8, seed=0)
    task = cleaning()
    assert int(task.wrong.sum()) == 48
    assert torch.equal(task.labels != labels[:160], task.wrong)
    problem = task.problem
    y = lower_descent(problem.lower, problem.start_upper, problem.start_lower, steps=30, lr=0.5)
    slope = unrolled_gradient(problem.upper, problem.lower, problem.start_upper, y, steps=10, lr=0.5).gradient[0]
    assert float(slope[task.wrong].mean()) > 0 > float(slope[~task.wrong].mean())
    assert task.detection_f1([torch.where(task.wrong, -1.0, 1.0)]) == 1.0
    assert task.detection_f1([torch.full((160,), -1.0)]) == pytest.approx(2 * 48 / (160 + 48))
    assert Cleaning.logits(y, images.flatten(1)).shape == (240, 4)


def test_a_weight_of_zero_takes_a_sample_out() -> None:
    problem = cleaning().problem
    x = [torch.zeros(160)]
    x[0][5:] = -200.0
    value = float(problem.lower(x, problem.start_lower))
    x[0][5:] = -300.0
    assert float(problem.lower(x, problem.start_lower)) == pytest.approx(value)
    x[0][:5] = 200.0
    assert float(problem.lower(x, problem.start_lower)) > value


@pytest.mark.parametrize(
    ("problem", "lr"),
    [(few_shot_head(tasks=4), 0.3), (differentiable_cell(n=40, size=8, channels=4), 3.0)],
    ids=["head", "cell"],
)
def test_lower_levels_learn_and_upper_levels_matter(problem: BilevelProblem, lr: float) -> None:
    x, y = problem.start_upper, problem.start_lower
    before = float(problem.lower(x, y))
    y = lower_descent(problem.lower, x, y, steps=40, lr=lr)
    assert float(problem.lower(x, y)) < 0.9 * before
    options = {"steps": 10, "lr": lr / 10}
    found = unrolled_gradient(problem.upper, problem.lower, x, y, **options)
    assert all(float(g.norm()) > 0 for g in found.gradient)
    size = sum(float(g.square().sum()) for g in found.gradient)
    step = 1e-2 * float(found.value) / size
    moved = [v - step * g for v, g in zip(x, found.gradient, strict=True)]
    end = lower_descent(problem.lower, moved, y, **options)
    assert float(problem.upper(moved, end)) < float(found.value)


def test_cells_without_operations_see_nothing() -> None:
    """All weight on 'none': logits are the head's bias; on 'identity': the mean of the stem, thrice."""
    problem = differentiable_cell(n=20)
    y = [v.clone() for v in problem.start_lower]
    y[-1] = torch.arange(5.0)
    x = [torch.full((3, 4), -100.0)]
    x[0][:, 0] = 100.0
    labels = glyphs(40, classes=5, size=10, seed=0).labels
    expected = torch.nn.functional.cross_entropy(y[-1].expand(20, -1), labels[:20])
    torch.testing.assert_close(problem.lower(x, y), expected)
    x[0][:, 0], x[0][:, 1] = -100.0, 100.0
    images = glyphs(40, classes=5, size=10, seed=0).images[:20]
    stem = torch.relu(torch.nn.functional.conv2d(images, y[0], padding=1)).mean((2, 3))
    logits = 3 * stem @ y[-2].mT + y[-1]  # nodes: s, then s + s
    torch.testing.assert_close(problem.lower(x, y), torch.nn.functional.cross_entropy(logits, labels[:20]))


def test_seeds_repeat_and_bad_options() -> None:
    one, two, other = (penalised_regression(seed=seed) for seed in (3, 3, 4))
    y = [torch.ones(40, dtype=torch.float64)]
    assert torch.equal(one.lower(one.start_upper, y), two.lower(two.start_upper, y))
    assert not torch.equal(one.lower(one.start_upper, y), other.lower(other.start_upper, y))
    x, fresh = one.start()
    assert x[0].requires_grad
    assert fresh[0].data_ptr() != one.start_lower[0].data_ptr()
    images, labels = glyphs(10, classes=2, size=8)
    with pytest.raises(InputError, match="flipped"):
        hyper_cleaning(images.flatten(1), labels, images.flatten(1), labels, flipped=1.0)
