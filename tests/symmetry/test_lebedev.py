"""Lebedev's rules: exact to their degree and no further, and products as on the product grid."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.lebedev import LARGEST, LebedevGrid
from polyad.symmetry.sphere_grid import SphereGrid
from polyad.symmetry.spherical_harmonics import spherical_harmonics


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("degree", [0, 3, 12, 18, 24, LARGEST])
def test_quadrature_is_exact_to_its_order_and_no_further(degree: int) -> None:
    grid = LebedevGrid(degree)
    assert degree <= grid.order <= degree + 5
    one = torch.full((grid.points,), 1.0, dtype=torch.float64)
    integrals = grid.from_grid(one, grid.order + 1)
    expected = torch.zeros_like(integrals)
    expected[0] = math.sqrt(4 * math.pi)
    last = (grid.order + 1) ** 2
    torch.testing.assert_close(integrals[:last], expected[:last], rtol=0, atol=1e-12)
    assert float(integrals[last:].abs().max()) > 0.01


def test_fewer_points_than_the_product_grid() -> None:
    assert [LebedevGrid(d).points for d in (6, 12, 18)] == [26, 86, 146]
    assert all(LebedevGrid(d).points < SphereGrid(d).points for d in (3, 6, 9, 12, 15, 18, 21, 23, 29, 31))


def test_products_are_projected_exactly() -> None:
    first, second = normal(5, 16), normal(5, 25, seed=1)
    small, large = LebedevGrid(3 + 4 + 5), SphereGrid(30)
    product = small.from_grid(small.to_grid(first) * small.to_grid(second), 5)
    expected = large.from_grid(large.to_grid(first) * large.to_grid(second), 5)
    torch.testing.assert_close(product, expected, rtol=0, atol=1e-13)
    assert product.shape == (5, 36)


def test_values_are_those_of_the_function() -> None:
    coefficients = normal(2, 9)
    grid = LebedevGrid(3)  # an octahedron: the six directions along the axes
    axes = torch.tensor([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=torch.float64)
    expected = coefficients @ spherical_harmonics(axes, 2).T
    values = grid.to_grid(coefficients)
    torch.testing.assert_close(values.sort().values, expected.sort().values, rtol=0, atol=1e-13)


def test_degrees_without_a_rule_are_refused() -> None:
    with pytest.raises(InputError, match="take a SphereGrid"):
        LebedevGrid(LARGEST + 1)
    with pytest.raises(InputError, match="degree: -1"):
        LebedevGrid(-1)
