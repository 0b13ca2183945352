"""Real spherical harmonics of any degree, as polynomials in x, y, z that can be differentiated everywhere.

The recurrence runs on the solid harmonics R_lm = r^l Y_lm themselves, all orders m of a degree at once. There are no
angles, so nothing is singular at the poles, and the solid form is smooth at r = 0 too:

    R_00 = sqrt(1 / 4 pi)
    R_lm = a_lm (z R_{l-1,m} - b_lm r^2 R_{l-2,m})                          |m| < l
    R_ll   = c_l (x R_{l-1,l-1} - y R_{l-1,-(l-1)})
    R_l,-l = c_l (y R_{l-1,l-1} + x R_{l-1,-(l-1)})
    a_lm = sqrt((4 l^2 - 1) / (l^2 - m^2)),  b_lm = sqrt(((l-1)^2 - m^2) / (4 (l-1)^2 - 1)),  c_l = sqrt((2l+1) / 2l)

with c_1 = sqrt 3 and R_{0,-0} = 0. Orthonormal on the unit sphere, polar axis z, no Condon-Shortley sign, order m of
degree l at index l*l + l + m: Y_1 is (y, z, x) times sqrt(3 / 4 pi).

Normalisations, as the field names them: 'integral' (the integral of Y_lm^2 over the sphere is 1), 'component' (the
mean of Y_lm^2 is 1, sum_m Y_lm^2 = 2l + 1) and 'norm' (sum_m Y_lm^2 = 1).

Source: the recurrences of the associated Legendre functions (NIST DLMF 14.10), multiplied by powers of r.

When not to use it: for complex harmonics, and for degrees in the hundreds, where r^l leaves the range of floats.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry._constants import constant_tables

Normalization = Literal["integral", "component", "norm"]
"""How harmonics are scaled; see the module's docstring."""


def spherical_harmonics(
    vectors: Float[Tensor, "*batch 3"],
    lmax: int,
    *,
    normalization: Normalization = "integral",
    solid: bool = False,
) -> Float[Tensor, "*batch harmonics"]:
    """All real spherical harmonics of degrees 0..lmax, in the directions of `vectors`: shape (..., (lmax + 1)^2).

    Vectors need not have unit length. With `solid`, the result is |r|^l Y_lm, a polynomial. Without it, a zero vector
    has no direction: its harmonics of degree >= 1 are 0, which is their mean over all directions, and so is their
    gradient. First and second derivatives are those of the formula, at the poles too.
    """
    if lmax < 0:
        raise InputError(f"lmax: {lmax} was given; give an integer >= 0")
    if normalization not in get_args(Normalization):
        raise InputError(f"normalization: {normalization!r} was given; give one of {get_args(Normalization)}")
    coordinates = vectors.reshape(-1, 3).T.contiguous()  # every operation below runs along the points
    if solid:
        blocks = _solid_blocks(coordinates, coordinates.square().sum(0), lmax)
    else:
        unit, nonzero = _directions(coordinates)
        blocks = _solid_blocks(unit, None, lmax)
        blocks[1:] = [torch.where(nonzero, block, 0.0) for block in blocks[1:]]
    harmonics = torch.cat(blocks).T.contiguous().view(*vectors.shape[:-1], (lmax + 1) ** 2)
    if normalization == "integral":
        return harmonics
    (scales,) = _scales(vectors, lmax, normalization)
    return harmonics * scales


def degree_slices(lmax: int) -> list[slice]:
    """Where the 2l + 1 orders of each degree l = 0..lmax lie among (lmax + 1)^2 components."""
    return [slice(degree * degree, (degree + 1) ** 2) for degree in range(lmax + 1)]


def split_degrees(coefficients: Float[Tensor, "... harmonics"], *, dim: int = -1) -> tuple[Tensor, ...]:
    """The 2l + 1 orders of each degree l = 0, 1, ... in turn, as views: components along `dim`."""
    lmax = degree_of(coefficients.shape[dim])
    return coefficients.split([2 * degree + 1 for degree in range(lmax + 1)], dim=dim)


def degree_of(components: int) -> int:
    """The lmax with (lmax + 1)^2 = components; another number of components raises InputError."""
    lmax = math.isqrt(components) - 1 if components > 0 else -1
    if (lmax + 1) ** 2 != components or lmax < 0:
        raise InputError(f"{components} components were given; all orders of degrees 0..lmax are (lmax + 1)^2")
    return lmax


def _directions(coordinates: Tensor) -> tuple[Tensor, Tensor]:
    # scaled first, so that squares neither overflow nor vanish; the scale carries no gradient: it cancels
    size = coordinates.detach().abs().amax(dim=0)
    nonzero = size > 0
    scaled = torch.where(nonzero, coordinates, 1.0) / torch.where(nonzero, size, 1.0)
    return scaled * scaled.square().sum(0).rsqrt(), nonzero


def _solid_blocks(coordinates: Tensor, squared: Tensor | None, lmax: int) -> list[Tensor]:
    """R_l, (2l + 1, points), for l = 0..lmax; `squared` is r^2, None where it is 1."""
    x, y, z = coordinates
    blocks = [torch.full_like(z, math.sqrt(0.25 / math.pi))[None]]
    if lmax == 0:
        return blocks
    blocks.append(torch.stack([y, z, x]) * math.sqrt(0.75 / math.pi))
    tables = _recurrence(coordinates, lmax)
    for degree in range(2, lmax + 1):
        first, second = tables[2 * degree - 4 : 2 * degree - 2]
        last, before = blocks[-1], blocks[-2]
        inner = (z * last) * first
        middle = inner[1:-1] - before * second * (1.0 if squared is None else squared)
        sine, cosine = last[0], last[-1]
        sectoral = math.sqrt((2 * degree + 1) / (2 * degree))
        ends = torch.stack([x * sine + y * cosine, x * cosine - y * sine]) * sectoral
        blocks.append(torch.cat([ends[:1], inner[:1], middle, inner[-1:], ends[1:]]))
    return blocks


@constant_tables
def _recurrence(lmax: int) -> tuple[np.ndarray, ...]:
    """For l = 2..lmax in turn, as columns: a_lm for |m| < l, and a_lm b_lm for |m| < l - 1."""
    tables = []
    for degree in range(2, lmax + 1):
        order = np.arange(1 - degree, degree, dtype=np.float64)
        first = np.sqrt((4 * degree**2 - 1) / (degree**2 - order**2))
        second = np.sqrt(((degree - 1) ** 2 - order**2) / (4 * (degree - 1) ** 2 - 1))
        tables += [first[:, None], (first * second)[1:-1, None]]
    return tuple(tables)


@constant_tables
def _scales(lmax: int, normalization: str) -> tuple[np.ndarray, ...]:
    degrees = np.repeat(np.arange(lmax + 1), 2 * np.arange(lmax + 1) + 1)
    squares = 4 * math.pi / (1 if normalization == "component" else 2 * degrees + 1)
    return (np.sqrt(squares * np.ones_like(degrees, dtype=np.float64)),)
