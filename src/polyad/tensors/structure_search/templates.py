"""Templates: graphs whose bond sizes and whose placement of modes a search may choose.

A template has positions and edges between them. Mode m sits on position permutation[m]; positions beyond the modes
carry none. With ranks r_1..r_K on the edges this gives a `NetworkStructure`; placements that differ by an automorphism
of the template, or by bonds of size one, give the same one.

When not to use it: where the graph itself is to be found; start from `complete`, in which bonds of size one are none,
or use `greedy_tn`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isqrt
from typing import final

from polyad.errors import InputError
from polyad.tensors.structure_search.structures import NetworkStructure


@final
@dataclass(frozen=True)
class Template:
    """A graph to be filled.

    Args:
        name: for messages and drawings.
        order: number of modes; they take positions 0..order-1 in some order.
        edges: pairs of positions.
        permutes: False where every placement of the modes gives the same set of structures (a complete graph).
    """

    name: str
    order: int
    edges: tuple[tuple[int, int], ...]
    permutes: bool = True

    @property
    def nodes(self) -> int:
        """Positions, those without a mode included."""
        return max([self.order, *(1 + max(edge) for edge in self.edges)])

    def structure(
        self, shape: Sequence[int], ranks: Sequence[int], permutation: Sequence[int] | None = None
    ) -> NetworkStructure:
        """Fill the template: ranks[k] on edge k, mode m on position permutation[m] (by default its own number)."""
        order = self.order
        placed = tuple(range(order)) if permutation is None else tuple(permutation)
        if len(shape) != order or sorted(placed) != list(range(order)):
            raise InputError(
                f"permutation: {placed} for shape {tuple(shape)}; template {self.name} takes {order} modes"
            )
        if len(ranks) != len(self.edges):
            raise InputError(f"ranks: {len(ranks)} were given, template {self.name} has {len(self.edges)} edges")
        node_at = {position: mode for mode, position in enumerate(placed)}
        edges = {(node_at.get(i, i), node_at.get(j, j)): rank for (i, j), rank in zip(self.edges, ranks, strict=True)}
        return NetworkStructure.from_edges(shape, edges, nodes=self.nodes)


def ring(order: int) -> Template:
    """A cycle: the tensor ring. One edge for two modes, none for one."""
    closed = [(order - 1, 0)] if order > 2 else []
    return Template("ring", order, tuple([*((k, k + 1) for k in range(order - 1)), *closed]))


def path(order: int) -> Template:
    """A chain: the tensor train."""
    return Template("path", order, tuple((k, k + 1) for k in range(order - 1)))


def star(order: int) -> Template:
    """Every mode on one inner node: Tucker."""
    return Template("star", order, tuple((k, order) for k in range(order)), permutes=False)


def tree(order: int) -> Template:
    """A balanced binary tree whose leaves are the modes: the hierarchical format. Its root is an edge, not a node."""
    edges: list[tuple[int, int]] = []
    level, fresh = list(range(order)), order
    while len(level) > 3:
        following = []
        for k in range(0, len(level) - 1, 2):
            edges += [(level[k], fresh), (level[k + 1], fresh)]
            following.append(fresh)
            fresh += 1
        level = following + ([level[-1]] if len(level) % 2 else [])
    if len(level) == 3:
        edges += [(node, fresh) for node in level]
    elif len(level) == 2:
        edges.append((level[0], level[1]))
    return Template("tree", order, tuple(edges))


def complete(order: int) -> Template:
    """Every pair of modes: ranks of one choose the graph."""
    return Template("complete", order, tuple(combinations(range(order), 2)), permutes=False)


def grid(order: int, *, rows: int | None = None) -> Template:
    """A rectangular lattice (projected entangled pairs); by default the number of rows nearest below the square root.

    Raises:
        InputError: the order is no multiple of `rows`.
    """
    if rows is None:
        rows = next(k for k in range(isqrt(order), 0, -1) if order % k == 0)
    if rows < 1 or order % rows:
        raise InputError(f"rows: {rows} was given; it must divide the order {order}")
    columns = order // rows
    right = [(r * columns + c, r * columns + c + 1) for r in range(rows) for c in range(columns - 1)]
    down = [(r * columns + c, (r + 1) * columns + c) for r in range(rows - 1) for c in range(columns)]
    return Template("grid", order, tuple(right + down))


TEMPLATES = {"ring": ring, "path": path, "star": star, "tree": tree, "complete": complete, "grid": grid}
"""Templates by name: a function of the order each."""
