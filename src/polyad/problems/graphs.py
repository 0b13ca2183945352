"""Graphs on which the power of graph networks is measured: all connected ones of few nodes, and pairs that look alike.

`connected_graphs(n)`: a connected graph of n nodes stays connected without some node, so those of n come from those of
n - 1 by a new node joined to any nodes at all; of the candidates one is kept for each canonical form. There are 1, 1,
2, 6, 21, 112, 853, 11117 for n = 1 to 8 (sequence A001349 of the OEIS). The canonical form is the smallest adjacency
code over all orders in which colours of refinement ascend.

`cover_pairs`: two graphs that cover one base twice: every node v of the base becomes v' and v'', every edge joins
equals, or crosses. Colour refinement, and so message passing without identities, sees the base in both, and cannot tell
them apart. Pairs whose covers are isomorphic are left out, by their spectra.

*When not to use it*: `connected_graphs` beyond 8 nodes; there are 261,080 with 9, for which dedicated programs exist.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import FileFormatError, InputError

LARGEST = 8
"""Nodes up to which all connected graphs are listed."""


def connected_graphs(nodes: int, *, file: str | os.PathLike[str] | None = None) -> Float[Tensor, "graphs n n"]:
    """Adjacency matrices of all connected graphs of this size up to isomorphism, float64, in the order of their codes.

    Args:
        nodes: of every graph, 1 to 8.
        file: read the graphs from this file in graph6 instead, in its order.

    Raises:
        InputError: a number of nodes out of range, or a file with graphs of another size.
        FileFormatError: a file that is not graph6.
    """
    if file is not None:
        found = read_graph6(file)
        if any(len(x) != nodes for x in found):
            raise InputError(f"{file}: has graphs of {sorted({len(x) for x in found})} nodes; asked for {nodes}")
        return torch.stack(found)
    if not 1 <= nodes <= LARGEST:
        raise InputError(f"connected_graphs: {nodes} nodes; from 1 to {LARGEST} can be listed")
    rows = np.zeros((1, 1), np.int64)  # neighbours of every node as bits
    for size in range(2, nodes + 1):
        joined = np.arange(1, 1 << (size - 1))
        candidates = np.zeros((len(rows), len(joined), size), np.int64)
        for node in range(size - 1):
            candidates[..., node] = rows[:, None, node] | ((joined >> node & 1) << (size - 1))
        candidates[..., size - 1] = joined
        rows = _rows_of(np.unique(_canonical_codes(candidates.reshape(-1, size))), size)
    return torch.from_numpy(rows[..., None] >> np.arange(nodes) & 1).double()


def canonical_codes(adjacency: Float[Tensor, "graphs n n"]) -> list[int]:
    """Numbers that are equal exactly for isomorphic graphs of one size, up to 10 nodes.

    Raises:
        InputError: more nodes, or matrices that are not of simple graphs.
    """
    matrix = adjacency.cpu().numpy()
    simple = np.isin(matrix, (0, 1)).all() and (matrix == matrix.swapaxes(1, 2)).all()
    if not simple or np.einsum("gii->gi", matrix).any() or not 1 <= matrix.shape[1] <= 10:
        raise InputError("canonical_codes: give simple graphs (symmetric, 0 or 1, no loops) of 1 to 10 nodes")
    rows = (matrix.astype(np.int64) << np.arange(matrix.shape[1])).sum(-1)
    return _canonical_codes(rows).tolist()


def read_graph6(path: str | os.PathLike[str]) -> list[Float[Tensor, "n n"]]:
    """Adjacency matrices of a file in graph6 (B. McKay), one graph a line, of up to 62 nodes.

    Raises:
        FileFormatError: a line that is not graph6, or has too many nodes.
    """
    found = []
    for number, line in enumerate(Path(path).read_bytes().splitlines(), start=1):
        text = line.strip().removeprefix(b">>graph6<<")
        if not text:
            continue
        values = np.frombuffer(text, np.uint8).astype(int) - 63
        nodes = int(values[0])
        bits = (values[1:, None] >> np.arange(5, -1, -1) & 1).reshape(-1)
        pairs = nodes * (nodes - 1) // 2
        if values.min() < 0 or values.max() > 63 or nodes > 62 or len(values) - 1 != -(-pairs // 6):
            raise FileFormatError(Path(path), "not a graph of up to 62 nodes in graph6", line=number)
        matrix = torch.zeros(nodes, nodes, dtype=torch.float64)
        column, row = np.tril_indices(nodes, -1)  # by columns of the upper triangle
        matrix[row, column] = torch.from_numpy(bits[:pairs]).double()
        found.append(matrix + matrix.T)
    return found


def cover_pairs(count: int, *, seed: int, nodes: int = 16, degree: float = 3.0) -> Float[Tensor, "pairs 2 n n"]:
    """Pairs of connected graphs with 2 x `nodes` nodes that colour refinement cannot tell apart and are not isomorphic.

    Args:
        count: of pairs.
        seed: of bases and crossings.
        nodes: of the base, a random connected graph.
        degree: mean number of neighbours in the base, at least 2.

    Raises:
        InputError: numbers out of range.
    """
    if count < 1 or nodes < 4 or not 2 <= degree <= nodes - 1:
        raise InputError(
            f"cover_pairs: count {count}, nodes {nodes}, degree {degree}; needs degree from 2 to nodes - 1"
        )
    generator = torch.Generator().manual_seed(seed)
    edges = round(nodes * degree / 2)
    found: list[Tensor] = []
    while len(found) < count:
        base = torch.zeros(nodes, nodes, dtype=torch.float64)
        for node in range(1, nodes):  # a random tree makes it connected
            base[node, torch.randint(node, (1,), generator=generator)] = 1
        free = torch.tril(1 - base, diagonal=-1).nonzero()
        chosen = free[torch.randperm(len(free), generator=generator)[: edges - nodes + 1]]
        base[chosen[:, 0], chosen[:, 1]] = 1
        covers = []
        for _ in range(2):
            crossed = base * (torch.rand(nodes, nodes, generator=generator) < 0.5)
            half = torch.cat([torch.cat([base - crossed, crossed], 1), torch.cat([crossed, base - crossed], 1)])
            covers.append(half + half.T)
        spectra = torch.linalg.eigvalsh(torch.stack([torch.diag(x.sum(1)) - x for x in covers]))
        if bool((spectra[:, 1] > 1e-6).all()) and float((spectra[0] - spectra[1]).abs().max()) > 1e-6:
            found.append(torch.stack(covers))
    return torch.stack(found)


def _rows_of(codes: np.ndarray, nodes: int) -> np.ndarray:
    """The graphs of codes, as neighbours in bits; the inverse of the code's definition."""
    rows = np.zeros((len(codes), nodes), np.int64)
    place = nodes * (nodes - 1) // 2
    for i in range(1, nodes):
        for j in range(i):
            place -= 1
            bit = codes >> place & 1
            rows[:, i] |= bit << j
            rows[:, j] |= bit << i
    return rows


@numba.njit(cache=True, nogil=True)
@no_type_check
def _canonical_codes(rows):
    """The smallest code of every graph, by backtracking over orders within the colours.

    The code has the bits (order[i], order[j]), j < i, i ascending, the first one highest.
    """
    graphs, n = rows.shape
    codes = np.empty(graphs, np.int64)
    order = np.empty(n, np.int64)
    tried = np.empty(n, np.int64)
    partial = np.zeros(n + 1, np.int64)
    for graph in range(graphs):
        row = rows[graph]
        colour = _colours(row)
        ascending = np.sort(colour)
        best = np.int64(-1)
        used = np.int64(0)
        depth = 0
        tried[0] = -1
        while depth >= 0:
            if tried[depth] >= 0:
                used &= ~(np.int64(1) << tried[depth])
            node = tried[depth] + 1
            while node < n and ((used >> node) & 1 or colour[node] != ascending[depth]):
                node += 1
            if node == n:
                depth -= 1
                continue
            tried[depth] = node
            used |= np.int64(1) << node
            code = partial[depth]
            for j in range(depth):
                code = (code << 1) | ((row[node] >> order[j]) & 1)
            left = n * (n - 1) // 2 - depth * (depth + 1) // 2  # bits that are still to come
            if best >= 0 and code > best >> left:
                continue
            order[depth] = node
            partial[depth + 1] = code
            if depth == n - 1:
                if best < 0 or code < best:
                    best = code
                continue
            depth += 1
            tried[depth] = -1
        codes[graph] = best
    return codes


@numba.njit(cache=True, nogil=True)
@no_type_check
def _colours(row):
    """Colour refinement with numbers that mix the colours of the neighbours; equal for equal nodes in any labelling."""
    n = len(row)
    colour = np.zeros(n, np.int64)
    new = np.empty(n, np.int64)
    for _ in range(n):
        for i in range(n):
            total = np.int64(0)
            for j in range(n):
                if (row[i] >> j) & 1:
                    c = colour[j] + 1013904223
                    total += (c * c * 1664525 + c * 22695477) ^ (c >> 17)
            new[i] = (colour[i] * 6364136223846793005 + total) ^ (total >> 23)
        colour[:] = new
    return colour
