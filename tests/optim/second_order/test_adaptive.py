"""Methods with one adaptive constant: each against its straight-line loop, states, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from polyad.errors import ConvergenceError, InputError, NumericalWarning
from polyad.optim.second_order.adaptive import AdaptiveCubicNewton, LineSearchGradient, SuperUniversalNewton

ROWS = np.random.default_rng(0).standard_normal((15, 4))
START = torch.tensor([2.0, -1.0, 0.5, 3.0])
METHODS = (SuperUniversalNewton, AdaptiveCubicNewton, LineSearchGradient)


def soft(x):
    """log sum exp(a_i . x) / 2 + |x|^4 / 40 with its derivatives."""
    u = 3 * ROWS @ x
    p = np.exp(u - u.max())
    g, r = 3 * ROWS.T @ p / p.sum(), x @ x
    matrix = 9 * ROWS.T @ np.diag(p / p.sum()) @ ROWS - np.outer(g, g)
    hessian = matrix / 2 + (2 * np.outer(x, x) + r * np.eye(4)) / 10
    return (u.max() + np.log(p.sum())) / 2 + r**2 / 40, g / 2 + r * x / 10, hessian


def oracle(x):
    value, g, matrix = soft(x.numpy())
    return value, torch.from_numpy(g), torch.from_numpy(matrix)


def super_universal(x, constant, f, g, matrix):
    damping = constant * np.linalg.norm(g) ** (2 / 3)
    h = np.linalg.solve(matrix + damping * np.eye(4), -g)
    slope = soft(x + h)[1]
    return h, -slope @ h >= slope @ slope / (4 * damping)


def cubic(x, constant, f, g, matrix):
    def solve(r):
        return np.linalg.solve(matrix + constant * r / 2 * np.eye(4), -g)

    r = brentq(lambda r: np.linalg.norm(solve(r)) - r, 0, 100, xtol=1e-15, rtol=1e-15)
    h = solve(r)
    return h, soft(x + h)[0] <= f + g @ h + h @ matrix @ h / 2 + constant * r**3 / 6


def descent(x, constant, f, g, matrix):
    return -g / constant, f - soft(x - g / constant)[0] >= g @ g / (2 * constant)


@pytest.mark.parametrize(
    ("method", "trial", "factor"),
    [(SuperUniversalNewton, super_universal, 4), (AdaptiveCubicNewton, cubic, 2), (LineSearchGradient, descent, 2)],
)
def test_iterates_are_those_of_the_loop(method, trial, factor):
    x, constant, solves, first = START.double().numpy(), 0.05, 0, 0.05
    ours = method(START, constant=first)
    for _ in range(8):
        f, g, matrix = soft(x)
        if np.linalg.norm(g) < 1e-3:
            break  # soon rounding decides on trials
        while True:
            h, accepted = trial(x, constant, f, g, matrix)
            solves += 1
            if accepted:
                break
            constant *= factor
        x, constant = x + h, constant / factor
        assert ours.step(oracle) == pytest.approx(soft(x)[0], abs=1e-10)
        assert np.abs(ours.x.numpy() - x).max() < 1e-9
        assert ours.constant == pytest.approx(constant)
        assert ours.solves == solves
    assert solves > ours.steps > 3, "the loop must see refused trials"


@pytest.mark.parametrize("method", METHODS)
def test_state_goes_on_to_the_bit_and_bad_input_is_refused(method):
    one, two = method(START), method(START)
    for _ in range(3):
        one.step(oracle)
    two.load_state_dict(one.state_dict())
    one.step(oracle)
    two.step(oracle)
    assert torch.equal(one.x, two.x)
    assert (one.constant, one.solves, one.steps) == (two.constant, two.solves, 4)
    with pytest.raises(InputError, match="shape"):
        method(torch.zeros(2)).load_state_dict(one.state_dict())
    with pytest.raises(InputError, match="constant"):
        method(START, constant=-1.0)
    with pytest.raises(InputError, match="NoneType"):
        two.step(lambda x: None)
    with pytest.warns(NumericalWarning, match="not finite"):
        two.step(lambda x: (np.nan, x, torch.eye(4)))
    seen = []

    def contrary(x):
        """Values that grow, and a gradient that turns round at trials."""
        seen.append(x)
        return float(len(seen)), x if len(seen) == 1 else -x, torch.eye(4)

    with pytest.raises(ConvergenceError, match="belong together"):
        two.step(contrary)


def test_minima_are_not_left_and_cubic_newton_leaves_saddles():
    zero = torch.zeros(2)
    for method in METHODS:
        still = method(zero)
        assert still.step(lambda x: (float(x @ x), 2 * x, 2 * torch.eye(2))) == 0
        assert not still.x.any()
    saddle = torch.diag(torch.tensor([1.0, -1.0]))
    leaver = AdaptiveCubicNewton(zero, constant=6.0)

    def function(x):
        return x[0] ** 2 / 2 - x[1] ** 2 / 2 + x[1] ** 4 / 4, torch.stack([x[0], x[1] ** 3 - x[1]]), saddle

    assert leaver.step(function) < -0.01
