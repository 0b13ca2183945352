"""Rounds of message passing against written-out messages, dense Gaussian algebra, sampling and exact evidence."""

from __future__ import annotations

from functools import reduce

import pytest
import torch

from polyad.linalg.matern import Matern
from polyad.tensors.formats import row_products
from polyad.tensors.formats.row_products import CPRows, TuckerRows
from polyad.tensors.functional.posterior import second_moments
from polyad.tensors.functional.propagation import Problem, Propagation

SIZES, RANKS = (5, 4, 3), (2, 3, 2)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def make_problem(kind: str, count: int = 30) -> Problem:
    ranks = RANKS if kind == "tucker" else (2, 2, 2)
    generator = torch.Generator().manual_seed(5)
    places = [torch.randint(0, size, (count,), generator=generator) for size in SIZES]
    for place, size in zip(places, SIZES, strict=True):
        place[:size] = torch.arange(size)
    indices = tuple(draw(size, seed=size).sort().values for size in SIZES)
    priors = tuple(
        Matern(kernel, torch.full((rank,), 0.7).double(), torch.full((rank,), 1.3).double())
        for kernel, rank in zip(("matern12", "matern32", "matern52"), ranks, strict=True)
    )
    products = TuckerRows() if kind == "tucker" else CPRows()
    core_shape = ranks if kind == "tucker" else ranks[:1]
    return Problem(indices, tuple(places), draw(count), priors, products, core_shape, None, (1.0, 1.0))


class Reference:
    """The equations word by word: a loop over data points, explicit Kronecker products, dense priors."""

    def __init__(self, state: Propagation, kind: str) -> None:
        self.problem, self.kind = state.problem, kind
        self.means = [mean.clone() for mean in state.means]
        self.covariances = [covariance.clone() for covariance in state.covariances]
        self.core, self.core_covariance = state.core.flatten().clone(), state.core_covariance.clone()
        self.tau = 1.0
        self.messages: dict[object, tuple[torch.Tensor, torch.Tensor]] = {}

    def moments(self, entry: int, mode: int) -> tuple[torch.Tensor, torch.Tensor]:
        place = self.problem.places[mode][entry]
        mean, covariance = self.means[mode][place], self.covariances[mode][place]
        return mean, covariance + torch.outer(mean, mean)

    def joined(self, parts: list[torch.Tensor]) -> torch.Tensor:
        parts = [part.contiguous() for part in parts]
        return reduce(torch.kron if self.kind == "tucker" else torch.mul, parts)

    def selector(self, mode: int) -> torch.Tensor:
        """S[r]: with a_r = w^T S[r] (product of the others)."""
        ranks, order = self.problem.ranks, len(self.means)
        rank = ranks[mode]
        rows = []
        for r in range(rank):
            unit = torch.eye(rank).double()[r][:, None]
            if self.kind == "tucker":
                blocks = [unit if k == mode else torch.eye(ranks[k]).double() for k in range(order)]
                rows.append(reduce(torch.kron, blocks))
            else:
                rows.append(unit @ unit.mT)
        return torch.stack(rows)

    def round(self, damping: float, core_damping: float) -> float:
        problem, order = self.problem, len(self.means)
        values, count = problem.values, len(problem.values)
        for mode in range(order):
            rank, size = problem.ranks[mode], len(problem.indices[mode])
            eta, information = torch.zeros(size, rank).double(), torch.zeros(size, rank, rank).double()
            select = self.selector(mode)
            core_square = self.core_covariance + torch.outer(self.core, self.core)
            for n in range(count):
                others = [self.moments(n, k) for k in range(order) if k != mode]
                first, second = self.joined([m for m, _ in others]), self.joined([s for _, s in others])
                mean = torch.einsum("p,rpq,q->r", self.core, select, first)
                square = torch.einsum("rpq,qu,stu,pt->rs", select, second, select, core_square)
                eta[problem.places[mode][n]] += self.tau * values[n] * mean
                information[problem.places[mode][n]] += self.tau * square
            eta, information = self.damped(mode, eta, information, damping)
            self.means[mode], self.covariances[mode] = dense_posterior(
                problem.priors[mode], problem.indices[mode], eta, information
            )
        whole = [[self.moments(n, k) for k in range(order)] for n in range(count)]
        first = torch.stack([self.joined([m for m, _ in parts]) for parts in whole])
        second = torch.stack([self.joined([s for _, s in parts]) for parts in whole]).sum(0)
        natural, information = self.damped("core", self.tau * values @ first, self.tau * second, core_damping)
        self.core_covariance = torch.linalg.inv(torch.eye(len(natural)).double() + information)
        self.core = self.core_covariance @ natural
        core_square = self.core_covariance + torch.outer(self.core, self.core)
        rate = 1 + (values.square().sum() / 2 - values @ first @ self.core + (second * core_square).sum() / 2)
        self.tau = float((1 + count / 2) / rate)
        return self.tau

    def damped(self, key, eta, information, damping):
        if key in self.messages:
            old_eta, old_information = self.messages[key]
            eta = damping * old_eta + (1 - damping) * eta
            information = damping * old_information + (1 - damping) * information
        self.messages[key] = eta, information
        return eta, information


def dense_posterior(prior, indices, eta, information):
    size, rank = eta.shape
    kernel = torch.zeros(size, rank, size, rank).double()
    blocks = prior.covariance(indices[:, None] - indices)
    for r in range(rank):
        kernel[:, r, :, r] = blocks[r]
    kernel = kernel.reshape(size * rank, size * rank)
    covariance = torch.linalg.inv(torch.linalg.inv(kernel) + torch.block_diag(*information))
    mean = (covariance @ eta.flatten()).reshape(size, rank)
    return mean, covariance.reshape(size, rank, size, rank).diagonal(dim1=0, dim2=2).movedim(-1, 0)


@pytest.mark.parametrize("kind", ["tucker", "cp"])
@pytest.mark.parametrize(("damping", "core_damping"), [(0.0, 0.0), (0.9, 0.95)])
def test_rounds_are_the_messages_of_the_paper(kind, damping, core_damping):
    state = Propagation(make_problem(kind), torch.Generator().manual_seed(1))
    reference = Reference(state, kind)
    for _ in range(3):
        state.round(damping, core_damping)
        tau = reference.round(damping, core_damping)
        for mode in range(3):
            assert torch.allclose(state.means[mode], reference.means[mode], atol=1e-8)
            assert torch.allclose(state.covariances[mode], reference.covariances[mode], atol=1e-8)
        assert torch.allclose(state.core.flatten(), reference.core, atol=1e-8)
        assert torch.allclose(state.core_covariance, reference.core_covariance, atol=1e-8)
        assert state.shape / state.rate == pytest.approx(tau, rel=1e-8)


@pytest.mark.parametrize("products", [TuckerRows(), CPRows()], ids=["Tucker", "CP"])
def test_moments_are_those_of_samples(products):
    """E[z] and E[z z^T] within three standard errors of a million draws."""
    ranks, draws = ((2, 3) if isinstance(products, TuckerRows) else (2, 2)), 1_000_000
    means = [draw(1, rank, seed=rank) for rank in ranks]
    roots = [0.5 * draw(1, rank, rank, seed=7 + rank) for rank in ranks]
    seconds = [second_moments(mean, root @ root.mT) for mean, root in zip(means, roots, strict=True)]
    samples = [
        mean + draw(draws, mean.shape[1], seed=20 + k) @ root[0].mT
        for k, (mean, root) in enumerate(zip(means, roots, strict=True))
    ]
    if isinstance(products, TuckerRows):
        z = (samples[0][:, :, None] * samples[1][:, None, :]).flatten(1)
    else:
        z = samples[0] * samples[1]
    one = torch.ones(1).double()
    first = products.outer_sum(one, means).flatten()
    second = products.unpair(products.outer_sum(one, seconds), ranks)
    squares = z[:, :, None] * z[:, None, :]
    assert bool(((z.mean(0) - first).abs() < 3 * z.std(0) / draws**0.5).all())
    assert bool(((squares.mean(0) - second).abs() < 3 * squares.std(0) / draws**0.5).all())


@pytest.mark.parametrize("kind", ["tucker", "cp"])
def test_undamped_rounds_raise_the_evidence_bound(kind):
    state = Propagation(make_problem(kind, 60), torch.Generator().manual_seed(2))
    history = torch.tensor([state.round(0.0, 0.0) for _ in range(60)])
    assert bool((history.diff() >= -1e-8).all())
    assert float(history[-1] - history[0]) > 1


def test_bound_is_below_the_exact_evidence_and_near_it():
    """One mode, one function, W = 1: the exact evidence is a one-dimensional integral over the noise precision."""
    count = 40
    indices = draw(count, seed=3).sort().values
    prior = Matern("matern32", torch.tensor([0.8]).double(), torch.tensor([1.0]).double())
    values = torch.sin(2 * indices) + 0.3 * draw(count, seed=4)
    problem = Problem(
        (indices,), (torch.arange(count),), values, (prior,), TuckerRows(), (1,), torch.ones(1).double(), (1.0, 1.0)
    )
    state = Propagation(problem, torch.Generator().manual_seed(0))
    bound = [state.round(0.0, 0.0) for _ in range(60)][-1]
    kernel = prior.covariance(indices[:, None] - indices)[0]
    taus = torch.logspace(-2, 3, 4001, dtype=torch.float64)
    gamma = torch.distributions.Gamma(torch.tensor(1.0).double(), torch.tensor(1.0).double())
    values_of_kernel, vectors = torch.linalg.eigh(kernel)
    spectra = values_of_kernel + 1 / taus[:, None]
    quadratic = ((vectors.mT @ values).square() / spectra).sum(1)
    log_density = -(spectra.log().sum(1) + quadratic + count * torch.log(torch.tensor(2 * torch.pi))) / 2
    integrand = torch.exp(log_density + gamma.log_prob(taus)) * taus  # in the logarithm of tau
    exact = float(torch.trapezoid(integrand, taus.log()).log())
    assert bound < exact
    assert bound == pytest.approx(exact, abs=0.5)


@pytest.mark.parametrize("kind", ["tucker", "cp"])
def test_chunks_do_not_change_the_numbers(kind, monkeypatch):
    whole = Propagation(make_problem(kind), torch.Generator().manual_seed(1))
    evidence = whole.round(0.0, 0.0)
    monkeypatch.setattr(row_products, "WORKING_NUMBERS", 100)
    parts = Propagation(make_problem(kind), torch.Generator().manual_seed(1))
    assert parts.round(0.0, 0.0) == pytest.approx(evidence, rel=1e-12)
    assert torch.allclose(parts.core, whole.core, atol=1e-12)
    assert torch.allclose(parts.fitted(), whole.fitted(), atol=1e-12)


def test_work_grows_linearly():
    """Floating-point operations of matrix products: at most 2.3 times as many for twice the values or indices."""
    from torch.utils.flop_counter import FlopCounterMode

    def operations(count: int, size: int) -> int:
        generator = torch.Generator().manual_seed(0)
        places = tuple(torch.randint(0, size, (count,), generator=generator) for _ in range(3))
        prior = Matern("matern32", torch.full((3,), 0.2).double(), torch.ones(3).double())
        index = torch.linspace(0, 1, size, dtype=torch.float64)
        problem = Problem((index,) * 3, places, draw(count), (prior,) * 3, TuckerRows(), (3, 3, 3), None, (1.0, 1.0))
        state = Propagation(problem, generator)
        with FlopCounterMode(display=False) as counter:
            state.round(0.0, 0.0)
        return counter.get_total_flops()

    base = operations(4000, 4)
    assert 1.7 * base < operations(8000, 4) < 2.3 * base
    base = operations(4, 500)
    assert 1.7 * base < operations(4, 1000) < 2.3 * base
