"""What methods that ask for derivatives share: oracles, what they may answer, starts, saved states.

An oracle takes a point x, (n,), and answers with the tuple (value, gradient, Hessian): the Hessian, or what stands for
it, as a matrix or as v -> H v. Methods of third order expect (value, gradient, Hessian, h -> D3f(x)[h, h]). An oracle
with a method `first_order`, x -> (value, gradient), is asked by it where no Hessian is needed.

`FunctionOracle` makes one from a differentiable function, with any of the usual substitutes of the Hessian.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.checks import all_finite, one_number, warn_skipped
from polyad.optim.curvature.products import empirical_fisher_operator, gauss_newton_operator, hessian_operator

Hessian = Tensor | Callable[[Tensor], Tensor]
"""A symmetric matrix, or its products v -> H v."""

Oracle = Callable[[Tensor], Any]
"""x -> (value, gradient, Hessian), all at x."""

SUBSTITUTES = ("exact", "gauss_newton", "fisher", "diag")
"""Names of Hessians that `FunctionOracle` knows."""


@final
@dataclass(frozen=True, eq=False)
class Derivatives:
    """An oracle's answer, float64: `value`, `gradient` (n,), `hessian` and h -> D3f[h, h] where they were asked for."""

    value: float
    gradient: Float[Tensor, " n"]
    hessian: Hessian | None = None
    third: Callable[[Tensor], Tensor] | None = None

    @property
    def finite(self) -> bool:
        """Whether value, gradient and a Hessian that is a matrix are all finite."""
        tensors = [torch.tensor(self.value), self.gradient]
        return all_finite([*tensors, self.hessian] if isinstance(self.hessian, Tensor) else tensors)


def derivatives(oracle: Oracle, x: Tensor, *, order: int = 2) -> Derivatives:
    """What the oracle answers at x, checked but for `finite`; the oracle may write into x and into its answers later.

    Args:
        oracle: as the module says.
        x: (n,).
        order: 1 for value and gradient alone, 2 with the Hessian, 3 with the third derivative's products.

    Raises:
        InputError: no tuple of the length that is needed, no single value, or a gradient or matrix of another shape.
    """
    first_order = getattr(oracle, "first_order", None)
    answer = first_order(x.clone()) if order == 1 and first_order is not None else oracle(x.clone())
    wanted = "(value, gradient, Hessian)" if order < 3 else "(value, gradient, Hessian, third)"
    if not isinstance(answer, tuple) or len(answer) < (2 if order == 1 else order + 1):
        raise InputError(f"oracle: must return the tuple {wanted}, it returned {type(answer).__name__}")
    if missing := [number for number, part in enumerate(answer[: order + 1]) if part is None]:
        raise InputError(f"oracle: must return the tuple {wanted}; parts {missing} of it are None")
    gradient = _float64(answer[1], x.shape, "gradient", x)
    hessian, third = None, None
    if order > 1:
        hessian = answer[2] if callable(answer[2]) else _float64(answer[2], (len(x), len(x)), "Hessian", x)
    if order > 2:
        third = answer[3]
        if not callable(third):
            raise InputError(f"oracle: third must be a function h -> D3f[h, h], it is {type(third).__name__}")
    return Derivatives(float(one_number(answer[0], "oracle's value")), gradient, hessian, third)


def skip(method: Any, found: Derivatives, *, name: str) -> float:
    """Count a step that is not taken because an answer is not finite, warn the first time; returns the answer's value.

    Args:
        method: whose `skipped_steps` counts.
        found: the answer.
        name: of the method, for the warning.
    """
    if not method.skipped_steps:
        warn_skipped(name)
    method.skipped_steps += 1
    return found.value


@final
class FunctionOracle:
    """An oracle from a function that torch can differentiate.

    Args:
        function: x (n,) -> value; with `loss`, x -> outputs, whose value is loss(outputs). For 'fisher', x -> one loss
            a sample, whose mean is the value.
        hessian: 'exact'; 'gauss_newton', J' (d2 loss / d outputs2) J with J the outputs' derivative; 'fisher', the mean
            of outer products of the samples' gradients; 'diag', the exact Hessian's diagonal; or a function x -> matrix
            or products.
        loss: outputs -> value. For 'gauss_newton' half the squared norm unless given.
        products: answer with v -> H v, never with the matrix.
        order: 3 to answer with products of the third derivative too.

    Raises:
        InputError: an unknown Hessian, products of a diagonal, or an order other than 2 and 3.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        *,
        hessian: str | Callable[[Tensor], Hessian] = "exact",
        loss: Callable[[Tensor], Tensor] | None = None,
        products: bool = False,
        order: int = 2,
    ) -> None:
        if isinstance(hessian, str) and hessian not in SUBSTITUTES:
            raise InputError(f"hessian: {hessian!r} is unknown; give a function of x or one of {SUBSTITUTES}")
        if order not in (2, 3):
            raise InputError(f"order: must be 2 or 3, got {order}")
        if products and hessian == "diag":
            raise InputError("products: the diagonal is cheap to store; leave products=False with hessian='diag'")
        self.function, self.hessian, self.loss, self.products, self.order = function, hessian, loss, products, order
        if loss is None and hessian == "gauss_newton":
            self.loss = lambda outputs: outputs.square().sum() / 2
        if loss is None and hessian == "fisher":
            self.loss = torch.mean

    def first_order(self, x: Float[Tensor, " n"]) -> tuple[Tensor, Tensor]:
        """Value and gradient."""
        point, _, value = self._forward(x)
        return value.detach(), torch.autograd.grad(value, point)[0]

    def __call__(self, x: Float[Tensor, " n"]) -> tuple[Any, ...]:
        """Value, gradient, Hessian, and for order 3 the third derivative's products."""
        point, outputs, value = self._forward(x)
        (gradient,) = torch.autograd.grad(value, point, retain_graph=True)
        answer = (value.detach(), gradient, self._hessian(point, outputs, value))
        return answer if self.order == 2 else (*answer, lambda h: self._third(x, h))

    @torch.enable_grad()
    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        point = x.detach().clone().requires_grad_()
        outputs = self.function(point)
        if not isinstance(outputs, Tensor):
            raise InputError(f"function: must return a tensor, it returned {type(outputs).__name__}")
        value = outputs if self.loss is None else self.loss(outputs)
        if value.ndim or not value.requires_grad:
            raise InputError(
                f"function: its value has shape {tuple(value.shape)}; return a scalar that depends on x, or give `loss`"
            )
        return point, outputs, value

    @torch.enable_grad()
    def _hessian(self, point: Tensor, outputs: Tensor, value: Tensor) -> Hessian:
        if callable(self.hessian):
            return self.hessian(point.detach())
        if self.hessian == "gauss_newton":
            assert self.loss is not None
            operator = gauss_newton_operator(outputs, self.loss, [point])
        elif self.hessian == "fisher":
            operator = empirical_fisher_operator(outputs, [point])
        else:
            operator = hessian_operator(value, [point])
        if self.products:
            return lambda vector: operator([vector])[0]
        matrix = torch.vmap(lambda vector: operator([vector])[0])(torch.eye(len(point)).to(point))
        return matrix.diagonal().diag() if self.hessian == "diag" else (matrix + matrix.mT) / 2

    @torch.enable_grad()
    def _third(self, x: Tensor, h: Tensor) -> Tensor:
        point, _, value = self._forward(x)
        for _ in range(2):
            (gradient,) = torch.autograd.grad(value, point, create_graph=True, materialize_grads=True)
            value = gradient @ h
            if not value.requires_grad:
                return torch.zeros_like(h)
        return torch.autograd.grad(value, point, materialize_grads=True)[0]


def checked_start(start: Tensor) -> Float[Tensor, " n"]:
    """A copy of the start in float64.

    Raises:
        InputError: not one finite real vector with elements.
    """
    if start.ndim != 1 or len(start) == 0 or start.is_complex() or not bool(start.isfinite().all()):
        raise InputError(
            f"start: must be one vector of real and finite numbers, got shape {tuple(start.shape)}, {start.dtype}"
        )
    return start.detach().double().clone()


def saved(method: Any, *names: str) -> dict[str, Any]:
    """The attributes of these names, tensors copied: what `load` needs to go on to the bit."""
    values = {name: getattr(method, name) for name in names}
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in values.items()}


def load(method: Any, state: Mapping[str, Any], *names: str) -> None:
    """Give the attributes of these names the values that `saved` kept.

    Raises:
        InputError: one is missing, or a tensor has another shape or dtype; nothing has changed then.
    """
    if missing := [name for name in names if name not in state]:
        raise InputError(f"state: lacks {missing}; give what state_dict() of the same kind of method returned")
    for name in names:
        own, given = getattr(method, name), state[name]
        if isinstance(own, Tensor) and not (
            isinstance(given, Tensor) and given.shape == own.shape and given.dtype == own.dtype
        ):
            has = f"{tuple(given.shape)}, {given.dtype}" if isinstance(given, Tensor) else type(given).__name__
            raise InputError(
                f"state: {name} has shape {has}, here {tuple(own.shape)}, {own.dtype}; load the same problem's state"
            )
    for name in names:
        own, given = getattr(method, name), state[name]
        setattr(method, name, given.detach().clone().to(own.device) if isinstance(own, Tensor) else given)


def _float64(given: Any, shape: tuple[int, ...], name: str, like: Tensor) -> Tensor:
    if not isinstance(given, Tensor) or given.shape != shape:
        got = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise InputError(f"oracle: {name} must be a tensor of shape {tuple(shape)}, got {got}")
    return given.detach().to(like, copy=True)
