"""Directions of the input weights, and the Gauss-Newton system of their gains.

A family of gains r moves W by sum_l r_l D_l, where the D_l are pieces of one direction D:

    one       W + z D                 D itself
    unit      W + diag(z) D           its rows
    input     W + D diag(r)           its columns
    matrix    W + D R                 D_k,l in column j, for all (l, j)

With J_pi,l = dy_pi / dr_l at r = 0, E to second order, without the curvature of the units, is least where

    H r = g,   g_l = 2/N_v sum_pi J_pi,l (t - y)_pi = sum_kj (D_l)_kj (-dE/dW)_kj,   H = 2/N_v J^T J
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.second_order.input_gain.network import Sweep, solve_normal

GAINS = ("one", "unit", "input", "matrix")
"""Families of gains; see the module."""


def negative_gradient(sweep: Sweep) -> Float[Tensor, "h c"]:
    """G = -dE/dW."""
    at_units = (sweep.residual @ sweep.outward) * sweep.slopes
    return 2 / len(at_units) * at_units.mT @ sweep.features


def whitened(sweep: Sweep, direction: Float[Tensor, "h c"]) -> Float[Tensor, "h c"]:
    """D Rx^-1 with Rx = 1/N_v sum_p x_a x_a^T: the direction of hidden weight optimisation, Newton's in net values."""
    moments = sweep.features.mT @ sweep.features / len(sweep.features)
    return solve_normal(moments, direction.mT.contiguous()).mT


def check_gains(kind: str) -> None:
    """Refuse an unknown family.

    Raises:
        InputError: `kind` is none of `GAINS`.
    """
    if kind not in GAINS:
        raise InputError(f"gains: must be one of {GAINS}, got {kind!r}")


def jacobian(sweep: Sweep, direction: Float[Tensor, "h c"], kind: str) -> Float[Tensor, "p_times_m r"]:
    """J, dy / dr at r = 0; rows are patterns, then outputs.

    Args:
        sweep: at the weights as they are.
        direction: D.
        kind: one of `GAINS`.

    Raises:
        InputError: an unknown kind.
    """
    check_gains(kind)
    rows = sweep.residual.numel()
    if kind in ("one", "unit"):
        moved = (sweep.features @ direction.mT) * sweep.slopes  # of the units
        if kind == "one":
            return (moved @ sweep.outward.mT).reshape(rows, 1)
        return (sweep.outward * moved[:, None, :]).reshape(rows, -1)
    through = sweep.sensitivity @ direction  # p m c: what one more of each input's share does to each output
    if kind == "input":
        return (through * sweep.features[:, None, :]).reshape(rows, -1)
    return (through[..., None] * sweep.features[:, None, None, :]).reshape(rows, -1)


def moved(direction: Float[Tensor, "h c"], gains: Float[Tensor, " r"], kind: str) -> Float[Tensor, "h c"]:
    """sum_l r_l D_l, the change of W.

    Args:
        direction: D.
        gains: r.
        kind: one of `GAINS`.

    Raises:
        InputError: an unknown kind.
    """
    check_gains(kind)
    if kind == "matrix":
        return direction @ gains.reshape(direction.shape[1], -1)
    return direction * (gains[:, None] if kind == "unit" else gains)


@final
@dataclass(frozen=True, eq=False)
class GainSystem:
    """H r = g.

    Args:
        gradient: g, -dE/dr at r = 0.
        hessian: H, Gauss-Newton's.
    """

    gradient: Float[Tensor, " r"]
    hessian: Float[Tensor, "r r"]

    def solution(self) -> Float[Tensor, " r"]:
        """The gains; where inputs depend on each other, the least that do the same."""
        return solve_normal(self.hessian, self.gradient)


def gain_system(jacobian: Float[Tensor, "q r"], sweep: Sweep) -> GainSystem:
    """g and H from J.

    Args:
        jacobian: of `jacobian`, or of all weights.
        sweep: the same.
    """
    scale = 2 / len(sweep.residual)
    return GainSystem(scale * (jacobian.mT @ sweep.residual.flatten()), scale * (jacobian.mT @ jacobian))


def weight_jacobian(sweep: Sweep) -> Float[Tensor, "p_times_m w"]:
    """dy over all weights: W row by row, then W_o row by row."""
    inward = sweep.sensitivity[..., None] * sweep.features[:, None, None, :]
    outputs = sweep.residual.shape[1]
    unit = torch.eye(outputs, dtype=sweep.basis.dtype, device=sweep.basis.device)
    output = unit[:, :, None] * sweep.basis[:, None, None, :]
    return torch.cat([inward.flatten(2), output.flatten(2)], -1).flatten(0, 1)
