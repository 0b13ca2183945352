"""Kernels and convolutions against sums written out."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.position_orientation.layers import (
    ConvNeXtBlock,
    KernelBasis,
    Readout,
    SeparableConvolution,
    monomials,
)

DOUBLE = {"dtype": torch.float64}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


def edges(nodes: int = 4) -> Tensor:
    return torch.tensor([(j, i) for i in range(nodes) for j in range(nodes) if i != j and (i, j) != (0, 2)]).T


@pytest.mark.parametrize(("size", "degree"), [(1, 1), (2, 3), (3, 4)])
def test_monomials(size: int, degree: int) -> None:
    x = normal(5, size)
    found = monomials(x, degree)
    powers = [p for p in itertools.product(range(degree + 1), repeat=size) if 0 < sum(p) <= degree]
    assert found.shape == (5, len(powers))
    expected = torch.stack([(x ** torch.tensor(p)).prod(-1) for p in powers], dim=-1)
    assert torch.allclose(found.sort(-1).values, expected.sort(-1).values, atol=1e-13)
    with pytest.raises(InputError):
        monomials(x, 0)


@torch.no_grad()
def test_separable_convolution_is_the_full_one_with_the_product_kernel() -> None:
    channels, points, nodes, basis = 3, 5, 4, 6
    layer, index = SeparableConvolution(channels, basis, fibre=True).double(), edges(nodes)
    layer.bias.copy_(normal(channels, seed=9))
    layer.own.copy_(normal(channels, seed=8))
    f, spatial, fibre = normal(nodes, points, channels), normal(index.shape[1], points, basis), normal(5, 5, basis)
    found = layer(f, index, spatial, fibre)
    k1, k2 = spatial @ layer.spatial.weight.T, fibre @ layer.spherical.weight.T
    for i, o, c in itertools.product(range(nodes), range(points), range(channels)):
        total = float(layer.bias[c])
        for p in range(points):
            for e in range(index.shape[1]):
                if index[1, e] == i:
                    kernel = k2[o, p, c] * k1[e, p, c]  # one kernel on position and orientation
                    total += float(kernel * f[index[0, e], p, c]) / points
            total += float(k2[o, p, c] * layer.own[c] * f[i, p, c]) / points
        assert float(found[i, o, c]) == pytest.approx(total, abs=1e-10)


def test_block_is_convnext() -> None:
    block, index = ConvNeXtBlock(3, 6, fibre=False, widening=2, layer_scale=0.3).double(), edges()
    f, spatial = normal(4, 2, 3), normal(index.shape[1], 2, 6)
    x = block.convolution(f, index, spatial, None)
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    hidden = x @ block.mixing[0].weight.T + block.mixing[0].bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    assert hidden.shape[-1] == 6
    expected = f + 0.3 * (hidden @ block.mixing[2].weight.T + block.mixing[2].bias)
    assert torch.allclose(block(f, index, spatial, None), expected, atol=1e-12)
    assert ConvNeXtBlock(3, 6, fibre=False).scale is None


def test_basis_is_a_perceptron_of_monomials() -> None:
    layer, x = KernelBasis(2, 5, 3).double(), normal(7, 2)
    first, second = layer.perceptron[0], layer.perceptron[2]
    gelu = torch.nn.functional.gelu
    expected = gelu(gelu(monomials(x, 3) @ first.weight.T + first.bias) @ second.weight.T + second.bias)
    assert torch.allclose(layer(x), expected, atol=1e-14)


def test_readouts_are_means_over_orientations() -> None:
    f, axes, index = normal(4, 5, 3), normal(1, 5, 3, seed=1), edges()
    rel, basis = normal(index.shape[1], 3, seed=2), normal(index.shape[1], 5, 6, seed=3)
    read = Readout(3, 6, scalars=2, vectors=1, directed=True).double()
    scalars, vectors = read(f, axes, rel, index, basis)
    values = f @ read.values.weight.T + read.values.bias
    assert torch.allclose(scalars, values[..., :2].mean(1), atol=1e-14)
    expected = torch.stack([sum(values[i, k, 2] * axes[0, k] for k in range(5)) / 5 for i in range(4)])
    assert torch.allclose(vectors[:, 0], expected, atol=1e-14)


def test_vectors_without_orientations_are_sums_of_edges() -> None:
    f, index = normal(4, 1, 3), edges()
    rel, basis = normal(index.shape[1], 2, seed=2), normal(index.shape[1], 1, 6, seed=3)
    read = Readout(3, 6, scalars=0, vectors=2, directed=False).double()
    scalars, vectors = read(f, None, rel, index, basis)
    assert scalars.shape == (4, 0)
    values, weights = f[:, 0] @ read.values.weight.T + read.values.bias, basis[:, 0] @ read.edges.weight.T
    for i, v in itertools.product(range(4), range(2)):
        total = sum(
            weights[e, v] * values[index[0, e], v] * rel[e] for e in range(index.shape[1]) if int(index[1, e]) == i
        )
        assert torch.allclose(vectors[i, v], total, atol=1e-13)
