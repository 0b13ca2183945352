"""Frames of graphs: the node orders that sort signatures taken from the eigenspaces of the Laplacian.

For L = degrees - adjacency, with distinct eigenvalues ascending and orthonormal bases U_k of their eigenspaces, the
signature of node i has the columns

    s_ik = |row i of U_k| = sqrt of entry (i, i) of the projector U_k U_k^T,        rounded to some decimals,

which is |u_i| where the eigenvalue is simple. The frame is every order of the nodes in which the signatures are sorted
lexicographically: nodes with equal signatures in all orders among themselves, so it has the product of the factorials
of the numbers of equal nodes as elements. Relabelling the graph relabels its frame.

In the frame of an element p, node number a is node p[a]: (rho(g)^-1 X)_a = X_p[a], and for matrices A_p[a] p[b].

Source: O. Puny et al., ICLR 2022, arXiv:2110.03336, section 3.2.

*Deviations*: values are moved up by 1e-7 before rounding, so that one that lies on the border between two roundings
falls to one side in all labellings. A sampled frame is an option that must be asked for, and its size is told.

*When not to use it*: graphs with many nodes alike (regular graphs, stars, large trees): frames of 10^10 elements can
only be sampled, and the result is then invariant in the mean only.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError

MAXIMUM_ELEMENTS = math.factorial(9)
"""Elements of one graph's frame that are listed unless told otherwise."""

_AXES = {"scalar": 0, "nodes": 1, "edges": 2}
_BORDER = 1e-7


@final
@dataclass(frozen=True, eq=False)
class PermutationFrames:
    """Frames of graphs with one number of nodes; each graph has as many elements as it needs.

    Args:
        permutations: (elements, nodes) the node that comes to each place.
        weights: (elements,) of the elements in the average; they add to 1 for every graph.
        graph: (elements,) which graph an element belongs to, ascending.
        num_graphs: how many graphs there are.
        merged: elements that give one matrix stand for all of them, so that only invariants may be averaged.
    """

    permutations: Int[Tensor, "elements nodes"]
    weights: Float[Tensor, " elements"]
    graph: Int[Tensor, " elements"]
    num_graphs: int
    merged: bool = False

    def __len__(self) -> int:
        """Number of elements of all graphs."""
        return len(self.permutations)

    def to_frame(self, values: Tensor, representation: str) -> Tensor:
        """The values of its graph in the order of every element; a row an element.

        Args:
            values: (graphs, *channels) "scalar", (graphs, nodes, *channels) "nodes", (graphs, nodes, nodes, *channels)
                "edges".
            representation: which of these.

        Raises:
            InputError: another representation, or another number of graphs or nodes.
        """
        axes = self._axes(values, representation, self.num_graphs)
        place = self.permutations
        if axes == 0:
            return values[self.graph]
        if axes == 1:
            return values[self.graph[:, None], place]
        return values[self.graph[:, None, None], place[:, :, None], place[:, None, :]]

    def from_frame(self, values: Tensor, representation: str) -> Tensor:
        """Values in the order of every element back in the order of the graph's own nodes; a row an element."""
        axes = self._axes(values, representation, len(self))
        if axes == 0:
            return values
        if self.merged:
            raise InputError(f"{representation}: elements with equal matrices are merged; make the frame without that")
        back, every = self.permutations.argsort(1), torch.arange(len(self), device=self.graph.device)
        if axes == 1:
            return values[every[:, None], back]
        return values[every[:, None, None], back[:, :, None], back[:, None, :]]

    def average(self, values: Tensor, representation: str) -> Tensor:
        """Weighted mean of `from_frame` over the elements of every graph."""
        own = self.from_frame(values, representation)
        weighed = own * self.weights.to(own.dtype).view(-1, *[1] * (own.ndim - 1))
        return own.new_zeros(self.num_graphs, *own.shape[1:]).index_add(0, self.graph, weighed)

    def sample(self, count: int = 1, *, generator: torch.Generator | None = None) -> PermutationFrames:
        """Elements drawn by their weights, `count` for every graph with repetition; their mean is unbiased.

        Raises:
            InputError: a count that is not positive.
        """
        if count < 1:
            raise InputError(f"sample: {count} elements; draw at least 1")
        place = generator.device if generator is not None else self.weights.device
        drawn = torch.rand(self.num_graphs, count, generator=generator, device=place, dtype=torch.float64)
        upto = self.weights.double().cumsum(0)  # one unit for every graph
        level = torch.arange(self.num_graphs, device=upto.device)[:, None] + drawn.to(upto.device)
        first = torch.searchsorted(self.graph, torch.arange(self.num_graphs, device=self.graph.device))
        last = torch.cat([first[1:], first.new_tensor([len(self)])]) - 1
        chosen = torch.searchsorted(upto, level).clamp(first[:, None], last[:, None]).flatten()
        return PermutationFrames(
            self.permutations[chosen],
            self.weights.new_full((len(chosen),), 1 / count),
            self.graph[chosen],
            self.num_graphs,
            self.merged,
        )

    def _axes(self, values: Tensor, representation: str, rows: int) -> int:
        if representation not in _AXES:
            raise InputError(f"representation: {representation!r} is none; allowed are {', '.join(_AXES)}")
        axes, nodes = _AXES[representation], self.permutations.shape[1]
        if values.shape[: axes + 1] != (rows, *[nodes] * axes):
            raise InputError(
                f"{representation}: values have shape {tuple(values.shape)}; it must begin with "
                f"{' x '.join(map(str, (rows, *[nodes] * axes)))}"
            )
        return axes


def permutation_frames(
    adjacency: Float[Tensor, "graphs nodes nodes"],
    *,
    merged: bool = False,
    samples: int | None = None,
    maximum: int = MAXIMUM_ELEMENTS,
    generator: torch.Generator | None = None,
    decimals: int = 2,
) -> PermutationFrames:
    """Frames of graphs with one number of nodes.

    Args:
        adjacency: symmetric matrices, weighted or not.
        merged: keep one element of those that give the same matrix, with the weight of all; for invariant functions of
            the matrix alone.
        samples: for graphs whose frame is larger than `maximum`, draw this many elements instead.
        maximum: elements of one graph's frame that are listed.
        generator: of the samples; torch's own by default.
        decimals: to which signatures are rounded.

    Raises:
        InputError: matrices that are not symmetric or not finite, or a frame too large without `samples`.
    """
    places = node_signatures(adjacency, decimals=decimals)
    graphs, nodes = adjacency.shape[0], adjacency.shape[1]
    matrices = adjacency.detach().cpu().numpy()
    orders, weights, owners = [np.empty((0, nodes), np.int64)], [np.empty(0)], [np.empty(0, np.int64)]
    for number, (order, sizes) in enumerate(places):
        size = math.prod(math.factorial(count) for count in sizes)
        if size <= maximum:
            listed = order[_block_orders(sizes)]
        elif samples is None:
            raise InputError(
                f"graph {number}: its frame has {size:.3g} elements, more than {maximum}; give samples= to draw from it"
            )
        else:
            listed = order[_random_orders(sizes, samples, generator)]
        counts = np.ones(len(listed))
        if merged:
            first, counts = _distinct(matrices[number], listed)
            listed = listed[first]
        orders.append(listed)
        weights.append(counts / counts.sum())
        owners.append(np.full(len(listed), number))
    device = adjacency.device
    return PermutationFrames(
        torch.from_numpy(np.concatenate(orders)).to(device),
        torch.from_numpy(np.concatenate(weights)).to(device),
        torch.from_numpy(np.concatenate(owners)).to(device),
        graphs,
        merged,
    )


def symmetric_group(nodes: int, graphs: int = 1) -> PermutationFrames:
    """The constant frame: all orders of the nodes, for every graph; averages over it are group averages.

    Raises:
        InputError: more nodes than can be listed.
    """
    if not 1 <= nodes <= 9 or graphs < 1:
        raise InputError(f"symmetric_group: {nodes} nodes of {graphs} graphs; 1 to 9 nodes can be listed")
    every = torch.from_numpy(_block_orders((nodes,)).copy())
    weights = torch.full((len(every) * graphs,), 1 / len(every), dtype=torch.float64)
    return PermutationFrames(
        every.repeat(graphs, 1), weights, torch.arange(graphs).repeat_interleave(len(every)), graphs
    )


def frame_sizes(adjacency: Float[Tensor, "graphs nodes nodes"], *, decimals: int = 2) -> list[int]:
    """Numbers of elements of the frames, which are not listed for this."""
    places = node_signatures(adjacency, decimals=decimals)
    return [math.prod(math.factorial(count) for count in sizes) for _, sizes in places]


def node_signatures(
    adjacency: Float[Tensor, "graphs nodes nodes"], *, decimals: int = 2, tolerance: float = 1e-6
) -> list[tuple[np.ndarray, tuple[int, ...]]]:
    """For every graph one order that sorts the signatures, and the numbers of nodes alike, in that order.

    Args:
        adjacency: symmetric matrices.
        decimals: to which signatures are rounded.
        tolerance: eigenvalues closer than this part of the largest are one.

    Raises:
        InputError: matrices that are not symmetric or not finite.
    """
    if not bool(torch.isfinite(adjacency).all()) or not torch.equal(adjacency, adjacency.mT):
        raise InputError("adjacency: matrices must be finite and symmetric")
    if not 0 <= decimals <= 6:
        raise InputError(f"decimals: {decimals} was given; allowed are 0 to 6, beyond which rounding errors show")
    matrix = adjacency.detach().double().cpu()
    values, vectors = torch.linalg.eigh(torch.diag_embed(matrix.sum(-1)) - matrix)
    gaps = (values.diff(dim=-1) > tolerance * values.abs().amax(-1, keepdim=True).clamp_min(1.0)).numpy()
    squares = vectors.square().numpy()
    found = []
    for gap, square in zip(gaps, squares, strict=True):
        starts = np.concatenate([[0], np.flatnonzero(gap) + 1])
        rounded = np.round((np.sqrt(np.add.reduceat(square, starts, axis=1)) + _BORDER) * 10**decimals).astype(np.int64)
        order = np.lexsort(rounded.T[::-1])
        new = np.flatnonzero((np.diff(rounded[order], axis=0) != 0).any(axis=1)) + 1
        found.append((order, tuple(np.diff([0, *new, len(order)]).tolist())))
    return found


@lru_cache(maxsize=64)
def _block_orders(sizes: tuple[int, ...]) -> np.ndarray:
    """(elements, nodes) all orders of blocks that lie one after another, each permuted within itself."""
    found, start = np.zeros((1, 0), np.int64), 0
    for size in sizes:
        inside = np.array(list(itertools.permutations(range(start, start + size))), np.int64)
        pairs = (np.repeat(found, len(inside), axis=0), np.tile(inside, (len(found), 1)))
        found, start = np.concatenate(pairs, axis=1), start + size
    found.setflags(write=False)
    return found


def _random_orders(sizes: tuple[int, ...], count: int, generator: torch.Generator | None) -> np.ndarray:
    """The same, drawn uniformly: places sorted by block first and by a random number within it."""
    if count < 1:
        raise InputError(f"samples: {count} was given; draw at least 1")
    block = np.repeat(np.arange(len(sizes)), sizes)
    noise = torch.rand(count, len(block), generator=generator, dtype=torch.float64).numpy()
    return np.argsort(block + noise, axis=1)


def _distinct(matrix: np.ndarray, orders: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of all orders that give one matrix, and how many these are, for every different matrix."""
    i, j = np.triu_indices(len(matrix))
    entries = matrix[orders[:, i], orders[:, j]]
    if np.isin(matrix, (0, 1)).all():
        entries = np.packbits(entries.astype(bool), axis=1)  # 8 bytes sort faster than 36 numbers
    entries = np.ascontiguousarray(entries)
    rows = entries.view(np.dtype((np.void, entries.dtype.itemsize * entries.shape[1])))[:, 0]
    _, first, counts = np.unique(rows, return_index=True, return_counts=True)
    return first, counts.astype(float)
