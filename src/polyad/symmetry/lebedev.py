"""Functions on the sphere as values on Lebedev's points: the fewest evaluations for exact products of low degree.

The points are invariant under the octahedral group, 146 of them integrate every polynomial of degree 19 exactly; the
product grid (`polyad.symmetry.sphere_grid`) needs 190 already for degree 18. Both directions are one dense matrix
product. Rules whose weights are all positive are used: degrees 3 to 11, 15 to 23, 29 and 31 and some beyond.

Source: V. I. Lebedev and D. N. Laikov, A quadrature formula for the sphere of the 131st algebraic order of accuracy,
Doklady Mathematics 59 (1999) 477, as tabulated by `scipy.integrate.lebedev_rule`.

*When not to use it*: beyond degree `LARGEST`, or where the factors of a product grid pay (degrees above 9).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry._constants import constant_tables
from polyad.symmetry.spherical_harmonics import degree_of, spherical_harmonics

_ORDERS = (3, 5, 7, 9, 11, 15, 17, 19, 21, 23, 29, 31)

LARGEST = _ORDERS[-1]
"""The largest total degree that there is a rule for here."""


@final
@dataclass(frozen=True)
class LebedevGrid:
    """The smallest rule that is exact to total degree `degree`, which may be 0 to `LARGEST`."""

    degree: int

    def __post_init__(self) -> None:
        if not 0 <= self.degree <= LARGEST:
            raise InputError(f"degree: {self.degree} was given; give 0 to {LARGEST}, or take a SphereGrid")

    @property
    def order(self) -> int:
        """The rule's own degree, at least `degree`."""
        return next(order for order in _ORDERS if order >= self.degree)

    @property
    def points(self) -> int:
        """Number of points."""
        return len(_rule(self.order)[1])

    def to_grid(self, coefficients: Float[Tensor, "*batch harmonics"]) -> Float[Tensor, "*batch points"]:
        """Values at the points of functions with coefficients of degrees 0..lmax."""
        return coefficients @ _matrices(coefficients, self.order, degree_of(coefficients.shape[-1]))[0]

    def from_grid(self, values: Float[Tensor, "*batch points"], lmax: int) -> Float[Tensor, "*batch harmonics"]:
        """Coefficients of degrees 0..lmax of the functions with these values; exact to total degree `order`."""
        return values @ _matrices(values, self.order, lmax)[1]


@lru_cache(maxsize=32)
def _rule(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions (points, 3) and weights, of sum 4 pi."""
    from scipy.integrate import lebedev_rule

    directions, weights = lebedev_rule(order)
    return np.ascontiguousarray(directions.T), weights


@constant_tables
def _matrices(order: int, lmax: int) -> tuple[np.ndarray, ...]:
    """Harmonics at the points, (harmonics, points), and its transpose times the weights."""
    directions, weights = _rule(order)
    values = spherical_harmonics(torch.from_numpy(directions), lmax).numpy()
    return np.ascontiguousarray(values.T), np.ascontiguousarray(values * weights[:, None])
