"""Guess and relax: fix a few ranks, relax the rest to a linear program, round its basic solution, until certified.

For a core size between `low` and `high` the program of `integer_program` with log(high) and c - low, without
integrality, bounds every packing from above. A basic solution of it has at most two modes between two ranks; rounding
those down keeps both constraints. Guesses (a narrower range of core sizes, then the rank of the mode that is largest)
are expanded where the bound is highest, until the best packing found reaches (1 - eps) of the bound.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.optimize import linprog

from polyad.errors import ConvergenceError, InputError
from polyad.tensors.core_shape.packing import TuckerPacking, greedy_packing


@final
@dataclass(frozen=True)
class CertifiedPacking:
    """`ranks` with their `value`, at least (1 - eps) times `bound`, which none exceeds; `programs` were solved."""

    ranks: tuple[int, ...]
    value: float
    bound: float
    programs: int


@final
@dataclass(frozen=True)
class _Guess:
    """Core sizes from `low` to `high` and the ranks allowed in every mode."""

    low: int
    high: int
    limits: tuple[tuple[int, int], ...]


def ptas(problem: TuckerPacking, *, eps: float = 0.1) -> CertifiedPacking:
    """A packing of at least (1 - eps) times the best value, with its certificate.

    Raises:
        InputError: eps is not between 0 and 1.
    """
    if not 0 < eps < 1:
        raise InputError(f"eps: {eps}; must lie between 0 and 1")
    best = greedy_packing(problem)
    order = itertools.count()
    open_guesses: list[tuple[float, int, _Guess, tuple[np.ndarray, ...]]] = []
    programs = 0

    def consider(guess: _Guess) -> None:
        nonlocal best, programs
        programs += 1
        solved = _relaxed(problem, guess)
        if solved is None:
            return
        bound, weights = solved
        heapq.heappush(open_guesses, (-bound, next(order), guess, weights))
        floors = [
            low + int(np.flatnonzero(weight > 1e-9)[0]) for weight, (low, _) in zip(weights, guess.limits, strict=True)
        ]
        ranks = _lowered(problem, floors)
        if ranks is not None and problem.value(problem.raised(ranks)) > problem.value(best):
            best = problem.raised(ranks)

    for guess in _first_guesses(problem, eps):
        consider(guess)
    bound = 0.0
    while open_guesses:
        bound = max(-open_guesses[0][0], problem.value(best))
        if problem.value(best) >= (1 - eps) * bound:
            break
        _, _, guess, weights = heapq.heappop(open_guesses)
        for narrower in _expanded(problem, guess, weights):
            consider(narrower)
    return CertifiedPacking(best, problem.value(best), max(bound, problem.value(best)), programs)


def _first_guesses(problem: TuckerPacking, eps: float) -> list[_Guess]:
    """A geometric grid of core sizes."""
    limits = tuple(problem.rank_limits(math.inf))
    largest = min(problem.budget - sum(problem.shape), math.prod(high for _, high in limits))
    guesses, low = [], 1
    while low <= largest:
        high = min(largest, max(low, math.floor(low * (1 + eps))))
        guesses.append(_Guess(low, high, limits))
        low = high + 1
    return guesses


def _expanded(problem: TuckerPacking, guess: _Guess, weights: tuple[np.ndarray, ...]) -> list[_Guess]:
    """Halve the range of core sizes; where it is a single one, guess the rank of the free mode of largest value."""
    if guess.low < guess.high:
        middle = (guess.low + guess.high) // 2
        return [_Guess(guess.low, middle, guess.limits), _Guess(middle + 1, guess.high, guess.limits)]
    free = [mode for mode, (low, high) in enumerate(guess.limits) if low < high]
    if not free:
        return []
    packed = [
        float(weight @ (tail[0] - tail[low : high + 1]))
        for tail, weight, (low, high) in zip(problem.tails, weights, guess.limits, strict=True)
    ]
    mode = max(free, key=packed.__getitem__)
    low, high = guess.limits[mode]
    return [
        _Guess(guess.low, guess.high, (*guess.limits[:mode], (rank, rank), *guess.limits[mode + 1 :]))
        for rank in range(low, high + 1)
    ]


def _relaxed(problem: TuckerPacking, guess: _Guess) -> tuple[float, tuple[np.ndarray, ...]] | None:
    """Upper bound on the value within the guess and the weights of the ranks; None where nothing fits."""
    counts = [high - low + 1 for low, high in guess.limits]
    ranks = np.concatenate([np.arange(low, high + 1) for low, high in guess.limits])
    dimensions = np.repeat(problem.shape, counts)
    gains = np.concatenate(
        [tail[0] - tail[low : high + 1] for tail, (low, high) in zip(problem.tails, guess.limits, strict=True)]
    )
    choices = np.repeat(np.eye(len(counts)), counts, axis=1)
    scale = problem.value(problem.shape)
    result = linprog(
        -gains / scale,
        A_ub=np.vstack([np.log(ranks), dimensions * ranks / problem.budget]),
        b_ub=[math.log(guess.high) + 1e-9, (problem.budget - guess.low) / problem.budget],
        A_eq=choices,
        b_eq=np.ones(len(counts)),
        bounds=(0, 1),
        method="highs-ds",
    )
    if result.status == 2:
        return None
    if result.status != 0:
        raise ConvergenceError(f"relaxation for cores of {guess.low} to {guess.high}: {result.message}")
    return -float(result.fun) * scale, tuple(np.split(result.x, np.cumsum(counts)[:-1]))


def _lowered(problem: TuckerPacking, ranks: list[int]) -> tuple[int, ...] | None:
    """Lower ranks, each time by the least loss per number saved, until they fit; None where (1, ..., 1) is reached."""
    now = list(ranks)
    while problem.size(now) > problem.budget:
        candidates = [mode for mode, rank in enumerate(now) if rank > 1]
        if not candidates:
            return None
        core = math.prod(now)
        mode = min(
            candidates,
            key=lambda m: (
                (problem.tails[m][now[m] - 1] - problem.tails[m][now[m]]) / (core // now[m] + problem.shape[m])
            ),
        )
        now[mode] -= 1
    return tuple(now)
