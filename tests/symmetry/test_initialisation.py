"""Seeded layers are equal, and the global generator does not notice."""

from __future__ import annotations

import torch
from torch import nn

from polyad.symmetry.initialisation import seeded


def test_weights_follow_the_seed_and_nothing_else_moves() -> None:
    torch.manual_seed(7)
    expected = torch.rand(4)
    torch.manual_seed(7)
    layers, draws = [], []
    for seed in (1, 1, 2):
        with seeded(seed) as generator:
            layers.append(nn.Linear(3, 3))
            draws.append(torch.rand(2, generator=generator))
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(layers[0].weight, layers[1].weight)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(layers[0].weight, layers[2].weight)
