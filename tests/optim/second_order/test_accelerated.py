"""Accelerated inexact Newton on the chain problem, against a loop in NumPy, and its estimating sequence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, root

from polyad.errors import InputError, NumericalWarning
from polyad.optim.second_order.accelerated import AcceleratedInexactNewton, AcceleratedInexactTensor
from polyad.optim.second_order.oracles import FunctionOracle

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
        for ours, theirs in ((method.x, x), (method.sequence.y, y), (method.sequence.total_gradient, total)):
            assert np.abs(ours.numpy() - theirs).max() <= 1e-10 * max(1.0, np.abs(theirs).max())
    assert not start.any(), "the start was changed"


def test_chain_gap_falls_with_the_cube_of_the_steps():
    method = AcceleratedInexactNewton(torch.zeros(D, dtype=torch.float64), cubic=CUBIC, radius=RADIUS)
    oracle = as_torch(chain)
    gaps = [float(method.step(oracle)) - BEST for _ in range(400)]
    assert gaps[-1] < 1e-6
    assert max((t + 1) ** 3 * gap for t, gap in enumerate(gaps)) <= 10 * CUBIC * RADIUS**3


def test_schedules_can_be_replaced():
    free = AcceleratedInexactNewton(
        torch.zeros(D, dtype=torch.float64),
        cubic=CUBIC,
        radius=RADIUS,
        noise_schedule=lambda t: 0.1 / RADIUS * (t + 3) ** 2.5,
        penalty_schedule=lambda t: 0.3 + 0.1 / RADIUS * (t + 3) ** 1.5,
        square_schedule=lambda t: (t + 2) * (t + 3) * 3 / (t + 4) * (0.3 + 0.1 / RADIUS * (t + 3) ** 1.5),
        cube_schedule=lambda t: 12 * CUBIC * (t + 2) * (t + 3) / (t + 4) ** 2,
    )
    usual = AcceleratedInexactNewton(
        torch.zeros(D, dtype=torch.float64), cubic=CUBIC, radius=RADIUS, sigma=0.1, delta2=0.3
    )
    other = AcceleratedInexactNewton(
        torch.zeros(D, dtype=torch.float64), cubic=CUBIC, radius=RADIUS, penalty_schedule=lambda t: 1.0
    )
    oracle = as_torch(chain)
    for _ in range(20):
        for method in (free, usual, other):
            method.step(oracle)
    assert torch.allclose(free.x, usual.x, rtol=0, atol=1e-12)
    assert torch.allclose(free.sequence.y, usual.sequence.y, rtol=0, atol=1e-12)
    assert not torch.allclose(other.x, usual.x, atol=1e-3)
    broken = AcceleratedInexactNewton(torch.zeros(D), cubic=CUBIC, radius=RADIUS, cube_schedule=lambda t: float("nan"))
    with pytest.raises(InputError, match="schedules"):
        broken.step(oracle)
    assert broken.sequence.steps == 0


def third_chain(x):
    """sum |Bx|_i^4 / 4 - x_1 with all derivatives; least at Bx = 1, too."""
    u = B @ x
    first = np.eye(D)[0]
    hessian = B.T @ np.diag(3 * u**2) @ B
    return (u**4).sum() / 4 - x[0], B.T @ u**3 - first, hessian, lambda h: B.T @ (6 * u * (B @ h) ** 2)


def third_as_torch(noise, seed, products=False):
    rng = np.random.default_rng(seed)

    def call(x):
        value, g, hessian, third = third_chain(x.numpy())
        matrix = torch.from_numpy(hessian)
        return (
            value,
            torch.from_numpy(g + noise * rng.standard_normal(D)),
            (lambda v: matrix @ v) if products else matrix,
            lambda h: torch.from_numpy(third(h.numpy())),
        )

    return call


QUARTIC = 36 * np.linalg.norm(B, 2) ** 4


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize(("noise", "delta2", "delta3"), [(0.0, 0.0, 0.0), (0.1, 0.3, 0.2)])
def test_third_order_iterates_are_those_of_the_straight_line_loop(noise, delta2, delta3, products):
    """The loop minimises its models by Newton's method, and y by a bracketed root."""
    method = AcceleratedInexactTensor(
        torch.zeros(D), quartic=QUARTIC, radius=RADIUS, sigma=noise, delta2=delta2, delta3=delta3
    )
    oracle, rng = third_as_torch(noise, 5, products), np.random.default_rng(5)
    x, y, total = np.zeros(D), np.zeros(D), np.zeros(D)
    for t in range(5 if products else 10):
        alpha, weight = 4 / (t + 4), 24 / ((t + 1) * (t + 2) * (t + 3) * (t + 4))
        dbar = delta2 + noise / RADIUS * (t + 4) ** 1.5
        v = (1 - alpha) * x + alpha * y
        _, g, hessian, third = third_chain(v)
        g = g + noise * rng.standard_normal(D)

        def slope(h, g=g, hessian=hessian, third=third, dbar=dbar):
            r = np.linalg.norm(h)
            return g + hessian @ h + third(h) / 2 + (dbar + 2 * delta3 * r + QUARTIC * r * r / 6) * h

        guess = -g * (6 / QUARTIC / (g @ g)) ** (1 / 3)
        h = root(slope, guess, method="hybr", options={"xtol": 1e-15, "maxfev": 4000}).x
        assert np.linalg.norm(slope(h)) < 1e-11 * (1 + np.linalg.norm(g))
        x = v + h
        total = total + alpha / weight * (third_chain(x)[1] + noise * rng.standard_normal(D))
        after, weight = 4 / (t + 5), 24 / ((t + 2) * (t + 3) * (t + 4) * (t + 5))
        b = 3 * dbar * after**2 / weight + noise / RADIUS * (t + 4) ** 3.5
        c, k = 8 * np.sqrt(3) * delta3 * after**3 / weight, 4.5 * QUARTIC * after**4 / weight
        norm = np.linalg.norm(total)
        r = brentq(lambda r, b=b, c=c, k=k, n=norm: b * r + c * r**2 + k * r**3 - n, 0, 1e3, xtol=1e-15, rtol=1e-15)
        y = -total / (b + c * r + k * r * r)
        method.step(oracle)
        for ours, theirs in ((method.x, x), (method.sequence.y, y), (method.sequence.total_gradient, total)):
            assert np.abs(ours.numpy() - theirs).max() <= 1e-8 * max(1.0, np.abs(theirs).max())


@pytest.mark.slow
def test_third_order_gap_falls_with_the_fourth_power_of_the_steps():
    b = torch.from_numpy(B[-3:, -3:])  # the same chain, of three
    quartic, radius = 36 * float(torch.linalg.matrix_norm(b, 2)) ** 4, math.sqrt(14)

    def oracle(x):
        u = b @ x
        gradient = b.mT @ u**3 - torch.eye(3, dtype=torch.float64)[0]
        return (u**4).sum() / 4 - x[0], gradient, b.mT @ (3 * u**2).diag() @ b, lambda h: b.mT @ (6 * u * (b @ h) ** 2)

    method = AcceleratedInexactTensor(torch.zeros(3), quartic=quartic, radius=radius)
    gaps = [method.step(oracle) + 9 / 4 for _ in range(41)]
    assert max((t + 1) ** 4 * gap for t, gap in enumerate(gaps)) <= 20 * quartic * radius**4
    assert gaps[-1] < 0.1 * gaps[0]


def test_third_order_steps_with_derivatives_by_autograd():
    matrix = torch.from_numpy(B)
    by_hand, by_autograd = (AcceleratedInexactTensor(torch.zeros(D), quartic=QUARTIC, radius=RADIUS) for _ in range(2))
    oracle = FunctionOracle(lambda x: ((matrix @ x) ** 4).sum() / 4 - x[0], order=3)
    for _ in range(5):
        by_hand.step(third_as_torch(0.0, 0))
        by_autograd.step(oracle)
    assert torch.allclose(by_hand.x, by_autograd.x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("order", [2, 3])
def test_state_goes_on_to_the_bit(order):
    def method(size=D):
        if order == 2:
            return AcceleratedInexactNewton(torch.zeros(size), cubic=CUBIC, radius=RADIUS, sigma=0.1)
        return AcceleratedInexactTensor(torch.zeros(size), quartic=QUARTIC, radius=RADIUS, sigma=0.1)

    one, two, oracle = method(), method(), third_as_torch(0.0, 0)
    for _ in range(5):
        one.step(oracle)
    state = one.state_dict()
    one.step(oracle)
    two.load_state_dict(state)
    two.step(oracle)
    assert torch.equal(one.x, two.x)
    assert torch.equal(one.sequence.y, two.sequence.y)
    assert one.sequence.steps == two.sequence.steps == 6
    with pytest.raises(InputError, match="shape"):
        method(3).load_state_dict(state)
    with pytest.raises(InputError, match="lacks"):
        two.load_state_dict({"x": two.x})


def test_bad_constants_and_answers_are_refused():
    with pytest.raises(InputError, match="cubic"):
        AcceleratedInexactNewton(torch.zeros(2), cubic=0.0, radius=1.0)
    with pytest.raises(InputError, match="AcceleratedInexactNewton"):
        AcceleratedInexactTensor(torch.zeros(2), p=2, quartic=1.0, radius=1.0)
    with pytest.raises(InputError, match="delta3"):
        AcceleratedInexactTensor(torch.zeros(2), quartic=1.0, radius=1.0, delta3=-1.0)
    good, bad, eye = torch.ones(2), torch.full((2,), torch.nan), torch.eye(2)
    newton = AcceleratedInexactNewton(torch.zeros(2), cubic=1.0, radius=1.0)
    tensor = AcceleratedInexactTensor(torch.zeros(2), quartic=1.0, radius=1.0)
    for answer, message in (
        (None, "tuple"),
        ((0.0, good, None, None), "2"),
    ):
        for method in (newton, tensor):
            with pytest.raises(InputError, match=message):
                method.step(lambda x, answer=answer: answer)
            assert method.steps == 0
            assert not method.x.any()
    for method in (newton, tensor):
        with pytest.warns(NumericalWarning, match="not finite"):
            method.step(lambda x: (0.0, bad, eye, torch.abs))
        assert (method.steps, method.skipped_steps) == (0, 1)
