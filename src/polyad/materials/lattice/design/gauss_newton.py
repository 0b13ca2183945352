"""Levenberg-Marquardt steps under linearised inequality constraints, for objectives that are sums of squares.

With residuals r, their Jacobian J, margins c >= 0 and theirs G, the step d solves the quadratic program

    minimise |r + J d|^2 + m |d|^2     subject to  c + G d >= 0,

and is taken if it lowers the merit |r|^2 + w sum max(0, -c) by a fair part of what the model promised; the damping m
is proportional to |r|^2 (so that it does not slow the last steps down where J has no full rank), shrinks after good
steps and grows after bad ones. Where the goal can be reached (r = 0) convergence is quadratic, while
quasi-Newton methods need tens of steps for 21 targets.

With H = J'J + m = L L' and y = L'd + L^-1 J'r the program is a least-distance problem, min |y| under linear
inequalities, which is one non-negative least squares problem.

Source: N. Yamashita and M. Fukushima, Computing Suppl. 15 (2001) 239 (damping by |r|^2); C. L. Lawson and R. J.
Hanson, Solving Least Squares Problems (1974), chapter 23; J. Nocedal and S. J. Wright, Numerical Optimization (2006),
sections 10.3 and 18.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from polyad.materials.lattice.design.optimisers import Functions

_ATTEMPTS = 25
_LEAST = 1e-14


def gauss_newton(
    functions: Functions, start: np.ndarray, iterations: int, tolerance: float, accept: Callable[..., None]
) -> str:
    """Minimise and return the reason for stopping; `accept` is called with every accepted point."""
    problem = functions.problem
    z, damping, weight, initial = start, 1e-2, 1.0, 0.0
    for _ in range(iterations):
        residuals, slopes = problem.residuals(z), problem.residual_jacobian(z)
        assert residuals is not None
        square = float(residuals @ residuals)
        initial = max(initial, square, _LEAST)
        margins, bends = functions.margins(z), functions.jacobian(z)
        for _ in range(_ATTEMPTS):
            step, multipliers = constrained_step(residuals, slopes, damping * square / initial + _LEAST, margins, bends)
            if step is None:
                return "constraints incompatible"
            weight = max(weight, 2 * float(multipliers.max(initial=0.0)))
            before = _merit(residuals, margins, weight)
            promised = before - _merit(residuals + slopes @ step, margins + bends @ step, weight)
            trial = problem.residuals(z + step)
            gained = -np.inf if trial is None else before - _merit(trial, functions.margins(z + step), weight)
            if promised <= 0.1 * tolerance:
                return "converged"
            if gained > 1e-3 * promised:
                damping *= 0.2 if gained > 0.75 * promised else 1.0 if gained > 0.25 * promised else 2.0
                break
            damping *= 5.0
        else:
            return "no descent left at machine precision"
        z = z + step
        accept(z)
    return "iteration limit"


def constrained_step(
    residuals: np.ndarray, slopes: np.ndarray, damping: float, margins: np.ndarray, bends: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """Solution of the quadratic program and the multipliers of its constraints; None if these contradict each other."""
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import nnls

    size = slopes.shape[1]
    lower = cholesky(slopes.T @ slopes + damping * np.eye(size), lower=True)
    pull = solve_triangular(lower, slopes.T @ residuals, lower=True)
    free = -solve_triangular(lower, pull, lower=True, trans="T")
    if not len(margins) or float((margins + bends @ free).min()) >= 0:
        return free, np.zeros(len(margins))
    matrix = solve_triangular(lower, bends.T, lower=True).T
    bound = matrix @ pull - margins
    dual, distance = nnls(np.vstack([matrix.T, bound]), np.append(np.zeros(size), 1.0))
    rest = np.vstack([matrix.T, bound]) @ dual - np.append(np.zeros(size), 1.0)
    if distance < 1e-9 or rest[-1] > -1e-12:
        return None, np.zeros(len(margins))
    step = solve_triangular(lower, -rest[:-1] / rest[-1] - pull, lower=True, trans="T")
    # |r|^2 has twice the gradient of the program's 1/2 |y|^2
    return step, -2 * dual / rest[-1]


def _merit(residuals: np.ndarray, margins: np.ndarray, weight: float) -> float:
    return float(residuals @ residuals) + weight * float(np.maximum(0.0, -margins).sum())
