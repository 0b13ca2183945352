"""Gauss-Newton against explicit Jacobians and scipy's least squares."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor, nn
from torch.func import functional_call

from polyad.errors import InputError
from polyad.optim.second_order.gauss_newton import GaussNewton, gauss_newton_product


def network() -> tuple[nn.Module, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    inputs = torch.randn(7, 2, generator=generator, dtype=torch.float64)
    return net, inputs, torch.randn(7, 2, generator=generator, dtype=torch.float64)


def test_the_product_is_that_of_the_explicit_jacobian() -> None:
    net, inputs, targets = network()
    parameters = dict(net.named_parameters())

    def residuals(p: dict[str, Tensor]) -> Tensor:
        return functional_call(net, p, (inputs,)) - targets

    jacobian = torch.func.jacrev(residuals)({name: p.detach() for name, p in parameters.items()})
    matrix = torch.cat([jacobian[name].reshape(14, -1) for name in parameters], 1)
    generator = torch.Generator().manual_seed(0)
    vectors = {n: torch.randn(p.shape, generator=generator, dtype=torch.float64) for n, p in parameters.items()}
    flat = torch.cat([v.flatten() for v in vectors.values()])
    found = gauss_newton_product(residuals, parameters, vectors)
    product = torch.cat([found[name].flatten() for name in parameters])
    torch.testing.assert_close(product, matrix.mT @ (matrix @ flat), atol=1e-10, rtol=1e-10)


def test_one_step_solves_the_damped_normal_equations() -> None:
    net, inputs, targets = network()
    start = torch.cat([p.detach().flatten() for p in net.parameters()])

    def residuals(p: dict[str, Tensor]) -> Tensor:
        return functional_call(net, p, (inputs,)) - targets

    point = {name: p.detach().clone() for name, p in net.named_parameters()}
    jacobian = torch.func.jacrev(residuals)(point)
    matrix = torch.cat([jacobian[name].reshape(14, -1) for name in point], 1)
    rest = residuals(point).flatten()
    optimizer = GaussNewton(net, damping=5.0, iterations=60, tolerance=1e-12)
    loss = optimizer.step(residuals)
    torch.testing.assert_close(loss, 0.5 * rest @ rest)
    damped = matrix.mT @ matrix + 5.0 * torch.eye(matrix.shape[1], dtype=torch.float64)
    move = torch.cat([p.detach().flatten() for p in net.parameters()]) - start
    torch.testing.assert_close(move, -torch.linalg.solve(damped, matrix.mT @ rest), atol=1e-9, rtol=1e-8)
    after = 0.5 * residuals(dict(net.named_parameters())).detach().square().sum()
    foreseen = 0.5 * rest @ rest - 0.5 * (rest + matrix @ move).square().sum()
    ratio = float((loss - after) / foreseen)
    assert optimizer.damping == pytest.approx(5 / 3 if ratio > 0.75 else 5.0 if ratio >= 0.25 else 20.0)


class Curve(nn.Module):
    """a exp(-b t) + c."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = nn.Parameter(torch.tensor([1.0, 0.2, 0.0], dtype=torch.float64))

    def forward(self, times: Tensor) -> Tensor:
        a, b, c = self.numbers
        return a * torch.exp(-b * times) + c


def test_least_squares_end_where_scipy_ends() -> None:
    times = torch.linspace(0, 4, 30, dtype=torch.float64)
    noise = 0.1 * torch.randn(30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = 2.5 * torch.exp(-1.3 * times) + 0.5 + noise
    net = Curve()
    optimizer = GaussNewton(net, iterations=10, tolerance=1e-10)
    for _ in range(60):
        optimizer.step(lambda p: functional_call(net, p, (times,)) - values)
        if optimizer.stalled:
            break
    peer = scipy.optimize.least_squares(
        lambda x: x[0] * np.exp(-x[1] * times.numpy()) + x[2] - values.numpy(), [1.0, 0.2, 0.0], xtol=1e-14, ftol=1e-14
    )
    assert net.numbers.tolist() == pytest.approx(peer.x.tolist(), abs=1e-5)
    assert optimizer.evaluations < 60


def test_steps_that_would_raise_the_loss_are_damped_until_they_lower_it() -> None:
    """r = atan(x) from x = 3: the undamped step goes to -9.5 and never comes back."""
    net = nn.Linear(1, 1, bias=False).double()
    net.weight.data.fill_(3.0)
    optimizer = GaussNewton(net, damping=1e-9)
    former = 3.0
    for _ in range(20):
        optimizer.step(lambda p: torch.atan(p["weight"]).flatten())
        assert abs(net.weight.item()) <= former
        former = abs(net.weight.item())
    assert former < 1e-8


def test_it_stalls_at_a_minimum_and_saves_its_damping() -> None:
    net = nn.Linear(1, 1, bias=False).double()
    net.weight.data.fill_(1.0)
    optimizer = GaussNewton(net, damping=2.0)
    for _ in range(3):
        optimizer.step(lambda p: torch.stack([p["weight"].sum() - 1, p["weight"].sum() - 1]))
    assert optimizer.stalled
    assert net.weight.item() == 1.0
    other = GaussNewton(net)
    other.load_state_dict(optimizer.state_dict())
    assert other.state_dict() == optimizer.state_dict()


def test_bad_input_is_refused() -> None:
    net = nn.Linear(1, 1)
    for options in ({"damping": 0.0}, {"iterations": 0}, {"tolerance": -1.0}, {"tries": 0}):
        with pytest.raises(InputError):
            GaussNewton(net, **options)
    with pytest.raises(InputError, match="no parameter"):
        GaussNewton(nn.ReLU())
    with pytest.raises(InputError, match="not finite"):
        GaussNewton(net).step(lambda p: p["weight"] * torch.nan)
    with pytest.raises(InputError, match="state_dict"):
        GaussNewton(net).load_state_dict({"lr": 1.0})
