"""The step along a preconditioned gradient: momentum, AdamW or LAMB, as if it were the gradient itself.

Fed with the gradient, `sgd` and `adamw` are torch.optim.SGD and torch.optim.AdamW. Memory is kept in float32 at least.

Source of LAMB: You et al., ICLR 2020, arXiv:1904.00962 (norms of parameter and update themselves, no clipping).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim import checks
from polyad.optim.base import add_scaled, full_precision

BASES = ("sgd", "adamw", "lamb")
"""Names of the methods."""


def check_base(group: Mapping[str, Any]) -> None:
    """Refuse options of a group that `base_update` cannot use.

    Raises:
        InputError: an unknown base, or a momentum, decay or guard out of its range.
    """
    if group["base"] not in BASES:
        raise InputError(f"base: {group['base']!r} is unknown; choose one of {', '.join(BASES)}")
    checks.check_share(momentum=group["momentum"], beta1=group["betas"][0], beta2=group["betas"][1])
    checks.check_not_negative(weight_decay=group["weight_decay"])
    checks.check_positive(adam_eps=group["adam_eps"])


def base_update(
    state: Mapping[Tensor, dict[str, Any]],
    group: Mapping[str, Any],
    parameters: Sequence[Tensor],
    directions: Sequence[Tensor],
) -> None:
    """Change parameters along directions, one step of `group["base"]`.

    Args:
        state: dictionary of each parameter; memory is kept there under `memory`, or `mean`, `square` and `base_steps`.
        group: with `base`, `lr`, `momentum`, `betas`, `adam_eps`, `weight_decay`. `sgd` adds weight_decay * parameter
            to the direction, the others to the update.
        parameters: of any floating dtype.
        directions: in place of gradients, of the parameters' shapes, in float32 or float64; they are not changed.
    """
    values = full_precision(parameters)
    if group["base"] == "sgd":
        updates = _momentum(state, group, parameters, values, directions)
    else:
        updates = _adam(state, group, parameters, directions)
        if group["weight_decay"]:
            torch._foreach_add_(updates, values, alpha=group["weight_decay"])
        if group["base"] == "lamb":
            torch._foreach_mul_(updates, _trust(values, updates))
    add_scaled(parameters, updates, -group["lr"])


def _momentum(
    state: Mapping[Tensor, dict[str, Any]],
    group: Mapping[str, Any],
    parameters: Sequence[Tensor],
    values: list[Tensor],
    directions: Sequence[Tensor],
) -> list[Tensor]:
    moved = list(directions)
    if group["weight_decay"]:
        moved = list(torch._foreach_add(moved, values, alpha=group["weight_decay"]))
    if not group["momentum"]:
        return moved
    memory = _remembered(state, parameters, moved, "memory")
    torch._foreach_mul_(memory, group["momentum"])
    torch._foreach_add_(memory, moved)
    return memory


def _adam(
    state: Mapping[Tensor, dict[str, Any]],
    group: Mapping[str, Any],
    parameters: Sequence[Tensor],
    directions: Sequence[Tensor],
) -> list[Tensor]:
    first, second = group["betas"]
    mean = _remembered(state, parameters, directions, "mean")
    square = _remembered(state, parameters, directions, "square")
    for parameter in parameters:
        state[parameter]["base_steps"] = state[parameter].get("base_steps", 0) + 1
    steps = [state[parameter]["base_steps"] for parameter in parameters]
    torch._foreach_lerp_(mean, list(directions), 1 - first)
    torch._foreach_mul_(square, second)
    torch._foreach_addcmul_(square, list(directions), list(directions), 1 - second)
    denominators = torch._foreach_sqrt(square)
    torch._foreach_div_(denominators, [(1 - second**step) ** 0.5 for step in steps])
    torch._foreach_add_(denominators, group["adam_eps"])
    updates = list(torch._foreach_div(mean, denominators))
    torch._foreach_div_(updates, [1 - first**step for step in steps])
    return updates


def _trust(values: list[Tensor], updates: list[Tensor]) -> list[Tensor]:
    """|parameter| / |update| of each layer; 1 where either vanishes, so that zero parameters can start."""
    ratios = []
    for size, length in zip(torch._foreach_norm(values), torch._foreach_norm(updates), strict=True):
        ratios.append(torch.where((size > 0) & (length > 0), size / length, 1.0))
    return ratios


def _remembered(
    state: Mapping[Tensor, dict[str, Any]], parameters: Sequence[Tensor], like: Sequence[Tensor], name: str
) -> list[Tensor]:
    for parameter, tensor in zip(parameters, like, strict=True):
        if name not in state[parameter]:
            state[parameter][name] = torch.zeros_like(tensor)
    return [state[parameter][name] for parameter in parameters]
