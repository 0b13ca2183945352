"""Inequality constraints for an unconstrained method: the augmented Lagrangian of Powell, Hestenes and Rockafellar.

For margins c(z) >= 0 with multipliers u >= 0 and penalty w,

    minimise  f(z) + sum_k (max(0, u_k - w c_k(z))^2 - u_k^2) / (2 w),     then  u <- max(0, u - w c),

and w grows tenfold whenever the violation did not shrink to a quarter. Every inner problem is solved by L-BFGS-B, whose
line search never lets the function grow.

Source: J. Nocedal and S. J. Wright, Numerical Optimization (2006), section 17.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from polyad.materials.lattice.design.optimisers import Functions

_ROUNDS = 30
_FEASIBLE = 1e-8


def augmented_lagrangian(
    functions: Functions, start: np.ndarray, iterations: int, tolerance: float, accept: Callable[..., None]
) -> str:
    """Minimise and return the reason for stopping; `accept` is called with every accepted point."""
    from scipy.optimize import minimize

    multipliers, penalty = np.zeros(functions.count), 10.0
    z, left, violation = start, iterations, np.inf

    def shifted(z: np.ndarray) -> np.ndarray:
        return np.maximum(0.0, multipliers - penalty * functions.margins(z))

    def value(z: np.ndarray) -> float:
        return functions.value(z) + float((shifted(z) ** 2 - multipliers**2).sum()) / (2 * penalty)

    def gradient(z: np.ndarray) -> np.ndarray:
        if functions.problem.evaluate(z).failure is not None:
            return np.zeros(len(z))
        return functions.gradient(z) - functions.problem.pull_back(z, shifted(z))

    def count(z: np.ndarray) -> None:
        nonlocal left
        left -= 1
        accept(z)

    for _ in range(_ROUNDS):
        before = functions.value(z)
        options: dict[str, Any] = {"maxiter": left, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 20}
        z = minimize(value, z, jac=gradient, method="L-BFGS-B", callback=count, options=options).x
        worst = max(0.0, -float(functions.margins(z).min(initial=0.0)))
        settled = abs(functions.value(z) - before) <= max(tolerance * functions.scale, 1e-14)
        multipliers = shifted(z)
        if left <= 0:
            return "iteration limit"
        if worst <= _FEASIBLE and (settled or not multipliers.any()):
            return "converged"
        if worst > 0.25 * violation:
            penalty = min(10 * penalty, 1e8)
        violation = worst
    return "round limit of the augmented Lagrangian"
