"""Networks of a whole population, evaluated together.

`transform` gives every live node its level (Kahn's algorithm, for all genomes at once) and writes all networks as one
list of nodes by level and one list of connections by node, without padding: the work of a level is the number of its
connections. `forward` goes through the levels: a node is activation(bias + response * aggregation(weight * source)).
Connections switched off and nodes from which no output follows take no part.

In recurrent mode all nodes form one level, which is computed a fixed number of times from zeros, each time from the
values before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.neuroevolution.engines import Engine, runs_compiled
from polyad.optim.neuroevolution.functions import ACTIVATIONS, REDUCTIONS
from polyad.optim.neuroevolution.population import (
    ACTIVATION,
    AGGREGATION,
    BIAS,
    ENABLED,
    RESPONSE,
    SOURCE,
    TARGET,
    WEIGHT,
    Population,
    match,
    trimmed,
)

_FUNCTIONS = tuple(ACTIVATIONS.values())


@final
@dataclass(frozen=True)
class Program:
    """What `forward` runs. Slots hold values: first the inputs of all genomes, then the nodes by level.

    Attributes:
        levels: number of the first node of every level, and the number of nodes.
        starts: number of the first connection of every node, and the number of connections.
        source: slot from which each connection comes.
        weight: of each connection.
        bias, response, aggregation, activation: of each node.
        genome: of each node.
        output: slot of each output.
        genomes, inputs: numbers.
        rounds: how often the levels are computed.
    """

    levels: tuple[int, ...]
    starts: Int[Tensor, " nodes_and_one"]
    source: Int[Tensor, " connections"]
    weight: Float[Tensor, " connections"]
    bias: Float[Tensor, " nodes"]
    response: Float[Tensor, " nodes"]
    aggregation: Int[Tensor, " nodes"]
    activation: Int[Tensor, " nodes"]
    genome: Int[Tensor, " nodes"]
    output: Int[Tensor, "genomes outputs"]
    genomes: int
    inputs: int
    rounds: int

    @cached_property
    def target(self) -> Tensor:
        """Node of each connection."""
        return torch.repeat_interleave(torch.arange(len(self.bias), device=self.bias.device), self.starts.diff())

    @cached_property
    def bounds(self) -> list[int]:
        """First connection of every level, and the number of connections."""
        return self.starts[torch.tensor(self.levels, device=self.starts.device)].tolist()

    @cached_property
    def functions(self) -> tuple[list[int], list[int]]:
        """Numbers of the aggregations and of the activations that occur."""
        return self.aggregation.unique().tolist(), self.activation.unique().tolist()

    @cached_property
    def arrays(self) -> tuple[Any, ...]:
        """What the compiled loop takes."""
        names = ("starts", "source", "weight", "bias", "response", "aggregation", "activation")
        return tuple(getattr(self, name).numpy() for name in names)

    def __getitem__(self, genomes: Int[Tensor, " chosen"]) -> Program:
        """Program of some genomes, by their indices in increasing order."""
        kept_genome = torch.zeros(self.genomes, dtype=torch.bool, device=self.bias.device)
        kept_genome[genomes] = True
        kept = kept_genome[self.genome]
        kept_connection = kept[self.target]
        slots = torch.cat([kept_genome.repeat_interleave(self.inputs), kept])
        new_slot = slots.cumsum(0) - 1
        before = torch.cat([kept.new_zeros(1, dtype=torch.long), kept.cumsum(0)])
        counts = self.starts.diff()[kept].cumsum(0)
        return Program(
            levels=tuple(before[torch.tensor(self.levels, device=before.device)].tolist()),
            starts=torch.cat([counts.new_zeros(1), counts]),
            source=new_slot[self.source[kept_connection]],
            weight=self.weight[kept_connection],
            bias=self.bias[kept],
            response=self.response[kept],
            aggregation=self.aggregation[kept],
            activation=self.activation[kept],
            genome=(kept_genome.cumsum(0) - 1)[self.genome[kept]],
            output=new_slot[self.output[genomes]],
            genomes=len(genomes),
            inputs=self.inputs,
            rounds=self.rounds,
        )


def transform(population: Population, *, recurrent: bool = False, rounds: int = 10, engine: Engine = "auto") -> Program:
    """The networks of a population as one program.

    Args:
        population: genomes, in which no gene stands twice (`check_population` looks for that).
        recurrent: cycles are allowed, and `rounds` steps are made.
        rounds: number of steps in recurrent mode.
        engine: what finds the levels; they are the same.

    Raises:
        InputError: an output or an end of a connection is missing, or there is a cycle among connections that are
            switched on, without `recurrent`.
    """
    if rounds < 1:
        raise InputError(f"rounds: must be at least 1, got {rounds}")
    population = trimmed(population)
    find = _ordered_by_loops if runs_compiled(engine, population.nodes) else _ordered
    level, source, target, output, uses = find(population, recurrent)
    genomes, inputs = len(population), population.inputs
    genome, row = (level >= 0).nonzero(as_tuple=True)
    depth, order = level[genome, row].sort(stable=True)
    genome, row = genome[order], row[order]
    node = torch.zeros_like(level)
    node[genome, row] = torch.arange(len(genome), device=node.device)
    owner, connection = uses.nonzero(as_tuple=True)
    target_node, order = node[owner, target[owner, connection]].sort(stable=True)
    owner, connection = owner[order], connection[order]
    genes = population.connections[owner, connection]
    source_key = genes[:, SOURCE].long()
    slot = torch.where(
        source_key < inputs,
        owner * inputs + source_key,
        genomes * inputs + node[owner, source[owner, connection]],
    )
    counts = torch.bincount(target_node, minlength=len(genome)).cumsum(0)
    attributes = population.nodes[genome, row]
    return Program(
        levels=(0, *torch.bincount(depth).cumsum(0).tolist()),
        starts=torch.cat([counts.new_zeros(1), counts]),
        source=slot,
        weight=genes[:, WEIGHT].contiguous(),
        bias=attributes[:, BIAS].contiguous(),
        response=attributes[:, RESPONSE].contiguous(),
        aggregation=attributes[:, AGGREGATION].long(),
        activation=attributes[:, ACTIVATION].long(),
        genome=genome,
        output=genomes * inputs + node.gather(1, output),
        genomes=genomes,
        inputs=inputs,
        rounds=rounds if recurrent else 1,
    )


@torch.no_grad()
def forward(
    networks: Population | Program,
    inputs: Float[Tensor, "*genomes points inputs"],
    *,
    engine: Engine = "auto",
) -> Float[Tensor, "genomes points outputs"]:
    """Outputs of all networks.

    Args:
        networks: a program, or a population that is transformed first.
        inputs: the same points for all genomes, (points, inputs), or points of their own, (genomes, points, inputs).
        engine: array operations or loops.

    Raises:
        InputError: inputs of another shape, dtype or device than the networks'.
    """
    program = transform(networks, engine=engine) if isinstance(networks, Population) else networks
    points = inputs.expand(program.genomes, -1, -1) if inputs.ndim == 2 else inputs
    if points.ndim != 3 or len(points) != program.genomes or points.shape[2] != program.inputs:
        raise InputError(
            f"inputs: shape {tuple(inputs.shape)}; give (points, {program.inputs}) or "
            f"({program.genomes}, points, {program.inputs})"
        )
    if points.dtype != program.weight.dtype or points.device != program.weight.device:
        raise InputError(
            f"inputs: {points.dtype} on {points.device}, the networks {program.weight.dtype} on "
            f"{program.weight.device}; convert one of them"
        )
    first = program.genomes * program.inputs
    values = points.new_zeros(first + len(program.bias), points.shape[1])
    values[:first] = points.transpose(1, 2).reshape(first, -1)
    if runs_compiled(engine, points):
        from polyad.optim.neuroevolution._kernels import run

        run(*program.arrays, values.numpy(), first, program.rounds, len(program.levels) == 2)
    else:
        _run(program, values)
    return values[program.output].transpose(1, 2)


def _run(program: Program, values: Tensor) -> None:
    """Fill the slots of the nodes, level by level."""
    first = program.genomes * program.inputs
    aggregations, activations = program.functions
    for _ in range(program.rounds):
        for level, (begin, end) in enumerate(zip(program.levels, program.levels[1:], strict=False)):
            some = slice(program.bounds[level], program.bounds[level + 1])
            incoming = values[program.source[some]] * program.weight[some, None]
            total = _aggregated(incoming, program.target[some] - begin, program.aggregation[begin:end], aggregations)
            total = program.bias[begin:end, None] + program.response[begin:end, None] * total
            values[first + begin : first + end] = _activated(total, program.activation[begin:end], activations)


def _aggregated(incoming: Tensor, target: Tensor, which: Tensor, occurring: list[int]) -> Tensor:
    total = incoming.new_zeros(len(which), incoming.shape[1])
    for number in occurring:
        reduced = torch.zeros_like(total).scatter_reduce_(
            0, target[:, None].expand_as(incoming), incoming, REDUCTIONS[number], include_self=False
        )
        total = reduced if len(occurring) == 1 else torch.where((which == number)[:, None], reduced, total)
    return total


def _activated(total: Tensor, which: Tensor, occurring: list[int]) -> Tensor:
    if len(occurring) == 1:
        return _FUNCTIONS[occurring[0]](total)
    values = torch.empty_like(total)
    for number in occurring:
        chosen = which == number
        values[chosen] = _FUNCTIONS[number](total[chosen])
    return values


_Ordered = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Level of every row of nodes (-1: takes no part), rows from and to which connections lead, rows of the outputs, and
which connections take part."""


def _ordered(population: Population, recurrent: bool) -> _Ordered:
    codes, inputs = population.node_codes, population.inputs
    keys = torch.arange(inputs, inputs + population.outputs, device=codes.device).expand(len(codes), -1)
    output, found = match(keys, codes)
    _refuse(~found.all(1), _WRONG[1])
    source_key, target_key = (
        population.connections[..., column].nan_to_num(nan=-1.0).long() for column in (SOURCE, TARGET)
    )
    (source, source_found), (target, target_found) = match(source_key, codes), match(target_key, codes)
    from_node = source_key >= inputs
    live = population.has_connection
    _refuse((live & ~(target_found & (source_found | ~from_node))).any(1), _WRONG[2])
    uses = live & (population.connections[..., ENABLED] == 1)
    needed = torch.zeros_like(codes, dtype=torch.uint8).scatter_(1, output, 1)
    for _ in range(codes.shape[1]):
        grown = needed.scatter_reduce(1, source, needed.gather(1, target) * (uses & from_node), "amax")
        if torch.equal(grown, needed):
            break
        needed = grown
    uses &= needed.gather(1, target).bool()
    level = needed.long() - 1
    if not recurrent:
        _set_levels(level, source, target, uses & from_node)
    return level, source, target, output, uses


def _set_levels(level: Tensor, source: Tensor, target: Tensor, between: Tensor) -> None:
    """Length of the longest walk that leads to each node: those without open predecessors are placed in every round."""
    waiting, number = level >= 0, 0
    while bool(waiting.any()):
        open_links = (waiting.gather(1, source) & between).to(torch.uint8)
        blocked = torch.zeros_like(level, dtype=torch.uint8).scatter_reduce_(1, target, open_links, "amax").bool()
        placed = waiting & ~blocked
        if not bool(placed.any()):
            _refuse(waiting.any(1), _WRONG[3])
        level[placed] = number
        waiting = waiting & ~placed
        number += 1


def _ordered_by_loops(population: Population, recurrent: bool) -> _Ordered:
    from polyad.optim.neuroevolution._kernels import order

    genomes, rows = population.nodes.shape[:2]
    links = population.connections.shape[1]
    level = torch.full((genomes, rows), -1)
    source, target = (torch.zeros(genomes, links, dtype=torch.long) for _ in range(2))
    output = torch.zeros(genomes, population.outputs, dtype=torch.long)
    uses = torch.zeros(genomes, links, dtype=torch.bool)
    found = [tensor.numpy() for tensor in (level, source, target, output, uses)]
    genome, why = order(
        *population.arrays(),
        population.inputs,
        population.outputs,
        recurrent,
        *found,
    )
    if why:
        raise InputError(f"population: genome {genome} {_WRONG[why]}")
    return level, source, target, output, uses


_WRONG = {
    1: "lacks an output; give every output key a row",
    2: "has a connection from or to a node that does not exist; delete it",
    3: "has a cycle; transform it with recurrent=True",
}


def _refuse(wrong: Tensor, what: str) -> None:
    if bool(wrong.any()):
        raise InputError(f"population: genome {int(wrong.int().argmax())} {what}")
