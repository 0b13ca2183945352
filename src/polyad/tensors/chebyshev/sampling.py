"""A function in the Chebyshev-Tucker format from its values on a small Chebyshev grid.

f is sampled on m_1 x .. x m_d Chebyshev points; a cosine transform along every mode turns the samples into the tensor
of coefficients of the interpolant, which is decomposed. Counts that are not given are doubled, variable by variable,
until the coefficients have decayed; random points then confirm that nothing hid between the samples.

When not to use it: for more than four or five variables (the grid is dense; take `tt_cross`), or for functions with
kinks or singular points in the box, whose coefficients decay slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.chebyshev.approximation import (
    ChebyshevApproximation,
    first_counts,
    resolution,
    tails_of_tucker,
    truncated,
)
from polyad.tensors.chebyshev.chebyshev_tucker import Box, ChebyshevTucker, check_box
from polyad.tensors.chebyshev.transforms import Kind, chebyshev_coefficients, chebyshev_points
from polyad.tensors.formats import Tucker
from polyad.tensors.formats.base import check_tolerance

Progress = Callable[[int, int], None]

POINTS_AT_ONCE = 2**18
PROBES = 64


def from_function(
    function: Callable[[Float[Tensor, "points order"]], Inexact[Tensor, " points"]],
    box: Box,
    *,
    counts: int | Sequence[int] | None = None,
    tolerance: float = 1e-8,
    kind: Kind = "extrema",
    max_evaluations: int = 20_000_000,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
) -> ChebyshevApproximation:
    """The function on the box, from its values on one Chebyshev grid (and on coarser ones where counts are found).

    Args:
        function: takes points, one a row, and gives one finite number each. A gradient flows through it
            (first derivatives), as accurate as the value.
        box: (lower, upper) of every variable.
        counts: coefficients a variable, one for all or one each; by default doubled until they suffice.
        tolerance: allowed relative Frobenius error of the coefficients, for truncation and for found counts.
        kind: of the grid.
        max_evaluations: largest grid.
        dtype: of points and result, real; a complex function gives a complex result.
        device: where points are made.
        seed: of the random points that confirm found counts.
        progress: called with the values of the present grid done and to be done.

    Raises:
        InputError: a function that is not finite, or not resolved by the largest grid.
    """
    box = check_box(box, len(box))
    order, found = len(box), counts is None
    current = first_counts(counts, order, kind)
    check_tolerance(tolerance, None, dtype)
    evaluations = 0
    while True:
        if prod(current) > max_evaluations:
            raise InputError(
                f"counts: a grid of {tuple(current)} has more than max_evaluations = {max_evaluations} points; "
                "raise that, or the tolerance, or shrink the box to where the function is smooth"
            )
        axes = [
            chebyshev_points(count, kind=kind, interval=ends, dtype=dtype, device=device)
            for count, ends in zip(current, box, strict=True)
        ]
        coefficients = _sample(function, axes, progress)
        evaluations += prod(current)
        for mode in range(order):
            coefficients = chebyshev_coefficients(coefficients, dim=mode, kind=kind)
        exact = Tucker(coefficients, tuple(_eye(coefficients, count) for count in current))
        tails = tails_of_tucker(exact)
        rough = [found and tail > resolution(tolerance, dtype) for tail in tails]
        if not any(rough):
            cut = truncated(exact, tolerance)
            evaluations += PROBES if found else 0
            result = ChebyshevApproximation(ChebyshevTucker(cut.value, box), cut.error, tails, evaluations)
            if not found or _confirmed(function, result, resolution(tolerance, dtype), seed):
                return result
            rough = [True] * order
        current = [2 * count - 1 if grow else count for count, grow in zip(current, rough, strict=True)]


def _sample(function: Callable[[Tensor], Tensor], axes: Sequence[Tensor], progress: Progress | None) -> Tensor:
    shape, parts, done = [len(axis) for axis in axes], [], 0
    total = prod(shape)
    for place in torch.arange(total, device=axes[0].device).split(POINTS_AT_ONCE):
        index = torch.unravel_index(place, shape)
        points = torch.stack([axis[i] for axis, i in zip(axes, index, strict=True)], dim=-1)
        parts.append(_values(function, points))
        done += len(place)
        if progress is not None:
            progress(done, total)
    return torch.cat(parts).reshape(shape)


def _values(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    values = function(points)
    if not isinstance(values, Tensor) or values.shape != points.shape[:1]:
        given = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"function: it gave {given} for {len(points)} points; one number a point is needed")
    bad = ~torch.isfinite(values.detach())
    if bool(bad.any()):
        where = [round(float(x), 6) for x in points[int(bad.int().argmax())]]
        raise InputError(f"function: it is NaN or infinite at {where}; leave singular points out of the box")
    return values


def _confirmed(
    function: Callable[[Tensor], Tensor], result: ChebyshevApproximation, tolerance: float, seed: int
) -> bool:
    """On random points the error is within what truncation at the tolerance explains (features between the samples)."""
    value = result.value
    with torch.no_grad():
        draw = torch.rand(PROBES, value.order, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        ends = torch.tensor(value.box, dtype=torch.float64)
        points = (ends[:, 0] + (ends[:, 1] - ends[:, 0]) * draw).to(dtype=value.coefficients.core.real.dtype)
        points = points.to(value.device)
        gap = (_values(function, points) - value.evaluate(points)).abs().max()
        scale = torch.linalg.vector_norm(value.coefficients.core) * prod(value.counts) ** 0.5
        return bool(gap <= 2 * tolerance * scale)


def _eye(like: Tensor, count: int) -> Tensor:
    return torch.eye(count, dtype=like.dtype, device=like.device)
