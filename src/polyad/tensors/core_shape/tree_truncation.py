"""Hierarchical truncation on a tree at given ranks: projections from the leaves to the root, and the way back.

A tree is nested tuples of modes; a node is keyed by the modes below it, in the tree's order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Inexact
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.core_shape.spectra import leading_basis, matricize

Node = tuple[int, ...]


def modes_below(tree: Any) -> Node:
    """The modes of a node's leaves, in order."""
    if isinstance(tree, int):
        return (tree,)
    if not isinstance(tree, tuple) or len(tree) < 2:
        raise InputError(f"tree: {tree!r} is no node; a node is a mode or a tuple of two nodes or more")
    return tuple(mode for child in tree for mode in modes_below(child))


def nodes_upwards(tree: Any) -> Iterator[Any]:
    """All nodes, children before parents; the root comes last."""
    if not isinstance(tree, int):
        for child in tree:
            yield from nodes_upwards(child)
    yield tree


def truncate(
    tensor: Inexact[Tensor, "..."], tree: Any, ranks: Mapping[Node, int]
) -> dict[Node, Inexact[Tensor, "..."]]:
    """Cores of the network: a leaf's basis (I_n, r), an inner node's (children's ranks..., r), the root's (ranks...).

    Every projection takes leading singular vectors of the tensor as projected so far; all of them are orthogonal and
    nested, so the squared errors add up and stay below the tails of the tensor itself.
    """
    cores: dict[Node, Tensor] = {}
    axes: list[Node] = [(mode,) for mode in range(tensor.ndim)]  # the node that every axis belongs to
    for node in nodes_upwards(tree):
        keys = [modes_below(part) for part in ((node,) if isinstance(node, int) else node)]
        at = [axes.index(key) for key in keys]
        if node is tree:
            cores[modes_below(tree)] = tensor.permute(at).contiguous()
            break
        matrix = matricize(tensor, at)
        rank = min(ranks[modes_below(node)], matrix.shape[0])
        basis = leading_basis(matrix, rank)
        cores[modes_below(node)] = basis.reshape(*(tensor.shape[axis] for axis in at), rank)
        kept = [axis for axis in range(tensor.ndim) if axis not in at]
        tensor = (basis.mH @ matrix).reshape(rank, *(tensor.shape[axis] for axis in kept))
        axes = [modes_below(node), *(axes[axis] for axis in kept)]
    return cores


def network_to_dense(cores: Mapping[Node, Inexact[Tensor, "..."]], tree: Any) -> Inexact[Tensor, "..."]:
    """The dense tensor of the network, modes in their natural order."""
    dense = _below(cores, tree, top=True)
    order = modes_below(tree)
    return dense.permute([order.index(mode) for mode in range(len(order))])


def _below(cores: Mapping[Node, Tensor], node: Any, *, top: bool) -> Tensor:
    """(dimensions of the modes..., rank), without the rank at the top."""
    core = cores[modes_below(node)]
    if isinstance(node, int):
        return core
    for child in node:  # the first axis is the next child's; its modes go to the end
        grown = _below(cores, child, top=False)
        core = torch.tensordot(core, grown, dims=([0], [grown.ndim - 1]))
    return core if top else core.movedim(0, -1)
