"""Intervals: Laplace errors against closed forms, coverage of both kinds."""

from __future__ import annotations

import warnings

import pytest
import torch

from polyad.errors import InputError, NumericalWarning
from polyad.tensors.completion import (
    CountObservations,
    UnderCountedCompletion,
    bootstrap_intervals,
    laplace_intervals,
    poisson_cp,
    rate_log_errors,
)
from tests.support.count_problems import cells, dense, planted, planted_factors


def test_error_of_an_independence_table_is_its_closed_form():
    """lambda = r c / n of a table of margins: var log lambda = 1/r + 1/c - 1/n."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.poisson(dense(planted_factors((5, 4), 1, 30.0, generator)), generator=generator)
    observations = CountObservations.from_dense(counts)
    fit = poisson_cp(observations, 1)
    errors = rate_log_errors(fit.value, observations, cells((5, 4))).reshape(5, 4)
    expected = (1 / counts.sum(1, keepdim=True) + 1 / counts.sum(0) - 1 / counts.sum()).sqrt()
    torch.testing.assert_close(errors, expected, rtol=1e-7, atol=0)
    interval = laplace_intervals(fit.value, observations, cells((5, 4)), level=0.95)
    torch.testing.assert_close(
        interval.upper.reshape(5, 4), fit.value.to_dense() * (1.959963984540054 * expected).exp(), rtol=1e-7, atol=0
    )
    torch.testing.assert_close(interval.lower * interval.upper, fit.value.to_dense().flatten().square())


def test_exposure_narrows_as_counts_do():
    generator = torch.Generator().manual_seed(1)
    counts = torch.poisson(dense(planted_factors((5, 4, 3), 2, 30.0, generator)), generator=generator)
    observations = CountObservations.from_dense(counts)
    fit = poisson_cp(observations, 2)
    quarter = torch.full((60,), 0.25, dtype=torch.float64)
    one = rate_log_errors(fit.value, observations, cells((5, 4, 3)))
    torch.testing.assert_close(
        rate_log_errors(fit.value, observations, cells((5, 4, 3)), detection=quarter), 2 * one, rtol=1e-6, atol=1e-9
    )


def test_laplace_intervals_cover():
    shape, hits = (10, 9, 8), []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        rates = dense(planted_factors(shape, 2, 100.0, generator)).flatten()
        chosen = torch.randperm(720, generator=generator)[:400]
        observations = CountObservations(shape, cells(shape)[chosen], torch.poisson(rates[chosen], generator=generator))
        fit = poisson_cp(observations, 2, starts=2)
        interval = laplace_intervals(fit.value, observations, cells(shape), level=0.9)
        hits.append(((interval.lower <= rates) & (rates <= interval.upper)).double().mean())
    assert float(torch.stack(hits).mean()) == pytest.approx(0.9, abs=0.05)


@pytest.mark.slow
def test_bootstrap_intervals_cover_detection_and_scale_too():
    shape, seen = (10, 8, 6), []
    completion = UnderCountedCompletion(shape, 2, starts=1, rounds=40, steps=10)
    every = cells(shape)
    problem = planted(shape, 2, share=0.7, mean=300, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        fit = completion.fit(problem.observations)
        interval = bootstrap_intervals(
            completion, fit, problem.observations, every, level=0.8, samples=10, progress=lambda *at: seen.append(at)
        )
    hits = (interval.lower <= problem.rates) & (problem.rates <= interval.upper)
    known = laplace_intervals(
        fit.rates, problem.observations, every, detection=fit.detection(problem.observations.attributes), level=0.8
    )
    assert seen[-1] == (10, 10)
    assert float(hits.double().mean()) > 0.5
    assert bool((interval.lower <= interval.upper).all())
    assert float((interval.upper - interval.lower).mean() / (known.upper - known.lower).mean()) > 1


def test_the_seed_decides_what_is_drawn():
    problem = planted((6, 5, 4), 2, share=0.9)
    completion = UnderCountedCompletion((6, 5, 4), 2, starts=1, rounds=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        fit = completion.fit(problem.observations)
        one, same, other = (
            bootstrap_intervals(
                completion, fit, problem.observations, cells((6, 5, 4)), level=0.5, samples=4, seed=seed
            ).lower
            for seed in (0, 0, 1)
        )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_bad_input_is_refused():
    problem = planted((6, 5, 4), 2, share=0.9)
    completion = UnderCountedCompletion((6, 5, 4), 2, starts=1, rounds=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        fit = completion.fit(problem.observations)
    every = cells((6, 5, 4))
    with pytest.raises(InputError, match="at least 20"):
        bootstrap_intervals(completion, fit, problem.observations, every, samples=19)
    with pytest.raises(InputError, match="level"):
        laplace_intervals(fit.rates, problem.observations, every, level=1.0)
    bare = CountObservations((6, 5, 4), every, problem.counts)
    with pytest.raises(InputError, match="no attributes"):
        bootstrap_intervals(completion, fit, bare, every)
