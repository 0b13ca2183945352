"""Oracles from functions: every Hessian against a dense formula; answers that cannot be used; states."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from polyad.errors import InputError, NumericalWarning
from polyad.optim.second_order.oracles import FunctionOracle, checked_start, derivatives, load, saved, skip

ROWS = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
X = torch.tensor([0.3, -1.0, 0.7, 0.2], dtype=torch.float64)


def sigmoid_parts():
    p = torch.sigmoid(ROWS @ X)
    return p, p * (1 - p)


def total(x):
    return torch.nn.functional.softplus(ROWS @ x).sum()


def test_exact_value_gradient_hessian_and_third_derivative():
    p, second = sigmoid_parts()
    found = derivatives(FunctionOracle(total, order=3), X, order=3)
    assert found.value == pytest.approx(float(total(X)))
    assert torch.allclose(found.gradient, ROWS.mT @ p, rtol=0, atol=1e-12)
    assert torch.allclose(found.hessian, ROWS.mT @ (second[:, None] * ROWS), rtol=0, atol=1e-12)
    h = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64)
    assert torch.allclose(found.third(h), ROWS.mT @ (second * (1 - 2 * p) * (ROWS @ h) ** 2), rtol=0, atol=1e-12)
    assert FunctionOracle(lambda x: x @ x, order=3)(X)[3](h).tolist() == [0.0] * 4
    assert FunctionOracle(lambda x: x.sum(), order=3)(X)[3](h).tolist() == [0.0] * 4
    first = derivatives(FunctionOracle(total), X, order=1)
    assert torch.equal(first.gradient, found.gradient)
    assert first.hessian is None


def residuals(x):
    return torch.tanh(ROWS @ x) - 0.5


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("loss", [None, lambda u: u.square().sum().square() / 4])
def test_gauss_newton_is_the_loss_hessian_between_jacobians(loss, products):
    u = residuals(X)
    jacobian = (1 - (u + 0.5) ** 2)[:, None] * ROWS
    eye = torch.eye(7, dtype=torch.float64)
    inner = eye if loss is None else (u @ u) * eye + 2 * torch.outer(u, u)
    found = derivatives(FunctionOracle(residuals, hessian="gauss_newton", loss=loss, products=products), X)
    assert found.value == pytest.approx(float(u @ u / 2 if loss is None else (u @ u) ** 2 / 4))
    matrix = torch.stack([found.hessian(row) for row in torch.eye(4).double()]) if products else found.hessian
    assert torch.allclose(matrix, jacobian.mT @ inner @ jacobian, rtol=0, atol=1e-12)


def test_fisher_is_the_mean_of_outer_products():
    found = derivatives(FunctionOracle(lambda x: torch.nn.functional.softplus(ROWS @ x), hessian="fisher"), X)
    p, _ = sigmoid_parts()
    assert found.value == pytest.approx(float(total(X)) / 7)
    assert torch.allclose(found.gradient, ROWS.mT @ p / 7, rtol=0, atol=1e-12)
    assert torch.allclose(found.hessian, ROWS.mT @ (p[:, None] ** 2 * ROWS) / 7, rtol=0, atol=1e-12)


def test_diagonal_and_a_function_of_the_users():
    _, second = sigmoid_parts()
    found = derivatives(FunctionOracle(total, hessian="diag"), X)
    assert torch.allclose(found.hessian, (second @ ROWS**2).diag(), rtol=0, atol=1e-12)
    own = derivatives(FunctionOracle(total, hessian=lambda x: 2 * x.diag()), X)
    assert torch.equal(own.hessian, 2 * X.diag())
    outputs = derivatives(FunctionOracle(lambda x: ROWS @ x, loss=lambda z: torch.nn.functional.softplus(z).sum()), X)
    assert torch.allclose(outputs.hessian, ROWS.mT @ (second[:, None] * ROWS), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "NoneType"),
        ((1.0, torch.ones(4)), "tuple"),
        ((None, torch.ones(4), torch.eye(4)), "parts"),
        ((1.0, torch.ones(4), None), "parts"),
        ((1.0, torch.ones(3), torch.eye(4)), "gradient"),
        ((1.0, [1.0] * 4, torch.eye(4)), "gradient"),
        ((1.0, torch.ones(4), torch.eye(3)), "Hessian"),
        ((torch.ones(2), torch.ones(4), torch.eye(4)), "value"),
        (("1.0", torch.ones(4), torch.eye(4)), "value"),
        ((1j, torch.ones(4), torch.eye(4)), "value"),
    ],
)
def test_answers_that_cannot_be_used(answer, message):
    with pytest.raises(InputError, match=message):
        derivatives(lambda x: answer, X)


@pytest.mark.parametrize(
    "answer",
    [
        (float("nan"), torch.ones(4), torch.eye(4)),
        (1.0, torch.full((4,), torch.inf), torch.eye(4)),
        (1.0, torch.ones(4), torch.full((4, 4), torch.nan)),
    ],
)
def test_answers_that_are_not_finite_are_told_and_counted(answer):
    found = derivatives(lambda x: answer, X)
    assert not found.finite

    class Method:
        skipped_steps = 0

    method = Method()
    with pytest.warns(NumericalWarning, match="Newton: the oracle's answer"):
        skip(method, found, name="Newton")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert skip(method, found, name="Newton") == pytest.approx(answer[0], nan_ok=True)
    assert method.skipped_steps == 2


def test_an_oracle_may_write_into_its_point_and_reuse_its_answers():
    gradient, hessian, point = torch.ones(4).double(), torch.eye(4).double(), X.clone()
    found = derivatives(lambda x: (x.zero_().sum(), gradient, hessian), point)
    gradient.zero_()
    hessian.zero_()
    assert torch.equal(point, X)
    assert torch.equal(found.gradient, torch.ones(4).double())
    assert torch.equal(found.hessian, torch.eye(4).double())


def test_a_trial_may_be_infinite_and_order_three_needs_a_function():
    assert not derivatives(lambda x: (np.inf, x), X, order=1).finite
    assert derivatives(lambda x: (0.0, x, torch.eye(4)), X).finite
    with pytest.raises(InputError, match="third"):
        derivatives(lambda x: (0.0, x, torch.eye(4), x), X, order=3)


def test_functions_and_options_that_cannot_be_used():
    with pytest.raises(InputError, match="hessian"):
        FunctionOracle(total, hessian="newton")
    with pytest.raises(InputError, match="order"):
        FunctionOracle(total, order=4)
    with pytest.raises(InputError, match="diag"):
        FunctionOracle(total, hessian="diag", products=True)
    with pytest.raises(InputError, match="scalar"):
        FunctionOracle(residuals)(X)
    with pytest.raises(InputError, match="depends on x"):
        FunctionOracle(lambda x: torch.tensor(1.0))(X)
    with pytest.raises(InputError, match="NoneType"):
        FunctionOracle(lambda x: None)(X)


def test_starts_and_states():
    start = torch.ones(3)
    copy = checked_start(start)
    copy[0] = 5.0
    assert start[0] == 1
    assert copy.dtype == torch.float64
    for bad in (torch.zeros(0), torch.zeros(2, 2), torch.tensor([torch.nan]), torch.ones(2, dtype=torch.complex64)):
        with pytest.raises(InputError, match="start"):
            checked_start(bad)

    class Method:
        x, steps = torch.ones(2), 3

    method = Method()
    state = saved(method, "x", "steps")
    method.x[0] = 7.0
    assert state["x"].tolist() == [1.0, 1.0]
    load(method, state, "x", "steps")
    assert method.x.tolist() == [1.0, 1.0]
    with pytest.raises(InputError, match="lacks"):
        load(method, {"x": torch.ones(2)}, "x", "steps")
    with pytest.raises(InputError, match="shape"):
        load(method, {"x": torch.ones(3), "steps": 9}, "x", "steps")
    with pytest.raises(InputError, match="float64"):
        load(method, {"x": torch.ones(2).double(), "steps": 9}, "x", "steps")
    assert method.steps == 3
