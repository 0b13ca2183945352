"""Rotation matrices of real spherical harmonics (real Wigner D), and their application without forming a dense matrix.

D_l(Q) is defined by Y_l(Q x) = D_l(Q) Y_l(x) for Q in O(3), so a function with coefficients c that is turned by Q has
the coefficients D(Q) c. It is a polynomial in the entries of Q: no angles, no singular poles, differentiable. Reading
the recurrence of the harmonics at Q x and keeping what has degree l gives every row of D_l from D_{l-1}:

    M_i[c, n] = sum_j Q_ij E[c, j, n],    E[c, j, n] = integral of x_j Y_{l-1,c} Y_{l,n}       (i, j = x, y, z)
    D_l[m, :]   = a_lm D_{l-1}[m, :] M_z                                           |m| < l
    D_l[l, :]   = c_l (D_{l-1}[l-1, :] M_x - D_{l-1}[-(l-1), :] M_y)
    D_l[-l, :]  = c_l (D_{l-1}[-(l-1), :] M_x + D_{l-1}[l-1, :] M_y)

with a_lm, c_l of `polyad.symmetry.spherical_harmonics`. In float64 D_20 is orthogonal to about 1e-13.

Reflections: D_l(-Q) = (-1)^l D_l(Q) is the representation on harmonics, whose parity is (-1)^l ('natural').
Components of the other parity turn with det(Q) D_l(Q).

Sources: the idea of a recursion in l on the entries of Q is that of J. Ivanic and K. Ruedenberg, J. Phys. Chem. 100
(1996) 6342 (erratum 102 (1998) 9099); here as matrix products.

When not to use it: to turn one function by very many angles about one axis, where cos(m a) and sin(m a) suffice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry._constants import constant_tables
from polyad.symmetry.coupling import gaunt_coefficients
from polyad.symmetry.spherical_harmonics import degree_of, degree_slices, split_degrees
from polyad.tensors.notation import check_orthogonal


def wigner_d(rotation: Float[Tensor, "*batch 3 3"], lmax: int, *, check: bool = True) -> list[Tensor]:
    """The matrices D_l(Q) of degrees l = 0..lmax, shapes (..., 2l + 1, 2l + 1), for Q in O(3), natural parity.

    Quaternions and angles become Q by `polyad.tensors.rotations` (`quaternion_to_rotation`, `euler_to_rotation`,
    `rotation_from_vector`). With `check`, a matrix that is not orthogonal raises InputError; leave it out only where
    orthogonality is known, as in an inner loop.
    """
    if lmax < 0:
        raise InputError(f"lmax: {lmax} was given; give an integer >= 0")
    if check:
        check_orthogonal(rotation)
    batch = rotation.shape[:-2]
    flat = rotation.reshape(-1, 3, 3)
    blocks = [torch.ones_like(flat[:, :1, :1])]
    if lmax >= 1:
        blocks.append(flat[:, [1, 2, 0]][:, :, [1, 2, 0]])
    tables = _raising(flat, lmax)
    for degree in range(2, lmax + 1):
        raising, factors = tables[2 * degree - 4 : 2 * degree - 2]
        blocks.append(_next_block(flat, blocks[-1], raising, factors, math.sqrt((2 * degree + 1) / (2 * degree))))
    return [block.view(*batch, *block.shape[1:]) for block in blocks]


def wigner_d_matrix(rotation: Float[Tensor, "*batch 3 3"], lmax: int, *, check: bool = True) -> Tensor:
    """The dense block-diagonal matrix of `wigner_d`, (..., (lmax + 1)^2, (lmax + 1)^2); `rotate` needs none."""
    blocks = wigner_d(rotation, lmax, check=check)
    size = (lmax + 1) ** 2
    matrix = rotation.new_zeros(*rotation.shape[:-2], size, size)
    for block, place in zip(blocks, degree_slices(lmax), strict=True):
        matrix[..., place, place] = block
    return matrix


def rotate(
    coefficients: Float[Tensor, "... harmonics"], rotation: Float[Tensor, "*batch 3 3"], *, check: bool = True
) -> Float[Tensor, "... harmonics"]:
    """Coefficients D(Q) c of the function turned by Q: f(x) becomes f(Q^-1 x); degrees 0..lmax on the last axis.

    The dimensions of `rotation` before (3, 3) are the first ones of `coefficients`; all others (channels) are turned
    alike. So rotations (edges, 3, 3) turn features (edges, channels, (lmax + 1)^2).
    """
    return rotate_by_blocks(coefficients, wigner_d(rotation, degree_of(coefficients.shape[-1]), check=check))


def rotate_by_blocks(
    coefficients: Float[Tensor, "... harmonics"], blocks: Sequence[Tensor], *, inverse: bool = False
) -> Float[Tensor, "... harmonics"]:
    """As `rotate`, with the matrices of `wigner_d` at hand; `inverse` turns by Q^-1."""
    lmax = degree_of(coefficients.shape[-1])
    batch = blocks[0].shape[:-2]
    if len(blocks) <= lmax:
        raise InputError(f"blocks: degrees 0..{len(blocks) - 1} were given, coefficients reach degree {lmax}")
    if coefficients.shape[: len(batch)] != batch:
        raise InputError(
            f"coefficients: shape is {tuple(coefficients.shape)}, rotations are {tuple(batch)}; the first dimensions "
            "of the coefficients must be those of the rotations"
        )
    channels = coefficients.reshape(*batch, math.prod(coefficients.shape[len(batch) : -1]), coefficients.shape[-1])
    turned = [
        part @ (block if inverse else block.mT) for block, part in zip(blocks, split_degrees(channels), strict=False)
    ]
    return torch.cat(turned, dim=-1).view(coefficients.shape)


def _next_block(rotation: Tensor, last: Tensor, raising: Tensor, factors: Tensor, sectoral: float) -> Tensor:
    rows, columns = last.shape[-1], last.shape[-1] + 2
    along_x, along_y, along_z = (rotation.reshape(-1, 3) @ raising).view(-1, 3, rows, columns).unbind(1)
    inner = (last @ along_z) * factors
    bottom, top = last[:, :1], last[:, -1:]
    sine = bottom @ along_x + top @ along_y
    cosine = top @ along_x - bottom @ along_y
    return torch.cat([sectoral * sine, inner, sectoral * cosine], dim=-2)


@constant_tables
def _raising(lmax: int) -> tuple[np.ndarray, ...]:
    """For l = 2..lmax in turn: E as (3, (2l - 1)(2l + 1)), Cartesian index first, and a_lm as a column."""
    tables = []
    for degree in range(2, lmax + 1):
        integrals = gaunt_coefficients(degree - 1, 1, degree).numpy() * math.sqrt(4 * math.pi / 3)
        cartesian = np.moveaxis(integrals, 1, 0)[[2, 0, 1]]
        order = np.arange(1 - degree, degree, dtype=np.float64)
        factors = np.sqrt((4 * degree**2 - 1) / (degree**2 - order**2))
        tables += [np.ascontiguousarray(cartesian.reshape(3, -1)), factors[:, None]]
    return tuple(tables)
