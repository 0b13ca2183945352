"""Fewer terms for a CP tensor, by alternating least squares on its small core.

The factors' QR decompositions reduce the tensor to one of at most R entries a mode; ALS fits fewer terms to that CP
tensor without forming it, and the error is the norm of the difference, which the orthonormal columns leave as it is.
Only the triangles are kept: a mode's orthonormal columns are found again when its factor is written. For a tolerance
the rank grows by bisection; the tensor itself, stripped of zero terms, is the answer when nothing smaller is found.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.als import run_als
from polyad.tensors.formats.als_targets import CPTarget
from polyad.tensors.formats.base import SEARCHED, Truncation, check_tolerance, rank_caps, refuse_gradient
from polyad.tensors.formats.cp import CP
from polyad.tensors.formats.subspace import triangular_root

STARTS = 3
SWEEPS = 300


def truncate_cp(
    value: CP, *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None
) -> Truncation[CP]:
    """CP tensor of fewer terms with its measured error; see the module."""
    check_tolerance(tolerance, ranks, value.dtype)
    refuse_gradient(value.arrays, SEARCHED)
    if value.batch_shape:
        raise InputError(f"truncate: a batch {value.batch_shape} of CP tensors was given; truncate them one by one")
    cap = rank_caps(ranks, value.ranks)[0]
    with torch.no_grad():
        small = CP(value.weights, tuple(triangular_root(factor) for factor in value.factors))
        found, error = _truncate_small(small, tolerance, cap)
        pairs = zip(value.factors, found.factors, strict=True)
        return Truncation(CP(found.weights, tuple(_expanded(old, new) for old, new in pairs)), error)


def _truncate_small(small: CP, tolerance: float | None, cap: int) -> tuple[CP, Tensor]:
    size = small.norm()
    same = small.orthogonalise()
    alive = max(1, int((same.weights.abs() > torch.finfo(small.dtype).eps * same.weights.abs().max()).sum()))
    same = _leading(same, alive)
    if not bool(size > 0):
        return _leading(same, 1).scale(0.0), torch.zeros_like(size)
    best: tuple[CP, Tensor] | None = (same, torch.zeros_like(size)) if alive <= cap else None
    best = best or _fit(same, cap)
    if tolerance is None:
        return best
    low, high = 1, min(cap, alive)
    while low < high:
        middle = (low + high) // 2
        found = _fit(same, middle)
        if bool(found[1] <= tolerance * size):
            best, high = found, middle
        else:
            low = middle + 1
    return best


def _expanded(factor: Tensor, small: Tensor) -> Tensor:
    """A factor of the small core in the coordinates of the mode."""
    return torch.linalg.qr(factor).Q @ small if factor.shape[0] > factor.shape[1] else small


def _leading(value: CP, rank: int) -> CP:
    return CP(value.weights[:rank], tuple(factor[:, :rank] for factor in value.factors))


def _fit(value: CP, rank: int) -> tuple[CP, Tensor]:
    """Best of a few ALS runs: from the leading terms, and from terms mixed at random."""
    target = CPTarget(value)
    generator = torch.Generator(device=value.device).manual_seed(0)
    count = value.ranks[0]
    runs = []
    for start in range(STARTS):
        mix = torch.eye(count, rank, dtype=value.dtype, device=value.device)
        if start:
            mix = torch.randn(count, rank, generator=generator, dtype=value.dtype, device=value.device)
        runs.append(run_als(target, [factor @ mix for factor in value.factors], sweeps=SWEEPS, tolerance=1e-10))
    factors = min(runs, key=lambda run: run.history[-1]).factors
    found = CP(torch.ones_like(factors[0][0]), tuple(factors)).orthogonalise()
    return found, (value - found).norm()
