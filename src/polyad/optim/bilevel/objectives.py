"""What bilevel methods are given: objectives F and f of the variables of both levels, and a penalty g with its prox.

An objective is a function of two lists of tensors. For the weights of a module, `torch.func.functional_call` makes one:

    def lower(x, y):
        outputs = functional_call(model, dict(zip(names, y)), inputs)
        return (x[0].sigmoid() * cross_entropy(outputs, labels, reduction="none")).mean()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor

Variables = Sequence[Tensor]
"""The tensors of one level."""

Objective = Callable[[Variables, Variables], Tensor]
"""(x, y) -> a scalar, differentiable in both."""


@runtime_checkable
class Penalty(Protocol):
    """g(x, y), convex in y, whose proximal map is known."""

    def value(self, upper: Variables, lower: Variables) -> Tensor:
        """g, a scalar, differentiable in x."""
        ...

    def prox(self, upper: Variables, lower: Variables, step: float) -> list[Tensor]:
        """argmin over z of step * g(x, z) + |z - y|^2 / 2."""
        ...


@final
@dataclass(frozen=True)
class ElasticNet:
    """g = sum of l1 |y| + l2 y^2 / 2 over all entries of y; lasso where l2 is zero.

    Args:
        weights: x -> (l1, l2), not negative, scalars or of shapes that broadcast against each tensor of y.
    """

    weights: Callable[[Variables], tuple[Tensor, Tensor]]

    def value(self, upper: Variables, lower: Variables) -> Tensor:
        """g."""
        l1, l2 = self.weights(upper)
        parts = [(l1 * y.abs() + l2 * y.square() / 2).sum() for y in lower]
        return torch.stack(parts).sum()

    def prox(self, upper: Variables, lower: Variables, step: float) -> list[Tensor]:
        """Soft thresholds, then shrinkage."""
        l1, l2 = self.weights(upper)
        return [y.sign() * (y.abs() - step * l1).clamp_min(0) / (1 + step * l2) for y in lower]


def gradients(value: Tensor, variables: Variables) -> list[Tensor]:
    """First derivatives; zeros for variables that the value does not reach."""
    if not value.requires_grad:
        return [torch.zeros_like(x) for x in variables]
    return list(torch.autograd.grad(value, list(variables), allow_unused=True, materialize_grads=True))


def leaves(variables: Variables) -> list[Tensor]:
    """The same values, each the start of a graph of its own."""
    return [x.detach().requires_grad_() for x in variables]


def constants(variables: Variables) -> list[Tensor]:
    """The same values, without a graph."""
    return [x.detach() for x in variables]


def descend(variables: Variables, directions: Variables, step: float) -> list[Tensor]:
    """variables - step * directions."""
    return list(torch._foreach_add(list(variables), list(directions), alpha=-step))


def inner(one: Variables, other: Variables) -> Tensor:
    """Sum of products of all entries."""
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()
