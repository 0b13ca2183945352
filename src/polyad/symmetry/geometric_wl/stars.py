"""IGWL: the invariant test, which bounds message passing that hands on scalars only.

    c_i^0 = I-HASH(s_i, v_i)
    c_i^t = I-HASH((c_i, v_i)^(t-1), multiset of (c_j, v_j, x_i - x_j)^(t-1) over j in N(i))

Colours pass from node to node, orientations do not: a node knows the shape of its own star and the colours in it. With
a body order k, a node does not know its star as a whole, but only the multiset of

    I-HASH((c_i, v_i), {(c_j, v_j, x_i - x_j): j in S})     over the sets S of k - 1 neighbours, all if there are fewer:

distances for k = 2, triangles (distances and angles) for 3, and so on. Such a set is known by the Gram matrix of its
vectors, for SO(3) by their triple products too; the least of the numbered matrices over the orders of S stands for it.

Cost of an iteration, n nodes of degree d: the whole star O(n d^2) a comparison (`orbits`); body order k costs
O(n C(d, k - 1) (k - 1)! k^2).

Source: C. Joshi et al., ICML 2023, arXiv:2301.09308, equations 8 and 9.

*Deviations*: Gram entries are numbered by cutting their sorted values at gaps above the tolerance, so that chains of
near values count as one; among more than about 10^4 different values take a smaller tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, permutations
from typing import Any, final

import numpy as np
from jaxtyping import Int
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.geometric_wl.graphs import GeometricGraph
from polyad.symmetry.geometric_wl.nested import split_colours
from polyad.symmetry.geometric_wl.orbits import TOLERANCE, Array, Group, OrbitTable, check_group
from polyad.symmetry.geometric_wl.prepared import Prepared, number_rows, number_values, prepare


def igwl(
    graphs: Sequence[GeometricGraph],
    iterations: int,
    *,
    body_order: int | None = None,
    group: Group = "O(3)",
    tolerance: float = TOLERANCE,
) -> list[Int[Tensor, "steps nodes"]]:
    """Colours c^0 to c^iterations of the nodes, one (iterations + 1, nodes) a graph, as of `gwl`.

    Args:
        graphs: one or more.
        iterations: rounds of messages.
        body_order: nodes that an invariant sees at once, 2 or more; None lets it see the whole star.
        group: "O(3)", or "SO(3)" to tell mirror images apart.
        tolerance: differences that do not count, as a share of the longest edge.

    Raises:
        InputError: no graph, unequal features, iterations or a body order out of range, an unknown group.
    """
    if iterations < 0:
        raise InputError(f"iterations: {iterations} was given; give 0 or more")
    found = invariant_colours(graphs, body_order=body_order, group=group, tolerance=tolerance)
    steps = list(islice(found, iterations + 1))
    steps += [steps[-1]] * (iterations + 1 - len(steps))
    return split_colours(np.stack(steps), graphs)


def invariant_colours(
    graphs: Sequence[GeometricGraph], *, body_order: int | None, group: Group, tolerance: float
) -> Iterator[Array]:
    """c^0, c^1, ... of all nodes of all graphs in turn; ends when no later iteration can change anything."""
    check_group(group)
    if body_order is not None and body_order < 2:
        raise InputError(f"body_order: {body_order} was given; give 2 (distances) or more")
    prepared = prepare(graphs, tolerance=tolerance)
    starts = np.cumsum([0] + [len(graph) for graph in prepared])
    table = OrbitTable(group=group, tolerance=tolerance)
    lone = [(graph.labels[node], graph.vectors[node]) for graph in prepared for node in range(len(graph))]
    # one element a channel, labelled by its number
    first = ((int(label), table.number(np.arange(len(own)), own[:, None])) for label, own in lone)
    colours = np.array(number_rows(first, {}))
    yield colours
    if not len(colours):
        return
    stars = [
        _star(graph, node, int(start))
        for graph, start in zip(prepared, starts[:-1], strict=True)
        for node in range(len(graph))
    ]
    shapes = [] if body_order is None else _shapes(stars, body_order - 1, group, tolerance)
    while True:
        before = colours
        if body_order is None:
            rows = [_whole_star(star, before, table) for star in stars]
        else:
            rows = [_parts_of_star(star, before, shape) for star, shape in zip(stars, shapes, strict=True)]
        colours = np.array(number_rows(rows, {}))
        yield colours
        if colours.max() == before.max():
            return


@final
@dataclass(frozen=True, eq=False)
class _Star:
    """A node (its number among all nodes) and what it sees.

    Args:
        node: number among the nodes of all graphs.
        neighbours: (degree,) numbers of the sources.
        edge_labels: (degree,).
        own: (channels, 3) vectors on the node.
        vectors: (degree, 1 + channels, 3) the edge's vector, then those on the source.
    """

    node: int
    neighbours: Array
    edge_labels: Array
    own: Array
    vectors: Array


def _star(graph: Prepared, node: int, start: int) -> _Star:
    edges = np.array(graph.incoming[node], np.int64)
    source = graph.source[edges]
    seen = np.concatenate([graph.edge_vectors[edges, None], graph.vectors[source]], axis=1)
    return _Star(start + node, start + source, graph.edge_labels[edges], graph.vectors[node], seen)


def _element_labels(star: _Star, colours: Array) -> Array:
    return star.edge_labels * len(colours) + colours[star.neighbours]


def _whole_star(star: _Star, colours: Array, table: OrbitTable) -> tuple[int, int]:
    """Colour of the node, and the orbit of its star: the node, with no edge but its vectors, and all sources."""
    labels = np.concatenate([[-1], _element_labels(star, colours)])
    root = np.concatenate([np.zeros((1, 3)), star.own])
    return int(colours[star.node]), table.number(labels, np.concatenate([root[None], star.vectors]))


def _parts_of_star(star: _Star, colours: Array, shape: tuple[Array, Array]) -> tuple[Any, ...]:
    """Colour of the node, and the multiset of its sets of neighbours, each by its smallest row."""
    orders, invariants = shape
    rows = np.concatenate([_element_labels(star, colours)[orders], invariants], axis=-1).tolist()
    return int(colours[star.node]), *sorted(tuple(min(alike)) for alike in rows)


def _shapes(stars: Sequence[_Star], size: int, group: Group, tolerance: float) -> list[tuple[Array, Array]]:
    """For every star: its sets of neighbours in all orders (sets, orders, size), and their numbered invariants."""
    vectors = [np.concatenate([star.own, star.vectors.reshape(-1, 3)]) for star in stars]
    products = _numbered([v @ v.T for v in vectors], tolerance)
    triples = [np.zeros((1,) * 3, np.int64)] * len(stars)
    if group == "SO(3)":
        triples = _numbered([np.cross(v[:, None], v) @ v.T for v in vectors], tolerance)
    return [
        _shape(star, min(size, len(star.neighbours)), *numbers, oriented=group == "SO(3)")
        for star, *numbers in zip(stars, products, triples, strict=True)
    ]


def _shape(star: _Star, size: int, products: Array, triples: Array, *, oriented: bool) -> tuple[Array, Array]:
    degree, channels = len(star.neighbours), len(star.own)
    sets = np.array(list(combinations(range(degree), size)), np.int64).reshape(math.comb(degree, size), size)
    orders = sets[:, np.array(list(permutations(range(size))), np.int64).reshape(math.factorial(size), size)]
    slots = channels + orders[..., None] * (1 + channels) + np.arange(1 + channels)
    own = np.broadcast_to(np.arange(channels), (*orders.shape[:2], channels))
    rows = np.concatenate([own, slots.reshape(*orders.shape[:2], -1)], axis=-1)
    invariants = products[rows[..., :, None], rows[..., None, :]].reshape(*orders.shape[:2], -1)
    if oriented:
        triple = triples[rows[..., :, None, None], rows[..., None, :, None], rows[..., None, None, :]]
        invariants = np.concatenate([invariants, triple.reshape(*orders.shape[:2], -1)], axis=-1)
    return orders, invariants


def _numbered(arrays: Sequence[Array], tolerance: float) -> list[Array]:
    """Numbers for the values of all arrays together, in their shapes."""
    together = np.concatenate([array.ravel() for array in arrays])
    numbers = np.split(number_values(together[:, None], tolerance=tolerance), np.cumsum([a.size for a in arrays])[:-1])
    return [number.reshape(array.shape) for number, array in zip(numbers, arrays, strict=True)]
