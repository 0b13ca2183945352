"""The norm that every weight of a model should have."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from polyad.errors import InputError
from polyad.optim.norms import recommend_norms


def roles(model: nn.Module, **options: str) -> dict[str, tuple[str, bool, int]]:
    return {
        name: (group["norm"], group["transposed"], group["pieces"])
        for group in recommend_norms(model, **options)
        for name, _ in group["params"]
    }


def test_every_weight_has_the_norm_of_its_layer_and_is_listed_once() -> None:
    model = nn.ModuleDict(
        {
            "table": nn.Embedding(5, 4),
            "bags": nn.EmbeddingBag(5, 4),
            "linear": nn.Linear(4, 3),
            "filter": nn.Conv2d(4, 6, 3, groups=2),
            "back": nn.ConvTranspose1d(4, 6, 3, bias=False),
            "norm": nn.LayerNorm(4),
            "attention": nn.MultiheadAttention(4, 2),
            "across": nn.MultiheadAttention(4, 2, kdim=3, vdim=5, bias=False),
            "memory": nn.GRU(4, 4, bias=False),
        }
    )
    model["free"] = nn.ParameterList([torch.zeros(3, 3)])
    matrix, vector = ("rms_rms", False, 1), ("rms", False, 1)
    assert roles(model) == {
        "table.weight": ("l1_rms", True, 1),
        "bags.weight": ("l1_rms", True, 1),
        "linear.weight": matrix,
        "linear.bias": vector,
        "filter.weight": ("rms_rms", False, 2),
        "filter.bias": vector,
        "back.weight": ("rms_rms", True, 1),
        "norm.weight": vector,
        "norm.bias": vector,
        "attention.in_proj_weight": ("rms_rms", False, 3),
        "attention.in_proj_bias": vector,
        "attention.out_proj.weight": matrix,
        "attention.out_proj.bias": vector,
        "across.q_proj_weight": matrix,
        "across.k_proj_weight": matrix,
        "across.v_proj_weight": matrix,
        "across.out_proj.weight": matrix,
        "memory.weight_ih_l0": vector,
        "memory.weight_hh_l0": vector,
        "free.0": vector,
    }
    assert roles(nn.Linear(2, 2), vectors="inf")["bias"] == ("inf", False, 1)


def test_shared_and_frozen_weights() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False), nn.Linear(5, 2))
    model[1].weight = model[0].weight
    model[2].bias.requires_grad_(False)
    assert roles(model) == {"0.weight": ("l1_rms", True, 1), "2.weight": ("rms_rms", False, 1)}
    with pytest.raises(InputError, match="vectors"):
        recommend_norms(model, vectors="spectral")
