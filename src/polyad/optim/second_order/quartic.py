"""The minimiser of a convex third-order model with powers of the step's length, by Nesterov's relative-gradient scheme.

    m(h) = g . h + h . H h / 2 + D3[h, h, h] / 6 + delta |h|^2 / 2 + c |h|^3 / 6 + M |h|^4 / 24

With M >= 3 L, L the Lipschitz constant of the third derivative, m is convex and 2-smooth relative to

    rho(h) = h . (H + delta) h / 2 + c |h|^3 / 6 + M |h|^4 / 24,

so each iteration minimises rho and a linear function,  (H + (delta + c r / 2 + M r^2 / 6) I) h = -b  with r = |h|: one
scalar equation in the eigenbasis of H, or of its Krylov space where H is given as products. At M = 3 s^2 L the error
falls by (1 + 1/s) / 2 an iteration.

Source: Yu. Nesterov, Math. Program. 186 (2021) 157, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from scipy.optimize import brentq
from torch import Tensor

from polyad.errors import ConvergenceError, InputError
from polyad.linalg.lanczos import lanczos
from polyad.optim import checks
from polyad.optim.second_order.oracles import Hessian

RELATIVE_SMOOTHNESS = 2.0
ROUNDING = 1e-12
"""Gradients of the model, over the largest of their terms, that rounding keeps from becoming smaller."""


@final
@dataclass(frozen=True, eq=False)
class QuarticStep:
    """The minimiser `step` (n,), the norm `residual` of the model's gradient, and the number of iterations."""

    step: Float[Tensor, " n"]
    residual: float
    iterations: int


def minimize_quartic(
    gradient: Float[Tensor, " n"],
    hessian: Hessian,
    third: Callable[[Tensor], Tensor],
    *,
    quartic: float,
    cubic: float = 0.0,
    quadratic: float = 0.0,
    tolerance: float = 0.0,
    iterations: int = 5000,
) -> QuarticStep:
    """The minimiser of m, in float64.

    Args:
        gradient: g.
        hessian: symmetric H, or v -> H v, with H + delta I positive semi-definite.
        third: h -> D3[h, h].
        quartic: M > 0.
        cubic: c >= 0.
        quadratic: delta >= 0.
        tolerance: norm of the model's gradient that is small enough; 0 for what rounding allows.
        iterations: the most of them.

    Raises:
        InputError: penalties or derivatives that cannot be used, or a model whose second-order part is not convex.
        ConvergenceError: the tolerance was not reached; M is too small, or just large enough.
    """
    checks.check_positive(quartic=quartic, iterations=iterations)
    checks.check_not_negative(cubic=cubic, quadratic=quadratic, tolerance=tolerance)
    g = gradient.double()
    if not checks.all_finite([g, hessian] if isinstance(hessian, Tensor) else [g]):
        raise InputError("minimize_quartic: gradient or Hessian is not finite; look at the point where they are taken")
    penalties = (quadratic, cubic / 2, quartic / 6)
    product, solve = _solver(hessian, penalties, tolerance)
    step = torch.zeros_like(g)
    curvature = bent = distance = torch.zeros_like(g)
    for number in range(iterations + 1):
        slope = g + curvature + bent / 2 + distance
        residual = float(torch.linalg.vector_norm(slope))
        terms = max(float(torch.linalg.vector_norm(term)) for term in (g, curvature, bent, distance))
        if not math.isfinite(residual):
            raise InputError("minimize_quartic: products of the derivatives are not finite")
        if residual <= max(tolerance, ROUNDING * terms):
            return QuarticStep(step, residual, number)
        step = solve(slope / RELATIVE_SMOOTHNESS - curvature - distance)
        curvature, bent = product(step), third(step).double()
        distance = _stiffness(float(torch.linalg.vector_norm(step)), penalties) * step
    raise ConvergenceError(
        f"minimize_quartic: after {iterations} iterations the model's gradient has norm {residual:.2g}; raise the "
        "quartic penalty (6 Lipschitz constants of the third derivative make it fast), or the tolerance"
    )


def _solver(
    hessian: Hessian, penalties: tuple[float, ...], tolerance: float
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Products with H, and b -> minimiser of rho(h) + b . h."""
    if isinstance(hessian, Tensor):
        matrix = hessian.double()
        values, vectors = torch.linalg.eigh(matrix)
        return lambda v: matrix @ v, lambda b: vectors @ _in_eigenbasis(values, vectors.mT @ b, penalties)

    def product(v: Tensor) -> Tensor:
        return hessian(v).double()

    def solve(b: Tensor) -> Tensor:
        size, length = len(b), float(torch.linalg.vector_norm(b))
        steps = min(size, 8)
        while length > 0:
            pairs = lanczos(hessian, size, steps=steps, start=b)
            h = pairs.vectors @ _in_eigenbasis(pairs.values, pairs.vectors.mT @ b, penalties)
            shift = _stiffness(float(torch.linalg.vector_norm(h)), penalties)
            miss = float(torch.linalg.vector_norm(product(h) + shift * h + b))
            if steps == size or miss <= max(tolerance / 8, ROUNDING / 8 * length):
                return h
            steps = min(size, 2 * steps)
        return torch.zeros_like(b)

    return product, solve


def _stiffness(length: float, penalties: tuple[float, ...]) -> float:
    return sum(k * length**i for i, k in enumerate(penalties))


def _in_eigenbasis(values: Tensor, slope: Tensor, penalties: tuple[float, ...]) -> Tensor:
    """Components of the solution of (H + stiffness(|h|) I) h = -slope in the eigenbasis of H."""
    lowest, scale = float(values.min()) + penalties[0], float(values.abs().max()) + penalties[0]
    if lowest < -1e-10 * scale:
        raise InputError(
            f"minimize_quartic: H + delta I has the eigenvalue {lowest:.3g}; the model must be convex: raise the "
            "quadratic penalty to the error of the Hessian (delta2)"
        )
    base = (values + penalties[0]).clamp_min(0.0)
    length = float(torch.linalg.vector_norm(slope))
    if length == 0:
        return torch.zeros_like(slope)

    def components(r: float) -> Tensor:
        return -slope / (base + (_stiffness(r, penalties) - penalties[0]))

    def excess(r: float) -> float:
        return r / float(torch.linalg.vector_norm(components(r))) - 1

    longest = (length / penalties[2]) ** (1 / 3) * (1 + 1e-12)
    shortest = longest
    while excess(shortest) > 0:
        shortest /= 8
    if shortest == longest:
        return components(longest)
    return components(float(brentq(excess, shortest, 8 * shortest, xtol=1e-300, rtol=1e-15, maxiter=500)))
