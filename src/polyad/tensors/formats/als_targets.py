"""What alternating least squares fits to: a dense tensor, a dense tensor with holes, or a CP tensor of more terms.

A target solves for one factor with the others held and tells the residual; equations in `als`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from polyad.tensors.formats.cp import CP, khatri_rao


@runtime_checkable
class Target(Protocol):
    """A tensor that ALS can fit."""

    def solve(self, factors: Sequence[Tensor], mode: int) -> Tensor:
        """The best factor of a mode; modes are asked for in order, so that passes over the tensor are shared."""

    def residual(self, factors: Sequence[Tensor]) -> float:
        """Relative residual after the last mode was solved."""

    def filled(self) -> Tensor:
        """A dense tensor to find starts from."""


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
            dense = CP(torch.ones_like(factors[0][0]), tuple(factors)).to_dense()
            square = float(torch.linalg.vector_norm(dense.sub_(self.tensor)).square())
        return ((square + self.missed) / (self.square + self.missed)) ** 0.5

    def filled(self) -> Tensor:
        """The tensor itself."""
        return self.tensor

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
    """A dense tensor with holes; the mask is True where an entry is known, and the holes hold zero."""

    def __init__(self, tensor: Tensor, mask: Tensor) -> None:
        self.tensor, self.mask = tensor, mask.to(tensor.dtype)
        self.square = float(torch.linalg.vector_norm(tensor).square())

    def solve(self, factors: Sequence[Tensor], mode: int) -> Tensor:
        """Row by row: every row has the normal matrix of its own known entries."""
        others = khatri_rao([factor for k, factor in enumerate(factors) if k != mode])
        return solve_rows(self.tensor.movedim(mode, 0).flatten(1), self.mask.movedim(mode, 0).flatten(1), others)

    def residual(self, factors: Sequence[Tensor]) -> float:
        """Over the known entries."""
        dense = CP(torch.ones_like(factors[0][0]), tuple(factors)).to_dense()
        return float(torch.linalg.vector_norm(self.mask * (self.tensor - dense))) / self.square**0.5

    def filled(self) -> Tensor:
        """The holes filled with the mean of what is known."""
        return self.tensor + (1 - self.mask) * (self.tensor.sum() / self.mask.sum())


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

    def filled(self) -> Tensor:
        """The dense tensor; ask for it only on a small core."""
        return self.value.to_dense()


def solve_rows(rows: Tensor, known: Tensor, design: Tensor) -> Tensor:
    """For every row of (n, m) its least-squares coefficients over the known entries: row = coefficients design^T."""
    conjugate, rank = design.conj(), design.shape[1]
    products = rows @ conjugate
    grams = known.new_zeros(known.shape[0], rank * rank)
    step = max(1, min(4_000_000, rows.numel()) // rank**2)
    for start in range(0, design.shape[0], step):
        part = conjugate[start : start + step]
        pairs = (part.conj()[:, :, None] * part[:, None, :]).flatten(1)
        grams += known[:, start : start + step] @ pairs
    return solve_gram(products[:, None, :], grams.reshape(-1, rank, rank))[:, 0]


def solve_gram(product: Tensor, gram: Tensor) -> Tensor:
    """product gram^{-1} for a Hermitian gram, by its eigenvalues; directions it does not see get nothing."""
    values, vectors = torch.linalg.eigh(gram)
    floor = values[..., -1:] * torch.finfo(gram.dtype).eps * gram.shape[-1]
    inverse = torch.where(values > floor, 1 / torch.where(values > floor, values, 1), 0)
    return (product @ vectors) * inverse[..., None, :] @ vectors.mH


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
