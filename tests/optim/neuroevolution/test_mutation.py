"""Mutations: what each does to a genome, what never happens, and that genomes do not see each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from neat_populations import VARIED, as_genomes, grown, shuffled

from polyad.errors import InputError
from polyad.optim.neuroevolution import (
    NumberRates,
    Population,
    Settings,
    check_population,
    draw_mutations,
    forward,
    initial_population,
    keys_for_new_nodes,
    mutate,
    transform,
)
from polyad.optim.neuroevolution.mutation import mutate_attributes
from polyad.optim.neuroevolution.population import KEY, SOURCE, TARGET, packed, resized
from polyad.optim.neuroevolution.structure import (
    add_connection,
    add_node,
    chosen_row,
    delete_connection,
    delete_node,
    new_node_keys,
    reachable,
)
from polyad.problems.neat_reference import leads_to

SIZE = 200


@pytest.fixture(scope="module")
def population() -> Population:
    return grown(SIZE, 6, seed=5)


def uniform(number: int, *, seed: int = 0) -> torch.Tensor:
    return torch.rand(number, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_split_connection_keeps_what_the_network_computes() -> None:
    # an identity node with weight 1 before it and the old weight behind it changes nothing
    population = resized(initial_population(SIZE, 3, 2, generator=torch.Generator().manual_seed(0)), 4, 10)
    chance, choice = uniform(2)
    keys = torch.full((SIZE,), 5)
    split = add_node(population, chance, choice, keys, probability=0.6, activation=3)
    points = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(forward(split, points), forward(population, points), rtol=1e-12, atol=1e-12)
    for was, acts, genome, old in zip(choice, chance < 0.6, as_genomes(split), as_genomes(population), strict=True):
        if not acts:
            assert genome == old
            continue
        pair = list(old.connections)[int(float(was) * 6)]
        assert genome.connections[pair] == [old.connections[pair][0], 0]
        assert genome.connections[pair[0], 5] == [1, 1]
        assert genome.connections[5, pair[1]] == [old.connections[pair][0], 1]
        assert genome.nodes[5] == [0, 1, 0, 3]
        assert len(genome.connections) == 8


def test_the_same_split_gets_the_same_key(population: Population) -> None:
    chance, choice = uniform(2)
    keys = new_node_keys(population, chance, choice, probability=0.7, first_key=1000)
    split = {}
    for genome, number, acts, key in zip(as_genomes(population), choice, chance < 0.7, keys.tolist(), strict=True):
        if acts:
            pairs = list(genome.connections)
            split.setdefault(pairs[int(float(number) * len(pairs))], set()).add(key)
    assert all(len(found) == 1 for found in split.values())
    distinct = {next(iter(found)) for found in split.values()}
    assert len(distinct) == len(split) > 5
    assert min(keys.tolist()) >= 1000
    assert max(keys.tolist()) <= 1000 + len(split)


def test_a_deleted_node_takes_its_connections_along(population: Population) -> None:
    chance, choice = uniform(2, seed=1)
    less = delete_node(population, chance, choice, probability=0.5)
    acted = 0
    for before, after, acts in zip(as_genomes(population), as_genomes(less), chance < 0.5, strict=True):
        gone = before.nodes.keys() - after.nodes.keys()
        assert len(gone) == (acts and any(key >= 5 for key in before.nodes))
        assert all(key >= 5 for key in gone)
        wanted = {pair: link for pair, link in before.connections.items() if not gone & set(pair)}
        assert after.connections == wanted
        acted += len(gone)
    assert acted > 50


def test_new_connections_close_no_cycle_and_double_none(population: Population) -> None:
    chance, source, target, weight = uniform(4, seed=2)
    more = add_connection(population, chance, source, target, weight, probability=0.9)
    counts = {"added": 0, "cycle": 0}
    for k, (before, after) in enumerate(zip(as_genomes(population), as_genomes(more), strict=True)):
        keys = [0, 1, 2, *before.nodes]
        pair = keys[int(source[k] * len(keys))], keys[3:][int(target[k] * (len(keys) - 3))]
        cycle = leads_to(before.connections, pair[1], pair[0])
        fits = len(before.connections) < VARIED.maximum_connections
        if chance[k] < 0.9 and pair not in before.connections and not cycle and fits:
            counts["added"] += 1
            assert after.connections == before.connections | {pair: [float(weight[k]), 1.0]}
        else:
            assert after.connections == before.connections
            counts["cycle"] += cycle
    assert min(counts.values()) > 20
    free = add_connection(population, chance, source, target, weight, probability=0.9, feed_forward=False)
    assert int(free.has_connection.sum()) > int(more.has_connection.sum())


def test_a_connection_is_deleted(population: Population) -> None:
    chance, choice = uniform(2, seed=3)
    less = delete_connection(population, chance, choice, probability=0.5)
    for before, after, acts in zip(as_genomes(population), as_genomes(less), chance < 0.5, strict=True):
        assert len(before.connections) - len(after.connections) == (acts and len(before.connections) > 0)
        assert after.connections.items() <= before.connections.items()
        assert after.nodes == before.nodes


def test_reachable_equals_search(population: Population) -> None:
    start = torch.zeros_like(population.has_node)
    start[:, 0] = True
    found = reachable(population, start)
    for k, genome in enumerate(as_genomes(population)):
        for row, key in enumerate(population.nodes[k, :, KEY].tolist()):
            assert bool(found[k, row]) == (
                key == key and leads_to(genome.connections, int(population.nodes[k, 0, KEY]), int(key))
            )


def test_every_marked_row_is_as_likely() -> None:
    marked = torch.tensor([[False, True, True, False, True]]).expand(3000, -1)
    chance = torch.rand(3000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    row, there = chosen_row(marked, chance)
    assert bool(there.all())
    counts = torch.bincount(row, minlength=5)
    assert counts[[0, 3]].tolist() == [0, 0]
    assert all(abs(count - 1000) < 130 for count in counts[[1, 2, 4]].tolist())  # five standard deviations
    assert not bool(chosen_row(marked[:2] & False, chance[:2])[1].any())


def test_numbers_step_are_redrawn_or_stay() -> None:
    population = initial_population(20_000, 2, 1, generator=torch.Generator().manual_seed(0))
    rates = NumberRates(perturb=0.5, replace=0.2, step=0.1, deviation=2.0, mean=7.0, limit=8.0)
    settings = Settings(weight=rates, bias=replace(rates, perturb=0.0, replace=0.0), toggle=0.25)
    draws = draw_mutations(population, torch.Generator().manual_seed(1))
    after = mutate_attributes(population, draws, settings)
    assert torch.equal(after.nodes, population.nodes)
    moved = (after.connections - population.connections)[..., 2].flatten()
    chance = draws.connection_chance[..., 0].flatten()
    assert float((moved == 0).double().mean()) == pytest.approx(0.3, abs=0.01)
    stepped = moved[chance < 0.5]
    assert float(stepped.std()) == pytest.approx(0.1, rel=0.03)
    assert float(stepped.mean()) == pytest.approx(0, abs=0.005)
    drawn = after.connections[..., 2].flatten()[(chance >= 0.5) & (chance < 0.7)]
    assert float(drawn.median()) == pytest.approx(7, abs=0.1)
    assert float(drawn.max()) == 8
    assert float((after.connections[..., 3] == 0).double().mean()) == pytest.approx(0.25, abs=0.01)


def test_1000_mutations_leave_acyclic_whole_genomes() -> None:
    generator = torch.Generator().manual_seed(0)
    population = resized(initial_population(20, 2, 2, generator=generator), 12, 20)
    settings = replace(VARIED, delete_node=0.3, delete_connection=0.3)
    next_key = 4
    for step in range(1000):
        draws = draw_mutations(population, generator)
        keys = keys_for_new_nodes(population, draws, settings, first_key=next_key)
        next_key = int(keys.amax()) + 1
        population = packed(mutate(population, draws, settings, keys))
        if step % 50 == 49:
            check_population(population)
            transform(population)  # refuses cycles, of connections that are switched on
            for genome in as_genomes(population):
                assert not any(leads_to(genome.connections, target, source) for source, target in genome.connections)
    assert len({len(genome.nodes) for genome in as_genomes(population)}) > 3


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_a_genome_mutates_alike_alone_and_among_others(population: Population, engine: str) -> None:
    draws = draw_mutations(population, torch.Generator().manual_seed(6))
    keys = keys_for_new_nodes(population, draws, VARIED, first_key=10_000)
    together = packed(mutate(population, draws, VARIED, keys, engine=engine), engine=engine)
    for k in range(0, SIZE, 9):
        one = mutate(population[k : k + 1], draws[k : k + 1], VARIED, keys[k : k + 1], engine=engine)
        alone = packed(one, engine=engine)
        for name in ("nodes", "connections"):
            torch.testing.assert_close(
                getattr(alone, name)[0], getattr(together, name)[k], rtol=0, atol=0, equal_nan=True
            )
    assert as_genomes(together) != as_genomes(population)


@pytest.mark.parametrize("feed_forward", [True, False])
def test_loops_and_array_operations_give_the_same_genomes(population: Population, feed_forward: bool) -> None:
    holes = shuffled(population)
    settings = replace(VARIED, add_node=0.6, delete_node=0.4, delete_connection=0.5, feed_forward=feed_forward)
    for genomes in (population, holes):
        for seed in range(5):
            draws = draw_mutations(genomes, torch.Generator().manual_seed(seed))
            keys = keys_for_new_nodes(genomes, draws, settings, first_key=10_000)
            one, two = (mutate(genomes, draws, settings, keys, engine=engine) for engine in ("torch", "compiled"))
            for name in ("nodes", "connections"):
                torch.testing.assert_close(getattr(one, name), getattr(two, name), rtol=0, atol=0, equal_nan=True)
            for name in ("nodes", "connections"):
                tables = [getattr(packed(one, engine=engine), name) for engine in ("torch", "compiled")]
                torch.testing.assert_close(*tables, rtol=0, atol=0, equal_nan=True)


def test_inputs_are_left_alone_and_functions_come_from_the_list(population: Population) -> None:
    before = (population.nodes.clone(), population.connections.clone())
    draws = draw_mutations(population, torch.Generator().manual_seed(7))
    settings = replace(VARIED, activations=("sin", "abs"), replace_function=1.0)
    after = mutate(population, draws, settings, keys_for_new_nodes(population, draws, settings, first_key=10_000))
    torch.testing.assert_close(population.nodes, before[0], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(population.connections, before[1], rtol=0, atol=0, equal_nan=True)
    assert set(after.nodes[..., 4][after.has_node].tolist()) == {5.0, 7.0}
    assert set(after.connections[..., SOURCE][after.has_connection].tolist()) >= {0.0, 1.0, 2.0}
    assert float(after.connections[..., TARGET].nan_to_num(nan=9).min()) >= 3


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"add_node": 1.5}, "add_node"),
        ({"maximum_nodes": 0}, "maximum_nodes"),
        ({"activations": ("cubic",)}, "activations"),
        ({"aggregations": ()}, "aggregations"),
        ({"threshold": 0.0}, "threshold"),
    ],
)
def test_bad_settings_are_refused(options: dict, word: str) -> None:
    with pytest.raises(InputError, match=word):
        Settings(**options)


def test_bad_rates_are_refused() -> None:
    with pytest.raises(InputError, match="at most 1"):
        NumberRates(perturb=0.8, replace=0.3)
