"""Variance is kept, zero goes to zero, and the formula is the formula."""

from __future__ import annotations

import torch

from polyad.symmetry.activations import root_mean_square
from polyad.symmetry.perceptron import Perceptron


def test_it_is_its_formula() -> None:
    network = Perceptron([3, 5, 2], generator=torch.Generator().manual_seed(0)).double()
    values = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    first, second = network.weights
    hidden = torch.nn.functional.silu(values @ first / 3**0.5) / root_mean_square(torch.nn.functional.silu)
    assert torch.allclose(network(values), hidden @ second / 5**0.5, atol=1e-14)
    assert not network(torch.zeros(1, 3, dtype=torch.float64)).any()


def test_variance_is_kept() -> None:
    generator = torch.Generator().manual_seed(0)
    network = Perceptron([128, 128, 128, 128], generator=generator)
    out = network(torch.randn(2000, 128, generator=generator))
    assert 0.7 < float(out.detach().std()) < 1.4
