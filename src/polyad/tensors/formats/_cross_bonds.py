"""The state of a cross approximation: pivots, blocks of values and the rook search; equations in `cross`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.tensor_train import TensorTrain

RANDOM_POINTS = 12
SLACK = 0.1
"""A bond is left alone when no random point there misses by more than this part of the threshold."""
ROOK_STEPS = 3
PIVOTS_A_VISIT = 2


class Function:
    """The black box: counts what it is asked, and refuses what is not finite."""

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        shape: Sequence[int],
        *,
        progress: Callable[[int, int], None] | None,
        limit: int,
    ) -> None:
        self.function, self.shape, self.progress, self.limit = function, tuple(shape), progress, limit
        self.count, self.largest = 0, 0.0

    def __call__(self, indices: Tensor) -> Tensor:
        values = torch.as_tensor(self.function(indices)).detach()
        if values.shape != (len(indices),):
            raise InputError(f"function: it gave shape {tuple(values.shape)} for {len(indices)} index tuples")
        if not (values.is_floating_point() or values.is_complex()):
            values = values.double()
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            where = tuple(indices[int((~finite).int().argmax())].tolist())
            raise InputError(f"function: it is NaN or infinite at {where}; make it finite there or change the grid")
        self.count += len(indices)
        self.largest = max(self.largest, float(values.abs().max()))
        if self.progress is not None:
            self.progress(self.count, self.limit)
        return values


class Bonds:
    """Pivots of all bonds and the blocks that they span.

    Bond k lies between modes k and k + 1. `left[k]` (r_k, k + 1) and `right[k]` (r_k, d - k - 1) are its pivots,
    `rows[k]` the places of `left[k]` among (left[k - 1], i), and `blocks[k]` the values (r_{k-1}, n_k, r_k).
    """

    def __init__(
        self, function: Function, shape: Sequence[int], point: Tensor, generator: torch.Generator, max_rank: int
    ) -> None:
        self.function, self.shape, self.generator, self.max_rank = function, tuple(shape), generator, max_rank
        order = len(shape)
        self.left = [point[None, : k + 1] for k in range(order - 1)]
        self.right = [point[None, k + 1 :] for k in range(order - 1)]
        self.rows = [point[k : k + 1].clone() for k in range(order - 1)]
        self.blocks = []
        for mode, size in enumerate(self.shape):
            line = point.expand(size, order).clone()
            line[:, mode] = torch.arange(size)
            self.blocks.append(function(line)[None, :, None])

    def train(self) -> TensorTrain:
        """The interpolant."""
        cores = [self._factor(k).reshape(self.blocks[k].shape) for k in range(len(self.left))]
        return TensorTrain((*cores, self.blocks[-1]))

    def is_full(self) -> bool:
        """Whether some bond may grow no more because of the largest rank."""
        return any(len(pivots) >= self.max_rank for pivots in self.left)

    def sweep(self, threshold: float, *, forward: bool) -> int:
        """Visit every bond; returns how many pivots were added."""
        places = range(len(self.left)) if forward else range(len(self.left) - 1, -1, -1)
        return sum(self._visit(k, threshold) for k in places)

    def add_point(self, point: Tensor, threshold: float) -> bool:
        """Make a point a pivot of every bond, from the left, as long as it brings something new there."""
        changed = False
        for k in range(len(self.left)):
            prefix, suffix = point[: k + 1], point[k + 1 :]
            if bool((self.left[k] == prefix).all(1).any()):
                continue
            above = 0 if k == 0 else int((self.left[k - 1] == prefix[:-1]).all(1).int().argmax())
            row = above * self.shape[k] + int(prefix[-1])
            column = self._values(self._rows_at(k), suffix[None])
            residual = column - self._factor(k) @ column[self.rows[k]]
            floor = max(threshold, 100 * torch.finfo(column.dtype).eps) * self.function.largest
            if len(self.left[k]) >= self.max_rank or float(residual[row].abs()) <= floor:
                break
            values = self._values(prefix[None], self._columns_at(k))
            self._add(k, row, suffix, column, values)
            changed = True
        return changed

    def _visit(self, k: int, threshold: float) -> int:
        """Add up to a few pivots at bond k."""
        for added in range(PIVOTS_A_VISIT):
            pivots = len(self.left[k])
            if pivots >= min(self.max_rank, self._height(k), self._width(k)):
                return added
            if not self._search(k, threshold):
                return added
        return PIVOTS_A_VISIT

    def _search(self, k: int, threshold: float) -> bool:
        factor, columns = self._factor(k), self._columns_at(k)
        known = self.blocks[k + 1].flatten(1)
        height, width = self._height(k), self._width(k)
        row_draw = torch.randint(0, height, (RANDOM_POINTS,), generator=self.generator)
        column_draw = torch.randint(0, width, (RANDOM_POINTS,), generator=self.generator)
        rows = self._rows_at(k)
        values = self.function(torch.cat([rows[row_draw], columns[column_draw]], dim=1))
        guess = (factor[row_draw] * known[:, column_draw].mT).sum(1)
        gap = (values - guess).abs()
        floor = max(threshold, 10 * torch.finfo(values.dtype).eps) * self.function.largest
        if float(gap.max()) <= SLACK * floor:
            return False
        column_place, row_place = int(column_draw[int(gap.argmax())]), -1
        column, row_values = values, values
        for _ in range(ROOK_STEPS):
            column = self._values(rows, columns[column_place : column_place + 1])
            residual = (column - factor @ column[self.rows[k]]).abs()
            best = int(residual.argmax())
            if best == row_place:
                break
            row_place = best
            row_values = self._values(rows[row_place : row_place + 1], columns)
            residual = (row_values - factor[row_place] @ known).abs()
            best = int(residual.argmax())
            if best == column_place:
                break
            column_place = best
        else:
            column = self._values(rows, columns[column_place : column_place + 1])
        gap = (column[row_place] - factor[row_place] @ known[:, column_place]).abs()
        if float(gap) <= floor:
            return False
        self._add(k, row_place, columns[column_place], column, row_values)
        return True

    def _add(self, k: int, row: int, suffix: Tensor, column: Tensor, row_values: Tensor) -> None:
        """A new pivot at bond k: a column more of block k, a row more of block k + 1."""
        size = self.shape[k]
        parent = self.left[k - 1][row // size] if k else self.left[k].new_empty(0)
        prefix = torch.cat([parent, torch.tensor([row % size])])
        self.left[k] = torch.cat([self.left[k], prefix[None]])
        self.right[k] = torch.cat([self.right[k], suffix[None]])
        self.rows[k] = torch.cat([self.rows[k], torch.tensor([row])])
        self.blocks[k] = torch.cat([self.blocks[k], column.reshape(*self.blocks[k].shape[:2], 1)], dim=2)
        following = self.blocks[k + 1]
        self.blocks[k + 1] = torch.cat([following, row_values.reshape(1, *following.shape[1:])])

    def _factor(self, k: int) -> Tensor:
        """T_k P_k^{-1} as a matrix, the identity on the rows of the pivots."""
        tall = self.blocks[k].flatten(0, 1)
        orthonormal = torch.linalg.qr(tall).Q
        return torch.linalg.solve(orthonormal[self.rows[k]], orthonormal, left=False)

    def _height(self, k: int) -> int:
        return (len(self.left[k - 1]) if k else 1) * self.shape[k]

    def _width(self, k: int) -> int:
        return self.shape[k + 1] * (len(self.right[k + 1]) if k + 1 < len(self.right) else 1)

    def _rows_at(self, k: int) -> Tensor:
        """All (left[k - 1], i)."""
        above = self.left[k - 1] if k else torch.empty(1, 0, dtype=torch.long)
        inner = torch.arange(self.shape[k])
        return torch.cat([above.repeat_interleave(len(inner), 0), inner.repeat(len(above))[:, None]], dim=1)

    def _columns_at(self, k: int) -> Tensor:
        """All (j, right[k + 1])."""
        below = self.right[k + 1] if k + 1 < len(self.right) else torch.empty(1, 0, dtype=torch.long)
        inner = torch.arange(self.shape[k + 1])
        return torch.cat([inner.repeat_interleave(len(below))[:, None], below.repeat(len(inner), 1)], dim=1)

    def _values(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The function on one row and all columns, or on all rows and one column."""
        count = max(len(rows), len(columns))
        return self.function(torch.cat([rows.expand(count, -1), columns.expand(count, -1)], dim=1))
