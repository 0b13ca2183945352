"""Truncation and squeezing of tree tensor networks; equations in `tree`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polyad.tensors.formats.subspace import dominant_basis, triangular_root
from polyad.tensors.formats.tree_layout import Node, Tree, layout
from polyad.tensors.formats.tucker import multiply_modes, unfold

if TYPE_CHECKING:
    from polyad.tensors.formats.tree import TreeTensorNetwork


def truncate_tree(
    network: TreeTensorNetwork, tolerance: float | None, caps: Sequence[int]
) -> tuple[list[Tensor], Tensor]:
    """New arrays by node and the error bound; caps by node but the root."""
    nodes, arrays, start = layout(network.tree), network.by_node(), len(network.batch_shape)
    with torch.no_grad():
        inside = triangles(nodes, [array.detach() for array in arrays], start)
        outside = _outside(nodes, [array.detach() for array in arrays], inside)
        size = torch.linalg.vector_norm(inside[-1], dim=(-2, -1)).square()
    wants = torch.is_grad_enabled() and any(array.requires_grad for array in arrays)
    metrics = _outside_grams(nodes, arrays, start) if wants else [None] * len(nodes)
    allowed, lost = size * (tolerance or 0.0) ** 2, torch.zeros_like(size)
    carry, result = list(arrays), list(arrays)
    for place, node in enumerate(nodes):
        array = arrays[place] if node.mode is not None else _multiply(arrays[place], carry, node)
        if place == len(nodes) - 1:
            result[place] = array
            break
        tall = array.flatten(start, -2)
        budget = None if tolerance is None else (allowed - lost).clamp_min(0) / (len(nodes) - 1 - place)
        basis, discarded = dominant_basis(
            tall, budget=budget, cap=caps[place], root=outside[place], gram=metrics[place]
        )
        lost = lost + discarded
        carry[place] = basis.mH @ tall
        result[place] = basis.reshape(*array.shape[:-1], basis.shape[-1])
    return result, lost.sqrt()


def triangles(nodes: Sequence[Node], arrays: Sequence[Tensor], start: int) -> list[Tensor]:
    """R (q, r) of every subtree: its tall matrix is orthonormal columns times R."""
    roots: list[Tensor] = []
    for node, array in zip(nodes, arrays, strict=True):
        moved = array if node.mode is not None else _multiply(array, roots, node)
        roots.append(triangular_root(moved.flatten(start, -2)))
    return roots


def squeeze_tree(
    network: TreeTensorNetwork, gone: Sequence[int]
) -> tuple[Tree, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Tree, factors and cores without these modes of size one."""
    arrays, start = network.by_node(), len(network.batch_shape)
    kept = [mode for mode in range(network.order) if mode not in gone]
    names = {mode: number for number, mode in enumerate(kept)}
    # by node: the subtree that is left (or None) and, by subtree, its arrays; a subtree that is gone is a vector
    trees: list[Any] = []
    factors: dict[int, Tensor] = {}
    cores: list[list[Tensor]] = []
    vectors: dict[int, Tensor] = {}
    nodes = layout(network.tree)
    for place, node in enumerate(nodes):
        if node.mode is not None:
            if node.mode in gone:
                vectors[place] = arrays[place]
            else:
                factors[names[node.mode]] = arrays[place]
            trees.append(names.get(node.mode))
            cores.append([])
            continue
        lost = {k: vectors[child] for k, child in enumerate(node.children) if trees[child] is None}
        core = multiply_modes(arrays[place], lost, len(node.children) + 1)
        for k in sorted(lost, reverse=True):
            core = core.squeeze(start + k)
        left = [child for child in node.children if trees[child] is not None]
        below = [array for child in left for array in cores[child]]
        is_root = place == len(nodes) - 1
        if not left:
            vectors[place] = core[..., None, :]
            trees.append(None)
        elif len(left) == 1 and not (is_root and isinstance(trees[left[0]], int)):
            tree = trees[left[0]]
            if isinstance(tree, int):
                factors[tree] = factors[tree] @ core
            else:
                below[-1] = multiply_modes(below[-1], {below[-1].ndim - start - 1: core.mT}, below[-1].ndim - start)
            trees.append(tree)
        else:
            trees.append(tuple(trees[child] for child in left))
            below.append(core)
        cores.append(below)
    return trees[-1], tuple(factors[mode] for mode in range(len(kept))), tuple(cores[-1])


def _multiply(core: Tensor, matrices: Sequence[Tensor], node: Node) -> Tensor:
    return multiply_modes(core, {k: matrices[c] for k, c in enumerate(node.children)}, len(node.children) + 1)


def _outside(nodes: Sequence[Node], arrays: Sequence[Tensor], inside: Sequence[Tensor]) -> list[Tensor]:
    """W (r, q) of what lies outside of every subtree, so that the unfolding is tall matrix times W times isometry."""
    roots = list(arrays)
    roots[-1] = torch.ones_like(arrays[-1].flatten(arrays[-1].ndim - len(nodes[-1].children) - 1)[..., :1, None])
    for place in range(len(nodes) - 1, -1, -1):
        node = nodes[place]
        order = len(node.children) + 1
        for k, child in enumerate(node.children):
            others = {j: inside[c] for j, c in enumerate(node.children) if j != k}
            moved = multiply_modes(arrays[place], {**others, order - 1: roots[place].mT}, order)
            roots[child] = triangular_root(unfold(moved, k, order).mH).mH
    return roots


def _outside_grams(nodes: Sequence[Node], arrays: Sequence[Tensor], start: int) -> list[Tensor | None]:
    """W W^H of `_outside`, with its derivative."""
    inside: list[Tensor] = []
    for node, array in zip(nodes, arrays, strict=True):
        moved = array if node.mode is not None else _multiply(array, inside, node)
        inside.append(array.flatten(start, -2).mH @ moved.flatten(start, -2))
    grams: list[Any] = [None] * len(nodes)
    grams[-1] = torch.ones_like(inside[-1])
    for place in range(len(nodes) - 1, -1, -1):
        node = nodes[place]
        order = len(node.children) + 1
        for k, child in enumerate(node.children):
            others = {j: inside[c] for j, c in enumerate(node.children) if j != k}
            moved = multiply_modes(arrays[place], {**others, order - 1: grams[place].mT}, order)
            grams[child] = unfold(moved, k, order) @ unfold(arrays[place], k, order).mH
    return grams
