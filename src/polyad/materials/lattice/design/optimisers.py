"""Optimisers of a design problem: SciPy's, and one of our own for sums of squares.

    gauss-newton  for objectives that are sums of squares; own (`gauss_newton`), few steps where the goal can be reached
    slsqp         sequential quadratic programming with a line search on an L1 merit function
    trust-constr  interior points with trust regions; slower, sturdier where constraints curve strongly
    l-bfgs-b      limited memory, for hundreds of variables; constraints through an augmented Lagrangian (`augmented`)

    auto          gauss-newton for sums of squares, slsqp otherwise

The objective is scaled so that a first step along the gradient has length `FIRST_STEP`: variables are of order one
where the lattice has changed a lot, so no method starts by tearing the net apart. A trial point that is no lattice has
a large finite value and margins that are clearly broken; line searches and trust regions turn back from it.

Source: D. Kraft, A software package for sequential quadratic programming, DFVLR-FB 88-28 (1988); R. H. Byrd, M. E.
Hribar, J. Nocedal, SIAM J. Optim. 9 (1999) 877; R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, SIAM J. Sci. Comput. 16 (1995)
1190.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from polyad.errors import InputError
from polyad.materials.lattice.design.problem import Problem

Method = Literal["auto", "slsqp", "trust-constr", "l-bfgs-b", "gauss-newton"]
FIRST_STEP = 0.1

_BROKEN = -1e3
_RESTARTS = 3


class Stop(Exception):
    """Raised from `on_step` to end an optimisation; its text is the reason."""


class Outcome(NamedTuple):
    """The last accepted point and why the method ended there."""

    variables: np.ndarray
    reason: str


class Functions:
    """The problem as SciPy wants it: scaled, and finite everywhere."""

    def __init__(self, problem: Problem, start: np.ndarray) -> None:
        first = problem.evaluate(start)
        if first.failure is not None:
            raise InputError(f"start: {first.failure}")
        self.problem = problem
        self.count = len(first.margins)
        self.scale = FIRST_STEP / max(float(np.linalg.norm(problem.gradient(start))), 1e-8)
        self._worst = self.scale * first.value

    def value(self, z: np.ndarray) -> float:
        """Scaled objective."""
        found = self.problem.evaluate(z)
        if found.failure is not None:
            return self._worst + abs(self._worst) + 1e3
        self._worst = max(self._worst, self.scale * found.value)
        return self.scale * found.value

    def gradient(self, z: np.ndarray) -> np.ndarray:
        """Its gradient; zero where there is no lattice."""
        broken = self.problem.evaluate(z).failure is not None
        return np.zeros(len(z)) if broken else self.scale * self.problem.gradient(z)

    def margins(self, z: np.ndarray) -> np.ndarray:
        """All margins."""
        found = self.problem.evaluate(z)
        return np.full(self.count, _BROKEN) if found.failure is not None else found.margins

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """Their Jacobian."""
        broken = self.problem.evaluate(z).failure is not None
        return np.zeros((self.count, len(z))) if broken else self.problem.jacobian(z)


def minimise(
    problem: Problem,
    start: np.ndarray,
    *,
    method: Method,
    iterations: int,
    tolerance: float,
    on_step: Callable[[np.ndarray], None],
) -> Outcome:
    """Minimise a problem from one point.

    Args:
        problem: what to minimise.
        start: variables, where the problem can be evaluated.
        method: see the module's docstring.
        iterations: at most so many accepted steps.
        tolerance: the method ends where a step would improve the objective by less than this.
        on_step: called with every accepted point; may raise `Stop`.

    Raises:
        InputError: an unknown method, or a start that is no lattice.
    """
    if method not in get_args(Method):
        raise InputError(f"method: {method!r} is not one of {', '.join(get_args(Method))}")
    functions = Functions(problem, start)
    reached = start

    def accept(z: np.ndarray, *_: Any) -> None:
        nonlocal reached
        if problem.evaluate(z).failure is not None:  # a line search that gave up
            return
        reached = np.array(z, dtype=np.float64)
        on_step(reached)

    squares = problem.residuals(start) is not None
    if method == "gauss-newton" and not squares:
        raise InputError(
            "method: gauss-newton needs an objective that is a sum of squares (a target or a number as goal)"
        )
    if method == "auto":
        method = "gauss-newton" if squares else "slsqp"
    try:
        match method:
            case "gauss-newton":
                from polyad.materials.lattice.design.gauss_newton import gauss_newton

                reason = gauss_newton(functions, start, iterations, tolerance, accept)
            case "slsqp":
                reason = _slsqp(functions, start, iterations, tolerance, accept, lambda: reached)
            case "trust-constr":
                reason = _trust_constr(functions, start, iterations, tolerance, accept)
            case _:
                from polyad.materials.lattice.design.augmented import augmented_lagrangian

                reason = augmented_lagrangian(functions, start, iterations, tolerance, accept)
    except Stop as stop:
        reason = str(stop)
    return Outcome(reached, reason)


def _slsqp(
    functions: Functions,
    start: np.ndarray,
    iterations: int,
    tolerance: float,
    accept: Callable[..., None],
    reached: Callable[[], np.ndarray],
) -> str:
    from scipy.optimize import minimize

    constraints = {"type": "ineq", "fun": functions.margins, "jac": functions.jacobian}
    left = iterations

    def count(z: np.ndarray) -> None:
        nonlocal left
        left -= 1
        accept(z)

    reason = ""
    for _ in range(_RESTARTS):
        before = left
        result = minimize(
            functions.value,
            reached(),
            jac=functions.gradient,
            method="SLSQP",
            constraints=[constraints] if functions.count else [],
            callback=count,
            # the same number bounds the violation of the margins
            options={"maxiter": left, "ftol": min(tolerance * functions.scale, 1e-8)},
        )
        reason = str(result.message)
        # a failed line search or an inconsistent linearisation is often cured by a fresh Hessian
        sound = result.status in (0, 9) and functions.problem.evaluate(result.x).failure is None
        if sound or left <= 0 or before == left:
            break
    return _REASONS.get(reason, reason)


def _trust_constr(
    functions: Functions, start: np.ndarray, iterations: int, tolerance: float, accept: Callable[..., None]
) -> str:
    from scipy.optimize import BFGS, NonlinearConstraint, minimize

    constraint = NonlinearConstraint(functions.margins, 0, np.inf, jac=functions.jacobian, hess=BFGS())
    last = start

    def moved(z: np.ndarray, _: Any) -> None:
        nonlocal last
        if not np.array_equal(z, last):  # rejected steps are reported too
            last = z.copy()
            accept(z)

    result = minimize(
        functions.value,
        start,
        jac=functions.gradient,
        hess=BFGS(),
        method="trust-constr",
        constraints=[constraint] if functions.count else [],
        callback=moved,
        options={
            "maxiter": iterations,
            # with constraints the gradient of a barrier problem can vanish long before the barrier does
            "gtol": 1e-13 if functions.count else max(tolerance, 1e-12) ** 0.5 * functions.scale,
            "xtol": 1e-10,
            "barrier_tol": 1e-9,
            "initial_tr_radius": FIRST_STEP,
        },
    )
    return _REASONS.get(str(result.message), str(result.message))


_REASONS = {
    "Optimization terminated successfully": "converged",
    "Iteration limit reached": "iteration limit",
    "The maximum number of function evaluations is exceeded.": "iteration limit",
    "`gtol` termination condition is satisfied.": "converged",
    "`xtol` termination condition is satisfied.": "converged (steps became small)",
    "Positive directional derivative for linesearch": "no descent left at machine precision",
    "Inequality constraints incompatible": "constraints incompatible",
}
