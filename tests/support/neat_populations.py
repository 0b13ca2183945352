"""Populations with grown genomes for tests."""

from __future__ import annotations

import torch

from polyad.optim.neuroevolution import Population, Settings, draw_mutations, initial_population, keys_for_new_nodes
from polyad.optim.neuroevolution.mutation import mutate
from polyad.optim.neuroevolution.population import KEY, packed, resized
from polyad.problems.neat_reference import as_genomes

__all__ = ["VARIED", "as_genomes", "grown", "shuffled"]

VARIED = Settings(
    add_node=0.5,
    add_connection=0.8,
    delete_node=0.1,
    delete_connection=0.15,
    toggle=0.05,
    aggregations=("sum", "mean", "product", "max", "min"),
    activations=("tanh", "steep_sigmoid", "sigmoid", "identity", "relu", "sin", "gauss", "abs"),
    replace_function=0.3,
    maximum_nodes=24,
    maximum_connections=40,
)


def grown(
    size: int, mutations: int, *, inputs: int = 3, outputs: int = 2, seed: int = 0, settings: Settings = VARIED
) -> Population:
    """Genomes after many mutations."""
    generator = torch.Generator().manual_seed(seed)
    population = initial_population(size, inputs, outputs, generator=generator)
    population = resized(population, settings.maximum_nodes, settings.maximum_connections)
    for _ in range(mutations):
        draws = draw_mutations(population, generator)
        first = int(population.nodes[..., KEY].nan_to_num(nan=0).amax()) + 1
        population = packed(
            mutate(population, draws, settings, keys_for_new_nodes(population, draws, settings, first_key=first))
        )
    return population


def shuffled(population: Population, *, seed: int = 0) -> Population:
    """Rows of every genome in an order of its own, holes among them."""
    generator = torch.Generator().manual_seed(seed)
    tables = []
    for rows in (population.nodes, population.connections):
        order = torch.rand(rows.shape[:2], generator=generator).argsort(1)
        tables.append(rows.gather(1, order[..., None].expand_as(rows)))
    return Population(*tables, population.inputs, population.outputs)
