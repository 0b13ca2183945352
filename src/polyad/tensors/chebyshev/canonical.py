"""A sum of products of univariate functions in the Chebyshev-Tucker format, without any tensor of coefficients.

    f(x) = sum_q w_q p^1_q(x_1) ... p^d_q(x_d)

The univariate Chebyshev coefficients of every profile p^k_q are the columns of a canonical tensor of coefficients;
reduced HOSVD brings it to a small core (`rhosvd`), which is cut at the tolerance. With R terms and m coefficients a
variable the cost is O(d m^2 R) for coefficients and factors and r^d R for the core, m^d never appears.

When not to use it: for profiles with kinks or narrow peaks, whose series are long; keep these terms apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

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
from polyad.tensors.chebyshev.rhosvd import canonical_to_tucker, split_terms
from polyad.tensors.chebyshev.splines import spline_matrix
from polyad.tensors.chebyshev.transforms import Interval, chebyshev_coefficients, chebyshev_points
from polyad.tensors.formats import CP
from polyad.tensors.formats.base import check_tolerance

Progress = Callable[[int, int], None]
Profile = Callable[[Tensor], Tensor]

TERMS_AT_ONCE = 2048


@final
@dataclass(frozen=True, eq=False)
class CanonicalBlock:
    """Some terms of a canonical sum.

    Args:
        weights: (terms,).
        profiles: for every variable, from points (points,) to the terms' values (points, terms).
        enough: for every variable, a count beyond which all coefficients are known to be below rounding; no more are
            computed, whatever count is asked for.
    """

    weights: Tensor
    profiles: Sequence[Profile]
    enough: Sequence[int] | None = None


def from_canonical(
    weights: Inexact[Tensor, " terms"],
    profiles: Sequence[Profile | Inexact[Tensor, "_ terms"]],
    box: Box,
    *,
    grids: Sequence[Float[Tensor, " _"] | None] | None = None,
    counts: int | Sequence[int] | None = None,
    tolerance: float = 1e-6,
    max_count: int = 513,
    progress: Progress | None = None,
) -> ChebyshevApproximation:
    """The sum over q of weights_q times the product over the variables of profile_q(x), on the box.

    Args:
        weights: of the terms, of either sign.
        profiles: for every variable all terms at once, as a function from (points,) to (points, terms), or as values
            on a grid (points, terms), which quintic splines interpolate.
        box: (lower, upper) of every variable.
        grids: the coordinates of profiles that are values, None for functions.
        counts: coefficients a variable, one for all or one each; by default doubled until they suffice.
        tolerance: allowed relative Frobenius error of the coefficients, for truncation and for found counts.
        max_count: largest count that is tried.
        progress: called with the blocks of terms done and to be done.

    Neighbouring terms should be alike (sorted by width, say): they share a block and its ranks. A gradient flows to
    weights and profiles.
    """
    box = check_box(box, len(box))
    given = [None] * len(box) if grids is None else list(grids)
    if len(profiles) != len(box) or len(given) != len(box):
        raise InputError(f"profiles: {len(profiles)} and {len(given)} grids for {len(box)} variables; give one each")
    functions = [_as_function(p, g, mode) for mode, (p, g) in enumerate(zip(profiles, given, strict=True))]
    return from_canonical_blocks(
        [CanonicalBlock(weights, functions)],
        box,
        counts=counts,
        tolerance=tolerance,
        max_count=max_count,
        progress=progress,
    )


def from_canonical_blocks(
    blocks: Sequence[CanonicalBlock],
    box: Box,
    *,
    counts: int | Sequence[int] | None = None,
    tolerance: float = 1e-6,
    max_count: int = 513,
    progress: Progress | None = None,
) -> ChebyshevApproximation:
    """`from_canonical` for many terms in blocks, evaluated one after the other to save memory."""
    box, order = check_box(box, len(box)), len(box)
    if not blocks:
        raise InputError("blocks: none were given; give at least one CanonicalBlock")
    real = blocks[0].weights.real.dtype
    check_tolerance(tolerance, None, real)
    current, found, evaluations = first_counts(counts, order, "nodes"), counts is None, 0
    while True:
        if found and max(current) > max_count:
            raise InputError(
                f"counts: {max_count} coefficients a variable do not resolve the profiles to {tolerance:g}; raise "
                "max_count or the tolerance, or leave the narrow terms out"
            )
        exact = canonical_to_tucker(_parts(blocks, box, current, progress), shape=current)
        evaluations += sum(sum(_needed(block, current)) * len(block.weights) for block in blocks)
        tails = tails_of_tucker(exact)
        rough = [found and tail > resolution(tolerance, real) for tail in tails]
        if not any(rough):
            cut = truncated(exact, tolerance)
            return ChebyshevApproximation(ChebyshevTucker(cut.value, box), cut.error, tails, evaluations)
        current = [2 * count - 1 if grow else count for count, grow in zip(current, rough, strict=True)]


def _parts(
    blocks: Sequence[CanonicalBlock], box: Sequence[Interval], counts: Sequence[int], progress: Progress | None
) -> Iterator[CP]:
    for done, block in enumerate(blocks, start=1):
        yield from split_terms(_series(block, box, counts), TERMS_AT_ONCE)
        if progress is not None:
            progress(done, len(blocks))


def _needed(block: CanonicalBlock, counts: Sequence[int]) -> list[int]:
    return [min(pair) for pair in zip(counts, block.enough or counts, strict=True)]


def _series(block: CanonicalBlock, box: Sequence[Interval], counts: Sequence[int]) -> CP:
    weights, factors = block.weights, []
    for mode, (profile, ends, count) in enumerate(zip(block.profiles, box, _needed(block, counts), strict=True)):
        points = chebyshev_points(count, interval=ends, dtype=weights.real.dtype, device=weights.device)
        values = profile(points)
        if not isinstance(values, Tensor) or values.shape != (count, len(weights)):
            given = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise InputError(
                f"profiles: that of variable {mode} gave {given} for {count} points; "
                f"(points, terms) = ({count}, {len(weights)}) is needed"
            )
        factors.append(chebyshev_coefficients(values.to(weights.dtype), dim=0))
    return CP(weights, tuple(factors))


def _as_function(profile: Profile | Tensor, grid: Tensor | None, mode: int) -> Profile:
    if isinstance(profile, Tensor):
        if grid is None or grid.shape != profile.shape[:1]:
            raise InputError(
                f"grids: profile {mode} is {tuple(profile.shape)} values; give the coordinates of its rows beside it"
            )
        values, coordinates = profile, grid
        return lambda points: spline_matrix(coordinates, points).to(values.dtype) @ values
    if grid is not None:
        raise InputError(f"grids: profile {mode} is a function; a grid goes with values only, give None")
    return profile
