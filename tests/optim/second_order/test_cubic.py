"""Cubic models: the optimality pair, brute force, the hard case, products against matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from polyad.errors import InputError
from polyad.optim.second_order import minimize_cubic


def model(h, g, matrix, cubic, quadratic):
    r = np.linalg.norm(h)
    return g @ h + h @ matrix @ h / 2 + quadratic * r**2 / 2 + cubic * r**3 / 6


def symmetric(d, seed):
    a = torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (a + a.mT) / 2


@pytest.mark.parametrize("d", [1, 2, 3, 4])
@pytest.mark.parametrize("hard", [False, True])
def test_global_minimum_against_brute_force_and_the_optimality_pair(d, hard):
    cubic, quadratic = 0.7, 0.2
    matrix = symmetric(d, d) - 2 * torch.eye(d, dtype=torch.float64)  # indefinite
    g = torch.randn(d, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    if hard:
        lowest = torch.linalg.eigh(matrix)[1][:, 0]
        g = 0.1 * (g - (g @ lowest) * lowest) if d > 1 else torch.zeros_like(g)
    found = minimize_cubic(g, matrix, cubic=cubic, quadratic=quadratic)
    h = found.step
    shifted = matrix + (quadratic + cubic * h.norm() / 2) * torch.eye(d, dtype=torch.float64)
    assert float((shifted @ h + g).abs().max()) < 1e-8
    assert float(torch.linalg.eigvalsh(shifted)[0]) > -1e-8
    rng = np.random.default_rng(0)
    arguments = (g.numpy(), matrix.numpy(), cubic, quadratic)
    best = min(minimize(model, 4 * rng.standard_normal(d), arguments, tol=1e-12).fun for _ in range(12))
    assert model(h.numpy(), *arguments) == pytest.approx(best, abs=1e-8)
    assert found.decrease == pytest.approx(-best, abs=1e-8)
    assert found.residual < 1e-8


def test_products_give_the_step_of_the_matrix_and_stop_by_tolerance():
    matrix, g = symmetric(40, 3), torch.ones(40, dtype=torch.float64)
    dense = minimize_cubic(g, matrix, cubic=2.0)
    whole = minimize_cubic(g, lambda v: matrix @ v, cubic=2.0)
    assert float((dense.step - whole.step).norm()) < 1e-8
    calls = []
    early = minimize_cubic(g, lambda v: calls.append(1) or matrix @ v, cubic=2.0, tolerance=1e-2)
    assert 1e-10 < early.residual <= 1e-2
    assert len(calls) < 70
    assert 0 < early.decrease <= dense.decrease + 1e-12


def test_products_find_the_hard_case_and_refuse_nan():
    matrix = torch.diag(torch.tensor([-3.0, 1.0, 2.0, 2.0], dtype=torch.float64))
    g = torch.tensor([0.0, 0.1, 0.1, 0.0], dtype=torch.float64)
    found = minimize_cubic(g, lambda v: matrix @ v, cubic=1.0)
    assert found.residual < 1e-8
    assert found.decrease == pytest.approx(minimize_cubic(g, matrix, cubic=1.0).decrease, abs=1e-8)
    assert float(found.step.norm()) == pytest.approx(6.0)  # |h| = 2 * 3 / M
    with pytest.raises(InputError, match="product"):
        minimize_cubic(g, lambda v: v * torch.nan, cubic=1.0)


def test_zero_gradient_stays_where_the_hessian_is_positive():
    zero = torch.zeros(3, dtype=torch.float64)
    assert not minimize_cubic(zero, torch.eye(3, dtype=torch.float64), cubic=1.0).step.any()


@pytest.mark.parametrize("bad", [{"cubic": 0.0}, {"cubic": 1.0, "quadratic": -1.0}, {"cubic": float("nan")}])
def test_penalties_that_cannot_be_used_are_refused(bad):
    with pytest.raises(InputError):
        minimize_cubic(torch.ones(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64), **bad)


def test_gradient_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="not finite"):
        minimize_cubic(torch.full((2,), torch.nan, dtype=torch.float64), torch.eye(2, dtype=torch.float64), cubic=1.0)


def test_a_saddle_is_left_without_a_gradient() -> None:
    matrix = torch.diag(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    for hessian in (matrix, lambda v: matrix @ v):
        found = minimize_cubic(torch.zeros(3, dtype=torch.float64), hessian, cubic=1.0)
        # along the lowest eigenvector -2 h^2 / 2 + |h|^3 / 6 is least at |h| = 4
        assert found.step.abs().tolist() == pytest.approx([0.0, 4.0, 0.0], abs=1e-8)
        assert found.decrease == pytest.approx(16 / 3, abs=1e-8)
