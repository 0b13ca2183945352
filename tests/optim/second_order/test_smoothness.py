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


def test_a_point_without_gradient_is_refused():
    with pytest.raises(InputError, match="norm"):
        gradient_normalized_smoothness(lambda x: x, torch.zeros(2), torch.eye(2), seed=0)
