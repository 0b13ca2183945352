"""Tucker on the channels, stable CP inside: the decomposition of a convolution's kernel in two stages.

A kernel K (out, in, positions..) is projected onto dominant subspaces of both channel modes, K ~ U G V^T with
orthonormal U, V (Tucker-2), and the small core G is decomposed by CP with error-preserving correction. As the
projection is orthogonal the errors add by Pythagoras:

    |K - U x V^T|^2 = |K - U G V^T|^2 + |G - x|^2

so that a bound on the whole leaves a bound for the core. Source: A.-H. Phan et al. 2020 (TKD-CPD-EPC).

When not to use it: for few channels, where the two outer layers cost more than they save.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import CP, Tucker, cp_als, dominant_basis, hooi
from polyad.tensors.formats.base import check_dense
from polyad.tensors.formats.tucker import multiply_modes, unfold
from polyad.tensors.stable_cp.correction import Progress, StableCP, cp_epc


@final
@dataclass(frozen=True, eq=False)
class TuckerCP:
    """K ~ core multiplied by one orthonormal matrix on each channel mode.

    Attributes:
        outputs: (out, r_out), orthonormal columns.
        inputs: (in, r_in), orthonormal columns.
        core: CP tensor (r_out, r_in, positions..).
        error: relative error of the whole.
        projection_error: relative error of the Tucker stage alone.
        fit: the correction of the core.
    """

    outputs: Num[Tensor, "out r_out"]
    inputs: Num[Tensor, "in r_in"]
    core: CP
    error: float
    projection_error: float
    fit: StableCP

    def as_cp(self) -> CP:
        """The same tensor in CP form."""
        first, second, *rest = self.core.factors
        return CP(self.core.weights, (self.outputs @ first, self.inputs @ second, *rest))

    def to_dense(self) -> Num[Tensor, "..."]:
        """All entries."""
        return self.as_cp().to_dense()


def tkd_cpd_epc(
    kernel: Num[Tensor, "..."],
    rank: int,
    *,
    ranks: Sequence[int] | None = None,
    error: float | None = None,
    slack: float = 0.0,
    starts: int = 4,
    sweeps: int = 500,
    tolerance: float = 1e-8,
    seconds: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> TuckerCP:
    """Tucker-2 of the first two modes, then CP of the core with error-preserving correction; without a gradient.

    Args:
        kernel: (out, in, positions..), at least three modes.
        rank: number of terms of the core's CP.
        ranks: (r_out, r_in). By default the smallest that spend at most half of the squared `error`.
        error: allowed relative error of the whole; by default what least squares on the core reaches.
        slack: with no `error`, the core may have that of least squares times (1 + slack).
        starts, sweeps, seconds, seed: of the core's least squares; `sweeps` of its correction too.
        tolerance: of the correction.
        progress: of the correction.
    """
    check_dense(kernel)
    if kernel.ndim < 3:
        raise InputError(f"kernel: it has {kernel.ndim} modes; (out, in, positions..) needs at least three")
    if ranks is None and error is None:
        raise InputError("ranks, error: neither was given; give the channel ranks, or an error to choose them by")
    if error is not None and not 0 < error < 1:
        raise InputError(f"error: {error} was given; a relative error between 0 and 1 is needed")
    with torch.no_grad():
        if ranks is None:
            assert error is not None
            ranks = channel_ranks(kernel, error / math.sqrt(2))
        projected = tucker2(kernel, ranks)
        core = projected.core
        size = float(torch.linalg.vector_norm(kernel))
        lost = float(torch.linalg.vector_norm(kernel - projected.to_dense()))
        fit = cp_als(core, rank, starts=starts, sweeps=sweeps, seconds=seconds, seed=seed)
        bound = fit.error * (1 + slack)
        if error is not None:
            room = math.sqrt(max((error * size) ** 2 - lost**2, 0.0))
            bound = max(room / float(torch.linalg.vector_norm(core)), fit.error)
        corrected = cp_epc(
            core, fit.value, error=bound, sweeps=sweeps, tolerance=tolerance, seconds=seconds, progress=progress
        )
        outputs, inputs = projected.factors[:2]
        whole = TuckerCP(outputs, inputs, corrected.value, 0.0, lost / size, corrected)
        reached = float(torch.linalg.vector_norm(kernel - whole.to_dense())) / size
    return TuckerCP(outputs, inputs, corrected.value, reached, lost / size, corrected)


def tucker2(kernel: Num[Tensor, "..."], ranks: Sequence[int]) -> Tucker:
    """The best Tucker approximation that alternating finds with low rank in the first two modes only.

    Args:
        kernel: (out, in, positions..).
        ranks: (r_out, r_in).

    The other modes keep identity matrices as factors.
    """
    if len(ranks) != 2 or not all(1 <= r <= n for r, n in zip(ranks, kernel.shape, strict=False)):
        raise InputError(f"ranks: {tuple(ranks)} was given; need two, from 1 to the channels {tuple(kernel.shape[:2])}")
    found = hooi(kernel, ranks=(*ranks, *kernel.shape[2:])).value
    order = kernel.ndim
    core = multiply_modes(found.core, {mode: found.factors[mode] for mode in range(2, order)}, order)
    rest = (torch.eye(size, dtype=core.dtype, device=core.device) for size in kernel.shape[2:])
    return Tucker(core, (found.factors[0], found.factors[1], *rest))


def channel_ranks(kernel: Num[Tensor, "..."], error: float) -> tuple[int, int]:
    """Smallest ranks of the two channel modes whose truncation costs at most this relative error together."""
    budget = torch.linalg.vector_norm(kernel).square() * error**2 / 2
    first, second = (
        dominant_basis(unfold(kernel, mode, kernel.ndim), budget=budget, cap=kernel.shape[mode])[0].shape[1]
        for mode in range(2)
    )
    return first, second
