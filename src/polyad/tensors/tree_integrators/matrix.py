"""The parallel BUG integrator for matrices Y = U S V^H, on its own: K-step, L-step and S-step side by side.

    K' = F(K V^H) V        L' = F(U L^H)^H U        S' = U^H F(U S V^H) V

    Y_1 = [U, U_fresh] [[S(t1), B], [A, 0]] [V, V_fresh]^H,   A = U_fresh^H K(t1) or h U_fresh^H F(Y_0) V,
                                                              B = L(t1)^H V_fresh or h U^H F(Y_0) V_fresh

It is the two-leaf tree of `parallel_bug`, written without trees.

Source: G. Ceruti, J. Kusch, C. Lubich, BIT Numer. Math. 64 (2024) 30, arXiv:2304.05660.

When not to use it: matrices too large to be formed; F sees the whole matrix here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.tree_integrators.flows import rk4


class MatrixFactors(NamedTuple):
    """U (m, r) and V (n, r) with orthonormal columns, S (r, r): the matrix U S V^H."""

    left: Tensor
    core: Tensor
    right: Tensor

    def to_dense(self) -> Num[Tensor, "m n"]:
        """U S V^H."""
        return self.left @ self.core @ self.right.mH


def matrix_parallel_bug(
    function: Callable[[float, Tensor], Tensor],
    factors: MatrixFactors,
    time: float,
    step: float,
    *,
    tol: float,
    r_max: int | None = None,
    augment: Literal["F0", "K"] = "K",
    substeps: int = 1,
) -> MatrixFactors:
    """One step of Y' = F(t, Y).

    Args:
        function: F, from matrix to matrix.
        factors: Y at `time`.
        time: begin of the step.
        step: its length.
        tol: truncation error (Frobenius norm).
        r_max: largest rank.
        augment: off-diagonal blocks from the K- and L-steps or from F(Y_0).
        substeps: RK4 sub-steps.
    """
    if augment not in ("F0", "K"):
        raise InputError(f"augment: {augment!r} was given; 'F0' or 'K' is allowed")
    left, core, right = factors
    k = rk4(lambda t, x: function(t, x @ right.mH) @ right, left @ core, time, step, substeps)
    l_ = rk4(lambda t, x: function(t, left @ x.mH).mH @ left, right @ core.mH, time, step, substeps)
    s = rk4(lambda t, x: left.mH @ function(t, left @ x @ right.mH) @ right, core, time, step, substeps)
    fresh_left, fresh_right = _fresh(left, k), _fresh(right, l_)
    if augment == "K":
        lower, upper = fresh_left.mH @ k, l_.mH @ fresh_right
    else:
        rate = step * function(time, factors.to_dense())
        lower, upper = fresh_left.mH @ rate @ right, left.mH @ rate @ fresh_right
    corner = core.new_zeros(fresh_left.shape[1], fresh_right.shape[1])
    total = torch.cat([torch.cat([s, upper], dim=1), torch.cat([lower, corner], dim=1)])
    p, values, q = torch.linalg.svd(total)
    tails = values.square().flip(0).cumsum(0).flip(0).sqrt()
    rank = min(max(1, int((tails > tol).sum())), r_max or len(values))
    return MatrixFactors(
        torch.cat([left, fresh_left], dim=1) @ p[:, :rank],
        torch.diag(values[:rank]).to(core.dtype),
        torch.cat([right, fresh_right], dim=1) @ q.mH[:, :rank],
    )


def _fresh(basis: Tensor, columns: Tensor) -> Tensor:
    """Orthonormal directions of the columns outside of the basis."""
    for _ in range(2):
        columns = columns - basis @ (basis.mH @ columns)
    left, values, _ = torch.linalg.svd(columns, full_matrices=False)
    room = basis.shape[0] - basis.shape[1]
    return left[:, : min(room, int((values > 1e-14).sum()))]
