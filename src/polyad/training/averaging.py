"""Exponential moving average of a model's weights: smoother than the last step, at the cost of one copy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor, nn

from polyad.errors import InputError


@final
class MovingAverage:
    """Weights averaged as average <- decay * average + (1 - decay) * weights after every step.

    Early on the decay is (1 + step) / (10 + step), where that is smaller, so that the start is forgotten soon. Buffers
    (running statistics) are copied, not averaged.

    Args:
        model: whose weights are followed.
        decay: of the past, at least 0 and below 1; 0.999 remembers about a thousand steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise InputError(f"ema: the decay must be at least 0 and below 1, got {decay}; 0.999 is usual")
        self.decay = decay
        self.average: dict[str, Tensor] = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step number `step` (counted from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = dict(model.named_parameters())
        followed = [name for name in weights if weights[name].is_floating_point() or weights[name].is_complex()]
        torch._foreach_lerp_(
            [self.average[name] for name in followed], [weights[name].detach() for name in followed], 1 - decay
        )
        for name, value in model.state_dict().items():
            if name not in weights:
                self.average[name].copy_(value)

    @contextlib.contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """The model has the averaged weights inside the block, its own again after it."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.average)
        try:
            yield
        finally:
            model.load_state_dict(own)
