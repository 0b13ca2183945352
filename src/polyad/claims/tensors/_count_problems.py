"""Under-counted tensors with known rates and detection, and the baselines that only a comparison needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.tensors.completion import CountObservations, halrtc


@final
@dataclass(frozen=True, eq=False)
class Planted:
    """Truth of every cell in row-major order, and the rows that were observed.

    Args:
        shape: sizes of the modes.
        rates: lambda.
        detection: p, from 0.1 to 1.
        attributes: z, (cells, 10).
        counts: Y, read at observed cells only.
        observed: cells seen.
    """

    shape: tuple[int, ...]
    rates: Tensor
    detection: Tensor
    attributes: Tensor
    counts: Tensor
    observed: Tensor

    @property
    def indices(self) -> Tensor:
        """All index tuples."""
        return torch.cartesian_prod(*(torch.arange(size) for size in self.shape))

    @property
    def observations(self) -> CountObservations:
        """The observed rows with their attributes."""
        rows = self.observed
        return CountObservations(self.shape, self.indices[rows], self.counts[rows], self.attributes[rows])

    @property
    def hidden(self) -> Tensor:
        """True for cells that were not observed."""
        hidden = torch.ones(len(self.rates), dtype=torch.bool)
        hidden[self.observed] = False
        return hidden


def planted_counts(
    shape: tuple[int, ...], rank: int, *, mean: float, share: float, seed: int, detection: str = "network"
) -> Planted:
    """Uniform factors, ten normal attributes a cell, detection by a random network with one tanh layer of 20.

    Args:
        shape: sizes of the modes.
        rank: of the rates.
        mean: mean rate.
        share: of cells observed.
        seed: of everything.
        detection: "network" (0.1 + 0.9 sigmoid of the standardised network times 1.5, its largest value scaled to 1),
            "constant" (0.4 everywhere), "noise" (the network's values in another order: they vary, but not with the
            attributes) or "places" (the network on attributes that belong to the first mode alone).
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    factors = [torch.rand(size, rank, generator=generator, dtype=torch.float64) + 0.05 for size in shape]
    rates = torch.einsum("ir,jr,kr->ijk", *factors).flatten()
    rates = rates * mean / rates.mean()
    cells = math.prod(shape)
    attributes = normal(cells, 10)
    if detection == "places":
        attributes = normal(shape[0], 10).repeat_interleave(cells // shape[0], 0)
    score = torch.tanh(attributes @ normal(10, 20) * (1.5 / 10**0.5)) @ normal(20)
    chance = 0.1 + 0.9 * torch.sigmoid(1.5 * (score - score.mean()) / score.std())
    chance = chance / chance.max()
    if detection == "constant":
        chance = torch.full_like(chance, 0.4)
    elif detection == "noise":
        chance = chance[torch.randperm(cells, generator=generator)]
    counts = torch.binomial(torch.poisson(rates, generator=generator), chance, generator=generator)
    observed = torch.randperm(cells, generator=generator)[: round(share * cells)]
    return Planted(shape, rates, chance, attributes, counts, observed)


def neural_completion(
    observations: CountObservations,
    *,
    widths: tuple[int, ...] = (3, 8),
    rounds: int = 150,
    patience: int = 20,
    seed: int = 0,
) -> Float[Tensor, " cells"]:
    """Neural tensor completion without Poisson: embeddings of the indices through a network, squared error of counts.

    Embeddings enter side by side and as their product, so that the network contains CP; counts are scaled to mean one;
    the width and the round with the least held-out error are kept.
    """
    generator = torch.Generator().manual_seed(seed)
    scale = observations.counts.mean()
    target, indices = observations.counts / scale, observations.indices
    order = torch.randperm(len(target), generator=generator)
    held, train = order[: len(order) // 10], order[len(order) // 10 :]
    every = torch.cartesian_prod(*(torch.arange(size) for size in observations.shape))
    best, values = math.inf, torch.zeros(len(every), dtype=torch.float64)
    for width in widths:
        net = _IndexNetwork(observations.shape, width, generator)
        optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=0.05, foreach=True)
        least, waited = math.inf, 0
        for _ in range(rounds):
            for batch in train[torch.randperm(len(train), generator=generator)].split(max(16, -(-len(train) // 20))):
                optimizer.zero_grad()
                (net(indices[batch]) - target[batch]).square().mean().backward()
                optimizer.step()
            with torch.no_grad():
                error = float((net(indices[held]) - target[held]).square().mean())
                waited = 0 if error < least else waited + 1
                least = min(least, error)
                if error < best:
                    best, values = error, net(every)
            if waited >= patience:
                break
    return values * scale


def low_rank_completion(planted: Planted) -> Float[Tensor, " cells"]:
    """HaLRTC of the counts or of their roots (which have constant noise), as a held-out tenth chooses."""
    counts, generator = planted.counts.reshape(planted.shape), torch.Generator().manual_seed(0)
    order = planted.observed[torch.randperm(len(planted.observed), generator=generator)]
    held, kept = order[: len(order) // 10], order[len(order) // 10 :]

    def completed(rows: Tensor, root: bool) -> Tensor:
        mask = torch.zeros(len(planted.rates), dtype=torch.bool)
        mask[rows] = True
        data = counts.sqrt() if root else counts
        value = halrtc(data, mask.reshape(planted.shape), iterations=200, tolerance=1e-4).value.flatten()
        return value.clamp(min=0).square() if root else value

    errors = {
        root: float((completed(kept, root)[held] - planted.counts[held]).square().mean()) for root in (False, True)
    }
    return completed(planted.observed, min(errors, key=lambda root: errors[root]))


class _IndexNetwork(nn.Module):
    """softplus of a network of all embeddings and their product."""

    def __init__(self, shape: tuple[int, ...], width: int, generator: torch.Generator) -> None:
        super().__init__()

        def drawn(*sizes: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*sizes, generator=generator, dtype=torch.float64) * scale)

        self.tables = nn.ParameterList(drawn(size, width, scale=0.5) for size in shape)
        inputs = (len(shape) + 1) * width
        self.inner, self.inner_bias = drawn(32, inputs, scale=inputs**-0.5), drawn(32, scale=0.0)
        self.outer, self.outer_bias = drawn(1, 32, scale=32**-0.5), drawn(1, scale=0.0)

    def forward(self, indices: Tensor) -> Tensor:
        rows = [table[indices[:, mode]] for mode, table in enumerate(self.tables)]
        inputs = torch.cat([*rows, torch.stack(rows).prod(0)], dim=1)
        hidden = torch.tanh(nn.functional.linear(inputs, self.inner, self.inner_bias))
        return nn.functional.softplus(nn.functional.linear(hidden, self.outer, self.outer_bias)[:, 0])
