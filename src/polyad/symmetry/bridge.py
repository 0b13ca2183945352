"""The bridge to e3nn: the same features in its basis, whose polar axis is y.

A function is the same function in both libraries when ours(x, y, z) = e3nn(y, z, x), so e3nn's basis is ours turned by
the rotation that renames the axes, and features change by its Wigner matrix:

    e3nn's components = E ours,    E_l = D_l(P^T),    P (x, y, z) = (y, z, x)

For degree 1 that is (y, z, x) -> (x, y, z). E commutes with nothing else than the change of axes: coupling
coefficients are the same numbers in both bases, signs included, and so are the weights of linear maps and products.

Source: e3nn (M. Geiger and T. Smidt, arXiv:2207.09453); it is not needed to run this module.

When not to use it: between libraries that agree on the polar axis but not on signs (Condon-Shortley); those need a
diagonal matrix, not this one.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.symmetry.irreps import Irreps
from polyad.symmetry.wigner import wigner_d


def e3nn_matrix(degree: int) -> Float[Tensor, "orders orders"]:
    """E_l in float64: e3nn's components of an irrep of this degree are E_l times ours."""
    return wigner_d(_axes(torch.zeros((), dtype=torch.float64)).T, degree)[degree]


def to_e3nn(features: Float[Tensor, "*batch d"], irreps: Irreps | str) -> Float[Tensor, "*batch d"]:
    """Flat features in e3nn's basis; the order of terms and copies is the same."""
    return Irreps(irreps).rotate(features, _axes(features).T, check=False)


def from_e3nn(features: Float[Tensor, "*batch d"], irreps: Irreps | str) -> Float[Tensor, "*batch d"]:
    """The inverse of `to_e3nn`."""
    return Irreps(irreps).rotate(features, _axes(features), check=False)


def _axes(like: Tensor) -> Tensor:
    return torch.eye(3, dtype=like.dtype, device=like.device)[[1, 2, 0]]
