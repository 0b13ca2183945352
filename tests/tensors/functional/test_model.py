"""Whole fits: the exact Gaussian process at one mode, planted noise, predictions against sampling, refused input."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.linalg.matern import Matern
from polyad.tensors.functional import FunctionalBayesianCP, FunctionalBayesianTucker, Inference

RAW = Inference(standardise=False, starts=1, tolerance=1e-9, rounds=100)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def surface(points: torch.Tensor) -> torch.Tensor:
    """A smooth function of multilinear rank 2."""
    first, second = points[:, 0], points[:, 1]
    return torch.exp(-2 * first) * torch.sin(6 * second) + torch.sin(6 * first) * (second - 0.5)


@pytest.mark.parametrize("kernel", ["matern12", "matern32", "matern52"])
@pytest.mark.parametrize("variant", [FunctionalBayesianTucker, FunctionalBayesianCP])
def test_one_mode_is_gaussian_process_regression(kernel, variant):
    """K = 1, rank 1, W = 1: mean and variance of the dense process with the noise that was inferred."""
    indices = uniform(60, seed=1)
    indices[40:] = indices[:20]  # repeated measurements
    values = torch.sin(7 * indices) + 0.2 * draw(60, seed=2)
    model = variant((1,) if variant is FunctionalBayesianTucker else 1, kernel, 0.4, 1.2, torch.ones(1).double())
    fit = model.fit(indices[:, None], values, inference=RAW)
    queries = torch.cat([torch.linspace(-0.5, 1.5, 50, dtype=torch.float64), indices[:3]])
    found = fit.predict(queries[:, None], noise=False)
    prior = Matern(kernel, torch.tensor([0.4]).double(), torch.tensor([1.2]).double())
    total = prior.covariance(indices[:, None] - indices)[0] + fit.noise**2 * torch.eye(60).double()
    cross = prior.covariance(queries[:, None] - indices)[0]
    mean = cross @ torch.linalg.solve(total, values)
    variance = prior.variance - (cross * torch.linalg.solve(total, cross.mT).mT).sum(1)
    assert torch.allclose(found.mean, mean, atol=1e-4)
    assert torch.allclose(found.variance, variance, atol=1e-4)


@pytest.mark.parametrize("noise", [0.05, 0.3])
@pytest.mark.parametrize("model", [FunctionalBayesianTucker((2, 2)), FunctionalBayesianCP(2)], ids=["Tucker", "CP"])
def test_surface_noise_and_intervals_are_recovered(noise, model):
    points = uniform(400, 2)
    values = 40 + 5 * (surface(points) + noise * draw(400, seed=3))
    fit = model.fit(points, values, inference=Inference(rounds=60))
    assert fit.noise == pytest.approx(5 * noise, rel=0.2)
    fresh = uniform(2000, 2, seed=4)
    truth = 40 + 5 * surface(fresh)
    found = fit.predict(fresh)
    assert float((found.mean - truth).square().mean().sqrt()) < 0.5 * 5 * noise
    low, high = found.interval(0.9)
    measured = truth + 5 * noise * draw(2000, seed=5)
    assert 0.82 <= float(((measured > low) & (measured < high)).double().mean()) <= 0.96


def test_predictions_are_moments_of_the_posterior():
    """Mean and variance at unseen indices within four standard errors of functions, core and noise drawn at random."""
    points = uniform(50, 2)
    model = FunctionalBayesianTucker((2, 3), ("matern12", "matern32"), (0.5, 0.3), (1.0, 0.7))
    fit = model.fit(points, surface(points) + 0.3 * draw(50, seed=1), inference=Inference(rounds=20, starts=1))
    query, draws = torch.tensor([[0.31, 0.77]]).double(), 400_000
    parts = []
    for mode, chain in enumerate(fit.functions):
        mean, covariance = chain.values_at(query[:, mode])
        parts.append(mean[0] + draw(draws, mean.shape[1], seed=mode) @ torch.linalg.cholesky(covariance[0]).mT)
    core = fit.core.flatten() + draw(draws, 6, seed=7) @ torch.linalg.cholesky(fit.core_covariance).mT
    field = torch.einsum("nab,na,nb->n", core.unflatten(1, (2, 3)), *parts) * fit.scale + fit.offset
    torch.manual_seed(0)
    tau = torch.distributions.Gamma(fit.noise_shape, fit.noise_rate).sample((draws,))
    measured = field + fit.scale * draw(draws, seed=9) / tau.sqrt()
    for samples, noise in ((field, False), (measured, True)):
        found = fit.predict(query, noise=noise)
        spread = (samples - samples.mean()).square()
        assert float(found.mean) == pytest.approx(float(samples.mean()), abs=4 * float(samples.std()) / draws**0.5)
        assert float(found.variance) == pytest.approx(float(spread.mean()), abs=4 * float(spread.std()) / draws**0.5)


def test_cp_is_a_superdiagonal_core():
    """With the weights known, both variants take the same starts and reach the same posterior."""
    points = uniform(80, 2)
    values = surface(points) + 0.1 * draw(80)
    weights = torch.tensor([1.0, -0.5]).double()
    cp = FunctionalBayesianCP(2, core=weights).fit(points, values, inference=RAW)
    tucker = FunctionalBayesianTucker((2, 2), core=torch.diag(weights)).fit(points, values, inference=RAW)
    assert tucker.evidence == pytest.approx(cp.evidence, rel=1e-9)
    queries = uniform(9, 2, seed=3)
    for name in ("mean", "variance"):
        assert torch.allclose(getattr(cp.predict(queries), name), getattr(tucker.predict(queries), name), atol=1e-8)


def test_standardised_values_change_units_alone():
    points = uniform(80, 2)
    values = surface(points) + 0.1 * draw(80)
    one = FunctionalBayesianTucker((2, 2)).fit(points, values, inference=Inference(rounds=10))
    other = FunctionalBayesianTucker((2, 2)).fit(points, 300 - 20 * values, inference=Inference(rounds=10))
    assert other.noise == pytest.approx(20 * one.noise, rel=0.05)
    queries = uniform(9, 2, seed=3)
    mirrored = FunctionalBayesianTucker((2, 2)).fit(points, 300 + 20 * values, inference=Inference(rounds=10))
    assert torch.allclose(mirrored.predict(queries).mean, 300 + 20 * one.predict(queries).mean, atol=1e-7)
    assert torch.allclose(mirrored.predict(queries).variance, 400 * one.predict(queries).variance, atol=1e-7)


def test_categories_are_a_mode_of_short_lengthscale():
    """Far apart in lengthscales, functions at unseen numbers fall back to the prior: mean zero of the scaled values."""
    points = uniform(200, 2)
    points[:, 1] = (points[:, 1] * 4).floor()
    values = torch.sin(6 * points[:, 0]) * torch.tensor([1.0, -2.0, 0.5, 1.5]).double()[points[:, 1].long()]
    model = FunctionalBayesianTucker((1, 1), lengthscales=(0.3, 0.01))
    fit = model.fit(points, values + 0.1 * draw(200), inference=Inference(rounds=60))
    fresh = uniform(500, 2, seed=5)
    fresh[:, 1] = (fresh[:, 1] * 4).floor()
    truth = torch.sin(6 * fresh[:, 0]) * torch.tensor([1.0, -2.0, 0.5, 1.5]).double()[fresh[:, 1].long()]
    assert float((fit.predict(fresh).mean - truth).square().mean().sqrt()) < 0.08
    unknown = fit.predict(torch.tensor([[0.5, 40.0]]).double())
    assert float(unknown.mean) == pytest.approx(fit.offset, abs=1e-6)
    assert float(unknown.variance) > float(fit.predict(torch.tensor([[0.5, 1.0]]).double()).variance)


def test_seeds_progress_and_stops():
    points = uniform(60, 2)
    values = surface(points) + 0.1 * draw(60)
    before, model, calls = (points.clone(), values.clone()), FunctionalBayesianTucker((2, 2)), []
    short = Inference(rounds=6, starts=2, scouting=2, tolerance=0.0)
    state = torch.random.get_rng_state()
    one = model.fit(points, values, inference=short, seed=3, progress=lambda done, total: calls.append((done, total)))
    two, other = (model.fit(points, values, inference=short, seed=seed) for seed in (3, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(points, before[0])
    assert torch.equal(values, before[1])
    assert torch.equal(one.core, two.core)
    assert not torch.equal(one.core, other.core)
    assert calls == [(done, 8) for done in range(1, 9)]
    assert one.stopped_by == "rounds"
    assert len(one.evidence) == 6
    assert len(one.changes) == 4
    assert model.fit(points, values, inference=Inference(seconds=1e-9)).stopped_by == "seconds"
    settled = model.fit(points, values, inference=Inference(tolerance=0.05, scouting=2))
    assert settled.stopped_by == "tolerance"
    assert len(settled.changes) > 1
    assert settled.changes[-1] < 0.05 <= min(settled.changes[:-1])


def test_float32_stays_float32():
    points = uniform(60, 2).float()
    values = (surface(points) + 0.1).float()
    fit = FunctionalBayesianTucker((2, 2)).fit(points, values, inference=Inference(rounds=10))
    exact = FunctionalBayesianTucker((2, 2)).fit(points.double(), values.double(), inference=Inference(rounds=10))
    assert fit.core.dtype == fit.predict(points).mean.dtype == torch.float32
    assert exact.core.dtype == torch.float64
    assert float((fit.predict(points).mean - values).square().mean().sqrt()) < 0.1
    assert len(fit.predict(points[:0]).mean) == 0


def test_bad_input_is_refused():
    points, values = uniform(20, 2), draw(20)
    tucker = FunctionalBayesianTucker((2, 2))
    nan = float("nan")
    for model, given, match in (
        (FunctionalBayesianTucker((2,)), (points, values), "ranks"),
        (tucker, (points * nan, values), "NaN"),
        (tucker, (points, values * float("inf")), "NaN"),
        (tucker, (points, torch.ones(20).double()), "equal"),
        (tucker, (points.float(), values), "floating-point"),
        (tucker, (points[:0], values[:0]), "at least one"),
        (FunctionalBayesianTucker((2, 2, 2)), (points, values), "ranks"),
        (FunctionalBayesianTucker((2, 0)), (points, values), "ranks"),
        (FunctionalBayesianTucker((80, 80)), (points, values), "core of 6400"),
        (FunctionalBayesianTucker((2, 2), "rbf"), (points, values), "kernel"),
        (FunctionalBayesianTucker((2, 2), lengthscales=(1.0, 1.0, 1.0)), (points, values), "lengthscales"),
        (FunctionalBayesianTucker((2, 2), lengthscales=-1.0), (points, values), "lengthscale"),
        (FunctionalBayesianTucker((2, 2), core=torch.ones(3)), (points, values), "core"),
        (FunctionalBayesianCP(0), (points, values), "ranks"),
    ):
        with pytest.raises(InputError, match=match):
            model.fit(*given)
    with pytest.raises(InputError, match="zero"):
        tucker.fit(points, 0 * values, inference=RAW)
    fit = tucker.fit(points, values, inference=Inference(rounds=2, starts=1))
    with pytest.raises(InputError, match="2\\) is needed"):
        fit.predict(points[:, :1])
    with pytest.raises(InputError, match="queries"):
        fit.predict(points * nan)
    with pytest.raises(InputError, match="level"):
        fit.predict(points).interval(1.0)
    for options in ({"rounds": 0}, {"damping": 1.0}, {"seconds": 0.0}, {"tolerance": nan}, {"noise_prior": (0.0, 1.0)}):
        with pytest.raises(InputError, match=next(iter(options))):
            Inference(**options)
