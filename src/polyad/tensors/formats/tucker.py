"""The Tucker format: a small core multiplied by one matrix a mode.

    x_{i1..id} = sum_{r1..rd} g_{r1..rd} u^1_{i1 r1} ... u^d_{id rd}

Sources: L. R. Tucker, Psychometrika 31 (1966) 279; L. De Lathauwer, B. De Moor, J. Vandewalle, SIAM J. Matrix Anal.
Appl. 21 (2000) 1253 (HOSVD); N. Vannieuwenhoven, R. Vandebril, K. Meerbergen, SIAM J. Sci. Comput. 34 (2012) A1027
(sequential truncation and its error).

When not to use it: for many modes; the core has prod r_k numbers. Take a tensor train or a tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
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
    rank_caps,
)
from polyad.tensors.formats.cp import normal, trailing
from polyad.tensors.formats.subspace import dominant_basis, triangular_root


@final
@dataclass(frozen=True, eq=False, repr=False)
class Tucker(TensorFormat):
    """A core and one matrix a mode.

    Args:
        core: (*batch, r_1, .., r_d).
        factors: d matrices (*batch, n_k, r_k).

    `ranks` is (r_1, .., r_d). `orthogonalise` gives factors with orthonormal columns.
    """

    core: Tensor
    factors: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", tuple(self.factors))
        check_arrays([self.core, *self.factors], "Tucker")
        if not self.factors or self.core.ndim < len(self.factors):
            raise InputError(
                f"core: {self.core.ndim} dimensions, fewer than {len(self.factors)} factors; give one each"
            )
        for mode, factor in enumerate(self.factors):
            expected = (*self.batch_shape, "n", self.ranks[mode])
            if factor.ndim != len(expected) or (*factor.shape[:-2], "n", factor.shape[-1]) != expected:
                raise InputError(f"factors: factor {mode} has shape {tuple(factor.shape)}, expected {expected}")

    @classmethod
    def random(
        cls,
        shape: Sequence[int],
        ranks: int | Sequence[int],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        batch_shape: Sequence[int] = (),
    ) -> Tucker:
        """Standard normal core, normal factors such that entries have variance one."""
        caps = rank_caps(ranks, shape)
        factors = (
            normal((*batch_shape, size, rank), generator, dtype) / rank**0.5
            for size, rank in zip(shape, caps, strict=True)
        )
        return cls(normal((*batch_shape, *caps), generator, dtype), tuple(factors))

    @classmethod
    def from_dense(
        cls, tensor: Num[Tensor, "..."], *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None
    ) -> Tucker:
        """Sequentially truncated HOSVD (see `st_hosvd` for the error bound and the other variants)."""
        from polyad.tensors.formats.hosvd import st_hosvd

        found = st_hosvd(tensor, tolerance=tolerance, ranks=ranks).value
        return cls(found.core, found.factors)

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """Core, then factors."""
        return (self.core, *self.factors)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the modes."""
        return tuple(factor.shape[-2] for factor in self.factors)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Sizes of the leading batch dimensions."""
        return tuple(self.core.shape[: self.core.ndim - len(self.factors)])

    @property
    def ranks(self) -> tuple[int, ...]:
        """(r_1, .., r_d)."""
        return tuple(self.core.shape[self.core.ndim - len(self.factors) :])

    def to_dense(self) -> Num[Tensor, "..."]:
        """All entries."""
        check_memory(self)
        return multiply_modes(self.core, dict(enumerate(self.factors)), self.order)

    def entries(self, indices: Int[Tensor, "count order"]) -> Num[Tensor, "... count"]:
        """The entries at these index tuples; the core is contracted from its last mode on."""
        indices = check_indices(indices, self.shape)
        rows = [factor[..., indices[:, mode], :] for mode, factor in enumerate(self.factors)]
        batch = len(self.batch_shape)
        # the first product brings in the sample index; the others are matrix-vector products, one a sample
        head = self.core.flatten(batch, -2) if self.order > 1 else self.core[..., None, :]
        partial = rows[-1] @ head.mT
        for row in reversed(rows[:-1]):
            partial = (partial.unflatten(-1, (-1, row.shape[-1])) @ row[..., None])[..., 0]
        return partial[..., 0]

    def inner(self, other: Tucker) -> Num[Tensor, "..."]:
        """The other's core, brought to this tensor's factors, against this core."""
        check_same(self, other)
        crossed = {
            k: mine.mH @ others for k, (mine, others) in enumerate(zip(self.factors, other.factors, strict=True))
        }
        moved = multiply_modes(other.core, crossed, self.order)
        return (self.core.conj() * moved).flatten(len(self.batch_shape)).sum(-1)

    def norm(self) -> Num[Tensor, "..."]:
        """Norm of the core once the factors are orthonormal."""
        fixed = type(self)(self.core.detach(), tuple(factor.detach() for factor in self.factors))
        core = multiply_modes(fixed.core, {m: triangular_root(f) for m, f in enumerate(fixed.factors)}, self.order)
        size = torch.linalg.vector_norm(core.flatten(len(self.batch_shape)), dim=-1)
        return differentiable_norm(size, self, fixed)

    def add(self, other: Tucker) -> Tucker:
        """The sum, of ranks r_k + s_k; its core is block diagonal."""
        check_same(self, other)
        factors = (torch.cat(pair, dim=-1) for pair in zip(self.factors, other.factors, strict=True))
        return type(self)(direct_sum(self.core, other.core, range(-self.order, 0)), tuple(factors))

    def scale(self, factor: Num[Tensor, "..."] | complex) -> Tucker:
        """The tensor times a number, or times one number a batch entry."""
        return type(self)(self.core * trailing(factor, self.order), self.factors)

    def hadamard(self, other: Tucker) -> Tucker:
        """The entrywise product, of ranks r_k s_k."""
        check_same(self, other)
        factors = (
            (mine[..., :, None] * others[..., None, :]).flatten(-2)
            for mine, others in zip(self.factors, other.factors, strict=True)
        )
        return type(self)(kronecker(self.core, other.core, self.order), tuple(factors))

    def mode_product(self, matrix: Num[Tensor, "... rows columns"], mode: int) -> Tucker:
        """Multiply the matrix onto one mode."""
        mode = check_matrix(matrix, mode, self.shape)
        factors = list(self.factors)
        factors[mode] = matrix @ factors[mode]
        return type(self)(self.core, tuple(factors))

    def squeeze(self, modes: Sequence[int]) -> Tucker:
        """Remove modes of size one; their factors go into the core."""
        gone = check_squeezed(modes, self.shape)
        core = multiply_modes(self.core, {mode: self.factors[mode] for mode in gone}, self.order)
        for mode in reversed(gone):
            core = core.squeeze(len(self.batch_shape) + mode)
        return type(self)(core, tuple(f for mode, f in enumerate(self.factors) if mode not in gone))

    def orthogonalise(self) -> Tucker:
        """Factors with orthonormal columns, by QR; ranks above a mode's size come down to it."""
        pairs = [torch.linalg.qr(factor) for factor in self.factors]
        core = multiply_modes(self.core, {mode: pair.R for mode, pair in enumerate(pairs)}, self.order)
        return type(self)(core, tuple(pair.Q for pair in pairs))

    def truncate(
        self, *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None
    ) -> Truncation[Tucker]:
        """Sequentially truncated HOSVD of the core in the metric of the factors; error <= sqrt(d) times the best."""
        check_tolerance(tolerance, ranks, self.dtype)
        caps = rank_caps(ranks, self.ranks)
        roots = [triangular_root(factor) for factor in self.factors]
        with torch.no_grad():
            weighted = multiply_modes(self.core.detach(), dict(enumerate(roots)), self.order)
            batch = len(self.batch_shape)
            left = lost = torch.linalg.vector_norm(weighted.flatten(batch), dim=-1).square() * 0
            if tolerance is not None:
                left = (tolerance * torch.linalg.vector_norm(weighted.flatten(batch), dim=-1)).square()
        core, factors = self.core, list(self.factors)
        for mode in range(self.order):
            budget = None if tolerance is None else (left - lost).clamp_min(0) / (self.order - mode)
            others = {k: roots[k] for k in range(mode + 1, self.order)}
            with torch.no_grad():
                outside = unfold(multiply_modes(core.detach(), others, self.order), mode, self.order)
                root = triangular_root(outside.mH).mH
            gram = None
            if torch.is_grad_enabled() and any(array.requires_grad for array in self.arrays):
                metric = {k: self.factors[k].mH @ self.factors[k] for k in range(mode + 1, self.order)}
                flat = unfold(core, mode, self.order)
                gram = unfold(multiply_modes(core, metric, self.order), mode, self.order) @ flat.mH
            basis, discarded = dominant_basis(factors[mode], budget=budget, cap=caps[mode], root=root, gram=gram)
            core = multiply_modes(core, {mode: basis.mH @ factors[mode]}, self.order)
            factors[mode] = basis
            lost = lost + discarded
        return Truncation(type(self)(core, tuple(factors)), lost.sqrt())


def multiply_modes(tensor: Tensor, matrices: dict[int, Tensor], order: int) -> Tensor:
    """Multiply a matrix onto each named mode of the last `order` dimensions."""
    batch = tensor.ndim - order
    for mode, matrix in matrices.items():
        before, after = tensor.shape[batch : batch + mode], tensor.shape[batch + mode + 1 :]
        size = tensor.shape[batch + mode]
        if not after:
            flat = tensor.reshape(*tensor.shape[:batch], prod(before), size) @ matrix.mT
        else:
            flat = matrix[..., None, :, :] @ tensor.reshape(*tensor.shape[:batch], prod(before), size, prod(after))
        tensor = flat.reshape(*flat.shape[:batch], *before, matrix.shape[-2], *after)
    return tensor


def unfold(tensor: Tensor, mode: int, order: int) -> Tensor:
    """Matrix (*batch, n_mode, all other modes in order)."""
    batch = tensor.ndim - order
    return tensor.movedim(batch + mode, batch).flatten(batch + 1) if order > 1 else tensor[..., None]


def direct_sum(one: Tensor, two: Tensor, dims: Sequence[int]) -> Tensor:
    """Block-diagonal along the named (negative) dimensions, the common size along the others."""
    sizes = list(one.shape)
    for dim in dims:
        sizes[dim] += two.shape[dim]
    total = one.new_zeros(sizes)
    first, second = [slice(None)] * one.ndim, [slice(None)] * one.ndim
    for dim in dims:
        first[dim], second[dim] = slice(0, one.shape[dim]), slice(one.shape[dim], None)
    total[tuple(first)] = one
    total[tuple(second)] = total[tuple(second)] + two
    return total


def kronecker(one: Tensor, two: Tensor, order: int) -> Tensor:
    """Kronecker product along each of the last `order` dimensions."""
    batch = one.ndim - order
    shape = [one.shape[batch + k] * two.shape[batch + k] for k in range(order)]
    for k in range(order):
        one, two = one.unsqueeze(batch + 2 * k + 1), two.unsqueeze(batch + 2 * k)
    return (one * two).reshape(*one.shape[:batch], *shape)
