"""Closed populations: the likelihood against a plain sum by scipy, the scale against the truth and its own error."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from polyad.errors import InputError
from polyad.tensors.completion import CountObservations, closed_population_log_likelihood, survey_scale


def test_likelihood_is_the_sum_over_all_populations():
    counts = torch.tensor([[3.0, 5.0, 4.0], [40.0, 12.0, 0.0], [0.0, 0.0, 0.0], [2.0, 9.0, 1.0]], dtype=torch.float64)
    present = torch.tensor([[True, True, True], [True, True, False], [True, True, True], [True, True, True]])
    rates = torch.tensor([12.0, 20.0, 0.7, 300.0], dtype=torch.float64)
    detection = torch.tensor([[0.3, 0.5, 1e-3], [0.2, 0.1, 0.5], [0.4, 0.4, 0.2], [0.05, 0.02, 0.01]]).double()
    ours = closed_population_log_likelihood(counts, present, rates, detection)
    population = np.arange(2000)
    for cell in range(4):
        terms = scipy.stats.poisson.pmf(population, float(rates[cell]))
        for survey in range(3):
            if present[cell, survey]:
                terms = terms * scipy.stats.binom.pmf(
                    float(counts[cell, survey]), population, float(detection[cell, survey])
                )
        assert float(ours[cell]) == pytest.approx(np.log(terms.sum()), rel=1e-10)


def test_full_detection_leaves_the_poisson_probability():
    counts, present = torch.full((1, 2), 7.0).double(), torch.ones(1, 2, dtype=torch.bool)
    rates, one = torch.tensor([5.0]).double(), torch.ones(1, 2).double()
    ours = closed_population_log_likelihood(counts, present, rates, one)
    assert float(ours[0]) == pytest.approx(scipy.stats.poisson.logpmf(7, 5.0))


def surveys(seed, cells=300):
    """Two to four surveys a cell, p from 0.2 to 0.6."""
    generator = torch.Generator().manual_seed(seed)
    rates = torch.rand(cells, generator=generator, dtype=torch.float64) * 60 + 20
    repeats = torch.randint(2, 5, (cells,), generator=generator)
    cell = torch.repeat_interleave(torch.arange(cells), repeats)
    cell = cell[torch.randperm(len(cell), generator=generator)]
    detection = torch.rand(len(cell), generator=generator, dtype=torch.float64) * 0.4 + 0.2
    counts = torch.binomial(torch.poisson(rates, generator=generator)[cell], detection, generator=generator)
    indices = torch.stack([cell, torch.zeros_like(cell)], dim=1)
    return CountObservations((cells, 1), indices, counts), rates[cell], detection


def test_scale_is_found_within_its_standard_error():
    scores = []
    for seed in range(5):
        observations, rates, detection = surveys(seed, cells=400)
        found = survey_scale(observations, rates / 1.5, detection * 1.5)
        assert found.cells == 400
        assert found.log_error < 0.15
        scores.append(np.log(found.factor / 1.5) / found.log_error)
    assert np.abs(scores).max() < 3
    assert np.abs(np.mean(scores)) < 3 / np.sqrt(5)


def test_open_populations_leave_the_scale_at_its_end():
    """Independent counts have no shared individuals: no finite scale explains them best."""
    observations, rates, detection = surveys(0, cells=60)
    generator = torch.Generator().manual_seed(5)
    open_counts = torch.poisson(rates * detection, generator=generator)
    found = survey_scale(observations.with_counts(open_counts), rates, detection)
    assert found.factor > 3 or not found.log_error < 0.3


def test_bad_input_is_refused():
    observations, rates, detection = surveys(0)
    with pytest.raises(InputError, match="whole numbers"):
        survey_scale(observations.with_counts(observations.counts + 0.5), rates, detection)
    single = CountObservations((2, 1), torch.tensor([[0, 0], [1, 0]]), torch.ones(2).double())
    with pytest.raises(InputError, match="surveyed twice"):
        survey_scale(single, torch.ones(2).double(), torch.ones(2).double() / 2)
