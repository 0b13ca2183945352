"""Which weights rows explain."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from polyad.optim.curvature.layers import DENSE, SCALE, TABLE, layers_of, rows_of


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (nn.Linear(2, 3), [DENSE]),
        (nn.Conv3d(1, 2, 2), [DENSE]),
        (nn.Conv2d(2, 2, 1, groups=2), []),
        (nn.Embedding(4, 2), [TABLE]),
        (nn.Embedding(4, 2, sparse=True), []),
        (nn.LayerNorm(3), [SCALE]),
        (nn.LayerNorm(3, elementwise_affine=False), []),
        (nn.MultiheadAttention(4, 2, kdim=3, vdim=3), [DENSE] * 4),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), []),
        (nn.BatchNorm1d(3), []),
    ],
)
def test_kinds(module: nn.Module, kinds: list[str]) -> None:
    assert [layer.kind for layer in layers_of("name", module)] == kinds


def test_names_lead_to_parameters() -> None:
    module = nn.MultiheadAttention(4, 2, kdim=3, vdim=5)
    own = dict(module.named_parameters())
    for layer, shape in zip(layers_of("", module), [(4, 4), (4, 3), (4, 5), (4, 4)], strict=True):
        assert own[layer.weight].shape == shape


def test_patches_of_a_convolution_in_three_dimensions() -> None:
    module = nn.Conv3d(2, 3, (2, 1, 3), stride=(1, 2, 1), padding=(0, 1, 1)).double()
    x = torch.randn(2, 2, 4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (layer,) = layers_of("", module)
    result = module(x)
    rows = rows_of(layer, module, x, torch.zeros_like(result))
    weight = torch.cat([module.weight.flatten(1), module.bias[:, None]], 1)
    assert torch.allclose((rows.inputs @ weight.mT).mT.view_as(result), result, atol=1e-12)
