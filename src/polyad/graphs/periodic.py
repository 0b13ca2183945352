"""Components of periodic graphs and the number of directions in which each repeats.

A periodic graph is stored as a quotient graph: unique nodes, and edges (i, j, s) that join node i of every cell to node
j of the cell displaced by the integers s. Every closed walk of the quotient graph adds up to an integer vector; the
vectors of one component generate its *cycle lattice*, and the rank of that lattice is the dimension of the component:
0 an island, 1 a chain, 2 a sheet, 3 a three-periodic net. The index |det| of a full-rank cycle lattice in Z^3 is the
number of disjoint (interpenetrating) copies that the component stands for.

Method: union-find with integer potentials, p[j] = p[i] + s along tree edges; each edge then gives the cycle vector
p[i] + s - p[j], and these are collected in Hermite normal form. All arithmetic is on integers: 64-bit while it is safe,
Python's unbounded integers beyond.

Source: Chung, Hahn, Klee, Acta Cryst. A40 (1984) 42-50 (quotient graphs); Delgado-Friedrichs and O'Keeffe, Acta Cryst.
A59 (2003) 351-360; Cohen, A Course in Computational Algebraic Number Theory (1993), section 2.4 (Hermite normal form).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError

_SAFE = 2**14  # Euclid on two columns of such entries stays below 2**59


@final
@dataclass(frozen=True, eq=False)
class PeriodicComponents:
    """Connected components of one periodic graph, or of several concatenated ones.

    Args:
        label: (nodes,) component of every node; components are counted in the order of their first node.
        dimension: (components,) number of independent directions of repetition, 0 to 3.
        directions: (components, 3, 3) rows generate the cycle lattice (Hermite normal form, in units of the lattice
            vectors), followed by rows of zeros.
        component_start: (graphs + 1,) graph b owns components component_start[b] .. component_start[b + 1].
    """

    label: Int[Tensor, " nodes"]
    dimension: Int[Tensor, " components"]
    directions: Float[Tensor, "components 3 3"]
    component_start: Int[Tensor, " graphs_plus_one"]

    def __len__(self) -> int:
        """Number of components."""
        return self.dimension.shape[0]


def periodic_components(
    num_nodes: int, edge_index: Int[Tensor, "2 edges"], edge_shift: Int[Tensor, "edges 3"]
) -> PeriodicComponents:
    """Connected components of one periodic graph, each with its dimension and a basis of its cycle lattice.

    Args:
        num_nodes: number of unique nodes.
        edge_index: (2, edges) source and target of every edge.
        edge_shift: (edges, 3) cell of the target relative to that of the source.

    Raises:
        InputError: a node index out of range.
    """
    starts = torch.tensor([0, num_nodes]), torch.tensor([0, edge_index.shape[1]])
    return periodic_components_batched(*starts, edge_index, edge_shift)


def periodic_components_batched(
    node_start: Int[Tensor, " graphs_plus_one"],
    edge_start: Int[Tensor, " graphs_plus_one"],
    edge_index: Int[Tensor, "2 edges"],
    edge_shift: Int[Tensor, "edges 3"],
) -> PeriodicComponents:
    """Components of many periodic graphs at once; graph b owns nodes node_start[b] .. node_start[b + 1].

    Args:
        node_start: (graphs + 1,) first node of every graph.
        edge_start: (graphs + 1,) first edge of every graph.
        edge_index: (2, edges) nodes counted over all graphs.
        edge_shift: (edges, 3) integers.

    Raises:
        InputError: an edge that leaves the nodes of its graph, or shifts so large that their sums could overflow.
    """
    device = edge_index.device
    nodes, edges, index, shift = (
        np.ascontiguousarray(x.detach().cpu().numpy(), dtype=np.int64)
        for x in (node_start, edge_start, edge_index, edge_shift)
    )
    # compiled code does not check bounds, so nothing unchecked may reach it
    _validate(nodes, edges, index, shift)
    label, component_start, vectors = _potentials(nodes, edges, index, shift)
    edge_label, count = label[index[0]], int(component_start[-1])
    basis, safe = _hermite(edge_label, vectors, count)
    if not safe:
        basis = _hermite_unbounded(edge_label, vectors, count)
    return PeriodicComponents(
        label=torch.from_numpy(label).to(device),
        dimension=torch.from_numpy((basis != 0).any(axis=2).sum(axis=1)).to(device),
        directions=torch.from_numpy(basis.astype(np.float64)).to(device),
        component_start=torch.from_numpy(component_start).to(device),
    )


def _validate(nodes: np.ndarray, edges: np.ndarray, index: np.ndarray, shift: np.ndarray) -> None:
    starts_fit = len(nodes) == len(edges) and all(
        len(x) and x[0] == 0 and (np.diff(x) >= 0).all() for x in (nodes, edges)
    )
    if not starts_fit or not len(shift) == index.shape[1] == edges[-1]:
        raise InputError("node_start, edge_start: must rise from 0 to the number of nodes and edges, one shift an edge")
    low, high = np.repeat(nodes[:-1], np.diff(edges)), np.repeat(nodes[1:], np.diff(edges))
    if ((index < low) | (index >= high)).any():
        raise InputError(f"edge_index: every edge must join nodes of its own graph (0 to {nodes[-1] - 1} in all)")
    if len(shift) and max(-int(shift.min()), int(shift.max())) >= 2**61 // max(int(np.diff(nodes).max()), 1):
        raise InputError("edge_shift: image indices so large that their sums overflow; wrap the nodes into the cell")


@numba.njit(cache=True, nogil=True)
@no_type_check
def _find(parent, offset, node):
    """Root of `node`, which afterwards hangs directly below it with its offset from the root (a root has offset 0)."""
    root = parent[node]
    if parent[root] == root:
        return root
    root = node
    total0, total1, total2 = 0, 0, 0
    while parent[root] != root:
        total0 += offset[root, 0]
        total1 += offset[root, 1]
        total2 += offset[root, 2]
        root = parent[root]
    while parent[node] != root and node != root:
        above = parent[node]
        parent[node] = root
        own0, own1, own2 = offset[node, 0], offset[node, 1], offset[node, 2]
        offset[node, 0], offset[node, 1], offset[node, 2] = total0, total1, total2
        total0 -= own0
        total1 -= own1
        total2 -= own2
        node = above
    return root


@numba.njit(cache=True, nogil=True)
@no_type_check
def _potentials(nodes, edges, index, shift):
    """Component of every node, first component of every graph, cycle vector of every edge (0 on tree edges)."""
    num_nodes = nodes[-1]
    parent = np.arange(num_nodes)
    offset = np.zeros((num_nodes, 3), np.int64)
    label = np.empty(num_nodes, np.int64)
    component_start = np.zeros(len(nodes), np.int64)
    vectors = np.empty((len(shift), 3), np.int64)
    count = 0
    for graph in range(len(nodes) - 1):
        for e in range(edges[graph], edges[graph + 1]):
            i, j = index[0, e], index[1, e]
            root, other = _find(parent, offset, i), _find(parent, offset, j)
            low, high = min(root, other), max(root, other)  # roots are first nodes, so labels follow node order
            if low != high:
                sign = 1 if high == other else -1
                parent[high] = low
                for k in range(3):
                    offset[high, k] = sign * (offset[i, k] + shift[e, k] - offset[j, k])
        for node in range(nodes[graph], nodes[graph + 1]):
            root = _find(parent, offset, node)
            if root == node:
                label[node] = count
                count += 1
            else:
                label[node] = label[root]
        for e in range(edges[graph], edges[graph + 1]):
            for k in range(3):
                vectors[e, k] = offset[index[0, e], k] + shift[e, k] - offset[index[1, e], k]
        component_start[graph + 1] = count
    return label, component_start, vectors


@numba.njit(cache=True, nogil=True)
@no_type_check
def _insert(basis, vector):
    """Add one vector to the lattice spanned by the rows of an upper-triangular basis (row c has its pivot at c)."""
    for c in range(3):
        while vector[c] != 0 and basis[c, c] != 0:
            quotient = vector[c] // basis[c, c]
            for k in range(c, 3):
                rest = vector[k] - quotient * basis[c, k]
                vector[k] = basis[c, k]
                basis[c, k] = rest
            if basis[c, c] == 0:
                for k in range(c, 3):
                    basis[c, k], vector[k] = vector[k], basis[c, k]
        if vector[c] != 0:
            for k in range(c, 3):
                basis[c, k] = vector[k]
            return
        for k in range(c + 1, 3):  # keep the numbers small: reduce by the pivots below
            if basis[k, k] != 0:
                quotient = vector[k] // basis[k, k]
                for m in range(k, 3):
                    vector[m] -= quotient * basis[k, m]


@numba.njit(cache=True, nogil=True)
@no_type_check
def _normalise(basis):
    """Hermite normal form: positive pivots, entries above a pivot within [0, pivot), zero rows last."""
    for c in range(3):
        if basis[c, c] < 0:
            for k in range(c, 3):
                basis[c, k] = -basis[c, k]
        if basis[c, c] != 0:
            for row in range(c):
                quotient = basis[row, c] // basis[c, c]
                for k in range(c, 3):
                    basis[row, k] -= quotient * basis[c, k]
    filled = 0
    for c in range(3):
        if basis[c, c] != 0:
            if filled < c:
                for k in range(3):
                    basis[filled, k] = basis[c, k]
                    basis[c, k] = 0
            filled += 1


@numba.njit(cache=True, nogil=True)
@no_type_check
def _hermite(edge_label, vectors, count):
    """Cycle lattice of every component; False as soon as an entry leaves the range that is safe in 64 bits."""
    basis = np.zeros((count, 3, 3), np.int64)
    vector = np.empty(3, np.int64)
    for e in range(len(vectors)):
        rows = basis[edge_label[e]]
        nonzero = False
        for k in range(3):
            vector[k] = vectors[e, k]
            nonzero |= vector[k] != 0
            if abs(vector[k]) >= _SAFE:
                return basis, False
        if not nonzero or abs(rows[0, 0] * rows[1, 1] * rows[2, 2]) == 1:  # all of Z^3 is reached already
            continue
        _insert(rows, vector)
        for k in range(3):
            for m in range(k, 3):
                if abs(rows[k, m]) >= _SAFE:
                    return basis, False
    for rows in basis:
        _normalise(rows)
    return basis, True


def _hermite_unbounded(edge_label: np.ndarray, vectors: np.ndarray, count: int) -> np.ndarray:
    """`_hermite` in Python's unbounded integers, by the same two routines uncompiled."""
    basis = np.zeros((count, 3, 3), dtype=object)
    for component, vector in zip(edge_label, vectors.astype(object), strict=True):
        _insert.py_func(basis[component], vector)
    for rows in basis:
        _normalise.py_func(rows)
    return basis
