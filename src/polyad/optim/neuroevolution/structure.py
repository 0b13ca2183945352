"""Structural mutations of a whole population: a node or a connection comes or goes, for every genome at once.

Each takes uniform numbers, one a genome, and does nothing where a genome's number says so, where there is nothing to
take, or where its rows are full. A genome's result depends on its own rows and numbers alone.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.optim.neuroevolution.population import (
    ENABLED,
    KEY,
    SOURCE,
    TARGET,
    WEIGHT,
    Population,
    match,
)

Chance = Float[Tensor, " genomes"]


def chosen_row(
    among: Bool[Tensor, "genomes rows"], chance: Chance
) -> tuple[Int[Tensor, " genomes"], Bool[Tensor, " genomes"]]:
    """One of the marked rows of every genome, each as likely as another, and whether there is one."""
    ranks = among.cumsum(1)
    count = ranks[:, -1] if among.shape[1] else among.sum(1)
    wanted = (chance * count).long().clamp_max_((count - 1).clamp_min(0)) + 1
    row = (ranks < wanted[:, None]).sum(1).clamp_max_(max(among.shape[1] - 1, 0))
    return row, count > 0


def new_node_keys(
    population: Population, chance: Chance, choice: Chance, *, probability: float, first_key: int
) -> Int[Tensor, " genomes"]:
    """Keys of the nodes that `add_node` is about to insert: equal where genomes split the same connection.

    Args:
        population: before the mutation.
        chance: as for `add_node`.
        choice: as for `add_node`.
        probability: as for `add_node`.
        first_key: larger than all keys in use; what comes back counts from here without gaps.
    """
    if population.connections.shape[1] == 0:
        return torch.full((len(population),), first_key, device=population.nodes.device)
    row, there = chosen_row(population.has_connection, choice)
    codes = torch.where(there & (chance < probability), _at(population.connection_codes, row), -1)
    return first_key + torch.unique(codes, return_inverse=True)[1]


def add_node(
    population: Population,
    chance: Chance,
    choice: Chance,
    keys: Int[Tensor, " genomes"],
    *,
    probability: float,
    aggregation: int = 0,
    activation: int = 0,
) -> Population:
    """Split a connection: it is switched off, and a new node stands between two new ones with weights 1 and its own.

    Args:
        population: genomes.
        chance: acts where below `probability`.
        choice: which connection.
        keys: of the new nodes, each unused in its genome.
        probability: of the mutation.
        aggregation: number of the new nodes' aggregation.
        activation: number of the new nodes' activation.
    """
    nodes, connections = population.nodes, population.connections
    if connections.shape[1] < 3 or nodes.shape[1] == 0:
        return population
    row, there = chosen_row(population.has_connection, choice)
    free_node = ~population.has_node
    free = ~population.has_connection
    acts = there & (chance < probability) & free_node.any(1) & (free.sum(1) >= 2)
    old = _at(connections, row)
    key = keys.to(nodes.dtype)
    ones, zeros = torch.ones_like(key), torch.zeros_like(key)
    functions = [torch.full_like(key, number) for number in (aggregation, activation)]
    nodes = _written(nodes, free_node.int().argmax(1), torch.stack([key, zeros, ones, *functions], 1), acts)
    into = torch.stack([old[:, SOURCE], key, ones, ones], 1)
    out = torch.stack([key, old[:, TARGET], old[:, WEIGHT], ones], 1)
    old = old.clone()
    old[:, ENABLED] = 0
    first = free.int().argmax(1)
    second = (free.cumsum(1) < 2).sum(1).clamp_max(connections.shape[1] - 1)
    for place, values in ((row, old), (first, into), (second, out)):
        connections = _written(connections, place, values, acts)
    return replace(population, nodes=nodes, connections=connections)


def delete_node(population: Population, chance: Chance, choice: Chance, *, probability: float) -> Population:
    """Take away a hidden node and the connections from and to it."""
    if population.nodes.shape[1] == 0:
        return population
    hidden = population.nodes[..., KEY] >= population.inputs + population.outputs
    row, there = chosen_row(hidden, choice)
    acts = there & (chance < probability)
    key = torch.where(acts, _at(population.nodes[..., KEY], row), -1.0)[:, None]
    gone_node = population.nodes[..., KEY] == key
    gone = (population.connections[..., SOURCE] == key) | (population.connections[..., TARGET] == key)
    return replace(
        population,
        nodes=torch.where(gone_node[..., None], torch.nan, population.nodes),
        connections=torch.where(gone[..., None], torch.nan, population.connections),
    )


def add_connection(
    population: Population,
    chance: Chance,
    source_choice: Chance,
    target_choice: Chance,
    weight: Float[Tensor, " genomes"],
    *,
    probability: float,
    feed_forward: bool = True,
) -> Population:
    """Connect an input or node to a node; nothing happens where they are connected or a cycle would close.

    Switched-off connections count for cycles, so that switching them on later closes none.
    """
    if population.connections.shape[1] == 0:
        return population
    inputs, live = population.inputs, population.has_node
    every = torch.cat([live.new_ones(len(live), inputs), live], 1)
    place, _ = chosen_row(every, source_choice)
    row = (place - inputs).clamp_min(0)
    target_row, _ = chosen_row(live, target_choice)
    keys = population.nodes[..., KEY]
    source = torch.where(place < inputs, place.to(keys.dtype), _at(keys, row))
    target = _at(keys, target_row)
    same = (population.connections[..., SOURCE] == source[:, None]) & (
        population.connections[..., TARGET] == target[:, None]
    )
    free = ~population.has_connection
    acts = (chance < probability) & ~same.any(1) & free.any(1)
    if feed_forward:
        start = torch.zeros_like(live).scatter_(1, target_row[:, None], True)
        acts &= (place < inputs) | ~_at(reachable(population, start), row)
    values = torch.stack([source, target, weight, torch.ones_like(weight)], 1)
    connections = _written(population.connections, free.int().argmax(1), values, acts)
    return replace(population, connections=connections)


def delete_connection(population: Population, chance: Chance, choice: Chance, *, probability: float) -> Population:
    """Take away a connection."""
    if population.connections.shape[1] == 0:
        return population
    row, there = chosen_row(population.has_connection, choice)
    nothing = torch.full_like(population.connections[:, 0], torch.nan)
    connections = _written(population.connections, row, nothing, there & (chance < probability))
    return replace(population, connections=connections)


def reachable(population: Population, start: Bool[Tensor, "genomes nodes"]) -> Bool[Tensor, "genomes nodes"]:
    """Nodes to which connections, switched on or off, lead from any node in `start`, those themselves included.

    One pass over the connections a step of the longest walk, for all genomes together.
    """
    codes = population.node_codes
    source, from_node = match(_keys(population, SOURCE), codes)
    target, live = match(_keys(population, TARGET), codes)
    live = live & from_node
    reached = start.to(torch.uint8)
    for _ in range(codes.shape[1]):
        carried = reached.gather(1, source) * live
        grown = reached.scatter_reduce(1, target, carried, "amax")
        if torch.equal(grown, reached):
            break
        reached = grown
    return reached.bool()


def _keys(population: Population, column: int) -> Tensor:
    return population.connections[..., column].nan_to_num(nan=-1.0).long()


def _at(rows: Tensor, index: Tensor) -> Tensor:
    """Row `index[g]` of genome g."""
    return rows[torch.arange(len(rows), device=rows.device), index]


def _written(rows: Tensor, index: Tensor, values: Tensor, acts: Tensor) -> Tensor:
    """With `values[g]` in row `index[g]` of genome g where it acts."""
    rows = rows.clone()
    genomes = torch.arange(len(rows), device=rows.device)
    rows[genomes, index] = torch.where(acts[:, None], values, rows[genomes, index])
    return rows
