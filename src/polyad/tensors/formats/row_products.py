"""Products of a core with one row of every factor, for many entries at once: the work of fits to scattered entries.

Entry n of a Tucker or CP tensor is the core contracted with row n of every factor. `contract` can leave one mode out,
which gives the linear map of that mode's row; `outer_sum` is the adjoint, a weighted sum of outer products of rows.
`TuckerRows` has a full core (r_1, .., r_K), `CPRows` a superdiagonal one (r,).

Second moments go the same way: with `pair`, E[W W^T] becomes a core of sizes r_k^2, whose rows are E[u u^T] flattened.

When not to use it: for all entries of a dense tensor; matrix products of whole factors are cheaper there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor

WORKING_NUMBERS = 4_000_000
"""Most numbers that a chunk of entries may hold in one intermediate array."""


@runtime_checkable
class RowProducts(Protocol):
    """How a core meets the rows (n, s_k) of K factors."""

    def contract(self, core: Tensor, rows: Sequence[Tensor], *, skip: int | None = None) -> Tensor:
        """(n,) values, or (n, s_skip) with one mode left open; `rows[skip]` is not read."""

    def outer_sum(self, weights: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """sum_n weights[n] times the product of the rows n, in the core's shape."""

    def pair(self, matrix: Tensor, sizes: Sequence[int]) -> Tensor:
        """A matrix over vec(core) as a core over pairs, for rows of K modes with s_k^2 components."""

    def unpair(self, core: Tensor, sizes: Sequence[int]) -> Tensor:
        """The inverse of `pair`."""

    def chunk(self, sizes: Sequence[int]) -> int:
        """How many entries to take at once for rows of these sizes."""


@final
class TuckerRows:
    """Full core (s_1, .., s_K), vectorised row by row: entry = vec(core)^T (u_1 kron .. kron u_K)."""

    def contract(self, core: Tensor, rows: Sequence[Tensor], *, skip: int | None = None) -> Tensor:
        """See `RowProducts`."""
        modes = [mode for mode in range(core.ndim) if mode != skip]
        if not modes:
            return core.expand(len(rows[0]), -1)
        core = core if skip is None else core.movedim(skip, 0)
        partial = rows[modes[-1]] @ core.reshape(-1, core.shape[-1]).mT
        for mode in reversed(modes[:-1]):
            size = core.shape[mode if skip is None or mode > skip else mode + 1]
            partial = (partial.unflatten(1, (-1, size)) @ rows[mode][:, :, None])[..., 0]
        return partial[:, 0] if skip is None else partial

    def outer_sum(self, weights: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """See `RowProducts`."""
        sizes = [row.shape[1] for row in rows]
        middle = min(range(len(rows)), key=lambda place: prod(sizes[:place]) + prod(sizes[place:]))
        left = reduce(_row_kronecker, rows[:middle], weights[:, None])
        right = reduce(_row_kronecker, rows[middle + 1 :], rows[middle])
        return (left.mT @ right).reshape(sizes)

    def pair(self, matrix: Tensor, sizes: Sequence[int]) -> Tensor:
        """See `RowProducts`."""
        order = len(sizes)
        mixed = matrix.reshape(*sizes, *sizes).permute(
            [mode + order * half for mode in range(order) for half in (0, 1)]
        )
        return mixed.reshape([size**2 for size in sizes])

    def unpair(self, core: Tensor, sizes: Sequence[int]) -> Tensor:
        """See `RowProducts`."""
        order = len(sizes)
        split = core.reshape([size for size in sizes for _ in (0, 1)])
        return split.permute([2 * mode + half for half in (0, 1) for mode in range(order)]).reshape(prod(sizes), -1)

    def chunk(self, sizes: Sequence[int]) -> int:
        """See `RowProducts`."""
        return max(1, WORKING_NUMBERS // (prod(sizes) // min(sizes)))


@final
class CPRows:
    """Superdiagonal core (s,): entry = sum_r core_r prod_k u_kr."""

    def contract(self, core: Tensor, rows: Sequence[Tensor], *, skip: int | None = None) -> Tensor:
        """See `RowProducts`."""
        others = [row for mode, row in enumerate(rows) if mode != skip]
        product = reduce(torch.mul, others, core.expand(len(rows[0]), -1))
        return product.sum(1) if skip is None else product

    def outer_sum(self, weights: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """See `RowProducts`."""
        return weights @ reduce(torch.mul, rows)

    def pair(self, matrix: Tensor, sizes: Sequence[int]) -> Tensor:
        """See `RowProducts`."""
        return matrix.flatten()

    def unpair(self, core: Tensor, sizes: Sequence[int]) -> Tensor:
        """See `RowProducts`."""
        return core.reshape(sizes[0], sizes[0])

    def chunk(self, sizes: Sequence[int]) -> int:
        """See `RowProducts`."""
        return max(1, WORKING_NUMBERS // sizes[0])


def _row_kronecker(left: Tensor, right: Tensor) -> Tensor:
    return (left[:, :, None] * right[:, None, :]).flatten(1)
