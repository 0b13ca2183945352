"""Tensors that conserve parity, held as dense blocks, and the coarse-graining step on them.

Without a field the Ising tensor vanishes unless an even number of its legs is odd. With every leg split into even and
odd states, a contraction becomes two matrix products, one for each parity of the contracted group of legs, of half the
rows, columns and depth: a quarter of the dense work, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import final

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.renormalization.gradients import leading_isometry

Parities = tuple[int, ...]


@final
@dataclass(frozen=True)
class ParityTensor:
    """Blocks by the parities (0 even, 1 odd) of the legs, whose sum is even, and the numbers of states of each leg."""

    blocks: dict[Parities, Tensor]
    sizes: tuple[tuple[int, int], ...]

    @classmethod
    def from_dense(cls, tensor: Tensor, even_states: tuple[int, int]) -> ParityTensor:
        """Split a site tensor whose vertical and horizontal legs have that many even states, which come first.

        Raises:
            InputError: more even states than states, or a tensor that does not conserve parity.
        """
        vertical, horizontal = tensor.shape[0], tensor.shape[1]
        if not (0 <= even_states[0] <= vertical and 0 <= even_states[1] <= horizontal):
            raise InputError(f"even_states is {even_states}; a leg has at most {(vertical, horizontal)} states")
        up, left = (even_states[0], vertical - even_states[0]), (even_states[1], horizontal - even_states[1])
        sizes = (up, left, up, left)
        blocks = {}
        for parities in product((0, 1), repeat=4):
            index = tuple(slice(0, s[0]) if p == 0 else slice(s[0], None) for p, s in zip(parities, sizes, strict=True))
            if sum(parities) % 2 == 0:
                blocks[parities] = tensor[index]
            elif bool((tensor[index] != 0).any()):
                raise InputError("the tensor has entries of odd parity; contract it without parity blocks")
        return cls(blocks, sizes)

    def to_dense(self) -> Tensor:
        """The tensor with even states first in every leg."""
        some = next(iter(self.blocks.values()))
        dense = some.new_zeros([sum(size) for size in self.sizes])
        for parities, block in self.blocks.items():
            index = tuple(
                slice(0, s[0]) if p == 0 else slice(s[0], None) for p, s in zip(parities, self.sizes, strict=True)
            )
            dense[index] = block
        return dense

    def swap(self) -> ParityTensor:
        """The tensor of the lattice reflected at its diagonal: up and left, down and right change places."""
        order = (1, 0, 3, 2)
        blocks = {tuple(p[k] for k in order): block.permute(order) for p, block in self.blocks.items()}
        return ParityTensor(blocks, tuple(self.sizes[k] for k in order))

    def normalise(self) -> tuple[ParityTensor, Tensor]:
        """The tensor divided by its norm, and the norm's logarithm; the norm is not differentiated."""
        norm = torch.stack([block.detach().square().sum() for block in self.blocks.values()]).sum().sqrt()
        return ParityTensor({p: block / norm for p, block in self.blocks.items()}, self.sizes), torch.log(norm)

    def matrix(self, rows: Sequence[int], columns: Sequence[int], sector: int) -> Tensor:
        """The block of this parity of the tensor as a matrix from the legs `columns` to the legs `rows`."""
        sizes = self.sizes
        row_labels, row_counts = _labels([sizes[k] for k in rows], sector)
        column_labels, column_counts = _labels([sizes[k] for k in columns], sector)
        some = next(iter(self.blocks.values()))
        matrix = some.new_empty(sum(row_counts), sum(column_counts))
        top = 0
        for row, height in zip(row_labels, row_counts, strict=True):
            start = 0
            for column, width in zip(column_labels, column_counts, strict=True):
                parities = dict(zip((*rows, *columns), (*row, *column), strict=True))
                block = self.blocks[tuple(parities[k] for k in range(len(sizes)))].permute(*rows, *columns)
                target = matrix[top : top + height, start : start + width]
                if target.numel():
                    target.unflatten(1, block.shape[len(rows) :]).unflatten(0, block.shape[: len(rows)]).copy_(block)
                start += width
            top += height
        return matrix


def contract(first: ParityTensor, legs: Sequence[int], second: ParityTensor, others: Sequence[int]) -> ParityTensor:
    """Sum over pairs of legs; the free legs of the first tensor come before those of the second."""
    rows = [k for k in range(len(first.sizes)) if k not in legs]
    columns = [k for k in range(len(second.sizes)) if k not in others]
    sizes = (*(first.sizes[k] for k in rows), *(second.sizes[k] for k in columns))
    blocks: dict[Parities, Tensor] = {}
    for sector in (0, 1):
        whole = first.matrix(rows, legs, sector) @ second.matrix(others, columns, sector)
        blocks |= _cut(whole, sizes, len(rows), sector)
    return ParityTensor(blocks, sizes)


def parity_step(tensor: ParityTensor, *, bond: int, both_sides: bool, threshold: float = 0.0) -> ParityTensor:
    """A tensor and its lower neighbour as one, with fused and truncated horizontal legs: `pair`, or `hotrg`.

    Args:
        tensor: legs up, left, down, right.
        bond: how many states, even and odd together, to keep.
        both_sides: choose the better of the left and the right Gram matrix ('hotrg'), not always the left ('pair').
        threshold: drop singular values below this part of the largest.
    """
    grams = _pair_gram(tensor, left=True)
    spectra = _spectra(grams)
    if both_sides:
        right = _pair_gram(tensor, left=False)
        right_spectra = _spectra(right)
        if _kept(right_spectra, bond) > _kept(spectra, bond):
            grams, spectra = right, right_spectra
    isometry = _isometry(grams, spectra, tensor.sizes[1], bond, threshold)
    half = contract(tensor, (1,), isometry, (0,))  # u m r k a
    whole = contract(half, (1, 3), tensor, (0, 1))  # u r a d s
    return contract(whole, (1, 4), isometry, (0, 1))


def _pair_gram(tensor: ParityTensor, *, left: bool) -> list[Tensor]:
    """Even and odd block of the Gram matrix of the doubled left (right) legs."""
    other, vertical = (3, (1, 3)) if left else (1, (0, 2))
    upper = contract(tensor, (0, other), tensor, (0, other))  # l m l' m', or m r m' r'
    lower = contract(tensor, (2, other), tensor, (2, other))  # m k m' k'
    gram = contract(upper, vertical, lower, (0, 2))  # l l' k k'
    return [gram.matrix((0, 2), (1, 3), sector) for sector in (0, 1)]


def _spectra(grams: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Eigenvalues, ascending, and eigenvectors of the even and the odd block."""
    return [tuple(torch.linalg.eigh(gram.detach())) for gram in grams]


def _kept(spectra: list[tuple[Tensor, Tensor]], bond: int) -> float:
    merged = torch.cat([values for values, _ in spectra])
    return float(merged.sort(descending=True).values[:bond].sum() / merged.sum())


def _isometry(
    grams: list[Tensor], spectra: list[tuple[Tensor, Tensor]], size: tuple[int, int], bond: int, threshold: float
) -> ParityTensor:
    """The leading eigenvectors of both blocks together, as a tensor with legs l, k and the truncated one."""
    values = [ascending.flip(0) for ascending, _ in spectra]
    merged = torch.cat(values)
    labels = torch.cat([torch.full((len(v),), sector) for sector, v in enumerate(values)])
    order = merged.argsort(descending=True)[:bond]
    if threshold:
        order = order[merged[order].clamp(min=0).sqrt() > threshold * merged.max().sqrt()]
    counts = [int((labels[order] == sector).sum()) for sector in (0, 1)]
    sizes = (size, size, (counts[0], counts[1]))
    blocks: dict[Parities, Tensor] = {}
    for sector, gram in enumerate(grams):
        count = counts[sector]
        kept = leading_isometry(gram, count, vectors=spectra[sector][1]) if count else gram[:, :0]
        blocks |= _cut(kept, sizes, 2, sector)
    return ParityTensor(blocks, sizes)


def _labels(sizes: Sequence[tuple[int, int]], sector: int) -> tuple[list[Parities], list[int]]:
    """Parities of a group of legs that sum to `sector`, and how many states each combination has."""
    labels = [p for p in product((0, 1), repeat=len(sizes)) if sum(p) % 2 == sector]
    return labels, [prod(size[q] for size, q in zip(sizes, p, strict=True)) for p in labels]


def _cut(matrix: Tensor, sizes: tuple[tuple[int, int], ...], rows: int, sector: int) -> dict[Parities, Tensor]:
    """Views of a sector's matrix as blocks; the first `rows` legs make its rows."""
    blocks = {}
    top = 0
    for row, height in zip(*_labels(sizes[:rows], sector), strict=True):
        start = 0
        for column, width in zip(*_labels(sizes[rows:], sector), strict=True):
            parities = (*row, *column)
            shape = [size[p] for size, p in zip(sizes, parities, strict=True)]
            block = matrix[top : top + height, start : start + width]
            blocks[parities] = block.unflatten(1, shape[rows:]).unflatten(0, shape[:rows])
            start += width
        top += height
    return blocks
