"""Digits, a small residual network that reads them, and one whose kernels are degenerate by construction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from polyad.errors import MissingDependencyError
from polyad.tensors.stable_cp import accuracy

SIDE = 12


@final
@dataclass(frozen=True)
class Digits:
    """Images (examples, 1, 12, 12) in float32 with mean 0 and variance 1, and their digits."""

    inputs: Tensor
    labels: Tensor
    held_out: tuple[Tensor, Tensor]


def load_digits() -> Digits:
    """The 1797 digits of scikit-learn, enlarged from 8 x 8 bilinearly; every fourth is held out."""
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise MissingDependencyError("the digits data set", "scikit-learn>=1.5") from error
    found = load()
    images = torch.tensor(found.images, dtype=torch.float32)[:, None]
    images = nn.functional.interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    images = (images - images.mean()) / images.std()
    labels = torch.tensor(found.target, dtype=torch.int64)
    out = torch.arange(len(labels)) % 4 == 3
    return Digits(images[~out], labels[~out], (images[out], labels[out]))


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut without parameters: every second pixel, new channels zero."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        self.stride, self.added = stride, outputs - inputs

    def forward(self, images: Tensor) -> Tensor:
        """The block's output, after the last activation."""
        shortcut = nn.functional.pad(images[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        hidden = torch.relu(self.norms[0](self.first(images)))
        return torch.relu(shortcut + self.norms[1](self.second(hidden)))


def residual_network(seed: int, *, width: int = 24) -> nn.Sequential:
    """Stem of one input channel, three blocks of two convolutions each, mean, linear layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            Block(width, width, 1),
            Block(width, 2 * width, 2),
            Block(2 * width, 2 * width, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * width, 10),
        )


def train(model: nn.Module, digits: Digits, *, seed: int, epochs: int = 8, rate: float = 0.005) -> float:
    """Adam with a rate that rises and falls; changes the model, returns the accuracy on what was held out."""
    order = torch.Generator().manual_seed(seed)
    batches = len(digits.labels) // 64
    optimizer = torch.optim.Adam(model.parameters(), rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * batches)
    model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for _ in range(epochs):
        for rows in torch.randperm(len(digits.labels), generator=order)[: 64 * batches].split(64):
            loss = nn.functional.cross_entropy(model(digits.inputs[rows]), digits.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return accuracy(model, *digits.held_out)


class BorderRank(nn.Module):
    """Kernels sum_p a a' b + a b a' + .. : limits of tensors of rank 2 P that have a larger rank themselves.

    Each of P terms is the derivative of (a + t a') o (b + t b') o (c + t c') at t = 0, hence the limit of two rank-one
    tensors that grow and cancel, and of no two that stay bounded.
    """

    def __init__(self, shape: torch.Size, terms: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = (shape[0], shape[1], math.prod(shape[2:]))
        draws = [torch.randn(size, terms, generator=generator) / size**0.5 for size in (*sizes, *sizes)]
        gain = (2 * sizes[0] * sizes[2] / (3 * terms)) ** (1 / 6) / sizes[2] ** (
            1 / 6
        )  # entries as He et al. draw them
        self.points = nn.ParameterList([nn.Parameter(gain * draw) for draw in draws[:3]])
        self.tangents = nn.ParameterList([nn.Parameter(gain * draw) for draw in draws[3:]])
        self.shape = shape

    def forward(self, ignored: Tensor) -> Tensor:
        """The kernel."""
        total = torch.zeros(1)
        for mode in range(3):
            factors = [self.tangents[k] if k == mode else self.points[k] for k in range(3)]
            total = total + torch.einsum("or,ir,pr->oip", *factors)
        return total.reshape(self.shape)


def border_rank_network(seed: int, *, terms: int, width: int = 24) -> nn.Sequential:
    """The network with all six convolutions of its blocks held at border rank 2 `terms` while it trains."""
    model = residual_network(seed, width=width)
    generator = torch.Generator().manual_seed(seed)
    for convolution in _block_convolutions(model):
        parametrize.register_parametrization(
            convolution, "weight", BorderRank(convolution.weight.shape, terms, generator)
        )
    return model


def freeze_kernels(model: nn.Module) -> None:
    """Plain weights in place of the parametrised ones; changes the model."""
    for convolution in _block_convolutions(model):
        parametrize.remove_parametrizations(convolution, "weight", leave_parametrized=True)


def _block_convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [layer for block in model.modules() if isinstance(block, Block) for layer in (block.first, block.second)]
