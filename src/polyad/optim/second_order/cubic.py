"""The global minimiser of a quadratic model with a cubic penalty, convex or not.

    m(h) = g . h + h . H h / 2 + delta |h|^2 / 2 + M |h|^3 / 6

h is a global minimiser exactly if (H + mu I) h = -g and H + mu I >= 0 with mu = delta + M |h| / 2. In the eigenbasis of
H this is one scalar equation for |h|. In the hard case (H + delta I indefinite, g without a part in the lowest
eigenvector) it has no root, and a multiple of that eigenvector gives h the length that is missing.

A Hessian given as products is replaced by its Ritz pairs in a Krylov space that grows until the model's gradient is
small; at full dimension it is exact.

Source: Yu. Nesterov and B. T. Polyak, Math. Program. 108 (2006) 177, section 5.
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

from polyad.errors import InputError
from polyad.linalg.lanczos import lanczos


@final
@dataclass(frozen=True, eq=False)
class CubicStep:
    """The minimiser `step` (n,), the `decrease` -m(h) >= 0, and `residual`, the norm of the model's gradient."""

    step: Float[Tensor, " n"]
    decrease: float
    residual: float


def minimize_cubic(
    gradient: Float[Tensor, " n"],
    hessian: Float[Tensor, "n n"] | Callable[[Tensor], Tensor],
    *,
    cubic: float,
    quadratic: float = 0.0,
    tolerance: float = 0.0,
) -> CubicStep:
    """The minimiser of m, in float64.

    Args:
        gradient: g.
        hessian: symmetric H, or v -> H v.
        cubic: M > 0.
        quadratic: delta >= 0.
        tolerance: with products, the norm of the model's gradient that is small enough; 0: the full Krylov space.

    Raises:
        InputError: a penalty that is not positive, or numbers that are not finite.
    """
    if not (math.isfinite(cubic) and cubic > 0 and math.isfinite(quadratic) and quadratic >= 0):
        raise InputError(f"minimize_cubic: cubic {cubic}, quadratic {quadratic}; they must be > 0 and >= 0")
    g = gradient.double()
    if not bool(g.isfinite().all()) or (isinstance(hessian, Tensor) and not bool(hessian.isfinite().all())):
        raise InputError("minimize_cubic: gradient or Hessian is not finite; look at the point where they are taken")
    if isinstance(hessian, Tensor):
        matrix = hessian.double()
        values, vectors = torch.linalg.eigh(matrix)
        step = vectors @ _in_eigenbasis(values, vectors.mT @ g, cubic, quadratic)
        return _finished(step, g, matrix @ step, cubic, quadratic)
    size, steps = len(g), min(len(g), 8) if tolerance > 0 else len(g)
    while True:
        pairs = lanczos(hessian, size, steps=steps, start=g if bool(g.any()) else None)
        step = pairs.vectors @ _in_eigenbasis(pairs.values, pairs.vectors.mT @ g, cubic, quadratic)
        found = _finished(step, g, hessian(step).double(), cubic, quadratic)
        if found.residual <= tolerance or steps == size:
            return found
        steps = min(size, 2 * steps)


def _in_eigenbasis(values: Tensor, slope: Tensor, cubic: float, quadratic: float) -> Tensor:
    """The minimiser's components, from eigenvalues and the gradient's components."""
    lowest = float(values.min())
    shortest = max(0.0, 2 * (-lowest - quadratic) / cubic)  # |h| is at least this, for H + mu I >= 0
    base = values - lowest if shortest > 0 else values + quadratic
    base = base.clamp_min(0.0)
    base = torch.where(base <= 1e-14 * values.abs().max(), torch.zeros_like(base), base)
    length = float(torch.linalg.vector_norm(slope))
    slope = torch.where(slope.abs() <= 1e-15 * length, torch.zeros_like(slope), slope)

    def components(extra: float) -> Tensor:
        shift = base + cubic * extra / 2
        return torch.where(slope == 0, slope, -slope / shift)

    def excess(extra: float) -> float:
        norm = float(torch.linalg.vector_norm(components(extra)))
        return (shortest + extra) / norm - 1 if norm > 0 else math.inf

    if length == 0 or excess(0.0) >= 0:
        step = components(0.0)
        missing = shortest**2 - float(step @ step)
        step[values.argmin()] += math.sqrt(max(0.0, missing))
        return step
    longest = math.sqrt(2 * length / cubic) * (1 + 1e-12)
    tiny = torch.finfo(torch.float64).tiny
    return components(float(brentq(excess, 0.0, longest, xtol=tiny, rtol=1e-15, maxiter=2000)))


def _finished(step: Tensor, g: Tensor, product: Tensor, cubic: float, quadratic: float) -> CubicStep:
    norm = torch.linalg.vector_norm(step)
    residual = torch.linalg.vector_norm(g + product + (quadratic + cubic * norm / 2) * step)
    model = g @ step + step @ product / 2 + quadratic * norm**2 / 2 + cubic * norm**3 / 6
    return CubicStep(step, -float(model), float(residual))
