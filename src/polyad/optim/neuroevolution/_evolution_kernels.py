"""Compiled loops over genomes, for processors: the same numbers as the tensor forms of distance and children."""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
@no_type_check
def distances(nodes, connections, other_nodes, other_connections, disjoint, difference, result):
    """Compatibility distance of every genome to that in the same place, or to the only one."""
    for genome in range(len(nodes)):
        other = genome if len(other_nodes) > 1 else 0
        result[genome] = _part(nodes[genome], other_nodes[other], True, disjoint, difference)
        result[genome] += _part(connections[genome], other_connections[other], False, disjoint, difference)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _part(rows, others, are_nodes, disjoint, difference):
    mine = theirs = shared = 0
    total = 0.0
    for k in range(len(others)):
        theirs += not np.isnan(others[k, 0])
    place = -1
    for k in range(len(rows)):
        if np.isnan(rows[k, 0]):
            continue
        mine += 1
        found = find(rows[k], others, 1 if are_nodes else 2, place + 1)
        if found >= 0:
            shared += 1
            place = found
            if are_nodes:
                total += abs(rows[k, 1] - others[found, 1]) + abs(rows[k, 2] - others[found, 2])
                total += (rows[k, 3] != others[found, 3]) + (rows[k, 4] != others[found, 4])
            else:
                total += abs(rows[k, 2] - others[found, 2]) + (rows[k, 3] != others[found, 3])
    return (disjoint * (mine + theirs - 2 * shared) + difference * total) / max(mine, theirs, 1)


@numba.njit(cache=True, nogil=True)
@no_type_check
def find(row, others, keys, start):
    """Row of `others` with the same first `keys` columns, -1 where there is none.

    The search begins at `start`: homologous genes mostly follow each other in the same order.
    """
    count = len(others)
    for step in range(count):
        k = start + step
        if k >= count:
            k -= count
        if others[k, 0] == row[0] and (keys == 1 or others[k, 1] == row[1]):
            return k
    return -1


@numba.njit(cache=True, nogil=True)
@no_type_check
def mix(rows, others, picks, keys, result):
    """Attributes of homologous genes from the other genome where picked."""
    for genome in range(len(rows)):
        place = -1
        for k in range(rows.shape[1]):
            for column in range(rows.shape[2]):
                result[genome, k, column] = rows[genome, k, column]
            if np.isnan(rows[genome, k, 0]):
                continue
            found = find(rows[genome, k], others[genome], keys, place + 1)
            if found >= 0:
                place = found
                for column in range(keys, rows.shape[2]):
                    if picks[genome, k, column - keys]:
                        result[genome, k, column] = others[genome, found, column]


@numba.njit(cache=True, nogil=True)
@no_type_check
def alter(nodes, connections, structure, weight, keys, rates, functions, inputs, outputs, feed_forward):
    """Structural mutations, in place: add a node, delete one, add a connection, delete one."""
    for genome in range(len(nodes)):
        rows, links, chance = nodes[genome], connections[genome], structure[genome]
        if chance[0] < rates[0] and len(links) >= 3:
            _split(rows, links, chance[1], keys[genome], functions)
        if chance[2] < rates[1]:
            place = _chosen(rows, chance[3], inputs + outputs)
            if place >= 0:
                key = rows[place, 0]
                rows[place] = np.nan
                for k in range(len(links)):
                    if links[k, 0] == key or links[k, 1] == key:
                        links[k] = np.nan
        if chance[4] < rates[2]:
            _connect(rows, links, chance[5], chance[6], weight[genome], inputs, feed_forward)
        if chance[7] < rates[3]:
            place = _chosen(links, chance[8], 0)
            if place >= 0:
                links[place] = np.nan


@numba.njit(cache=True, nogil=True)
@no_type_check
def _chosen(rows, chance, smallest):
    """One of the live rows whose key is at least `smallest`, -1 where there is none."""
    count = 0
    for k in range(len(rows)):
        count += rows[k, 0] >= smallest
    wanted = min(int(chance * count), count - 1)
    for k in range(len(rows)):
        if rows[k, 0] >= smallest:
            if wanted == 0:
                return k
            wanted -= 1
    return -1


@numba.njit(cache=True, nogil=True)
@no_type_check
def _free(rows, start):
    for k in range(start, len(rows)):
        if np.isnan(rows[k, 0]):
            return k
    return -1


@numba.njit(cache=True, nogil=True)
@no_type_check
def _split(rows, links, chance, key, functions):
    old, place, first = _chosen(links, chance, 0), _free(rows, 0), _free(links, 0)
    second = _free(links, first + 1) if first >= 0 else -1
    if old < 0 or place < 0 or second < 0:
        return
    rows[place, 0], rows[place, 1], rows[place, 2] = key, 0, 1
    rows[place, 3], rows[place, 4] = functions[0], functions[1]
    links[first, 0], links[first, 1], links[first, 2], links[first, 3] = links[old, 0], key, 1, 1
    links[second, 0], links[second, 1], links[second, 2], links[second, 3] = key, links[old, 1], links[old, 2], 1
    links[old, 3] = 0


@numba.njit(cache=True, nogil=True)
@no_type_check
def _connect(rows, links, source_chance, target_chance, weight, inputs, feed_forward):
    live = 0
    for k in range(len(rows)):
        live += not np.isnan(rows[k, 0])
    wanted = min(int(source_chance * (inputs + live)), inputs + live - 1)
    source = rows.dtype.type(wanted)
    if wanted >= inputs:
        for k in range(len(rows)):
            if not np.isnan(rows[k, 0]):
                if wanted == inputs:
                    source = rows[k, 0]
                    break
                wanted -= 1
    target = rows[_chosen(rows, target_chance, 0), 0]
    place = _free(links, 0)
    if place < 0:
        return
    for k in range(len(links)):
        if links[k, 0] == source and links[k, 1] == target:
            return
    if feed_forward and source >= inputs and _leads_to(links, target, source, live):
        return
    links[place, 0], links[place, 1], links[place, 2], links[place, 3] = source, target, weight, 1


@numba.njit(cache=True, nogil=True)
@no_type_check
def _leads_to(links, start, end, live):
    if start == end:
        return True
    seen = np.empty(live + 1, links.dtype)
    seen[0] = start
    count, k = 1, 0
    while k < count:
        for c in range(len(links)):
            if links[c, 0] == seen[k]:
                target = links[c, 1]
                if target == end:
                    return True
                if not np.any(seen[:count] == target):
                    seen[count] = target
                    count += 1
        k += 1
    return False


@numba.njit(cache=True, nogil=True)
@no_type_check
def pack(rows, result):
    """Live rows to the front of `result`, whose other rows are empty."""
    for genome in range(len(rows)):
        count = 0
        for k in range(rows.shape[1]):
            if not np.isnan(rows[genome, k, 0]):
                for column in range(rows.shape[2]):
                    result[genome, count, column] = rows[genome, k, column]
                count += 1


@numba.njit(cache=True, nogil=True)
@no_type_check
def shift(nodes, connections, draws, bias, response, weight, aggregations, activations, replace, toggle):
    """Numbers, functions and switches of every gene, in place."""
    node_chance, node_normal, node_choice, connection_chance, connection_normal = draws
    for genome in range(len(nodes)):
        for k in range(nodes.shape[1]):
            row, chance = nodes[genome, k], node_chance[genome, k]
            if np.isnan(row[0]):
                continue
            row[1] = _moved(row[1], chance[0], node_normal[genome, k, 0], bias)
            row[2] = _moved(row[2], chance[1], node_normal[genome, k, 1], response)
            if len(aggregations) > 1 and chance[2] < replace:
                row[3] = aggregations[int(node_choice[genome, k, 0] * len(aggregations))]
            if len(activations) > 1 and chance[3] < replace:
                row[4] = activations[int(node_choice[genome, k, 1] * len(activations))]
        for k in range(connections.shape[1]):
            row, chance = connections[genome, k], connection_chance[genome, k]
            if not np.isnan(row[0]):
                row[2] = _moved(row[2], chance[0], connection_normal[genome, k], weight)
                if chance[1] < toggle:
                    row[3] = 1 - row[3]


@numba.njit(cache=True, nogil=True)
@no_type_check
def _moved(value, chance, normal, rates):
    perturb, renew, step, deviation, mean, limit = rates
    if perturb + renew == 0:
        return value
    if chance < perturb:
        value += step * normal
    elif chance < perturb + renew:
        value = mean + deviation * normal
    return max(-limit, min(limit, value))
