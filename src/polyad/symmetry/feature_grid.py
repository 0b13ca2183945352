"""The sphere grid for features whose channels come last: whole ones on nodes, and those cut to |m| <= mmax on edges.

    f_c(x_g) = sum over k of Y_k(x_g) c_kc,    c_kc = sum over g of w_g Y_k(x_g) f_c(x_g)

for the components k that are there; points and weights are those of `polyad.symmetry.sphere_grid`. Between the two any
function may be applied to every point, across channels too: it commutes with rotations up to the quadrature's error.

When not to use it: for degrees above ten, where `SphereGrid` works order by order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry._constants import constant_tables
from polyad.symmetry.so2 import frame_components
from polyad.symmetry.sphere_grid import SphereGrid
from polyad.symmetry.spherical_harmonics import spherical_harmonics


@final
@dataclass(frozen=True)
class FeatureGrid:
    """A grid for features (rows, components, channels).

    Args:
        lmax: largest degree of the features.
        degree: total degree for which the grid's quadrature is exact, at least 2 lmax.
        mmax: None where components run by degree, l*l + l + m; a number where they are those of `EdgeFrames`, cut to
            |m| <= mmax and grouped by order.
    """

    lmax: int
    degree: int
    mmax: int | None = None

    def __post_init__(self) -> None:
        if self.degree < 2 * self.lmax:
            raise InputError(
                f"degree: {self.degree} was given; degrees up to {self.lmax} need at least {2 * self.lmax}"
            )

    @property
    def components(self) -> int:
        """Number of components of the features."""
        return len(_orders(self.lmax, self.mmax))

    @property
    def points(self) -> int:
        """Number of points."""
        return SphereGrid(self.degree).points

    def to_grid(self, features: Float[Tensor, "rows components channels"]) -> Float[Tensor, "rows points channels"]:
        """Values at the points."""
        if features.shape[1] != self.components:
            raise InputError(f"features: {features.shape[1]} components, this grid is for {self.components}")
        return torch.matmul(_tables(features, self.lmax, self.degree, self.mmax)[0], features)

    def from_grid(self, values: Float[Tensor, "rows points channels"]) -> Float[Tensor, "rows components channels"]:
        """Coefficients of what has these values, as far as the components reach."""
        if values.shape[1] != self.points:
            raise InputError(f"values: {values.shape[1]} points, this grid has {self.points}")
        return torch.matmul(_tables(values, self.lmax, self.degree, self.mmax)[1], values)

    def directions(self, like: Tensor) -> Float[Tensor, "points 3"]:
        """Unit vectors of the points."""
        return SphereGrid(self.degree).directions(like)

    def mean(self, values: Float[Tensor, "rows points channels"]) -> Float[Tensor, "rows channels"]:
        """Means over the sphere."""
        weights = SphereGrid(self.degree).weights(values) / (4 * np.pi)
        return torch.einsum("g,rgc->rc", weights, values)


def _orders(lmax: int, mmax: int | None) -> list[tuple[int, int]]:
    if mmax is None:
        return [(degree, order) for degree in range(lmax + 1) for order in range(-degree, degree + 1)]
    return frame_components(lmax, mmax)


@constant_tables
def _tables(lmax: int, degree: int, mmax: int | None) -> tuple[np.ndarray, ...]:
    """Harmonics at the points, (points, components), and their transpose times the weights."""
    like = torch.zeros((), dtype=torch.float64)
    grid = SphereGrid(degree)
    values = spherical_harmonics(grid.directions(like), lmax).numpy()
    columns = [degree * degree + degree + order for degree, order in _orders(lmax, mmax)]
    values = values[:, columns]
    return np.ascontiguousarray(values), np.ascontiguousarray((values * grid.weights(like).numpy()[:, None]).T)
