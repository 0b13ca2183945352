"""Nonnegative CP of Poisson counts with known exposure, on observed entries alone, by multiplicative updates.

Y_i ~ Poisson(lambda_i p_i) with lambda = [[U_1, ..., U_d]], U >= 0, p_i known (detection, effort, exposure; 1 without
any). The negative log-likelihood sum_i lambda_i p_i - Y_i log(lambda_i p_i) is majorised in each factor by Jensen's
inequality over the terms of lambda_i, and the majoriser's minimum is the update

    U_n <- U_n * [ sum_i (Y_i / lambda_i) d lambda_i / d U_n ] / [ penalty + sum_i p_i d lambda_i / d U_n ]

(p cancels in the numerator), so that the loss never grows. With everything observed and p = 1 it is Lee's and Seung's
update for the Kullback-Leibler divergence, and EM for the CP of counts. A penalty adds penalty * sum U to the loss.

Sources: D. D. Lee and H. S. Seung, NIPS 2000; E. C. Chi and T. G. Kolda, SIAM J. Matrix Anal. Appl. 33 (2012) 1272;
S. Ibrahim, X. Fu, R. Hutchinson, E. Seo, ICML 2023 (weights by detection).

When not to use it: for counts with more variance than mean (its intervals are then too narrow; look at the deviance),
or where rates may be negative.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.completion.observations import CountObservations, check_slices
from polyad.tensors.formats.cp import CP

Progress = Callable[[int, int], None]


@final
@dataclass(frozen=True, eq=False)
class PoissonCPFit:
    """A nonnegative CP of rates and how it was reached.

    Args:
        value: the rates; columns sum to one, weights descend.
        loss: sum of lambda p - Y log(lambda p), with the penalty.
        deviance: mean Poisson deviance of an observed entry, about 1 where the model holds and counts are not small.
        history: loss at the start and after every sweep of the start that won.
        starts: loss that each start reached.
        stopped_by: "tolerance", "sweeps" or "seconds".
        seconds: wall time.
    """

    value: CP
    loss: float
    deviance: float
    history: tuple[float, ...]
    starts: tuple[float, ...]
    stopped_by: str
    seconds: float


def poisson_cp(
    observations: CountObservations,
    rank: int,
    *,
    detection: Float[Tensor, " m"] | None = None,
    penalty: float = 0.0,
    starts: int = 3,
    sweeps: int = 2000,
    tolerance: float = 1e-3,
    seconds: float | None = None,
    initial: Sequence[Float[Tensor, "..."]] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> PoissonCPFit:
    """Maximum likelihood rates of this rank.

    Args:
        observations: counts; every slice must be observed. Attributes are not used.
        rank: number of terms.
        detection: p of each row, > 0; any exposure will do (it may exceed 1). None means 1.
        penalty: weight of sum U, pulls superfluous terms to zero.
        starts: random starts; the best one is returned.
        sweeps: largest number of sweeps over all modes a start.
        tolerance: a start ends when a sweep gains less log-likelihood than this (in nats, for all rows together).
        seconds: a start also ends when this wall time is over.
        initial: factors (n_k, rank) > 0 to begin from, instead of random starts.
        seed: of the random starts.
        progress: called with sweeps done and the most there can be.
    """
    began = time.perf_counter()
    check_slices(observations)
    _check_options(rank, penalty, starts, sweeps, seconds)
    counts, indices = observations.counts, observations.indices
    exposure = torch.ones_like(counts) if detection is None else detection.detach().to(counts)
    if exposure.shape != counts.shape or not bool(((exposure > 0) & torch.isfinite(exposure)).all()):
        raise InputError(f"detection: one positive number for each of the {len(counts)} rows is needed")
    generator = torch.Generator(device=counts.device).manual_seed(seed)
    count = starts if initial is None else 1
    runs: list[tuple[float, list[Tensor], list[float], str]] = []
    with torch.no_grad():
        for start in range(count):
            if initial is None:
                factors = random_factors(observations, exposure, rank, generator)
            else:
                factors = _checked_factors(initial, observations.shape, rank, counts)
            history, reason = [_loss(factors, indices, counts, exposure, penalty)], "sweeps"
            for sweep in range(sweeps):
                for mode in range(len(factors)):
                    factors[mode] = multiplicative_update(factors, mode, indices, counts, exposure, penalty=penalty)
                history.append(_loss(factors, indices, counts, exposure, penalty))
                if progress is not None:
                    progress(start * sweeps + sweep + 1, count * sweeps)
                if history[-2] - history[-1] < tolerance:
                    reason = "tolerance"
                    break
                if seconds is not None and time.perf_counter() - began > seconds:
                    reason = "seconds"
                    break
            runs.append((history[-1], factors, history, reason))
            if reason == "seconds":
                break
        loss, factors, history, reason = min(runs, key=lambda run: run[0])
        expected = entry_rates(factors, indices) * exposure
        deviance = float(poisson_deviance(expected, counts).mean())
    reached = tuple(run[0] for run in runs)
    return PoissonCPFit(as_cp(factors), loss, deviance, tuple(history), reached, reason, time.perf_counter() - began)


def multiplicative_update(
    factors: Sequence[Float[Tensor, "_ rank"]],
    mode: int,
    indices: Int[Tensor, "m order"],
    counts: Float[Tensor, " m"],
    detection: Float[Tensor, " m"],
    *,
    penalty: float = 0.0,
) -> Float[Tensor, "_ rank"]:
    """The factor of one mode after its update; the loss with it is never larger than before.

    Entries without any evidence (no row, or the other factors are zero there) stay as they are.
    """
    others = _others(factors, mode, indices)
    factor, rows = factors[mode], indices[:, mode]
    rates = (factor[rows] * others).sum(1)
    ratio = torch.where(counts > 0, counts / rates, 0)
    above = torch.zeros_like(factor).index_add_(0, rows, others * ratio[:, None])
    below = torch.zeros_like(factor).index_add_(0, rows, others * detection[:, None]) + penalty
    return torch.where(below > 0, factor * above / below, factor)


def entry_rates(factors: Sequence[Float[Tensor, "_ rank"]], indices: Int[Tensor, "m order"]) -> Float[Tensor, " m"]:
    """lambda at these index tuples."""
    return _others(factors, None, indices).sum(1)


def poisson_loss(expected: Float[Tensor, " m"], counts: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """sum of expected - Y log(expected), in double precision: minus the log-likelihood but for log Y!; 0 log 0 is 0."""
    expected, counts = expected.double(), counts.double()
    return (expected - torch.xlogy(counts, expected)).sum()


def poisson_deviance(expected: Float[Tensor, " m"], counts: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """2 [Y log(Y / expected) - Y + expected] of each row, >= 0."""
    return 2 * (torch.xlogy(counts, counts) - torch.xlogy(counts, expected) - counts + expected)


def random_factors(
    observations: CountObservations, exposure: Tensor, rank: int, generator: torch.Generator
) -> list[Tensor]:
    """Positive factors with as many expected counts as were seen."""
    counts = observations.counts
    factors = [
        torch.rand(size, rank, generator=generator, dtype=counts.dtype, device=counts.device) + 0.3
        for size in observations.shape
    ]
    expected = entry_rates(factors, observations.indices) * exposure
    root = (counts.sum() / expected.sum()) ** (1 / len(factors))
    return [factor * root for factor in factors]


def as_cp(factors: Sequence[Float[Tensor, "_ rank"]]) -> CP:
    """The same rates with columns that sum to one and descending weights."""
    weights = torch.ones_like(factors[0][0])
    columns = []
    for factor in factors:
        total = factor.sum(0)
        weights = weights * total
        columns.append(factor / torch.where(total > 0, total, 1))
    order = weights.argsort(descending=True)
    return CP(weights[order], tuple(column[:, order] for column in columns))


def as_factors(rates: CP) -> list[Tensor]:
    """Factors with the weights spread evenly over them."""
    root = rates.weights ** (1 / len(rates.factors))
    return [factor * root for factor in rates.factors]


def _others(factors: Sequence[Tensor], mode: int | None, indices: Tensor) -> Tensor:
    """Products of the rows of all factors but one, at each index tuple."""
    product: Tensor | None = None
    for other, factor in enumerate(factors):
        if other != mode:
            rows = factor[indices[:, other]]
            product = rows if product is None else product * rows
    assert product is not None
    return product


def _loss(factors: Sequence[Tensor], indices: Tensor, counts: Tensor, exposure: Tensor, penalty: float) -> float:
    loss = float(poisson_loss(entry_rates(factors, indices) * exposure, counts))
    return loss + penalty * sum(float(factor.sum()) for factor in factors) if penalty else loss


def _check_options(rank: int, penalty: float, starts: int, sweeps: int, seconds: float | None) -> None:
    for name, value, least in (
        ("rank", rank, 1),
        ("penalty", penalty, 0),
        ("starts", starts, 1),
        ("sweeps", sweeps, 1),
    ):
        if not value >= least:
            raise InputError(f"{name}: {value} was given; it must be at least {least}")
    if seconds is not None and not seconds > 0:
        raise InputError(f"seconds: {seconds} was given; give a positive time, or None for no limit")


def _checked_factors(initial: Sequence[Tensor], shape: Sequence[int], rank: int, like: Tensor) -> list[Tensor]:
    wanted = [(size, rank) for size in shape]
    if [tuple(factor.shape) for factor in initial] != wanted:
        raise InputError(f"initial: shapes {[tuple(f.shape) for f in initial]} were given, {wanted} are needed")
    factors = [factor.detach().to(like) for factor in initial]
    if not all(bool((torch.isfinite(factor) & (factor >= 0)).all()) for factor in factors):
        raise InputError("initial: negative or not finite; factors must be >= 0 (a zero stays zero)")
    return factors
