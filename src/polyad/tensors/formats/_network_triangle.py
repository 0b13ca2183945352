"""A network as a triangle: R with R^H R = x^H x over the labels that are kept, by QR alone and so without squaring.

Tensors are absorbed one by one. What has been absorbed is a matrix from the cut (the labels that tensors to come still
hold, and those kept) to all of its modes; only its triangular factor is carried on. Cost and accuracy are those of a
sweep of QR decompositions along a chain: norms of differences come out right far below the square root of rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.tensors.formats.contraction import Label, contract_network

LARGEST = 1 << 26
"""Largest intermediate result, in numbers, for which this way is taken."""

_ROW = ("row of the triangle",)


def network_triangle(
    tensors: Sequence[Num[Tensor, "..."]],
    indices: Sequence[Sequence[Label]],
    modes: Sequence[Label],
    kept: Sequence[Label] = (),
) -> Num[Tensor, "..."] | None:
    """R of shape (rank, *kept) of the map from the kept labels to the modes; None where it would grow too large."""
    sizes: dict[Label, int] = {}
    for tensor, names in zip(tensors, indices, strict=True):
        sizes.update(zip(names, tensor.shape, strict=True))
    order, largest = _cheapest_order(indices, sizes, set(modes), kept)
    if largest > LARGEST:
        return None
    carry = tensors[0].new_ones(1)
    cut: list[Label] = []
    left = list(order)
    while left:
        place = left.pop(0)
        open_ = _open_labels(cut, place, left, indices, kept)
        rows = [label for label in dict.fromkeys([*cut, *indices[place]]) if label in modes and label not in open_]
        moved = contract_network([carry, tensors[place]], [[_ROW, *cut], indices[place]], [_ROW, *rows, *open_])
        tall = moved.reshape(-1, prod(sizes[label] for label in open_))
        if tall.shape[0] > tall.shape[1]:
            tall = torch.linalg.qr(tall, mode="r").R
        cut = open_
        carry = tall.reshape(-1, *(sizes[label] for label in cut))
    return carry.movedim([1 + cut.index(label) for label in kept], list(range(1, 1 + len(kept))))


def _open_labels(
    cut: Sequence[Label], place: int, left: Sequence[int], indices: Sequence[Sequence[Label]], kept: Sequence[Label]
) -> list[Label]:
    later = {label for other in left for label in indices[other]}
    return [label for label in dict.fromkeys([*cut, *indices[place]]) if label in later or label in kept]


def _cheapest_order(
    indices: Sequence[Sequence[Label]], sizes: Mapping[Label, int], modes: set[Label], kept: Sequence[Label]
) -> tuple[list[int], int]:
    """From every start, always the tensor that leaves the smallest cut; the order whose largest result is smallest."""
    best: tuple[list[int], int] | None = None
    for start in range(len(indices)):
        order: list[int] = []
        cut: list[Label] = []
        rank, largest, left = 1, 1, list(range(len(indices)))
        while left:
            choices = [start] if not order else left
            following = {
                place: _open_labels(cut, place, [p for p in left if p != place], indices, kept) for place in choices
            }
            place = min(choices, key=lambda p: (prod(sizes[label] for label in following[p]), p))
            left.remove(place)
            order.append(place)
            columns = prod(sizes[label] for label in following[place])
            ended = (set(cut) | set(indices[place])) & modes - set(following[place])
            rows = rank * prod(sizes[label] for label in ended)
            largest = max(largest, rows * columns)
            rank, cut = min(rows, columns), following[place]
        if best is None or largest < best[1]:
            best = order, largest
    assert best is not None  # there is at least one tensor
    return best
