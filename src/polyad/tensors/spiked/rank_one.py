"""Limit of the best rank-one approximation of T: value and alignments.

For a value xi above the bulk the fixed point

    g1 = c1 / (-g2 - g3 - gamma g2 - xi),   g2 = c2 / (-g1 - g3 - gamma g1 - xi),   g3 = c3 / (-g1 - g2 - xi),
    gamma = beta_T^2 (1 - g3^2 / c3) / (c1 + c2)

gives q3^2 = 1 - g3^2 / c3 and q_i^2 = 1 - (1 + gamma) g_i^2 / c_i, and xi solves

    xi + (1 + gamma)(g1 + g2 + g3) - gamma g3 - beta_T beta_M q1 q2 q3 = 0

A root counts only where the fixed point exists and attracts (above the bulk), every q^2 lies in (0, 1) and the left
side increases through zero: at small xi there are crossings the other way, which are no maxima. The largest root that
counts is taken. Iterations converge slowly next to the bulk, where the threshold lies; Newton's method finishes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from polyad.tensors.spiked.model import check_shares, check_strengths

_GRID = 100
_ITERATIONS = 200
_NEWTON_STEPS = 10
_TOLERANCE = 1e-12


@final
@dataclass(frozen=True)
class RankOneLimit:
    """`value` of the approximation and its `alignments` |<x>|, |<y>|, |<z>| (not squared); None and zeros below."""

    value: float | None
    alignments: tuple[float, float, float]


def rank_one_limit(c: tuple[float, float, float], *, beta_matrix: float, beta_tensor: float) -> RankOneLimit:
    """What the best rank-one approximation reaches, in the limit of large sizes.

    Args:
        c: shares n_l / n_T.
        beta_matrix: beta_M.
        beta_tensor: beta_T.
    """
    check_shares(c)
    check_strengths(beta_matrix, beta_tensor)
    nothing = RankOneLimit(None, (0.0, 0.0, 0.0))
    if beta_matrix == 0 or beta_tensor == 0:
        return nothing
    shares = np.array(c)
    gamma = beta_tensor**2 / (c[0] + c[1])
    top = beta_tensor * beta_matrix + 2 * np.sqrt(1 + gamma) + 1  # the left side is positive from here on
    grid = np.linspace(top / _GRID, top, _GRID)
    for _ in range(5):  # every round looks a hundred times closer at the last point before the first that fails
        value, squared = _left_side(grid, shares, beta_matrix, beta_tensor)
        fails = np.flatnonzero(~(value >= 0))  # negative, or no point that counts
        if len(fails) == 0:
            return nothing
        k = int(fails[-1])
        if k == len(grid) - 1:
            return nothing
        last, grid = (value[k], value[k + 1], squared[:, k + 1], grid[k + 1]), np.linspace(grid[k], grid[k + 1], 101)
    below, above, at, xi = last
    if not (below < 0 <= above):  # the left side is still positive where the bulk begins: no root
        return nothing
    q1, q2, q3 = (float(q) for q in np.sqrt(at))
    return RankOneLimit(float(xi), (q1, q2, q3))


def _left_side(
    xi: np.ndarray, shares: np.ndarray, beta_matrix: float, beta_tensor: float
) -> tuple[np.ndarray, np.ndarray]:
    """The left side at every xi, NaN where it does not count, and the squared alignments (3, ...)."""
    c1, c2, c3 = shares
    ratio = beta_tensor**2 / (c1 + c2)
    with np.errstate(all="ignore"):
        g = -shares[:, None] / xi
        for _ in range(_ITERATIONS):
            g = _step(g, xi, shares, ratio)
        for _ in range(_NEWTON_STEPS):
            matrix = np.eye(3) - _jacobian(g, xi, shares, ratio)
            defect = _step(g, xi, shares, ratio) - g
            usable = np.isfinite(matrix).all((1, 2)) & (np.abs(np.linalg.det(np.nan_to_num(matrix))) > 1e-14)
            matrix[~usable] = np.eye(3)
            g = np.where(usable, g + np.linalg.solve(matrix, defect.T[..., None])[..., 0].T, np.nan)
        residual = np.abs(_step(g, xi, shares, ratio) - g).max(0)
        slope = np.abs(np.linalg.eigvals(np.nan_to_num(_jacobian(g, xi, shares, ratio)))).max(1)
        gamma = ratio * (1 - g[2] ** 2 / c3)
        squared = np.stack([1 - (1 + gamma) * g[0] ** 2 / c1, 1 - (1 + gamma) * g[1] ** 2 / c2, 1 - g[2] ** 2 / c3])
        counts = (residual < _TOLERANCE) & (slope < 1) & ((squared > 0) & (squared < 1)).all(0)
        signal = beta_tensor * beta_matrix * np.sqrt(np.where(counts, squared.prod(0), 0.0))
        value = xi + (1 + gamma) * g.sum(0) - gamma * g[2] - signal
    return np.where(counts, value, np.nan), squared


def _step(g: np.ndarray, xi: np.ndarray, shares: np.ndarray, ratio: float) -> np.ndarray:
    """The fixed-point map, (3, points)."""
    g1, g2, g3 = g
    gamma = ratio * (1 - g3**2 / shares[2])
    below = np.stack([-(1 + gamma) * g2 - g3 - xi, -(1 + gamma) * g1 - g3 - xi, -g1 - g2 - xi])
    return shares[:, None] / below


def _jacobian(g: np.ndarray, xi: np.ndarray, shares: np.ndarray, ratio: float) -> np.ndarray:
    """Derivative of the map, (points, 3, 3): d(c / b) = -(map^2 / c) db."""
    g1, g2, g3 = g
    gamma, slope = ratio * (1 - g3**2 / shares[2]), -2 * ratio * g3 / shares[2]
    zero, one = np.zeros_like(g1), np.ones_like(g1)
    below = np.stack(
        [
            np.stack([zero, -(1 + gamma), -slope * g2 - 1], -1),
            np.stack([-(1 + gamma), zero, -slope * g1 - 1], -1),
            np.stack([-one, -one, zero], -1),
        ],
        -2,
    )
    factor = -(_step(g, xi, shares, ratio) ** 2) / shares[:, None]
    return factor.T[..., None] * below
