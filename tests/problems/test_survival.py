"""The partial likelihood against its sum written out, and times that follow their hazards."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.problems.survival import SurvivalTimes, survival_times


def test_likelihood_is_its_sum_with_ties_and_batches() -> None:
    drawn = survival_times(12, 3, seed=1)
    times = (4 * drawn.times).ceil() / 4  # ties
    assert len(times.unique()) < 12
    f = SurvivalTimes(drawn.features, times, drawn.observed, drawn.truth)
    points = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = f(points)
    for one, value in zip(points.reshape(-1, 3), values.flatten(), strict=True):
        terms = []
        for i in range(12):
            if f.observed[i]:
                risk = sum(math.exp(float(one @ f.features[j])) for j in range(12) if times[j] >= times[i])
                terms.append(math.log(risk) - float(one @ f.features[i]))
        assert float(value) == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_truth_is_near_the_minimum() -> None:
    f = survival_times(4000, 4, relevant=2, seed=0)
    x = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    for _ in range(12):
        (gradient,) = torch.autograd.grad(f(x), x)
        hessian = torch.autograd.functional.hessian(f, x.detach())
        x = (x - torch.linalg.solve(hessian, gradient)).detach().requires_grad_()
    assert torch.allclose(x.detach(), f.truth, atol=0.08)
    assert float(f.truth.abs().sum()) == pytest.approx(1.0)
    assert int((f.truth != 0).sum()) == 2
    assert 0.65 < float(f.observed.double().mean()) < 0.75


def test_bad_input_is_refused() -> None:
    for options in ({"rows": 0}, {"relevant": 9}, {"censored": 1.0}, {"features": 0}):
        with pytest.raises(InputError):
            survival_times(**({"rows": 5, "features": 3} | options))
