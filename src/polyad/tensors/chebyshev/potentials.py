"""Potentials of many charges: the smooth long-range part in low rank, the rest pair by pair.

A Gaussian is a product over the coordinates, so with p(r) = sum_k w_k exp(-t_k^2 r^2) a charge z at a adds the terms

    z w_k exp(-t_k^2 (x_1 - a_1)^2) exp(-t_k^2 (x_2 - a_2)^2) exp(-t_k^2 (x_3 - a_3)^2)

to a canonical sum, whose Tucker ranks depend on the widths and hardly on the number of charges. Chebyshev coefficients
of exp(-t^2 (x - a)^2) on an interval of half-width L are at most 2 exp(t^2 L^2 b^2) rho^-n for every rho > 1 with
b = (rho - 1/rho) / 2 and every real a (Bernstein's bound), so wide Gaussians get few.

Source: P. Benner, B. N. Khoromskij, V. Khoromskaia, B. Sun, arXiv:2503.01696 (2025).

When not to use it: for periodic boxes, which need Ewald sums; for charges so many that near pairs need a cell list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.chebyshev.approximation import ChebyshevApproximation
from polyad.tensors.chebyshev.canonical import CanonicalBlock, from_canonical_blocks
from polyad.tensors.chebyshev.chebyshev_tucker import Box, check_box
from polyad.tensors.chebyshev.newton_kernel import GaussianSum

TERMS_AT_ONCE = 1024
PAIRS_AT_ONCE = 2**18


def long_range_potential(
    charges: Float[Tensor, " charges"],
    positions: Float[Tensor, "charges space"],
    *,
    box: Box,
    kernel: GaussianSum,
    counts: int | Sequence[int] | None = None,
    tolerance: float = 1e-6,
    progress: Callable[[int, int], None] | None = None,
) -> ChebyshevApproximation:
    """sum_q z_q p(|x - x_q|) on the box, for a sum of Gaussians p that is smooth there (the long part of a split).

    Args:
        charges: z_q of either sign.
        positions: x_q, inside or outside the box; gradients flow to both.
        box: (lower, upper) of every coordinate.
        kernel: p; the narrowest Gaussian decides how many coefficients are needed.
        counts: coefficients a variable; by default doubled until they suffice.
        tolerance: allowed relative Frobenius error of the coefficients.
        progress: called with the groups of Gaussians done and to be done.
    """
    _check_particles(charges, positions, len(box))
    group = max(1, TERMS_AT_ONCE // len(charges))
    blocks = []
    eps = torch.finfo(charges.dtype).eps
    widths = [upper - lower for lower, upper in check_box(box, len(box))]
    for weights, rates in zip(kernel.weights.split(group), kernel.rates.split(group), strict=True):
        amplitudes = (weights.to(charges)[:, None] * charges).flatten()
        profiles = [partial(_gaussians, rates.to(charges), positions[:, k]) for k in range(len(box))]
        enough = {width: gaussian_count(float(rates[-1]) * width / 2, accuracy=eps) for width in set(widths)}
        blocks.append(CanonicalBlock(amplitudes, profiles, [enough[width] for width in widths]))
    return from_canonical_blocks(blocks, box, counts=counts, tolerance=tolerance, progress=progress)


def direct_potential(
    charges: Float[Tensor, " charges"],
    positions: Float[Tensor, "charges space"],
    points: Float[Tensor, "points space"],
    *,
    kernel: GaussianSum | None = None,
    tolerance: float = 0.0,
) -> Float[Tensor, " points"]:
    """sum_q z_q p(|x - x_q|) by summation over pairs; with a tolerance only over those that matter.

    Args:
        charges: z_q.
        positions: x_q.
        points: x.
        kernel: p; 1/r where None. The short part of a split is local: give a tolerance.
        tolerance: pairs are left out where p < tolerance (in 1/length).

    Raises:
        InputError: a point that is a charge's place, without a kernel.
    """
    _check_particles(charges, positions, points.shape[-1])
    if not bool(torch.isfinite(points).all()):
        raise InputError("points: they hold NaN or Inf; remove those")
    if kernel is None and tolerance:
        raise InputError(f"tolerance: {tolerance:g} was given without a kernel; 1/r is not local, give its short part")
    reach = kernel.reach(tolerance) if kernel is not None and tolerance > 0 else math.inf
    potentials = []
    for part in points.split(max(1, PAIRS_AT_ONCE // len(charges))):
        with torch.no_grad():
            apart = torch.cdist(part, positions, compute_mode="donot_use_mm_for_euclid_dist")
            here, there = torch.nonzero(apart <= reach, as_tuple=True)
        distances = torch.linalg.vector_norm(part[here] - positions[there], dim=-1)
        if kernel is None and not bool((distances > 0).all()):
            raise InputError("points: one lies on a charge, where 1/r is infinite; move it, or give a kernel")
        values = 1 / distances if kernel is None else kernel.evaluate(distances)
        potentials.append(torch.zeros_like(part[:, 0]).index_add(0, here, charges[there] * values))
    return torch.cat(potentials)


def gaussian_count(width_ratio: float, *, accuracy: float) -> int:
    """Chebyshev coefficients that exp(-b^2 (x - a)^2) on [-1, 1] needs for any real a, by Bernstein's bound.

    Args:
        width_ratio: b, the half-width of the interval times the rate.
        accuracy: allowed size of every coefficient left out.
    """
    exponents = torch.logspace(-3, 1.5, 2000, dtype=torch.float64)  # log rho
    raised = (width_ratio * torch.sinh(exponents)).square() + math.log(2 / accuracy)
    return 1 + math.ceil(float((raised / exponents).min()))


def _gaussians(rates: Tensor, centres: Tensor, points: Tensor) -> Tensor:
    """exp(-t^2 (x - a)^2): (points, rates * centres)."""
    squares = (points[:, None] - centres).square()
    return torch.exp(-rates.square()[:, None] * squares[:, None, :]).flatten(1)


def _check_particles(charges: Tensor, positions: Tensor, space: int) -> None:
    if charges.ndim != 1 or positions.shape != (len(charges), space) or len(charges) == 0:
        raise InputError(
            f"positions: {tuple(positions.shape)} beside charges {tuple(charges.shape)} in {space} dimensions; "
            f"(charges,) and (charges, {space}) are needed"
        )
    if not bool(torch.isfinite(charges).all() and torch.isfinite(positions).all()):
        raise InputError("charges, positions: they hold NaN or Inf; remove those particles")
