"""Mutation of a whole population: structure first, then the attributes of every gene.

All random numbers are drawn beforehand, one row a genome, so that a genome mutates alike alone and among others.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.optim.neuroevolution.engines import Engine, runs_compiled
from polyad.optim.neuroevolution.population import (
    ACTIVATION,
    AGGREGATION,
    BIAS,
    ENABLED,
    RESPONSE,
    WEIGHT,
    Population,
)
from polyad.optim.neuroevolution.settings import NumberRates, Settings
from polyad.optim.neuroevolution.structure import (
    add_connection,
    add_node,
    delete_connection,
    delete_node,
    new_node_keys,
)

ADD_NODE, SPLIT, DELETE_NODE, NODE, ADD_CONNECTION, FROM, TO, DELETE_CONNECTION, CONNECTION = range(9)
"""Columns of `Draws.structure`."""


@final
@dataclass(frozen=True)
class Draws:
    """Random numbers of one mutation, a row a genome; uniform in [0, 1) but for the normal ones.

    Attributes:
        structure: whether and where each structural mutation acts.
        weight: normal, of a new connection.
        node_chance: of changing bias, response, aggregation, activation.
        node_normal: normal, for bias and response.
        node_choice: of a new aggregation and activation.
        connection_chance: of changing weight and switch.
        connection_normal: normal, for the weight.
    """

    structure: Float[Tensor, "genomes 9"]
    weight: Float[Tensor, " genomes"]
    node_chance: Float[Tensor, "genomes nodes 4"]
    node_normal: Float[Tensor, "genomes nodes 2"]
    node_choice: Float[Tensor, "genomes nodes 2"]
    connection_chance: Float[Tensor, "genomes connections 2"]
    connection_normal: Float[Tensor, "genomes connections"]

    def __getitem__(self, genomes: slice | Tensor) -> Draws:
        """Numbers of some genomes."""
        return Draws(*(getattr(self, field.name)[genomes] for field in fields(self)))


def draw_mutations(population: Population, generator: torch.Generator) -> Draws:
    """Random numbers for one mutation of all rows of a population."""
    genomes, nodes = population.nodes.shape[:2]
    connections = population.connections.shape[1]
    options: dict[str, Any] = {
        "generator": generator,
        "device": population.nodes.device,
        "dtype": population.nodes.dtype,
    }
    return Draws(
        structure=torch.rand(genomes, 9, **options),
        weight=torch.randn(genomes, **options),
        node_chance=torch.rand(genomes, nodes, 4, **options),
        node_normal=torch.randn(genomes, nodes, 2, **options),
        node_choice=torch.rand(genomes, nodes, 2, **options),
        connection_chance=torch.rand(genomes, connections, 2, **options),
        connection_normal=torch.randn(genomes, connections, **options),
    )


def keys_for_new_nodes(
    population: Population, draws: Draws, settings: Settings, *, first_key: int
) -> Int[Tensor, " genomes"]:
    """Keys for `mutate`: genomes that split the same connection in this generation get the same."""
    chance, choice = draws.structure[:, ADD_NODE], draws.structure[:, SPLIT]
    return new_node_keys(population, chance, choice, probability=settings.add_node, first_key=first_key)


def mutate(
    population: Population,
    draws: Draws,
    settings: Settings,
    keys: Int[Tensor, " genomes"],
    *,
    engine: Engine = "auto",
) -> Population:
    """The population after one mutation of every genome.

    Args:
        population: with empty rows where genomes shall grow.
        draws: random numbers, from `draw_mutations`.
        settings: rates.
        keys: of nodes that may be inserted, from `keys_for_new_nodes`.
        engine: array operations or loops.
    """
    if runs_compiled(engine, population.nodes):
        return _mutated_by_loops(population, draws, settings, keys)
    return mutate_attributes(_altered(population, draws, settings, keys), draws, settings)


def mutate_attributes(population: Population, draws: Draws, settings: Settings) -> Population:
    """Numbers, functions and switches of every gene; the structure stays."""
    nodes, connections = population.nodes.clone(), population.connections.clone()
    for place, (column, rates) in enumerate(((BIAS, settings.bias), (RESPONSE, settings.response))):
        nodes[..., column] = _moved(
            nodes[..., column], draws.node_chance[..., place], draws.node_normal[..., place], rates
        )
    functions = ((AGGREGATION, settings.aggregation_numbers), (ACTIVATION, settings.activation_numbers))
    for place, (column, numbers) in enumerate(functions):
        if len(numbers) > 1:
            options = torch.tensor(numbers, dtype=nodes.dtype, device=nodes.device)
            drawn = options[(draws.node_choice[..., place] * len(numbers)).long()]
            acts = (draws.node_chance[..., 2 + place] < settings.replace_function) & population.has_node
            nodes[..., column] = torch.where(acts, drawn, nodes[..., column])
    connections[..., WEIGHT] = _moved(
        connections[..., WEIGHT], draws.connection_chance[..., 0], draws.connection_normal, settings.weight
    )
    switch = connections[..., ENABLED]
    connections[..., ENABLED] = torch.where(draws.connection_chance[..., 1] < settings.toggle, 1 - switch, switch)
    return Population(nodes, connections, population.inputs, population.outputs)


def _moved(values: Tensor, chance: Tensor, normal: Tensor, rates: NumberRates) -> Tensor:
    """Numbers after a step or a new draw; NaN stays NaN."""
    if rates.perturb + rates.replace == 0:
        return values
    stepped = values + rates.step * normal
    drawn = (rates.mean + rates.deviation * normal).masked_fill(values.isnan(), torch.nan)
    moved = torch.where(chance < rates.perturb, stepped, values)
    moved = torch.where((chance >= rates.perturb) & (chance < rates.perturb + rates.replace), drawn, moved)
    return moved.clamp_(-rates.limit, rates.limit)


def _altered(population: Population, draws: Draws, settings: Settings, keys: Tensor) -> Population:
    chance = draws.structure.unbind(1)
    population = add_node(
        population,
        chance[ADD_NODE],
        chance[SPLIT],
        keys,
        probability=settings.add_node,
        aggregation=settings.aggregation_numbers[0],
        activation=settings.activation_numbers[0],
    )
    population = delete_node(population, chance[DELETE_NODE], chance[NODE], probability=settings.delete_node)
    population = add_connection(
        population,
        chance[ADD_CONNECTION],
        chance[FROM],
        chance[TO],
        settings.weight.mean + settings.weight.deviation * draws.weight,
        probability=settings.add_connection,
        feed_forward=settings.feed_forward,
    )
    return delete_connection(
        population, chance[DELETE_CONNECTION], chance[CONNECTION], probability=settings.delete_connection
    )


def _mutated_by_loops(population: Population, draws: Draws, settings: Settings, keys: Tensor) -> Population:
    from polyad.optim.neuroevolution._evolution_kernels import alter, shift

    nodes = population.nodes.clone(memory_format=torch.contiguous_format)
    connections = population.connections.clone(memory_format=torch.contiguous_format)
    weight = settings.weight.mean + settings.weight.deviation * draws.weight
    alter(
        *(tensor.contiguous().numpy() for tensor in (nodes, connections, draws.structure, weight, keys)),
        (settings.add_node, settings.delete_node, settings.add_connection, settings.delete_connection),
        (float(settings.aggregation_numbers[0]), float(settings.activation_numbers[0])),
        population.inputs,
        population.outputs,
        settings.feed_forward,
    )
    numbers = (
        draws.node_chance, draws.node_normal, draws.node_choice, draws.connection_chance, draws.connection_normal
    )  # fmt: skip
    shift(
        nodes.numpy(),
        connections.numpy(),
        tuple(tensor.contiguous().numpy() for tensor in numbers),
        *(tuple(map(float, astuple(rates))) for rates in (settings.bias, settings.response, settings.weight)),
        np.array(settings.aggregation_numbers),
        np.array(settings.activation_numbers),
        float(settings.replace_function),
        float(settings.toggle),
    )
    return Population(nodes, connections, population.inputs, population.outputs)
