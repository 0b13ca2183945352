"""Accelerated inexact Newton on the chain problem, against a loop in NumPy, and its estimating sequence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize

from polyad.errors import InputError
from polyad.optim.second_order import AcceleratedInexactNewton
from polyad.optim.second_order.accelerated import minimize_powers

D = 10
B = np.eye(D) - np.eye(D, k=1)
CUBIC = 4 * np.linalg.norm(B, 2) ** 3
BEST = -2 * D / 3
RADIUS = float(np.linalg.norm(np.arange(D, 0, -1)))  # B x* = 1


def chain(x):
    u = B @ x
    first = np.eye(D)[0]
    return (np.abs(u) ** 3).sum() / 3 - x[0], B.T @ (u * np.abs(u)) - first, B.T @ np.diag(2 * np.abs(u)) @ B


def noisy(noise, seed):
    rng = np.random.default_rng(seed)

    def oracle(x):
        value, g, h = chain(np.asarray(x))
        return value, g + noise * rng.standard_normal(D), h

    return oracle


def as_torch(oracle):
    def call(x):
        value, g, h = oracle(x.numpy())
        return value, torch.from_numpy(g), torch.from_numpy(h)

    return call


def reference(oracle, steps, sigma, delta2):
    """The straight-line loop; the cubic step by its fixed point in |h|, convex problems only."""
    x, y, total, rows = np.zeros(D), np.zeros(D), np.zeros(D), []
    for t in range(steps):
        alpha, weight = 3 / (t + 3), 6 / ((t + 1) * (t + 2) * (t + 3))
        dbar = delta2 + sigma / RADIUS * (t + 3) ** 1.5
        v = (1 - alpha) * x + alpha * y
        _, g, h = oracle(v)

        def solve(r, h=h, g=g, dbar=dbar):
            return np.linalg.solve(h + (dbar + CUBIC * r / 2) * np.eye(D), -g)

        high = np.sqrt(2 * np.linalg.norm(g) / CUBIC)
        r = brentq(lambda r, s=solve: np.linalg.norm(s(r)) - r, 1e-14, 2 * high, xtol=1e-16, rtol=1e-15)
        x = v + solve(r)
        total = total + alpha / weight * oracle(x)[1]
        after, weight = 3 / (t + 4), 6 / ((t + 2) * (t + 3) * (t + 4))
        b = 2 * dbar * after**2 / weight + sigma / RADIUS * (t + 3) ** 2.5
        k = 8 * CUBIC / 3 * after**3 / weight
        root = (-b + np.sqrt(b * b + 4 * k * np.linalg.norm(total))) / (2 * k)
        y = -total / (b + k * root)
        rows.append((x, y, total))
    return rows


@pytest.mark.parametrize(("noise", "delta2"), [(0.0, 0.0), (0.1, 0.3)])
def test_iterates_are_those_of_the_straight_line_loop(noise, delta2):
    start = torch.zeros(D, dtype=torch.float64)
    method = AcceleratedInexactNewton(start, cubic=CUBIC, radius=RADIUS, sigma=noise, delta2=delta2)
    oracle = as_torch(noisy(noise, 3))
    for x, y, total in reference(noisy(noise, 3), 60, noise, delta2):
        method.step(oracle)
        for ours, theirs in ((method.x, x), (method.y, y), (method.total_gradient, total)):
            assert np.abs(ours.numpy() - theirs).max() <= 1e-10 * max(1.0, np.abs(theirs).max())
    assert not start.any(), "the start was changed"


def test_chain_gap_falls_with_the_cube_of_the_steps():
    method = AcceleratedInexactNewton(torch.zeros(D, dtype=torch.float64), cubic=CUBIC, radius=RADIUS)
    oracle = as_torch(chain)
    gaps = [float(method.step(oracle)) - BEST for _ in range(400)]
    assert gaps[-1] < 1e-6
    assert max((t + 1) ** 3 * gap for t, gap in enumerate(gaps)) <= 10 * CUBIC * RADIUS**3


@pytest.mark.parametrize(("linear", "square"), [(0.0, 2.0), (3.0, 0.5)])
def test_minimiser_of_the_estimating_function(linear, square):
    slope = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    g = slope.numpy()

    def psi(x):
        r = np.linalg.norm(x)
        return linear * r**2 / 2 + square * r**3 / 3 + g @ x, (linear + square * r) * x + g

    numeric = minimize(psi, 0.1 * np.ones(3), jac=True, tol=1e-14, options={"gtol": 1e-12}).x
    assert np.abs(minimize_powers(slope, linear, square).numpy() - numeric).max() < 1e-8


def test_state_goes_on_to_the_bit():
    one, two = (AcceleratedInexactNewton(torch.zeros(D), cubic=CUBIC, radius=RADIUS, sigma=0.1) for _ in range(2))
    oracle = as_torch(chain)
    for _ in range(5):
        one.step(oracle)
    two.load_state_dict(one.state_dict())
    one.step(oracle)
    two.step(oracle)
    assert torch.equal(one.x, two.x)
    assert torch.equal(one.y, two.y)
    with pytest.raises(InputError, match="numbers"):
        AcceleratedInexactNewton(torch.zeros(3), cubic=1.0, radius=1.0).load_state_dict(one.state_dict())


def test_bad_constants_and_gradients_are_refused():
    with pytest.raises(InputError, match="cubic"):
        AcceleratedInexactNewton(torch.zeros(2), cubic=0.0, radius=1.0)
    method = AcceleratedInexactNewton(torch.zeros(2, dtype=torch.float64), cubic=1.0, radius=1.0)
    bad = torch.full((2,), torch.nan, dtype=torch.float64)
    with pytest.raises(InputError, match="not finite"):
        method.step(lambda x: (0.0, bad, torch.eye(2, dtype=torch.float64)))
    assert method.steps == 0
