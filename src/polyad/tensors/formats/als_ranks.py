"""The smallest CP rank that keeps a tolerance: doubling finds one that suffices, bisection the smallest.

When not to use it: where the rank is known; `cp_als` tries more starts and tells more.
"""

from __future__ import annotations

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.als import CPFit, cp_als


def cp_within(
    tensor: Num[Tensor, "..."], tolerance: float, *, max_rank: int, starts: int = 2, sweeps: int = 100, seed: int = 0
) -> CPFit | None:
    """The fit of smallest rank with |x - value| <= tolerance |x| that is found; None up to `max_rank`.

    Args:
        tensor: dense, finite, not zero.
        tolerance: allowed relative error.
        max_rank: largest rank that is tried.
        starts: of each fit (see `cp_als`).
        sweeps: of each start.
        seed: of the starts.
    """
    if max_rank < 1:
        raise InputError(f"max_rank: {max_rank} was given; give at least 1")
    size = torch.linalg.vector_norm(tensor.detach())
    best: CPFit | None = None
    low, high, rank = 1, max_rank, 1
    while low <= high:
        fit = cp_als(tensor, rank, starts=starts, sweeps=sweeps, tolerance=1e-2 * tolerance, seed=seed)
        gap = torch.linalg.vector_norm(fit.value.to_dense().sub_(tensor.detach()))
        if bool(gap <= tolerance * size):
            best, high = fit, rank - 1
        else:
            low = rank + 1
        rank = max(low, (low + high) // 2 if best is not None else min(2 * rank, high))
    return best
