"""k-hop distinct pairs: the chains of the paper, isomorphisms that fit locally but not together, and GWL's bounds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from polyad.errors import InputError
from polyad.symmetry.geometric_wl import (
    GeometricGraph,
    counterexamples,
    geometric_graph,
    gwl,
    k_chains,
    k_hop_distinct,
    rotsym,
)


@pytest.mark.parametrize("k", range(2, 7))
def test_chains_are_distinct_from_half_their_length(k: int) -> None:
    assert [k_hop_distinct(*k_chains(k), hops) for hops in range(k + 1)] == [
        hops >= k // 2 + 1 for hops in range(k + 1)
    ]


def test_environments_are_one_hop_distinct_and_turned_stars_identical() -> None:
    for case in (2, 3, 4):
        assert k_hop_distinct(*counterexamples(case), 1)
        assert not k_hop_distinct(*counterexamples(case), 0)
    chiral = counterexamples("chiral")
    assert not k_hop_distinct(*chiral, 3)
    assert k_hop_distinct(*chiral, 1, group="SO(3)")
    for fold in (2, 5):
        assert not k_hop_distinct(*rotsym(fold, 0.3), 3, group="SO(3)")


def test_graphs_that_are_not_isomorphic_are_distinct() -> None:
    """Two squares, and an octagon along a cube's edges, have right angles everywhere: stars alike, graphs not."""
    square = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.float64)
    ring = torch.stack([torch.arange(4), torch.arange(1, 5) % 4])
    squares = geometric_graph(torch.cat([square, square + 5]), torch.cat([ring, ring + 4], dim=1))
    folded = torch.cat([square, square.flip(0) + torch.tensor([0.0, 0, 1], dtype=torch.float64)])
    octagon = geometric_graph(folded, torch.stack([torch.arange(8), torch.arange(1, 9) % 8]))
    colours = torch.cat(gwl([squares, octagon], 1), dim=1)
    assert len(colours[1].unique()) == 1
    assert k_hop_distinct(squares, octagon, 1)
    assert k_hop_distinct(geometric_graph(square, ring), geometric_graph(square, ring[:, :3]), 0)


def oracle(first: GeometricGraph, second: GeometricGraph, k: int) -> bool:
    """All bijections, all roots, by Gram matrices of all edges that k rounds of messages see."""
    index = [set(map(tuple, g.edge_index.T.tolist())) for g in (first, second)]
    hops = torch.full((first.num_nodes,) * 2, 99)
    hops.fill_diagonal_(0)
    for _ in range(first.num_nodes):
        for source, target in index[0]:
            hops[target] = torch.minimum(hops[target], hops[source] + 1)
    for image in map(list, itertools.permutations(range(second.num_nodes))):
        if {(image[s], image[t]) for s, t in index[0]} != index[1]:
            continue
        fits = True
        for root in range(first.num_nodes):
            seen = [(s, t) for s, t in index[0] if hops[root, t] <= k - 1]
            a = torch.stack([first.positions[t] - first.positions[s] for s, t in seen] or [torch.zeros(3).double()])
            b = torch.stack(
                [second.positions[image[t]] - second.positions[image[s]] for s, t in seen] or [torch.zeros(3).double()]
            )
            fits = fits and torch.allclose(a @ a.T, b @ b.T, atol=1e-6)
        if fits:
            return False
    return True


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_the_search_over_all_bijections_and_bounded_by_gwl(seed: int) -> None:
    """Copies with one node moved, renumbered and turned: the oracle agrees, and so does GWL (propositions 1 and 2)."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.cartesian_prod(*[torch.arange(2.0)] * 3).double()
    positions = grid[torch.randperm(8, generator=generator)[:5]]
    edges = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
    other = positions.clone()
    other[4] = positions[3] + torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, -1]], dtype=torch.float64)[seed % 3]
    order, q = torch.randperm(5, generator=generator), torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    first = geometric_graph(positions, edges)
    second = geometric_graph((other @ q.double().T)[order], order.argsort()[edges])
    colours = gwl([first, second], 4)
    for k in range(5):
        distinct = k_hop_distinct(first, second, k)
        assert distinct is oracle(first, second, k)
        separated = not colours[0][k].sort().values.equal(colours[1][k].sort().values)
        assert separated is distinct


def test_bad_input_is_refused() -> None:
    one, other = k_chains(2)
    images = GeometricGraph(
        one.positions, one.edge_index.repeat(1, 2), one.edge_vectors.repeat(2, 1), one.scalars, one.vectors,
        one.edge_scalars.repeat(2, 1),
    )  # fmt: skip
    calls: list[Any] = [lambda: k_hop_distinct(one, other, -1), lambda: k_hop_distinct(images, images, 1)]
    for call in calls:
        with pytest.raises(InputError):
            call()
