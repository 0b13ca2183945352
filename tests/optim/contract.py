"""What the contract of optimisers by gradient is tried on: a small model with every awkward parameter, and the loop.

A new optimiser needs its line in `polyad.optim.registry` alone, unless it does its work only every so many steps: then
`OFTEN` names the options with which a handful of steps shows all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from polyad.optim.registry import OPTIMIZERS, Entry

OURS = [entry for entry in OPTIMIZERS.values() if entry.ours]

OFTEN: dict[str, dict[str, Any]] = {
    "shampoo": {"statistics_every": 1, "roots_every": 2},
    "shampoo4bit": {"statistics_every": 1, "roots_every": 2, "min_size": 0},
    "mkor": {"update_every": 2},
    "mkor-lamb": {"update_every": 2},
    "inverse-free-kfac": {"update_every": 2},
    "fosi": {"every": 2, "warmup": 3, "largest": 4, "smallest": 1, "lanczos_steps": 8},
    "fosi-sgd": {"every": 2, "warmup": 3, "largest": 4, "smallest": 1, "lanczos_steps": 8},
}
"""Options by name, instead of the registry's."""

BATCH = (6, 1, 4, 4)


class Awkward(nn.Module):
    """Convolution, linear layers, a norm and a scalar; and parameters that are empty, frozen or never reached."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.filter = nn.Conv2d(1, 3, 3)
            self.first = nn.Linear(12, 8)
            self.norm = nn.LayerNorm(8)
            self.last = nn.Linear(8, 2, bias=False)
            self.nothing = nn.Linear(8, 0, bias=False)
            self.idle = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.empty = nn.Parameter(torch.zeros(0, 3))
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.norm(torch.tanh(self.first(self.filter(images).flatten(1))))
        return self.scale * self.last(hidden) + self.nothing(hidden).sum() + self.empty.sum()


def build(entry: Entry, model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    """The optimiser, doing often what it does seldom."""
    return entry.build(model, **{"lr": 1e-2, **OFTEN.get(entry.name, {}), **options})


def batch(number: int, dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = BATCH) -> Tensor:
    """Inputs of a step."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1000 + number)).to(dtype)


def loss_of(outputs: Tensor) -> Tensor:
    """Convex in the outputs."""
    return (outputs - 1).square().mean()


def closure_for(
    model: Callable[[Tensor], Tensor], optimizer: torch.optim.Optimizer, inputs: Tensor
) -> Callable[[], Tensor]:
    """Zeroes gradients, computes them, returns the loss."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model(inputs))
        loss.backward()
        return loss

    return closure


def train(
    entry: Entry, model: Callable[[Tensor], Tensor], optimizer: torch.optim.Optimizer, batches: Iterable[Tensor]
) -> list[float]:
    """Steps as the entry says; the loss before each."""
    losses = []
    for inputs in batches:
        closure = closure_for(model, optimizer, inputs)
        if entry.needs == "closure":
            loss = optimizer.step(closure)
        else:
            loss = closure()
            optimizer.step()
        losses.append(float(loss.detach()))
    return losses
