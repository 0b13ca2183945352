"""The checks of laws pass what obeys them and fail what does not: a check that cannot fail is worth nothing."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.testing import (
    assert_convergence_order,
    assert_equivariant,
    assert_positive_semidefinite,
    assert_symmetric,
    relative_error,
)

ROTATION = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
VECTORS = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def rotate(x: torch.Tensor) -> torch.Tensor:
    return x @ ROTATION.T


def test_relative_error_is_relative_and_sees_nan() -> None:
    one = torch.ones(2, dtype=torch.float64)
    assert relative_error(1e6 * one * (1 + 1e-7), 1e6 * one) == pytest.approx(1e-7, rel=1e-6)
    assert relative_error(one, 0 * one) == 1.0
    assert relative_error(0 * one, 0 * one) == 0.0
    assert relative_error(torch.ones(0), torch.ones(0)) == 0.0
    for bad in (math.nan, math.inf):
        with pytest.raises(AssertionError, match="not finite"):
            relative_error(bad * one, one)
        with pytest.raises(AssertionError, match="not finite"):
            relative_error(one, bad * one)
    with pytest.raises(AssertionError, match="shapes differ"):
        relative_error(torch.ones(1), torch.ones(2))


def test_equivariance_of_a_radial_field_and_not_of_a_shifted_one() -> None:
    def radial(x: torch.Tensor) -> torch.Tensor:
        return x * x.norm(dim=-1, keepdim=True)

    def shifted(x: torch.Tensor) -> torch.Tensor:
        return x + torch.tensor([1e-6, 0, 0], dtype=x.dtype)

    assert assert_equivariant(radial, VECTORS, transform_input=rotate, transform_output=rotate) < 1e-14
    with pytest.raises(AssertionError, match="not equivariant"):
        assert_equivariant(shifted, VECTORS, transform_input=rotate, transform_output=rotate)
    with pytest.raises(AssertionError, match="not equivariant"):
        assert_equivariant(radial, VECTORS, transform_input=rotate, transform_output=lambda y: y @ ROTATION)


def test_order_of_central_and_one_sided_differences() -> None:
    def central(step: float) -> float:
        return abs((math.sin(1 + step) - math.sin(1 - step)) / (2 * step) - math.cos(1))

    def one_sided(step: float) -> float:
        return abs((math.sin(1 + step) - math.sin(1)) / step - math.cos(1))

    steps = [0.1, 0.05, 0.025, 0.0125]
    assert assert_convergence_order(central, steps, order=2) == pytest.approx(2, abs=0.01)
    assert assert_convergence_order(one_sided, steps, order=1) == pytest.approx(1, abs=0.05)
    for function, order in ((central, 1), (one_sided, 2)):
        with pytest.raises(AssertionError, match="order is"):
            assert_convergence_order(function, steps, order=order)
    with pytest.raises(AssertionError, match="three different steps"):
        assert_convergence_order(central, [0.1, 0.1, 0.05], order=2)
    with pytest.raises(AssertionError, match="positive numbers"):
        assert_convergence_order(lambda step: math.nan, steps, order=2)


def test_definiteness_is_judged_matrix_by_matrix() -> None:
    basis = torch.linalg.qr(torch.randn(2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))[0]

    def with_eigenvalues(smallest: float) -> torch.Tensor:
        small = basis[0] @ torch.diag(torch.tensor([smallest, 1.0, 2.0, 3.0], dtype=torch.float64)) @ basis[0].T
        large = 1e9 * basis[1] @ basis[1].T
        return torch.stack([(small + small.T) / 2, (large + large.T) / 2])

    assert assert_positive_semidefinite(with_eigenvalues(0.3)) == pytest.approx(0.1)
    assert_positive_semidefinite(with_eigenvalues(0.0))
    assert_positive_semidefinite(torch.zeros(2, 3, 3, dtype=torch.float64))
    with pytest.raises(AssertionError, match="negative eigenvalue"):
        assert_positive_semidefinite(with_eigenvalues(-1e-6))
    with pytest.raises(AssertionError, match="not symmetric"):
        assert_positive_semidefinite(torch.tensor([[1.0, 0.1], [0.0, 1.0]], dtype=torch.float64))


def test_symmetry() -> None:
    assert assert_symmetric(torch.eye(3, dtype=torch.float64)) == 0.0
    with pytest.raises(AssertionError, match="not symmetric"):
        assert_symmetric(torch.tensor([[1.0, 1e-9], [0.0, 1.0]], dtype=torch.float64))
