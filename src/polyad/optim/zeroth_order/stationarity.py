"""Whether a point is second-order stationary: small gradient, no curvature that is clearly negative."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.checks import check_positive


@final
@dataclass(frozen=True)
class Stationarity:
    """Gradient's norm, least eigenvalue of the Hessian, and whether both are within their tolerances."""

    gradient_norm: float
    lowest_curvature: float
    holds: bool


def second_order_stationarity(
    function: Callable[[Tensor], Tensor],
    point: Float[Tensor, " d"],
    *,
    gradient_tolerance: float,
    hessian_lipschitz: float,
) -> Stationarity:
    """||grad f|| <= eps and lambda_min(Hess f) >= -sqrt(rho eps), by autograd and a dense Hessian.

    Args:
        function: value at a point, differentiable twice.
        point: where.
        gradient_tolerance: eps.
        hessian_lipschitz: rho.

    Raises:
        InputError: tolerances that are not positive, or a value that is not finite.
    """
    check_positive(gradient_tolerance=gradient_tolerance, hessian_lipschitz=hessian_lipschitz)
    with torch.enable_grad():
        variable = point.detach().requires_grad_()
        value = function(variable)
        if not bool(value.isfinite()):
            raise InputError(f"function: its value at the point is {value.item()}; give a point where it is finite")
        (gradient,) = torch.autograd.grad(value, variable)
        hessian = torch.autograd.functional.hessian(function, point.detach())
    if not bool(hessian.isfinite().all()):
        raise InputError(
            "function: its Hessian at the point is not finite; give one that is differentiable twice there"
        )
    norm = float(torch.linalg.vector_norm(gradient))
    lowest = float(torch.linalg.eigvalsh(hessian)[0])
    holds = norm <= gradient_tolerance and lowest >= -math.sqrt(hessian_lipschitz * gradient_tolerance)
    return Stationarity(norm, lowest, holds)
