"""NEAT on lists and dictionaries: the same method as `polyad.optim.neuroevolution`, one genome after the other.

It is what the tensor form is measured against and checked with: plain Python, written to be fast as such (local names,
no classes for genes, networks reduced to what their outputs need). A genome has `nodes`, key -> [bias, response,
aggregation, activation], and `connections`, (source, target) -> [weight, enabled].
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from polyad.optim.neuroevolution import NEAT, Population
from polyad.optim.neuroevolution.settings import NumberRates, Settings


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


ACTIVATIONS: tuple[Callable[[float], float], ...] = (
    math.tanh,
    lambda x: _sigmoid(4.9 * x),
    _sigmoid,
    lambda x: x,
    lambda x: max(x, 0.0),
    math.sin,
    lambda x: math.exp(-x * x),
    abs,
)
"""In the order of `polyad.optim.neuroevolution.ACTIVATIONS`."""

AGGREGATIONS: tuple[Callable[[list[float]], float], ...] = (
    sum,
    lambda terms: sum(terms) / len(terms),
    math.prod,
    max,
    min,
)
"""In the order of `polyad.optim.neuroevolution.AGGREGATIONS`; of at least one term."""

Network = tuple[list[tuple[int, Callable, Callable, float, float, list[tuple[int, float]]]], int, range]
"""Nodes in an order in which they can be computed; number of values; places of the outputs."""


@final
@dataclass
class Genome:
    """Nodes by key, connections by pair of keys."""

    nodes: dict[int, list[float]]
    connections: dict[tuple[int, int], list[float]]

    def copy(self) -> Genome:
        """With lists of its own."""
        return Genome(
            {key: list(gene) for key, gene in self.nodes.items()},
            {key: list(gene) for key, gene in self.connections.items()},
        )


def as_genomes(population: Population) -> list[Genome]:
    """Each genome of a population as dictionaries, in the order of its rows."""
    return [
        Genome(
            {int(row[0]): row[1:] for row in nodes if row[0] == row[0]},
            {(int(row[0]), int(row[1])): row[2:] for row in connections if row[0] == row[0]},
        )
        for nodes, connections in zip(population.nodes.tolist(), population.connections.tolist(), strict=True)
    ]


def network(genome: Genome, inputs: int, outputs: int) -> Network:
    """What `activate` runs: the nodes that outputs need, in order."""
    incoming: dict[int, list[tuple[int, float]]] = {key: [] for key in genome.nodes}
    for (source, target), (weight, enabled) in genome.connections.items():
        if enabled:
            incoming[target].append((source, weight))
    order: list[int] = []
    seen: set[int] = set()
    for output in range(inputs, inputs + outputs):
        _visit(output, inputs, incoming, seen, order)
    # values are kept in a list: inputs, then outputs, then hidden nodes in the order of their computation
    place = {key: key for key in range(inputs + outputs)}
    for key in order:
        place.setdefault(key, len(place))
    steps = []
    for key in order:
        bias, response, aggregation, activation = genome.nodes[key]
        links = [(place[source], weight) for source, weight in incoming[key]]
        functions = (AGGREGATIONS[int(aggregation)], ACTIVATIONS[int(activation)])
        steps.append((place[key], *functions, bias, response, links))
    return steps, len(place), range(inputs, inputs + outputs)


def activate(net: Network, point: Sequence[float]) -> list[float]:
    """Outputs at one point."""
    steps, count, outputs = net
    values = [*point, *([0.0] * (count - len(point)))]
    for place, aggregate, act, bias, response, links in steps:
        total = aggregate([values[source] * weight for source, weight in links]) if links else 0.0
        values[place] = act(bias + response * total)
    return values[outputs.start : outputs.stop]


def distance(first: Genome, second: Genome, disjoint: float = 1.0, difference: float = 0.4) -> float:
    """Compatibility distance."""
    total = 0.0
    mine, theirs = first.nodes, second.nodes
    shared, differing = 0, 0.0
    for key, one in mine.items():
        two = theirs.get(key)
        if two is not None:
            shared += 1
            differing += abs(one[0] - two[0]) + abs(one[1] - two[1]) + (one[2] != two[2]) + (one[3] != two[3])
    total += (disjoint * (len(mine) + len(theirs) - 2 * shared) + difference * differing) / max(len(mine), len(theirs))
    links, others = first.connections, second.connections
    shared, differing = 0, 0.0
    for pair, one in links.items():
        two = others.get(pair)
        if two is not None:
            shared += 1
            differing += abs(one[0] - two[0]) + (one[1] != two[1])
    count = max(len(links), len(others), 1)
    return total + (disjoint * (len(links) + len(others) - 2 * shared) + difference * differing) / count


def crossover(
    fitter: Genome,
    other: Genome,
    pick: Callable[[int | tuple[int, int], int], bool],
) -> Genome:
    """Child with the genes of `fitter`; `pick(key, attribute)` says whether a homologous gene's comes from `other`."""
    child = fitter.copy()
    for key, gene in child.nodes.items():
        partner = other.nodes.get(key)
        if partner is not None:
            for k in range(4):
                if pick(key, k):
                    gene[k] = partner[k]
    for pair, link in child.connections.items():
        partner = other.connections.get(pair)
        if partner is not None:
            for k in range(2):
                if pick(pair, k):
                    link[k] = partner[k]
    return child


@final
class ListNEAT:
    """The evolution, by ask and tell as `NEAT`; `genomes` is the population."""

    def __init__(self, inputs: int, outputs: int, *, size: int, settings: Settings, seed: int = 0) -> None:
        """A first population, sorted into species."""
        self.inputs, self.outputs, self.size, self.settings = inputs, outputs, size, settings
        self.random = random.Random(seed)
        self.generation = 0
        functions = [float(settings.aggregation_numbers[0]), float(settings.activation_numbers[0])]
        keys = range(inputs, inputs + outputs)
        normal = self.random.gauss
        deviation = settings.weight.deviation
        self.genomes = [
            Genome(
                {key: [normal(0, deviation), 1.0, *functions] for key in keys},
                {(source, key): [normal(0, deviation), 1.0] for source in range(inputs) for key in keys},
            )
            for _ in range(size)
        ]
        # of each place: centre, members, best fitness, generation of the best
        self.centres: list[Genome | None] = [None] * settings.maximum_species
        self.members: list[list[int]] = [[] for _ in self.centres]
        self.best = [-math.inf] * len(self.centres)
        self.improved = [0] * len(self.centres)
        self._speciate()

    def networks(self) -> list[Network]:
        """Networks of all genomes."""
        return [network(genome, self.inputs, self.outputs) for genome in self.genomes]

    def take_over(self, neat: NEAT) -> None:
        """Stand where an evolution on tensors stands: its genomes and its species."""
        self.genomes = as_genomes(neat.ask())
        self.generation = neat.generation
        membership, places = neat.membership.tolist(), range(len(self.members))
        self.members = [[k for k, place in enumerate(membership) if place == own] for own in places]
        self.centres = [self.genomes[k] for k in neat.species.centres.tolist()]
        self.best, self.improved = neat.species.best.tolist(), neat.species.improved.tolist()

    def tell(self, fitness: list[float]) -> None:
        """Take the fitness of all genomes and go on to their children."""
        settings, draw = self.settings, self.random.random
        alive = [place for place, members in enumerate(self.members) if members]
        highest = {place: max(fitness[k] for k in self.members[place]) for place in alive}
        for place in alive:
            if highest[place] > self.best[place]:
                self.best[place], self.improved[place] = highest[place], self.generation
        by_rank = sorted(alive, key=lambda place: -highest[place])
        goes_on = [
            place
            for rank, place in enumerate(by_rank)
            if rank < settings.species_elitism or self.generation - self.improved[place] <= settings.stagnation
        ]
        numbers = self._spawn(goes_on)
        children = []
        self._new_keys: dict[tuple[int, int], int] = {}
        self._next_key = 1 + max(max(genome.nodes) for genome in self.genomes)
        for place, count in zip(goes_on, numbers, strict=True):
            members = sorted(self.members[place], key=lambda k: -fitness[k])
            survivors = min(max(2, math.ceil(settings.survival * len(members))), len(members))
            elites = min(settings.elitism, len(members), count)
            children += [self.genomes[k] for k in members[:elites]]
            for _ in range(count - elites):
                one, two = sorted((int(draw() * survivors), int(draw() * survivors)))
                fitter, other = self.genomes[members[one]], self.genomes[members[two]]
                child = crossover(fitter, other, lambda key, k: draw() < 0.5) if one != two else fitter.copy()
                self._mutate(child)
                children.append(child)
        for place in alive:
            if place not in goes_on:
                self.members[place] = []
        self.genomes = children
        self.generation += 1
        self._speciate()

    def _spawn(self, goes_on: list[int]) -> list[int]:
        """Children of each species by rank, in the order given, as `spawn_numbers` has it."""
        count, total = len(goes_on), self.size
        smallest = min(self.settings.smallest_species, total // count)
        above = []
        for rank, place in enumerate(goes_on):
            due = (count - rank) / (count * (count + 1) / 2) * total
            size = len(self.members[place])
            above.append(max(size + self.settings.spawn_change * (due - size) - smallest, 0.0))
        whole = sum(above)
        shares = [(part / whole if whole > 0 else 1 / count) * (total - smallest * count) for part in above]
        numbers = [int(share) for share in shares]
        left = total - smallest * count - sum(numbers)
        for k in sorted(range(count), key=lambda k: numbers[k] - shares[k])[:left]:
            numbers[k] += 1
        return [number + smallest for number in numbers]

    def _mutate(self, genome: Genome) -> None:
        settings, draw = self.settings, self.random.random
        nodes, connections = genome.nodes, genome.connections
        room = settings.maximum_connections
        if (
            draw() < settings.add_node
            and connections
            and len(nodes) < settings.maximum_nodes
            and len(connections) + 2 <= room
        ):
            pair = self.random.choice(list(connections))
            key = self._new_keys.get(pair)
            if key is None:
                key = self._new_keys[pair] = self._next_key
                self._next_key += 1
            functions = [float(settings.aggregation_numbers[0]), float(settings.activation_numbers[0])]
            nodes[key] = [0.0, 1.0, *functions]
            connections[pair][1] = 0.0
            connections[(pair[0], key)] = [1.0, 1.0]
            connections[(key, pair[1])] = [connections[pair][0], 1.0]
        if draw() < settings.delete_node:
            hidden = [key for key in nodes if key >= self.inputs + self.outputs]
            if hidden:
                gone = self.random.choice(hidden)
                del nodes[gone]
                for pair in [pair for pair in connections if gone in pair]:
                    del connections[pair]
        if draw() < settings.add_connection and len(connections) < room:
            keys = list(nodes)
            source, target = self.random.choice([*range(self.inputs), *keys]), self.random.choice(keys)
            if (source, target) not in connections and not leads_to(connections, target, source):
                weight = self.random.gauss(settings.weight.mean, settings.weight.deviation)
                connections[(source, target)] = [weight, 1.0]
        if draw() < settings.delete_connection and connections:
            del connections[self.random.choice(list(connections))]
        bias, response = settings.bias, settings.response
        for link in connections.values():
            link[0] = self._moved(link[0], settings.weight)
            if draw() < settings.toggle:
                link[1] = 1.0 - link[1]
        moves_response = response.perturb + response.replace > 0
        options = (settings.aggregation_numbers, settings.activation_numbers)
        for node in nodes.values():
            node[0] = self._moved(node[0], bias)
            if moves_response:
                node[1] = self._moved(node[1], response)
            for column, numbers in enumerate(options):
                if len(numbers) > 1 and draw() < settings.replace_function:
                    node[2 + column] = float(self.random.choice(numbers))

    def _moved(self, value: float, rates: NumberRates) -> float:
        chance = self.random.random()
        if chance < rates.perturb:
            value += self.random.gauss(0.0, rates.step)
        elif chance < rates.perturb + rates.replace:
            value = self.random.gauss(rates.mean, rates.deviation)
        return max(-rates.limit, min(rates.limit, value))

    def _speciate(self) -> None:
        settings, genomes = self.settings, self.genomes
        alive = [bool(members) for members in self.members]
        waiting = list(range(len(genomes)))
        nearest = [(math.inf, 0)] * len(genomes)
        self.members = [[] for _ in self.members]
        for place in sorted(range(len(alive)), key=lambda place: not alive[place]):
            founder = -1
            if not alive[place]:
                if not waiting:
                    break
                founder = waiting[0]
                self.centres[place] = genomes[founder]
                self.best[place], self.improved[place] = -math.inf, self.generation
            centre = self.centres[place]
            assert centre is not None
            left, closest = [], (math.inf, -1)
            for k in waiting:
                gap = distance(genomes[k], centre, settings.disjoint, settings.difference)
                if gap < settings.threshold or k == founder:
                    self.members[place].append(k)
                    if gap < closest[0]:
                        closest = (gap, k)
                else:
                    left.append(k)
                    if gap < nearest[k][0]:
                        nearest[k] = (gap, place)
            if closest[1] >= 0:
                self.centres[place] = genomes[closest[1]]
            waiting = left
        for k in waiting:
            place = nearest[k][1]
            if not self.members[place]:
                self.centres[place] = genomes[k]
            self.members[place].append(k)


def leads_to(connections: dict[tuple[int, int], list[float]], start: int, end: int) -> bool:
    """Whether connections, switched on or off, lead from one node to another, or the two are the same."""
    if start == end:
        return True
    after: dict[int, list[int]] = {}
    for source, target in connections:
        after.setdefault(source, []).append(target)
    waiting, seen = [start], {start}
    while waiting:
        for target in after.get(waiting.pop(), ()):
            if target == end:
                return True
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return False


def _visit(key: int, inputs: int, incoming: dict, seen: set[int], order: list[int]) -> None:
    """Predecessors first, by depth-first search."""
    if key in seen:
        return
    seen.add(key)
    for source, _ in incoming[key]:
        if source >= inputs:
            _visit(source, inputs, incoming, seen, order)
    order.append(key)
