"""Networks of a population: against recursion over dictionaries, neat-python, and by hand."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from neat_populations import as_genomes, grown, shuffled

from polyad.errors import InputError
from polyad.optim.neuroevolution import (
    ACTIVATIONS,
    AGGREGATIONS,
    Population,
    check_population,
    forward,
    initial_population,
    transform,
)
from polyad.optim.neuroevolution.population import ENABLED, RESPONSE, resized

ENGINES = ("torch", "compiled")


def recursion(genome, point, key, inputs):
    """Value of a node, straight from the definition."""
    if key < inputs:
        return point[key]
    bias, response, aggregation, activation = genome.nodes[key]
    terms = [
        weight * recursion(genome, point, source, inputs)
        for (source, target), (weight, enabled) in genome.connections.items()
        if target == key and enabled
    ]
    total = 0.0
    if terms:
        how = AGGREGATIONS[int(aggregation)]
        total = {
            "sum": sum(terms),
            "mean": sum(terms) / len(terms),
            "product": math.prod(terms),
            "max": max(terms),
            "min": min(terms),
        }[how]
    x = bias + response * total
    return {
        "tanh": math.tanh(x),
        "steep_sigmoid": 0.5 * (1 + math.tanh(0.5 * 4.9 * x)),
        "sigmoid": 0.5 * (1 + math.tanh(0.5 * x)),
        "identity": x,
        "relu": max(x, 0.0),
        "sin": math.sin(x),
        "gauss": math.exp(-min(x * x, 700.0)),
        "abs": abs(x),
    }[list(ACTIVATIONS)[int(activation)]]


@pytest.fixture(scope="module")
def population() -> Population:
    grown_population = grown(500, 12, seed=1)
    nodes = grown_population.nodes.clone()
    nodes[..., RESPONSE] *= 0.7  # another factor than one, so that its place in the formula shows
    return replace(grown_population, nodes=nodes)


@pytest.mark.parametrize("engine", ENGINES)
def test_500_random_genomes_agree_with_recursion_over_dictionaries(population: Population, engine: str) -> None:
    points = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = forward(population, points, engine=engine)
    wanted = torch.tensor(
        [
            [[recursion(genome, point, key, 3) for key in (3, 4)] for point in points.tolist()]
            for genome in as_genomes(population)
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    program = transform(population)
    assert len(program.levels) > 4
    assert program.functions == ([0, 1, 2, 3, 4], list(range(8)))


@pytest.mark.parametrize("engine", ENGINES)
def test_points_of_their_own_and_float32(population: Population, engine: str) -> None:
    points = torch.randn(500, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = forward(population, points, engine=engine)
    one_by_one = [forward(population[k : k + 1], points[k], engine=engine) for k in range(0, 500, 37)]
    torch.testing.assert_close(found[::37], torch.cat(one_by_one), rtol=1e-12, atol=1e-12)
    single = Population(population.nodes.float(), population.connections.float(), 3, 2)
    torch.testing.assert_close(forward(single, points.float(), engine=engine), found.float(), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_order_of_rows_changes_nothing(population: Population, engine: str) -> None:
    points = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    wanted = forward(population, points, engine=engine)
    torch.testing.assert_close(forward(shuffled(population), points, engine=engine), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_part_of_a_program(population: Population, engine: str) -> None:
    points = torch.randn(500, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    program = transform(population)
    some = torch.arange(0, 500, 7)
    part = program[some]
    assert torch.equal(forward(part, points[some], engine=engine), forward(program, points, engine=engine)[some])
    again = part[torch.tensor([1, 5])]
    assert torch.equal(
        forward(again, points[some][[1, 5]], engine=engine), forward(program, points, engine=engine)[some[[1, 5]]]
    )


def xor() -> Population:
    """Hidden nodes x or y, and x and y; the output is the first and not the second."""
    nodes = torch.tensor([[2.0, -5, 1, 0, 1], [3, -5, 1, 0, 1], [4, -15, 1, 0, 1]], dtype=torch.float64)
    connections = torch.tensor(
        [[0.0, 3, 10, 1], [1, 3, 10, 1], [0, 4, 10, 1], [1, 4, 10, 1], [3, 2, 10, 1], [4, 2, -20, 1]],
        dtype=torch.float64,
    )
    return Population(nodes[None], connections[None], 2, 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_made_by_hand_is_exclusive_or(engine: str) -> None:
    points = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]], dtype=torch.float64)
    found = forward(xor(), points, engine=engine)[0, :, 0]
    torch.testing.assert_close(found, torch.tensor([0.0, 1, 1, 0], dtype=torch.float64), rtol=0, atol=1e-8)


@pytest.mark.parametrize("engine", ENGINES)
def test_recurrent_networks_step_from_the_values_before(engine: str) -> None:
    # y' = 0.5 y + x and z' = y, linear: after n rounds y = x (2 - 2^(1-n)), z that of the round before
    nodes = torch.tensor([[1.0, 0, 1, 0, 3], [2, 0, 1, 0, 3]], dtype=torch.float64)
    connections = torch.tensor([[0.0, 1, 1, 1], [1, 1, 0.5, 1], [1, 2, 1, 1]], dtype=torch.float64)
    loop = Population(nodes[None], connections[None], 1, 2)
    x = torch.tensor([[3.0]], dtype=torch.float64)
    for rounds in (1, 2, 6):
        found = forward(transform(loop, recurrent=True, rounds=rounds), x, engine=engine).flatten()
        before = 3 * (2 - 2.0 ** (2 - rounds)) if rounds > 1 else 0.0
        assert found.tolist() == pytest.approx([3 * (2 - 2.0 ** (1 - rounds)), before], abs=1e-12)
    with pytest.raises(InputError, match="cycle"):
        transform(loop)


def test_equals_neat_python() -> None:
    neat = pytest.importorskip("neat")
    population = grown(40, 10, seed=7)
    nodes = population.nodes.clone()
    nodes[..., 3:] = torch.where(nodes[..., 3:].isnan(), nodes[..., 3:], 0.0)
    population = replace(population, nodes=nodes)
    points = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    found = forward(population, points)
    for genome, values in zip(as_genomes(population), found, strict=True):
        pairs = [pair for pair, (_, enabled) in genome.connections.items() if enabled]
        layers, required = neat.graphs.feed_forward_layers([0, 1, 2], [3, 4], pairs)
        steps = []
        for node in [key for layer in layers for key in layer]:
            links = [(s, genome.connections[s, t][0]) for s, t in pairs if t == node and (s < 3 or s in required)]
            bias, response = genome.nodes[node][:2]
            # its tanh takes 2.5 times its argument
            steps.append((node, neat.activations.tanh_activation, sum, bias / 2.5, response / 2.5, links))
        net = neat.nn.FeedForwardNetwork([0, 1, 2], [3, 4], steps)
        for point, value in zip(points.tolist(), values.tolist(), strict=True):
            for key, ours, theirs in zip((3, 4), value, net.activate(point), strict=True):
                if key in {step[0] for step in steps}:
                    assert ours == pytest.approx(theirs, abs=1e-9)
                else:  # an output without a way from an input: neat-python may leave it at 0
                    assert not any(t == key and s < 3 for s, t in pairs)


@pytest.mark.parametrize("recurrent", [False, True])
def test_loops_and_array_operations_write_the_same_program(population: Population, recurrent: bool) -> None:
    for genomes in (population, shuffled(population)):
        one, two = (transform(genomes, recurrent=recurrent, engine=engine) for engine in ("torch", "compiled"))
        for field in fields(one):
            first, second = getattr(one, field.name), getattr(two, field.name)
            assert torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second, field.name


@pytest.mark.parametrize("engine", ENGINES)
def test_broken_populations_are_refused(engine: str) -> None:
    population = xor()
    with pytest.raises(InputError, match="does not exist"):
        transform(replace(population, nodes=population.nodes[:, :2]), engine=engine)
    with pytest.raises(InputError, match="output"):
        transform(replace(population, nodes=population.nodes[:, 1:]), engine=engine)
    connections = population.connections.clone()
    connections[0, 0, 0], connections[0, 0, 1] = 2, 3
    with pytest.raises(InputError, match="genome 0 has a cycle"):
        transform(replace(population, connections=connections), engine=engine)


def test_bad_input_is_refused() -> None:
    population = xor()
    points = torch.zeros(4, 2, dtype=torch.float64)
    with pytest.raises(InputError, match="shape"):
        forward(population, points[:, :1])
    with pytest.raises(InputError, match="float32"):
        forward(population, points.float())
    with pytest.raises(InputError, match="rounds"):
        transform(population, recurrent=True, rounds=0)
    for column, word in (("nodes", "node twice"), ("connections", "connection twice")):
        rows = getattr(population, column)
        doubled = replace(population, **{column: torch.cat([rows, rows[:, -1:]], 1)})
        with pytest.raises(InputError, match=word):
            check_population(doubled)
    with pytest.raises(InputError, match="does not exist"):
        check_population(replace(population, nodes=population.nodes[:, :2]))
    with pytest.raises(InputError, match="lacks an output"):
        check_population(replace(population, nodes=population.nodes[:, 1:]))


def test_unused_parts_and_rows_are_left_out() -> None:
    population = resized(initial_population(2, 2, 1, generator=torch.Generator().manual_seed(0)), 4, 9)
    connections = population.connections.clone()
    connections[0, 0, ENABLED] = 0
    nodes = population.nodes.clone()
    nodes[1, 3] = torch.tensor([7.0, 0, 1, 0, 0])
    connections[1, 5] = torch.tensor([0.0, 7, 1, 1])
    program = transform(Population(nodes, connections, 2, 1))
    assert (len(program.bias), len(program.weight), program.levels) == (2, 3, (0, 2))
