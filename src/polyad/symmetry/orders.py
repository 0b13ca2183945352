"""Coefficients sorted by order: all degrees of one m side by side, as separable transforms on the sphere need them.

Y_lm is a function of the polar angle times cos(m phi) or sin(|m| phi), the same two for all degrees l. As an array
[cosine or sine, m, l] the coefficients meet a matrix over l for every m, and one over m and phi.

When not to use it: for rotations, which keep l and mix m; there coefficients stay sorted by degree.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from polyad.symmetry._constants import constant_tables
from polyad.symmetry.spherical_harmonics import degree_of


def by_order(coefficients: Float[Tensor, "*batch harmonics"]) -> Float[Tensor, "*batch 2 orders degrees"]:
    """Coefficients as an array [cosine or sine, m, l], zero where m > l (and for the sine of m = 0)."""
    lmax = degree_of(coefficients.shape[-1])
    place, mask, _ = _tables(coefficients, lmax)
    return (coefficients.index_select(-1, place) * mask).unflatten(-1, (2, lmax + 1, lmax + 1))


def from_order(parts: Float[Tensor, "*batch 2 orders degrees"]) -> Float[Tensor, "*batch harmonics"]:
    """The inverse of `by_order`."""
    *_, back = _tables(parts, parts.shape[-1] - 1)
    return parts.flatten(-3).index_select(-1, back)


@constant_tables
def _tables(lmax: int) -> tuple[np.ndarray, ...]:
    part, order, degree = np.indices((2, lmax + 1, lmax + 1)).reshape(3, -1)
    mask = (order <= degree) & ((part == 0) | (order > 0))
    place = np.where(mask, degree * degree + degree + np.where(part == 0, order, -order), 0)
    back = np.empty((lmax + 1) ** 2, dtype=np.int64)
    back[place[mask]] = np.flatnonzero(mask)
    return place.astype(np.int64), mask.astype(np.float64), back
