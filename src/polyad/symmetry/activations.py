"""Non-linear equivariant maps: norms of irreps, gates, norm activations, and activations on the sphere.

A function of one component breaks the symmetry; these do not:

    gate    a scalar gate g_u for every copy x_u of degree >= 1:  x_u -> sigma(g_u) x_u,  scalars s -> phi(s)
    norm    x_u -> phi(|x_u|) x_u / |x_u|,   |x| = sqrt(sum of squares + epsilon^2), so zero goes to zero, smoothly
    sphere  coefficients -> values on a grid -> phi -> coefficients; equivariant up to the quadrature's error

With `normalize`, phi and sigma are divided by their root mean square over a standard normal variable, so that
components of variance 1 stay so.

Sources: gates: M. Weiler et al., NeurIPS 2018, arXiv:1807.02547; activations on the sphere: T. Cohen et al., ICLR 2018,
arXiv:1801.10130.

When not to use it: `SphereActivation` on a coarse grid where exact equivariance is promised; its error falls with the
grid's degree, for lmax = 6 and SiLU to about 1e-3 at degree 6 lmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry.irreps import Irrep, Irreps
from polyad.symmetry.sphere_grid import SphereGrid
from polyad.symmetry.spherical_harmonics import degree_of

Activation = Callable[[Tensor], Tensor]
"""A function of one variable, applied to every entry."""


def irrep_norms(
    features: Float[Tensor, "*batch d"], irreps: Irreps | str, *, epsilon: float = 1e-8
) -> Float[Tensor, "*batch copies"]:
    """sqrt(|x_u|^2 + epsilon^2) of every copy of a flat feature, in order: invariant, and smooth at zero."""
    pieces = Irreps(irreps).split(features)
    squares = [piece.square().sum(-1) for piece in pieces]
    return (torch.cat(squares, dim=-1) + epsilon**2).sqrt()


def scale_irreps(
    features: Float[Tensor, "*batch d"], irreps: Irreps | str, scales: Float[Tensor, "*batch copies"]
) -> Float[Tensor, "*batch d"]:
    """Every copy of a flat feature times its own invariant factor."""
    irreps = Irreps(irreps)
    if scales.shape[-1] != irreps.count:
        raise InputError(f"scales: last axis has {scales.shape[-1]} entries, {irreps} has {irreps.count} copies")
    factors = scales.split([mul for mul, _ in irreps], dim=-1)
    pieces = zip(irreps.split(features), factors, strict=True)
    return torch.cat([(piece * factor.unsqueeze(-1)).flatten(-2) for piece, factor in pieces], dim=-1)


def root_mean_square(activation: Activation) -> float:
    """sqrt(E[phi(z)^2]) for standard normal z, by Gauss-Hermite quadrature in float64."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    values = activation(torch.from_numpy(nodes)).square() @ torch.from_numpy(weights)
    result = math.sqrt(float(values) / math.sqrt(2 * math.pi))
    if not (math.isfinite(result) and result > 0):
        raise InputError(f"activation: its root mean square over a normal variable is {result}; it must be positive")
    return result


@final
class Gate(nn.Module):
    """Scalars by an activation, everything else by gates: `irreps_in` (scalars, gates, gated) to `irreps_out`.

    `scalars` holds 0e alone; 0o may stand among `gated`, for a function of a pseudo-scalar need not be one.
    """

    def __init__(
        self,
        scalars: Irreps | str,
        gated: Irreps | str,
        *,
        activation: Activation = nn.functional.silu,
        gate_activation: Activation = torch.sigmoid,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.scalars, self.gated = Irreps(scalars), Irreps(gated)
        if any(not irrep.is_scalar for _, irrep in self.scalars):
            raise InputError(f"scalars: {self.scalars} was given; give 0e alone and gate the rest")
        self.irreps_in = (self.scalars + Irreps([(self.gated.count, Irrep(0, 1))]) + self.gated).simplify()
        self.irreps_out = (self.scalars + self.gated).simplify()
        self.activation, self.gate_activation = activation, gate_activation
        self.scale = 1 / root_mean_square(activation) if normalize else 1.0
        self.gate_scale = 1 / root_mean_square(gate_activation) if normalize else 1.0

    def forward(self, features: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Flat features to flat features."""
        self.irreps_in.check(features)
        scalars, gates, gated = features.split([self.scalars.dim, self.gated.count, self.gated.dim], dim=-1)
        scalars = self.activation(scalars) * self.scale
        if not self.gated.terms:
            return scalars
        gates = self.gate_activation(gates) * self.gate_scale
        return torch.cat([scalars, scale_irreps(gated, self.gated, gates)], dim=-1)


@final
class NormActivation(nn.Module):
    """x_u -> phi(|x_u| + b_u) x_u / |x_u| for every copy, scalars included; with `bias`, b_u is learned."""

    def __init__(
        self,
        irreps: Irreps | str,
        *,
        activation: Activation = nn.functional.silu,
        bias: bool = False,
        epsilon: float = 1e-8,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.irreps, self.activation, self.epsilon = Irreps(irreps), activation, epsilon
        self.bias = nn.Parameter(torch.zeros(self.irreps.count, dtype=dtype)) if bias else None

    def forward(self, features: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Flat features to flat features."""
        norms = irrep_norms(features, self.irreps, epsilon=self.epsilon)
        shifted = norms if self.bias is None else norms + self.bias
        return scale_irreps(features, self.irreps, self.activation(shifted) / norms)


@final
class SphereActivation(nn.Module):
    """phi applied to the functions themselves, channels first: to a grid, phi, and back to degrees 0..lmax.

    `degree` is the total degree for which the grid is exact; 2 lmax is the least, and coarse.
    """

    def __init__(self, lmax: int, *, degree: int, activation: Activation = nn.functional.silu) -> None:
        super().__init__()
        if degree < 2 * lmax:
            raise InputError(f"degree: {degree} was given; degrees up to {lmax} need at least {2 * lmax}")
        self.lmax, self.grid, self.activation = lmax, SphereGrid(degree), activation

    def forward(self, coefficients: Float[Tensor, "*batch harmonics"]) -> Float[Tensor, "*batch harmonics"]:
        """Coefficients to coefficients."""
        if degree_of(coefficients.shape[-1]) != self.lmax:
            raise InputError(f"coefficients: {coefficients.shape[-1]} components are not those of lmax {self.lmax}")
        return self.grid.from_grid(self.activation(self.grid.to_grid(coefficients)), self.lmax)
