"""The estimating sequence: its minimiser against numerical minima, its weights against their recurrences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from polyad.errors import InputError
from polyad.optim.second_order.estimating import EstimatingSequence, growth, minimize_powers, share, weight


@pytest.mark.parametrize(
    "weights", [(0.0, 2.0), (3.0, 0.5), (1.0, 0.3, 2.0), (0.0, 0.0, 5.0), (0.2, 0.0, 0.7), (2.0, 0.0, 0.0)]
)
def test_minimiser_of_the_estimating_function(weights):
    slope = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    g = slope.numpy()

    def psi(x):
        r = np.linalg.norm(x)
        value = sum(k * r ** (i + 2) / (i + 2) for i, k in enumerate(weights)) + g @ x
        return value, sum(k * r**i for i, k in enumerate(weights)) * x + g

    numeric = minimize(psi, -0.3 * g, jac=True, tol=1e-14, options={"gtol": 1e-12}).x
    assert np.abs(minimize_powers(slope, weights).numpy() - numeric).max() < 1e-8


@pytest.mark.parametrize("order", [2, 3])
def test_weights_are_products_of_what_x_keeps(order):
    product = 1.0
    for t in range(12):
        if t:
            product *= 1 - share(t, order)
        assert weight(t, order) == pytest.approx(product, rel=1e-13)
        assert growth(t, order, order + 1) == pytest.approx(share(t + 1, order) ** (order + 1) / weight(t + 1, order))
    limit = (order + 1) ** (order + 1) / np.prod(range(1, order + 2))
    assert growth(100_000, order, order + 1) == pytest.approx(limit, rel=1e-3)


def test_y_is_the_minimiser_about_the_start_and_x_starts_there():
    start = torch.tensor([1.0, 2.0])
    sequence = EstimatingSequence(start, order=2, noise=lambda t: 0.5, kappas=(lambda t: 0.5, lambda t: 0.0))
    assert torch.equal(sequence.looking_point(), start.double())
    sequence.advance(torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, -3.0], dtype=torch.float64))
    assert sequence.y.tolist() == pytest.approx([0.0, 5.0])  # x_0 - G / (kappa + lambda)
    assert sequence.looking_point().tolist() == pytest.approx([0.0, 3 / 4 * 5.0])


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 1.0), (float("inf"), 1.0)])
def test_weights_that_cannot_be_used_are_refused(weights):
    with pytest.raises(InputError, match="schedules"):
        minimize_powers(torch.ones(2, dtype=torch.float64), weights)
