"""Trees of modes: nested tuples such as ((0, 1), (2, 3)), and their nodes in order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

from polyad.errors import InputError

Tree = tuple[Any, ...]
"""Nested tuples whose innermost items are mode numbers."""


class Node(NamedTuple):
    """A node of a tree: its subtree, the places of its children in the layout, and its mode if it is a leaf."""

    tree: Tree | int
    children: tuple[int, ...]
    mode: int | None


def balanced_tree(order: int, *, children: int = 2) -> Tree:
    """The tree that splits the modes 0..order-1 as evenly as it can, in order."""
    if order < 1 or children < 2:
        raise InputError(f"order, children: {order} and {children} were given; at least 1 and 2 are needed")
    built = _balanced(list(range(order)), children)
    return built if isinstance(built, tuple) else (built,)


def chain_tree(order: int) -> Tree:
    """The tree of a tensor train: (((0, 1), 2), 3) for order 4."""
    if order < 1:
        raise InputError(f"order: {order} was given; at least 1 is needed")
    tree: Tree = (0, 1) if order > 1 else (0,)
    for mode in range(2, order):
        tree = (tree, mode)
    return tree


def check_tree(tree: Tree, order: int) -> tuple[Node, ...]:
    """The layout of a tree whose leaves are the modes 0..order-1, each once."""
    if not isinstance(tree, tuple):
        raise InputError(f"tree: {tree!r} was given; write nested tuples of mode numbers such as ((0, 1), (2, 3))")
    nodes = layout(tree)
    if any(node.mode is None and not node.children for node in nodes):
        raise InputError(f"tree: {tree} has an empty branch; every inner node needs a child")
    modes = leaves_in_order(tree)
    if sorted(modes) != list(range(order)):
        raise InputError(f"tree: its leaves are {modes}; modes 0..{order - 1} are needed, each once")
    return nodes


@lru_cache(maxsize=256)
def layout(tree: Tree) -> tuple[Node, ...]:
    """All nodes, children before parents and left before right; the root is last."""
    nodes: list[Node] = []

    def visit(subtree: Any) -> int:
        if isinstance(subtree, tuple):
            children = tuple(visit(child) for child in subtree)
            nodes.append(Node(subtree, children, None))
        elif isinstance(subtree, int):
            nodes.append(Node(subtree, (), subtree))
        else:
            raise InputError(f"tree: {subtree!r} is neither a mode number nor a tuple of branches")
        return len(nodes) - 1

    visit(tree)
    return tuple(nodes)


def leaves_in_order(tree: Tree) -> list[int]:
    """Mode numbers from left to right."""
    return [node.mode for node in layout(tree) if node.mode is not None]


def largest_ranks(nodes: Sequence[Node], shape: Sequence[int]) -> list[int]:
    """Largest rank of every node but the root: the smaller side of its unfolding."""
    inside: list[int] = []
    for node in nodes:
        inside.append(shape[node.mode] if node.mode is not None else prod(inside[child] for child in node.children))
    return [min(size, prod(shape) // size) for size in inside[:-1]]


def _balanced(modes: list[int], children: int) -> Tree | int:
    if len(modes) == 1:
        return modes[0]
    parts = min(children, len(modes))
    cuts = [len(modes) * part // parts for part in range(parts + 1)]
    return tuple(_balanced(modes[a:b], children) for a, b in pairwise(cuts))
