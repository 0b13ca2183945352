"""TnALE: ranks and placement of modes by alternating local enumeration.

Around a centre (ranks r_1..r_K, permutation of the modes) one variable at a time is enumerated, all others held:

    rank k          {r_k - q .. r_k + q} within 1..r_max, shifted at the ends
    permutation     the current one and all that differ by one transposition

and the best value is kept at once. A sweep goes over ranks and permutation, forward and back; one that changes nothing
ends the search, at a point that no single variable can improve. The first sweeps use a larger radius and evaluate only
the ends and the middle of each rank's range, with log RSE interpolated in between; a value so chosen is evaluated
before it is believed, so the objective never rises.

Source: C. Li, J. Zeng, C. Li, C. Caiafa, Q. Zhao, ICML 2023 (PMLR 202), algorithms 1 and 2, theorem 4.6.

Deviations: with `restarts`, the search begins anew at a random centre once a minimum is reached; evaluations add up.

When not to use it: where graphs, not ranks, are in question and the order is large; each sweep is O(N^2) evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from math import comb, exp, inf, log
from typing import NamedTuple

import torch

from polyad.errors import InputError
from polyad.tensors.structure_search.evaluation import Counter, Evaluation, Evaluator, SearchResult, result_of
from polyad.tensors.structure_search.structures import NetworkStructure
from polyad.tensors.structure_search.templates import Template


class Centre(NamedTuple):
    """A point of the search: a rank for every edge of the template, and where the modes sit."""

    ranks: tuple[int, ...]
    permutation: tuple[int, ...]


class TheoryCounts(NamedTuple):
    """Evaluations for a sufficient decrease, up to constants: sampling of the joint neighbourhood, and alternation."""

    sampling: float
    alternating: float


def tnale(
    evaluator: Evaluator,
    template: Template,
    *,
    r_max: int = 7,
    radius_init: int = 2,
    radius_main: int = 1,
    n_init: int = 2,
    initial: Centre | None = None,
    restarts: int = 0,
    evaluations: int | None = None,
    seconds: float | None = None,
    stop_at: float = -inf,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Search ranks and permutation of a template.

    Args:
        evaluator: of the tensor, with its objective.
        template: the graph.
        r_max: largest rank.
        radius_init, n_init: radius and number of the first sweeps.
        radius_main: radius afterwards.
        initial: where to begin; by default random.
        restarts: new random centres after a minimum.
        evaluations, seconds, stop_at: further ends.
        seed: of the random centres.
        progress: called with structures evaluated and `evaluations` (0 without a limit).
    """
    if min(r_max, radius_main) < 1 or radius_init < 1 or n_init < 0:
        raise InputError(
            f"r_max, radii: {r_max}, {radius_init}, {radius_main} were given; each must be at least 1, n_init 0 or more"
        )
    if len(evaluator.shape) != template.order:
        raise InputError(f"template: {template.name} has {template.order} modes, the tensor {len(evaluator.shape)}")
    generator = torch.Generator().manual_seed(seed)
    counter = Counter(evaluator, most=evaluations, seconds=seconds, stop_at=stop_at, progress=progress)
    search = _Search(counter, template, r_max)
    sweeps: list[int] = []
    reason = "minimum"
    for run in range(restarts + 1):
        centre = initial if initial is not None and run == 0 else random_centre(template, r_max, generator)
        search.begin(centre)
        done = 0
        while counter.stopped_by is None:
            before, first = counter.count, done < n_init
            changed = search.sweep(radius_init if first else radius_main, sparse=first)
            sweeps.append(counter.count - before)
            done += 1
            if not changed and not first:
                break
        reason = counter.stopped_by or "minimum"
        if counter.stopped_by is not None:
            break
    return result_of(counter, sweeps, reason)


def theory_counts(order: int, r_max: int) -> TheoryCounts:
    """The paper's comparison for a ring of this order: Omega(2^N) against O(N^2 R), constants left out."""
    return TheoryCounts(2.0**order, float(order**2 * r_max))


def most_evaluations(template: Template, radius: int) -> int:
    """Bound on the evaluations of one sweep, forward and back."""
    swaps = comb(template.order, 2) if template.permutes else 0
    return 2 * (len(template.edges) * (2 * radius + 1) + swaps + 1)


def random_centre(template: Template, r_max: int, generator: torch.Generator) -> Centre:
    """Uniform ranks in 1..r_max and, where the template has use for it, a uniform permutation."""
    ranks = torch.randint(1, r_max + 1, (len(template.edges),), generator=generator).tolist()
    order = template.order
    permutation = torch.randperm(order, generator=generator).tolist() if template.permutes else range(order)
    return Centre(tuple(ranks), tuple(permutation))


def rank_window(rank: int, radius: int, r_max: int) -> list[int]:
    """2 radius + 1 ranks around one, shifted so that they lie within 1..r_max; fewer where r_max is smaller."""
    width = min(2 * radius + 1, r_max)
    first = min(max(1, rank - radius), r_max - width + 1)
    return list(range(first, first + width))


class _Search:
    def __init__(self, counter: Counter, template: Template, r_max: int) -> None:
        self.counter, self.template, self.r_max = counter, template, r_max
        self.centre = Centre((), ())
        self.value = inf

    def begin(self, centre: Centre) -> None:
        """A new centre, whatever it is worth."""
        found = self.counter.evaluate([self._structure(centre)])
        self.centre, self.value = centre, found[0].objective if found else inf

    def sweep(self, radius: int, *, sparse: bool) -> bool:
        """Forward and back over all variables; True where something changed."""
        begun = self.centre
        variables = [*range(len(self.template.edges)), None]
        for variable in [*variables, *reversed(variables)]:
            if self.counter.stopped_by is not None:
                break
            if variable is None:
                if self.template.permutes:
                    self._try([Centre(self.centre.ranks, swapped) for swapped in self._transpositions()])
            else:
                self._try_ranks(variable, radius, sparse=sparse)
        return self.centre != begun

    def _try_ranks(self, edge: int, radius: int, *, sparse: bool) -> None:
        window = rank_window(self.centre.ranks[edge], radius, self.r_max)
        if not sparse or len(window) <= 3:
            self._try([self._with_rank(edge, rank) for rank in window])
            return
        asked = [window[0], window[len(window) // 2], window[-1]]
        known = self._try([self._with_rank(edge, rank) for rank in asked])
        if len(known) < len(asked):
            return
        guesses = {
            rank: self._guess(rank, edge, asked, [evaluation.loss for evaluation in known])
            for rank in window
            if rank not in asked
        }
        best = min(guesses, key=lambda rank: guesses[rank])
        if guesses[best] < self.value:
            self._try([self._with_rank(edge, best)])

    def _guess(self, rank: int, edge: int, asked: Sequence[int], losses: Sequence[float]) -> float:
        """Objective with log RSE interpolated linearly between the two ranks around this one."""
        right = next(k for k, known in enumerate(asked) if known > rank)
        share = (rank - asked[right - 1]) / (asked[right] - asked[right - 1])
        logs = [log(max(losses[k], 1e-300)) for k in (right - 1, right)]
        structure = self._structure(self._with_rank(edge, rank))
        loss = exp((1 - share) * logs[0] + share * logs[1])
        return self.counter.evaluator.objective(structure.compression, loss)

    def _try(self, centres: Sequence[Centre]) -> list[Evaluation]:
        """Evaluate, and move to the best if it is better than the centre."""
        found = self.counter.evaluate([self._structure(centre) for centre in centres])
        for centre, evaluation in zip(centres, found, strict=False):  # a limit may cut the list
            if evaluation.objective < self.value:
                self.centre, self.value = centre, evaluation.objective
        return found

    def _transpositions(self) -> list[tuple[int, ...]]:
        swapped = []
        for a, b in combinations(range(self.template.order), 2):
            permutation = list(self.centre.permutation)
            permutation[a], permutation[b] = permutation[b], permutation[a]
            swapped.append(tuple(permutation))
        return swapped

    def _with_rank(self, edge: int, rank: int) -> Centre:
        ranks = list(self.centre.ranks)
        ranks[edge] = rank
        return Centre(tuple(ranks), self.centre.permutation)

    def _structure(self, centre: Centre) -> NetworkStructure:
        return self.template.structure(self.counter.evaluator.shape, centre.ranks, centre.permutation)
