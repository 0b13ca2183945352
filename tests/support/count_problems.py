"""Planted problems of under-counted completion: rates, detection by attributes, counts; all from a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from polyad.tensors.completion import CountObservations


@dataclass(frozen=True, eq=False)
class CountProblem:
    """Truth for every cell in row-major order, and what was observed."""

    shape: tuple[int, ...]
    factors: list[Tensor]
    rates: Tensor
    detection: Tensor
    attributes: Tensor
    counts: Tensor
    observed: Tensor

    @property
    def observations(self) -> CountObservations:
        """The observed rows."""
        where = self.observed
        return CountObservations(self.shape, cells(self.shape)[where], self.counts[where], self.attributes[where])


def cells(shape: Sequence[int]) -> Tensor:
    """All index tuples, row-major."""
    return torch.cartesian_prod(*(torch.arange(size) for size in shape))


def planted_factors(shape: Sequence[int], rank: int, mean: float, generator: torch.Generator) -> list[Tensor]:
    """Uniform factors scaled to this mean rate."""
    factors = [torch.rand(size, rank, generator=generator, dtype=torch.float64) + 0.05 for size in shape]
    return [*factors[:-1], factors[-1] * mean / dense(factors).mean()]


def dense(factors: Sequence[Tensor]) -> Tensor:
    """The whole tensor, by einsum."""
    letters = "abcdefg"[: len(factors)]
    return torch.einsum(",".join(letter + "r" for letter in letters) + "->" + letters, *factors)


def planted(
    shape: Sequence[int] = (12, 10, 8),
    rank: int = 2,
    *,
    mean: float = 200.0,
    share: float = 0.5,
    features: int = 3,
    seed: int = 0,
    constant: float | None = None,
) -> CountProblem:
    """Detection 0.1 + 0.9 sigmoid of a curved function of the attributes (largest value 1), or constant."""
    generator = torch.Generator().manual_seed(seed)
    factors = planted_factors(shape, rank, mean, generator)
    rates = dense(factors).flatten()
    count = math.prod(shape)
    attributes = torch.randn(count, features, generator=generator, dtype=torch.float64)
    score = 2 * torch.tanh(2 * attributes[:, 0]) * attributes[:, 1] + attributes[:, 0]
    detection = 0.1 + 0.9 * torch.sigmoid(2 * score)
    detection = detection / detection.max()
    if constant is not None:
        detection = torch.full_like(detection, constant)
    counts = torch.binomial(torch.poisson(rates, generator=generator), detection, generator=generator)
    observed = torch.randperm(count, generator=generator)[: round(share * count)]
    return CountProblem(tuple(shape), factors, rates, detection, attributes, counts, observed)
