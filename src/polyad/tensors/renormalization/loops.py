"""Worm Monte Carlo for closed loops: the high-temperature expansion of the Ising model on an L x L torus as images.

Z = 2^V cosh(b)^{2V} sum over closed loop configurations of t^N, t = tanh b, N occupied links. A worm's head moves to a
random neighbour and toggles the link between with probability t (occupy) or 1 (empty); whenever it is back at its
tail, also after a rejected first move, the configuration is closed: a *visit*, after which both jump to a random site.
Samples are taken every `skip` visits (never at the first visit after so many moves, which is biased).

    E / V = -2 t - (2 / sinh 2b) <N> / V
    C / V = b^2 [ 2 (1 - t^2) + (4 / sinh(2b)^2) Var N / V - (4 cosh 2b / sinh(2b)^2) <N> / V ]

Source: N. Prokof'ev, B. Svistunov, Phys. Rev. Lett. 87 (2001) 160601.

When not to use it: with a field (loops need not close) or for b <= 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from polyad.errors import InputError

_MOVES_PER_SITE = 10  # a sample costs at least so many moves a site, unless `skip` is given


@final
@dataclass(frozen=True)
class LoopObservables:
    """Means over samples with the standard errors of block averages; energy and heat are per site.

    mean_links and variance_links are of N, occupation is mean_links / (2 V), heat is b^2 d^2 ln Z / db^2 / V.
    """

    mean_links: Tensor
    mean_links_error: Tensor
    variance_links: Tensor
    variance_links_error: Tensor
    occupation: Tensor
    energy: Tensor
    heat: Tensor


def worm(
    size: int,
    beta: Float[Tensor, "*batch"] | float,
    samples: int,
    *,
    seed: int,
    skip: int | None = None,
    warm_up: int = 500,
) -> UInt8[Tensor, "*batch samples 2 size size"]:
    """Closed loop configurations on a size x size torus, as occupations 0 and 1 of links.

    Args:
        size: L >= 2; on L = 2 neighbours are joined by two links.
        beta: inverse temperatures; each has random numbers of its own.
        samples: how many for each temperature.
        seed: of the random numbers.
        skip: visits from one sample to the next; by default as many as make a sample cost 10 moves a site, measured
            during the warm-up.
        warm_up: moves a site before the first sample.

    Returns:
        [..., 0, x, y] is the link from (x, y) to (x + 1, y), [..., 1, x, y] that to (x, y + 1).

    Raises:
        InputError: a size below 2, no samples, a skip or warm-up below 1, or beta not positive and finite.
    """
    from polyad.tensors.renormalization.loop_kernels import sample, walk

    betas = torch.as_tensor(beta, dtype=torch.float64)
    if size < 2 or samples < 1 or warm_up < 1 or (skip is not None and skip < 1):
        raise InputError(
            f"size is {size}, samples {samples}, skip {skip}, warm_up {warm_up}; size must be >= 2, the others >= 1"
        )
    if not bool(((betas > 0) & torch.isfinite(betas)).all()):
        raise InputError("beta must be positive and finite everywhere")
    images = np.empty((betas.numel(), samples, 2, size, size), np.uint8)
    streams = np.random.SeedSequence(seed).generate_state(max(1, betas.numel()), np.uint64)
    for k, b in enumerate(betas.flatten().tolist()):
        tanh, state = math.tanh(b), streams[k : k + 1].copy()
        links, place = np.zeros((2, size, size), np.uint8), np.zeros(4, np.int64)
        visits, moves = walk(links, place, tanh, 2**62, warm_up * size * size, state)
        # the warm-up counts the unfinished walk as a whole, so that a rate is there even if the worm never closed
        each = skip or math.ceil(_MOVES_PER_SITE * size * size * (visits + 1) / moves)
        sample(images[k], links, place, tanh, each, state)
    return torch.from_numpy(images).reshape(*betas.shape, samples, 2, size, size)


def loop_observables(
    images: UInt8[Tensor, "*batch samples 2 L L"], beta: Float[Tensor, "*batch"] | float, *, blocks: int = 50
) -> LoopObservables:
    """Link statistics, energy and specific heat of samples, with errors from averages over blocks of samples.

    Raises:
        InputError: fewer samples than blocks, or fewer than two blocks.
    """
    samples, size = images.shape[-4], images.shape[-1]
    if blocks < 2 or samples < blocks:
        raise InputError(f"{samples} samples cannot be cut into {blocks} blocks; give 2 <= blocks <= samples")
    b = torch.as_tensor(beta, dtype=torch.float64)
    links = images.flatten(-3).sum(-1, dtype=torch.int64).double()
    mean = links.mean(-1)
    deviation = links - mean.unsqueeze(-1)
    variance = deviation.square().mean(-1) * samples / (samples - 1)
    sites = size * size
    tanh, sinh, cosh = torch.tanh(b), torch.sinh(2 * b), torch.cosh(2 * b)
    heat = 2 * (1 - tanh.square()) + 4 / sinh.square() * (variance - cosh * mean) / sites
    return LoopObservables(
        mean_links=mean,
        mean_links_error=_block_error(links, blocks),
        variance_links=variance,
        variance_links_error=_block_error(deviation.square(), blocks),
        occupation=mean / (2 * sites),
        energy=-2 * tanh - 2 / sinh * mean / sites,
        heat=b.square() * heat,
    )


def _block_error(values: Tensor, blocks: int) -> Tensor:
    """Standard error of the mean from means of consecutive blocks."""
    length = values.shape[-1] // blocks
    means = values[..., : blocks * length].unflatten(-1, (blocks, length)).mean(-1)
    return means.std(-1) / math.sqrt(blocks)
