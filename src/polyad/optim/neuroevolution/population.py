"""Genomes of a whole population in two tensors: rows of nodes and of connections, NaN where a row is empty.

Inputs have the keys 0 to n - 1 and no row; outputs the next m keys, and every genome keeps their rows; hidden nodes
have larger keys. A connection is known by its two keys; their pair is one integer, the code, by which genomes are
aligned.

Rows may stand in any order with holes between them; what evolves a population packs the live rows to the front, so that
work can be cut to the largest genome.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.neuroevolution.engines import Engine, runs_compiled

KEY, BIAS, RESPONSE, AGGREGATION, ACTIVATION = range(5)
"""Columns of nodes."""

SOURCE, TARGET, WEIGHT, ENABLED = range(4)
"""Columns of connections; `ENABLED` is 1 or 0."""

EMPTY = 2**62
"""Code of an empty row: larger than all others."""

_BASE = 2**31


@final
@dataclass(frozen=True)
class Population:
    """Genomes of one size: `nodes` (genomes, rows, 5), `connections` (genomes, rows, 4), NaN rows are empty.

    Its tensors are never changed in place: what is known of them is kept.

    Attributes:
        nodes: key, bias, response, aggregation, activation; the last two number `AGGREGATIONS` and `ACTIVATIONS`.
        connections: source's key, target's key, weight, enabled.
        inputs: number of inputs, whose keys are 0 to inputs - 1.
        outputs: number of outputs, whose keys follow.
    """

    nodes: Float[Tensor, "genomes nodes 5"]
    connections: Float[Tensor, "genomes connections 4"]
    inputs: int
    outputs: int

    def arrays(self) -> tuple[Any, Any]:
        """Nodes and connections for compiled loops."""
        return self.nodes.contiguous().numpy(), self.connections.contiguous().numpy()

    def __len__(self) -> int:
        """Number of genomes."""
        return len(self.nodes)

    def __getitem__(self, genomes: slice | Tensor) -> Population:
        """Genomes by a slice, a mask or a tensor of indices."""
        return Population(self.nodes[genomes], self.connections[genomes], self.inputs, self.outputs)

    @cached_property
    def has_node(self) -> Bool[Tensor, "genomes nodes"]:
        """Which rows of nodes are live."""
        return ~self.nodes[..., KEY].isnan()

    @cached_property
    def has_connection(self) -> Bool[Tensor, "genomes connections"]:
        """Which rows of connections are live."""
        return ~self.connections[..., SOURCE].isnan()

    @cached_property
    def node_codes(self) -> Int[Tensor, "genomes nodes"]:
        """Keys of the nodes, `EMPTY` where there is none."""
        return self.nodes[..., KEY].nan_to_num(nan=EMPTY).long()

    @cached_property
    def connection_codes(self) -> Int[Tensor, "genomes connections"]:
        """One integer a connection, from its two keys; `EMPTY` where there is none."""
        source, target = self.connections[..., SOURCE], self.connections[..., TARGET]
        codes = source.nan_to_num(nan=0.0).long() * _BASE + target.nan_to_num(nan=0.0).long()
        return codes.masked_fill_(~self.has_connection, EMPTY)


def initial_population(
    size: int,
    inputs: int,
    outputs: int,
    *,
    generator: torch.Generator,
    deviation: float = 1.0,
    aggregation: int = 0,
    activation: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Population:
    """Genomes without hidden nodes, every input connected to every output; weights and biases normal.

    Args:
        size: number of genomes.
        inputs: number of inputs.
        outputs: number of outputs.
        generator: of the numbers, which are drawn on its device.
        deviation: standard deviation of weights and biases.
        aggregation: number of the nodes' aggregation.
        activation: number of the nodes' activation.
        dtype: of both tensors; float32 holds keys up to 2^24 exactly.
    """
    if min(size, inputs, outputs) < 1:
        raise InputError(f"population: size {size}, inputs {inputs}, outputs {outputs}; all must be at least 1")
    options: dict[str, Any] = {"dtype": dtype, "device": generator.device}
    nodes = torch.zeros(size, outputs, 5, **options)
    nodes[..., KEY] = torch.arange(inputs, inputs + outputs, **options)
    nodes[..., BIAS] = deviation * torch.randn(size, outputs, generator=generator, **options)
    nodes[..., RESPONSE] = 1.0
    nodes[..., AGGREGATION], nodes[..., ACTIVATION] = aggregation, activation
    connections = torch.ones(size, inputs * outputs, 4, **options)
    connections[..., SOURCE] = torch.arange(inputs, **options).repeat_interleave(outputs)
    connections[..., TARGET] = nodes[0, :, KEY].repeat(inputs)
    connections[..., WEIGHT] = deviation * torch.randn(size, inputs * outputs, generator=generator, **options)
    return Population(nodes, connections, inputs, outputs)


def packed(population: Population, *, engine: Engine = "auto") -> Population:
    """Live rows to the front, in their order."""
    if runs_compiled(engine, population.nodes):
        from polyad.optim.neuroevolution._evolution_kernels import pack

        nodes, connections = (torch.full_like(t, torch.nan) for t in (population.nodes, population.connections))
        for rows, table in zip(population.arrays(), (nodes, connections), strict=True):
            pack(rows, table.numpy())
    else:
        nodes = _packed(population.nodes, population.has_node)
        connections = _packed(population.connections, population.has_connection)
    return Population(nodes, connections, population.inputs, population.outputs)


def resized(population: Population, nodes: int, connections: int) -> Population:
    """With so many rows: cut at the end, where rows must be empty, or filled with empty ones."""
    return Population(
        _resized(population.nodes, nodes),
        _resized(population.connections, connections),
        population.inputs,
        population.outputs,
    )


def trimmed(population: Population) -> Population:
    """Without the rows at the end that are empty in every genome."""
    lengths = []
    for live in (population.has_node, population.has_connection):
        used = live.any(0)
        lengths.append((used * torch.arange(1, len(used) + 1, device=used.device)).amax() if len(used) else used.sum())
    nodes, connections = torch.stack(lengths).tolist()
    if (nodes, connections) == (population.nodes.shape[1], population.connections.shape[1]):
        return population
    return resized(population, nodes, connections)


def match(
    wanted: Int[Tensor, "genomes wanted"], codes: Int[Tensor, "#genomes codes"]
) -> tuple[Int[Tensor, "genomes wanted"], Bool[Tensor, "genomes wanted"]]:
    """Row of every wanted code among `codes` of the same genome (or of the one genome there is), and whether it exists.

    Args:
        wanted: integers; `EMPTY` is never found.
        codes: integers, each at most once in a genome but for `EMPTY`.
    """
    if codes.shape[1] == 0:
        return torch.zeros_like(wanted), torch.zeros_like(wanted, dtype=torch.bool)
    ordered, order = codes.sort(1)
    if len(codes) == 1 and len(wanted) > 1:
        place = torch.searchsorted(ordered[0], wanted.contiguous()).clamp_(max=codes.shape[1] - 1)
        return order[0][place], (ordered[0][place] == wanted) & (wanted != EMPTY)
    place = torch.searchsorted(ordered, wanted.contiguous()).clamp_(max=codes.shape[1] - 1)
    return order.gather(1, place), (ordered.gather(1, place) == wanted) & (wanted != EMPTY)


def check_population(population: Population) -> None:
    """Refuse a population that no evolution could have made.

    Raises:
        InputError: a genome lacks an output, has a key twice, or a connection without source or target.
    """
    inputs, outputs = population.inputs, population.outputs
    nodes, connections = population.node_codes, population.connection_codes
    output_keys = torch.arange(inputs, inputs + outputs, device=nodes.device).expand(len(nodes), -1)
    _refuse(~match(output_keys, nodes)[1].all(1), "lacks an output")
    for codes, what in ((nodes, "a node"), (connections, "a connection")):
        ordered = codes.sort(1).values
        _refuse(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != EMPTY)).any(1), f"has {what} twice")
    live = population.has_connection
    source, target = (population.connections[..., column].nan_to_num().long() for column in (SOURCE, TARGET))
    known = ((source < inputs) | match(source, nodes)[1]) & match(target, nodes)[1]
    _refuse((live & ~known).any(1), "has a connection from or to a node that does not exist")


def _refuse(wrong: Tensor, what: str) -> None:
    if bool(wrong.any()):
        raise InputError(f"population: genome {int(wrong.int().argmax())} {what}; build rows as Population describes")


def _packed(rows: Tensor, live: Tensor) -> Tensor:
    # a hole moves to the first place behind the live rows; ranks of live rows count from the front
    ranks = torch.where(live, live.cumsum(1) - 1, live.sum(1, keepdim=True) + (~live).cumsum(1) - 1)
    return torch.empty_like(rows).scatter_(1, ranks[..., None].expand_as(rows), rows)


def _resized(rows: Tensor, count: int) -> Tensor:
    missing = count - rows.shape[1]
    if missing <= 0:
        return rows[:, :count].contiguous()
    return torch.cat([rows, rows.new_full((len(rows), missing, rows.shape[2]), torch.nan)], 1)
