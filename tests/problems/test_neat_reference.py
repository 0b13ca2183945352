"""NEAT on dictionaries solves what it should; its parts are what the tensor form is compared with."""

from __future__ import annotations

import pytest
import torch
from neat_populations import as_genomes, grown

from polyad.optim.neuroevolution import ACTIVATIONS, AGGREGATIONS, NEAT, Settings, forward, spawn_numbers, speciate
from polyad.problems import neat_reference
from polyad.problems.control import XOR_INPUTS, XOR_TARGETS


def test_networks_equal_those_on_tensors() -> None:
    population = grown(60, 10, seed=6)
    points = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = forward(population, points)
    for genome, values in zip(as_genomes(population), found.tolist(), strict=True):
        net = neat_reference.network(genome, 3, 2)
        for point, value in zip(points.tolist(), values, strict=True):
            assert neat_reference.activate(net, point) == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_functions_stand_in_the_same_order() -> None:
    for number, name in enumerate(ACTIVATIONS):
        for x in (-1.3, 0.0, 0.4):
            wanted = float(ACTIVATIONS[name](torch.tensor(x, dtype=torch.float64)))
            assert neat_reference.ACTIVATIONS[number](x) == pytest.approx(wanted, abs=1e-12)
    terms = [0.5, -2.0, 3.0]
    wanted = {"sum": 1.5, "mean": 0.5, "product": -3.0, "max": 3.0, "min": -2.0}
    assert [aggregate(terms) for aggregate in neat_reference.AGGREGATIONS] == [wanted[name] for name in AGGREGATIONS]


def test_exclusive_or_is_solved_and_children_are_numbered_alike() -> None:
    settings = Settings(activations=("steep_sigmoid",), add_node=0.2, add_connection=0.5)
    neat = neat_reference.ListNEAT(2, 1, size=300, settings=settings, seed=1)
    for _ in range(150):
        fitness = []
        for net in neat.networks():
            outputs = [neat_reference.activate(net, point)[0] for point in XOR_INPUTS]
            fitness.append(-sum((y - t) ** 2 for y, t in zip(outputs, XOR_TARGETS, strict=True)) / 4)
        if max(fitness) > -0.01:
            break
        neat.tell(fitness)
        assert len(neat.genomes) == 300
        assert sorted(k for members in neat.members for k in members) == list(range(300))
        for genome in neat.genomes[::100]:
            pairs = genome.connections
            assert not any(neat_reference.leads_to(pairs, target, source) for source, target in pairs)
    assert max(fitness) > -0.01


def test_it_takes_over_an_evolution_and_sorts_its_genomes_alike() -> None:
    settings = Settings(threshold=1.0, add_node=0.3)
    neat = NEAT(2, 1, size=80, settings=settings, seed=2)
    for generation in range(4):
        neat.tell(torch.arange(80.0) + generation)
    listed = neat_reference.ListNEAT(2, 1, size=80, settings=settings)
    listed.take_over(neat)
    assert listed.genomes == as_genomes(neat.ask())
    membership = {k: place for place, members in enumerate(listed.members) for k in members}
    assert [membership[k] for k in range(80)] == neat.membership.tolist()
    assert len(set(membership.values())) > 2
    neat.tell(torch.arange(80.0))
    listed.take_over(neat)
    wanted, _ = speciate(neat.ask(), neat.species, neat.ask()[neat.species.centres], settings, generation=5)
    listed._speciate()
    membership = {k: place for place, members in enumerate(listed.members) for k in members}
    assert [membership[k] for k in range(80)] == wanted.tolist()


def test_spawn_numbers_agree() -> None:
    neat = neat_reference.ListNEAT(1, 1, size=103, settings=Settings(), seed=0)
    sizes = [40, 20, 43]
    neat.members[:3] = [list(range(size)) for size in sizes]
    order = [2, 0, 1]  # best first
    wanted = spawn_numbers(torch.ones(3, dtype=torch.bool), torch.tensor(sizes), torch.tensor([2.0, 1.0, 3.0]), 103)
    assert neat._spawn(order) == wanted[order].tolist()
