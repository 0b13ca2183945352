"""In which order a network is contracted while its cores are updated one after the other, worked out once a structure.

The environment of a node is the network without it. Nodes are halved again and again such that few bonds are cut; the
environment of a half is that of the whole with the other half's cores absorbed, so a sweep takes about p log2(p)
pairwise contractions for p nodes instead of p^2. Every contraction is one batched matrix product; the leading dimension
counts independent starts.

Source of the halving: A.-H. Phan, P. Tichavsky, A. Cichocki, IEEE Trans. Signal Process. 61 (2013) 4834 (for CP).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import log, prod
from typing import final

from torch import Tensor

from polyad.tensors.structure_search.structures import Label, NetworkStructure

_EXACT_HALVING = 12


@final
@dataclass(frozen=True)
class Product:
    """A pairwise contraction: slots, and how both operands become matrices."""

    one: int
    other: int
    result: int
    order_one: tuple[int, ...]
    order_other: tuple[int, ...]
    sizes: tuple[int, int, int]
    shape: tuple[int, ...]

    def __call__(self, slots: dict[int, Tensor]) -> None:
        """Contract, and keep the result in its slot."""
        rows, inner, columns = self.sizes
        one, other = slots[self.one], slots[self.other]
        starts = one.shape[0]
        left = one.permute(self.order_one).reshape(starts, rows, inner)
        right = other.permute(self.order_other).reshape(other.shape[0], inner, columns)
        slots[self.result] = (left @ right).reshape(starts, *self.shape)


@final
@dataclass(frozen=True)
class Update:
    """Node whose turn it is: the slot of its environment, as a matrix (modes in `modes`' order, bonds of the core)."""

    node: int
    environment: int | None
    order: tuple[int, ...]
    modes: tuple[int, ...]
    rows: int
    columns: int


@final
@dataclass(frozen=True)
class Plan:
    """Steps of one sweep over some nodes. Slots below the number of nodes hold cores."""

    steps: tuple[Product | Update, ...]
    largest: int


@lru_cache(maxsize=4096)
def sweep_plan(structure: NetworkStructure, nodes: tuple[int, ...] | None = None) -> Plan:
    """A sweep that updates these nodes (by default all) in an order that the halving chooses."""
    free = tuple(range(structure.nodes)) if nodes is None else nodes
    builder = _Builder(structure)
    fixed = [node for node in range(structure.nodes) if node not in free]
    builder.descend(list(free), builder.absorb(None, fixed))
    return Plan(tuple(builder.steps), builder.largest)


@lru_cache(maxsize=1024)
def dense_plan(structure: NetworkStructure) -> tuple[tuple[Product, ...], int, tuple[int, ...]]:
    """Steps that contract everything, the slot of the result, and the permutation of its dimensions to mode order."""
    builder = _Builder(structure)
    slot = builder.absorb(None, list(range(structure.nodes)))
    assert slot is not None
    labels = builder.labels[slot]
    order = (0, *(1 + labels.index(mode) for mode in range(structure.order)))
    return tuple(step for step in builder.steps if isinstance(step, Product)), slot, order


def to_dense(structure: NetworkStructure, cores: Sequence[Tensor]) -> Tensor:
    """All entries (starts, *shape) of batched cores."""
    steps, slot, order = dense_plan(structure)
    slots = dict(enumerate(cores))
    for step in steps:
        step(slots)
    return slots[slot].permute(order)


class _Builder:
    """Collects steps; labels and sizes of every slot are known before any number is."""

    def __init__(self, structure: NetworkStructure) -> None:
        self.structure = structure
        self.labels: list[tuple[Label, ...]] = [structure.labels(node) for node in range(structure.nodes)]
        self.size: dict[Label, int] = {}
        for node in range(structure.nodes):
            self.size.update(zip(structure.labels(node), structure.core_shape(node), strict=True))
        self.steps: list[Product | Update] = []
        self.largest = 1

    def descend(self, nodes: list[int], environment: int | None) -> None:
        """Update all these nodes, given the slot of what surrounds them."""
        if not nodes:
            return
        if len(nodes) == 1:
            self.steps.append(self._update(nodes[0], environment))
            return
        first, second = _halves(self.structure, nodes)
        self.descend(first, self.absorb(environment, second))
        self.descend(second, self.absorb(environment, first))

    def absorb(self, environment: int | None, nodes: list[int]) -> int | None:
        """Slot of the contraction of an environment with these cores; each time the cheapest pair meets."""
        slots = list(nodes) if environment is None else [environment, *nodes]
        while len(slots) > 1:
            one, other = min(combinations(slots, 2), key=lambda pair: self._cost(*pair))
            slots = [slot for slot in slots if slot not in (one, other)] + [self._product(one, other)]
        return slots[0] if slots else None

    def _cost(self, one: int, other: int) -> tuple[int, int]:
        """Growth of what is stored, then operations."""
        union = set(self.labels[one]) | set(self.labels[other])
        kept = set(self.labels[one]) ^ set(self.labels[other])
        before = self._numbers(self.labels[one]) + self._numbers(self.labels[other])
        return self._numbers(kept) - before, self._numbers(union)

    def _product(self, one: int, other: int) -> int:
        mine, others = self.labels[one], self.labels[other]
        summed = [label for label in mine if label in others]
        rows = [label for label in mine if label not in summed]
        columns = [label for label in others if label not in summed]
        result = len(self.labels)
        self.labels.append((*rows, *columns))
        self.largest = max(self.largest, self._numbers(self.labels[result]))
        self.steps.append(
            Product(
                one,
                other,
                result,
                (0, *(1 + mine.index(label) for label in [*rows, *summed])),
                (0, *(1 + others.index(label) for label in [*summed, *columns])),
                (self._numbers(rows), self._numbers(summed), self._numbers(columns)),
                tuple(self.size[label] for label in self.labels[result]),
            )
        )
        return result

    def _update(self, node: int, environment: int | None) -> Update:
        bonds = [label for label in self.structure.labels(node) if not isinstance(label, int)]
        labels = () if environment is None else self.labels[environment]
        modes = tuple(label for label in labels if isinstance(label, int))
        order = (0, *(1 + labels.index(label) for label in [*modes, *bonds]))
        return Update(node, environment, order, modes, self._numbers(modes), self._numbers(bonds))

    def _numbers(self, labels: Sequence[Label] | set[Label]) -> int:
        return prod(self.size[label] for label in labels)


def _halves(structure: NetworkStructure, nodes: list[int]) -> tuple[list[int], list[int]]:
    """Two halves with the smallest product of the bonds between them; the first of equals, so it is deterministic."""
    half = len(nodes) // 2
    if len(nodes) > _EXACT_HALVING:
        return _grown_half(structure, nodes, half)
    weight = [[log(rank) for rank in row] for row in structure.ranks]

    def cut(chosen: tuple[int, ...]) -> float:
        return sum(weight[a][b] for a in chosen for b in nodes if b not in chosen)

    first = min(combinations(nodes, half), key=cut)
    return list(first), [node for node in nodes if node not in first]


def _grown_half(structure: NetworkStructure, nodes: list[int], half: int) -> tuple[list[int], list[int]]:
    """A half grown from the first node, each time by the node tied to it most strongly."""
    first = [nodes[0]]
    while len(first) < half:
        rest = [node for node in nodes if node not in first]
        first.append(max(rest, key=lambda node: sum(log(structure.ranks[node][k]) for k in first)))
    return first, [node for node in nodes if node not in first]
