"""Three known optimisers without their averages, each built as it is defined, and each steepest descent in disguise.

    Adam      g / sqrt(g^2)                             = sign(g)     under the largest entry
    Shampoo   (G G^T)^(-1/4) G (G^T G)^(-1/4)           = U V^T       under the largest singular value
    Prodigy   sign(g_t), eta_{t+1} = max(eta_t, <g_t, w_0 - w_t> / |g_t|_1): sign descent whose step grows until the
              parameters have left the surroundings of their start

Of a G that is not square one of Shampoo's factors is singular; its root is that of the pseudo-inverse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from polyad.linalg.matrix_roots import inverse_root_eigh
from polyad.optim import checks
from polyad.optim.base import GradientOptimizer, add_scaled, full_precision

RANK_TOLERANCE = 1e-10
"""Share of the largest eigenvalue under which one counts as zero."""


@final
class SignDescent(GradientOptimizer):
    """w <- w - lr sign(g): Adam without averages, steepest descent under the largest entry of all.

    Args:
        params: as everywhere in torch.optim.
        lr: change of every entry whose gradient is not zero.

    Raises:
        InputError: what `polyad.optim.checks` refuses.
    """

    def __init__(self, params: Any, *, lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr})

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step of a group."""
        gradients = full_precision([p.grad for p in parameters if p.grad is not None])
        add_scaled(parameters, torch._foreach_sign(gradients), -group["lr"])


@final
class UnaccumulatedShampoo(GradientOptimizer):
    """Shampoo of the last gradient alone, with inverse fourth roots by eigenvalues in float64.

    Args:
        params: as everywhere in torch.optim; flattened behind the first dimension, vectors are one column.
        lr: length of a step in the spectral norm.

    Raises:
        InputError: what `polyad.optim.checks` refuses.
    """

    def __init__(self, params: Any, *, lr: float = 1e-2) -> None:
        super().__init__(params, {"lr": lr})

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step of a group."""
        gradients = full_precision([p.grad for p in parameters if p.grad is not None])
        steps = []
        for gradient in gradients:
            matrix = gradient.reshape(len(gradient) if gradient.ndim else 1, -1).double()
            matrix = matrix / torch.where(matrix.any(), matrix.abs().amax(), 1.0)
            left = inverse_root_eigh(matrix @ matrix.mT, 4, rank_tolerance=RANK_TOLERANCE)
            right = inverse_root_eigh(matrix.mT @ matrix, 4, rank_tolerance=RANK_TOLERANCE)
            steps.append((left @ matrix @ right).reshape(gradient.shape).to(gradient.dtype))
        add_scaled(parameters, steps, -group["lr"])


@final
class AdaptiveSignDescent(GradientOptimizer):
    """w <- w - lr eta sign(g) with Prodigy's eta, one number for all parameters, which only grows.

    Args:
        params: as everywhere in torch.optim; all groups share eta.
        lr: factor on eta, for schedules.
        initial_step: eta_0, well under the distance to a minimum.

    Raises:
        InputError: an initial step that is not positive, or what `polyad.optim.checks` refuses.
    """

    def __init__(self, params: Any, *, lr: float = 1.0, initial_step: float = 1e-6) -> None:
        checks.check_positive(initial_step=initial_step)
        super().__init__(params, {"lr": lr})
        self.param_groups[0].setdefault("eta", initial_step)

    @property
    def eta(self) -> float:
        """The step of now."""
        return float(self.param_groups[0]["eta"])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all groups; returns the closure's loss.

        Raises:
            InputError: a closure that returns None, or sparse gradients.
        """
        loss = checks.evaluate(closure)
        if checks.gradients_usable(self):
            groups = [(group, checks.with_gradient(group["params"])) for group in self.param_groups]
            self._grow([parameter for _, given in groups for parameter in given])
            for group, given in groups:
                if given:
                    self.update(group, given)
        return loss

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step of a group with the eta of now."""
        gradients = full_precision([p.grad for p in parameters if p.grad is not None])
        add_scaled(parameters, torch._foreach_sign(gradients), -group["lr"] * self.eta)

    def _grow(self, parameters: list[Tensor]) -> None:
        gain, size = 0.0, 0.0
        for parameter, gradient in zip(
            parameters, full_precision([p.grad for p in parameters if p.grad is not None]), strict=True
        ):
            start = self.state[parameter].setdefault("start", parameter.detach().clone())
            gain += float((gradient * (start.to(gradient.dtype) - parameter.to(gradient.dtype))).sum())
            size += float(gradient.abs().sum())
        if size > 0:
            self.param_groups[0]["eta"] = max(self.eta, gain / size)
