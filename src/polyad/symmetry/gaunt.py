"""Gaunt products: features as functions on the sphere, multiplied point by point, in O(L^3) instead of O(L^6).

The coefficients x1, x2 of two functions in real spherical harmonics give the coefficients of their product through
the Gaunt integrals G, which are Clebsch-Gordan coefficients times a factor of (l1, l2, l3) alone:

    y[c] = sum over a, b of G[a, b, c] x1[a] x2[b],   G[a, b, c] = integral of Y_a Y_b Y_c

so multiplying the functions is an equivariant product of the features. Three uses: features with one another
(`gaunt_product`), with harmonics of a direction (`gaunt_convolution`; turned to the pole the filter depends on theta
alone, so every order m is a product of functions of one angle), and products of many (`gaunt_product` of nu factors).
Learned weights factor by degree: w1[l1] w2[l2] w3[l3] (`GauntTensorProduct`).

Two exact backends. 'grid': values at the points of a quadrature that is exact to the total degree, times one another,
projected back; all of it real matrix products, one dense matrix on Lebedev's points for small degrees and one matrix an
order m on a product grid for large ones (O(L^3)). 'fft', the paper's: trigonometric polynomials in both angles,
multiplied where both run in equal steps, by FFTs. 'auto' takes the grid: on processors it was faster at every size
measured (L = 2 to 24), for matrix products run near the machine's peak and small FFTs are bound by copies.

Paper: S. Luo, T. Chen and A. Krishnapriyan, "Enabling efficient equivariant operations in the Fourier basis via Gaunt
tensor products", ICLR 2024, arXiv:2401.10216.

*Deviations*: the grid backend is an addition. Many-body products evaluate all factors at once at the length of the
full product instead of dividing and conquering: the same function, and in both backends fewer transforms.

*When not to use it*: where paths of odd l1 + l2 + l3 are needed. They do not exist in this product: the cross product
of two vectors is one, and so is everything that would change parity; (1, 1) -> 1 is identically zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Literal, final, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry._constants import constant_tables
from polyad.symmetry._parameters import normal_parameter
from polyad.symmetry.lebedev import LARGEST, LebedevGrid
from polyad.symmetry.orders import by_order, from_order
from polyad.symmetry.so2 import edge_rotation
from polyad.symmetry.sphere_fourier import (
    cut_polar,
    from_fourier,
    from_torus,
    pad_polar,
    to_fourier,
    to_torus,
    torus_shape,
)
from polyad.symmetry.sphere_grid import DENSE_DEGREE, SphereGrid
from polyad.symmetry.spherical_harmonics import degree_of, spherical_harmonics
from polyad.symmetry.wigner import rotate_by_blocks, wigner_d

Backend = Literal["auto", "grid", "fft"]
"""How functions are multiplied; see the module's docstring."""


def gaunt_product(factors: Sequence[Tensor], lmax: int, *, backend: Backend = "auto") -> Float[Tensor, "... harmonics"]:
    """Coefficients, degrees 0..lmax, of the point-wise product of two or more functions.

    Each factor is (..., (L + 1)^2) with its own L; leading dimensions broadcast. `lmax` may be anything up to the sum
    of all L (beyond it coefficients are zero).
    """
    if len(factors) < 2 or lmax < 0:
        raise InputError(f"{len(factors)} factors and lmax {lmax} were given; give two or more, and lmax >= 0")
    total = sum(degree_of(factor.shape[-1]) for factor in factors)
    if _is_grid(backend):
        grid = product_grid([degree_of(factor.shape[-1]) for factor in factors], lmax)
        return grid.from_grid(reduce(torch.mul, (grid.to_grid(factor) for factor in factors)), lmax)
    shape = torus_shape(total, lmax)
    values = reduce(torch.mul, (to_torus(to_fourier(factor), shape) for factor in factors))
    return from_fourier(from_torus(values, total), lmax)


def product_grid(degrees: Sequence[int], lmax: int) -> SphereGrid | LebedevGrid:
    """The cheapest grid that projects products of functions of these degrees exactly onto degrees 0..lmax."""
    degree = max(sum(degrees), lmax) + lmax
    if max(*degrees, lmax) <= DENSE_DEGREE and degree <= LARGEST:
        return LebedevGrid(degree)
    return SphereGrid(degree)


def gaunt_convolution(
    coefficients: Float[Tensor, "edges *channels harmonics"],
    directions: Float[Tensor, "edges 3"],
    weights: Float[Tensor, "edges *channels degrees"],
    lmax: int,
    *,
    backend: Backend = "auto",
) -> Float[Tensor, "edges *channels out"]:
    """`gaunt_product` of every edge's feature with the filter sum_l weights[l] sum_m Y_lm(direction) Y_lm.

    The filter's degrees are 0..weights.shape[-1] - 1, channels are those of the features or 1, directions need no unit
    length (a zero one raises InputError). It is done in the frame whose pole is the direction.
    """
    first, filter_degree = degree_of(coefficients.shape[-1]), weights.shape[-1] - 1
    total = first + filter_degree
    rotation = edge_rotation(directions)
    blocks = wigner_d(rotation, max(first, lmax), check=False)
    parts = by_order(rotate_by_blocks(coefficients, blocks))
    if _is_grid(backend):
        evaluate, project, zonal = _meridian_tables(coefficients, first, filter_degree, lmax)
        values = torch.einsum("...pml,mlt->...pmt", parts, evaluate) * (weights @ zonal)[..., None, None, :]
        product = torch.einsum("...pmt,mtl->...pml", values, project[: first + 1])
        turned = from_order(_fit_orders(product, lmax))
    else:
        spectrum = to_fourier(from_order(parts))
        count = torus_shape(total, lmax)[1]
        (zonal,) = _circle_table(coefficients, filter_degree, count)
        circle = torch.fft.ifft(pad_polar(spectrum, count), norm="forward") * (weights @ zonal).unsqueeze(-2)
        turned = from_fourier(cut_polar(torch.fft.fft(circle, norm="forward"), total), lmax)
    return rotate_by_blocks(turned, blocks, inverse=True)


@final
class GauntTensorProduct(nn.Module):
    """y = w3[l3] * product of (w1[l1] * x1) and (w2[l2] * x2), weights by channel and degree; channels first.

    Inputs are (..., channels, (lmax1 + 1)^2) and (..., channels, (lmax2 + 1)^2), the output has degrees 0..lmax_out.
    """

    def __init__(
        self,
        lmax1: int,
        lmax2: int,
        lmax_out: int,
        *,
        channels: int,
        generator: torch.Generator,
        backend: Backend = "auto",
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.degrees, self.backend = (lmax1, lmax2, lmax_out), backend
        self.weight1, self.weight2, self.weight_out = (
            normal_parameter(channels, degree + 1, generator=generator, dtype=dtype) for degree in self.degrees
        )

    def forward(
        self, first: Float[Tensor, "*batch channels a"], second: Float[Tensor, "*batch channels b"]
    ) -> Float[Tensor, "*batch channels c"]:
        """The weighted product."""
        if (degree_of(first.shape[-1]), degree_of(second.shape[-1])) != self.degrees[:2]:
            raise InputError(
                f"factors have {first.shape[-1]} and {second.shape[-1]} components, lmax are {self.degrees[:2]}"
            )
        factors = [first * _per_order(self.weight1), second * _per_order(self.weight2)]
        return gaunt_product(factors, self.degrees[2], backend=self.backend) * _per_order(self.weight_out)


def _is_grid(backend: str) -> bool:
    if backend not in get_args(Backend):
        raise InputError(f"backend: {backend!r} was given; give one of {get_args(Backend)}")
    return backend != "fft"


def _per_order(weights: Tensor) -> Tensor:
    (degrees,) = _degree_table(weights, weights.shape[-1] - 1)
    return weights[..., degrees]


def _fit_orders(parts: Tensor, lmax: int) -> Tensor:
    orders = min(parts.shape[-2], lmax + 1)
    return nn.functional.pad(parts[..., :orders, :], (0, 0, 0, lmax + 1 - orders))


@constant_tables
def _degree_table(lmax: int) -> tuple[np.ndarray, ...]:
    return (np.repeat(np.arange(lmax + 1), 2 * np.arange(lmax + 1) + 1),)


@constant_tables
def _meridian_tables(first: int, filter_degree: int, lmax: int) -> tuple[np.ndarray, ...]:
    """q_lm at Gauss points [m, l, t], its projection [m, t, l] to lmax, and the filter's degrees there [l, t]."""
    nodes, weights = np.polynomial.legendre.leggauss((first + filter_degree + lmax) // 2 + 1)
    meridian = np.stack([np.sqrt(1 - nodes**2), np.zeros_like(nodes), nodes], axis=-1)

    def polar(degree: int) -> np.ndarray:
        return by_order(spherical_harmonics(torch.from_numpy(meridian), degree))[:, 0].numpy()  # [t, m, l]

    project = np.zeros((first + 1, len(nodes), lmax + 1))
    orders = min(first, lmax) + 1
    circumference = np.where(np.arange(orders) == 0, 2 * math.pi, math.pi)
    project[:orders] = np.moveaxis(polar(lmax)[:, :orders] * (weights[:, None] * circumference)[..., None], 0, 1)
    pole = np.sqrt((2 * np.arange(filter_degree + 1) + 1) / (4 * math.pi))
    return np.moveaxis(polar(first), 0, -1), project, polar(filter_degree)[:, 0].T * pole[:, None]


@constant_tables
def _circle_table(filter_degree: int, count: int) -> tuple[np.ndarray, ...]:
    """The filter's degrees on `count` equal steps of theta in 0..2 pi, [l, t]."""
    theta = np.arange(count) * (2 * math.pi / count)
    meridian = np.stack([np.sin(theta), np.zeros_like(theta), np.cos(theta)], axis=-1)
    values = by_order(spherical_harmonics(torch.from_numpy(meridian), filter_degree))[:, 0, 0].numpy()
    pole = np.sqrt((2 * np.arange(filter_degree + 1) + 1) / (4 * math.pi))
    return (values.T * pole[:, None],)
