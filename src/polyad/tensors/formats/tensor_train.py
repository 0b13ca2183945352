"""The tensor train format (matrix product state): a chain of cores.

    x_{i1..id} = G^1[i1] G^2[i2] ... G^d[id],        G^k[i] a matrix (r_{k-1}, r_k),  r_0 = r_d = 1

Sources: I. V. Oseledets, SIAM J. Sci. Comput. 33 (2011) 2295 (algorithms 1 and 2).

Truncation sweeps once to the right. What lies to the right of a bond enters by the triangular root of a QR sweep to
the left, so every cut is the truncated SVD of the exact unfolding of the partly truncated tensor: the squared errors
add, and what one bond leaves of its share of the tolerance passes to the next.

When not to use it: where modes interact all with all alike; ranks then grow towards the middle whatever the order.
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
    check_mode,
    check_same,
    check_squeezed,
    check_tolerance,
    rank_caps,
)
from polyad.tensors.formats.cp import normal, trailing
from polyad.tensors.formats.subspace import dominant_basis, triangular_root
from polyad.tensors.formats.tucker import direct_sum


@final
@dataclass(frozen=True, eq=False, repr=False)
class TensorTrain(TensorFormat):
    """A chain of d cores.

    Args:
        cores: core k has shape (*batch, r_{k-1}, n_k, r_k), with r_0 = r_d = 1.

    `ranks` is (r_1, .., r_{d-1}). `orthogonalise(center)` makes the cores left of the centre left-orthogonal, those
    right of it right-orthogonal.
    """

    cores: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "cores", tuple(self.cores))
        check_chain(self.cores, "TensorTrain")
        if self.cores[0].shape[-3] != 1 or self.cores[-1].shape[-1] != 1:
            raise InputError("cores: a tensor train begins and ends with rank 1; for a closed chain take TensorRing")

    @classmethod
    def random(
        cls,
        shape: Sequence[int],
        ranks: int | Sequence[int],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        batch_shape: Sequence[int] = (),
    ) -> TensorTrain:
        """Normal cores such that entries have variance one; ranks come down to what the shape allows."""
        bonds = [1, *rank_caps(ranks, largest_bonds(shape)), 1]
        cores = (
            normal((*batch_shape, bonds[k], size, bonds[k + 1]), generator, dtype) / bonds[k] ** 0.5
            for k, size in enumerate(shape)
        )
        return cls(tuple(cores))

    @classmethod
    def from_dense(
        cls, tensor: Num[Tensor, "..."], *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None
    ) -> TensorTrain:
        """TT-SVD (see `tt_svd` for the error bound and the randomised variant)."""
        from polyad.tensors.formats.tt_svd import tt_svd

        return cls(tt_svd(tensor, tolerance=tolerance, ranks=ranks).value.cores)

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
        """(r_1, .., r_{d-1})."""
        return tuple(core.shape[-1] for core in self.cores[:-1])

    def to_dense(self) -> Num[Tensor, "..."]:
        """All entries."""
        check_memory(self)
        left = self.cores[0].flatten(-3, -2)
        for core in self.cores[1:]:
            left = (left @ core.flatten(-2)).unflatten(-1, core.shape[-2:]).flatten(-3, -2)
        return left.reshape(*self.batch_shape, *self.shape)

    def entries(self, indices: Int[Tensor, "count order"]) -> Num[Tensor, "... count"]:
        """The entries at these index tuples, by one matrix-vector product a core and sample."""
        indices = check_indices(indices, self.shape)
        # as many samples at once as keep their slices within half of the train itself
        largest = max(core.shape[-3] * core.shape[-1] for core in self.cores) * prod(self.batch_shape)
        most = max(16, self.storage.numbers // (2 * largest))
        return torch.cat([self._entries(part) for part in indices.split(most)] or [self._entries(indices)], dim=-1)

    def _entries(self, indices: Tensor) -> Tensor:
        row = self.cores[0][..., 0, indices[:, 0], :]
        for mode, core in enumerate(self.cores[1:], start=1):
            slices = core[..., indices[:, mode], :].movedim(-2, -3)
            row = (row[..., None, :] @ slices)[..., 0, :]
        return row[..., 0]

    def inner(self, other: TensorTrain) -> Num[Tensor, "..."]:
        """A sweep of transfer matrices: O(d n r^3)."""
        check_same(self, other)
        carry = torch.ones_like(self.cores[0][..., :1, 0, :1])
        for mine, others in zip(self.cores, other.cores, strict=True):
            right = (carry @ others.flatten(-2)).unflatten(-1, others.shape[-2:])
            carry = mine.flatten(-3, -2).mH @ right.flatten(-3, -2)
        return carry[..., 0, 0]

    def norm(self) -> Num[Tensor, "..."]:
        """Norm of the last core of the left-orthogonal form."""
        fixed = type(self)(tuple(core.detach() for core in self.cores))
        carry = torch.ones_like(fixed.cores[0][..., :1, 0, :1])
        for core in fixed.cores:
            tall = (carry @ core.flatten(-2)).unflatten(-1, core.shape[-2:]).flatten(-3, -2)
            carry = triangular_root(tall)
        return differentiable_norm(torch.linalg.vector_norm(carry, dim=(-2, -1)), self, fixed)

    def add(self, other: TensorTrain) -> TensorTrain:
        """The sum, of ranks r_k + s_k."""
        check_same(self, other)
        last, cores = self.order - 1, []
        for k, (mine, others) in enumerate(zip(self.cores, other.cores, strict=True)):
            dims = [dim for dim, inner in ((-3, k > 0), (-1, k < last)) if inner]
            cores.append(direct_sum(mine, others, dims))
        return type(self)(tuple(cores))

    def scale(self, factor: Num[Tensor, "..."] | complex) -> TensorTrain:
        """The tensor times a number, or times one number a batch entry."""
        return type(self)((self.cores[0] * trailing(factor, 3), *self.cores[1:]))

    def hadamard(self, other: TensorTrain) -> TensorTrain:
        """The entrywise product, of ranks r_k s_k."""
        check_same(self, other)
        return type(self)(tuple(multiply_slices(*pair) for pair in zip(self.cores, other.cores, strict=True)))

    def mode_product(self, matrix: Num[Tensor, "... rows columns"], mode: int) -> TensorTrain:
        """Multiply the matrix onto one mode."""
        mode = check_matrix(matrix, mode, self.shape)
        cores = list(self.cores)
        cores[mode] = matrix[..., None, :, :] @ cores[mode]
        return type(self)(tuple(cores))

    def squeeze(self, modes: Sequence[int]) -> TensorTrain:
        """Remove modes of size one; their matrices go into a neighbour."""
        return type(self)(tuple(squeeze_chain(self.cores, check_squeezed(modes, self.shape))))

    def orthogonalise(self, center: int = 0) -> TensorTrain:
        """All weight in core `center`; the others are isometries towards it."""
        center = check_mode(center, self.order)
        cores = list(self.cores)
        for k in range(center):
            q, r = torch.linalg.qr(cores[k].flatten(-3, -2))
            cores[k] = q.unflatten(-2, cores[k].shape[-3:-1])
            cores[k + 1] = (r @ cores[k + 1].flatten(-2)).unflatten(-1, cores[k + 1].shape[-2:])
        for k in range(self.order - 1, center, -1):
            q, r = torch.linalg.qr(cores[k].flatten(-2).mH)
            cores[k] = q.mH.unflatten(-1, cores[k].shape[-2:])
            cores[k - 1] = cores[k - 1] @ r.mH[..., None, :, :]
        return type(self)(tuple(cores))

    def truncate(
        self, *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None
    ) -> Truncation[TensorTrain]:
        """Rounding by one sweep; error <= sqrt(d - 1) times the best of these ranks."""
        check_tolerance(tolerance, ranks, self.dtype)
        caps = rank_caps(ranks, self.ranks)
        roots = self._right_roots()
        grams = self._right_grams()
        size = torch.linalg.vector_norm(roots[0], dim=(-2, -1)).square()
        allowed, lost = size * (tolerance or 0.0) ** 2, torch.zeros_like(size)
        core, cores = self.cores[0], []
        for k in range(self.order - 1):
            budget = None if tolerance is None else (allowed - lost).clamp_min(0) / (self.order - 1 - k)
            tall = core.flatten(-3, -2)
            basis, discarded = dominant_basis(tall, budget=budget, cap=caps[k], root=roots[k + 1], gram=grams[k + 1])
            lost = lost + discarded
            cores.append(basis.unflatten(-2, core.shape[-3:-1]))
            following = self.cores[k + 1]
            core = (basis.mH @ tall @ following.flatten(-2)).unflatten(-1, following.shape[-2:])
        return Truncation(type(self)((*cores, core)), lost.sqrt())

    def _right_roots(self) -> list[Tensor]:
        """roots[k]: W (r_{k-1}, q) of the chain from core k on, so that the chain is W times orthonormal rows."""
        with torch.no_grad():
            root = torch.ones_like(self.cores[-1].detach()[..., :1, 0, :1])
            roots = []
            for core in reversed(self.cores):
                wide = (core.detach() @ root[..., None, :, :]).flatten(-2)
                root = triangular_root(wide.mH).mH
                roots.append(root)
        return roots[::-1]

    def _right_grams(self) -> list[Tensor | None]:
        """grams[k] = W W^H of `_right_roots`, with its derivative; nothing where no gradient is asked for."""
        if not (torch.is_grad_enabled() and any(core.requires_grad for core in self.cores)):
            return [None] * self.order
        gram = torch.ones_like(self.cores[-1][..., :1, 0, :1])
        grams: list[Tensor | None] = []
        for core in reversed(self.cores):
            gram = (core @ gram[..., None, :, :]).flatten(-2) @ core.flatten(-2).mH
            grams.append(gram)
        return grams[::-1]


def check_chain(cores: tuple[Tensor, ...], what: str) -> None:
    """Cores of one batch shape whose ranks fit from core to core."""
    check_arrays(cores, what)
    for k, core in enumerate(cores):
        if core.ndim < 3 or core.ndim != cores[0].ndim or core.shape[:-3] != cores[0].shape[:-3]:
            raise InputError(f"cores: core {k} has shape {tuple(core.shape)}; all need (*batch, r, n, r')")
        if 0 in core.shape[-3:]:
            raise InputError(f"cores: core {k} of shape {tuple(core.shape)} is empty; sizes and ranks must be >= 1")
        if k and cores[k - 1].shape[-1] != core.shape[-3]:
            raise InputError(
                f"cores: core {k - 1} ends with rank {cores[k - 1].shape[-1]}, core {k} begins with {core.shape[-3]}"
            )


def largest_bonds(shape: Sequence[int]) -> list[int]:
    """Largest rank of each bond of a chain: the smaller side of its unfolding."""
    left, right = [1], [1]
    for size in shape:
        left.append(left[-1] * size)
    for size in reversed(shape):
        right.append(right[-1] * size)
    return [min(left[k], right[len(shape) - k]) for k in range(1, len(shape))]


def multiply_slices(one: Tensor, two: Tensor) -> Tensor:
    """Core of an entrywise product: Kronecker product of the matrices of each entry."""
    product = one[..., :, None, :, :, None] * two[..., None, :, :, None, :]
    return product.flatten(-2).flatten(-4, -3)


def squeeze_chain(cores: Sequence[Tensor], gone: Sequence[int]) -> list[Tensor]:
    """The chain without these modes of size one; the first core that stays takes what lies before it."""
    kept: list[Tensor] = []
    waiting: Tensor | None = None
    for k, core in enumerate(cores):
        if k in gone:
            matrix = core[..., 0, :]
            if kept:
                kept[-1] = kept[-1] @ matrix[..., None, :, :]
            else:
                waiting = matrix if waiting is None else waiting @ matrix
        else:
            if waiting is not None:
                core, waiting = (waiting @ core.flatten(-2)).unflatten(-1, core.shape[-2:]), None
            kept.append(core)
    return kept
