"""Periodic nets as plain arrays: what readers, reductions and generators work on before a lattice is validated.

A piece of a strut cut at a face may be shorter than it is thick, and nodes may coincide: legal on the way, refused by
`StrutLattice`. A `Net` holds the same five arrays without any check.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice


class Net(NamedTuple):
    """The fields of `StrutLattice` as NumPy arrays, unchecked."""

    cell: np.ndarray
    positions: np.ndarray
    edge_index: np.ndarray
    edge_shift: np.ndarray
    radius: np.ndarray

    @property
    def vectors(self) -> np.ndarray:
        """(edges, 3) from source to the image of the target."""
        i, j = self.edge_index
        return self.positions[j] - self.positions[i] + self.edge_shift @ self.cell

    @property
    def lengths(self) -> np.ndarray:
        """(edges,) Euclidean lengths."""
        return np.linalg.norm(self.vectors, axis=1)


def net_of(lattice: StrutLattice) -> Net:
    """The arrays of a lattice, in double precision and without gradients."""
    cell, positions, radius = (
        x.detach().double().numpy(force=True) for x in (lattice.cell, lattice.positions, lattice.radius)
    )
    return Net(cell, positions, lattice.edge_index.numpy(force=True), lattice.edge_shift.numpy(force=True), radius)


def lattice_of(net: Net, like: StrutLattice | None = None) -> StrutLattice:
    """The validated lattice of a net without unused nodes; dtype and device are those of `like`."""
    used, index = np.unique(net.edge_index, return_inverse=True)
    lattice = StrutLattice(net.cell, net.positions[used], index.reshape(2, -1), net.edge_shift, net.radius)
    if like is None or (like.positions.dtype, like.positions.device) == (torch.float64, torch.device("cpu")):
        return lattice
    return lattice.to(dtype=like.positions.dtype, device=like.positions.device)


def with_uniform_radius(net: Net, density: float) -> Net:
    """One radius for all struts by the beam formula, rho V = pi r^2 sum L.

    Raises:
        InputError: a density that is not positive, a cell without volume, struts without length.
    """
    volume, length = abs(float(np.linalg.det(net.cell))), float(net.lengths.sum())
    if not (np.isfinite(density) and density > 0):
        raise InputError(f"density is {density!r}; it must be a positive number, usually below 0.3")
    if not (0 < volume < np.inf and 0 < length < np.inf):
        raise InputError(f"a cell of volume {volume:.3g} with struts of total length {length:.3g} has no density")
    return net._replace(radius=np.full(net.edge_index.shape[1], np.sqrt(density * volume / (np.pi * length))))


def merge(net: Net, tolerance: float) -> tuple[Net, np.ndarray]:
    """Nodes closer than `tolerance` become one at their mean; doubled struts count once, struts inside vanish.

    Returns:
        the net, with struts in their old order, and the new node of every old one.

    Raises:
        InputError: no strut is left.
    """
    label, offset = coincident_nodes(net.cell, net.positions, tolerance)
    return _collapse(net, label, offset), label


def contract(net: Net, shortest: float) -> Net:
    """Contract struts shorter than `shortest` to points, clusters of them to the mean of their nodes.

    Raises:
        InputError: short struts join a node to its own image, or no strut is left.
    """
    short = np.flatnonzero(net.lengths < shortest)
    if not len(short):
        return net
    label, offset = np.arange(len(net.positions)), np.zeros((len(net.positions), 3), dtype=np.int64)
    for i, j, shift in zip(*net.edge_index[:, short], net.edge_shift[short], strict=True):
        step = offset[i] - shift - offset[j]
        if label[i] == label[j]:
            if step.any():
                raise InputError(f"struts shorter than {shortest:.3g} join a node to its own image; contract fewer")
            continue
        group = label == label[j]
        offset[group] += step
        label[group] = label[i]
    _, label = np.unique(label, return_inverse=True)
    return _collapse(net, label, offset)


def _collapse(net: Net, label: np.ndarray, offset: np.ndarray) -> Net:
    """All nodes of a label become one at their mean; node n counts at its image -offset[n]."""
    fractional = net.positions @ np.linalg.inv(net.cell) - offset
    size = np.bincount(label)
    mean = np.stack([np.bincount(label, fractional[:, k]) for k in range(3)], axis=1) / size[:, None]
    i, j = net.edge_index
    shift = net.edge_shift + offset[j] - offset[i]
    index = label[net.edge_index]
    real = np.flatnonzero((index[0] != index[1]) | (shift != 0).any(axis=1))
    if not len(real):
        raise InputError("no strut is left after merging nodes; lower the tolerance")
    keep = real[np.sort(unique_edges(len(size), index[:, real], shift[real])[0])]
    return Net(net.cell, mean @ net.cell, index[:, keep], shift[keep], net.radius[keep])


def straighten(net: Net, allowed: np.ndarray, tolerance: float) -> Net:
    """Without the allowed nodes that only continue one straight strut of one radius.

    Args:
        net: any net.
        allowed: (nodes,) boolean, nodes that may go.
        tolerance: largest sine of the bend, and largest relative difference of the two radii.
    """
    cell, positions, index, shift, radius = net
    struts = {e: (int(i), int(j), shift[e], float(radius[e])) for e, (i, j) in enumerate(index.T)}
    at_node: list[list[int]] = [[] for _ in positions]
    for e, (i, j) in enumerate(index.T):
        at_node[i].append(e)
        at_node[j].append(e)
    for node in np.flatnonzero(allowed & (np.bincount(index.reshape(-1), minlength=len(positions)) == 2)):
        first, second = at_node[node]
        if first == second:  # a straight line through the whole lattice keeps its last node
            continue
        (a, to_a, r_a), (b, to_b, r_b) = (_seen_from(struts[e], int(node)) for e in (first, second))
        u, w = positions[a] + to_a @ cell - positions[node], positions[b] + to_b @ cell - positions[node]
        bend = float(np.linalg.norm(np.cross(u, w)))
        if np.dot(u, w) > 0 or bend > tolerance * float(np.linalg.norm(u) * np.linalg.norm(w)):
            continue
        if abs(r_a - r_b) > max(tolerance, 1e-9) * max(r_a, r_b):
            continue
        struts[first] = (a, b, to_b - to_a, r_a)
        del struts[second]
        at_node[b][at_node[b].index(second)] = first
    kept = list(struts.values())
    return Net(
        cell,
        positions,
        np.array([(i, j) for i, j, *_ in kept], dtype=np.int64).T,
        np.array([s for *_, s, _ in kept], dtype=np.int64),
        np.array([r for *_, r in kept]),
    )


def _seen_from(strut: tuple[int, int, np.ndarray, float], node: int) -> tuple[int, np.ndarray, float]:
    i, j, shift, radius = strut
    return (j, shift, radius) if i == node else (i, -shift, radius)


def unique_edges(
    num_nodes: int, edge_index: np.ndarray, edge_shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Undirected edges of a periodic graph, each once: (index of first occurrence, edge_index, edge_shift).

    Edges are oriented from the lower to the higher node, loops so that the first nonzero shift is positive, and sorted.
    """
    (i, j), shift = edge_index, edge_shift
    leading = np.where(shift[:, 0] != 0, shift[:, 0], np.where(shift[:, 1] != 0, shift[:, 1], shift[:, 2]))
    flip = (i > j) | ((i == j) & (leading < 0))
    shift = np.where(flip[:, None], -shift, shift)
    i, j = np.where(flip, j, i), np.where(flip, i, j)
    width = 2 * int(np.abs(shift).max(initial=0)) + 1
    if float(num_nodes) ** 2 * float(width) ** 3 < 2.0**62:
        key = (((i * num_nodes + j) * width + shift[:, 0]) * width + shift[:, 1]) * width + shift[:, 2]
        _, keep = np.unique(key, return_index=True)
    else:
        _, keep = np.unique(np.column_stack([i, j, shift]), axis=0, return_index=True)
    return keep, np.stack([i[keep], j[keep]]), shift[keep]


def coincident_nodes(cell: np.ndarray, positions: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes equal modulo the cell: (label (nodes,), offset (nodes, 3) cells from the first node of the label)."""
    to_fractional = np.linalg.inv(cell)
    fractional = positions @ to_fractional
    wrapped = fractional - np.floor(fractional)
    wrapped[wrapped >= 1.0] = 0.0
    reach = min(tolerance * float(np.linalg.norm(to_fractional, axis=0).max()) * np.sqrt(3), 0.49)
    pairs = cKDTree(wrapped, boxsize=1.0).query_pairs(reach, output_type="ndarray").reshape(-1, 2)
    difference = wrapped[pairs[:, 0]] - wrapped[pairs[:, 1]]
    difference -= np.rint(difference)
    pairs = pairs[np.linalg.norm(difference @ cell, axis=1) < tolerance]
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(positions),) * 2)
    _, label = connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    # number the groups by their first node, so that order is kept
    rank = np.argsort(np.argsort(first))
    label, first = rank[label], np.sort(first)
    offset = np.rint(fractional - fractional[first[label]]).astype(np.int64)
    return label, offset


def neighbours_of(sites: np.ndarray, points: np.ndarray, cell: np.ndarray, cutoff: float, *, count: int) -> np.ndarray:
    """(pairs, 2, 3) fractional ends of the `count` shortest pairs from every site to images of the points."""
    reach = np.ceil(cutoff * np.linalg.norm(np.linalg.inv(cell), axis=0)).astype(np.int64)
    cells = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    pairs = []
    for site in sites:
        home = points - site
        step = (home - np.rint(home))[:, None] + cells
        step = step.reshape(-1, 3)
        distance = np.linalg.norm(step @ cell, axis=1)
        near = np.flatnonzero((distance > 1e-6) & (distance < cutoff))
        near = near[np.argsort(distance[near], kind="stable")[:count]]
        pairs += [(site, site + step[n]) for n in near]
    return np.array(pairs).reshape(-1, 2, 3)
