"""The evolution as a whole: species, children, what it solves, and that it goes on from a file to the bit."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from neat_populations import VARIED, as_genomes, grown

from polyad.errors import FileFormatError, InputError
from polyad.optim.neuroevolution import NEAT, Settings, distance, forward, spawn_numbers, speciate
from polyad.optim.neuroevolution.reproduction import choose_parents
from polyad.optim.neuroevolution.species import after_fitness, no_species, ranks
from polyad.problems import neat_reference
from polyad.problems.control import XOR_INPUTS, xor_fitness

XOR_SETTINGS = Settings(activations=("steep_sigmoid",), add_node=0.2, add_connection=0.5)


def test_genomes_join_the_first_centre_within_the_threshold() -> None:
    population = grown(150, 6, seed=2)
    settings = Settings(threshold=1.5, maximum_species=6)
    membership, species = speciate(population, no_species(6), None, settings, generation=0)
    genomes = as_genomes(population)
    centres: list = []
    wanted = []
    for genome in genomes:
        gaps = [neat_reference.distance(genome, centre) for centre in centres]
        near = [k for k, gap in enumerate(gaps) if gap < 1.5]
        if near:
            wanted.append(near[0])
        elif len(centres) < 6:
            wanted.append(len(centres))
            centres.append(genome)
        else:
            wanted.append(gaps.index(min(gaps)))
    assert membership.tolist() == wanted
    assert species.sizes.tolist() == torch.bincount(membership, minlength=6).tolist()
    assert max(wanted) == 5
    # the next centre is the member nearest to the centre of now: the founder
    for place, centre in enumerate(species.centres.tolist()):
        assert membership[centre] == place
        assert genomes[centre] == centres[place]


def test_living_species_keep_their_places_and_free_ones_are_taken() -> None:
    population = grown(60, 6, seed=4)
    settings = Settings(threshold=1.5, maximum_species=4)
    _, species = speciate(population, no_species(4), None, settings, generation=0)
    centres = population[species.centres]
    sizes = species.sizes.clone()
    sizes[0] = 0  # the first has died
    thinned = type(species)(species.centres, sizes, torch.tensor([5.0, 6, 7, 8]).double(), species.improved + 1)
    membership, after = speciate(population, thinned, centres, settings, generation=9)
    gaps = torch.stack([distance(population, centres[k : k + 1]) for k in (1, 2, 3)], 1) < 1.5
    first = torch.where(gaps.any(1), gaps.int().argmax(1) + 1, 0)
    settled = gaps.any(1)
    assert torch.equal(membership[settled], first[settled])
    assert int(membership[(~settled).nonzero()[0]]) == 0
    assert after.best.tolist() == [-float("inf"), 6, 7, 8]
    assert after.improved.tolist() == [9, 1, 1, 1]


def test_species_without_progress_die_but_the_best() -> None:
    membership = torch.tensor([0, 0, 1, 1, 2, 2])
    species = type(no_species(4))(
        torch.tensor([0, 2, 4, 0]),
        torch.tensor([2, 2, 2, 0]),
        torch.tensor([5.0, 9.0, 1.0, -torch.inf], dtype=torch.float64),
        torch.tensor([0, 0, 18, 0]),
    )
    fitness = torch.tensor([4.0, 5.0, 6.0, 7.0, 0.0, 2.0], dtype=torch.float64)
    settings = Settings(stagnation=15, species_elitism=1)
    after, goes_on, highest, mean = after_fitness(species, membership, fitness, settings, generation=20)
    assert goes_on.tolist() == [False, True, True, False]  # stale; stale but the best; better than before
    assert after.best.tolist() == [5, 9, 2, -torch.inf]
    assert after.improved.tolist() == [0, 0, 20, 0]
    assert highest[:3].tolist() == [5, 7, 2]
    assert mean[:3].tolist() == [4.5, 6.5, 1.0]
    assert after.sizes.tolist() == [0, 2, 2, 0]


def test_children_by_rank_and_by_mean() -> None:
    goes_on = torch.tensor([True, True, False, True])
    sizes = torch.tensor([20, 20, 40, 20])
    fitness = torch.tensor([1.0, 3.0, 9.0, 2.0])
    by_rank = spawn_numbers(goes_on, sizes, fitness, 120, change=1.0)
    assert by_rank.tolist() == [20, 60, 0, 40]  # dues 1 : 3 : 2 of 120
    halfway = spawn_numbers(goes_on, sizes, fitness, 120, change=0.5, smallest=0)
    assert halfway.tolist() == [27, 53, 0, 40]  # 20 + (due - 20) / 2, made 120
    by_mean = spawn_numbers(goes_on, sizes, fitness, 130, method="mean", change=1.0, smallest=0)
    assert by_mean.tolist() == [10, 70 + 10, 0, 40] or int(by_mean.sum()) == 130
    assert spawn_numbers(goes_on, sizes, fitness * 0, 90, method="mean", change=1.0).tolist() == [30, 30, 0, 30]
    for total in (3, 7, 101):
        numbers = spawn_numbers(goes_on, sizes, fitness, total)
        assert int(numbers.sum()) == total
        assert int(numbers[goes_on].min()) >= min(2, total // 3)
    assert ranks(torch.tensor([2.0, 5.0, 2.0])).tolist() == [1, 0, 2]


def test_parents_are_the_best_of_their_species_and_elites_live_on() -> None:
    generator = torch.Generator().manual_seed(0)
    membership = torch.randint(0, 3, (60,), generator=generator)
    fitness = torch.rand(60, generator=generator)
    children = torch.tensor([25, 0, 35])
    parents = choose_parents(
        membership, fitness, children, torch.rand(60, 2, generator=generator), survival=0.3, elitism=2
    )
    start = 0
    for place, count in enumerate(children.tolist()):
        members = [k for k in range(60) if membership[k] == place]
        members.sort(key=lambda k: -float(fitness[k]))
        best = members[: max(2, -(-3 * len(members) // 10))]
        some = slice(start, start + count)
        start += count
        fitter, other = parents.fitter[some].tolist(), parents.other[some].tolist()
        if count:
            assert set(fitter) | set(other) == set(best)
            assert fitter[:2] == other[:2] == members[:2]
            assert parents.elite[some].tolist() == [True, True] + [False] * (count - 2)
        assert all(fitness[one] >= fitness[two] for one, two in zip(fitter, other, strict=True))


def evolve(neat: NEAT, generations: int) -> list[float]:
    points = torch.tensor(XOR_INPUTS, dtype=torch.float64)
    best = []
    for _ in range(generations):
        fitness = xor_fitness(forward(neat.ask(), points))
        best.append(float(fitness.max()))
        neat.tell(fitness)
    return best


def test_exclusive_or_is_solved_and_the_best_is_never_lost() -> None:
    neat = NEAT(2, 1, size=400, seed=3, settings=XOR_SETTINGS)
    best = evolve(neat, 60)
    assert all(later >= earlier for earlier, later in itertools.pairwise(best))  # elites live on
    assert best[0] < -0.15
    assert best[-1] > -0.01
    assert neat.best_fitness == best[-1]
    outputs = forward(neat.best, torch.tensor(XOR_INPUTS, dtype=torch.float64))
    assert float(xor_fitness(outputs)[0]) == best[-1]
    assert neat.generation == 60
    fixed = neat.ask(fixed_shape=True)
    assert fixed.nodes.shape == (400, 50, 5)
    assert fixed.connections.shape == (400, 100, 4)


@pytest.mark.parametrize(("nodes", "connections"), [(3, 7), (2, 9), (2, 5)])
def test_rows_never_exceed_what_is_allowed(nodes: int, connections: int) -> None:
    settings = Settings(
        add_node=1.0,
        add_connection=0.6,
        delete_node=0.0,
        delete_connection=0.0,
        maximum_nodes=nodes,
        maximum_connections=connections,
    )
    neat = NEAT(2, 1, size=50, settings=settings)
    evolve(neat, 8)
    assert neat.ask().nodes.shape[1] == nodes
    # two nodes have at most 2 * 2 connections from inputs and one between them
    assert neat.ask().connections.shape[1] == min(connections, 5 if nodes == 2 else 7)


def test_it_goes_on_from_state_and_from_file_to_the_bit(tmp_path: Path) -> None:
    settings = Settings(activations=("steep_sigmoid", "tanh"), spawn="mean", threshold=1.0)
    neat = NEAT(2, 1, size=80, seed=1, settings=settings)
    evolve(neat, 5)
    neat.save(tmp_path / "evolution.safetensors")
    state = neat.state_dict()
    wanted = evolve(neat, 6)
    loaded = NEAT.load(tmp_path / "evolution.safetensors")
    assert loaded.settings == settings
    assert evolve(loaded, 6) == wanted
    other = NEAT(2, 1, size=80, seed=9, settings=settings)
    other.load_state_dict(state)
    assert evolve(other, 6) == wanted
    for name, value in neat.state_dict()["tensors"].items():
        assert torch.equal(value.nan_to_num(nan=-7), other.state_dict()["tensors"][name].nan_to_num(nan=-7)), name
    assert evolve(NEAT(2, 1, size=80, seed=2, settings=settings), 4) != evolve(
        NEAT(2, 1, size=80, seed=1, settings=settings), 4
    )


def test_loops_and_array_operations_evolve_alike() -> None:
    settings = Settings(activations=("steep_sigmoid", "tanh"), threshold=1.0, add_node=0.3, add_connection=0.5)
    one, two = (NEAT(2, 1, size=120, seed=1, settings=settings, engine=engine) for engine in ("torch", "compiled"))
    assert evolve(one, 12) == evolve(two, 12)
    for name, value in one.state_dict()["tensors"].items():
        assert torch.equal(value.nan_to_num(nan=-7), two.state_dict()["tensors"][name].nan_to_num(nan=-7)), name


def test_recurrent_genomes_may_have_cycles() -> None:
    from polyad.optim.neuroevolution import transform

    settings = Settings(add_connection=1.0, add_node=0.5, feed_forward=False)
    neat = NEAT(1, 1, size=60, settings=settings)
    for _ in range(6):
        program = transform(neat.ask(), recurrent=True, rounds=4)
        neat.tell(forward(program, torch.ones(1, 1, dtype=torch.float64)).flatten())
    with pytest.raises(InputError, match="cycle"):
        transform(neat.ask())


def test_float32_evolves_too() -> None:
    neat = NEAT(2, 1, size=100, settings=VARIED, dtype=torch.float32)
    points = torch.tensor(XOR_INPUTS)
    for _ in range(4):
        neat.tell(xor_fitness(forward(neat.ask(), points)))
    assert neat.ask().nodes.dtype == torch.float32


def test_bad_input_is_refused(tmp_path: Path) -> None:
    neat = NEAT(2, 1, size=10)
    fitness = torch.zeros(10)
    with pytest.raises(InputError, match="shape"):
        neat.tell(fitness[:9])
    fitness[4] = torch.nan
    with pytest.raises(InputError, match="genome 4"):
        neat.tell(fitness)
    assert neat.generation == 0
    with pytest.raises(InputError, match="allow more"):
        NEAT(20, 6)
    with pytest.raises(InputError, match="size"):
        NEAT(2, 1, size=1)
    with pytest.raises(InputError, match="state_dict"):
        neat.load_state_dict({})
    with pytest.raises(InputError, match="size is 10"):
        NEAT(2, 1, size=12).load_state_dict(neat.state_dict())
    with pytest.raises(FileFormatError, match="no such file"):
        NEAT.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors here")
    with pytest.raises(FileFormatError, match="readable"):
        NEAT.load(tmp_path / "text.safetensors")
