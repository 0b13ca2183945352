"""Graph networks: GIN against loops, invariance of the averages, and pairs that colour refinement cannot tell apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.frames import (
    FrameAverage,
    GraphIsomorphismNetwork,
    GraphPerceptron,
    fa_gnn,
    fa_mlp,
    frame_average,
    permutation_frames,
)


def graph(nodes: int, edges: list[tuple[int, int]]) -> Tensor:
    matrix = torch.zeros(nodes, nodes, dtype=torch.float64)
    for i, j in edges:
        matrix[i, j] = matrix[j, i] = 1
    return matrix


def random_graphs(count: int, nodes: int) -> Tensor:
    upper = torch.rand(count, nodes, nodes, generator=torch.Generator().manual_seed(0)) < 0.5
    upper = torch.triu(upper.double(), diagonal=1)
    return upper + upper.mT


CYCLE = graph(6, [(i, (i + 1) % 6) for i in range(6)])
TRIANGLES = graph(6, [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)])


def built(name: str, nodes: int = 6) -> FrameAverage:
    return {"mlp": fa_mlp, "gnn": fa_gnn}[name](nodes=nodes).double()


def test_gin_is_the_papers_formula() -> None:
    for identities in (None, 5):
        network = GraphIsomorphismNetwork(nodes=identities, channels=7, layers=2).double()
        (matrix,) = random_graphs(1, 5)
        state = [torch.ones(1).double() if identities is None else torch.eye(5).double()[i] for i in range(5)]
        for update, epsilon in zip(network.updates, network.epsilon, strict=True):
            state = [
                update((1 + epsilon) * state[i] + sum(state[j] for j in range(5) if matrix[i, j])) for i in range(5)
            ]
        assert torch.allclose(network(matrix), network.head(sum(state)), atol=1e-12)
        assert network.epsilon.tolist() == pytest.approx([0.3, 0.3])


@pytest.mark.parametrize("name", ["mlp", "gnn"])
def test_full_averages_are_invariant_under_relabelling_and_the_backbones_are_not(name: str) -> None:
    model, graphs = built(name), torch.cat([random_graphs(30, 6), CYCLE[None], TRIANGLES[None]])
    value = model(graphs)
    for seed in range(4):
        order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
        moved = graphs[:, order][:, :, order]
        assert torch.allclose(model(moved), value, atol=1e-9)
        assert float((model.backbone(moved) - model.backbone(graphs)).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["mlp", "gnn"])
def test_merging_changes_nothing(name: str) -> None:
    model = built(name)
    plain = frame_average(model.backbone, permutation_frames, ("edges",), "scalar", together=True)
    graphs = torch.stack([CYCLE, TRIANGLES])
    assert torch.allclose(model(graphs), plain(graphs), atol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "gnn"])
def test_averages_separate_what_colour_refinement_cannot(name: str) -> None:
    """A cycle of six and two triangles: all nodes have two neighbours."""
    pair = torch.stack([CYCLE, TRIANGLES])
    bare = GraphIsomorphismNetwork(nodes=None).double()(pair)
    assert torch.allclose(bare[0], bare[1], atol=1e-12)
    found = built(name)(pair)
    assert float((found[0] - found[1]).detach().abs().max()) > 1e-4


def test_without_epsilon_a_node_and_its_neighbours_merge() -> None:
    """Rows of A + I are all the same on K4, so the first update sees one set four times."""
    with pytest.raises(InputError, match="epsilon"):
        GraphIsomorphismNetwork(nodes=6, epsilon=0.0)
    network = GraphIsomorphismNetwork(nodes=4).double()
    with torch.no_grad():
        network.epsilon.zero_()
    first = torch.eye(4).double() + graph(4, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
    assert torch.equal(first, torch.ones(4, 4).double())  # what K4 gives: all nodes alike, whatever their identity
    states = network.updates[0](first)
    assert torch.allclose(states, states[:1].expand(4, -1))
    with torch.no_grad():
        network.epsilon.fill_(0.3)
    apart = network.updates[0](first + 0.3 * torch.eye(4).double())
    assert float((apart - apart[:1]).abs().max().detach()) > 1e-3


def test_samples_in_training_average_to_the_whole() -> None:
    model = fa_mlp(nodes=6, samples=1).double()
    graphs = torch.stack([CYCLE, TRIANGLES])
    full = model.eval()(graphs).detach()
    model.train()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = torch.stack([model(graphs) for _ in range(400)])
    assert float(drawn.std(0).max()) > 1e-3
    assert bool(((drawn.mean(0) - full).abs() < 4.5 * drawn.std(0) / 20 + 1e-12).all())


def test_frames_that_are_too_large_are_sampled_or_refused() -> None:
    nodes = 12
    cycle = graph(nodes, [(i, (i + 1) % nodes) for i in range(nodes)])[None]
    with pytest.raises(InputError, match="samples="):
        fa_gnn(nodes=nodes).double()(cycle)
    assert fa_gnn(nodes=nodes, samples=20).double().eval()(cycle).shape == (1, 10)


def test_bad_input_is_refused() -> None:
    for call in (
        lambda: GraphPerceptron(nodes=0),
        lambda: GraphIsomorphismNetwork(nodes=None, layers=0),
        lambda: GraphIsomorphismNetwork(nodes=5).double()(random_graphs(1, 6)),
    ):
        with pytest.raises(InputError):
            call()
