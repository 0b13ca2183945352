"""Gradient-normalised smoothness in closed form: quadratics, the Lipschitz gradient, the Lipschitz Hessian."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.optim.second_order import gradient_normalized_smoothness

X = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def test_exact_quadratic_has_no_bound():
    h = torch.diag(torch.tensor([1.0, 5.0, 9.0], dtype=torch.float64))
    assert gradient_normalized_smoothness(lambda x: h @ x, X, h, seed=0, directions=8) == math.inf


def test_without_curvature_it_is_the_gradient_over_its_lipschitz_constant():
    zero = torch.zeros(3, 3, dtype=torch.float64)
    found = gradient_normalized_smoothness(lambda x: 4 * x, X, zero, seed=0, directions=8)
    assert found == pytest.approx(float(4 * X.norm()) / 4, rel=0.01)


def test_exact_hessian_of_a_cube_gives_the_root_of_the_gradient():
    x = torch.tensor([1.5], dtype=torch.float64)  # f = |x|^3 / 3, M = 2
    found = gradient_normalized_smoothness(lambda x: x * x.abs(), x, 2 * x.abs()[:, None], seed=0, directions=2)
    assert found == pytest.approx(math.sqrt(2 * 1.5**2 / 2), rel=0.02)


def test_a_metric_is_a_change_of_variables():
    """f = x.Bx with H = 0: the gradient is 2 B x, so in |.|_B it is 2-Lipschitz and gamma = |2 B x|* / 2 = |x|_B."""
    b = torch.tensor([[4.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 9.0]], dtype=torch.float64)
    zero = torch.zeros(3, 3, dtype=torch.float64)
    found = gradient_normalized_smoothness(lambda x: 2 * b @ x, X, zero, seed=0, directions=8, metric=b)
    assert found == pytest.approx(float((X @ b @ X).sqrt()), rel=0.01)


def test_bounds_of_lipschitz_gradients_and_hessians_hold_in_three_dimensions():
    rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def gradient(x):
        return rows.mT @ torch.tanh(rows @ x)

    norm, slope = float(torch.linalg.matrix_norm(rows, 2)), float(gradient(X).norm())
    zero = torch.zeros(3, 3, dtype=torch.float64)
    assert gradient_normalized_smoothness(gradient, X, zero, seed=0, directions=16, ascents=20) >= slope / norm**2
    exact = rows.mT @ ((1 - torch.tanh(rows @ X) ** 2)[:, None] * rows)
    bend = 4 / 27**0.5 * norm**2 * float(rows.norm(dim=1).max())  # max |tanh''| = 4 / sqrt(27)
    assert gradient_normalized_smoothness(gradient, X, exact, seed=0, directions=16, ascents=20) >= math.sqrt(
        2 * slope / bend
    )


def test_a_point_without_gradient_is_refused():
    with pytest.raises(InputError, match="norm"):
        gradient_normalized_smoothness(lambda x: x, torch.zeros(2), torch.eye(2), seed=0)
