"""The canonical polyadic (CP) format: a sum of R rank-one tensors.

    x_{i1..id} = sum_r w_r a^1_{i1 r} a^2_{i2 r} ... a^d_{id r}

Sources: F. L. Hitchcock, J. Math. Phys. 6 (1927) 164; T. G. Kolda and B. W. Bader, SIAM Review 51 (2009) 455.

When not to use it: where a best approximation must exist. CP approximation of given rank can be ill posed (terms that
grow and cancel); Tucker and tensor trains always have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int, Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats._norms import differentiable_norm
from polyad.tensors.formats.base import (
    TensorFormat,
    Truncation,
    check_arrays,
    check_indices,
    check_matrix,
    check_memory,
    check_same,
    check_squeezed,
    check_tolerance,
)


@final
@dataclass(frozen=True, eq=False, repr=False)
class CP(TensorFormat):
    """A sum of R rank-one tensors.

    Args:
        weights: (*batch, R).
        factors: d matrices (*batch, n_k, R), one a mode.

    `ranks` is (R,). `orthogonalise` gives unit columns (CP has no orthogonal form) with real weights >= 0, in
    descending order. `truncate` searches by alternating least squares; its error is measured, not a worst case.
    """

    weights: Tensor
    factors: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", tuple(self.factors))
        check_arrays([self.weights, *self.factors], "CP")
        if self.weights.ndim < 1 or self.weights.shape[-1] < 1 or not self.factors:
            raise InputError("CP: weights need shape (*batch, R) with R >= 1, and at least one factor is needed")
        for mode, factor in enumerate(self.factors):
            expected = (*self.weights.shape[:-1], "n", self.weights.shape[-1])
            if factor.ndim != len(expected) or (*factor.shape[:-2], "n", factor.shape[-1]) != expected:
                raise InputError(f"factors: factor {mode} has shape {tuple(factor.shape)}, expected {expected}")

    @classmethod
    def random(
        cls,
        shape: Sequence[int],
        ranks: int,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        batch_shape: Sequence[int] = (),
    ) -> CP:
        """Independent standard normal factors, weights such that entries have variance one."""
        if ranks < 1:
            raise InputError(f"ranks: {ranks} was given; the rank must be at least 1")
        factors = tuple(normal((*batch_shape, size, ranks), generator, dtype) for size in shape)
        return cls(torch.full_like(factors[0][..., 0, :], ranks**-0.5), factors)

    @classmethod
    def from_dense(
        cls, tensor: Num[Tensor, "..."], *, tolerance: float | None = None, ranks: int | None = None, seed: int = 0
    ) -> CP:
        """The best of several alternating least squares fits (see `cp_als` for its options and history).

        With a tolerance the smallest rank, up to `ranks`, that is found to keep it (see `cp_within`).
        """
        from polyad.tensors.formats.als import cp_als
        from polyad.tensors.formats.als_ranks import cp_within

        check_tolerance(tolerance, ranks, tensor.dtype)
        if tolerance is None:
            assert ranks is not None  # one of them was given
            return cls(*_parts(cp_als(tensor, ranks, seed=seed).value))
        largest = tensor.numel() // max(tensor.shape)
        fit = cp_within(
            tensor, tolerance, max_rank=largest if ranks is None else ranks, starts=4, sweeps=500, seed=seed
        )
        if fit is None:
            raise InputError(f"tolerance: no fit of up to {ranks or largest} terms keeps {tolerance:g}; allow more")
        return cls(*_parts(fit.value))

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """Weights, then factors."""
        return (self.weights, *self.factors)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the modes."""
        return tuple(factor.shape[-2] for factor in self.factors)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Sizes of the leading batch dimensions."""
        return tuple(self.weights.shape[:-1])

    @property
    def ranks(self) -> tuple[int, ...]:
        """(R,)."""
        return (self.weights.shape[-1],)

    def to_dense(self) -> Num[Tensor, "..."]:
        """All entries, as one matrix product of two Khatri-Rao matrices."""
        check_memory(self)
        half = (self.order + 1) // 2
        left = khatri_rao(self.factors[:half]) * self.weights[..., None, :]
        if half == self.order:
            return left.sum(-1)
        product = left @ khatri_rao(self.factors[half:]).mT
        return product.reshape(*self.batch_shape, *self.shape)

    def entries(self, indices: Int[Tensor, "count order"]) -> Num[Tensor, "... count"]:
        """The entries at these index tuples."""
        indices = check_indices(indices, self.shape)
        terms = self.weights[..., None, :]
        for mode, factor in enumerate(self.factors):
            terms = terms * factor[..., indices[:, mode], :]
        return terms.sum(-1)

    def inner(self, other: CP) -> Num[Tensor, "..."]:
        """w^H (A^1H B^1 * ... * A^dH B^d) v."""
        check_same(self, other)
        gram = self.weights.conj()[..., :, None] * other.weights[..., None, :]
        for mine, others in zip(self.factors, other.factors, strict=True):
            gram = gram * (mine.mH @ others)
        return gram.sum((-2, -1))

    def norm(self) -> Num[Tensor, "..."]:
        """By Gram matrices; by a chain of QR decompositions where terms cancel so far that these lose digits."""
        square = self.inner(self).real
        lengths = self.weights.detach().abs()
        for factor in self.factors:
            lengths = lengths * torch.linalg.vector_norm(factor.detach(), dim=-2)
        if bool((square.detach() > 1e-6 * lengths.sum(-1).square()).all()):
            return square.sqrt()
        fixed = type(self)(self.weights.detach(), tuple(factor.detach() for factor in self.factors))
        carry = fixed.weights[..., None, :]
        for factor in fixed.factors:
            tall = carry[..., :, None, :] * _triangle(factor)[..., None, :, :]
            carry = _triangle(tall.flatten(-3, -2))
        return differentiable_norm(torch.linalg.vector_norm(carry.sum(-1), dim=-1), self, fixed)

    def add(self, other: CP) -> CP:
        """The sum, of rank R1 + R2."""
        check_same(self, other)
        factors = (torch.cat(pair, dim=-1) for pair in zip(self.factors, other.factors, strict=True))
        return type(self)(torch.cat([self.weights, other.weights], dim=-1), tuple(factors))

    def scale(self, factor: Num[Tensor, "..."] | complex) -> CP:
        """The tensor times a number, or times one number a batch entry."""
        return type(self)(self.weights * trailing(factor, 1), self.factors)

    def hadamard(self, other: CP) -> CP:
        """The entrywise product, of rank R1 R2."""
        check_same(self, other)
        factors = (
            (mine[..., :, None] * others[..., None, :]).flatten(-2)
            for mine, others in zip(self.factors, other.factors, strict=True)
        )
        weights = (self.weights[..., :, None] * other.weights[..., None, :]).flatten(-2)
        return type(self)(weights, tuple(factors))

    def mode_product(self, matrix: Num[Tensor, "... rows columns"], mode: int) -> CP:
        """Multiply the matrix onto one mode."""
        mode = check_matrix(matrix, mode, self.shape)
        factors = list(self.factors)
        factors[mode] = matrix @ factors[mode]
        return type(self)(self.weights, tuple(factors))

    def squeeze(self, modes: Sequence[int]) -> CP:
        """Remove modes of size one; their numbers go into the weights."""
        gone = check_squeezed(modes, self.shape)
        weights = self.weights
        for mode in gone:
            weights = weights * self.factors[mode][..., 0, :]
        return type(self)(weights, tuple(f for mode, f in enumerate(self.factors) if mode not in gone))

    def orthogonalise(self) -> CP:
        """Unit columns and real weights >= 0 in descending order; a term that is zero keeps zero columns."""
        weights, factors = self.weights, []
        for factor in self.factors:
            length = torch.linalg.vector_norm(factor, dim=-2)
            factors.append(factor / torch.where(length > 0, length, 1)[..., None, :])
            weights = weights * length
        size = weights.abs()
        factors[0] = factors[0] * (weights / torch.where(size > 0, size, 1))[..., None, :]
        order = size.detach().argsort(dim=-1, descending=True, stable=True)
        sorted_factors = (f.gather(-1, order[..., None, :].expand_as(f)) for f in factors)
        return type(self)(size.gather(-1, order).to(self.dtype), tuple(sorted_factors))

    def truncate(self, *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None) -> Truncation[CP]:
        """Fewer terms, found by alternating least squares on the small core; without a gradient, no batch."""
        from polyad.tensors.formats._cp_rounding import truncate_cp

        found = truncate_cp(self, tolerance=tolerance, ranks=ranks)
        return Truncation(type(self)(*_parts(found.value)), found.error)


def khatri_rao(factors: Sequence[Tensor]) -> Num[Tensor, "... rows rank"]:
    """Columnwise Kronecker product; the last factor's index runs fastest, as in row-major unfoldings."""
    product = factors[0]
    for factor in factors[1:]:
        product = (product[..., :, None, :] * factor[..., None, :, :]).flatten(-3, -2)
    return product


def normal(shape: Sequence[int], generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
    """Standard normal numbers on the generator's device; without a generator, one seeded with 0."""
    if min(shape, default=1) < 1:
        raise InputError(f"shape: {tuple(shape)} was given; every size and rank must be at least 1")
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    return torch.randn(tuple(shape), generator=generator, dtype=dtype, device=generator.device)


def trailing(factor: Tensor | complex, count: int) -> Tensor | complex:
    """A factor with `count` dimensions of size one appended, so that it multiplies along the batch."""
    return factor[(..., *([None] * count))] if isinstance(factor, Tensor) else factor


def _triangle(matrix: Tensor) -> Tensor:
    return torch.linalg.qr(matrix).R if matrix.shape[-2] > matrix.shape[-1] else matrix


def _parts(value: CP) -> tuple[Tensor, tuple[Tensor, ...]]:
    return value.weights, value.factors
