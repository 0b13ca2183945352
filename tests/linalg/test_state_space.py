"""Smoothing on the line: means, covariances, evidence and bridge against dense Gaussian regression."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.linalg.matern import Matern
from polyad.linalg.state_space import SmoothedChain, pseudo_observations, smooth

KERNELS = ("matern12", "matern32", "matern52")


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def irregular(count: int, seed: int = 0) -> torch.Tensor:
    return draw(count, seed=seed).sort().values


def matern(kernel: str, *lengthscales: float) -> Matern:
    lengthscale = torch.tensor(lengthscales, dtype=torch.float64)
    return Matern(kernel, lengthscale, 0.5 + lengthscale)


def covariances(*shape: int, seed: int = 1) -> torch.Tensor:
    root = draw(*shape, shape[-1], seed=seed)
    return 0.05 * torch.eye(shape[-1], dtype=torch.float64) + 0.2 * root @ root.mT


def dense_regression(prior, indices, means, noise, observed, queries):
    """Posterior of all functions at the queries and log density of the observations, by one big Gaussian."""

    def kernel(first, second):  # index-major, function-minor
        blocks = prior.covariance(first[:, None] - second)
        count = len(blocks)
        full = first.new_zeros(len(first), count, len(second), count)
        for function in range(count):
            full[:, function, :, function] = blocks[function]
        return full.reshape(len(first) * count, len(second) * count)

    known = observed.nonzero()[:, 0]
    total = kernel(indices[known], indices[known]) + torch.block_diag(*noise[known])
    cross = kernel(queries, indices[known])
    values = means[known].flatten()
    mean = cross @ torch.linalg.solve(total, values)
    covariance = kernel(queries, queries) - cross @ torch.linalg.solve(total, cross.mT)
    density = torch.distributions.MultivariateNormal(torch.zeros_like(values), total).log_prob(values)
    return mean.reshape(len(queries), -1), covariance, density


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_smoother_and_bridge_are_dense_regression(kernel, count):
    """Three functions observed together with full covariances, some missing; at indices, between and outside."""
    prior, indices = matern(kernel, 0.4, 1.0, 2.5), irregular(count)
    means, noise = draw(count, 3, seed=2), covariances(count, 3)
    observed = torch.arange(count) % 4 != 3
    queries = torch.cat([torch.linspace(-6, 6, 31, dtype=torch.float64), indices[:5]])
    chain = smooth(prior, indices, *pseudo_observations(means, noise, observed=observed))
    for (mean, covariance), places in (
        (chain.values(), indices),
        (chain.values_at(queries), queries),
        (chain.values_at(indices), indices),
    ):
        expected, full, _ = dense_regression(prior, indices, means, noise, observed, places)
        assert torch.allclose(mean, expected, atol=1e-10)
        full = full.reshape(len(places), 3, len(places), 3)
        assert torch.allclose(covariance, full.diagonal(dim1=0, dim2=2).movedim(-1, 0), atol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gains_give_the_joint_covariance_of_neighbours(kernel):
    prior, indices = matern(kernel, 0.7), irregular(12)
    noise = covariances(12, 1)
    chain = smooth(prior, indices, *pseudo_observations(draw(12, 1, seed=2), noise))
    _, full, _ = dense_regression(prior, indices, draw(12, 1, seed=2), noise, torch.ones(12, dtype=torch.bool), indices)
    cross = (chain.gains @ chain.covariances[1:])[:, 0, 0]
    assert torch.allclose(cross, full.diagonal(1), atol=1e-11)


def test_bridge_needs_all_three_terms():
    """Without the neighbours' covariance, or without its cross block, the variance between them is wrong."""
    prior, indices = matern("matern32", 0.5), irregular(12)
    noise = 0.3 * torch.ones(12, 1, 1, dtype=torch.float64)
    chain = smooth(prior, indices, *pseudo_observations(draw(12, 1, seed=3), noise))
    query = indices[5:7].mean()[None]
    _, full, _ = dense_regression(prior, indices, draw(12, 1, seed=3), noise, torch.ones(12, dtype=torch.bool), query)
    arguments = (prior, indices, chain.means)
    without_cross = SmoothedChain(*arguments, chain.covariances, 0 * chain.gains, chain.log_evidence)
    alone = SmoothedChain(*arguments, 0 * chain.covariances, chain.gains, chain.log_evidence)
    exact = float(full[0, 0])
    assert float(chain.values_at(query)[1]) == pytest.approx(exact, abs=1e-13)
    assert float(without_cross.values_at(query)[1]) < 0.9 * exact
    assert float(alone.values_at(query)[1]) < 0.5 * exact


@pytest.mark.parametrize("kernel", KERNELS)
def test_evidence_is_the_dense_log_density(kernel):
    """Factors are the observations' densities up to their value at zero distance from the mean."""
    prior, indices = matern(kernel, 0.4, 1.0), irregular(15)
    means, noise = draw(15, 2, seed=4), covariances(15, 2)
    observed = torch.arange(15) % 5 != 0
    chain = smooth(prior, indices, *pseudo_observations(means, noise, observed=observed))
    _, _, expected = dense_regression(prior, indices, means, noise, observed, indices)
    own = torch.distributions.MultivariateNormal(torch.zeros(2).double(), noise[observed]).log_prob(means[observed])
    assert float(chain.log_evidence + own.sum()) == pytest.approx(float(expected), abs=1e-9)


def test_batches_are_separate_problems():
    lengthscale = torch.tensor([[[0.3, 0.8]], [[1.0, 2.0]], [[0.5, 0.6]]]).double()
    prior = Matern("matern32", lengthscale, lengthscale)
    indices, natural, precision = irregular(9), draw(3, 1, 9, 2), covariances(3, 1, 9, 2)
    together = smooth(prior, indices, natural, precision)
    queries = torch.linspace(-3, 3, 11, dtype=torch.float64)
    for place in range(3):
        single = Matern("matern32", lengthscale[place, 0], lengthscale[place, 0])
        alone = smooth(single, indices, natural[place, 0], precision[place, 0])
        assert torch.allclose(together.means[place, 0], alone.means, atol=1e-12)
        assert torch.allclose(together.gains[place, 0], alone.gains, atol=1e-12)
        assert torch.allclose(together.log_evidence[place, 0], alone.log_evidence, atol=1e-12)
        for one, other in zip(together.states_at(queries), alone.states_at(queries), strict=True):
            assert torch.allclose(one[place, 0], other, atol=1e-12)


def test_singular_precision_is_a_partial_observation():
    """Lambda = v v^T observes v . u alone: the same as one scalar function observed directly where v is a unit."""
    prior, indices = matern("matern32", 0.4, 1.0), irregular(8)
    natural, precision = torch.zeros(8, 2).double(), torch.zeros(8, 2, 2).double()
    values = draw(8, seed=6)
    natural[:, 0], precision[:, 0, 0] = 5 * values, 5
    chain = smooth(prior, indices, natural, precision)
    alone = smooth(matern("matern32", 0.4), indices, 5 * values[:, None], torch.full((8, 1, 1), 5.0).double())
    assert torch.allclose(chain.means[:, :2], alone.means, atol=1e-12)
    assert torch.allclose(chain.covariances[:, 2, 2], prior.variance[1].expand(8), atol=1e-12)


def test_close_indices_and_precise_observations():
    """Neighbours a millionth of a lengthscale apart, noise variance 1e-8: still dense regression."""
    indices = torch.tensor([0.0, 1e-6, 0.3, 0.300001, 1.0], dtype=torch.float64)
    prior = matern("matern32", 1.0)
    means, noise = torch.cos(indices)[:, None], torch.full((5, 1, 1), 1e-8, dtype=torch.float64)
    chain = smooth(prior, indices, *pseudo_observations(means, noise))
    queries = torch.tensor([5e-7, 0.15, 0.3000005], dtype=torch.float64)
    mean, _, _ = dense_regression(prior, indices, means, noise, torch.ones(5, dtype=torch.bool), queries)
    assert torch.allclose(chain.values_at(queries)[0], mean, atol=1e-6)


def test_gradients_reach_observations_and_hyperparameters():
    indices, precision = irregular(6), covariances(6, 1)

    def evidence(natural, lengthscale, variance):
        return smooth(Matern("matern52", lengthscale, variance), indices, natural, precision).log_evidence

    inputs = (draw(6, 1), torch.tensor([0.8]).double(), torch.tensor([1.3]).double())
    assert torch.autograd.gradcheck(evidence, tuple(value.requires_grad_() for value in inputs))


def test_float32_stays_float32():
    prior = Matern("matern32", torch.tensor([0.5]), torch.tensor([1.0]))
    indices = irregular(20).float()
    natural, precision = draw(20, 1).float(), torch.ones(20, 1, 1)
    single = smooth(prior, indices, natural, precision)
    double = Matern("matern32", prior.lengthscale.double(), prior.variance.double())
    exact = smooth(double, indices.double(), natural.double(), precision.double())
    assert single.means.dtype == torch.float32
    assert torch.allclose(single.means.double(), exact.means, atol=1e-3)


def test_bad_input_is_refused():
    prior, indices = matern("matern12", 1.0), irregular(4)
    natural, precision = draw(4, 1), torch.ones(4, 1, 1).double()
    for arguments, match in (
        ((prior, indices.flip(0), natural, precision), "increase"),
        ((prior, indices[[0, 1, 1, 2]], natural, precision), "increase"),
        ((matern("matern12", 1.0, 2.0), indices, natural, precision), "shapes"),
        ((prior, indices, natural * float("nan"), precision), "NaN"),
        ((prior, indices * float("inf"), natural, precision), "finite"),
    ):
        with pytest.raises(InputError, match=match):
            smooth(*arguments)
    with pytest.raises(InputError, match="queries"):
        smooth(prior, indices, natural, precision).values_at(torch.tensor([float("nan")]).double())
    with pytest.raises(InputError, match="positive definite"):
        pseudo_observations(natural, -precision)
    with pytest.raises(InputError, match="NaN"):
        pseudo_observations(natural * float("nan"), precision)
    observed = torch.tensor([True, False, True, True])
    hidden = torch.where(observed[:, None], natural, float("nan"))
    assert bool(
        torch.isfinite(smooth(prior, indices, *pseudo_observations(hidden, precision, observed=observed)).means).all()
    )
