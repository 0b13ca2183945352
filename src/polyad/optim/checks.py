"""Bad input of optimisers, handled once: what is refused, what is skipped and counted, what is passed over.

- A learning rate that is not positive, complex parameters, sparse gradients and a closure that returns None are refused
  with `InputError`. Only the constructor looks at learning rates: a schedule may end at 0.
- A step whose gradients are not all finite is skipped whole (no parameter and no state changes), counted in the
  parameter group under `skipped_steps` (so the count is in `state_dict`), and reported by a warning the first time.
- Methods that ask an oracle do the same with its answers: one that is no answer is refused and nothing has changed, one
  that is not finite is a step not taken, counted and reported (`warn_skipped`).
- Parameters without a gradient and parameters without elements are passed over.
- A state is loaded into parameters of the same shapes only, and to the bit: `torch.optim.Optimizer.load_state_dict`
  alone casts float32 statistics of bfloat16 parameters to bfloat16.

`polyad.optim.base.GradientOptimizer` calls all of this; an optimiser with a step of its own calls it where it fits.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from polyad.errors import InputError, NumericalWarning

SKIPPED = "skipped_steps"
"""Key of a parameter group that counts steps skipped for gradients that were not finite."""

SHAPES = "shapes"
"""Key of a parameter group with the shapes of its parameters, so that a state tells whose it is."""


def check_positive(**numbers: float) -> None:
    """Refuse numbers, given by their names, that are not positive and finite."""
    for name, value in numbers.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name}: must be positive and finite, got {value}")


def check_share(**numbers: float) -> None:
    """Refuse numbers, given by their names, that do not lie in [0, 1), as decay rates and momenta must."""
    for name, value in numbers.items():
        if not 0 <= value < 1:
            raise InputError(f"{name}: must lie in [0, 1), got {value}")


def check_not_negative(**numbers: float) -> None:
    """Refuse numbers, given by their names, that are negative or not finite."""
    for name, value in numbers.items():
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name}: must be finite and not negative, got {value}")


def check_group(group: dict[str, Any]) -> None:
    """Refuse a parameter group whose learning rate or parameters cannot be used, and write its bookkeeping into it.

    Args:
        group: of `torch.optim.Optimizer.param_groups`, its defaults filled in.

    Raises:
        InputError: `lr` not positive, or a complex parameter.
    """
    if "lr" in group:
        check_positive(lr=float(group["lr"]))
    for number, parameter in enumerate(group["params"]):
        if parameter.is_complex():
            raise InputError(
                f"parameter {number} of shape {tuple(parameter.shape)} is complex; "
                "keep real and imaginary parts as one real parameter (torch.view_as_real)"
            )
    group.setdefault(SKIPPED, 0)
    group[SHAPES] = [list(parameter.shape) for parameter in group["params"]]


def evaluate(closure: Callable[[], Any] | None) -> Any:
    """The loss that `closure` returns, computed with gradients switched on; None where there is no closure.

    Raises:
        InputError: the closure returned None.
    """
    if closure is None:
        return None
    with torch.enable_grad():
        loss = closure()
    if loss is None:
        raise InputError("closure: returned None; let it compute the gradients and return the loss")
    return loss


def one_number(given: Any, name: str) -> Tensor:
    """What a closure or an oracle gave as a value: a detached tensor of no dimensions.

    Args:
        given: a real number, or a tensor that holds one.
        name: of the value, for the message.

    Raises:
        InputError: it is no single real number.
    """
    if isinstance(given, Tensor) and given.numel() == 1 and not given.is_complex():
        return given.detach().reshape(())
    if isinstance(given, Real) and not isinstance(given, bool):
        return torch.as_tensor(given)
    what = f"a tensor of shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
    raise InputError(f"{name}: must be one real number, got {what}; return the batch's mean")


def require_loss(closure: Callable[[], Any] | None, name: str) -> Callable[[], Any]:
    """The closure, for a method that cannot step without one; the closure that comes back never returns None.

    Raises:
        InputError: there is no closure (`name` is the method's, for the message).
    """
    if closure is None:
        raise InputError(f"{name}: needs the loss at every step: call step(closure)")
    given = closure
    return lambda: evaluate(given)


def with_gradient(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Parameters that have a gradient and at least one element.

    Raises:
        InputError: a sparse gradient.
    """
    chosen = []
    for parameter in parameters:
        if parameter.grad is None or parameter.numel() == 0:
            continue
        if parameter.grad.layout is not torch.strided:
            raise InputError(
                f"a parameter of shape {tuple(parameter.shape)} has a sparse gradient; "
                "build the embedding with sparse=False, or give it an optimiser of its own"
            )
        chosen.append(parameter)
    return chosen


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no tensor holds NaN or infinity; one answer a device is waited for, not one a tensor."""
    by_device: dict[torch.device, dict[torch.dtype, list[Tensor]]] = {}
    for tensor in tensors:
        if tensor.numel():
            by_device.setdefault(tensor.device, {}).setdefault(tensor.dtype, []).append(tensor)
    for by_dtype in by_device.values():
        largest = [torch.stack(torch._foreach_norm(same, math.inf)).isfinite().all() for same in by_dtype.values()]
        if not bool(torch.stack(largest).all()):
            return False
    return True


def gradients_usable(optimizer: torch.optim.Optimizer) -> bool:
    """Whether this step may be taken; where a gradient is not finite, count the step as skipped and answer False.

    Under `DistributedDataParallel` all processes hold the same gradients and give the same answer.

    Raises:
        InputError: a sparse gradient.
    """
    gradients = [p.grad for group in optimizer.param_groups for p in with_gradient(group["params"])]
    if all_finite(g for g in gradients if g is not None):
        return True
    count_skipped(optimizer)
    return False


def count_skipped(optimizer: torch.optim.Optimizer, *, what: str = "a gradient") -> None:
    """Count a step that is not taken because `what` is not finite, and warn the first time."""
    if skipped_steps(optimizer) == 0:
        warn_skipped(type(optimizer).__name__, what=what)
    for group in optimizer.param_groups:
        group[SKIPPED] = group.get(SKIPPED, 0) + 1


def warn_skipped(name: str, *, what: str = "the oracle's answer", stacklevel: int = 4) -> None:
    """Report the first step that a method does not take.

    Args:
        name: of the method.
        what: is not finite.
        stacklevel: of the warning; 4 where a function that `step` calls calls this.
    """
    warnings.warn(
        f"{name}: {what} is not finite; such steps are skipped and counted (skipped_steps); lower the learning rate, "
        "start nearer, or look for a division by zero in the loss",
        NumericalWarning,
        stacklevel=stacklevel,
    )


def skipped_steps(optimizer: torch.optim.Optimizer) -> int:
    """Number of steps that were skipped because a gradient was not finite."""
    return max((group.get(SKIPPED, 0) for group in optimizer.param_groups), default=0)


def check_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Refuse a state of other parameters than these.

    Raises:
        InputError: another number of groups or parameters, or other shapes.
    """
    if not {"state", "param_groups"} <= set(state):
        raise InputError("state: is no state_dict of an optimiser; give what its state_dict() returned")
    given, own = state["param_groups"], optimizer.param_groups
    if [len(group["params"]) for group in given] != [len(group["params"]) for group in own]:
        raise InputError(
            f"state: has groups of {[len(group['params']) for group in given]} parameters, this optimiser of "
            f"{[len(group['params']) for group in own]}; load the state of the same model"
        )
    for number, (theirs, ours) in enumerate(zip(given, own, strict=True)):
        shapes = [list(shape) for shape in theirs.get(SHAPES, ours[SHAPES])]
        for place, (one, other) in enumerate(zip(shapes, ours[SHAPES], strict=True)):
            if one != other:
                raise InputError(
                    f"state: parameter {place} of group {number} has shape {tuple(one)}, here it has {tuple(other)}; "
                    "load the state of the same model"
                )


def restore_exactly(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """After `load_state_dict`: tensors of the state back to the values and dtypes that were saved.

    Args:
        optimizer: into which `state` was loaded.
        state: what was saved; tensors go to the device of their parameter and are copied.
    """
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, parameter in zip(numbers, parameters, strict=True):
        if number in state["state"]:
            optimizer.state[parameter] = copied(state["state"][number], parameter.device)


def copied(value: Any, device: torch.device) -> Any:
    """A value of a state with all its tensors copied to a device, dtypes as they are."""
    if isinstance(value, Tensor):
        return value.detach().clone().to(device)
    if isinstance(value, dict):
        return {key: copied(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(copied(item, device) for item in value)
    return value
