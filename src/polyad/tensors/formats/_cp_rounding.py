"""Fewer terms for a CP tensor, by alternating least squares on its small core.

The factors' QR decompositions reduce the tensor to one of at most R entries a mode; ALS fits fewer terms to that CP
tensor without forming it, and the error is the norm of the difference. For a tolerance the rank grows by bisection;
the tensor itself, stripped of zero terms, is the answer when nothing smaller is found.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats._network_rounding import refuse_gradient
from polyad.tensors.formats.als import run_als
from polyad.tensors.formats.als_targets import CPTarget
from polyad.tensors.formats.base import Truncation, check_tolerance, rank_caps
from polyad.tensors.formats.cp import CP

STARTS = 3
SWEEPS = 300


def truncate_cp(
    value: CP, *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None
) -> Truncation[CP]:
    """CP tensor of fewer terms with its measured error; see the module."""
    check_tolerance(tolerance, ranks, value.dtype)
    refuse_gradient(value.arrays)
    if value.batch_shape:
        raise InputError(f"truncate: a batch {value.batch_shape} of CP tensors was given; truncate them one by one")
    cap = rank_caps(ranks, value.ranks)[0]
    with torch.no_grad():
        size = value.norm()
        same = value.orthogonalise()
        alive = max(1, int((same.weights.abs() > torch.finfo(value.dtype).eps * same.weights.abs().max()).sum()))
        same = _leading(same, alive)
        if not bool(size > 0):
            return Truncation(_leading(same, 1).scale(0.0), torch.zeros_like(size))
        best: tuple[CP, Tensor] | None = (same, torch.zeros_like(size)) if alive <= cap else None
        if tolerance is None:
            best = best or _fit(same, cap)
            return Truncation(*best)
        low, high = 1, min(cap, alive)
        best = best or _fit(same, cap)
        while low < high:
            middle = (low + high) // 2
            found = _fit(same, middle)
            if bool(found[1] <= tolerance * size):
                best, high = found, middle
            else:
                low = middle + 1
    return Truncation(*best)


def _leading(value: CP, rank: int) -> CP:
    return CP(value.weights[:rank], tuple(factor[:, :rank] for factor in value.factors))


def _fit(value: CP, rank: int) -> tuple[CP, Tensor]:
    """Best of a few ALS runs: from the leading terms, and from terms mixed at random."""
    pairs = [torch.linalg.qr(factor) if factor.shape[0] > factor.shape[1] else None for factor in value.factors]
    small = [pair.R if pair is not None else f for pair, f in zip(pairs, value.factors, strict=True)]
    target = CPTarget(CP(value.weights, tuple(small)))
    generator = torch.Generator(device=value.device).manual_seed(0)
    count = value.ranks[0]
    runs = []
    for start in range(STARTS):
        mix = torch.eye(count, rank, dtype=value.dtype, device=value.device)
        if start:
            mix = torch.randn(count, rank, generator=generator, dtype=value.dtype, device=value.device)
        runs.append(run_als(target, [factor @ mix for factor in small], sweeps=SWEEPS, tolerance=1e-10))
    factors = min(runs, key=lambda run: run.history[-1]).factors
    full = [pair.Q @ f if pair is not None else f for pair, f in zip(pairs, factors, strict=True)]
    found = CP(torch.ones_like(full[0][0]), tuple(full)).orthogonalise()
    return found, (value - found).norm()
