"""Repeated surveys of a closed population: what repeated counts of the same individuals tell about detection.

When N ~ Poisson(lambda) individuals stay in a cell while it is surveyed J times, Y_j | N ~ Binomial(N, p_j), the counts
of one cell share N, with covariance lambda p_j p_k. Their joint probability

    P(y_1..y_J) = sum_{N >= max y} Poisson(N; lambda) prod_j Binomial(y_j; N, p_j)

depends on the scale of lambda and p, which single counts leave open: (lambda s, p / s) is chosen to maximise it.

Source: J. A. Royle, Biometrics 60 (2004) 108 (N-mixture model).

Rates and detection that were fitted to the same counts have taken up a part of the shared noise, so that s comes out
somewhat large (by 0.15 in its logarithm with 62 parameters of rates, a network and 576 cells surveyed three times).

When not to use it: where individuals come and go between surveys; the scale is then wrong without any sign of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.completion.observations import CountObservations, whole_numbers

_LARGEST_SCALE = 20.0  # p down to 1/20 of what it could be at most
_CHUNK = 2_000_000  # numbers in one block of the sum over N


@final
@dataclass(frozen=True)
class SurveyScale:
    """The factor s of lambda (and 1/s of p) that repeated surveys ask for.

    Args:
        factor: s.
        log_error: standard error of log s, from the curvature of the log-likelihood; infinite where s lies at the end
            of what is possible.
        cells: cells with at least two surveys.
    """

    factor: float
    log_error: float
    cells: int


def survey_scale(
    observations: CountObservations, rates: Float[Tensor, " m"], detection: Float[Tensor, " m"]
) -> SurveyScale:
    """Maximum likelihood scale, lambda and p being known up to it.

    Args:
        observations: rows of one cell are its surveys; cells with one row say nothing.
        rates: lambda of each row's cell.
        detection: p of each row.

    Raises:
        InputError: no cell has two rows, or counts are no whole numbers.
    """
    from scipy.optimize import minimize_scalar

    whole_numbers(observations.counts, "a closed population")
    counts, present, cell_rates, cell_detection = _by_cell(observations, rates, detection)
    lowest = math.log(float(cell_detection.max()))

    def loss(log_scale: float) -> float:
        scale = math.exp(log_scale)
        likelihood = closed_population_log_likelihood(
            counts, present, cell_rates * scale, (cell_detection / scale).clamp(max=1)
        )
        return -float(likelihood.sum())

    highest = lowest + math.log(_LARGEST_SCALE)
    found = minimize_scalar(loss, bounds=(lowest, highest), method="bounded", options={"xatol": 1e-5})
    step, best = 0.01, float(found.x)
    inside = lowest + 2 * step < best < highest - 2 * step
    curvature = (loss(best + step) - 2 * float(found.fun) + loss(best - step)) / step**2 if inside else 0.0
    return SurveyScale(math.exp(best), curvature**-0.5 if curvature > 0 else math.inf, len(counts))


def closed_population_log_likelihood(
    counts: Float[Tensor, "cells surveys"],
    present: Bool[Tensor, "cells surveys"],
    rates: Float[Tensor, " cells"],
    detection: Float[Tensor, "cells surveys"],
) -> Float[Tensor, " cells"]:
    """log P(y_1..y_J) of each cell; surveys that are not present are left out.

    The sum over N ends where its terms have fallen by 1e-16 below the largest.
    """
    length = 64
    while True:
        blocks = max(1, _CHUNK // (length * counts.shape[1]))
        parts = [
            _log_terms(counts[rows], present[rows], rates[rows], detection[rows], length)
            for rows in torch.arange(len(counts), device=counts.device).split(blocks)
        ]
        if all(bool((terms[:, -1] < terms.max(1).values - 40).all()) for terms in parts):
            return torch.cat([torch.logsumexp(terms, dim=1) for terms in parts])
        length *= 2


def _log_terms(counts: Tensor, present: Tensor, rates: Tensor, detection: Tensor, length: int) -> Tensor:
    """log of the terms N = max y, max y + 1, ... of each cell."""
    counts = torch.where(present, counts, 0)
    total = counts.max(1, keepdim=True).values + torch.arange(length, dtype=counts.dtype, device=counts.device)
    terms = torch.xlogy(total, rates[:, None]) - rates[:, None] - torch.lgamma(total + 1)
    missed = total[:, None, :] - counts[:, :, None]
    chosen = torch.lgamma(total + 1)[:, None, :] - torch.lgamma(counts + 1)[:, :, None] - torch.lgamma(missed + 1)
    one = chosen + torch.xlogy(counts, detection)[:, :, None] + torch.xlogy(missed, 1 - detection[:, :, None])
    return terms + torch.where(present[:, :, None], one, 0).sum(1)


def _by_cell(observations: CountObservations, rates: Tensor, detection: Tensor) -> tuple[Tensor, ...]:
    """Counts, presence, rates and detection of the cells with at least two rows."""
    _, cell, surveys = torch.unique(observations.indices, dim=0, return_inverse=True, return_counts=True)
    if int(surveys.max()) < 2:
        raise InputError("observations: no cell was surveyed twice; use normalize='max' or 'anchor'")
    order = torch.argsort(cell, stable=True)
    first = torch.cumsum(surveys, 0) - surveys
    place = torch.arange(len(cell), device=cell.device) - first[cell[order]]
    shape = (len(surveys), int(surveys.max()))
    counts, chances = observations.counts.new_zeros(shape), observations.counts.new_zeros(shape)
    present = torch.zeros(shape, dtype=torch.bool, device=cell.device)
    cell_rates = observations.counts.new_zeros(len(surveys))
    at = (cell[order], place)
    counts[at], chances[at], present[at] = observations.counts[order], detection[order], True
    cell_rates[cell] = rates
    chosen = surveys >= 2
    return counts[chosen], present[chosen], cell_rates[chosen], chances[chosen]
