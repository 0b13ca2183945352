"""Gradients of F(x, y(x)) by x, the classical ways: through the steps that led to y, or by implicit differentiation.

Unrolled (reverse mode through T steps of gradient descent on f):      d F(x, y_T(x)) / dx
Implicit (conjugate gradients on the lower Hessian):                   grad_x F - f_xy f_yy^-1 grad_y F

Both need second derivatives of f; the first keeps the graph of all steps, the second needs y to be a minimiser whose
Hessian is positive definite.

Sources: Franceschi, Donini, Frasconi, Pontil, ICML 2017, arXiv:1703.01785 (reverse mode); Pedregosa, ICML 2016,
arXiv:1602.02355 (implicit differentiation by conjugate gradients).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.bilevel.objectives import (
    Objective,
    Penalty,
    Variables,
    constants,
    descend,
    gradients,
    inner,
    leaves,
)
from polyad.optim.curvature.products import hessian_operator


@final
@dataclass(frozen=True, eq=False)
class Hypergradient:
    """F after the inner steps, its gradient by x, and where the inner steps ended.

    Args:
        value: F(x, y).
        gradient: by x, of the shapes of x.
        lower_variables: y, without a graph.
    """

    value: Tensor
    gradient: list[Tensor]
    lower_variables: list[Tensor]


def lower_descent(
    lower: Objective,
    upper_variables: Variables,
    lower_variables: Variables,
    *,
    steps: int,
    lr: float,
    penalty: Penalty | None = None,
    differentiable: bool = False,
) -> list[Tensor]:
    """y after (proximal) gradient steps on the lower level.

    Args:
        lower: f.
        upper_variables: x.
        lower_variables: y to begin with.
        steps: number of them.
        lr: their length.
        penalty: g.
        differentiable: keep the graph of all steps.

    Raises:
        InputError: less than no steps.
    """
    if steps < 0:
        raise InputError(f"steps: must not be negative, got {steps}")
    x = upper_variables if differentiable else constants(upper_variables)
    y = leaves(lower_variables)
    with torch.enable_grad():
        for _ in range(steps):
            if differentiable:
                slope = torch.autograd.grad(lower(x, y), y, create_graph=True, materialize_grads=True)
                y = [a - lr * b for a, b in zip(y, slope, strict=True)]
            else:
                y = leaves(descend(constants(y), gradients(lower(x, y), y), lr))
            if penalty is not None:
                y = penalty.prox(x, y, lr)
                y = y if differentiable else leaves(y)
    return y if differentiable else constants(y)


def unrolled_gradient(
    upper: Objective,
    lower: Objective,
    upper_variables: Variables,
    lower_variables: Variables,
    *,
    steps: int,
    lr: float,
    penalty: Penalty | None = None,
) -> Hypergradient:
    """Reverse-mode differentiation through the inner steps.

    Args:
        upper: F.
        lower: f.
        upper_variables: x.
        lower_variables: y to begin with, taken as independent of x.
        steps: inner steps.
        lr: their length.
        penalty: g.
    """
    x = leaves(upper_variables)
    options = {"steps": steps, "lr": lr}
    y = lower_descent(lower, x, lower_variables, penalty=penalty, differentiable=True, **options)  # type: ignore[arg-type]
    with torch.enable_grad():
        value = upper(x, y)
        gradient = gradients(value, x)
    return Hypergradient(value.detach(), gradient, constants(y))


def implicit_gradient(
    upper: Objective,
    lower: Objective,
    upper_variables: Variables,
    lower_variables: Variables,
    *,
    steps: int,
    lr: float,
    cg_steps: int = 10,
    damping: float = 0.0,
) -> Hypergradient:
    """Implicit differentiation at the end of the inner steps.

    Args:
        upper: F.
        lower: f.
        upper_variables: x.
        lower_variables: y to begin with.
        steps: inner steps.
        lr: their length.
        cg_steps: of conjugate gradients, which stop early at a direction without positive curvature.
        damping: added to the Hessian.
    """
    end = lower_descent(lower, upper_variables, lower_variables, steps=steps, lr=lr)
    x, y = leaves(upper_variables), leaves(end)
    with torch.enable_grad():
        value = upper(x, y)
        slopes = gradients(value, [*x, *y])
        inner_value = lower(x, y)
        hessian = hessian_operator(inner_value, y)
        slope = torch.autograd.grad(inner_value, y, create_graph=True, allow_unused=True, materialize_grads=True)

        def damped(vectors: Variables) -> list[Tensor]:
            return list(torch._foreach_add(list(hessian(vectors)), list(vectors), alpha=damping))

        solution = _truncated_conjugate_gradients(damped, slopes[len(x) :], cg_steps)
        mixed = gradients(inner(slope, solution), x)
    return Hypergradient(value.detach(), descend(slopes[: len(x)], mixed, 1.0), end)


def _truncated_conjugate_gradients(operator, right: Variables, steps: int) -> list[Tensor]:  # type: ignore[no-untyped-def]
    """So many steps towards the solution; what `linalg.krylov` refuses, an unfinished solution, is the method here."""
    solution = [torch.zeros_like(b) for b in right]
    residual, direction = list(right), list(right)
    size = inner(residual, residual)
    tiny = float(size) * torch.finfo(size.dtype).eps ** 2
    for _ in range(steps):
        image = operator(direction)
        curvature = inner(direction, image)
        if not float(curvature) > 0 or float(size) <= tiny:
            break
        solution = descend(solution, direction, -float(size / curvature))
        residual = descend(residual, image, float(size / curvature))
        before, size = size, inner(residual, residual)
        direction = descend(residual, direction, -float(size / before))
    return constants(solution)
