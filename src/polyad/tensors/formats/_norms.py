"""Derivatives of norms that were found by QR decompositions, whose own derivative fails where ranks are redundant."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.tensors.formats.base import TensorFormat

F = TypeVar("F", bound=TensorFormat)

CANCELLED = 1e-6
"""Squares of this size, relative to those of the absolute values, keep too few digits."""


def differentiable_norm(size: Num[Tensor, "..."], value: F, fixed: F) -> Num[Tensor, "..."]:
    """`size`, the norm of `value` found without derivative, with its derivative; `fixed` is `value` detached.

    Through sqrt(inner(value, value)) of any order where squares show the norm, else the first one, Re <x, dx> / |x|,
    which is right however far terms cancel; a second one is refused there.
    """
    if not (torch.is_grad_enabled() and any(array.requires_grad for array in value.arrays)):
        return size
    square = value.inner(value).real
    plain = square.detach().clamp_min(0).sqrt()
    if bool((size > 0).all()) and bool(((plain - size).abs() <= 1e-9 * size).all()):
        return square.sqrt() * (size / plain)
    slope = fixed.inner(value).real / torch.where(size > 0, size, 1)
    return _Attached.apply(torch.where(size > 0, slope, 0), size)


class _Attached(torch.autograd.Function):
    """One tensor's values with the other's derivative, once."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, size: Tensor) -> Tensor:
        return size.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
