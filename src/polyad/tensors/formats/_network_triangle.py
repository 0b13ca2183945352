"""A network as a triangle: R with R^H R = x^H x over the labels that are kept, by QR alone and so without squaring.

Tensors are absorbed one by one. What has been absorbed is a matrix from the cut (the labels that tensors to come still
hold, and those kept) to all of its modes; only its triangular factor is carried on. Cost and accuracy are those of a
sweep of QR decompositions along a chain: norms of differences come out right far below the square root of rounding.

Several networks on one graph stand side by side: their cuts' columns add, where those of their sum would multiply.
A mode is taken a few entries at a time, so with m columns at the widest cut the working set is three times m^2 numbers:
the triangle carried, the one that grows, and a slab of about as many rows (and what their QR decomposition copies).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.tensors.formats.contraction import Label, contract_network

LARGEST = 1 << 26
"""Largest intermediate result, in numbers, for which this way is taken."""
SMALL_SLAB = 4096
"""What is absorbed is not divided into slabs of fewer numbers."""

_ROW = ("row of the triangle",)


def network_triangle(
    tensors: Sequence[Num[Tensor, "..."]],
    indices: Sequence[Sequence[Label]],
    modes: Sequence[Label],
    kept: Sequence[Label] = (),
) -> Num[Tensor, "..."] | None:
    """R of shape (rank, *kept) of the map from the kept labels to the modes; None where it would grow too large."""
    found = _sweep([tensors], indices, modes, kept)
    if found is None:
        return None
    triangle, lengths, cut, (sizes,) = found
    carry = (triangle * lengths).reshape(-1, *(sizes[label] for label in cut))
    return carry.movedim([1 + cut.index(label) for label in kept], list(range(1, 1 + len(kept))))


def joint_triangle(
    networks: Sequence[Sequence[Num[Tensor, "..."]]], indices: Sequence[Sequence[Label]], modes: Sequence[Label]
) -> Num[Tensor, "rank networks"] | None:
    """R of the matrix whose columns are the networks' tensors, all on one graph; None where it would grow too large."""
    found = _sweep(networks, indices, modes, ())
    return None if found is None else found[0] * found[1]


def _sweep(
    networks: Sequence[Sequence[Tensor]],
    indices: Sequence[Sequence[Label]],
    modes: Sequence[Label],
    kept: Sequence[Label],
) -> tuple[Tensor, Tensor, list[Label], list[dict[Label, int]]] | None:
    """The last triangle and what to multiply every network's columns by, the labels of these, every network's sizes."""
    sizes: list[dict[Label, int]] = [{} for _ in networks]
    for own, tensors in zip(sizes, networks, strict=True):
        for tensor, names in zip(tensors, indices, strict=True):
            own.update(zip(names, tensor.shape, strict=True))
    order, largest = _cheapest_order(indices, sizes, set(modes), kept)
    if largest > LARGEST:
        return None
    triangle = networks[0][0].new_ones(1, len(networks))
    lengths = triangle.real.new_ones(len(networks))
    cut: list[Label] = []
    for step, place in enumerate(order):
        widths = [prod(own[label] for label in cut) for own in sizes]
        parts = zip(triangle.split(widths, dim=1), sizes, strict=True)
        # with several networks copies, which replace the triangle
        carries = [part.reshape(-1, *(own[label] for label in cut)) for part, own in parts]
        del triangle, parts
        open_ = _open_labels(cut, place, order[step + 1 :], indices, kept)
        rows = [label for label in dict.fromkeys([*cut, *indices[place]]) if label in modes and label not in open_]
        own_lengths = torch.stack([torch.linalg.vector_norm(tensors[place]) for tensors in networks])
        own_lengths = torch.where(own_lengths > 0, own_lengths, 1)
        scaled = [tensors[place] / length for tensors, length in zip(networks, own_lengths, strict=True)]
        triangle = _triangle_of_slabs(_slabs(carries, scaled, (cut, indices[place]), rows, open_))
        lengths, cut = lengths * own_lengths, open_
    return triangle, lengths, cut, sizes


def _triangle_of_slabs(slabs: Iterator[list[Tensor]]) -> Tensor:
    """R of all rows, taken slab by slab; a slab is a list of blocks that stand side by side."""
    upper: Tensor | None = None
    for blocks in slabs:
        rows, columns = blocks[0].shape[0], sum(block.shape[1] for block in blocks)
        above = 0 if upper is None else upper.shape[0]
        tall = blocks[0].new_empty(above + rows, columns)
        if upper is not None:
            tall[:above] = upper
        torch.cat(blocks, dim=1, out=tall[above:])
        upper = None  # it and the blocks are in tall
        blocks.clear()
        upper = torch.linalg.qr(tall, mode="r").R if above + rows > columns else tall
    assert upper is not None  # there is at least one slab
    return upper


def _slabs(
    carries: Sequence[Tensor],
    tensors: Sequence[Tensor],
    labels: tuple[Sequence[Label], Sequence[Label]],
    rows: Sequence[Label],
    columns: Sequence[Label],
) -> Iterator[list[Tensor]]:
    """The carried triangles times the next tensors, side by side, a few entries of a mode of the latter at a time."""
    cut, names = labels
    sizes = [
        dict(zip((*cut, *names), (*carry.shape[1:], *tensor.shape), strict=True))
        for carry, tensor in zip(carries, tensors, strict=True)
    ]
    width = sum(prod(own[label] for label in columns) for own in sizes)
    height = carries[0].shape[0] * prod(sizes[0][label] for label in rows)
    own_rows = [label for label in rows if label in names and label not in cut]
    count = 1
    if own_rows:
        chunked = max(own_rows, key=lambda label: sizes[0][label])
        axis, size = list(names).index(chunked), sizes[0][chunked]
        count = max(1, min(size, height * width // max(SMALL_SLAB, width**2)))
    for part in range(count):
        if count > 1:
            low, high = size * part // count, size * (part + 1) // count
            pieces = [tensor.narrow(axis, low, high - low) for tensor in tensors]
        else:
            pieces = list(tensors)
        moved = (
            _product(carry, [_ROW, *cut], piece, names, [_ROW, *rows, *columns])
            for carry, piece in zip(carries, pieces, strict=True)
        )
        yield [
            found.reshape(-1, prod(own[label] for label in columns)) for found, own in zip(moved, sizes, strict=True)
        ]


def _product(
    one: Tensor, names: Sequence[Label], two: Tensor, other_names: Sequence[Label], output: Sequence[Label]
) -> Tensor:
    """`contract_network` of two tensors; where no label needs more, one matrix product without looking for a path."""
    shared = [label for label in names if label in other_names]
    left = [label for label in (*names, *other_names) if label not in shared]
    if len(left) != len(output) or any(label in output for label in shared):
        return contract_network([one, two], [names, other_names], output)
    dims = [[list(group).index(label) for label in shared] for group in (names, other_names)]
    return torch.tensordot(one, two, dims=dims).permute([left.index(label) for label in output])


def _open_labels(
    cut: Sequence[Label], place: int, left: Sequence[int], indices: Sequence[Sequence[Label]], kept: Sequence[Label]
) -> list[Label]:
    later = {label for other in left for label in indices[other]}
    return [label for label in dict.fromkeys([*cut, *indices[place]]) if label in later or label in kept]


def _cheapest_order(
    indices: Sequence[Sequence[Label]],
    sizes: Sequence[Mapping[Label, int]],
    modes: set[Label],
    kept: Sequence[Label],
) -> tuple[list[int], int]:
    """From every start, always the tensor that leaves the smallest cut; the order whose largest result is smallest."""

    def columns(labels: Sequence[Label]) -> int:
        return sum(prod(own[label] for label in labels) for own in sizes)

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
            place = min(choices, key=lambda p: (columns(following[p]), p))
            left.remove(place)
            order.append(place)
            width = columns(following[place])
            ended = (set(cut) | set(indices[place])) & modes - set(following[place])
            rows = rank * prod(sizes[0][label] for label in ended)
            largest = max(largest, rows * width)
            rank, cut = min(rows, width), following[place]
        if best is None or largest < best[1]:
            best = order, largest
    assert best is not None  # there is at least one tensor
    return best
