"""Entrywise update functions Q_t(g_0, ..., g_t): what an optimiser makes of the gradients that one weight has seen.

Every optimiser of this kind (SGD, sign descent, Adam and their like) is one; a network of any width and its limits run
the same function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor

from polyad.optim.checks import check_not_negative, check_share

State = tuple[Tensor, ...]
"""What an update function keeps of the past; empty before the first gradient."""


@runtime_checkable
class UpdateFunction(Protocol):
    """Maps a gradient and the state of the past to an update of the same shape and the next state."""

    def __call__(self, gradient: Tensor, state: State = ()) -> tuple[Tensor, State]:
        """One step."""


@final
@dataclass(frozen=True)
class Memoryless:
    """Q_t(g_0, ..., g_t) = function(g_t), for an entrywise function."""

    function: Callable[[Tensor], Tensor]

    def __call__(self, gradient: Tensor, state: State = ()) -> tuple[Tensor, State]:
        """The function's value; there is no past."""
        return self.function(gradient), state


@final
@dataclass(frozen=True)
class AdamUpdate:
    """Adam with its corrections of bias: m / (sqrt(v) + epsilon), and 0 where all gradients were 0.

    Args:
        beta1: decay of the mean of gradients.
        beta2: decay of the mean of their squares.
        epsilon: added to the root. It meets n^d g, so it does not change with the width.

    Raises:
        InputError: a beta outside [0, 1) or a negative epsilon.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what diverges."""
        check_share(beta1=self.beta1, beta2=self.beta2)
        check_not_negative(epsilon=self.epsilon)

    def __call__(self, gradient: Tensor, state: State = ()) -> tuple[Tensor, State]:
        """One step; the state is both means and the number of steps."""
        zero = torch.zeros_like(gradient)
        mean, square, count = state or (zero, zero, torch.zeros((), dtype=gradient.dtype))
        count = count + 1
        mean = torch.lerp(gradient, mean, self.beta1)
        square = torch.lerp(gradient**2, square, self.beta2)
        root = (square / (1 - self.beta2**count)).sqrt_().add_(self.epsilon)
        update = mean / (root * (1 - self.beta1**count))
        return torch.where(root > 0, update, zero), (mean, square, count)


def sgd() -> Memoryless:
    """Q = id."""
    return Memoryless(lambda gradient: gradient)


def sign() -> Memoryless:
    """Q = sign, Adam without memory."""
    return Memoryless(torch.sign)
