"""A small network and patterns that the tests of its trainers share."""

from __future__ import annotations

import torch
from torch import Tensor

from polyad.optim.second_order.input_gain import BypassNetwork, Sweep


def patterns(*, inputs: int = 3, outputs: int = 2, count: int = 40, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Inputs of unlike sizes and correlations, and smooth targets with noise."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, dtype=torch.float64, generator=generator)
    x = torch.randn(count, inputs, dtype=torch.float64, generator=generator) @ mix + 0.3
    target = torch.sin(x @ torch.randn(inputs, outputs, dtype=torch.float64, generator=generator))
    return x, target + 0.1 * torch.randn(count, outputs, dtype=torch.float64, generator=generator)


def network(
    *, inputs: int = 3, hidden: int = 5, outputs: int = 2, linear: bool = False, bias: bool = True
) -> BypassNetwork:
    """With output weights drawn at random, so that no first stage is at a stationary point."""
    net = BypassNetwork(inputs, hidden, outputs, bias=bias, activation=torch.clone if linear else torch.sigmoid, seed=4)
    generator = torch.Generator().manual_seed(9)
    drawn = torch.randn(net.output_weights.shape, dtype=torch.float64, generator=generator)
    net.set_output_weights(drawn)
    return net


def swept(net: BypassNetwork, data: tuple[Tensor, Tensor]) -> Sweep:
    """A sweep over patterns."""
    return net.sweep(net.augmented(data[0]), data[1])


def loss_of(net: BypassNetwork, inward: Tensor, data: tuple[Tensor, Tensor]) -> Tensor:
    """E, differentiable in W."""
    return (data[1] - outputs_of(net, inward, data)).square().sum() / len(data[1])


def outputs_of(net: BypassNetwork, inward: Tensor, data: tuple[Tensor, Tensor]) -> Tensor:
    """y, differentiable in W."""
    features = net.augmented(data[0])
    units = net.activation(features @ inward.mT)
    return features @ net.bypass.detach().mT + units @ net.outward.detach().mT
