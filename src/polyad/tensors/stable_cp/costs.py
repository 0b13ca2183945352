"""What convolutions and linear layers cost: parameters, and floating-point operations for one example.

A convolution from n to m channels in g groups with a kernel of P positions, at Q output positions:

    flops = 2 Q m (n / g) P  (a multiplication and an addition each),     parameters = m (n / g) P + (m if bias)

Additions of biases are not counted, nor anything in normalisation and activations, which factorised layers leave alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple, final

import torch
from jaxtyping import Num
from torch import Tensor, nn

from polyad.errors import InputError

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


class Cost(NamedTuple):
    """Floating-point operations for one example, and trainable numbers."""

    flops: int
    parameters: int


@final
@dataclass(frozen=True)
class ConvolutionShape:
    """All of a convolution but its weights; the arguments of `torch.nn.Conv2d` and its like.

    Attributes:
        inputs, outputs: channels.
        kernel_size, stride, dilation: one number an axis.
        padding: one number an axis, or "same" or "valid".
        groups: number of groups of channels.
        bias: whether there is one.
        padding_mode: as in torch.
    """

    inputs: int
    outputs: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int = 1
    bias: bool = False
    padding_mode: str = "zeros"

    @classmethod
    def of(cls, convolution: Convolution) -> ConvolutionShape:
        """The shape of a torch module."""
        return cls(
            convolution.in_channels,
            convolution.out_channels,
            tuple(convolution.kernel_size),
            tuple(convolution.stride),
            convolution.padding if isinstance(convolution.padding, str) else tuple(convolution.padding),
            tuple(convolution.dilation),
            convolution.groups,
            convolution.bias is not None,
            convolution.padding_mode,
        )

    @classmethod
    def pointwise(cls, inputs: int, outputs: int, axes: int, *, bias: bool = False) -> ConvolutionShape:
        """A 1 x 1 convolution."""
        ones = (1,) * axes
        return cls(inputs, outputs, ones, ones, (0,) * axes, ones, bias=bias)

    def output_size(self, input_size: Sequence[int]) -> tuple[int, ...]:
        """Size of the output along every axis."""
        if len(input_size) != len(self.kernel_size):
            raise InputError(f"input_size: {tuple(input_size)} was given; need one size for each of {self.kernel_size}")
        if self.padding == "same":
            return tuple(input_size)
        padding = (0,) * len(input_size) if isinstance(self.padding, str) else self.padding
        axes = zip(input_size, self.kernel_size, self.stride, padding, self.dilation, strict=True)
        sizes = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)
        if min(sizes) < 1:
            raise InputError(f"input_size: {tuple(input_size)} is smaller than the kernel {self.kernel_size} reaches")
        return sizes

    def cost(self, input_size: Sequence[int]) -> Cost:
        """Operations and parameters for an input of this size."""
        weights = self.outputs * (self.inputs // self.groups) * prod(self.kernel_size)
        return Cost(2 * prod(self.output_size(input_size)) * weights, weights + self.outputs * self.bias)


def convolution_cost(convolution: Convolution, input_size: Sequence[int]) -> Cost:
    """Cost of one convolution for an input of this spatial size."""
    return ConvolutionShape.of(convolution).cost(input_size)


def sequence_cost(shapes: Iterable[ConvolutionShape], input_size: Sequence[int]) -> Cost:
    """Cost of convolutions one after another."""
    flops = parameters = 0
    for shape in shapes:
        cost = shape.cost(input_size)
        flops, parameters = flops + cost.flops, parameters + cost.parameters
        input_size = shape.output_size(input_size)
    return Cost(flops, parameters)


@final
@dataclass(frozen=True)
class LayerCost:
    """What one layer of a network costs and which input it saw.

    Attributes:
        cost: of all calls in one pass, for one example; parameters counted once.
        input_size: spatial size of its input at the last call; empty for a linear layer.
        calls: how often one pass calls it.
    """

    cost: Cost
    input_size: tuple[int, ...]
    calls: int = 1


def layer_costs(model: nn.Module, example: Num[Tensor, "batch ..."]) -> dict[str, LayerCost]:
    """Cost of every convolution and linear layer, by name, from one pass in evaluation mode.

    Args:
        model: left as it is; modules other than convolutions and linear layers count nothing.
        example: an input with its batch dimension; costs are for one example of it.
    """
    found: dict[str, LayerCost] = {}

    def record(name: str, layer: nn.Module, entry: Tensor) -> None:
        size: tuple[int, ...] = ()
        before = found.get(name, LayerCost(Cost(0, 0), (), 0))
        if isinstance(layer, nn.Linear):
            weights = layer.in_features * layer.out_features
            rows = prod(entry.shape[1:-1])
            cost = Cost(2 * weights * rows, weights + (layer.out_features if layer.bias is not None else 0))
        else:
            assert isinstance(layer, Convolution)
            size = tuple(entry.shape[-len(layer.kernel_size) :])
            cost = convolution_cost(layer, size)
        found[name] = LayerCost(Cost(before.cost.flops + cost.flops, cost.parameters), size, before.calls + 1)

    modes = {module: module.training for module in model.modules()}
    hooks = []
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Linear, Convolution)):
            hooks.append(
                layer.register_forward_pre_hook(lambda layer, inputs, name=name: record(name, layer, inputs[0]))
            )
    try:
        model.eval()
        with torch.no_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return found


def network_cost(model: nn.Module, example: Num[Tensor, "batch ..."]) -> Cost:
    """Cost of all convolutions and linear layers together."""
    costs = [layer.cost for layer in layer_costs(model, example).values()]
    return Cost(sum(cost.flops for cost in costs), sum(cost.parameters for cost in costs))
