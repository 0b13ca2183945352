"""Levenberg-Marquardt against a step written out by autograd, and its damping."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.second_order.input_gain import LM
from tests.optim.second_order.input_gain.small import network, patterns


def test_one_step_solves_the_damped_equations_over_all_weights() -> None:
    data = patterns()
    net, other = network(), network()
    optimizer = LM(net, damping=0.5)
    features = other.augmented(data[0])
    basis = torch.cat([features, other.activation(features @ other.inward.detach().mT)], 1)
    other.set_output_weights(torch.linalg.lstsq(basis, data[1]).solution.mT)
    inward, outputs = other.inward.detach(), other.output_weights
    flat = torch.cat([inward.flatten(), outputs.flatten()])

    def residual(w: Tensor) -> Tensor:
        first, second = w[: inward.numel()].view_as(inward), w[inward.numel() :].view_as(outputs)
        y = torch.cat([features, other.activation(features @ first.mT)], 1) @ second.mT
        return (y - data[1]).flatten()

    slopes: Tensor = torch.autograd.functional.jacobian(residual, flat)
    damped = 2 / 40 * slopes.mT @ slopes + 0.5 * torch.eye(len(flat), dtype=torch.float64)
    expected = flat - torch.linalg.solve(damped, 2 / 40 * slopes.mT @ residual(flat))
    assert residual(expected).square().sum() < residual(flat).square().sum()
    optimizer.step(lambda: data)
    torch.testing.assert_close(net.inward.detach(), expected[: inward.numel()].view_as(inward), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(net.output_weights, expected[inward.numel() :].view_as(outputs), atol=1e-9, rtol=1e-9)
    assert optimizer.damping == pytest.approx(0.05)


def test_a_fit_of_a_teacher_of_the_same_shape_becomes_exact() -> None:
    x, _ = patterns(count=60)
    teacher = network(hidden=2)
    target = teacher(x).detach()
    optimizer = LM(network(hidden=3))
    optimizer.fit(lambda: (x, target), iterations=60)
    assert optimizer.error < 1e-6 * float(target.var())


def test_at_a_minimum_the_step_is_given_up_and_damping_rises() -> None:
    net, (x, _) = network(), patterns()
    optimizer = LM(net, damping=1.0, tries=3)
    optimizer.step(lambda: (x, torch.zeros(40, 2, dtype=torch.float64)))  # W_o = 0 fits exactly
    assert optimizer.stalled
    assert optimizer.damping == pytest.approx(1e3)
    assert optimizer.error == 0


def test_bad_numbers() -> None:
    with pytest.raises(InputError, match="damping"):
        LM(network(), damping=0.0)
    with pytest.raises(InputError, match="tries"):
        LM(network(), tries=0)
