"""Distance and crossover: against dictionaries on the same draws, and by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from neat_populations import as_genomes, grown, shuffled

from polyad.errors import InputError
from polyad.optim.neuroevolution import Population, crossover, distance
from polyad.optim.neuroevolution.population import ENABLED, KEY, SOURCE, TARGET, WEIGHT
from polyad.problems import neat_reference


@pytest.fixture(scope="module")
def pair() -> tuple[Population, Population]:
    """Genomes with a common past, so that many of their genes are homologous."""
    population = grown(200, 8, seed=3)
    return population, population[torch.randperm(200, generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_distance_equals_that_of_dictionaries(pair: tuple[Population, Population], engine: str) -> None:
    first, second = pair
    found = distance(first, second, disjoint=1.3, difference=0.7, engine=engine)
    genomes = zip(as_genomes(first), as_genomes(second), strict=True)
    wanted = [neat_reference.distance(one, two, 1.3, 0.7) for one, two in genomes]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_distance_to_one_genome_equals_that_to_copies_of_it(pair: tuple[Population, Population], engine: str) -> None:
    first, second = pair
    copies = second[torch.full((200,), 5)]
    found = distance(first, second[5:6], engine=engine)
    torch.testing.assert_close(found, distance(first, copies, engine=engine), rtol=1e-14, atol=1e-14)


def test_distance_by_hand() -> None:
    # nodes: key 2 in both, bias 0.5 and activation differ; connections: 0-2 in both, 1-2 in one only
    one = Population(torch.tensor([[[2.0, 1.0, 1, 0, 0]]]), torch.tensor([[[0.0, 2, 2.0, 1], [1.0, 2, 1.0, 1]]]), 2, 1)
    two = Population(torch.tensor([[[2.0, 1.5, 1, 0, 2]]]), torch.tensor([[[0.0, 2, -1.0, 0]]]), 2, 1)
    assert float(distance(one, two)) == pytest.approx(0.4 * 1.5 + (1 + 0.4 * (3 + 1)) / 2, abs=1e-6)


def test_distance_is_symmetric_zero_on_itself_and_blind_to_rows(pair: tuple[Population, Population]) -> None:
    first, second = pair
    torch.testing.assert_close(distance(first, second), distance(second, first), rtol=1e-12, atol=1e-12)
    assert float(distance(first, shuffled(first)).abs().max()) == 0
    torch.testing.assert_close(
        distance(shuffled(first), shuffled(second, seed=1), engine="torch"),
        distance(first, second),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_children_equal_those_of_dictionaries(pair: tuple[Population, Population], engine: str) -> None:
    fitter, other = pair
    generator = torch.Generator().manual_seed(4)
    node_picks = torch.rand(*fitter.nodes.shape[:2], 4, generator=generator) < 0.5
    connection_picks = torch.rand(*fitter.connections.shape[:2], 2, generator=generator) < 0.5
    other = shuffled(other)
    children = crossover(fitter, other, node_picks=node_picks, connection_picks=connection_picks, engine=engine)
    mixed = 0
    for k, (one, two, child) in enumerate(
        zip(as_genomes(fitter), as_genomes(other), as_genomes(children), strict=True)
    ):
        rows = {int(key): row for row, key in enumerate(fitter.nodes[k, :, KEY].tolist()) if key == key}
        links = {
            (int(source), int(target)): row
            for row, (source, target) in enumerate(fitter.connections[k, :, [SOURCE, TARGET]].tolist())
            if source == source
        }

        def pick(key, attribute, k=k, rows=rows, links=links):
            if isinstance(key, tuple):
                return bool(connection_picks[k, links[key], attribute])
            return bool(node_picks[k, rows[key], attribute])

        assert child == neat_reference.crossover(one, two, pick)
        mixed += child not in (one, two)
    assert mixed > 100


def test_a_child_has_the_fitter_parents_structure(pair: tuple[Population, Population]) -> None:
    fitter, other = pair
    everything = crossover(
        fitter,
        other,
        node_picks=torch.ones(*fitter.nodes.shape[:2], 4, dtype=torch.bool),
        connection_picks=torch.ones(*fitter.connections.shape[:2], 2, dtype=torch.bool),
    )
    for column in (SOURCE, TARGET):
        torch.testing.assert_close(
            everything.connections[..., column], fitter.connections[..., column], equal_nan=True, rtol=0, atol=0
        )
    for child, two in zip(as_genomes(everything), as_genomes(other), strict=True):
        for pair_of_keys in child.connections.keys() & two.connections.keys():
            assert child.connections[pair_of_keys] == two.connections[pair_of_keys]
    assert WEIGHT + 1 == ENABLED


def test_bad_pairs_are_refused(pair: tuple[Population, Population]) -> None:
    first, second = pair
    with pytest.raises(InputError, match="as many"):
        distance(first, second[:3])
    with pytest.raises(InputError, match="same task"):
        distance(first, grown(200, 1, inputs=2))


def test_distance_equals_neat_python(pair: tuple[Population, Population]) -> None:
    genes = pytest.importorskip("neat.genes")
    from neat.genome import DefaultGenome

    def converted(genome):
        peer = DefaultGenome(0)
        for key, values in genome.nodes.items():
            node = peer.nodes[key] = genes.DefaultNodeGene(key)
            node.bias, node.response, node.aggregation, node.activation = values
            node.time_constant = 1.0
        for number, (key, values) in enumerate(genome.connections.items()):
            link = peer.connections[key] = genes.DefaultConnectionGene(key, innovation=number)
            link.weight, link.enabled = values
        return peer

    options = SimpleNamespace(compatibility_disjoint_coefficient=1.3, compatibility_weight_coefficient=0.7)
    first, second = (population[:60] for population in pair)
    wanted = [
        converted(one).distance(converted(two), options)
        for one, two in zip(as_genomes(first), as_genomes(second), strict=True)
    ]
    found = distance(first, second, disjoint=1.3, difference=0.7)
    assert found.tolist() == pytest.approx(wanted, rel=1e-12)
