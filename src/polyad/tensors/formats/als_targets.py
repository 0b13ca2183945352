"""What alternating least squares fits to: a dense tensor, a dense tensor with holes, or a CP tensor of more terms.

A target solves for one factor with the others held and tells the residual; equations in `als`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from polyad.tensors.formats._masked_slabs import slab_ranges, slabs, solve_gram, solve_known_rows
from polyad.tensors.formats.cp import CP, khatri_rao


@runtime_checkable
class Target(Protocol):
    """A tensor that ALS can fit."""

    def solve(self, factors: Sequence[Tensor], mode: int) -> Tensor:
        """The best factor of a mode; modes are asked for in order, so that passes over the tensor are shared."""

    def residual(self, factors: Sequence[Tensor]) -> float:
        """Relative residual after the last mode was solved."""


class DenseTarget:
    """A dense tensor; `missed` is the squared norm of the part of the original that it does not hold."""

    def __init__(self, tensor: Tensor, *, missed: float = 0.0) -> None:
        self.tensor, self.missed = tensor.contiguous(), missed
        self.half = (tensor.ndim + 1) // 2
        self.square = float(torch.linalg.vector_norm(tensor).square())
        self._partial = tensor
        self._product = tensor
        self._kept: dict[bool, Tensor] = {}

    def solve(self, factors: Sequence[Tensor], mode: int) -> Tensor:
        """M V^{-1}."""
        if mode in (0, self.half):
            self._partial = self._pass(factors, mode == 0)
        first = 0 if mode < self.half else self.half
        own = factors[first : self.half if first == 0 else len(factors)]
        self._product = _contract_others(self._partial, own, mode - first)
        return solve_gram(self._product, _others_gram(factors, mode))

    def residual(self, factors: Sequence[Tensor]) -> float:
        """By the last product, or in full where squares cancel."""
        cross = float((factors[-1].conj() * self._product).sum().real)
        model = float((_others_gram(factors, -1) * (factors[-1].mT @ factors[-1].conj())).sum().real)
        square = self.square - 2 * cross + model
        if square < 1e-6 * self.square:
            slabs_of_gap = (model.sub_(self.tensor[place]) for place, model in _models(factors))
            square = sum(float(torch.linalg.vector_norm(gap).square()) for gap in slabs_of_gap)
        return ((square + self.missed) / (self.square + self.missed)) ** 0.5

    def _pass(self, factors: Sequence[Tensor], left: bool) -> Tensor:
        """One product of the whole tensor with the Khatri-Rao matrix of the other half: (rank, n_1, .., n_h)."""
        sizes = self.tensor.shape
        matrix = self.tensor.reshape(sizes[: self.half].numel(), -1)
        others = khatri_rao(factors[self.half :] if left else factors[: self.half]).conj().mT
        if left not in self._kept or self._kept[left].shape[0] != others.shape[0]:
            # kept from sweep to sweep: fresh pages cost as much as the product
            self._kept[left] = others.new_empty(others.shape[0], matrix.shape[0 if left else 1])
        partial = torch.mm(others, matrix.mT if left else matrix, out=self._kept[left])
        return partial.reshape(-1, *(sizes[: self.half] if left else sizes[self.half :]))


class MaskedTarget:
    """A dense tensor with holes; the mask is True where an entry is known. Worked through in slabs, never copied."""

    def __init__(self, tensor: Tensor, mask: Tensor) -> None:
        self.tensor, self.mask = tensor, mask
        norms = torch.stack([torch.linalg.vector_norm(values) for _, values, _ in slabs(tensor, mask)])
        self.size = float(torch.linalg.vector_norm(norms))

    def solve(self, factors: Sequence[Tensor], mode: int) -> Tensor:
        """Row by row: every row has the normal matrix of its own known entries."""
        others = khatri_rao([factor for k, factor in enumerate(factors) if k != mode])
        return solve_known_rows(self.tensor, self.mask, mode, others)

    def residual(self, factors: Sequence[Tensor]) -> float:
        """Over the known entries."""
        square = 0.0
        for (_, values, known), (_, model) in zip(slabs(self.tensor, self.mask), _models(factors), strict=True):
            square += float(torch.linalg.vector_norm(model.sub_(values).mul_(known)).square())
        return square**0.5 / self.size


class CPTarget:
    """A CP tensor, which is never formed."""

    def __init__(self, value: CP) -> None:
        self.value, self.size = value, float(value.norm())

    def solve(self, factors: Sequence[Tensor], mode: int) -> Tensor:
        """M V^{-1} with M from products of small matrices."""
        cross = self.value.weights[:, None]
        for k, (target, factor) in enumerate(zip(self.value.factors, factors, strict=True)):
            if k != mode:
                cross = cross * (target.mT @ factor.conj())
        return solve_gram(self.value.factors[mode] @ cross, _others_gram(factors, mode))

    def residual(self, factors: Sequence[Tensor]) -> float:
        """By the norm of the difference, which is accurate also where it is small."""
        model = CP(torch.ones_like(factors[0][0]), tuple(factors))
        return float((self.value - model).norm()) / self.size


def _models(factors: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor]]:
    """The CP tensor of these factors in slabs of the first mode."""
    shape, rest = [len(factor) for factor in factors], khatri_rao(factors[1:])
    for low, high in slab_ranges(shape):
        yield slice(low, high), (factors[0][low:high] @ rest.mT).reshape(-1, *shape[1:])


def _others_gram(factors: Sequence[Tensor], mode: int) -> Tensor:
    """V: entrywise product of A^T conj(A) over all modes but one."""
    skipped = mode % len(factors)
    return reduce(torch.mul, (f.mT @ f.conj() for k, f in enumerate(factors) if k != skipped))


def _contract_others(partial: Tensor, factors: Sequence[Tensor], mode: int) -> Tensor:
    """Sum a partial product (rank, n_1, .., n_h) against all factors but one, term by term: (n_mode, rank)."""
    rank, sizes = partial.shape[0], partial.shape[1:]
    for k in range(len(factors) - 1, mode, -1):
        partial = partial.reshape(rank, -1, sizes[k]) @ factors[k].conj().mT[:, :, None]
    for k in range(mode):
        partial = factors[k].conj().mT[:, None, :] @ partial.reshape(rank, sizes[k], -1)
    return partial.reshape(rank, sizes[mode]).mT
