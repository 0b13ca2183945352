"""Rounds of conditional expectation propagation on scaled values; equations in the package's docstring."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from polyad.linalg.matern import Matern
from polyad.linalg.state_space import SmoothedChain, prior_chain, smooth
from polyad.tensors.formats.row_products import RowProducts
from polyad.tensors.functional.posterior import gather, second_moments


@final
@dataclass(frozen=True, eq=False)
class Problem:
    """Scaled values at index tuples, and the model.

    Args:
        indices: per mode the distinct indices, increasing.
        places: per mode (N,), which distinct index an entry has.
        values: (N,).
        priors: per mode the R_k functions.
        products: full or superdiagonal core.
        core_shape: (R_1, .., R_K) or (R,).
        known_core: held fixed where given.
        noise_prior: shape and rate of the Gamma prior of the noise precision.
    """

    indices: tuple[Tensor, ...]
    places: tuple[Tensor, ...]
    values: Tensor
    priors: tuple[Matern, ...]
    products: RowProducts
    core_shape: tuple[int, ...]
    known_core: Tensor | None
    noise_prior: tuple[float, float]
    chains: tuple[tuple[Tensor, Tensor, Tensor], ...] = field(init=False)

    def __post_init__(self) -> None:
        chains = tuple(prior_chain(prior, index) for prior, index in zip(self.priors, self.indices, strict=True))
        object.__setattr__(self, "chains", chains)

    @property
    def ranks(self) -> list[int]:
        """R_k."""
        return [len(prior.lengthscale) for prior in self.priors]


class Propagation:
    """The approximate posterior, changed in place by every round.

    Messages of all data points to one variable are Gaussian factors and enter as their product alone, so that only
    sums of natural parameters are kept, and damping the sums is damping every message.
    """

    def __init__(self, problem: Problem, generator: torch.Generator) -> None:
        self.problem = problem
        self.means = [_random_functions(p, i, generator) for p, i in zip(problem.priors, problem.indices, strict=True)]
        self.covariances = [mean.new_zeros(*mean.shape, mean.shape[1]) for mean in self.means]
        self.functions: list[SmoothedChain | None] = [None] * len(self.means)
        self.messages: list[tuple[Tensor, Tensor] | None] = [None] * len(self.means)
        self.core_message: tuple[Tensor, Tensor] | None = None
        size = math.prod(problem.core_shape)
        if problem.known_core is None:
            self.core = torch.randn(problem.core_shape, dtype=problem.values.dtype, generator=generator).to(
                problem.values
            )
        else:
            self.core = problem.known_core
        self.core_covariance = self.core.new_zeros(size, size)
        self.shape, self.rate = 1.0, 1.0
        self.divergences = [0.0] * len(self.means)
        self.core_divergence = 0.0
        self._square = float(problem.values.square().sum())

    def round(self, damping: float, core_damping: float) -> float:
        """Update every mode, the core and the noise once; the evidence bound afterwards."""
        for mode in range(len(self.means)):
            self._update_mode(mode, damping)
        linear, quadratic = self._core_statistics()
        if self.problem.known_core is None:
            self._update_core(linear, quadratic, core_damping)
        residual = self._square - 2 * float((linear * self.core).sum()) + float((quadratic * self._core_square()).sum())
        return self._update_noise(max(residual, 0.0))

    def fitted(self) -> Tensor:
        """Posterior means at the data points."""
        return torch.cat(
            [
                self.problem.products.contract(self.core, gather(self.means, self.problem.places, rows))
                for rows in self._chunks()
            ]
        )

    def _update_mode(self, mode: int, damping: float) -> None:
        problem, precision = self.problem, self.shape / self.rate
        count, rank = self.means[mode].shape
        linear, quadratic = self.core.new_zeros(count, rank), self.core.new_zeros(count, rank**2)
        seconds, paired = self._seconds(), problem.products.pair(self._core_square(), problem.ranks)
        for rows in self._chunks():
            place = problem.places[mode][rows]
            first = problem.products.contract(self.core, gather(self.means, problem.places, rows), skip=mode)
            second = problem.products.contract(paired, gather(seconds, problem.places, rows), skip=mode)
            linear.index_add_(0, place, first * problem.values[rows, None])
            quadratic.index_add_(0, place, second)
        quadratic = quadratic.unflatten(1, (rank, rank))
        new = precision * linear, precision * (quadratic + quadratic.mT) / 2
        natural, precisions = self.messages[mode] = _damped(self.messages[mode], new, damping)
        chain = smooth(problem.priors[mode], problem.indices[mode], natural, precisions, chain=problem.chains[mode])
        self.functions[mode] = chain
        mean, covariance = self.means[mode], self.covariances[mode] = chain.values()
        expected = (natural * mean).sum() - (precisions * (covariance + mean[:, :, None] * mean[:, None])).sum() / 2
        self.divergences[mode] = float(expected - chain.log_evidence)

    def _core_statistics(self) -> tuple[Tensor, Tensor]:
        """sum_n y_n E[z_n] and sum_n E[z_n z_n^T]."""
        problem, seconds = self.problem, self._seconds()
        linear, paired = torch.zeros_like(self.core), torch.zeros(())
        for rows in self._chunks():
            linear = linear + problem.products.outer_sum(problem.values[rows], gather(self.means, problem.places, rows))
            ones = torch.ones_like(problem.values[rows])
            paired = paired.to(ones) + problem.products.outer_sum(ones, gather(seconds, problem.places, rows))
        quadratic = problem.products.unpair(paired, problem.ranks)
        return linear, (quadratic + quadratic.mT) / 2

    def _update_core(self, linear: Tensor, quadratic: Tensor, damping: float) -> None:
        precision = self.shape / self.rate
        self.core_message = _damped(self.core_message, (precision * linear.flatten(), precision * quadratic), damping)
        natural, information = self.core_message
        root = torch.linalg.cholesky(information + torch.eye(len(natural), dtype=natural.dtype, device=natural.device))
        self.core_covariance = torch.cholesky_inverse(root)
        mean = self.core_covariance @ natural
        self.core = mean.reshape(self.core.shape)
        self.core_divergence = float(
            (self.core_covariance.trace() + mean.square().sum() - len(mean)) / 2 + root.diagonal().log().sum()
        )

    def _update_noise(self, residual: float) -> float:
        """Gamma posterior of the noise precision; returns the evidence bound."""
        prior_shape, prior_rate = self.problem.noise_prior
        count = len(self.problem.values)
        self.shape, self.rate = prior_shape + count / 2, prior_rate + residual / 2
        shape, rate = self.shape, self.rate
        digamma = float(torch.special.digamma(torch.tensor(shape, dtype=torch.float64)))
        divergence = (
            (shape - prior_shape) * digamma
            - math.lgamma(shape)
            + math.lgamma(prior_shape)
            + prior_shape * (math.log(rate) - math.log(prior_rate))
            + shape * (prior_rate - rate) / rate
        )
        likelihood = (count * (digamma - math.log(rate) - math.log(2 * math.pi)) - shape / rate * residual) / 2
        return likelihood - divergence - self.core_divergence - sum(self.divergences)

    def _core_square(self) -> Tensor:
        vector = self.core.flatten()
        return self.core_covariance + torch.outer(vector, vector)

    def _seconds(self) -> list[Tensor]:
        return [second_moments(mean, covariance) for mean, covariance in zip(self.means, self.covariances, strict=True)]

    def _chunks(self) -> Sequence[Tensor]:
        size = self.problem.products.chunk([rank**2 for rank in self.problem.ranks])
        return torch.arange(len(self.problem.values), device=self.core.device).split(size)


@final
@dataclass(frozen=True, eq=False)
class Run:
    """A propagation that has ended, and why."""

    state: Propagation
    evidence: tuple[float, ...]
    changes: tuple[float, ...]
    stopped_by: str


def propagate(
    problem: Problem,
    *,
    rounds: int,
    damping: float,
    core_damping: float,
    tolerance: float,
    seconds: float | None,
    starts: int,
    scouting: int,
    generator: torch.Generator,
    progress: Callable[[int, int], None] | None,
) -> Run:
    """Rounds from the start that is best after `scouting` rounds, until the fitted values stand still."""
    begun = time.perf_counter()
    total = rounds + (starts - 1) * min(scouting, rounds)
    done = 0

    def step(state: Propagation, evidence: list[float]) -> None:
        nonlocal done
        evidence.append(state.round(damping, core_damping))
        done += 1
        if progress is not None:
            progress(done, total)

    def over() -> bool:
        return seconds is not None and time.perf_counter() - begun > seconds

    candidates = []
    for _ in range(starts):
        state, evidence = Propagation(problem, generator), list[float]()
        while starts > 1 and len(evidence) < min(scouting, rounds) and not over():
            step(state, evidence)
        candidates.append((state, evidence))
        if over():
            break
    state, evidence = max(candidates, key=lambda candidate: candidate[1][-1] if candidate[1] else -math.inf)
    changes, before = list[float](), state.fitted()
    size, free = float(torch.linalg.vector_norm(problem.values)), 1 - max(damping, core_damping)
    while len(evidence) < rounds:
        step(state, evidence)
        now = state.fitted()
        changes.append(float(torch.linalg.vector_norm(now - before)) / size / free)
        before = now
        if changes[-1] < tolerance:
            return Run(state, tuple(evidence), tuple(changes), "tolerance")
        if over():
            return Run(state, tuple(evidence), tuple(changes), "seconds")
    return Run(state, tuple(evidence), tuple(changes), "rounds")


def _damped(old: tuple[Tensor, Tensor] | None, new: tuple[Tensor, Tensor], damping: float) -> tuple[Tensor, Tensor]:
    """Natural parameters with this weight on the old ones; the first messages are taken whole."""
    if old is None or damping == 0:
        return new
    return torch.lerp(new[0], old[0], damping), torch.lerp(new[1], old[1], damping)


def _random_functions(prior: Matern, indices: Tensor, generator: torch.Generator) -> Tensor:
    """(T, R): smooth draws of unit mean square, cosines with frequencies from a Gaussian as wide as the kernel's."""
    count = len(prior.lengthscale)
    draws = torch.randn(3, count, dtype=indices.dtype, generator=generator).to(indices)
    angle = indices[:, None] / prior.lengthscale * draws[0] + 2 * math.pi * draws[1]
    return prior.variance.sqrt() * (draws[2] + math.sqrt(2) * torch.cos(angle)) / math.sqrt(2)
