"""Permutation frames: signatures against projectors, sizes by hand, relabelling, merging, sampling."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.frames import PermutationFrames, frame_sizes, permutation_frames, symmetric_group
from polyad.symmetry.frames.permutation import node_signatures

networkx = pytest.importorskip("networkx", reason="networkx is not installed (peers group)")


def adjacency(graph: Any) -> Tensor:
    return torch.from_numpy(networkx.to_numpy_array(graph))


def random_graphs(count: int, nodes: int, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    upper = torch.triu((torch.rand(count, nodes, nodes, generator=generator) < 0.5).double(), diagonal=1)
    return upper + upper.mT


def relabel(matrices: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    order = torch.randperm(matrices.shape[1], generator=torch.Generator().manual_seed(seed))
    return matrices[:, order][:, :, order], order


NAMED = {
    "star": (networkx.star_graph(4), 24),  # four leaves
    "path": (networkx.path_graph(5), 4),  # two ends, two beside them
    "cycle": (networkx.cycle_graph(6), 720),  # all alike
    "complete": (networkx.complete_graph(5), 120),
    "bipartite": (networkx.complete_bipartite_graph(2, 3), 12),
    "lollipop": (networkx.lollipop_graph(4, 2), 6),  # three of the clique
    "asymmetric": (networkx.Graph([(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (1, 3), (2, 4), (1, 4)]), None),
}


@pytest.mark.parametrize("name", list(NAMED))
def test_size_and_orders_against_all_permutations(name: str) -> None:
    """The frame is the set of orders that sort the square roots of the projectors' diagonals, found by trying all."""
    graph, size = NAMED[name]
    matrix = adjacency(graph).numpy()
    laplacian = np.diag(matrix.sum(1)) - matrix
    values = np.linalg.eigvalsh(laplacian)
    columns, start = [], 0
    for stop in range(1, len(values) + 1):
        if stop == len(values) or values[stop] - values[start] > 1e-7:
            # the projector as a polynomial of the Laplacian, without eigenvectors
            own = values[start:stop].mean()
            projector = np.eye(len(values))
            for other in {round(x, 9): x for x in values if abs(x - own) > 1e-7}.values():
                projector = projector @ (laplacian - other * np.eye(len(values))) / (own - other)
            columns.append(np.sqrt(np.abs(np.diag(projector))))
            start = stop
    signature = np.round(np.stack(columns, 1) + 1e-6, 2)
    rows = [tuple(row) for row in signature]
    expected = {
        order
        for order in itertools.permutations(range(len(rows)))
        if all(rows[a] <= rows[b] for a, b in itertools.pairwise(order))
    }
    frames = permutation_frames(adjacency(graph)[None])
    assert {tuple(p) for p in frames.permutations.tolist()} == expected
    assert len(frames) == len(expected) == frame_sizes(adjacency(graph)[None])[0]
    if size is not None:
        assert len(frames) == size
    assert torch.allclose(frames.weights.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_relabelling_moves_the_frame() -> None:
    graphs = torch.cat([random_graphs(20, 6), torch.stack([adjacency(networkx.cycle_graph(6))])])
    frames = permutation_frames(graphs)
    assert len(set(frame_sizes(graphs))) > 2
    for seed in range(3):
        moved, order = relabel(graphs, seed)
        again = permutation_frames(moved)
        for number in range(len(graphs)):
            own = {tuple(p) for p in frames.permutations[frames.graph == number].tolist()}
            other = {tuple(order[p].tolist()) for p in again.permutations[again.graph == number]}
            assert own == other


def test_values_in_the_order_of_an_element_and_back() -> None:
    graphs = random_graphs(3, 5)
    frames = permutation_frames(graphs)
    generator = torch.Generator().manual_seed(0)
    nodes, edges = torch.randn(3, 5, 2, generator=generator), torch.randn(3, 5, 5, generator=generator)
    for name, values in (("nodes", nodes), ("edges", edges), ("scalar", nodes)):
        moved = frames.to_frame(values, name)
        assert torch.equal(frames.from_frame(moved, name), values[frames.graph])
        assert torch.allclose(frames.average(moved, name), values, atol=1e-6)
    k = len(frames) - 1
    place, own = frames.permutations[k].tolist(), int(frames.graph[k])
    for a in range(5):
        assert torch.equal(frames.to_frame(nodes, "nodes")[k, a], nodes[own, place[a]])
        for b in range(5):
            assert frames.to_frame(edges, "edges")[k, a, b] == edges[own, place[a], place[b]]


@pytest.mark.parametrize("weighted", [False, True])
def test_merged_elements_give_the_same_invariants(weighted: bool) -> None:
    graphs = torch.stack([adjacency(graph) for graph, _ in NAMED.values() if graph.number_of_nodes() == 6])
    if weighted:
        graphs = graphs * 0.7
    full, merged = permutation_frames(graphs), permutation_frames(graphs, merged=True)
    assert len(merged) < len(full)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(6, 6, generator=generator, dtype=torch.float64)

    def function(matrix: Tensor) -> Tensor:
        return torch.tanh(matrix * weights).sum((-1, -2))

    values = [frames.average(function(frames.to_frame(graphs, "edges")), "scalar") for frames in (full, merged)]
    assert torch.allclose(*values, atol=1e-12)
    distinct = {
        tuple(row)
        for row in torch.cat([merged.graph[:, None], merged.to_frame(graphs, "edges").flatten(1)], 1).tolist()
    }
    assert len(distinct) == len(merged)
    with pytest.raises(InputError, match="merged"):
        merged.average(merged.to_frame(graphs, "edges"), "edges")


def test_symmetric_group_is_the_whole_group() -> None:
    frames = symmetric_group(4, graphs=2)
    for graph in range(2):
        rows = {tuple(p) for p in frames.permutations[frames.graph == graph].tolist()}
        assert rows == set(itertools.permutations(range(4)))
    assert torch.allclose(frames.weights, torch.full((48,), 1 / 24, dtype=torch.float64))


def test_large_frames_are_sampled_when_asked_for() -> None:
    cycle = adjacency(networkx.cycle_graph(14))[None]
    assert frame_sizes(cycle) == [math.factorial(14)]
    with pytest.raises(InputError, match="samples="):
        permutation_frames(cycle)
    frames = permutation_frames(cycle, samples=50, generator=torch.Generator().manual_seed(0))
    assert len(frames) == 50
    assert torch.equal(frames.permutations.sort(1).values, torch.arange(14).expand(50, 14))
    star = adjacency(networkx.star_graph(4))[None]
    drawn = permutation_frames(star, samples=6000, maximum=10, generator=torch.Generator().manual_seed(0))
    orders, counts = torch.unique(drawn.permutations, dim=0, return_counts=True)
    assert {tuple(p) for p in orders.tolist()} == {tuple(p) for p in permutation_frames(star).permutations.tolist()}
    assert float(((counts - 250) ** 2 / 250).sum()) < 52  # chi-squared with 23 degrees: 1 in 2,000 beyond


def test_sample_draws_by_weight() -> None:
    weights = torch.tensor([0.7, 0.3, 1.0, 0.2, 0.8], dtype=torch.float64)
    every = torch.arange(5)[:, None].expand(5, 1)
    frames = PermutationFrames(every, weights, torch.tensor([0, 0, 1, 2, 2]), 3)
    drawn = frames.sample(4000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn.graph, torch.arange(3).repeat_interleave(4000))
    share = torch.bincount(drawn.permutations[:, 0], minlength=5) / 4000
    assert torch.allclose(share.double(), weights, atol=0.03)
    assert torch.allclose(drawn.weights, torch.tensor(1 / 4000, dtype=torch.float64))


def test_signatures_on_a_border_of_rounding_do_not_flip() -> None:
    """sqrt(1 / 64) = 0.125 lies between two roundings; noise must not decide."""
    hypercube = adjacency(networkx.hypercube_graph(6))[None]  # all 64 entries of the constant vector are 0.125
    for seed in range(3):
        moved, _ = relabel(hypercube, seed)
        assert [sizes for _, sizes in node_signatures(moved)] == [(64,)]


def test_bad_input_is_refused() -> None:
    graphs = random_graphs(2, 4)
    frames = permutation_frames(graphs)
    for call in (
        lambda: permutation_frames(torch.triu(torch.ones(1, 3, 3))),
        lambda: permutation_frames(graphs * math.nan),
        lambda: permutation_frames(graphs, decimals=9),
        lambda: permutation_frames(graphs, samples=0, maximum=0),
        lambda: symmetric_group(12),
        lambda: frames.sample(0),
        lambda: frames.to_frame(graphs, "faces"),
        lambda: frames.to_frame(graphs[:1], "edges"),
        lambda: frames.to_frame(graphs[:, :3], "nodes"),
    ):
        with pytest.raises(InputError):
            call()
