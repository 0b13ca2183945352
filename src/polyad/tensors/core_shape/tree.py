"""Ranks of a tree tensor network under a budget: the same surrogate with the matricisations of the tree's edges.

A tree is nested tuples of modes, ((0, 1), (2, 3)); flat, (0, 1, 2), it is a Tucker decomposition. Every node but the
root has a rank: a leaf costs I_n r_n numbers, an inner node its rank times those of its children, the root the product
of its children's ranks. Truncating from the leaves to the root by orthogonal projections loses at most the sum of the
tails of the matricisations (L. Grasedyck, SIAM J. Matrix Anal. Appl. 31 (2010) 2029), and no tail alone can be avoided.
The two children of a binary root share one matricisation, and so one rank and one tail.

The best ranks come from Pareto fronts (numbers, loss) of every subtree at every rank, merged from the leaves up: exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from jaxtyping import Inexact
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.core_shape.spectra import check_tensor, matricization_spectrum
from polyad.tensors.core_shape.tree_truncation import Node, modes_below, network_to_dense, nodes_upwards, truncate

_MOST_PAIRS = 5 * 10**7


@final
@dataclass(frozen=True, eq=False)
class TreeCoreShape:
    """Ranks, by the modes below each node, and the truncated network.

    Attributes:
        ranks: rank of every node but the root, keyed by its modes in the tree's order.
        size: numbers of the network, at most the budget.
        surrogate: sum of the tails over |X|^2, never below the true loss.
        cores: see `tree_truncation.truncate`, by the same keys.
        relative_error: |X - network| / |X|.
    """

    ranks: Mapping[Node, int]
    size: int
    surrogate: float
    cores: Mapping[Node, Inexact[Tensor, "..."]]
    relative_error: float


@final
@dataclass(frozen=True, eq=False)
class TreePacking:
    """The packing problem on a tree: dimensions of the modes, what each rank of a node leaves, and the budget.

    The second child of a binary root has no entry in `tails`: it shares rank and matricisation with the first.
    """

    tree: Any
    shape: tuple[int, ...]
    tails: Mapping[Node, np.ndarray]
    budget: int

    @property
    def twin(self) -> tuple[Node, Node] | None:
        """The children of a binary root, whose ranks are equal."""
        return (modes_below(self.tree[0]), modes_below(self.tree[1])) if len(self.tree) == 2 else None

    def tail(self, node: Node) -> np.ndarray:
        """What the ranks 0, 1, ... of a node leave."""
        return self.tails[self.twin[0] if self.twin and node == self.twin[1] else node]

    def size(self, ranks: Mapping[Node, int]) -> int:
        """Numbers of the network."""
        total = 0
        for node in nodes_upwards(self.tree):
            below = [self.shape[node]] if isinstance(node, int) else [ranks[modes_below(child)] for child in node]
            total += math.prod(below) * (1 if node is self.tree else ranks[modes_below(node)])
        return total

    def loss(self, ranks: Mapping[Node, int]) -> float:
        """Sum of the tails."""
        return float(sum(tail[ranks[node]] for node, tail in self.tails.items()))


@final
@dataclass(frozen=True, eq=False)
class _Front:
    """Packings of a subtree: product of the ranks at its top, numbers and loss below, and the ranks of `nodes`."""

    rank: np.ndarray
    size: np.ndarray
    loss: np.ndarray
    ranks: np.ndarray  # (packings, nodes)
    nodes: tuple[Node, ...]

    def where(self, keep: np.ndarray) -> _Front:
        return _Front(self.rank[keep], self.size[keep], self.loss[keep], self.ranks[keep], self.nodes)


def tree_core_shape(
    tensor: Inexact[Tensor, "..."], tree: Any, budget: int, *, method: Literal["exact", "greedy"] = "exact"
) -> TreeCoreShape:
    """The ranks of a tree tensor network of at most `budget` numbers that minimise the sum of the tails; truncated.

    Args:
        tensor: X.
        tree: nested tuples of modes, each mode once, at least two children a node.
        budget: largest number of entries of all cores.
        method: `exact` by Pareto fronts; `greedy` raises ranks by gain per added number.

    Raises:
        InputError: a tree that is not one, a budget below that of all ranks one, fronts of more than 5e7 pairs.
    """
    problem = tree_packing(tensor, tree, budget)
    if method not in ("exact", "greedy"):
        raise InputError(f"method: {method!r}; take 'exact' or 'greedy'")
    ranks = greedy_tree_ranks(problem)
    if method == "exact":
        ranks = exact_tree_ranks(problem, ranks)
    cores = truncate(tensor, tree, ranks)
    error = torch.linalg.vector_norm(tensor - network_to_dense(cores, tree)) / torch.linalg.vector_norm(tensor)
    total = float(torch.linalg.vector_norm(tensor)) ** 2
    return TreeCoreShape(ranks, problem.size(ranks), problem.loss(ranks) / total, cores, float(error))


def tree_packing(tensor: Inexact[Tensor, "..."], tree: Any, budget: int) -> TreePacking:
    """Spectra of the tree's matricisations, as a packing problem; raises InputError as `tree_core_shape` does."""
    check_tensor(tensor)
    if isinstance(tree, int) or sorted(modes_below(tree)) != list(range(tensor.ndim)):
        raise InputError(f"tree: {tree}; nest every mode from 0 to {tensor.ndim - 1} once, such as ((0, 1), 2)")
    tails: dict[Node, np.ndarray] = {}
    skipped = modes_below(tree[1]) if len(tree) == 2 else None
    for node in nodes_upwards(tree):
        if node is not tree and modes_below(node) != skipped:
            spectrum = matricization_spectrum(tensor, modes_below(node)).detach().cpu().double().numpy()
            spectrum = spectrum[: max(1, int((spectrum > 0).sum()))]  # no rank is spent on what is zero
            tails[modes_below(node)] = np.append(np.cumsum(spectrum[::-1])[::-1], 0.0)
    problem = TreePacking(tree, tuple(tensor.shape), tails, int(budget))
    least = problem.size(_ones(problem))
    if budget < least:
        raise InputError(f"budget: {budget}; ranks of one need {least} numbers already")
    return problem


def greedy_tree_ranks(problem: TreePacking) -> dict[Node, int]:
    """From ranks of one, always the rank with the largest next squared singular value per added number."""
    ranks = _ones(problem)
    while True:
        size, best, choice = problem.size(ranks), 0.0, None
        for node, tail in problem.tails.items():
            if ranks[node] + 1 == len(tail):
                continue
            raised = _raised(problem, ranks, node)
            added = problem.size(raised) - size
            gain = (tail[ranks[node]] - tail[ranks[node] + 1]) / added
            if size + added <= problem.budget and gain > best:
                best, choice = gain, raised
        if choice is None:
            return ranks
        ranks = choice


def exact_tree_ranks(problem: TreePacking, start: Mapping[Node, int]) -> dict[Node, int]:
    """The best ranks; packings that lose more than `start` are never looked at."""
    bound = problem.loss(start)
    fronts = [_front(problem, child, bound) for child in problem.tree]
    best, found = bound, dict(start)
    if problem.twin is None:
        pairs = [(fronts, 0.0)]
    else:
        shared = problem.tail(problem.twin[0])
        pairs = [
            ([front.where(front.rank == rank) for front in fronts], float(shared[rank]))
            for rank in np.intersect1d(fronts[0].rank, fronts[1].rank)
        ]
    for parts, counted_twice in pairs:
        whole = _joined(parts, problem.budget, bound + counted_twice)
        if len(whole.loss) == 0:
            continue
        at = int(np.argmin(whole.loss))
        if whole.loss[at] - counted_twice < best:
            best = float(whole.loss[at] - counted_twice)
            found = {node: int(rank) for node, rank in zip(whole.nodes, whole.ranks[at], strict=True)}
    return found


def _front(problem: TreePacking, tree: Any, bound: float) -> _Front:
    """Undominated packings of the subtree below a node at each of its ranks, the node's own tail included."""
    node = modes_below(tree)
    tail = problem.tail(node)
    if isinstance(tree, int):
        rank = np.arange(1, len(tail))
        rank = rank[(rank * problem.shape[tree] <= problem.budget) & (tail[rank] <= bound)]
        return _Front(rank, rank * problem.shape[tree], tail[rank], rank[:, None], (node,))
    below = _joined([_front(problem, child, bound) for child in tree], problem.budget, bound)
    parts = []
    for top in range(1, len(tail)):
        size, loss = top * below.rank + below.size, below.loss + tail[top]
        keep = _undominated(size, loss, problem.budget, bound)
        ranks = np.column_stack([below.ranks[keep], np.full(len(keep), top)])
        parts.append((np.full(len(keep), top), size[keep], loss[keep], ranks))
    tops, sizes, losses, all_ranks = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _Front(tops, sizes, losses, all_ranks, (*below.nodes, node))


def _joined(fronts: list[_Front], budget: int, bound: float) -> _Front:
    """All combinations within budget and bound; `rank` is the product of the tops' ranks."""
    joined = fronts[0]
    for front in fronts[1:]:
        if len(joined.rank) * len(front.rank) > _MOST_PAIRS:
            raise InputError("tree: too many packings to compare exactly; take method='greedy' or a smaller budget")
        rank = np.multiply.outer(joined.rank, front.rank)
        size, loss = np.add.outer(joined.size, front.size), np.add.outer(joined.loss, front.loss)
        first, second = np.nonzero((rank + size <= budget) & (loss <= bound))
        joined = _Front(
            rank[first, second],
            size[first, second],
            loss[first, second],
            np.hstack([joined.ranks[first], front.ranks[second]]),
            (*joined.nodes, *front.nodes),
        )
    return joined


def _undominated(size: np.ndarray, loss: np.ndarray, budget: int, bound: float) -> np.ndarray:
    """Indices that no other beats in both numbers and loss, among those within budget and bound."""
    order = np.lexsort((loss, size))
    order = order[(size[order] <= budget) & (loss[order] <= bound)]
    first = np.ones(len(order), dtype=bool)
    first[1:] = loss[order][1:] < np.minimum.accumulate(loss[order])[:-1]
    return order[first]


def _ones(problem: TreePacking) -> dict[Node, int]:
    return {modes_below(node): 1 for node in nodes_upwards(problem.tree) if node is not problem.tree}


def _raised(problem: TreePacking, ranks: Mapping[Node, int], node: Node) -> dict[Node, int]:
    raised = {**ranks, node: ranks[node] + 1}
    if problem.twin and node == problem.twin[0]:
        raised[problem.twin[1]] = raised[node]
    return raised
