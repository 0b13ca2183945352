"""Searches that sample: local sampling (TNLS), a genetic algorithm (TN-GA) and plain random search.

    TNLS    a batch around the centre, ranks moved by rounded normal numbers, modes by a few transpositions; the best of
            the batch becomes the centre if it is better; the radius shrinks
    TN-GA   a population of (ranks, permutation); the fittest stay, children mix the ranks of two parents, mutate

They are the rivals of alternating enumeration and share its evaluator, so equal structures are equally good for all.

Sources: C. Li, J. Zeng, Z. Tao, Q. Zhao, ICML 2022 (TNLS); C. Li and Z. Sun, ICML 2020 (TN-GA).

When not to use it: where `tnale` can be used; it needs fewer evaluations on all that was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

import torch

from polyad.errors import InputError
from polyad.tensors.structure_search.alternating import Centre, random_centre
from polyad.tensors.structure_search.evaluation import Counter, Evaluator, SearchResult, result_of
from polyad.tensors.structure_search.templates import Template

Progress = Callable[[int, int], None]


def tnls(
    evaluator: Evaluator,
    template: Template,
    *,
    r_max: int = 7,
    batch: int = 60,
    rounds: int = 30,
    spread: float = 1.0,
    shrink: float = 0.95,
    initial: Centre | None = None,
    evaluations: int | None = None,
    seconds: float | None = None,
    stop_at: float = -inf,
    seed: int = 0,
    progress: Progress | None = None,
) -> SearchResult:
    """Local sampling.

    Args:
        batch: samples of a round.
        rounds: the most there are.
        spread, shrink: standard deviation of the ranks' steps, and its factor from round to round; the number of
            transpositions is 0 or 1, and with the spread's probability a second one.

    The others are those of `tnale`.
    """
    if batch < 1 or rounds < 1 or spread <= 0 or not 0 < shrink <= 1:
        raise InputError("batch, rounds, spread, shrink: at least 1, at least 1, above 0, and in (0, 1] are needed")
    generator = torch.Generator().manual_seed(seed)
    counter = Counter(evaluator, most=evaluations, seconds=seconds, stop_at=stop_at, progress=progress)
    centre = initial or random_centre(template, r_max, generator)
    value = _values(counter, template, [centre])[0]
    counts = []
    for number in range(rounds):
        if counter.stopped_by is not None:
            break
        before, sigma = counter.count, spread * shrink**number
        samples = [_near(centre, template, r_max, sigma, generator) for _ in range(batch)]
        values = _values(counter, template, samples)
        for sample, found in zip(samples, values, strict=False):  # a limit may cut the list
            if found < value:
                centre, value = sample, found
        counts.append(counter.count - before)
    return result_of(counter, counts, counter.stopped_by or "rounds")


def tn_ga(
    evaluator: Evaluator,
    template: Template,
    *,
    r_max: int = 7,
    population: int = 60,
    generations: int = 50,
    kept: float = 0.2,
    mutation: float = 0.1,
    evaluations: int | None = None,
    seconds: float | None = None,
    stop_at: float = -inf,
    seed: int = 0,
    progress: Progress | None = None,
) -> SearchResult:
    """Genetic search.

    Args:
        population, generations: how many, and how often.
        kept: share of a generation that survives unchanged; parents are drawn with weights falling by rank.
        mutation: probability that a rank is redrawn, and that two modes change places.

    The others are those of `tnale`.
    """
    if population < 4 or generations < 1 or not 0 < kept < 1 or not 0 <= mutation <= 1:
        raise InputError("population, generations, kept, mutation: at least 4, at least 1, in (0, 1), in [0, 1]")
    generator = torch.Generator().manual_seed(seed)
    counter = Counter(evaluator, most=evaluations, seconds=seconds, stop_at=stop_at, progress=progress)
    alive = [random_centre(template, r_max, generator) for _ in range(population)]
    counts = []
    for _ in range(generations):
        before = counter.count
        values = _values(counter, template, alive)
        counts.append(counter.count - before)
        if counter.stopped_by is not None:
            break
        order = sorted(range(population), key=lambda k: values[k])
        ranked = [alive[k] for k in order]
        weights = torch.exp(-3 * torch.arange(population, dtype=torch.float64) / population)
        best = ranked[: max(1, round(kept * population))]
        children = []
        for _ in range(population - len(best)):
            mother, father = (
                ranked[k] for k in torch.multinomial(weights, 2, replacement=False, generator=generator).tolist()
            )
            children.append(_child(mother, father, template, r_max, mutation, generator))
        alive = [*best, *children]
    return result_of(counter, counts, counter.stopped_by or "rounds")


def random_search(
    evaluator: Evaluator,
    template: Template,
    *,
    r_max: int = 7,
    evaluations: int = 1000,
    seconds: float | None = None,
    stop_at: float = -inf,
    seed: int = 0,
    progress: Progress | None = None,
) -> SearchResult:
    """Uniform ranks and permutations until the evaluations are spent; repeated structures are not counted."""
    generator = torch.Generator().manual_seed(seed)
    counter = Counter(evaluator, most=evaluations, seconds=seconds, stop_at=stop_at, progress=progress)
    for _ in range(20 * evaluations):
        _values(counter, template, [random_centre(template, r_max, generator)])
        if counter.stopped_by is not None:
            break
    return result_of(counter, [counter.count], counter.stopped_by or "rounds")


def _values(counter: Counter, template: Template, centres: Sequence[Centre]) -> list[float]:
    shape = counter.evaluator.shape
    found = counter.evaluate([template.structure(shape, *centre) for centre in centres])
    return [evaluation.objective for evaluation in found]


def _near(centre: Centre, template: Template, r_max: int, sigma: float, generator: torch.Generator) -> Centre:
    steps = torch.randn(len(centre.ranks), generator=generator, dtype=torch.float64).mul(sigma).round().int().tolist()
    ranks = tuple(min(max(1, rank + step), r_max) for rank, step in zip(centre.ranks, steps, strict=True))
    permutation = list(centre.permutation)
    if template.permutes and template.order > 1:
        chances = torch.rand(2, generator=generator).tolist()
        for _ in range((chances[0] < 0.5) + (chances[1] < 0.5 * min(1.0, sigma))):
            _swap(permutation, generator)
    return Centre(ranks, tuple(permutation))


def _child(
    mother: Centre, father: Centre, template: Template, r_max: int, mutation: float, generator: torch.Generator
) -> Centre:
    count = len(mother.ranks)
    chances = torch.rand(2 * count + 2, generator=generator).tolist()
    fresh = torch.randint(1, r_max + 1, (count,), generator=generator).tolist()
    ranks = [
        fresh[k] if chances[k] < mutation else (mother if chances[count + k] < 0.5 else father).ranks[k]
        for k in range(count)
    ]
    permutation = list((mother if chances[-1] < 0.5 else father).permutation)
    if template.permutes and template.order > 1 and chances[-2] < mutation:
        _swap(permutation, generator)
    return Centre(tuple(ranks), tuple(permutation))


def _swap(permutation: list[int], generator: torch.Generator) -> None:
    a, b = torch.randperm(len(permutation), generator=generator)[:2].tolist()
    permutation[a], permutation[b] = permutation[b], permutation[a]
