"""Minimum-degree ordering of small graphs, with the fill it causes, on bit sets.

Eliminating a node joins all its neighbours; taking the node with the fewest neighbours first keeps the fill of a sparse
factorisation low (George and Liu, SIAM Review 31 (1989) 1-19). Adjacency is kept as one row of bits a node, so that
the union of two neighbourhoods is a handful of instructions, which suits graphs of up to some hundreds of nodes.

When not to use: graphs of thousands of nodes (the search for the minimum and the bit rows are quadratic).
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
@no_type_check
def _popcount(x):
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba.njit(cache=True, nogil=True)
@no_type_check
def _lowest_bit(x):
    return _popcount((x & (~x + np.uint64(1))) - np.uint64(1))


@numba.njit(cache=True, nogil=True)
@no_type_check
def minimum_degree(nodes, source, target, first_node):
    """Elimination order of a graph with edges (source, target), whose nodes are counted from `first_node`.

    Returns:
        order (nodes,), and for step k the nodes eliminated later that it meets, fill included:
        later[later_start[k] : later_start[k + 1]].
    """
    one = np.uint64(1)
    words = (nodes + 63) // 64
    adjacency = np.zeros((nodes, words), np.uint64)
    for e in range(source.shape[0]):
        i, j = source[e] - first_node, target[e] - first_node
        if i != j:
            adjacency[i, j >> 6] |= one << np.uint64(j & 63)
            adjacency[j, i >> 6] |= one << np.uint64(i & 63)
    degree = np.empty(nodes, np.int64)
    for v in range(nodes):
        degree[v] = 0
        for w in range(words):
            degree[v] += _popcount(adjacency[v, w])
    order = np.empty(nodes, np.int64)
    later_start = np.zeros(nodes + 1, np.int64)
    later = np.empty(max(16, 4 * nodes), np.int64)
    count = 0
    for step in range(nodes):
        pivot, best = -1, nodes + 1
        for v in range(nodes):
            if degree[v] >= 0 and degree[v] < best:
                pivot, best = v, degree[v]
        order[step] = pivot
        if count + best > later.shape[0]:
            grown = np.empty(2 * (count + best), np.int64)
            grown[:count] = later[:count]
            later = grown
        for w in range(words):
            rest = adjacency[pivot, w]
            while rest != np.uint64(0):
                later[count] = (w << 6) + _lowest_bit(rest)
                rest &= rest - one
                count += 1
        later_start[step + 1] = count
        degree[pivot] = -1
        for k in range(later_start[step], count):
            u = later[k]
            total = 0
            for w in range(words):
                adjacency[u, w] |= adjacency[pivot, w]
            adjacency[u, u >> 6] &= ~(one << np.uint64(u & 63))
            adjacency[u, pivot >> 6] &= ~(one << np.uint64(pivot & 63))
            for w in range(words):
                total += _popcount(adjacency[u, w])
            degree[u] = total
    return order, later_start, later
