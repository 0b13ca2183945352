"""Coefficients by order: a rearrangement with zeros, and its inverse."""

from __future__ import annotations

import torch

from polyad.symmetry.orders import by_order, from_order


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_order_is_a_rearrangement() -> None:
    coefficients = normal(2, 16)
    parts = by_order(coefficients)
    assert parts.shape == (2, 2, 4, 4)
    for degree in range(4):
        for order in range(degree + 1):
            assert torch.equal(parts[:, 0, order, degree], coefficients[:, degree * degree + degree + order])
            if order:
                assert torch.equal(parts[:, 1, order, degree], coefficients[:, degree * degree + degree - order])
    assert int((parts == 0).sum()) == 2 * (32 - 16)
    assert torch.equal(from_order(parts), coefficients)
