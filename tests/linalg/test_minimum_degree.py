"""Ordering and fill against elimination on plain Python sets."""

import numpy as np
import pytest

from polyad.linalg.minimum_degree import minimum_degree


def fill_of(order, edges, nodes):
    """Later neighbours of every pivot, by eliminating on sets."""
    neighbours = {v: set() for v in range(nodes)}
    for i, j in edges:
        if i != j:
            neighbours[i].add(j)
            neighbours[j].add(i)
    result, degrees = [], []
    for v in order:
        degrees.append((len(neighbours[v]), min(len(x) for x in neighbours.values())))
        result.append(set(neighbours[v]))
        for u in neighbours[v]:
            neighbours[u] |= neighbours[v]
            neighbours[u] -= {u, v}
        del neighbours[v]
    return result, degrees


@pytest.mark.parametrize(("nodes", "edges"), [(1, 0), (5, 6), (24, 51), (64, 100), (65, 150), (200, 420)])
def test_order_is_of_minimum_degree_and_fill_is_complete(nodes, edges):
    generator = np.random.default_rng(nodes)
    source, target = generator.integers(0, nodes, (2, edges))
    order, start, later = minimum_degree(nodes, source + 7, target + 7, 7)
    assert sorted(order) == list(range(nodes))
    expected, degrees = fill_of(order.tolist(), list(zip(source, target, strict=True)), nodes)
    for step in range(nodes):
        found = later[start[step] : start[step + 1]].tolist()
        assert len(found) == len(set(found))
        assert set(found) == expected[step]
        assert degrees[step][0] == degrees[step][1]


def test_a_tree_has_no_fill():
    nodes = 100
    parent = np.array([np.random.default_rng(k).integers(0, k) for k in range(1, nodes)])
    _, start, _ = minimum_degree(nodes, np.arange(1, nodes), parent, 0)
    assert start[-1] == nodes - 1
