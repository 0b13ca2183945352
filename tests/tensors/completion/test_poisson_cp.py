"""Poisson CP: the likelihood against scipy, updates against independent ones, monotony, closed forms, statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from polyad.errors import InputError
from polyad.tensors.completion import (
    CountObservations,
    multiplicative_update,
    poisson_cp,
    poisson_deviance,
    poisson_loss,
)
from polyad.tensors.completion.poisson_cp import as_cp, as_factors, entry_rates
from tests.support.count_problems import cells, dense, planted_factors


def random_problem(shape, rank, seed, *, mean=4.0, repeats=False):
    generator = torch.Generator().manual_seed(seed)
    factors = [torch.rand(n, rank, generator=generator, dtype=torch.float64) + 0.01 for n in shape]
    total = math.prod(shape)
    rows = torch.randint(total, (total,), generator=generator) if repeats else torch.arange(total)
    indices = cells(shape)[rows]
    rates = torch.rand(total, generator=generator, dtype=torch.float64) * 2 * mean
    counts = torch.poisson(rates, generator=generator)
    detection = torch.rand(total, generator=generator, dtype=torch.float64) * 0.9 + 0.1
    return factors, indices, counts, detection


def test_loss_is_the_log_likelihood_of_scipy_but_for_the_factorials():
    factors, indices, counts, detection = random_problem((6, 5, 4), 3, 0)
    expected = entry_rates(factors, indices) * detection
    logs = scipy.stats.poisson.logpmf(counts.numpy(), expected.numpy()).sum()
    factorials = scipy.special.gammaln(counts.numpy() + 1).sum()
    assert float(poisson_loss(expected, counts)) == pytest.approx(-logs - factorials, rel=1e-10)


def test_deviance_is_twice_the_gap_to_the_saturated_model():
    _, _, counts, _ = random_problem((6, 5), 1, 1)
    expected = counts + 0.7
    saturated = scipy.stats.poisson.logpmf(counts.numpy(), np.maximum(counts.numpy(), 1e-300))
    model = scipy.stats.poisson.logpmf(counts.numpy(), expected.numpy())
    np.testing.assert_allclose(poisson_deviance(expected, counts).numpy(), 2 * (saturated - model), atol=1e-10)


def test_updates_never_increase_the_loss():
    rng = np.random.default_rng(0)
    for trial in range(1000):
        shape = tuple(int(n) for n in rng.integers(1, 6, rng.integers(2, 5)))
        rank, penalty = int(rng.integers(1, 5)), float(rng.choice([0.0, 0.0, 1.0]))
        mean = float(rng.choice([0.3, 5.0, 300.0]))
        factors, indices, counts, detection = random_problem(shape, rank, trial, mean=mean, repeats=trial % 2 == 0)

        def loss(factors, indices=indices, counts=counts, detection=detection, penalty=penalty):
            smooth = float(poisson_loss(entry_rates(factors, indices) * detection, counts))
            return smooth + penalty * sum(float(factor.sum()) for factor in factors)

        before = loss(factors)
        for mode in range(len(shape)):
            factors[mode] = multiplicative_update(factors, mode, indices, counts, detection, penalty=penalty)
            after = loss(factors)
            assert after <= before + 1e-11 * (abs(before) + float(counts.sum()) + 1), (trial, mode)
            before = after


def test_full_observation_is_the_dense_kullback_leibler_update():
    """Written here for dense tensors of order three, in numpy, with explicit unfoldings."""
    generator = torch.Generator().manual_seed(2)
    truth = planted_factors((7, 6, 5), 3, 20.0, generator)
    counts = torch.poisson(dense(truth), generator=generator)
    start = [torch.rand(n, 3, generator=generator, dtype=torch.float64) + 0.1 for n in counts.shape]
    fit = poisson_cp(CountObservations.from_dense(counts), 3, initial=start, sweeps=40, tolerance=0.0)
    a, b, c = (factor.numpy().copy() for factor in start)
    x = counts.numpy()
    for _ in range(40):
        ratio = x / np.einsum("ir,jr,kr->ijk", a, b, c)
        a = a * np.einsum("ijk,jr,kr->ir", ratio, b, c) / (b.sum(0) * c.sum(0))
        ratio = x / np.einsum("ir,jr,kr->ijk", a, b, c)
        b = b * np.einsum("ijk,ir,kr->jr", ratio, a, c) / (a.sum(0) * c.sum(0))
        ratio = x / np.einsum("ir,jr,kr->ijk", a, b, c)
        c = c * np.einsum("ijk,ir,jr->kr", ratio, a, b) / (a.sum(0) * b.sum(0))
    np.testing.assert_allclose(fit.value.to_dense().numpy(), np.einsum("ir,jr,kr->ijk", a, b, c), rtol=1e-8)


def test_order_two_is_the_kullback_leibler_nmf_of_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    generator = torch.Generator().manual_seed(3)
    counts = torch.poisson(dense(planted_factors((12, 9), 3, 30.0, generator)), generator=generator) + 1
    start = [torch.rand(n, 3, generator=generator, dtype=torch.float64) + 0.1 for n in counts.shape]
    fit = poisson_cp(CountObservations.from_dense(counts), 3, initial=start, sweeps=25, tolerance=0.0)
    peer = decomposition.NMF(3, solver="mu", beta_loss="kullback-leibler", init="custom", max_iter=25, tol=0.0)
    left = peer.fit_transform(counts.numpy(), W=start[0].numpy().copy(), H=start[1].numpy().T.copy())
    np.testing.assert_allclose(fit.value.to_dense().numpy(), left @ peer.components_, rtol=1e-8)


def test_rank_one_is_the_product_of_margins():
    generator = torch.Generator().manual_seed(4)
    counts = torch.poisson(dense(planted_factors((5, 4, 3), 1, 8.0, generator)), generator=generator)
    fit = poisson_cp(CountObservations.from_dense(counts), 1)
    margins = [counts.sum((1, 2)), counts.sum((0, 2)), counts.sum((0, 1))]
    expected = torch.einsum("i,j,k->ijk", *margins) / counts.sum() ** 2
    torch.testing.assert_close(fit.value.to_dense(), expected, rtol=1e-9, atol=1e-12)


def test_rows_of_one_cell_count_as_their_sum_with_summed_exposure():
    factors, indices, counts, detection = random_problem((5, 4, 3), 2, 5)
    twice = CountObservations((5, 4, 3), indices.repeat(2, 1), torch.cat([counts, counts + 1]))
    merged = CountObservations((5, 4, 3), indices, 2 * counts + 1)
    one = poisson_cp(twice, 2, initial=factors, detection=torch.cat([detection, detection / 2]), sweeps=30)
    other = poisson_cp(merged, 2, initial=factors, detection=1.5 * detection, sweeps=30)
    torch.testing.assert_close(one.value.to_dense(), other.value.to_dense(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_the_end_is_a_stationary_point_of_the_loss(penalty):
    factors, indices, counts, detection = random_problem((4, 4, 3), 2, 6, mean=20)
    rows = torch.arange(0, len(counts), 2)
    observations = CountObservations((4, 4, 3), indices[rows], counts[rows])
    fit = poisson_cp(
        observations, 2, initial=factors, detection=detection[rows], penalty=penalty, tolerance=1e-13, sweeps=20000
    )
    leaves = [factor.clone().requires_grad_() for factor in as_factors(fit.value)]
    if penalty:  # at the optimum all modes have equal column sums, which is how as_factors spreads weights
        assert fit.history[-1] == pytest.approx(
            float(poisson_loss(entry_rates(leaves, observations.indices).detach() * detection[rows], counts[rows]))
            + penalty * sum(float(leaf.detach().sum()) for leaf in leaves),
            rel=1e-8,
        )
    loss = poisson_loss(entry_rates(leaves, observations.indices) * detection[rows], counts[rows])
    (loss + penalty * sum(leaf.sum() for leaf in leaves)).backward()
    for leaf in leaves:
        assert float((leaf.detach() * leaf.grad).abs().max()) < 1e-3
        assert float(leaf.grad.min()) > -1e-3


def test_error_falls_like_one_over_the_root_of_the_mean_count():
    """20 x 20 x 20, rank 3, a tenth observed, detection known."""
    shape, means = (20, 20, 20), (100.0, 1600.0)
    errors = torch.zeros(len(means))
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        base = planted_factors(shape, 3, 1.0, generator)
        observed = torch.randperm(8000, generator=generator)[:800]
        detection = torch.rand(800, generator=generator, dtype=torch.float64) * 0.9 + 0.1
        for place, mean in enumerate(means):
            rates = mean * dense(base).flatten()
            counts = torch.poisson(rates[observed] * detection, generator=generator)
            observations = CountObservations(shape, cells(shape)[observed], counts)
            fit = poisson_cp(observations, 3, detection=detection, starts=2, sweeps=1000, tolerance=1e-2)
            errors[place] += (fit.value.to_dense().flatten() - rates).norm() / rates.norm()
    slope = float(torch.log(errors[-1] / errors[0])) / math.log(means[-1] / means[0])
    assert slope == pytest.approx(-0.5, abs=0.08)


def test_several_starts_keep_the_best_and_seeds_decide():
    factors, indices, counts, _ = random_problem((6, 5, 4), 3, 7, mean=30)
    observations = CountObservations((6, 5, 4), indices, counts)
    fit = poisson_cp(observations, 3, starts=4, sweeps=30, seed=1)
    assert fit.loss == min(fit.starts)
    assert len(fit.starts) == 4
    again, other = (poisson_cp(observations, 3, starts=4, sweeps=30, seed=seed) for seed in (1, 2))
    assert torch.equal(fit.value.to_dense(), again.value.to_dense())
    assert not torch.equal(fit.value.to_dense(), other.value.to_dense())
    torch.testing.assert_close(as_cp(as_factors(fit.value)).to_dense(), fit.value.to_dense())
    torch.testing.assert_close(fit.value.factors[0].sum(0), torch.ones(3, dtype=torch.float64))
    assert len(factors) == 3


def test_history_descends_and_progress_and_stops_are_told():
    factors, indices, counts, _ = random_problem((6, 5, 4), 2, 8, mean=30)
    observations = CountObservations((6, 5, 4), indices, counts)
    seen = []
    fit = poisson_cp(observations, 2, initial=factors, sweeps=17, tolerance=0.0, progress=lambda *at: seen.append(at))
    assert seen == [(done, 17) for done in range(1, 18)]
    assert fit.stopped_by == "sweeps"
    assert len(fit.history) == 18
    assert all(after <= before + 1e-9 for before, after in zip(fit.history, fit.history[1:], strict=False))
    assert poisson_cp(observations, 2, tolerance=1.0).stopped_by == "tolerance"
    assert poisson_cp(observations, 2, tolerance=0.0, seconds=1e-9).stopped_by == "seconds"


def test_float32_agrees_and_keeps_its_dtype():
    factors, indices, counts, _ = random_problem((6, 5, 4), 2, 9, mean=30)
    one, other = (
        poisson_cp(CountObservations((6, 5, 4), indices, counts.to(dtype)), 2, initial=factors, sweeps=50)
        for dtype in (torch.float64, torch.float32)
    )
    assert other.value.dtype == torch.float32
    torch.testing.assert_close(other.value.to_dense().double(), one.value.to_dense(), rtol=1e-3, atol=1e-3)


def test_a_slice_of_zeros_gets_zero_rates_and_nothing_is_nan():
    counts = torch.full((4, 3, 3), 5.0, dtype=torch.float64)
    counts[2] = 0
    fit = poisson_cp(CountObservations.from_dense(counts), 1)
    torch.testing.assert_close(fit.value.to_dense(), counts)
    wide = poisson_cp(CountObservations.from_dense(counts), 3, sweeps=100).value.to_dense()
    assert bool(torch.isfinite(wide).all())
    assert float(wide[2].max()) == 0


def test_bad_input_is_refused():
    _, indices, counts, detection = random_problem((4, 3, 2), 2, 10)
    good = CountObservations((4, 3, 2), indices, counts)
    rows = (indices[:, 1] != 1).nonzero()[:, 0]
    with pytest.raises(InputError, match="1 slices of mode 1 were never observed"):
        poisson_cp(good.select(rows), 2)
    for options in (
        {"rank": 0}, {"rank": 2, "starts": 0}, {"rank": 2, "sweeps": 0}, {"rank": 2, "penalty": -1.0},
        {"rank": 2, "seconds": 0.0}, {"rank": 2, "detection": detection[1:]}, {"rank": 2, "detection": 0 * detection},
        {"rank": 2, "initial": [torch.ones(4, 2)]},
        {"rank": 1, "initial": [-torch.ones(n, 1, dtype=torch.float64) for n in (4, 3, 2)]},
    ):  # fmt: skip
        with pytest.raises(InputError):
            poisson_cp(good, **options)
