"""Gradient-normalised Newton: quadratics in two steps, a NumPy loop, the progress of every step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polyad.errors import ConvergenceError, InputError
from polyad.optim.second_order import GradientNormalizedNewton


def rosenbrock(x):
    """Chebyshev-Rosenbrock as 1/2 |u|^2 with the Gauss-Newton matrix."""
    u = np.concatenate([[(1 - x[0]) / 2], x[1:] - 2 * x[:-1] ** 2 + 1])
    j = np.eye(len(x))
    j[0, 0] = -0.5
    for i in range(1, len(x)):
        j[i, i - 1] = -4 * x[i - 1]
    return u @ u / 2, j.T @ u, j.T @ j


def as_torch(function):
    def call(x):
        value, g, h = function(x.numpy())
        return value, torch.from_numpy(g), torch.from_numpy(h)

    return call


def test_two_steps_solve_a_quadratic_from_a_large_radius():
    h, b = np.diag([1.0, 10.0, 100.0]), np.ones(3)
    method = GradientNormalizedNewton(torch.zeros(3), gamma=1e14)
    for _ in range(2):
        method.step(as_torch(lambda x: (x @ h @ x / 2 - b @ x, h @ x - b, h)))
        if np.abs(h @ method.x.numpy() - b).max() == 0:
            break
    assert np.abs(h @ method.x.numpy() - b).max() < 1e-10


def test_iterates_are_those_of_a_numpy_loop_and_every_step_makes_its_progress():
    x, gamma, rejected = np.array([-1.0, 1.0, 1.0]), 1.0, 0
    method = GradientNormalizedNewton(torch.from_numpy(x))
    for _ in range(120):
        f, g, h = rosenbrock(x)
        if f < 1e-12:
            break
        while True:
            damping = np.linalg.norm(g) / gamma
            trial = x + np.linalg.solve(h + damping * np.eye(3), -g)
            after, slope, _ = rosenbrock(trial)
            if f - after >= slope @ slope / (8 * damping):
                break
            gamma, rejected = gamma / 2, rejected + 1
        x, gamma = trial, 2 * gamma
        before = method.x.clone()
        assert method.step(as_torch(rosenbrock)) == pytest.approx(after, rel=1e-6, abs=1e-14)
        assert np.abs(method.x.numpy() - x).max() < 1e-8
        assert method.gamma == gamma
        moved = method.x - before
        residual = torch.from_numpy(h + damping * np.eye(3)) @ moved + torch.from_numpy(g)
        assert float(residual.norm()) < 1e-10
    assert rosenbrock(x)[0] < 1e-8
    assert rejected > 0, "the loop must see refused trials"


def test_an_indefinite_matrix_is_damped_until_it_is_positive():
    method = GradientNormalizedNewton(torch.tensor([0.5, 0.1]), gamma=1e6)
    saddle = lambda x: (  # noqa: E731
        x[0] ** 2 / 2 + x[1] ** 4 / 4 - x[1] ** 2 / 2,
        np.array([x[0], x[1] ** 3 - x[1]]),
        np.diag([1.0, 3 * x[1] ** 2 - 1]),
    )
    for _ in range(20):
        method.step(as_torch(saddle))
        if np.linalg.norm(saddle(method.x.numpy())[1]) < 1e-7:
            break
    assert method.x.numpy() == pytest.approx([0.0, 1.0], abs=1e-6)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="gamma"):
        GradientNormalizedNewton(torch.zeros(2), gamma=0.0)
    method = GradientNormalizedNewton(torch.zeros(1))
    with pytest.raises(InputError, match="not finite"):
        method.step(as_torch(lambda x: (np.nan, np.ones(1), np.eye(1))))
    with pytest.raises(ConvergenceError, match="belong together"):
        method.step(as_torch(lambda x: (-x[0], np.ones(1), np.eye(1))))  # the gradient of the negative
    zero = GradientNormalizedNewton(torch.zeros(1))
    assert zero.step(as_torch(lambda x: (2.0, np.zeros(1), np.eye(1)))) == 2.0
