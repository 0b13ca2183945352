"""Weights kept while a structure changes: a bond grows, shrinks, or a core is split in two.

Growing bond (i, j) by one appends a slice to both cores. Random in one and zero in the other, the tensor stays exactly
what it was and the gradient of the zero slice is not zero; two zero slices would be a stationary point, two random ones
would change the tensor. Splitting a core along a partition of its legs by an SVD makes a node without a mode; shrinking
a bond drops the smallest singular value of its two cores.

Source: M. Hashemizadeh, M. Liu, J. Miller, G. Rabusseau, arXiv:2008.05437 (2020), section 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import prod

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.structure_search.structures import Label, NetworkStructure


def new_slices(
    structure: NetworkStructure, edge: tuple[int, int], generator: torch.Generator, *, like: Tensor, starts: int = 1
) -> tuple[Tensor, Tensor]:
    """A zero slice of core i and a random one of core j for bond (i, j), (starts, ...), without the leg of the bond."""
    slim = structure.with_rank(*edge, 1)
    first, second = (slim.core_shape(node) for node in edge)
    zero = like.new_zeros(starts, *first)
    random = torch.randn((starts, *second), generator=generator, dtype=like.dtype, device=like.device)
    return zero, random / max(1, prod(second)) ** 0.5


def grow(
    structure: NetworkStructure, cores: Sequence[Tensor], edge: tuple[int, int], slices: tuple[Tensor, Tensor]
) -> tuple[NetworkStructure, list[Tensor]]:
    """The bond one larger, the slices appended to cores i and j; nothing else changes."""
    i, j = edge
    if i == j:
        raise InputError(f"edge: {edge} joins a node to itself; give two different nodes")
    rank = structure.ranks[i][j]
    grown = structure.with_rank(i, j, rank + 1)
    label, result = (min(edge), max(edge)), list(cores)
    for node, new in zip(edge, slices, strict=True):
        place = grown.labels(node).index(label)
        core = cores[node] if rank > 1 else cores[node].unsqueeze(place)
        result[node] = torch.cat([core, new.unsqueeze(place)], place)
    return grown, result


def shrink(
    structure: NetworkStructure, cores: Sequence[Tensor], edge: tuple[int, int]
) -> tuple[NetworkStructure, list[Tensor]]:
    """The bond smaller by one (or down to the rank of a core): of both cores' product, small singular values go."""
    i, j = sorted(edge)
    rank = structure.ranks[i][j]
    if rank < 2:
        raise InputError(f"edge: ({i}, {j}) has size {rank}; only bonds of size 2 or more can shrink")
    places = [structure.labels(node).index((i, j)) for node in (i, j)]
    moved = [cores[node].movedim(place, -1) for node, place in zip((i, j), places, strict=True)]
    factors = [torch.linalg.qr(core.reshape(-1, rank)) for core in moved]
    left, values, right = torch.linalg.svd(factors[0].R @ factors[1].R.mT, full_matrices=False)
    kept = min(rank - 1, len(values))
    weight = values[:kept].sqrt()
    result = list(cores)
    halves = (left[:, :kept] * weight, right.mT[:, :kept] * weight)
    for node, place, core, factor, half in zip((i, j), places, moved, factors, halves, strict=True):
        new = (factor.Q @ half).reshape(*core.shape[:-1], kept).movedim(-1, place)
        result[node] = new if kept > 1 else new.squeeze(place)
    return structure.with_rank(i, j, kept), result


def splits(
    structure: NetworkStructure, cores: Sequence[Tensor], *, threshold: float
) -> Iterator[tuple[NetworkStructure, list[Tensor]]]:
    """All SVD splits of single cores that save parameters, the largest saving first.

    Args:
        structure, cores: a network.
        threshold: allowed relative error of the core that is split.
    """
    found = []
    for node in range(structure.nodes):
        labels, core = structure.labels(node), cores[node]
        for moved in _movable(structure, node):
            kept = [label for label in labels if label not in moved]
            matrix = core.permute([labels.index(label) for label in [*kept, *moved]])
            matrix = matrix.reshape(prod(matrix.shape[: len(kept)]), -1)
            values = torch.linalg.svdvals(matrix)
            tails = values.square().flip(0).cumsum(0).flip(0)
            rank = max(1, int((tails > threshold**2 * tails[0]).sum()))
            saved = matrix.numel() - rank * sum(matrix.shape)
            if saved > 0:
                found.append((saved, node, moved, rank))
    for _, node, moved, rank in sorted(found, key=lambda item: -item[0]):
        yield split(structure, cores, node, moved, rank)


def split(
    structure: NetworkStructure, cores: Sequence[Tensor], node: int, moved: Sequence[Label], rank: int
) -> tuple[NetworkStructure, list[Tensor]]:
    """Core `node` in two: the bonds `moved` go to a new node without a mode, joined to the old one by `rank`."""
    labels, core, fresh = structure.labels(node), cores[node], structure.nodes
    if not moved or any(isinstance(label, int) or label not in labels for label in moved):
        raise InputError(f"moved: {tuple(moved)} was given; bonds of node {node} are needed, of {labels}")
    kept = [label for label in labels if label not in moved]
    turned = core.permute([labels.index(label) for label in [*kept, *moved]])
    left, values, right = torch.linalg.svd(turned.reshape(prod(turned.shape[: len(kept)]), -1), full_matrices=False)
    if not 1 <= rank <= len(values):
        raise InputError(f"rank: {rank} was given, allowed is 1..{len(values)} for this split")
    weight = values[:rank].sqrt()
    ranks = [[*row, 1] for row in structure.ranks] + [[1] * (fresh + 1)]
    others = [a if b == node else b for a, b in (label for label in moved if isinstance(label, tuple))]
    for other in others:
        ranks[fresh][other] = ranks[other][fresh] = structure.ranks[node][other]
        ranks[node][other] = ranks[other][node] = 1
    ranks[fresh][node] = ranks[node][fresh] = rank
    result_structure = NetworkStructure(structure.shape, tuple(tuple(row) for row in ranks))
    result = list(cores)
    # the new bond has the largest number of all, so it is the last leg of the old core; bonds stay sorted in the new
    kept_shape, moved_shape = turned.shape[: len(kept)], turned.shape[len(kept) :]
    result[node] = (left[:, :rank] * weight).reshape(*kept_shape, *([rank] if rank > 1 else []))
    inner = (weight[:, None] * right[:rank]).mT.reshape(*moved_shape, *([rank] if rank > 1 else []))
    names: list[int] = [*others, *([node] if rank > 1 else [])]
    result.append(inner.permute(sorted(range(len(names)), key=names.__getitem__)))
    for other in others:
        result[other] = _renamed(structure, cores[other], other, node)
    return result_structure, result


def _renamed(structure: NetworkStructure, core: Tensor, other: int, node: int) -> Tensor:
    """A neighbour's core after its bond with `node` went to the newest node: that leg comes last."""
    place = structure.labels(other).index((min(node, other), max(node, other)))
    return core.movedim(place, -1)


def _movable(structure: NetworkStructure, node: int) -> Iterator[tuple[Label, ...]]:
    """Sets of at least two bonds that may leave a core such that two legs or the mode stay."""
    bonds = [label for label in structure.labels(node) if not isinstance(label, int)]
    inner = node >= structure.order
    most = len(bonds) - 2 if inner else len(bonds)
    for count in range(2, most + 1):
        for moved in combinations(bonds, count):
            if inner and 2 * count == len(bonds) and bonds[0] not in moved:
                continue  # the other half of the same partition
            yield moved
