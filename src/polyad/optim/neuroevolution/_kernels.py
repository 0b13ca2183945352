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
            begin, end = starts[node], starts[node + 1]
            for point in range(values.shape[1]):
                total = _aggregate(source, weight, values, begin, end, point, aggregation[node])
                scratch[node, point] = _activate(bias[node] + response[node] * total, activation[node])
        if one_level:
            values[first:] = scratch


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
