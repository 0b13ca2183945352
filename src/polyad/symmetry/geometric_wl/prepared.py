"""Graphs made ready for the tests: one length scale, whole numbers for scalars, neighbours as lists.

All graphs of a comparison are prepared together, so that equal numbers mean equal values. Lengths are divided by the
longest edge of all graphs and vectors on nodes by the longest of these; what then differs by less than the tolerance is
the same. Values of a scalar are numbered by sorting and cutting where neighbours differ by more than the tolerance of
the largest.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, shortest_path
from scipy.spatial import cKDTree

from polyad.errors import InputError
from polyad.symmetry.geometric_wl.graphs import GeometricGraph
from polyad.symmetry.geometric_wl.orbits import Array


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """One graph.

    Args:
        labels: (nodes,) number of the node's scalars.
        source, target: (edges,).
        edge_labels: (edges,) number of the edge's scalars.
        edge_vectors: (edges, 3).
        vectors: (nodes, channels, 3).
        hops: (nodes, nodes) edges from a node to one that it sees, infinite where it never does.
        incoming: for every node, the edges that end in it.
        edge_ids: (edges,) number of the edge's vector, equal for equal vectors of this graph.
        vector_ids: (nodes, channels) the same for vectors on nodes.
        edge_tree, vector_tree: neighbour searches among the vectors.
    """

    labels: Array
    source: Array
    target: Array
    edge_labels: Array
    edge_vectors: Array
    vectors: Array
    hops: Array
    incoming: list[list[int]]
    edge_ids: Array
    vector_ids: Array
    edge_tree: cKDTree
    vector_tree: cKDTree

    def __len__(self) -> int:
        """Number of nodes."""
        return len(self.labels)


def prepare(graphs: Sequence[GeometricGraph], *, tolerance: float) -> list[Prepared]:
    """All graphs of a comparison.

    Raises:
        InputError: no graph, graphs with other numbers of scalars or vectors, or a tolerance out of range.
    """
    if not 0 < tolerance < 0.1:
        raise InputError(f"tolerance: {tolerance} was given; give a share of the largest length, between 0 and 0.1")
    kinds = {(g.scalars.shape[1], g.vectors.shape[1], g.edge_scalars.shape[1]) for g in graphs}
    if len(kinds) != 1:
        raise InputError(
            f"graphs: scalars, vectors and edge scalars number {sorted(kinds)}; give graphs with the same features"
        )
    edges = _split([g.edge_vectors for g in graphs], tolerance, scaled=True)
    vectors = _split([g.vectors for g in graphs], tolerance, scaled=True)
    labels = _split([g.scalars for g in graphs], tolerance, scaled=False)
    edge_labels = _split([g.edge_scalars for g in graphs], tolerance, scaled=False)
    return [
        _prepare(graph, *parts, tolerance=tolerance)
        for graph, *parts in zip(graphs, labels, edge_labels, edges, vectors, strict=True)
    ]


def number_rows(rows: Iterable[Hashable], table: dict[Hashable, int]) -> list[int]:
    """Numbers of rows by a table, which grows: equal rows, equal numbers."""
    return [table.setdefault(row, len(table)) for row in rows]


def number_values(values: Array, *, tolerance: float) -> Array:
    """Numbers of the rows of (n, features): sorted column by column and cut at gaps above tolerance x the largest."""
    columns = []
    for column in values.T:
        order = column.argsort()
        gaps = np.diff(column[order]) > tolerance * max(np.abs(column).max(initial=0.0), np.finfo(float).tiny)
        numbers = np.empty(len(column), np.int64)
        numbers[order] = np.concatenate([[0], gaps.cumsum()])[: len(column)]
        columns.append(numbers)
    if not columns:
        return np.zeros(len(values), np.int64)
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def _split(values: Sequence[torch.Tensor], tolerance: float, *, scaled: bool) -> list[Array]:
    """Vectors scaled to a largest length of 1, or numbers of scalars; one array a graph."""
    together = np.concatenate([value.detach().cpu().double().numpy() for value in values])
    if scaled:
        longest = np.linalg.norm(together, axis=-1).max(initial=0.0)
        found = together / longest if longest > 0 else together
    else:
        found = number_values(together, tolerance=tolerance)
    return np.split(found, np.cumsum([len(value) for value in values])[:-1])


def _prepare(
    graph: GeometricGraph, labels: Array, edge_labels: Array, edges: Array, vectors: Array, *, tolerance: float
) -> Prepared:
    nodes, (source, target) = graph.num_nodes, graph.edge_index.cpu().numpy()
    incoming: list[list[int]] = [[] for _ in range(nodes)]
    for edge, node in enumerate(target.tolist()):
        incoming[node].append(edge)
    seen = coo_array((np.ones(len(source)), (target, source)), shape=(nodes, nodes)).tocsr()
    edge_tree, vector_tree = cKDTree(edges), cKDTree(vectors.reshape(-1, 3))
    return Prepared(
        labels=labels,
        source=source,
        target=target,
        edge_labels=edge_labels,
        edge_vectors=edges,
        vectors=vectors,
        hops=shortest_path(seen, unweighted=True),
        incoming=incoming,
        edge_ids=_clusters(edge_tree, tolerance),
        vector_ids=_clusters(vector_tree, tolerance).reshape(vectors.shape[:2]),
        edge_tree=edge_tree,
        vector_tree=vector_tree,
    )


def _clusters(tree: cKDTree, tolerance: float) -> Array:
    """Numbers of the points, equal for points that chains of near points join."""
    if not tree.n:
        return np.zeros(0, np.int64)
    pairs = tree.query_pairs(tolerance, output_type="ndarray")
    joined = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(tree.n, tree.n))
    return connected_components(joined, directed=False)[1].astype(np.int64)
