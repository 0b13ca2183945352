"""The value of one time with its centre moved to every node: what all sub-flows of a step start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from polyad.tensors.formats.tree_layout import Node
from polyad.tensors.tree_integrators.fields import Field
from polyad.tensors.tree_integrators.frames import split
from polyad.tensors.tree_integrators.work import Key, Ledger


@final
@dataclass(frozen=True, eq=False)
class Centres:
    """By place of the tree's layout.

    Args:
        nodes: the layout.
        arrays: the orthonormal value.
        below: parts of the field (see `fields`) between these arrays; None at the root.
        above: parts of the field outside of every node, in `frames`.
        centres: the node's array times S, with all else orthonormal.
        frames: the parent's array, orthonormal towards this node; the root has none.
    """

    nodes: Sequence[Node]
    arrays: list[Tensor]
    below: list[Any]
    above: list[Any]
    centres: list[Tensor]
    frames: list[Any]


def move_centre(
    field: Field, nodes: Sequence[Node], arrays: list[Tensor], ledger: Ledger, after: Sequence[Key] = ()
) -> Centres:
    """Parts from the leaves up, then centres from the root down; siblings do not wait for each other."""
    count = len(nodes)
    below: list[Any] = [None] * count
    for place, node in enumerate(nodes[:-1]):
        parts = [below[child] for child in node.children]
        waits = [*after, *(("below", child) for child in node.children)]
        below[place] = ledger.run("below", place, field.below, place, arrays[place], arrays[place], parts, after=waits)
    found = Centres(nodes, arrays, below, [None] * count, list(arrays), [None] * count)
    found.above[-1] = field.top()
    for place in range(count - 1, -1, -1):
        children = nodes[place].children
        waits = [*after, ("frame", place), *(("below", child) for child in children)]
        for number, child in enumerate(children):
            found.frames[child], found.centres[child], found.above[child] = ledger.run(
                "frame", child, _descend, field, found, place, number, after=waits
            )
    return found


def _descend(field: Field, found: Centres, place: int, number: int) -> tuple[Tensor, Tensor, Any]:
    children = found.nodes[place].children
    frame, matrix = split(found.centres[place], number)
    parts = [found.below[child] for child in children]
    above = field.above(place, number, frame, parts, found.above[place])
    return frame, found.arrays[children[number]] @ matrix, above
