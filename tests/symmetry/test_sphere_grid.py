"""The grid: exactness of the quadrature, both transforms, and their errors."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.symmetry.coupling import gaunt_tensor
from polyad.symmetry.sphere_grid import DENSE_DEGREE, SphereGrid
from polyad.symmetry.spherical_harmonics import spherical_harmonics


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("degree", [0, 1, 2, 5, 12, 25])
def test_quadrature_is_exact_to_its_degree_and_no_further(degree: int) -> None:
    grid, like = SphereGrid(degree), torch.zeros((), dtype=torch.float64)
    assert grid.shape == (degree // 2 + 1, degree + 1)
    assert grid.points == len(grid.directions(like))
    values = spherical_harmonics(grid.directions(like), degree + 1)
    integrals = grid.integrate(values.T)
    expected = torch.zeros_like(integrals)
    expected[0] = math.sqrt(4 * math.pi)
    last = (degree + 1) ** 2
    torch.testing.assert_close(integrals[:last], expected[:last], rtol=0, atol=1e-12)
    assert float((integrals - expected)[last:].abs().max()) > 0.05
    assert bool((grid.weights(like) > 0).all())


def test_values_are_those_of_the_function_and_come_back() -> None:
    coefficients = normal(3, 2, 49)
    grid = SphereGrid(12)
    values = grid.to_grid(coefficients)
    expected = coefficients @ spherical_harmonics(grid.directions(coefficients), 6).T
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(grid.from_grid(values, 6), coefficients, rtol=0, atol=1e-12)
    torch.testing.assert_close(grid.from_grid(values, 3), coefficients[..., :16], rtol=0, atol=1e-12)


@pytest.mark.parametrize("lmax", [DENSE_DEGREE, DENSE_DEGREE + 1, 14])
def test_one_matrix_and_a_matrix_an_order_are_the_same_map(lmax: int) -> None:
    coefficients = normal(3, 2, (lmax + 1) ** 2)
    grid = SphereGrid(2 * lmax + 3)
    harmonics = spherical_harmonics(grid.directions(coefficients), lmax)
    values = grid.to_grid(coefficients)
    torch.testing.assert_close(values, coefficients @ harmonics.T, rtol=0, atol=1e-11)
    torch.testing.assert_close(grid.from_grid(values, lmax), coefficients, rtol=0, atol=1e-11)
    rough = values.sign()
    projection = (rough * grid.weights(rough)) @ harmonics
    torch.testing.assert_close(grid.from_grid(rough, lmax), projection, rtol=0, atol=1e-11)


def test_products_are_projected_exactly() -> None:
    first, second = normal(5, 16), normal(5, 25, seed=1)
    grid = SphereGrid(3 + 4 + 5)
    product = grid.from_grid(grid.to_grid(first) * grid.to_grid(second), 5)
    expected = torch.einsum("na,nb,abc->nc", first, second, gaunt_tensor(3, 4, 5))
    torch.testing.assert_close(product, expected, rtol=0, atol=1e-12)


def test_single_precision_tables_are_rounded_once() -> None:
    coefficients = normal(4, 49)
    grid = SphereGrid(12)
    single = grid.from_grid(grid.to_grid(coefficients.float()), 6)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), coefficients, rtol=0, atol=5e-6)


def test_grids_that_are_too_coarse_are_refused() -> None:
    with pytest.raises(InputError, match="needs a grid of degree 6"):
        SphereGrid(5).from_grid(torch.zeros(SphereGrid(5).points), 3)
    with pytest.raises(InputError, match="points"):
        SphereGrid(6).from_grid(torch.zeros(3), 1)
    with pytest.raises(InputError, match="degree"):
        SphereGrid(-1)
