"""Nonlinear kernels against the tangent kernel, closed forms for sign, and networks of finite width."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.theory.width_limits import (
    AdamUpdate,
    Memoryless,
    adaptive_kernel,
    covariance_recursion,
    initial_weights,
    kernel_dynamics,
    preset,
    sgd,
    sign,
    tangent_kernel,
    train,
)

INPUTS = torch.tensor([[0.9, 0.5, -0.2], [-0.3, 0.8, 0.4], [0.2, 0.1, 0.6]], dtype=torch.float64)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("activation", [torch.relu, torch.tanh])
def test_identity_gives_the_tangent_kernel(depth: int, activation: Any) -> None:
    chi = torch.tensor([0.7, -1.1], dtype=torch.float64)
    options: Any = {"slopes": chi, "depth": depth, "activation": activation, "samples": 2048}
    expected = tangent_kernel(INPUTS, depth=depth, activation=activation)[:, :2] @ chi / 2
    exact = adaptive_kernel(INPUTS, INPUTS[:2], sgd(), **options).sum(0)
    assert torch.allclose(exact, expected, atol=1e-6)
    sampled = adaptive_kernel(INPUTS, INPUTS[:2], sgd(), control=False, **options).sum(0)
    assert float((sampled - expected).norm() / expected.norm()) < 0.02


@pytest.mark.parametrize("control", [True, False])
def test_sign_with_relu_on_one_input_is_a_closed_form(control: bool) -> None:
    """Sign of a product is the product of signs, and E[g(x) sign g(y)] is elementary where one input is the other."""
    x = INPUTS[:1]
    gram, found = float((x @ x.T)[0, 0]), covariance_recursion(x, depth=3)
    half = math.sqrt(1 / (2 * math.pi))  # E relu(z) of a standard normal z
    absolute = math.sqrt(2 / math.pi)  # E |z|
    deep = float(found.forward[1][0, 0])
    assert deep == pytest.approx(gram / 2)
    expected = [
        absolute * math.sqrt(1 / 2) * 0.5 * float(x.abs().sum()),  # D_1 = 1/2, and half of the neurons are awake
        absolute * 0.5 * half * math.sqrt(gram),
        half * math.sqrt(deep),
    ]
    moved = adaptive_kernel(x, x, sign(), samples=4096, control=control)[:, 0]
    assert torch.allclose(moved, torch.tensor(expected, dtype=torch.float64), rtol=0.015)


def test_sign_of_the_input_layer_between_two_inputs() -> None:
    """Bussgang: E[g sign g'] = sqrt(2 / pi) cov(g, g') / std(g'), with one layer, phi = id, at another point."""
    x, y = INPUTS[:1], INPUTS[1:2]
    both = torch.cat([x, y])
    covariance = covariance_recursion(both, depth=2, activation=torch.sin).forward[0]
    moved = adaptive_kernel(y, x, sign(), depth=2, activation=lambda h: h * 1.0, samples=8192)[:, 0]
    output = math.sqrt(2 / math.pi) * float(covariance[0, 1] / covariance[0, 0].sqrt())
    inner = math.sqrt(2 / math.pi) * float((y * x.sign()).sum())
    assert torch.allclose(moved, torch.tensor([inner, output], dtype=torch.float64), atol=0.01)


def one_step_errors(widths: tuple[int, ...], seeds: int, update: Any, activation: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Of finite networks against the kernel: relative rms error, hidden change, and mean change over eta."""
    x = INPUTS[:1]
    kernel = -adaptive_kernel(x, x, update, activation=activation, samples=4096).sum()
    errors, hidden, means = [], [], []
    for width in widths:
        generator = torch.Generator().manual_seed(width)
        changes = []
        at_once = max(1, 2**21 // width**2)
        for start in range(0, seeds, at_once):
            count = min(at_once, seeds - start)
            weights = initial_weights(
                preset("ntp"), width=width, inputs=3, seeds=count, generator=generator, dtype=torch.float32
            )
            record = train(
                preset("ntp"),
                weights,
                x.float(),
                torch.zeros(1),
                update=update,
                learning_rate=0.1,
                activation=activation,
                loss_derivative=lambda outputs, targets: torch.ones_like(outputs),
            )
            output = (record.outputs[1] - record.outputs[0])[:, 0] / 0.1
            changes.append(torch.stack([output, record.changes[1].mean(1)]))
        moved = torch.cat(changes, 1).double()
        errors.append((moved[0] / kernel - 1).square().mean().sqrt())
        hidden.append(moved[1].mean())
        means.append(moved[0].mean() / kernel)
    return torch.stack(errors), torch.stack(hidden), torch.stack(means)


def slope(widths: tuple[int, ...], values: Tensor) -> float:
    logs = torch.tensor(widths, dtype=torch.float64).log()
    logs = logs - logs.mean()
    return float(logs @ values.log() / (logs @ logs))


@pytest.mark.parametrize("update", [sign(), Memoryless(torch.tanh)], ids=["sign", "tanh"])
def test_networks_meet_the_kernel_as_they_widen(update: Any) -> None:
    widths = (64, 128, 256)
    errors, hidden, means = one_step_errors(widths, 60, update, torch.tanh)
    assert -0.75 < slope(widths, errors) < -0.25
    assert slope(widths, hidden) == pytest.approx(-0.5, abs=0.05)
    assert float(means[-1]) == pytest.approx(1, abs=0.03)


@pytest.mark.slow
def test_networks_meet_the_kernel_at_the_square_root_of_the_width() -> None:
    widths = (128, 256, 512, 1024, 2048, 4096)
    errors, hidden, means = one_step_errors(widths, 30, sign(), torch.tanh)
    assert slope(widths, errors) == pytest.approx(-0.5, abs=0.15)
    assert slope(widths, hidden) == pytest.approx(-0.5, abs=0.02)
    assert float(means[-1]) == pytest.approx(1, abs=0.01)


def test_identity_dynamics_are_linear() -> None:
    start, targets = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64), torch.tensor([1.0, -1.0]).double()
    found = kernel_dynamics(INPUTS, targets, start, update=sgd(), learning_rate=0.5, steps=4)
    kernel, outputs = tangent_kernel(INPUTS, depth=3), start
    for step in range(1, 5):
        outputs = outputs - 0.5 * kernel[:, :2] @ (outputs[:2] - targets) / 2
        assert torch.allclose(found[step], outputs, atol=1e-10)


def test_networks_under_adam_follow_the_dynamics() -> None:
    """Six networks of width 512, each from its own output at the start, over ten steps."""
    targets = torch.tensor([1.0, -1.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    weights = initial_weights(preset("ntp"), width=512, inputs=3, seeds=6, generator=generator)
    options: Any = {"update": AdamUpdate(), "learning_rate": 0.1, "steps": 10, "activation": torch.tanh}
    networks = train(preset("ntp"), weights, INPUTS, targets, **options).outputs
    limits = [kernel_dynamics(INPUTS, targets, start, samples=256, **options) for start in networks[0]]
    limit = torch.stack(limits, 1)
    moved = (limit - limit[0]).square().mean().sqrt()
    assert float((networks - limit).square().mean().sqrt() / moved) < 0.1


def test_the_memory_of_adam_reaches_the_limit() -> None:
    """Momentum carries Adam past the targets, where sign updates turn at once."""
    targets, start = torch.tensor([1.0, -1.0], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    options: Any = {"learning_rate": 0.2, "steps": 14, "samples": 128}
    adam, signs = (kernel_dynamics(INPUTS, targets, start, update=u, **options) for u in (AdamUpdate(), sign()))
    assert torch.allclose(adam[1], signs[1], atol=1e-9)
    assert float(adam[:, 0].max()) > 1.2
    assert float(signs[:, 0].max()) < 1.2


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="slopes"):
        adaptive_kernel(INPUTS, INPUTS[:2], sign(), slopes=torch.ones(3))
    with pytest.raises(InputError, match="samples"):
        adaptive_kernel(INPUTS, INPUTS[:2], sign(), samples=1)
    with pytest.raises(InputError, match="targets"):
        kernel_dynamics(INPUTS, torch.ones(4), torch.ones(3).double(), update=sign(), learning_rate=0.1, steps=1)
