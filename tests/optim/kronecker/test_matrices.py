"""Gradients and directions of packed weights, with their biases as a column."""

from __future__ import annotations

import torch
from torch import nn

from polyad.optim.curvature.layers import layers_of
from polyad.optim.kronecker.matrices import matrices_of


def test_packed_weights_are_taken_apart_and_put_together() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(4, 2)
    for parameter in attention.parameters():
        parameter.grad = torch.randn_like(parameter)
    matrices = matrices_of(attention, {layer.name: layer for layer in layers_of("", attention)})
    assert [matrices[name].key for name in "qkv"] == ["0", "4", "8"]
    gradient = matrices["k"].gradient(torch.float64)
    assert torch.equal(gradient[:, :4].float(), attention.in_proj_weight.grad[4:8])
    assert torch.equal(gradient[:, 4].float(), attention.in_proj_bias.grad[4:8])
    directions: dict[torch.Tensor, torch.Tensor] = {}
    matrices["k"].place(-2 * gradient, directions)
    expected = attention.in_proj_weight.grad.clone()
    expected[4:8] *= -2
    assert torch.equal(directions[attention.in_proj_weight].float(), expected)
    assert torch.equal(directions[attention.in_proj_bias][4:8].float(), -2 * attention.in_proj_bias.grad[4:8])
    assert torch.equal(attention.in_proj_bias.grad[:4], directions[attention.in_proj_bias][:4].float())


def test_kernels_in_any_order_of_memory_and_biases_without_gradient() -> None:
    layer = nn.Conv2d(3, 2, 2).to(memory_format=torch.channels_last)
    layer.weight.grad = torch.randn(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    (matrix,) = matrices_of(layer, {"": layers_of("", layer)[0]}).values()
    gradient = matrix.gradient(torch.float32)
    assert torch.equal(gradient[:, -1], torch.zeros(2))
    directions: dict[torch.Tensor, torch.Tensor] = {}
    matrix.place(3 * gradient, directions)
    assert set(directions) == {layer.weight}
    assert torch.equal(directions[layer.weight], 3 * layer.weight.grad)
