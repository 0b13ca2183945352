"""Chebyshev series of one variable against numpy.polynomial.chebyshev and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev as oracle

from polyad.errors import InputError
from polyad.tensors.chebyshev import (
    antiderivative_matrix,
    chebyshev_basis,
    chebyshev_coefficients,
    chebyshev_points,
    derivative_matrix,
    evaluate_series,
    integral_weights,
    spline_matrix,
    transform_matrix,
)
from polyad.tensors.chebyshev.transforms import multiply_columns

INTERVAL = (-0.7, 2.1)


def series(count: int, *, columns: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("count", [2, 5, 17, 64, 129])
def test_coefficients_are_those_of_numpys_interpolant(count: int) -> None:
    points = chebyshev_points(count, kind="extrema")
    assert np.abs(points.numpy()[::-1] - oracle.chebpts2(count)).max() < 1e-15
    found = chebyshev_coefficients(torch.exp(torch.sin(5 * points)), kind="extrema").numpy()
    wanted = np.linalg.solve(oracle.chebvander(points.numpy(), count - 1), np.exp(np.sin(5 * points.numpy())))
    assert np.abs(found - wanted).max() < 1e-12

    points = chebyshev_points(count)
    assert np.abs(points.numpy()[::-1] - oracle.chebpts1(count)).max() < 1e-15
    found = chebyshev_coefficients(torch.exp(torch.sin(5 * points))).numpy()
    wanted = oracle.chebinterpolate(lambda x: np.exp(np.sin(5 * x)), count - 1)
    assert np.abs(found - wanted).max() < 1e-12


@pytest.mark.parametrize("kind", ["nodes", "extrema"])
def test_series_come_back_from_their_own_samples(kind: str) -> None:
    wanted = series(129, columns=3)
    points = chebyshev_points(129, kind=kind, interval=INTERVAL)  # type: ignore[arg-type]
    samples = evaluate_series(wanted.T, points, interval=INTERVAL)
    assert torch.allclose(chebyshev_coefficients(samples, kind=kind).T, wanted, atol=1e-11)  # type: ignore[arg-type]
    along_rows = chebyshev_coefficients(samples.T, dim=0, kind=kind)  # type: ignore[arg-type]
    assert torch.allclose(along_rows, wanted, atol=1e-11)
    inverse = transform_matrix(129, kind=kind) @ chebyshev_basis(points, 129, interval=INTERVAL)  # type: ignore[arg-type]
    assert torch.allclose(inverse, torch.eye(129, dtype=torch.float64), atol=1e-12)


def test_values_derivative_antiderivative_and_integral_are_numpys() -> None:
    coefficients = series(40)[:, 0]
    reference = oracle.Chebyshev(coefficients.numpy(), domain=INTERVAL)
    x = torch.linspace(*INTERVAL, 101, dtype=torch.float64)
    for found, wanted in (
        (coefficients, reference),
        (derivative_matrix(40, interval=INTERVAL) @ coefficients, reference.deriv()),
        (antiderivative_matrix(40, interval=INTERVAL) @ coefficients, reference.integ(lbnd=INTERVAL[0])),
    ):
        exact = wanted(x.numpy())
        assert np.abs(evaluate_series(found, x, interval=INTERVAL).numpy() - exact).max() < 1e-13 * np.abs(exact).max()
    total = reference.integ(lbnd=INTERVAL[0])(INTERVAL[1])
    assert abs(float(integral_weights(40, interval=INTERVAL) @ coefficients) - total) < 1e-13


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_series(count: int) -> None:
    coefficients = series(count)[:, 0]
    reference = oracle.Chebyshev(coefficients.numpy())
    x = torch.tensor([-1.0, 0.3, 1.0], dtype=torch.float64)
    slope = evaluate_series(derivative_matrix(count) @ coefficients, x)
    area = evaluate_series(antiderivative_matrix(count) @ coefficients, x)
    assert np.allclose(slope.numpy(), reference.deriv()(x.numpy()), atol=1e-14)
    assert np.allclose(area.numpy(), reference.integ(lbnd=-1)(x.numpy()), atol=1e-14)


def test_products_of_columns_are_numpys() -> None:
    one, two = series(9, columns=2), series(5, columns=3, seed=1)
    found = multiply_columns(one, two)
    assert found.shape == (13, 2, 3)
    for a in range(2):
        for b in range(3):
            wanted = oracle.chebmul(one[:, a].numpy(), two[:, b].numpy())
            assert np.abs(found[:, a, b].numpy() - wanted).max() < 1e-13


def test_basis_has_a_gradient_up_to_the_ends() -> None:
    x = torch.tensor([-1.0, -0.2, 1.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(chebyshev_basis(x, 6)[:, 5].sum(), x)
    exact = oracle.Chebyshev.basis(5).deriv()(x.detach().numpy())
    assert np.allclose(slope.numpy(), exact, atol=1e-13)
    assert abs(float(slope[2]) - 25) < 1e-13  # T_n'(1) = n^2


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_spline_is_exact_for_its_degree_and_of_its_order(degree: int) -> None:
    points = torch.linspace(-0.7, 2.1, 37, dtype=torch.float64)
    errors = []
    for count in (21, 41):
        grid = torch.linspace(-0.7, 2.1, count, dtype=torch.float64) + 0.0
        grid[1:-1] += 0.3 * (2.8 / count) * torch.sin(7 * grid[1:-1])  # unequal steps
        matrix = spline_matrix(grid, points, degree=degree)
        assert torch.allclose(matrix @ grid**degree, points**degree, atol=1e-11)
        errors.append(float((matrix @ torch.sin(3 * grid) - torch.sin(3 * points)).abs().max()))
    assert np.log2(errors[0] / errors[1]) > degree + 0.5


def test_spline_is_scipys() -> None:
    from scipy.interpolate import make_interp_spline

    grid = torch.linspace(0, 1, 30, dtype=torch.float64).square()
    points, values = torch.linspace(0, 1, 11, dtype=torch.float64), series(30)[:, 0]
    wanted = make_interp_spline(grid.numpy(), values.numpy(), k=5)(points.numpy())
    assert np.abs((spline_matrix(grid, points) @ values).numpy() - wanted).max() < 1e-9 * np.abs(wanted).max()


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="count"):
        chebyshev_points(1, kind="extrema")
    with pytest.raises((InputError, TypeError), match="kind"):
        chebyshev_points(3, kind="roots")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="interval"):
        chebyshev_points(3, interval=(1.0, 1.0))
    with pytest.raises(InputError, match="outside"):
        chebyshev_basis(torch.tensor([1.1]).double(), 3)
    with pytest.raises(InputError, match="NaN"):
        chebyshev_basis(torch.tensor([float("nan")]).double(), 3)
    grid = torch.linspace(0, 1, 10).double()
    with pytest.raises(InputError, match="degree"):
        spline_matrix(grid, grid, degree=2)
    with pytest.raises(InputError, match="strictly"):
        spline_matrix(grid.flip(0), grid)
    with pytest.raises(InputError, match="spans"):
        spline_matrix(grid, grid + 0.5)
