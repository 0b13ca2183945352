"""Vector fields on tree tensor networks, restricted to one node at a time.

For Y' = F(t, Y), an integrator needs F only between a *ket*, orthonormal bases with the unknown X at one node (or on
one edge), and a *bra*, the bases that the result is projected on:

    f(t, X) = <bra| F(t, ket with X) >

A `Field` builds these restrictions from two kinds of parts: `below`, what a subtree with given bra and ket contributes,
and `above`, what lies outside of it. Nested restriction and prolongation (a subtree of a subtree) is the same as one
restriction with the outside in orthonormal form, so every node has its own, independent equation.

* `OperatorField`: F(t, Y) = A Y, A a `TreeOperator`; parts are small matrices, work does not see the size of the tree.
* `FunctionField`: any function (t, TreeTensorNetwork) -> TreeTensorNetwork; parts are the arrays themselves.

When not to use it: `FunctionField` for linear operators; each call applies F to the whole tree.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final, no_type_check

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.tree import TreeTensorNetwork
from polyad.tensors.formats.tree_layout import Node, Tree, layout
from polyad.tensors.formats.tucker import multiply_modes
from polyad.tensors.tree_integrators.contractions import bracket, close, push
from polyad.tensors.tree_integrators.flows import Rate
from polyad.tensors.tree_integrators.operators import TreeOperator

Function = Callable[[float, TreeTensorNetwork], TreeTensorNetwork]


class Field(ABC):
    """F on one tree. Places are those of the tree's layout; parts are opaque and belong to the field that made them."""

    tree: Tree

    @abstractmethod
    def below(self, place: int, bra: Tensor, ket: Tensor, children: Sequence[Any]) -> Any:
        """The part of the subtree at `place` with these arrays at its top and the children's parts under it."""

    @abstractmethod
    def top(self) -> Any:
        """The part above the root."""

    @abstractmethod
    def above(self, place: int, child: int, frame: Num[Tensor, "..."], siblings: Sequence[Any], above: Any) -> Any:
        """The part above the `child`-th child of `place`.

        Args:
            place: the parent.
            child: number among the parent's children.
            frame: the parent's array, orthonormal towards that child.
            siblings: parts below of all children; the one at `child` is not used.
            above: the part above the parent.
        """

    @abstractmethod
    def site(self, place: int, children: Sequence[Any], above: Any) -> Rate:
        """f for the array at `place`."""

    @abstractmethod
    def edge(self, place: int, below: Any, above: Any) -> Rate:
        """f for a matrix between the subtree at `place` and what lies above it."""


@final
@dataclass(frozen=True)
class LegRate:
    """X -> gate and legs applied to X: linear and independent of time."""

    legs: tuple[Tensor, ...]
    gate: Tensor

    @no_type_check  # as the kernels that it calls
    def __call__(self, time: float, value: Tensor) -> Tensor:
        """f(t, X)."""
        *first, last = self.legs
        pushed = push(value.transpose(-1, -2), first, self.gate)
        return close(pushed, last)


@final
@dataclass(frozen=True)
class OperatorField(Field):
    """F(t, Y) = A Y."""

    operator: TreeOperator
    nodes: tuple[Node, ...] = field(init=False)
    arrays: tuple[Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", layout(self.operator.tree))
        object.__setattr__(self, "arrays", tuple(self.operator.by_node()))

    @property
    def tree(self) -> Tree:  # type: ignore[override]
        """The operator's tree."""
        return self.operator.tree

    def below(self, place: int, bra: Tensor, ket: Tensor, children: Sequence[Tensor]) -> Tensor:
        """(bond, bra, ket)."""
        mine = self.arrays[place]
        if self.nodes[place].mode is not None:
            return bra.mH @ (mine @ ket)
        gate = mine.flatten(0, -2)[:, :, None, None]
        return bracket(bra.unsqueeze(-2), push(ket.unsqueeze(-2), children, gate))

    def top(self) -> Tensor:
        """(1, 1, 1)."""
        return torch.ones_like(self.arrays[-1].flatten()[:1]).reshape(1, 1, 1)

    def above(self, place: int, child: int, frame: Tensor, siblings: Sequence[Tensor], above: Tensor) -> Tensor:
        """(bond, bra, ket)."""
        others = [sibling for k, sibling in enumerate(siblings) if k != child]
        moved = frame.movedim(child, -1)
        return bracket(moved, push(moved, others, self._gate(place, child, above)))

    def site(self, place: int, children: Sequence[Tensor], above: Tensor) -> LegRate:
        """Legs: the children's parts, or the operator of a leaf."""
        if self.nodes[place].mode is not None:
            return LegRate((self.arrays[place],), above[None])
        return LegRate(tuple(children), self._gate(place, len(children) - 1, above))

    def edge(self, place: int, below: Tensor, above: Tensor) -> LegRate:
        """One leg: the part below."""
        return LegRate((below,), above[None])

    def _gate(self, place: int, last: int, above: Tensor) -> Tensor:
        """(states of all children but one, states of that one, bra, ket)."""
        mine = self.arrays[place].movedim(last, -2)
        return (
            torch.tensordot(mine, above, dims=1).flatten(0, mine.ndim - 3)
            if mine.ndim > 2
            else (torch.tensordot(mine, above, dims=1)[None])
        )


@final
@dataclass(frozen=True)
class FunctionRate:
    """f(t, X) by prolonging X to the whole tree, applying F, and restricting the result.

    `bra` and `ket` hold an array for every place but that of X; an edge lies over its place, whose own array is there.
    """

    function: Function
    tree: Tree
    place: int
    bra: dict[int, Tensor]
    ket: dict[int, Tensor]
    is_edge: bool = False

    def __call__(self, time: float, value: Tensor) -> Tensor:
        """f(t, X)."""
        nodes = layout(self.tree)
        ket = dict(self.ket)
        ket[self.place] = ket[self.place] @ value if self.is_edge else value
        network = _network(self.tree, nodes, ket)
        found = self.function(time, network)
        if not isinstance(found, TreeTensorNetwork) or found.tree != self.tree or found.shape != network.shape:
            raise InputError("F must return a TreeTensorNetwork on the tree and with the shape of its argument")
        return self._restrict(nodes, found.by_node())

    def _restrict(self, nodes: Sequence[Node], arrays: Sequence[Tensor]) -> Tensor:
        path = _path_to_root(nodes, self.place)
        grams: dict[int, Tensor] = {}
        for place, node in enumerate(nodes):
            if place in path and not (self.is_edge and place == self.place):
                continue
            moved = arrays[place]
            if node.mode is None:
                moved = multiply_modes(moved, {k: grams[c] for k, c in enumerate(node.children)}, moved.ndim)
            grams[place] = self.bra[place].flatten(0, -2).mH @ moved.flatten(0, -2)
        outside = torch.ones_like(arrays[-1].flatten()[:1]).reshape(1, 1)  # (of F, of the bra)
        for parent, child in zip(path[:0:-1], path[-2::-1], strict=True):
            node, order = nodes[parent], arrays[parent].ndim
            number = node.children.index(child)
            others = {k: grams[c] for k, c in enumerate(node.children) if k != number}
            moved = multiply_modes(arrays[parent], {**others, order - 1: outside.mT}, order)
            frame = self.bra[parent].movedim(number, 0).flatten(1)
            outside = moved.movedim(number, 0).flatten(1) @ frame.mH
        if self.is_edge:
            return grams[self.place] @ outside
        node, order = nodes[self.place], arrays[self.place].ndim
        inside = {k: grams[c] for k, c in enumerate(node.children)}
        return multiply_modes(arrays[self.place], {**inside, order - 1: outside.mT}, order)


Pair = tuple[dict[int, Tensor], dict[int, Tensor]]


@final
@dataclass(frozen=True)
class FunctionField(Field):
    """Any F: (t, network) -> network on the same tree. `below` and `above` are pairs (bra, ket) of arrays by place."""

    function: Function
    tree: Tree

    def below(self, place: int, bra: Tensor, ket: Tensor, children: Sequence[Pair]) -> Pair:
        """All arrays of the subtree."""
        return {**_merged(children, 0), place: bra}, {**_merged(children, 1), place: ket}

    def top(self) -> Pair:
        """Nothing."""
        return {}, {}

    def above(self, place: int, child: int, frame: Tensor, siblings: Sequence[Pair], above: Pair) -> Pair:
        """All arrays outside of the child's subtree."""
        others = [sibling for k, sibling in enumerate(siblings) if k != child]
        return {**above[0], **_merged(others, 0), place: frame}, {**above[1], **_merged(others, 1), place: frame}

    def site(self, place: int, children: Sequence[Pair], above: Pair) -> FunctionRate:
        """Everything but the array at `place`."""
        parts = [*children, above]
        return FunctionRate(self.function, self.tree, place, _merged(parts, 0), _merged(parts, 1))

    def edge(self, place: int, below: Pair, above: Pair) -> FunctionRate:
        """Everything, with the unknown between the two parts."""
        parts = [below, above]
        return FunctionRate(self.function, self.tree, place, _merged(parts, 0), _merged(parts, 1), True)


def as_field(function: Any, value: TreeTensorNetwork) -> Field:
    """The field of an operator or of a function for values like this one; an operator takes on the common dtype."""
    if isinstance(function, TreeOperator):
        function = OperatorField(function.to(torch.promote_types(function.dtype, value.dtype)))
    if not isinstance(function, Field):
        if not callable(function):
            raise InputError(f"F: {type(function).__name__} was given; an operator, a field or a function is needed")
        return FunctionField(function, value.tree)
    if function.tree != value.tree:
        raise InputError(f"value: its tree {value.tree} is not that of F, {function.tree}; use one tree for both")
    return function


def _merged(parts: Sequence[Pair], side: int) -> dict[int, Tensor]:
    return {place: array for part in parts for place, array in part[side].items()}


def _path_to_root(nodes: Sequence[Node], place: int) -> list[int]:
    parents = {child: parent for parent, node in enumerate(nodes) for child in node.children}
    path = [place]
    while path[-1] in parents:
        path.append(parents[path[-1]])
    return path


def _network(tree: Tree, nodes: Sequence[Node], arrays: Mapping[int, Tensor]) -> TreeTensorNetwork:
    factors = {node.mode: arrays[place] for place, node in enumerate(nodes) if node.mode is not None}
    cores = tuple(arrays[place] for place, node in enumerate(nodes) if node.mode is None)
    return TreeTensorNetwork(tree, tuple(factors[mode] for mode in range(len(factors))), cores)
