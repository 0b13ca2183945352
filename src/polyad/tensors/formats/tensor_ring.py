"""The tensor ring format: a chain of cores closed to a loop.

    x_{i1..id} = tr( G^1[i1] G^2[i2] ... G^d[id] ),        G^k[i] a matrix (r_{k-1}, r_k),  r_d = r_0

Source: Q. Zhao, G. Zhou, S. Xie, L. Zhang, A. Cichocki, arXiv:1606.05535 (2016).

Memory: inner products need transfer matrices of r^4 numbers beside the cores. Truncation from ranks r to s measures its
error by triangles of m = r^2 + s^2 columns, 3 m^2 numbers (see `_network_triangle`), far more than a ring of low order.

When not to use it: where a best approximation must exist or be certified; the set of rings of given rank is not
closed. A tensor train has both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int, Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats._norms import CANCELLED, differentiable_norm
from polyad.tensors.formats.base import (
    TensorFormat,
    Truncation,
    check_indices,
    check_matrix,
    check_memory,
    check_same,
    check_squeezed,
)
from polyad.tensors.formats.cp import normal, trailing
from polyad.tensors.formats.network import TensorNetwork
from polyad.tensors.formats.subspace import triangular_root
from polyad.tensors.formats.tensor_train import check_chain, multiply_slices, squeeze_chain
from polyad.tensors.formats.tucker import direct_sum


@final
@dataclass(frozen=True, eq=False, repr=False)
class TensorRing(TensorFormat):
    """A closed chain of d cores.

    Args:
        cores: core k has shape (*batch, r_{k-1}, n_k, r_k), with r_d = r_0.

    `ranks` is (r_0, .., r_{d-1}): the bond before each core. `orthogonalise` makes all cores but the last
    left-orthogonal. `truncate` searches and takes no batch (see `TensorNetwork`); its error is measured.
    """

    cores: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "cores", tuple(self.cores))
        check_chain(self.cores, "TensorRing")
        if self.cores[0].shape[-3] != self.cores[-1].shape[-1]:
            raise InputError(
                f"cores: the ring begins with rank {self.cores[0].shape[-3]} and ends with {self.cores[-1].shape[-1]}; "
                "they must be equal"
            )

    @classmethod
    def random(
        cls,
        shape: Sequence[int],
        ranks: int | Sequence[int],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        batch_shape: Sequence[int] = (),
    ) -> TensorRing:
        """Normal cores such that entries have variance one."""
        bonds = [ranks] * len(shape) if isinstance(ranks, int) else list(ranks)
        if len(bonds) != len(shape) or min(bonds) < 1:
            raise InputError(f"ranks: {ranks} was given; a ring of order {len(shape)} needs {len(shape)} ranks >= 1")
        cores = (
            normal((*batch_shape, rank, size, following), generator, dtype) / rank**0.5
            for rank, size, following in zip(bonds, shape, [*bonds[1:], bonds[0]], strict=True)
        )
        return cls(tuple(cores))

    @classmethod
    def from_dense(
        cls, tensor: Num[Tensor, "..."], *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None
    ) -> TensorRing:
        """TR-SVD (see `tr_svd`)."""
        from polyad.tensors.formats.tt_svd import tr_svd

        return cls(tr_svd(tensor, tolerance=tolerance, ranks=ranks).value.cores)

    def to_network(self) -> TensorNetwork:
        """The same tensor as a general network (no batch); bond k is the one before core k."""
        if self.batch_shape:
            raise InputError(f"self: a batch {self.batch_shape} of rings is no network; take them one by one")
        bonds = [("bond", k) for k in range(self.order)]
        labels = [(bonds[k], ("mode", k), bonds[(k + 1) % self.order]) for k in range(self.order)]
        if self.order == 1:
            return TensorNetwork((self.cores[0].diagonal(dim1=0, dim2=2).sum(-1),), ((("mode", 0),),))
        return TensorNetwork(self.cores, tuple(labels), tuple(("mode", k) for k in range(self.order)))

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """The cores."""
        return self.cores

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the modes."""
        return tuple(core.shape[-2] for core in self.cores)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Sizes of the leading batch dimensions."""
        return tuple(self.cores[0].shape[:-3])

    @property
    def ranks(self) -> tuple[int, ...]:
        """(r_0, .., r_{d-1})."""
        return tuple(core.shape[-3] for core in self.cores)

    def to_dense(self) -> Num[Tensor, "..."]:
        """All entries: the two halves of the ring meet in one matrix product over both of their bonds."""
        check_memory(self)
        half = (self.order + 1) // 2
        left = _merge(self.cores[:half])
        if half == self.order:
            return left.diagonal(dim1=-3, dim2=-1).sum(-1).reshape(*self.batch_shape, *self.shape)
        right = _merge(self.cores[half:])
        # left (n, b, a), right (b, a, m): both bonds are summed at once
        product = left.movedim(-3, -1).flatten(-2) @ right.movedim(-2, -1).flatten(-3, -2)
        return product.reshape(*self.batch_shape, *self.shape)

    def entries(self, indices: Int[Tensor, "count order"]) -> Num[Tensor, "... count"]:
        """The entries at these index tuples: traces of products of matrices."""
        indices = check_indices(indices, self.shape)
        product: Tensor | None = None
        for mode, core in enumerate(self.cores):
            slices = core[..., indices[:, mode], :].movedim(-2, -3)
            product = slices if product is None else product @ slices
        assert product is not None  # a ring has at least one core
        return product.diagonal(dim1=-2, dim2=-1).sum(-1)

    def inner(self, other: TensorRing) -> Num[Tensor, "..."]:
        """The trace of a product of transfer matrices, r^2 x r^2: O(d (n r^4 + r^6)), or O(d n r^5) for r > 2 n."""
        check_same(self, other)
        return _trace_of_transfers(zip(self.cores, other.cores, strict=True))

    def norm(self) -> Num[Tensor, "..."]:
        """By `inner`; by a sweep of QR decompositions over both open bonds where squares lose digits."""
        fixed = type(self)(tuple(core.detach() for core in self.cores))
        with torch.no_grad():
            square = fixed.inner(fixed).real.clamp_min(0)
            positive = (core.abs() for core in fixed.cores)
            if bool((square > CANCELLED * _trace_of_transfers((core, core) for core in positive)).all()):
                size = square.sqrt()
            else:
                eye = torch.eye(self.ranks[0], dtype=self.dtype, device=self.device)
                carry = eye[None].expand(*self.batch_shape, -1, -1, -1)
                for core in fixed.cores:  # carry (q, r_0, r_k), from both open bonds to orthonormal rows
                    tall = torch.einsum("...qab,...bnc->...qnac", carry, core).flatten(-4, -3)
                    carry = triangular_root(tall.flatten(-2)).unflatten(-1, tall.shape[-2:])
                size = torch.linalg.vector_norm(carry.diagonal(dim1=-2, dim2=-1).sum(-1), dim=-1)
        return differentiable_norm(size, self, fixed)

    def add(self, other: TensorRing) -> TensorRing:
        """The sum, of ranks r_k + s_k."""
        check_same(self, other)
        return type(self)(tuple(direct_sum(*pair, (-3, -1)) for pair in zip(self.cores, other.cores, strict=True)))

    def scale(self, factor: Num[Tensor, "..."] | complex) -> TensorRing:
        """The tensor times a number, or times one number a batch entry."""
        return type(self)((self.cores[0] * trailing(factor, 3), *self.cores[1:]))

    def hadamard(self, other: TensorRing) -> TensorRing:
        """The entrywise product, of ranks r_k s_k."""
        check_same(self, other)
        return type(self)(tuple(multiply_slices(*pair) for pair in zip(self.cores, other.cores, strict=True)))

    def mode_product(self, matrix: Num[Tensor, "... rows columns"], mode: int) -> TensorRing:
        """Multiply the matrix onto one mode."""
        mode = check_matrix(matrix, mode, self.shape)
        cores = list(self.cores)
        cores[mode] = matrix[..., None, :, :] @ cores[mode]
        return type(self)(tuple(cores))

    def squeeze(self, modes: Sequence[int]) -> TensorRing:
        """Remove modes of size one; their matrices go into a neighbour."""
        return type(self)(tuple(squeeze_chain(self.cores, check_squeezed(modes, self.shape))))

    def orthogonalise(self) -> TensorRing:
        """All cores but the last left-orthogonal (a gauge: a loop has no canonical form)."""
        cores = list(self.cores)
        for k in range(self.order - 1):
            q, r = torch.linalg.qr(cores[k].flatten(-3, -2))
            cores[k] = q.unflatten(-2, cores[k].shape[-3:-1])
            cores[k + 1] = (r @ cores[k + 1].flatten(-2)).unflatten(-1, cores[k + 1].shape[-2:])
        return type(self)(tuple(cores))

    def truncate(
        self, *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None
    ) -> Truncation[TensorRing]:
        """Bond by bond with the ring's environment and a measured error (see `TensorNetwork`); without a gradient."""
        found = self.to_network().truncate(tolerance=tolerance, ranks=ranks)
        if self.order == 1:
            return Truncation(type(self)((found.value.tensors[0][None, :, None],)), found.error)
        return Truncation(type(self)(found.value.tensors), found.error)


def _trace_of_transfers(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """tr(E^1 .. E^d) with E^k = sum_i conj(A^k[i]) (x) B^k[i]; the pairs (A^k, B^k) are taken one at a time."""
    carry: Tensor | None = None  # (r_0, s_0, r_k, s_k)
    for mine, others in pairs:
        (left, size, right), others_right = mine.shape[-3:], others.shape[-1]
        if carry is not None and right * others_right > 2 * size * max(right, others_right):
            step = torch.einsum("...xyab,...bjd->...xyajd", carry, others)
            carry = torch.einsum("...ajc,...xyajd->...xycd", mine.conj(), step)
            continue
        slices = mine.conj().movedim(-2, -1).flatten(-3, -2) @ others.movedim(-2, -3).flatten(-2)
        transfer = slices.unflatten(-1, (-1, others_right)).unflatten(-3, (left, right)).movedim(-3, -2)
        if carry is None:
            carry = transfer
        else:
            product = carry.flatten(-4, -3).flatten(-2) @ transfer.flatten(-4, -3).flatten(-2)
            carry = product.reshape(*carry.shape[:-2], right, others_right)
    assert carry is not None  # a ring has at least one core
    return carry.flatten(-4, -3).flatten(-2).diagonal(dim1=-2, dim2=-1).sum(-1)


def _merge(cores: Sequence[Tensor]) -> Tensor:
    """Neighbouring cores as one, of shape (*batch, r, prod n, r')."""
    merged = cores[0]
    for core in cores[1:]:
        merged = (merged @ core.flatten(-2)[..., None, :, :]).unflatten(-1, core.shape[-2:]).flatten(-3, -2)
    return merged
