"""Checks of mathematical laws, for the tests of Polyad and for those of its users.

Each check either passes or raises `AssertionError` with the number that was measured and the one that was allowed. They
compare relative to the size of what they compare, so one tolerance fits stiffness in gigapascals and in units of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def relative_error(value: Tensor, reference: Tensor) -> float:
    """Largest absolute difference over the largest absolute entry of `reference` (of both where that is zero).

    Raises:
        AssertionError: different shapes, or an entry that is not finite: NaN must never pass for agreement.
    """
    assert value.shape == reference.shape, f"shapes differ: {tuple(value.shape)} and {tuple(reference.shape)}"
    if value.numel() == 0:
        return 0.0
    assert bool(torch.isfinite(value).all()), "the value has entries that are not finite"
    assert bool(torch.isfinite(reference).all()), "the reference has entries that are not finite"
    size = float(reference.abs().max()) or float(value.abs().max()) or 1.0
    return float((value - reference).abs().max()) / size


def assert_equivariant(
    function: Callable[[Any], Tensor],
    argument: Any,
    *,
    transform_input: Callable[[Any], Any],
    transform_output: Callable[[Tensor], Tensor],
    tolerance: float = 1e-9,
) -> float:
    """f(T x) = T' f(x): transforming the input transforms the output. Returns the relative error.

        assert_equivariant(
            lambda lattice: effective_stiffness(lattice),
            lattice,
            transform_input=lambda x: x.rotate(rotation),
            transform_output=lambda stiffness: rotate_stiffness(stiffness, rotation),
        )

    With `transform_output=lambda y: y` it checks invariance.
    """
    error = relative_error(function(transform_input(argument)), transform_output(function(argument)))
    assert error <= tolerance, f"not equivariant: relative error {error:.3e}, allowed {tolerance:.1e}"
    return error


def assert_convergence_order(
    error_of: Callable[[float], float], steps: Sequence[float], *, order: float | int, tolerance: float = 0.2
) -> float:
    """The error falls like step^order: the least-squares slope of log error over log step. Returns that slope.

    Args:
        error_of: the error made with a step.
        steps: at least three, all in the range where neither rounding nor the coarsest step spoils the slope.
        order: of the theory; a slope beyond it by more than `tolerance` fails as well, for it means another method.
        tolerance: allowed difference from `order`.
    """
    assert len(set(steps)) >= 3, "give at least three different steps: two cannot show an order"
    errors = [float(error_of(step)) for step in steps]
    assert all(math.isfinite(error) and error > 0 for error in errors), f"errors must be positive numbers: {errors}"
    x = torch.tensor(steps, dtype=torch.float64).log()
    y = torch.tensor(errors, dtype=torch.float64).log()
    x = x - x.mean()
    slope = float((x * y).sum() / (x * x).sum())
    assert abs(slope - order) <= tolerance, (
        f"order is {slope:.3f}, expected {order} within {tolerance}; errors {errors}"
    )
    return slope


def assert_symmetric(matrices: Float[Tensor, "... n n"], *, tolerance: float = 1e-12) -> float:
    """A = A' for every matrix. Returns the largest asymmetry relative to the largest entry."""
    error = relative_error(matrices.mT, matrices)
    assert error <= tolerance, f"not symmetric: relative asymmetry {error:.3e}, allowed {tolerance:.1e}"
    return error


def assert_positive_semidefinite(matrices: Float[Tensor, "... n n"], *, tolerance: float = 1e-12) -> float:
    """Symmetric, and no eigenvalue below -tolerance x the largest of its matrix. Returns the smallest such quotient."""
    assert_symmetric(matrices, tolerance=max(tolerance, 1e-12))
    eigenvalues = torch.linalg.eigvalsh(matrices)
    scale = eigenvalues.abs().amax(-1)
    quotient = float((eigenvalues[..., 0] / torch.where(scale > 0, scale, torch.ones_like(scale))).min())
    assert quotient >= -tolerance, f"negative eigenvalue: {quotient:.3e} of the largest, allowed {-tolerance:.1e}"
    return quotient
