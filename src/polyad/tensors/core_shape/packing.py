"""The Tucker packing problem: as much spectrum as fits into the budget. Exact by enumeration, and greedy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import Tensor

from polyad.errors import InputError

_LARGEST_ENUMERATION = 2 * 10**8


@final
@dataclass(frozen=True, eq=False)
class TuckerPacking:
    """Choose ranks r that minimise sum_n tails[n][r_n] subject to prod_n r_n + sum_n I_n r_n <= budget.

    Attributes:
        tails: for every mode what the ranks 0, 1, ..., I_n leave of the spectrum; decreasing to zero.
        budget: largest number of entries of core and factors.
    """

    tails: tuple[np.ndarray, ...]
    budget: int

    @classmethod
    def from_spectra(cls, spectra: Sequence[Tensor | np.ndarray], budget: int) -> TuckerPacking:
        """From squared singular values of the unfoldings, I_n of them for mode n.

        Raises:
            InputError: spectra that are negative, not finite or increase; a budget below the size of ranks (1, ..., 1).
        """
        tails = []
        for mode, spectrum in enumerate(spectra):
            values = np.asarray(spectrum, dtype=np.float64)
            if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all() or values.min() < 0:
                raise InputError(f"spectra[{mode}]: must be a vector of finite numbers, none negative")
            if (np.diff(values) > 0).any():
                raise InputError(f"spectra[{mode}]: increases; sort it from the largest value down")
            tails.append(np.append(np.cumsum(values[::-1])[::-1], 0.0))
        problem = cls(tuple(tails), int(budget))
        least = problem.size((1,) * len(tails))
        if problem.budget < least:
            raise InputError(f"budget: {budget}; ranks (1, ..., 1) need {least} numbers already")
        return problem

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions I_n."""
        return tuple(len(tail) - 1 for tail in self.tails)

    def size(self, ranks: Sequence[int]) -> int:
        """Entries of core and factors."""
        return math.prod(ranks) + sum(dimension * rank for dimension, rank in zip(self.shape, ranks, strict=True))

    def loss(self, ranks: Sequence[int]) -> float:
        """The surrogate: sum of the tails."""
        return float(sum(tail[rank] for tail, rank in zip(self.tails, ranks, strict=True)))

    def value(self, ranks: Sequence[int]) -> float:
        """What is packed: sum of all spectra less the loss."""
        return float(sum(tail[0] - tail[rank] for tail, rank in zip(self.tails, ranks, strict=True)))

    def raised(self, ranks: Sequence[int]) -> tuple[int, ...]:
        """Raise ranks one by one, each time by the best gain per added number, until nothing fits or gains."""
        now = list(ranks)
        while True:
            best, choice = 0.0, -1
            size, core = self.size(now), math.prod(now)
            for mode, (tail, rank) in enumerate(zip(self.tails, now, strict=True)):
                if rank == len(tail) - 1:
                    continue
                added = core // rank + len(tail) - 1
                gain = (tail[rank] - tail[rank + 1]) / added
                if size + added <= self.budget and gain > best:
                    best, choice = gain, mode
            if choice < 0:
                return tuple(now)
            now[choice] += 1

    def polished(self, ranks: Sequence[int]) -> tuple[int, ...]:
        """Choose the ranks of two modes anew, all others fixed, in turn until no pair gains."""
        now, loss = list(ranks), self.loss(ranks)
        improved = True
        while improved:
            improved = False
            for first, second in itertools.permutations(range(len(now)), 2):
                rest = math.prod(now) // (now[first] * now[second])
                others = sum(n * r for n, r in zip(self.shape, now, strict=True))
                others -= self.shape[first] * now[first] + self.shape[second] * now[second]
                trial = np.arange(1, self.shape[first] + 1)
                left = self.budget - others - self.shape[first] * trial
                fitting = np.minimum(left // (rest * trial + self.shape[second]), self.shape[second])
                losses = self.tails[first][trial] + self.tails[second][np.maximum(fitting, 1)]
                at = int(np.argmin(np.where(fitting >= 1, losses, np.inf)))
                changed = [*now]
                changed[first], changed[second] = int(trial[at]), int(fitting[at])
                if self.loss(changed) < loss:
                    now, loss, improved = changed, self.loss(changed), True
        return tuple(now)

    def trimmed(self, ranks: Sequence[int]) -> tuple[int, ...]:
        """The smallest ranks with the same tails: none is spent on singular values that are zero."""
        return tuple(
            max(1, int(np.flatnonzero(tail == tail[rank])[0])) for tail, rank in zip(self.tails, ranks, strict=True)
        )

    def rank_limits(self, loss: float) -> list[tuple[int, int]]:
        """Lowest and highest rank of every mode among the packings whose loss is at most `loss`."""
        fixed = sum(self.shape)
        limits = []
        for tail, dimension in zip(self.tails, self.shape, strict=True):
            lowest = max(1, int(np.flatnonzero(tail <= loss)[0]))
            highest = min(dimension, (self.budget - fixed + dimension) // (1 + dimension))
            limits.append((lowest, max(lowest, highest)))
        return limits


def greedy_packing(problem: TuckerPacking) -> tuple[int, ...]:
    """From (1, ..., 1), always the rank whose next squared singular value is largest per added number."""
    return problem.raised((1,) * len(problem.tails))


def enumerate_packing(problem: TuckerPacking) -> tuple[int, ...]:
    """The best packing: all ranks but those of the largest mode, which follow from the budget.

    r_N = min(I_N, floor((c - sum_{n<N} I_n r_n) / (prod_{n<N} r_n + I_N))). Ranks that alone lose more than the greedy
    packing are left out.

    Raises:
        InputError: more than 2e8 combinations are left.
    """
    shape, modes = problem.shape, len(problem.shape)
    best = greedy_packing(problem)
    best_loss = problem.loss(best)
    limits = problem.rank_limits(best_loss)
    last = int(np.argmax(shape))
    others = [mode for mode in range(modes) if mode != last]
    ranges = [range(limits[mode][0], limits[mode][1] + 1) for mode in others]
    if math.prod(len(ranks) for ranks in ranges) > _LARGEST_ENUMERATION:
        raise InputError(f"method: 'enumerate' would try {math.prod(len(r) for r in ranges):.1e} shapes; take 'ip'")
    grids = [np.array(ranks, dtype=np.int64) for ranks in ranges[-2:]]
    inner = np.meshgrid(*grids, indexing="ij")
    inner_core = math.prod(inner[1:], start=inner[0])
    inner_size = sum(shape[mode] * rank for mode, rank in zip(others[-2:], inner, strict=True))
    inner_loss = sum(problem.tails[mode][rank] for mode, rank in zip(others[-2:], inner, strict=True))
    for outer in itertools.product(*ranges[:-2]):
        outer_modes = others[:-2]
        core = inner_core * math.prod(outer)
        left = problem.budget - inner_size - sum(shape[m] * r for m, r in zip(outer_modes, outer, strict=True))
        rank = np.minimum(left // (core + shape[last]), shape[last])
        loss = inner_loss + sum(problem.tails[m][r] for m, r in zip(outer_modes, outer, strict=True))
        loss = np.where(rank >= 1, loss + problem.tails[last][np.maximum(rank, 1)], np.inf)
        at = np.unravel_index(int(np.argmin(loss)), loss.shape)
        if loss[at] < best_loss:
            best_loss = float(loss[at])
            found = dict(zip(outer_modes, outer, strict=True))
            found |= {mode: int(grid[at]) for mode, grid in zip(others[-2:], inner, strict=True)}
            found[last] = int(rank[at])
            best = tuple(found[mode] for mode in range(modes))
    return best
