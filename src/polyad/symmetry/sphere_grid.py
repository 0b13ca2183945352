"""Functions on the sphere as values on a grid, and back: an exact quadrature and the two matrices it makes.

The grid has Gauss-Legendre points in z = cos(theta), T of them, times P equal steps in the azimuth phi. With weights
w_t 2 pi / P it integrates every polynomial of degree d <= 2 T - 1, d < P exactly, so

    f(x_g) = sum over lm of c_lm Y_lm(x_g),    c_lm = sum over g of w_g Y_lm(x_g) f(x_g)

are inverse to one another as soon as d >= 2 lmax, and the second is the exact projection of a product of functions of
degrees l1, l2, ... if d >= l1 + l2 + ... + lmax. Of functions that are no polynomials (an activation was applied) the
projection is approximate, better with every degree d.

Source: any text on quadrature on the sphere, e.g. K. Atkinson and W. Han, Spherical Harmonics and Approximations on
the Unit Sphere, Springer (2012), section 5.1.

Up to degree DENSE_DEGREE each direction is one dense matrix product, O(L^4) a function; above, a matrix over l for
every order m and then one over m and phi, O(L^3).

When not to use it: for degrees in the hundreds, where the sum over m and phi should be an FFT.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry._constants import constant_tables
from polyad.symmetry.orders import by_order, from_order
from polyad.symmetry.spherical_harmonics import degree_of, spherical_harmonics

DENSE_DEGREE = 9
"""The largest lmax for which one dense matrix is taken (measured on a processor)."""


@final
@dataclass(frozen=True)
class SphereGrid:
    """The grid whose quadrature is exact to total degree `degree`; points run over z first, then over the azimuth."""

    degree: int

    def __post_init__(self) -> None:
        if self.degree < 0:
            raise InputError(f"degree: {self.degree} was given; give an integer >= 0")

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of heights z and of azimuths."""
        return self.degree // 2 + 1, self.degree + 1

    @property
    def points(self) -> int:
        """Number of points."""
        return math.prod(self.shape)

    def directions(self, like: Tensor) -> Float[Tensor, "points 3"]:
        """Unit vectors of the points, in dtype and device of `like`."""
        return _points(like, self.degree)[0]

    def weights(self, like: Tensor) -> Float[Tensor, "points"]:
        """Quadrature weights, positive, of sum 4 pi, in dtype and device of `like`."""
        return _points(like, self.degree)[1]

    def to_grid(self, coefficients: Float[Tensor, "*batch harmonics"]) -> Float[Tensor, "*batch points"]:
        """Values at the points of functions with coefficients of degrees 0..lmax."""
        lmax = degree_of(coefficients.shape[-1])
        if lmax <= DENSE_DEGREE:
            return coefficients @ _evaluation(coefficients, self.degree, lmax)[0]
        polar, _, azimuth, _ = _separable(coefficients, self.degree, lmax)
        rows = torch.einsum("...pml,mlt->...tpm", by_order(coefficients), polar)
        return (rows.flatten(-2) @ azimuth).flatten(-2)

    def from_grid(self, values: Float[Tensor, "*batch points"], lmax: int) -> Float[Tensor, "*batch harmonics"]:
        """Coefficients of degrees 0..lmax of the functions with these values."""
        if values.shape[-1] != self.points:
            raise InputError(f"values: last axis has {values.shape[-1]} entries, this grid has {self.points} points")
        if self.degree < 2 * lmax:
            raise InputError(
                f"lmax: {lmax} needs a grid of degree {2 * lmax}, this one has {self.degree}; make a larger SphereGrid"
            )
        if lmax <= DENSE_DEGREE:
            return values @ _evaluation(values, self.degree, lmax)[1]
        _, polar, _, azimuth = _separable(values, self.degree, lmax)
        rows = (values.unflatten(-1, self.shape) @ azimuth).unflatten(-1, (2, lmax + 1))
        return from_order(torch.einsum("...tpm,mtl->...pml", rows, polar))

    def integrate(self, values: Float[Tensor, "*batch points"]) -> Float[Tensor, "*batch"]:
        """The integral over the sphere of functions with these values."""
        return values @ self.weights(values)


def _build_points(degree: int) -> tuple[np.ndarray, np.ndarray]:
    heights, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    azimuths = np.arange(degree + 1) * (2 * math.pi / (degree + 1))
    height, azimuth = (grid.ravel() for grid in np.meshgrid(heights, azimuths, indexing="ij"))
    radius = np.sqrt(1 - height**2)
    directions = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), height], axis=-1)
    return directions, np.repeat(weights * (2 * math.pi / (degree + 1)), degree + 1)


@constant_tables
def _points(degree: int) -> tuple[np.ndarray, ...]:
    return _build_points(degree)


@constant_tables
def _evaluation(degree: int, lmax: int) -> tuple[np.ndarray, ...]:
    """Harmonics at the points, (harmonics, points), and its transpose times the weights."""
    directions, weights = _build_points(degree)
    values = spherical_harmonics(torch.from_numpy(directions), lmax).numpy()
    return np.ascontiguousarray(values.T), np.ascontiguousarray(values * weights[:, None])


@constant_tables
def _separable(degree: int, lmax: int) -> tuple[np.ndarray, ...]:
    """Polar parts q_lm at the heights, [m, l, t] and with weights [m, t, l]; cosines and sines [pm, phi], [phi, pm]."""
    heights, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    meridian = np.stack([np.sqrt(1 - heights**2), np.zeros_like(heights), heights], axis=-1)
    polar = by_order(spherical_harmonics(torch.from_numpy(meridian), lmax))[:, 0].numpy()  # [t, m, l]
    phases = np.outer(np.arange(lmax + 1), np.arange(degree + 1) * (2 * math.pi / (degree + 1)))
    azimuth = np.concatenate([np.cos(phases), np.sin(phases)])
    weighted = np.moveaxis(polar * (weights * (2 * math.pi / (degree + 1)))[:, None, None], 0, 1)
    return np.moveaxis(polar, 0, -1).copy(), weighted.copy(), azimuth, azimuth.T.copy()
