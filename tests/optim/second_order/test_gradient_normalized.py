"""Gradient-normalised Newton: quadratics in two steps, a NumPy loop, the progress of every step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polyad.errors import ConvergenceError, InputError, NumericalWarning
from polyad.optim.second_order import GradientNormalizedNewton, gradient_normalized_smoothness


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


METRIC = np.array([[2.0, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 5.0]])


@pytest.mark.parametrize("products", [False, True])
def test_a_metric_measures_points_and_gradients(products):
    """The loop has B written out; with products, conjugate gradients stand for Cholesky."""
    x, gamma, inverse = np.array([-1.0, 1.0, 1.0]), 1.0, np.linalg.inv(METRIC)
    method = GradientNormalizedNewton(torch.from_numpy(x), metric=torch.from_numpy(METRIC), tolerance=1e-13)

    def oracle(x):
        value, g, matrix = as_torch(rosenbrock)(x)
        return value, g, (lambda v: matrix @ v) if products else matrix

    for _ in range(25):
        f, g, h = rosenbrock(x)
        while True:
            damping = np.sqrt(g @ inverse @ g) / gamma
            trial = x - np.linalg.solve(h + damping * METRIC, g)
            after, slope, _ = rosenbrock(trial)
            if f - after >= slope @ inverse @ slope / (8 * damping):
                break
            gamma /= 2
        x, gamma = trial, 2 * gamma
        method.step(oracle)
        assert np.abs(method.x.numpy() - x).max() < 1e-7
        assert method.gamma == gamma


def equations(x):
    return torch.cat([(1 - x[:1]) / 2, x[1:] - 2 * x[:-1] ** 2 + 1])


@pytest.mark.parametrize("matrix_free", [False, True])
def test_functions_are_differentiated_with_the_hessian_asked_for(matrix_free):
    start = torch.tensor([-1.0, 1.0, 1.0])
    given = GradientNormalizedNewton(start)
    asked = GradientNormalizedNewton(start, hessian="gauss_newton", matrix_free=matrix_free, tolerance=1e-13)
    weighted = GradientNormalizedNewton(
        start, hessian="gauss_newton", matrix_free=matrix_free, loss=lambda u: u.square().sum() / 2
    )
    for _ in range(15):
        given.step(as_torch(rosenbrock))
        asked.step(equations)
        weighted.step(equations)
        assert torch.allclose(asked.x, given.x, rtol=0, atol=1e-8)
        assert torch.allclose(weighted.x, given.x, rtol=0, atol=1e-6)
    assert asked.solves == given.solves


@pytest.mark.parametrize("hessian", ["exact", "diag", "fisher", lambda x: 0.4 * torch.eye(3, dtype=torch.float64)])
def test_every_hessian_leads_to_the_minimum_of_a_regression(hessian):
    rows = torch.randn(30, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.where(rows[:, 0] + 0.8 * torch.sin(9 * rows[:, 1]) > 0, 1.0, -1.0).double()

    def losses(x):
        return torch.nn.functional.softplus(-labels * (rows @ x)) + 0.05 * x @ x

    function = losses if hessian == "fisher" else lambda x: losses(x).mean()
    method = GradientNormalizedNewton(torch.ones(3), hessian=hessian)
    for _ in range(60):
        method.step(function)
        weights = torch.sigmoid(-labels * (rows @ method.x))
        slope = 0.1 * method.x - rows.mT @ (labels * weights) / 30
        if float(slope.norm()) < 1e-5:
            break
    assert float(slope.norm()) < 1e-5


def test_a_trial_that_overflows_is_refused_and_the_next_is_shorter():
    method = GradientNormalizedNewton(torch.tensor([0.0]), hessian=lambda x: torch.zeros(1, 1), gamma=1e6)
    value = method.step(lambda x: x.exp().exp().sum() - 20 * x.sum())
    assert np.isfinite(value)
    assert value < np.e
    assert method.solves > 5


def test_state_goes_on_to_the_bit():
    one, two = (GradientNormalizedNewton(torch.tensor([-1.0, 1.0, 1.0]), hessian="gauss_newton") for _ in range(2))
    for _ in range(4):
        one.step(equations)
    state = one.state_dict()
    two.load_state_dict(state)
    for method in (one, two):
        method.step(equations)
    assert torch.equal(one.x, two.x)
    assert (one.gamma, one.solves, one.steps) == (two.gamma, two.solves, two.steps)
    assert not torch.equal(state["x"], one.x), "the state must be a copy"
    with pytest.raises(InputError, match="shape"):
        GradientNormalizedNewton(torch.zeros(2)).load_state_dict(state)


def test_with_the_radius_of_smoothness_the_first_trial_makes_its_progress():
    """Theory: for convex f and H >= 0, gamma(x) bounds the step and is always accepted."""
    rows = torch.randn(12, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def gradient(x):
        return rows.mT @ (4 * rows @ x).softmax(0)

    for hessian in ("exact", "gauss_newton"):
        x = torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64)
        weights = (4 * rows @ x).softmax(0)
        matrix = 4 * rows.mT @ (weights[:, None] * rows)
        if hessian == "exact":
            matrix = matrix - 4 * torch.outer(gradient(x), gradient(x))
        gamma = gradient_normalized_smoothness(gradient, x, matrix, seed=0, directions=16, ascents=20)
        method = GradientNormalizedNewton(x, gamma=gamma)
        method.step(lambda x, matrix=matrix: ((4 * rows @ x).logsumexp(0) / 4, gradient(x), matrix))
        assert method.solves == 1
        assert float((method.x - x).norm()) <= gamma


@pytest.mark.parametrize(
    "options",
    [{"hessian": "bfgs"}, {"metric": -torch.eye(2)}, {"matrix_free": True}, {"tries": 0}],
)
def test_options_that_cannot_be_used(options):
    with pytest.raises(InputError, match=next(iter(options))):
        GradientNormalizedNewton(torch.zeros(2), **options)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="gamma"):
        GradientNormalizedNewton(torch.zeros(2), gamma=0.0)
    method = GradientNormalizedNewton(torch.zeros(1))
    with pytest.warns(NumericalWarning, match="not finite"):
        method.step(as_torch(lambda x: (np.nan, np.ones(1), np.eye(1))))
    with pytest.raises(ConvergenceError, match="belong together"):
        method.step(as_torch(lambda x: (-x[0], np.ones(1), np.eye(1))))  # the gradient of the negative
    zero = GradientNormalizedNewton(torch.zeros(1))
    assert zero.step(as_torch(lambda x: (2.0, np.zeros(1), np.eye(1)))) == 2.0
    with pytest.raises(InputError, match="NoneType"):
        zero.step(lambda x: None)
    assert zero.steps == 0
