"""Tucker and CP decompositions of scattered entries by alternating ridge regression, without a dense array or mask.

    minimise  sum_n (y_n - x[i_n])^2 + ridge (sum_k |U_k|^2 + |W|^2)

The rows of a factor are independent small least-squares problems over their own entries, and the core is one more; each
is solved exactly, so the objective never rises. The ridge settles rows with few entries; a row with none becomes zero.
Cost and memory grow with the entries, not with the tensor's size. Centre the values first.

Source: S. Oh, N. Park, L. Sael, U. Kang, *Scalable Tucker Factorization for Sparse Tensors*, ICDE 2018 (rows; there the
core is updated at the end).

When not to use it: for dense tensors, or half-full ones of moderate size (`cp_als`, `tucker_als` with `mask`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.base import check_indices
from polyad.tensors.formats.cp import CP
from polyad.tensors.formats.row_products import CPRows, RowProducts, TuckerRows
from polyad.tensors.formats.tucker import Tucker


@final
@dataclass(frozen=True, eq=False)
class EntryFit:
    """A decomposition fitted to entries.

    Args:
        value: Tucker or CP tensor.
        error: root mean square of the residuals at the entries.
        history: the objective after every sweep.
        stopped_by: "tolerance", "sweeps" or "seconds".
        seconds: wall time.
    """

    value: Tucker | CP
    error: float
    history: tuple[float, ...]
    stopped_by: str
    seconds: float


def tucker_from_entries(
    indices: Int[Tensor, "N K"],
    values: Float[Tensor, " N"],
    shape: Sequence[int],
    ranks: Sequence[int],
    *,
    ridge: float = 0.1,
    sweeps: int = 100,
    tolerance: float = 1e-5,
    seconds: float | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> EntryFit:
    """Tucker decomposition with these ranks of the entries `values` at `indices` of a tensor of this shape.

    Args:
        indices: a row an entry; an index tuple may come more than once.
        values: finite.
        shape: sizes of the modes.
        ranks: one a mode.
        ridge: weight of the squared factors and core, > 0.
        sweeps: largest number of sweeps.
        tolerance: stop when a sweep lowers the objective by less than this share.
        seconds: stop after this wall time.
        seed: of the random start.
        progress: called with sweeps done and the most there can be.

    Raises:
        InputError: indices out of range, values that are not finite, lengths that differ, ranks below 1, no ridge.
    """
    ranks = tuple(ranks)
    if len(ranks) != len(shape):
        raise InputError(f"ranks: {len(ranks)} were given for {len(shape)} modes")
    fit = _Fit(TuckerRows(), indices, values, shape, ranks, ranks, ridge, seed)
    history, reason, elapsed = fit.run(sweeps, tolerance, seconds, progress, core=True)
    return EntryFit(Tucker(fit.core, tuple(fit.factors)), fit.error(), history, reason, elapsed)


def cp_from_entries(
    indices: Int[Tensor, "N K"],
    values: Float[Tensor, " N"],
    shape: Sequence[int],
    rank: int,
    *,
    ridge: float = 0.1,
    sweeps: int = 100,
    tolerance: float = 1e-5,
    seconds: float | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> EntryFit:
    """CP decomposition of this rank; arguments as in `tucker_from_entries`. The ridge is on the factors alone."""
    fit = _Fit(CPRows(), indices, values, shape, (rank,) * len(shape), (rank,), ridge, seed)
    fit.core = torch.ones_like(fit.core)
    history, reason, elapsed = fit.run(sweeps, tolerance, seconds, progress, core=False)
    return EntryFit(CP(fit.core, tuple(fit.factors)), fit.error(), history, reason, elapsed)


class _Fit:
    def __init__(
        self,
        products: RowProducts,
        indices: Tensor,
        values: Tensor,
        shape: Sequence[int],
        ranks: Sequence[int],
        core_shape: Sequence[int],
        ridge: float,
        seed: int,
    ) -> None:
        _check(indices, values, shape, ranks, ridge)
        self.products, self.values, self.ranks, self.ridge = products, values.detach(), ranks, ridge
        self.places = [indices[:, mode] for mode in range(len(shape))]
        generator = torch.Generator().manual_seed(seed)

        def noise(*sizes: int) -> Tensor:
            return torch.randn(*sizes, dtype=values.dtype, generator=generator).to(values.device)

        self.factors = [noise(size, rank) for size, rank in zip(shape, ranks, strict=True)]
        self.core = noise(*core_shape)
        size = max(prod(ranks) if len(core_shape) > 1 else ranks[0], max(ranks) ** 2)
        self.chunks = torch.arange(len(values), device=values.device).split(max(1, 4_000_000 // size))

    def run(
        self,
        sweeps: int,
        tolerance: float,
        seconds: float | None,
        progress: Callable[[int, int], None] | None,
        *,
        core: bool,
    ) -> tuple[tuple[float, ...], str, float]:
        begun, history, reason = time.perf_counter(), list[float](), "sweeps"
        for sweep in range(sweeps):
            for mode in range(len(self.factors)):
                self._update_factor(mode)
            if core:
                self._update_core()
            penalty = sum(float(factor.square().sum()) for factor in self.factors)
            penalty += float(self.core.square().sum()) if core else 0.0
            history.append(len(self.values) * self.error() ** 2 + self.ridge * penalty)
            if progress is not None:
                progress(sweep + 1, sweeps)
            if len(history) > 1 and history[-2] - history[-1] < tolerance * history[-2]:
                reason = "tolerance"
                break
            if seconds is not None and time.perf_counter() - begun > seconds:
                reason = "seconds"
                break
        return tuple(history), reason, time.perf_counter() - begun

    def error(self) -> float:
        square = 0.0
        for chunk in self.chunks:
            square += float((self.values[chunk] - self.products.contract(self.core, self._rows(chunk))).square().sum())
        return (square / len(self.values)) ** 0.5

    def _rows(self, chunk: Tensor) -> list[Tensor]:
        return [factor[place[chunk]] for factor, place in zip(self.factors, self.places, strict=True)]

    def _update_factor(self, mode: int) -> None:
        size, rank = self.factors[mode].shape
        gram, linear = self.core.new_zeros(size, rank, rank), self.core.new_zeros(size, rank)
        for chunk in self.chunks:
            maps, place = self.products.contract(self.core, self._rows(chunk), skip=mode), self.places[mode][chunk]
            gram.index_add_(0, place, maps[:, :, None] * maps[:, None, :])
            linear.index_add_(0, place, maps * self.values[chunk, None])
        self.factors[mode] = _ridge_solve(gram, linear, self.ridge)

    def _update_core(self) -> None:
        size = self.core.numel()
        gram, linear = self.core.new_zeros(size, size), self.core.new_zeros(size)
        for chunk in self.chunks:
            maps = self._rows(chunk)[0]
            for rows in self._rows(chunk)[1:]:
                maps = (maps[:, :, None] * rows[:, None, :]).flatten(1)
            gram, linear = gram + maps.mT @ maps, linear + maps.mT @ self.values[chunk]
        self.core = _ridge_solve(gram, linear, self.ridge).reshape(self.core.shape)


def _ridge_solve(gram: Tensor, linear: Tensor, ridge: float) -> Tensor:
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    root = torch.linalg.cholesky(gram + ridge * identity)
    return torch.cholesky_solve(linear[..., None], root)[..., 0]


def _check(indices: Tensor, values: Tensor, shape: Sequence[int], ranks: Sequence[int], ridge: float) -> None:
    check_indices(indices, tuple(shape))
    if values.shape != indices.shape[:1] or len(values) == 0 or not bool(torch.isfinite(values).all()):
        raise InputError(
            f"values: {tuple(values.shape)} beside indices {tuple(indices.shape)}; one finite value a row is needed"
        )
    if min(ranks) < 1:
        raise InputError(f"ranks: {tuple(ranks)} were given; each must be at least 1")
    if not ridge > 0:
        raise InputError(f"ridge: {ridge} was given; it must be positive, since rows with few entries need it")
