"""Under-counted completion: planted rates and detection are found, scales are fixed as asked, doubts are told."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import pytest
import torch
from jaxtyping import TypeCheckError

from polyad.errors import InputError, NumericalWarning, TrainingError
from polyad.tensors.completion import CountObservations, MLPDetection, UnderCountedCompletion, best_scale, poisson_cp
from tests.support.count_problems import cells, planted

SHAPE, RANK = (12, 10, 8), 2
QUICK = UnderCountedCompletion(SHAPE, RANK, starts=1, rounds=60, steps=8, learning_rate=1e-2)


def fitted(completion, observations, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        return completion.fit(observations, **options)


def error(estimate, truth):
    return float((estimate - truth).norm() / truth.norm())


@pytest.fixture(scope="module")
def problem():
    return planted(SHAPE, RANK, share=0.6)


@pytest.fixture(scope="module")
def fit(problem):
    with warnings.catch_warnings():
        warnings.simplefilter("error", NumericalWarning)
        return QUICK.fit(problem.observations)


def unobserved(problem):
    hidden = torch.ones(len(problem.rates), dtype=torch.bool)
    hidden[problem.observed] = False
    return hidden


def test_thinned_counts_are_poisson_with_the_product_of_rate_and_detection():
    generator = torch.Generator().manual_seed(0)
    draws, rate, chance = 200_000, 30.0, 0.35
    population = torch.poisson(torch.full((draws,), rate, dtype=torch.float64), generator=generator)
    counts = torch.binomial(population, torch.full_like(population, chance), generator=generator)
    mean = rate * chance
    assert float(counts.mean()) == pytest.approx(mean, abs=3 * math.sqrt(mean / draws))
    assert float(counts.var()) == pytest.approx(mean, abs=3 * math.sqrt((mean + 2 * mean**2) / draws))
    missed = population - counts  # what true_counts relies on: missed ones are Poisson, and independent of the count
    covariance = float(((counts - counts.mean()) * (missed - missed.mean())).mean())
    assert abs(covariance) < 3 * math.sqrt(mean * rate * (1 - chance) / draws)


def test_rates_and_detection_are_found(problem, fit):
    hidden = unobserved(problem)
    estimate = fit.predict(cells(SHAPE))
    assert error(estimate[hidden], problem.rates[hidden]) < 0.12
    seen = problem.observed
    assert float((fit.detection(problem.attributes) - problem.detection)[seen].abs().mean()) < 0.05
    plain = poisson_cp(problem.observations, RANK).value.to_dense().flatten()
    scaled = plain * best_scale(plain[hidden], problem.rates[hidden])
    assert error(estimate[hidden], problem.rates[hidden]) < 0.5 * error(scaled[hidden], problem.rates[hidden])
    assert fit.warnings == ()
    assert fit.identifiability.gain > 2 * fit.identifiability.gain_error


def test_largest_observed_detection_is_one_and_outputs_agree(problem, fit):
    observations = problem.observations
    detection = fit.detection(observations.attributes)
    assert float(detection.max()) == pytest.approx(1, abs=1e-12)
    rates = fit.predict(observations.indices)
    torch.testing.assert_close(rates, fit.rates.to_dense()[tuple(observations.indices.T)])
    torch.testing.assert_close(fit.predict(observations.indices, observations.attributes), rates * detection)
    torch.testing.assert_close(fit.true_counts(observations), observations.counts + rates * (1 - detection))
    truth = problem.rates[problem.observed]
    assert error(fit.true_counts(observations), truth) < error(observations.counts, truth)


def test_the_linear_model_of_the_log_odds_is_worse_on_curved_detection(problem, fit):
    linear = fitted(replace(QUICK, detection="logistic"), problem.observations)
    hidden = unobserved(problem)
    ours, theirs = (error(one.predict(cells(SHAPE))[hidden], problem.rates[hidden]) for one in (fit, linear))
    assert ours < 0.7 * theirs


def test_histories_starts_progress_and_determinism(problem):
    seen = []
    short = replace(QUICK, rounds=4, starts=2)
    one = fitted(short, problem.observations, progress=lambda *at: seen.append(at))
    again = fitted(short, problem.observations)
    other = fitted(replace(short, seed=1), problem.observations)
    assert seen[-1] == (12, 12)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len(one.history) == len(one.held_out_history) == 4
    assert one.history[-1] < one.history[0]
    assert min(one.starts) == pytest.approx(min(one.held_out_history))
    assert one.stopped_by == "rounds"
    assert torch.equal(one.rates.to_dense(), again.rates.to_dense())
    assert not torch.equal(one.rates.to_dense(), other.rates.to_dense())
    assert fitted(replace(QUICK, seconds=1e-9), problem.observations).stopped_by == "seconds"
    assert fitted(replace(QUICK, rounds=200, patience=2), problem.observations).stopped_by == "held-out deviance"


def test_a_fit_can_be_continued(problem):
    short = fitted(replace(QUICK, rounds=3), problem.observations)
    longer = fitted(replace(QUICK, rounds=20), problem.observations, initial=short)
    assert longer.starts[0] < short.starts[0]
    assert longer.held_out_history[0] < short.held_out_history[0]


def test_a_model_of_ones_own_is_used_and_not_changed(problem):
    model = MLPDetection(3, (8,))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    fit = fitted(replace(QUICK, detection=model, rounds=3), problem.observations)
    assert fit.model is not model
    assert fit.model.hidden == (8,)
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


class Broken(torch.nn.Module):
    """Gives NaN, as a network does after a step that was too large."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, attributes):
        return attributes[:, 0] * self.weight / 0 * 0

    def fresh(self, generator):
        return Broken()


def test_nan_from_a_model_stops_the_fit(problem):
    with pytest.raises(TrainingError, match="lower the learning rate"):
        replace(QUICK, detection=Broken()).fit(problem.observations)


def test_without_a_normalisation_the_scale_is_free_and_said_to_be(problem, fit):
    with pytest.warns(NumericalWarning, match="arbitrary"):
        free = replace(QUICK, normalize="none").fit(problem.observations)
    ratio = free.rates.to_dense() / fit.rates.to_dense()
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio))
    observations = problem.observations
    one, other = (fit.predict(observations.indices, observations.attributes) for fit in (free, fit))
    torch.testing.assert_close(one, other)


def test_anchors_fix_the_scale_where_nothing_is_fully_counted():
    """Detection is 0.4 times the usual, so that max p = 1 would be wrong by 2.5; a tenth of the rows has p known."""
    problem = planted(SHAPE, RANK, share=0.7, mean=400)
    generator = torch.Generator().manual_seed(1)
    anchors = torch.zeros(len(problem.observed), dtype=torch.bool)
    anchors[:60] = True
    detection = 0.4 * problem.detection[problem.observed]
    known = torch.where(anchors, 0.8, torch.nan).double()
    chance = torch.where(anchors, known, detection)
    counts = torch.poisson(problem.rates[problem.observed] * chance, generator=generator)
    observations = problem.observations.with_counts(counts)
    fit = fitted(replace(QUICK, normalize="anchor"), observations, anchors=anchors, anchor_detection=known)
    assert error(fit.predict(cells(SHAPE)), problem.rates) < 0.1
    assert float((fit.detection(observations.attributes) - detection)[~anchors].abs().mean()) < 0.03
    assert fit.warnings == ()
    wrong = fitted(QUICK, problem.observations.with_counts(torch.poisson(problem.rates[problem.observed] * detection)))
    assert error(wrong.predict(cells(SHAPE)), problem.rates) > 0.4


def test_repeated_surveys_fix_the_scale():
    """Every observed cell is surveyed three times with other attributes; p is at most 0.5."""
    problem = planted(SHAPE, RANK, share=0.6, mean=80)
    generator = torch.Generator().manual_seed(2)
    cell = problem.observed.repeat(3)
    other = torch.arange(len(cell)) % len(problem.rates)
    detection = 0.5 * problem.detection[other]
    population = torch.poisson(problem.rates, generator=generator)
    counts = torch.binomial(population[cell], detection, generator=generator)
    observations = CountObservations(SHAPE, cells(SHAPE)[cell], counts, problem.attributes[other])
    fit = fitted(replace(QUICK, normalize="surveys"), observations)
    assert error(fit.predict(cells(SHAPE)), problem.rates) < 0.25
    assert float((fit.detection(observations.attributes) - detection).abs().mean()) < 0.06
    assert fit.warnings == ()
    assumed = fitted(QUICK, observations)  # max p = 1 is wrong here, by a factor of two
    assert error(assumed.predict(cells(SHAPE)), problem.rates) > 0.4


def test_detection_without_attributes_is_told_to_be_unknown():
    problem = planted(SHAPE, RANK, share=0.6, constant=0.4)
    with pytest.warns(NumericalWarning, match="not identifiable: the attributes do not improve"):
        fit = QUICK.fit(problem.observations)
    assert any("no anchors" in sentence for sentence in fit.warnings)
    assert error(fit.predict(cells(SHAPE)), problem.rates) > 0.3  # wrong by the scale, which is what the warning says


def test_detection_by_places_alone_is_told_to_be_absorbed():
    """Attributes of the first mode only: p moves into its factor."""
    problem = planted(SHAPE, RANK, share=0.6)
    place = cells(SHAPE)[problem.observed][:, 0]
    observations = CountObservations(
        SHAPE, cells(SHAPE)[problem.observed], problem.counts[problem.observed], problem.attributes[place]
    )
    fit = fitted(QUICK, observations)
    assert any("one term a mode" in sentence for sentence in fit.warnings)


def test_masked_attributes_are_never_read(problem):
    observations = problem.observations
    known = torch.rand(observations.attributes.shape, generator=torch.Generator().manual_seed(3)) < 0.8
    spoiled = torch.where(known, observations.attributes, torch.nan)
    masked = CountObservations(SHAPE, observations.indices, observations.counts, spoiled, known)
    fit = fitted(QUICK, masked)
    estimate = fit.predict(cells(SHAPE))
    plain = poisson_cp(observations, RANK).value.to_dense().flatten()
    hidden = unobserved(problem)
    assert error(estimate[hidden], problem.rates[hidden]) < error(plain[hidden], problem.rates[hidden])
    assert fit.encoding.width == 6
    assert bool(torch.isfinite(fit.true_counts(masked)).all())


def test_float32_works(problem):
    observations = problem.observations
    single = CountObservations(SHAPE, observations.indices, observations.counts.float(), observations.attributes)
    fit = fitted(replace(QUICK, rounds=20), single)
    assert fit.rates.dtype == torch.float32
    assert error(fit.predict(cells(SHAPE)).double(), problem.rates) < 0.4


def test_bad_input_is_refused(problem):
    observations = problem.observations
    count = len(observations)
    some = torch.arange(count) < 5
    for completion, rows, options in (
        (UnderCountedCompletion((12, 10, 9), 2), observations, {}),
        (QUICK, replace(observations, attributes=None), {}),
        (QUICK, observations.select(torch.arange(30)), {}),
        (QUICK, observations, {"anchors": some}),
        (replace(QUICK, normalize="anchor"), observations, {}),
        (replace(QUICK, normalize="anchor"), observations, {"anchors": ~some[:1]}),
        (replace(QUICK, normalize="anchor"), observations, {"anchors": some, "anchor_detection": 1.5}),
        (replace(QUICK, normalize="surveys", rounds=1), observations, {}),
    ):
        with pytest.raises(InputError):
            completion.fit(rows, **options)
    with pytest.raises(InputError, match="at least 20"):
        UnderCountedCompletion((1, 1), 1).fit(
            CountObservations((1, 1), torch.zeros(19, 2, dtype=torch.long), torch.ones(19).double(), torch.ones(19, 1))
        )
    for options in (
        {"rank": 0}, {"starts": 0}, {"rounds": 0}, {"held_out": 0.0},
        {"seconds": 0.0}, {"learning_rate": 0.0}, {"penalty": -1.0},
    ):  # fmt: skip
        with pytest.raises(InputError):
            replace(QUICK, **options)
    for options in ({"normalize": "mean"}, {"detection": "cnn"}):
        with pytest.raises((InputError, TypeCheckError)):  # the second is the types' own check under test
            replace(QUICK, **options)
