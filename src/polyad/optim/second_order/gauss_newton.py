"""Gauss-Newton steps of a sum of squares with Levenberg-Marquardt damping, without the Jacobian.

    L(theta) = |r(theta)|^2 / 2,    (J^T J + lam I) d = -J^T r,    J = dr / dtheta

by conjugate gradients on products J v (forward mode) and J^T u (reverse mode). lam falls after a step whose decrease
the model foresaw and rises after one that it did not; a step that raises L is tried again with more damping.

Source: K. Levenberg (1944), D. W. Marquardt, SIAM J. Appl. Math. 11 (1963) 431; J. More, Lecture Notes in Mathematics
630 (1978) 105 (the ratio that steers the damping).

*When not to use it*: for losses that are no squares, or on batches whose residuals change at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim import checks
from polyad.optim.curvature.products import flatten, unflatten

Residuals = Callable[[dict[str, Tensor]], Tensor]
"""Parameters by name -> residuals of any shape, such as `lambda p: functional_call(net, p, (inputs,)) - targets`."""


def gauss_newton_product(
    residuals: Residuals, parameters: Mapping[str, Tensor], vectors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """J^T J v.

    Args:
        residuals: differentiable in forward and reverse mode.
        parameters: point at which J is taken.
        vectors: v, shaped like the parameters.
    """
    point = {name: p.detach() for name, p in parameters.items()}
    pull = torch.func.vjp(residuals, point)[1]
    pushed = torch.func.jvp(residuals, (point,), (dict(vectors),))[1]
    product: dict[str, Tensor] = pull(pushed)[0]
    return product


@final
class GaussNewton:
    """`step(residuals)` moves the parameters of a model; `damping` adapts by itself.

    Args:
        model: whose parameters that require gradients are moved.
        damping: first lam.
        iterations: the most conjugate gradient iterations a step.
        tolerance: of their residual over |J^T r|.
        tries: trials a step before it is given up, and `stalled` says so.

    Raises:
        InputError: numbers that are not positive, or a model without parameters to move.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        damping: float = 1e-3,
        iterations: int = 20,
        tolerance: float = 1e-3,
        tries: int = 10,
    ) -> None:
        checks.check_positive(damping=damping, iterations=iterations, tolerance=tolerance, tries=tries)
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad and p.numel()}
        if not self.parameters:
            raise InputError("model: has no parameter that requires a gradient")
        checks.check_group({"params": list(self.parameters.values())})
        self.damping, self.iterations, self.tolerance, self.tries = damping, iterations, tolerance, tries
        self.evaluations, self.products, self.stalled = 0, 0, False

    def state_dict(self) -> dict[str, Any]:
        """Damping and counts."""
        return {name: getattr(self, name) for name in ("damping", "evaluations", "products", "stalled")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with a saved damping and saved counts.

        Raises:
            InputError: another optimiser's state.
        """
        if set(state) != set(self.state_dict()):
            raise InputError(f"state: has {sorted(state)}; give what state_dict() of GaussNewton returned")
        for name, value in state.items():
            setattr(self, name, value)

    @torch.no_grad()
    def step(self, residuals: Residuals) -> Float[Tensor, ""]:
        """One step that lowers the loss; returns |r|^2 / 2 at its start.

        Raises:
            InputError: residuals that are not finite at the parameters as they are.
        """
        point = {name: p.detach().clone() for name, p in self.parameters.items()}
        with torch.enable_grad():
            found, pull = torch.func.vjp(residuals, point)[:2]
        self.evaluations += 1
        loss = 0.5 * found.square().sum()
        if not bool(loss.isfinite()):
            raise InputError("residuals: not finite; look at the point where they are taken")
        gradient = self._flat(pull(found)[0])

        def product(vector: Tensor) -> Tensor:
            self.products += 1
            pushed = torch.func.jvp(residuals, (point,), (self._shaped(vector),))[1]
            return self._flat(pull(pushed)[0])

        for _ in range(self.tries):
            move, foreseen = self._solve(product, gradient)
            moves = self._shaped(move)
            trial = {name: value + moves[name] for name, value in point.items()}
            after = 0.5 * residuals(trial).square().sum()
            self.evaluations += 1
            ratio = float(loss - after) / foreseen if foreseen > 0 else 0.0
            if math.isfinite(ratio) and ratio > 0.75:
                self.damping /= 3
            elif not ratio >= 0.25:
                self.damping *= 4
            if math.isfinite(ratio) and ratio > 1e-4:
                for name, parameter in self.parameters.items():
                    parameter.copy_(trial[name])
                self.stalled = False
                return loss
        self.stalled = True
        return loss

    def _solve(self, product: Callable[[Tensor], Tensor], gradient: Tensor) -> tuple[Tensor, float]:
        """d by conjugate gradients from 0, cut off; and the decrease -g.d - |J d|^2 / 2 that the model foresees."""
        move, rest = torch.zeros_like(gradient), -gradient
        direction, square = rest.clone(), float(rest @ rest)
        limit = self.tolerance**2 * square
        for _ in range(self.iterations):
            if square <= limit or square == 0:
                break
            curved = product(direction) + self.damping * direction
            length = square / float(direction @ curved)
            move = move + length * direction
            rest = rest - length * curved
            square, former = float(rest @ rest), square
            direction = rest + (square / former) * direction
        undamped = -gradient - rest - self.damping * move  # J^T J d
        return move, float(-gradient @ move - 0.5 * move @ undamped)

    def _flat(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return flatten(tensors[name] for name in self.parameters)

    def _shaped(self, vector: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.parameters, unflatten(vector, self.parameters.values()), strict=True))
