"""Compiled loop over all nodes of all networks, for processors: small networks leave array operations little to do."""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
@no_type_check
def run(starts, source, weight, bias, response, aggregation, activation, values, first, rounds, one_level):
    """Fill the slots of the nodes; with one level, all from the values before, `rounds` times."""
    scratch = np.empty((len(bias), values.shape[1]), values.dtype) if one_level else values[first:]
    for _ in range(rounds):
        for node in range(len(bias)):
            for point in range(values.shape[1]):
                scratch[node, point] = compute_node(
                    node, starts, source, weight, bias, response, aggregation, activation, values, point
                )
        if one_level:
            values[first:] = scratch


@numba.njit(cache=True, nogil=True)
@no_type_check
def compute_node(node, starts, source, weight, bias, response, aggregation, activation, values, point):
    """Value of one node at one point."""
    total = _aggregate(source, weight, values, starts[node], starts[node + 1], point, aggregation[node])
    return _activate(bias[node] + response[node] * total, activation[node])


@numba.njit(cache=True, nogil=True)
@no_type_check
def _aggregate(source, weight, values, begin, end, point, how):
    total = values.dtype.type(0)
    if begin == end:
        return total
    if how < 2:
        for k in range(begin, end):
            total += weight[k] * values[source[k], point]
        return total / (end - begin) if how == 1 else total
    total = weight[begin] * values[source[begin], point]
    for k in range(begin + 1, end):
        term = weight[k] * values[source[k], point]
        if how == 2:
            total *= term
        elif how == 3:
            total = term if term > total or term != term else total
        else:
            total = term if term < total or term != term else total
    return total


@numba.njit(cache=True, nogil=True)
@no_type_check
def _activate(x, how):
    if how == 0:
        return np.tanh(x)
    if how == 1:
        return 1 / (1 + np.exp(-4.9 * x))
    if how == 2:
        return 1 / (1 + np.exp(-x))
    if how == 3:
        return x
    if how == 4:
        return max(x, 0.0) if x == x else x
    if how == 5:
        return np.sin(x)
    if how == 6:
        return np.exp(-x * x)
    return abs(x)


@numba.njit(cache=True, nogil=True)
@no_type_check
def order(nodes, connections, inputs, outputs, recurrent, level, source, target, output, uses):
    """Level of every node that an output needs (-1 elsewhere), rows that connections join, which of them take part.

    Returns a genome that is wrong and why (1: an output is missing, 2: an end of a connection, 3: a cycle), or (-1, 0).
    """
    rows, links = nodes.shape[1], connections.shape[1]
    for genome in range(len(nodes)):
        keys = nodes[genome, :, 0]
        for k in range(outputs):
            output[genome, k] = _row(keys, inputs + k, k)
            if output[genome, k] < 0:
                return genome, 1
            level[genome, output[genome, k]] = 0
        for c in range(links):
            source[genome, c] = target[genome, c] = 0
            start = connections[genome, c, 0]
            if start != start:
                continue
            if start >= inputs:
                source[genome, c] = _row(keys, start, 0)
            target[genome, c] = _row(keys, connections[genome, c, 1], 0)
            if source[genome, c] < 0 or target[genome, c] < 0:
                return genome, 2
            uses[genome, c] = connections[genome, c, 3] == 1
        changed = True
        while changed:
            changed = False
            for c in range(links):
                follows = uses[genome, c] and level[genome, target[genome, c]] == 0
                if follows and connections[genome, c, 0] >= inputs and level[genome, source[genome, c]] < 0:
                    level[genome, source[genome, c]] = 0
                    changed = True
        for c in range(links):
            uses[genome, c] = uses[genome, c] and level[genome, target[genome, c]] == 0
        if recurrent:
            continue
        for sweep in range(rows + 1):
            changed = False
            for c in range(links):
                if uses[genome, c] and connections[genome, c, 0] >= inputs:
                    least = level[genome, source[genome, c]] + 1
                    if level[genome, target[genome, c]] < least:
                        level[genome, target[genome, c]] = least
                        changed = True
            if not changed:
                break
            if sweep == rows:
                return genome, 3
    return -1, 0


@numba.njit(cache=True, nogil=True)
@no_type_check
def _row(keys, key, start):
    count = len(keys)
    for step in range(count):
        k = start + step
        if k >= count:
            k -= count
        if keys[k] == key:
            return k
    return -1
