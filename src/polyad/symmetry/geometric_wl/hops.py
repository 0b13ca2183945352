"""k-hop distinct structures: which of two graphs' neighbourhoods give them away, and how large these must be.

For two geometric graphs whose graphs are isomorphic, let N_i^k be what lies within k hops of node i. They are *k-hop
identical* if some isomorphism b of the graphs (with their scalars) is, around every node, the work of an element Q_i of
the group: Q_i (x_u - x_w) = x_b(u) - x_b(w) and Q_i v_u = v_b(u) on N_i^k. Otherwise they are *k-hop distinct*. GWL
tells k-hop distinct graphs apart after k iterations, and k-hop identical ones not within k iterations (propositions 1
and 2).

The search assigns nodes one by one, each next to one that is assigned, to nodes of equal GWL colour only, and goes back
as soon as the assigned part of a neighbourhood fits no Q. Cost: exponential at worst, for graphs with many
isomorphisms that agree with the geometry around every node but the last; linear in the nodes where colours decide.

Source: C. Joshi et al., ICML 2023, arXiv:2301.09308, section 3.

*Deviations*: an edge between two nodes that are both k hops away is not in N_i^k: k iterations do not see it. Graphs
that are not isomorphic count as distinct for every k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from polyad.errors import InputError
from polyad.symmetry.geometric_wl.graphs import GeometricGraph
from polyad.symmetry.geometric_wl.nested import gwl
from polyad.symmetry.geometric_wl.orbits import TOLERANCE, Array, Group, check_group
from polyad.symmetry.geometric_wl.prepared import Prepared, prepare


def k_hop_distinct(
    first: GeometricGraph, second: GeometricGraph, k: int, *, group: Group = "O(3)", tolerance: float = TOLERANCE
) -> bool:
    """Whether no isomorphism of the graphs fits the geometry within k hops of every node.

    Args:
        first, second: the structures.
        k: hops; 0 compares scalars and the vectors on single nodes.
        group: "O(3)" or "SO(3)".
        tolerance: differences that do not count, as a share of the longest edge.

    Raises:
        InputError: a negative k, unequal features, several edges between one pair of nodes, an unknown group.
    """
    check_group(group)
    if k < 0:
        raise InputError(f"k: {k} was given; give 0 or more hops")
    a, b = prepare([first, second], tolerance=tolerance)
    if len(a) != len(b) or len(a.source) != len(b.source):
        return True
    colours = [steps[-1].numpy() for steps in gwl([first, second], k, group=group, tolerance=tolerance)]
    if not np.array_equal(np.sort(colours[0]), np.sort(colours[1])):
        return True
    return not _Matching(a, b, colours, k, group, tolerance).complete()


@final
class _Matching:
    """A part of an isomorphism, and whether it may be extended."""

    def __init__(
        self, a: Prepared, b: Prepared, colours: Sequence[Array], k: int, group: Group, tolerance: float
    ) -> None:
        self.a, self.b, self.colours, self.k, self.group, self.tolerance = a, b, colours, k, group, tolerance
        self.edges_a, self.edges_b = _edges_between(a), _edges_between(b)
        self.order = _connected_order(a)
        self.image: dict[int, int] = {}

    def complete(self) -> bool:
        """Whether nodes that are not assigned yet can be, so that everything fits."""
        if len(self.image) == len(self.order):
            return True
        node = self.order[len(self.image)]
        for candidate in (self.colours[1] == self.colours[0][node]).nonzero()[0].tolist():
            if candidate in self.image.values():
                continue
            self.image[node] = candidate
            if self._keeps_edges(node) and self._fits(node) and self.complete():
                return True
            del self.image[node]
        return False

    def _keeps_edges(self, node: int) -> bool:
        """Whether edges between the node and assigned ones go to edges with the same scalars, and no edge to none."""
        for other in self.image:
            for pair in ((node, other), (other, node)):
                edge = self.edges_a.get(pair)
                mapped = self.edges_b.get((self.image[pair[0]], self.image[pair[1]]))
                if (edge is None) != (mapped is None):
                    return False
                if edge is not None and self.a.edge_labels[edge] != self.b.edge_labels[mapped]:
                    return False
        return True

    def _fits(self, node: int) -> bool:
        """Whether the assigned part of every neighbourhood that has the node moves by an element of the group."""
        return all(self._moves(root) for root in self.image if self.a.hops[root, node] <= self.k)

    def _moves(self, root: int) -> bool:
        hops = self.a.hops[root]
        near = [node for node in self.image if hops[node] <= self.k]
        pairs = [(u, w) for u in near if hops[u] <= self.k - 1 for w in self.image if (u, w) in self.edges_a]
        edges = [self.edges_a[pair] for pair in pairs]
        images = [self.edges_b[self.image[u], self.image[w]] for u, w in pairs]
        there = [self.image[node] for node in near]
        before = np.concatenate([self.a.edge_vectors[edges], self.a.vectors[near].reshape(-1, 3)])
        after = np.concatenate([self.b.edge_vectors[images], self.b.vectors[there].reshape(-1, 3)])
        left, _, right = np.linalg.svd(after.T @ before)
        if self.group == "SO(3)" and np.linalg.det(left @ right) < 0:
            left[:, 2] *= -1
        return bool(np.abs(before @ (left @ right).T - after).max(initial=0.0) <= self.tolerance)


def _edges_between(graph: Prepared) -> dict[tuple[int, int], int]:
    """Edges by target and source."""
    found = {pair: edge for edge, pair in enumerate(zip(graph.target.tolist(), graph.source.tolist(), strict=True))}
    if len(found) < len(graph.source):
        raise InputError("k_hop_distinct: two edges join one pair of nodes; enlarge the cell until images are apart")
    return found


def _connected_order(graph: Prepared) -> list[int]:
    """All nodes, each joined to an earlier one where there is one."""
    order: list[int] = []
    while len(order) < len(graph):
        rest = [node for node in range(len(graph)) if node not in order]
        near = [graph.hops[order, node].min(initial=np.inf) for node in rest]
        order.append(rest[int(np.argmin(near))])
    return order
