"""GWL: the geometric Weisfeiler-Leman test, which bounds what equivariant message passing can tell apart.

    c_i^0 = I-HASH(s_i, v_i),  g_i^0 = (c_i^0, v_i)
    g_i^t = ((c_i, g_i)^(t-1), multiset of (c_j, g_j, x_i - x_j)^(t-1) over j in N(i))
    c_i^t = I-HASH(g_i^t)                                  equal exactly for objects in one orbit of O(3) or SO(3)

The object g_i^t turns with the structure. It is never unfolded, for under a *fixed* map Q equality of nested objects
is ordinary colour refinement with vectors for edge labels:

    r_i^0 = (s_i, v_i),  r_i^t = (r_i, multiset of (r_j, x_i - x_j))^(t-1)   on the graph QA and the graph B together,
    Q g_i^t = g_j^t  exactly when  r_i^t = r_j^t

so c_i^t = c_j^t when some Q makes r_i^t = r_j^t. Candidates for Q come from `orbits.matching_maps`: the edges within t
hops of i, labelled by level, by the colours at their ends one level below and by their scalars.

Cost: with m edges and K candidates for Q, O(K t m log m) a pair of nodes. Each refinement is kept by (graphs, Q) and
serves all nodes and iterations. Only nodes of one colour are compared, with one representative of each finer colour. A
Q that makes two nodes equal once its refinement no longer splits makes them equal for ever, and is not sought again.
Two copies of a structure of 200 atoms and 2,000 edges take about a second.

Source: C. Joshi et al., ICML 2023, arXiv:2301.09308, equations 4 to 7.

*When not to use it*: noisy structures, where no two nodes are alike: every structure is then its own class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.geometric_wl.graphs import GeometricGraph
from polyad.symmetry.geometric_wl.orbits import TOLERANCE, Array, Group, check_group, map_key, matching_maps
from polyad.symmetry.geometric_wl.prepared import Prepared, number_rows, prepare


def gwl(
    graphs: Sequence[GeometricGraph], iterations: int, *, group: Group = "O(3)", tolerance: float = TOLERANCE
) -> list[Int[Tensor, "steps nodes"]]:
    """Colours c^0 to c^iterations of the nodes, one (iterations + 1, nodes) a graph.

    Colours of one iteration compare across the graphs: equal exactly where the test sees no difference.

    Args:
        graphs: one or more.
        iterations: rounds of messages.
        group: "O(3)", or "SO(3)" to tell mirror images apart.
        tolerance: differences that do not count, as a share of the longest edge.

    Raises:
        InputError: no graph, unequal features, a negative number of iterations, an unknown group.
    """
    if iterations < 0:
        raise InputError(f"iterations: {iterations} was given; give 0 or more")
    steps = list(islice(nested_colours(graphs, group=group, tolerance=tolerance), iterations + 1))
    steps += [steps[-1]] * (iterations + 1 - len(steps))
    return split_colours(np.stack(steps), graphs)


def nested_colours(graphs: Sequence[GeometricGraph], *, group: Group, tolerance: float) -> Iterator[Array]:
    """c^0, c^1, ... of all nodes of all graphs in turn; ends when no later iteration can change anything."""
    check_group(group)
    search = _Search(prepare(graphs, tolerance=tolerance), group, tolerance)
    for step in range(search.bound + 1):
        search.refine(step)
        yield search.colours[-1]
        if search.final:
            return


def split_colours(steps: Array, graphs: Sequence[GeometricGraph]) -> list[Int[Tensor, "steps nodes"]]:
    """Colours of all nodes as one tensor a graph."""
    return list(torch.from_numpy(steps.astype(np.int64)).split([graph.num_nodes for graph in graphs], dim=1))


@final
class _Search:
    """Colours of all nodes so far, and everything that is remembered between comparisons."""

    def __init__(self, graphs: list[Prepared], group: Group, tolerance: float) -> None:
        self.graphs, self.group, self.tolerance = graphs, group, tolerance
        self.place = [(number, node) for number, graph in enumerate(graphs) for node in range(len(graph))]
        self.starts = np.cumsum([0] + [len(graph) for graph in graphs])
        self.base = np.concatenate([graph.labels for graph in graphs])
        self.colours: list[Array] = []
        self.final = False
        self.bound = 2 * len(self.base)  # a refinement of two graphs splits no more than they have nodes
        self._refinements: dict[tuple[Any, ...], list[Array]] = {}
        self._known: dict[tuple[int, int], list[Array]] = {}

    def refine(self, step: int) -> None:
        """Append c^step: members of a colour join the first representative that they equal, or begin a colour."""
        before = self.colours[-1] if self.colours else self.base
        objects: dict[int, tuple[Array, Array]] = {}
        representatives: dict[int, list[tuple[int, int]]] = {}
        colours, count, final = np.empty(len(before), np.int64), 0, True
        for node, old in enumerate(before.tolist()):
            for other, colour in representatives.setdefault(old, []):
                if self._equal(other, node, step, objects):
                    colours[node] = colour
                    final = final and self._equal_under(self._known[other, node], other, node, None)
                    break
            else:
                representatives[old].append((node, count))
                colours[node], count = count, count + 1
        self.colours.append(colours)
        self.final = final

    def _equal(self, first: int, second: int, step: int, objects: dict[int, tuple[Array, Array]]) -> bool:
        known = self._known.get((first, second))
        if known is not None and self._equal_under(known, first, second, step):
            return True
        for node in (first, second):
            if node not in objects:
                objects[node] = self._object(node, step)
        a, b = self.place[first][0], self.place[second][0]
        candidates = matching_maps(*objects[first], *objects[second], group=self.group, tolerance=self.tolerance)
        for candidate in candidates:
            key = (a, b, map_key(candidate))
            if key not in self._refinements:
                self._refinements[key] = _refine_under(self.graphs[a], self.graphs[b], candidate, self.tolerance)
            levels = self._refinements[key]
            if self._equal_under(levels, first, second, step):
                self._known[first, second] = levels
                return True
        return False

    def _equal_under(self, levels: list[Array], first: int, second: int, step: int | None) -> bool:
        """Whether the refinement gives both nodes one colour at `step`, or for ever."""
        (a, i), (_, j) = self.place[first], self.place[second]
        level = levels[-1] if step is None else levels[min(step, len(levels) - 1)]
        return bool(level[i] == level[len(self.graphs[a]) + j])

    def _object(self, node: int, step: int) -> tuple[Array, Array]:
        """Labels and vectors of g^step, level by level; as a set, without the nesting."""
        number, root = self.place[node]
        graph, start, size = self.graphs[number], self.starts[number], len(self.base) + 1
        hops, channels = graph.hops[root], graph.vectors.shape[1]
        near = (hops <= step).nonzero()[0]
        own = self.base[start + near] if step == 0 else self.colours[0][start + near]
        labels = [-1 - (own[:, None] * channels + np.arange(channels)).ravel()]
        vectors = [graph.vectors[near].reshape(-1, 3)]
        for level in range(1, step + 1):
            edges = (hops[graph.target] <= step - level).nonzero()[0]
            colours = self.colours[level - 1][start : start + len(graph)]
            ends = colours[graph.target[edges]] * size + colours[graph.source[edges]]
            labels.append((graph.edge_labels[edges] * (step + 1) + level) * size**2 + ends)
            vectors.append(graph.edge_vectors[edges])
        return np.concatenate(labels), np.concatenate(vectors)


def _refine_under(a: Prepared, b: Prepared, candidate: Array, tolerance: float) -> list[Array]:
    """r^0, r^1, ... on QA and B together until nothing splits; nodes of A first."""
    edges_a = _nearest(b.edge_tree, b.edge_ids, a.edge_vectors @ candidate.T, tolerance)
    vectors_a = _nearest(b.vector_tree, b.vector_ids.ravel(), a.vectors.reshape(-1, 3) @ candidate.T, tolerance)
    edge_ids = np.concatenate([edges_a, b.edge_ids]).tolist()
    edge_labels = np.concatenate([a.edge_labels, b.edge_labels]).tolist()
    source = np.concatenate([a.source, b.source + len(a)]).tolist()
    incoming = a.incoming + [[edge + len(a.source) for edge in edges] for edges in b.incoming]
    vector_ids = np.concatenate([vectors_a.reshape(len(a), -1), b.vector_ids]).tolist()
    labels = np.concatenate([a.labels, b.labels]).tolist()
    colours = number_rows(((label, *ids) for label, ids in zip(labels, vector_ids, strict=True)), {})
    levels = [np.array(colours)]
    while True:
        before = colours
        rows = (
            (before[node], *sorted((before[source[edge]], edge_ids[edge], edge_labels[edge]) for edge in edges))
            for node, edges in enumerate(incoming)
        )
        colours = number_rows(rows, {})
        if max(colours) == max(before):
            return levels
        levels.append(np.array(colours))


def _nearest(tree: Any, numbers: Array, vectors: Array, tolerance: float) -> Array:
    """Number of the vector in the tree that each is, or -1."""
    if not tree.n or not len(vectors):
        return np.full(len(vectors), -1)
    distance, index = tree.query(vectors)
    return np.where(distance <= tolerance, numbers[index], -1)
