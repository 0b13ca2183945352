"""IGWL against refinement with invariants written out, body orders on pairs that need them, and its laws."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.geometric_wl import GeometricGraph, counterexamples, geometric_graph, gwl, igwl, k_chains

CASES: tuple[Any, ...] = (2, 3, 4, "chiral")
MIRROR = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))


def cluster(seed: int, *, vectors: int = 0) -> GeometricGraph:
    """Random points of a small grid, joined where near; coincidences, but no symmetry."""
    generator = np.random.default_rng(seed)
    grid = np.array(list(itertools.product(range(3), range(3), range(2))))
    positions = torch.from_numpy(1.0 * generator.permutation(grid)[:8])
    edges = (torch.cdist(positions, positions) < 1.5).fill_diagonal_(False).nonzero().T
    own = torch.from_numpy(1.0 * generator.integers(0, 2, (8, vectors, 3)))
    return geometric_graph(positions, edges, scalars=torch.from_numpy(generator.integers(0, 2, 8)), vectors=own)


def oracle(graphs: list[GeometricGraph], steps: int, order: int) -> list[list[Any]]:
    """Colours as nested tuples, from rounded distances and inner products of sorted sets of neighbours."""

    def product(x: Tensor, y: Tensor) -> float:
        return round(float(x @ y), 6)

    colours: list[list[Any]] = [
        [(float(s), product(v[0], v[0])) for s, v in zip(g.scalars, g.vectors, strict=True)] for g in graphs
    ]
    for _ in range(steps):
        new = []
        for graph, old in zip(graphs, colours, strict=True):
            row = []
            for node in range(graph.num_nodes):
                edges = (graph.edge_index[1] == node).nonzero()[:, 0].tolist()
                parts = []
                for chosen in itertools.combinations(edges, min(order - 1, len(edges))):
                    rows = []
                    for turn in itertools.permutations(chosen):
                        sources = graph.edge_index[0, list(turn)].tolist()
                        seen = [graph.vectors[node, 0]]
                        for edge, source in zip(turn, sources, strict=True):
                            seen += [graph.edge_vectors[edge], graph.vectors[source, 0]]
                        rows.append((tuple(old[s] for s in sources), tuple(product(x, y) for x in seen for y in seen)))
                    parts.append(min(rows))
                row.append((old[node], tuple(sorted(parts))))
            new.append(row)
        colours = new
    return colours


@pytest.mark.parametrize("order", [2, 3, 4])
def test_body_orders_are_multisets_of_invariants(order: int) -> None:
    graphs = [cluster(0, vectors=1), cluster(1, vectors=1)]
    graphs.append(geometric_graph(graphs[0].positions @ MIRROR, graphs[0].edge_index, scalars=graphs[0].scalars,
                                  vectors=graphs[0].vectors @ MIRROR))  # fmt: skip
    for steps in range(3):
        expected = [colour for row in oracle(graphs, steps, order) for colour in row]
        found = torch.cat([steps_of[-1] for steps_of in igwl(graphs, steps, body_order=order)]).tolist()
        for i, j in itertools.product(range(len(found)), repeat=2):
            assert (found[i] == found[j]) is (expected[i] == expected[j])
        assert 1 < len(set(found)) < len(found)


def separated(graphs: Any, **options: Any) -> list[bool]:
    one, other = igwl(graphs, 2, **options)
    return [not a.sort().values.equal(b.sort().values) for a, b in zip(one, other, strict=True)]


@pytest.mark.parametrize(("case", "needed"), list(zip(CASES, (3, 4, 5, 5), strict=True)))
def test_counterexamples_need_their_body_order(case: Any, needed: int) -> None:
    pair = counterexamples(case)
    group: Any = "SO(3)" if case == "chiral" else "O(3)"
    for order in range(2, needed):
        assert separated(pair, body_order=order, group=group) == [False, False, False]
    for enough in (needed, needed + 1, None):
        assert separated(pair, body_order=enough, group=group) == [False, True, True]
    if case == "chiral":
        assert separated(pair) == separated(pair, body_order=5) == [False, False, False]


@pytest.mark.parametrize("order", [2, 3, 4, None])
@pytest.mark.parametrize("k", range(2, 7))
def test_chains_are_never_separated(k: int, order: int | None) -> None:
    one, other = igwl(k_chains(k), 2 * k + 4, body_order=order)
    for a, b in zip(one, other, strict=True):
        assert a.sort().values.equal(b.sort().values)


@pytest.mark.parametrize("group", ["O(3)", "SO(3)"])
def test_orders_refine_one_another_up_to_gwl(group: Any) -> None:
    """A higher body order, the whole star and GWL never merge what a lower one tells apart."""
    graphs = [*k_chains(2), *(graph for case in CASES for graph in counterexamples(case))]
    orders: tuple[int | None, ...] = (2, 3, 4, 5, None)
    partitions = [igwl(graphs, 2, body_order=order, group=group) for order in orders] + [gwl(graphs, 2, group=group)]
    for step in range(3):
        colours = [torch.cat([graph[step] for graph in found]) for found in partitions]
        for coarse, fine in itertools.pairwise(colours):
            assert len(torch.stack([coarse, fine]).unique(dim=1)[0]) == len(fine.unique())
    sizes = [len(colour.unique()) for colour in colours]
    assert sizes[0] < sizes[1] < sizes[2] < sizes[3] == sizes[4]  # none needs a sixth body


@pytest.mark.parametrize("order", [3, 4, None])
def test_mirror_images_and_turned_copies(order: int | None) -> None:
    graph = cluster(2, vectors=2)
    q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    q = q * torch.linalg.det(q).sign()
    for turn, group, equal in ((q, "SO(3)", True), (q @ MIRROR, "O(3)", True), (q @ MIRROR, "SO(3)", False)):
        copy = geometric_graph(
            graph.positions @ turn.T, graph.edge_index, scalars=graph.scalars, vectors=graph.vectors @ turn.T
        )
        one, other = igwl([graph, copy], 3, body_order=order, group=group)  # type: ignore[arg-type]
        assert torch.equal(one, other) is equal


def test_bad_input_is_refused() -> None:
    pair = k_chains(2)
    for call in (lambda: igwl(pair, -1), lambda: igwl(pair, 1, body_order=1), lambda: igwl([], 1)):
        with pytest.raises(InputError):
            call()
