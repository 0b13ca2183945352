"""The Tucker format: a small core multiplied by one matrix a mode.

    x_{i1..id} = sum_{r1..rd} g_{r1..rd} u^1_{i1 r1} ... u^d_{id rd}

Sources: L. R. Tucker, Psychometrika 31 (1966) 279; L. De Lathauwer, B. De Moor, J. Vandewalle, SIAM J. Matrix Anal.
Appl. 21 (2000) 1253 (HOSVD); N. Vannieuwenhoven, R. Vandebril, K. Meerbergen, SIAM J. Sci. Comput. 34 (2012) A1027
(sequential truncation and its error).

When not to use it: for many modes; the core has prod r_k numbers. Take a tensor train or a tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
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

SMALL_SLAB = 8192
"""Cores are not divided into slabs of fewer numbers,"""
MOST_SLABS = 6
"""nor into more slabs than that."""


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
        batch, found = len(self.batch_shape), []
        for place, moved in multiplied_slabs(other.core, crossed, self.order):
            mine = self.core.narrow(batch, place.start, place.stop - place.start)
            found.append(torch.linalg.vecdot(mine.flatten(batch), moved.flatten(batch)))
            del moved
        return found[0] if len(found) == 1 else torch.stack(found).sum(0)

    def norm(self) -> Num[Tensor, "..."]:
        """Norm of the core once the factors are orthonormal."""
        fixed = type(self)(self.core.detach(), tuple(factor.detach() for factor in self.factors))
        roots = {mode: triangular_root(factor) for mode, factor in enumerate(fixed.factors)}
        return differentiable_norm(_core_norm(fixed.core, roots, self.order), self, fixed)

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
            square = _core_norm(self.core.detach(), dict(enumerate(roots)), self.order).square()
            left, lost = square * (tolerance or 0.0) ** 2, torch.zeros_like(square)
        core, factors = self.core, list(self.factors)
        for mode in range(self.order):
            budget = None if tolerance is None else (left - lost).clamp_min(0) / (self.order - mode)
            others = {k: roots[k] for k in range(mode + 1, self.order)}
            with torch.no_grad():
                root = _unfolding_root(core.detach(), others, mode, self.order)
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


def multiplied_slabs(
    core: Tensor, matrices: dict[int, Tensor], order: int, axis: int = 0
) -> Iterator[tuple[slice, Tensor]]:
    """`multiply_modes` a few slices of a mode at a time, so that no copy of the core is made: which, and their entries.

    Few slabs, and one where the core is small.
    """
    batch = core.ndim - order
    size = matrices[axis].shape[-2] if axis in matrices else core.shape[batch + axis]
    count = max(1, min(MOST_SLABS, core.numel() // SMALL_SLAB, size))
    multiply = _multiply_all if len(matrices) == order else multiply_modes
    if count == 1:
        yield slice(0, size), multiply(core, matrices, order)
        return
    rest = {mode: matrix for mode, matrix in matrices.items() if mode != axis}
    for low, high in pairwise(size * part // count for part in range(count + 1)):
        if len(matrices) == order:
            yield slice(low, high), multiply(core, {**rest, axis: matrices[axis][..., low:high, :]}, order)
            continue
        if axis in matrices:
            slab = multiply_modes(core, {axis: matrices[axis][..., low:high, :]}, order)
        else:
            slab = core.narrow(batch + axis, low, high - low)
        yield slice(low, high), multiply_modes(slab, rest, order)


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


def _multiply_all(core: Tensor, matrices: dict[int, Tensor], order: int) -> Tensor:
    """`multiply_modes` for all modes: each in turn leaves the front and joins the end, one matrix product each."""
    batch = core.ndim - order
    for mode in range(order):
        shape, matrix = core.shape[batch + 1 :], matrices[mode]
        flat = core.reshape(*core.shape[: batch + 1], -1).mT @ matrix.mT
        core = flat.reshape(*flat.shape[:batch], *shape, matrix.shape[-2])
    return core


def _core_norm(core: Tensor, matrices: dict[int, Tensor], order: int) -> Tensor:
    """|core x_1 M_1 .. x_d M_d|, one number a batch entry."""
    norms = []
    for _, slab in multiplied_slabs(core, matrices, order):
        norms.append(torch.linalg.vector_norm(slab.flatten(core.ndim - order), dim=-1))
        del slab
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms), dim=0)


def _unfolding_root(core: Tensor, matrices: dict[int, Tensor], mode: int, order: int) -> Tensor:
    """W with W W^H = M M^H for the unfolding M of core x_k M_k along a mode that no matrix multiplies."""
    if order == 1:
        return triangular_root(unfold(core, mode, order).mH).mH
    root: Tensor | None = None
    for _, slab in multiplied_slabs(core, matrices, order, axis=mode + 1 if mode + 1 < order else 0):
        rows = unfold(slab, mode, order).mH
        root = triangular_root(rows if root is None else torch.cat([root, rows], dim=-2))
    assert root is not None  # there is at least one slab
    return root.mH


def kronecker(one: Tensor, two: Tensor, order: int) -> Tensor:
    """Kronecker product along each of the last `order` dimensions."""
    batch = one.ndim - order
    shape = [one.shape[batch + k] * two.shape[batch + k] for k in range(order)]
    for k in range(order):
        one, two = one.unsqueeze(batch + 2 * k + 1), two.unsqueeze(batch + 2 * k)
    return (one * two).reshape(*one.shape[:batch], *shape)
