"""Children of a whole population: who lives on, who the parents are, crossover and mutation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.optim.neuroevolution.alignment import crossover
from polyad.optim.neuroevolution.engines import Engine
from polyad.optim.neuroevolution.mutation import draw_mutations, keys_for_new_nodes, mutate
from polyad.optim.neuroevolution.population import KEY, Population
from polyad.optim.neuroevolution.settings import Settings


@final
@dataclass(frozen=True)
class Parents:
    """For each child: its fitter parent, its other parent, and whether it is the fitter one unchanged."""

    fitter: Int[Tensor, " children"]
    other: Int[Tensor, " children"]
    elite: Bool[Tensor, " children"]


def choose_parents(
    membership: Int[Tensor, " genomes"],
    fitness: Float[Tensor, " genomes"],
    children: Int[Tensor, " species"],
    chance: Float[Tensor, "children 2"],
    *,
    survival: float = 0.2,
    elitism: int = 2,
) -> Parents:
    """Two parents of the child's species, each any of its best share; its best genomes live on as the first children.

    Args:
        membership: species of every genome.
        fitness: of every genome, the larger the better.
        children: number for each species; species with children have members.
        chance: uniform in [0, 1), two numbers a child.
        survival: share of a species that has children (rounded up, and at least two where there are two).
        elitism: number of genomes of a species that live on unchanged.
    """
    by_fitness = fitness.argsort(descending=True, stable=True)
    order = by_fitness[membership[by_fitness].argsort(stable=True)]
    sizes = torch.bincount(membership, minlength=len(children))
    starts = sizes.cumsum(0) - sizes
    survivors = torch.minimum((survival * sizes).ceil().long().clamp_min(2), sizes)
    species = torch.repeat_interleave(torch.arange(len(children), device=children.device), children)
    place = torch.arange(len(species), device=children.device) - (children.cumsum(0) - children)[species]
    drawn = (chance * survivors[species][:, None]).long().minimum(survivors[species][:, None] - 1)
    first, second = drawn.amin(1), drawn.amax(1)  # of sorted genomes, the smaller index is the fitter
    elite = (place < elitism) & (place < sizes[species])
    first, second = (torch.where(elite, place, index) for index in (first, second))
    return Parents(order[starts[species] + first], order[starts[species] + second], elite)


def reproduce(
    population: Population,
    parents: Parents,
    settings: Settings,
    *,
    generator: torch.Generator,
    engine: Engine = "auto",
) -> Population:
    """Children: crossover of the parents, then mutation; elites as they are.

    Args:
        population: with empty rows where children shall grow.
        parents: of each child.
        settings: rates.
        generator: of all random numbers.
        engine: array operations or loops; children are the same.
    """
    fitter = population[parents.fitter]
    options: dict[str, Any] = {"generator": generator, "device": fitter.nodes.device, "dtype": fitter.nodes.dtype}
    children = crossover(
        fitter,
        population[parents.other],
        node_picks=torch.rand(*fitter.nodes.shape[:2], 4, **options) < 0.5,
        connection_picks=torch.rand(*fitter.connections.shape[:2], 2, **options) < 0.5,
        engine=engine,
    )
    draws = draw_mutations(children, generator)
    first_key = int(population.nodes[..., KEY].nan_to_num(nan=0.0).amax()) + 1
    keys = keys_for_new_nodes(children, draws, settings, first_key=first_key)
    children = mutate(children, draws, settings, keys, engine=engine)
    keep = parents.elite[:, None, None]
    return Population(
        torch.where(keep, fitter.nodes, children.nodes),
        torch.where(keep, fitter.connections, children.connections),
        population.inputs,
        population.outputs,
    )
