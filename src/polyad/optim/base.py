"""What every optimiser by gradient shares: groups and states that are checked, steps that are skipped, and the loop.

A final subclass names its defaults and says in `update` what happens to the parameters of one group:

    @final
    class SignDescent(GradientOptimizer):
        def __init__(self, params, *, lr: float = 1e-3) -> None:
            super().__init__(params, {"lr": lr})

        def update(self, group, parameters) -> None:
            torch._foreach_add_(parameters, [p.grad.sign() for p in parameters], alpha=-group["lr"])

Parameters in float16 or bfloat16: compute in float32 (`full_precision`), add, and the sum is rounded to nearest.
A method that needs more than one gradient a step overrides `step` and calls `polyad.optim.checks` itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from polyad.optim import checks


class GradientOptimizer(torch.optim.Optimizer, ABC):
    """A `torch.optim.Optimizer` whose bad input is handled as `polyad.optim.checks` says.

    Args:
        params: parameters, named parameters, or groups of them, as everywhere in torch.optim.
        defaults: options of groups that do not set their own.

    Raises:
        InputError: a learning rate that is not positive, or complex parameters.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)

    @property
    def skipped_steps(self) -> int:
        """Number of steps that were skipped because a gradient was not finite."""
        return checks.skipped_steps(self)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as in torch.optim; its options are checked."""
        super().add_param_group(param_group)
        try:
            checks.check_group(self.param_groups[-1])
            self.check_options(self.param_groups[-1])
        except Exception:
            self.param_groups.pop()  # what is refused leaves the optimiser as it was
            raise

    def check_options(self, group: dict[str, Any]) -> None:
        """Refuse options of a group beside its learning rate with `InputError`."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of the same parameters, to the bit.

        Raises:
            InputError: a state of other parameters.
        """
        checks.check_state(self, state_dict)
        super().load_state_dict(state_dict)
        checks.restore_exactly(self, state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns the closure's loss.

        Args:
            closure: computes gradients and returns the loss.

        Raises:
            InputError: a closure that returns None, or sparse gradients.
        """
        loss = checks.evaluate(closure)
        if checks.gradients_usable(self):
            for group in self.param_groups:
                if parameters := checks.with_gradient(group["params"]):
                    self.update(group, parameters)
        return loss

    @abstractmethod
    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Change the parameters of one group; all have finite dense gradients and at least one element."""


def full_precision(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, those of less than 32 bits as float32 copies; the others themselves."""
    return [x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in tensors]


def add_scaled(parameters: Sequence[Tensor], directions: Sequence[Tensor], factor: float) -> None:
    """parameter += factor * direction for all; where dtypes differ, the sum is formed in the direction's."""
    if all(p.dtype == d.dtype for p, d in zip(parameters, directions, strict=True)):
        torch._foreach_add_(list(parameters), list(directions), alpha=factor)
        return
    for parameter, direction in zip(parameters, directions, strict=True):
        parameter.copy_(parameter.to(direction.dtype).add_(direction, alpha=factor))
