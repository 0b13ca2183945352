"""Third-order models: numerical minima, the stationary equation, products against matrices, the rate of the scheme."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from polyad.errors import ConvergenceError, InputError
from polyad.optim.second_order.quartic import minimize_quartic

D = 6


def problem(seed=0):
    """Derivatives of sum softplus(a_i . x): gradient, Hessian, rows and third derivatives along them."""
    rng = np.random.default_rng(seed)
    rows, x = rng.standard_normal((9, D)), rng.standard_normal(D)
    p = 1 / (1 + np.exp(-rows @ x))
    second, third = p * (1 - p), p * (1 - p) * (1 - 2 * p)
    return rows.T @ p, rows.T @ (second[:, None] * rows), rows, third, np.linalg.norm(rows, 2) ** 4 / 8


def model(h, g, matrix, rows, bends, quartic, cubic, quadratic):
    r, u = np.linalg.norm(h), rows @ h
    value = (
        g @ h + h @ matrix @ h / 2 + bends @ u**3 / 6 + quadratic * r**2 / 2 + cubic * r**3 / 6 + quartic * r**4 / 24
    )
    slope = g + matrix @ h + rows.T @ (bends * u**2) / 2 + (quadratic + cubic * r / 2 + quartic * r**2 / 6) * h
    return value, slope


@pytest.mark.parametrize(("cubic", "quadratic"), [(0.0, 0.0), (0.7, 0.2)])
@pytest.mark.parametrize("factor", [3, 6, 30])
def test_minimum_of_the_model(factor, cubic, quadratic):
    g, matrix, rows, bends, lipschitz = problem()
    arguments = (g, matrix, rows, bends, factor * lipschitz, cubic, quadratic)
    tensors = [torch.from_numpy(part) for part in (g, matrix, rows, bends)]

    def third(h):
        return tensors[2].mT @ (tensors[3] * (tensors[2] @ h) ** 2)

    options = {"quartic": factor * lipschitz, "cubic": cubic, "quadratic": quadratic}
    dense = minimize_quartic(tensors[0], tensors[1], third, **options)
    value, slope = model(dense.step.numpy(), *arguments)
    numeric = minimize(model, np.zeros(D), arguments, jac=True, tol=1e-14, options={"gtol": 1e-12})
    assert np.abs(dense.step.numpy() - numeric.x).max() < 1e-7
    assert value <= numeric.fun + 1e-11
    assert np.linalg.norm(slope) < 1e-10
    assert dense.residual == pytest.approx(np.linalg.norm(slope), abs=1e-11)
    whole = minimize_quartic(tensors[0], lambda v: tensors[1] @ v, third, **options)
    assert float((whole.step - dense.step).norm()) < 1e-8
    early = minimize_quartic(tensors[0], lambda v: tensors[1] @ v, third, tolerance=1e-2, **options)
    assert 1e-8 < early.residual <= 1e-2
    assert early.iterations < dense.iterations


def test_iterations_follow_the_rate_of_relative_smoothness():
    """At M = 3 s^2 L the gap of the model falls by (1 + 1/s) / 2 an iteration: 0.854 at 6 L."""
    g, matrix, rows, bends, lipschitz = (torch.as_tensor(part, dtype=torch.float64) for part in problem(1))
    quartic = 6 * float(lipschitz)
    counts = {}
    for tolerance in (1e-3, 1e-9):
        found = minimize_quartic(
            g, matrix, lambda h: rows.mT @ (bends * (rows @ h) ** 2), quartic=quartic, tolerance=tolerance
        )
        counts[tolerance] = found.iterations
    gained = counts[1e-9] - counts[1e-3]
    assert 0 < gained <= np.log(1e-12) / np.log(0.854)  # gaps fall as residuals squared


def test_closed_form_along_one_axis_and_no_gradient():
    zero, h = torch.zeros(3, 3, dtype=torch.float64), torch.tensor([-8.0, 0.0, 0.0], dtype=torch.float64)
    found = minimize_quartic(h, zero, torch.zeros_like, quartic=6.0)  # r^3 = 8
    assert found.step.tolist() == pytest.approx([2.0, 0.0, 0.0], abs=1e-9)
    still = minimize_quartic(torch.zeros(3), torch.eye(3), torch.zeros_like, quartic=1.0)
    assert not still.step.any()
    assert still.iterations == 0


def test_bad_models_are_refused():
    g, eye = torch.ones(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    with pytest.raises(InputError, match="quartic"):
        minimize_quartic(g, eye, torch.zeros_like, quartic=0.0)
    with pytest.raises(InputError, match="convex"):
        minimize_quartic(g, -eye, torch.zeros_like, quartic=1.0)
    with pytest.raises(InputError, match="not finite"):
        minimize_quartic(g * torch.nan, eye, torch.zeros_like, quartic=1.0)
    with pytest.raises(InputError, match="not finite"):
        minimize_quartic(g, eye, lambda h: h * torch.nan, quartic=1.0)
    with pytest.raises(ConvergenceError, match="raise the"):
        minimize_quartic(g, eye, torch.square, quartic=1.0, iterations=2)
