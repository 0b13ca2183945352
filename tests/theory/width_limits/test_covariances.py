"""Recursions against arc-cosine formulas written out, sampled Gaussians and gradients of wide networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.theory.width_limits import covariance_recursion, forward, initial_weights, preset, tangent_kernel

INPUTS = torch.tensor([[1.0, 0.5, -0.2], [-0.3, 0.8, 0.4], [0.2, 0.1, 0.6]], dtype=torch.float64)


def arc_cosine_tangent_kernel(inputs: Tensor, depth: int) -> Tensor:
    """Cho and Saul's J_1 and J_0, and Theta <- Theta * k_0 + k_1, entry by entry."""
    points = len(inputs)
    found = torch.zeros(points, points, dtype=torch.float64)
    for i in range(points):
        for j in range(points):
            ii, jj, ij = (float(inputs[p] @ inputs[q]) for p, q in ((i, i), (j, j), (i, j)))
            theta = ij
            for _ in range(depth - 1):
                angle = math.acos(max(-1.0, min(1.0, ij / math.sqrt(ii * jj))))
                j_one = math.sin(angle) + (math.pi - angle) * math.cos(angle)
                theta *= (math.pi - angle) / (2 * math.pi)
                ij = math.sqrt(ii * jj) * j_one / (2 * math.pi)
                ii, jj = ii / 2, jj / 2
                theta += ij
            found[i, j] = theta
    return found


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_relu_tangent_kernel_is_the_arc_cosine_one(depth: int) -> None:
    assert torch.allclose(tangent_kernel(INPUTS, depth=depth), arc_cosine_tangent_kernel(INPUTS, depth), atol=1e-12)


def test_quadrature_meets_closed_forms() -> None:
    """Of erf-like moments: E[sin u sin v] = exp(-(a + b) / 2) sinh(c), E[cos u cos v] = exp(-(a + b) / 2) cosh(c)."""
    found = covariance_recursion(INPUTS, depth=2, activation=torch.sin)
    gram = INPUTS @ INPUTS.T
    decay = torch.exp(-(gram.diag()[:, None] + gram.diag()) / 2)
    assert torch.allclose(found.forward[1], decay * torch.sinh(gram), atol=1e-12)
    assert torch.allclose(found.gradients[0], decay * torch.cosh(gram), atol=1e-12)


def test_tanh_moments_are_those_of_samples() -> None:
    found = covariance_recursion(INPUTS, depth=2, activation=torch.tanh)
    generator = torch.Generator().manual_seed(0)
    values = torch.tanh(torch.randn(200_000, 3, generator=generator, dtype=torch.float64) @ INPUTS.T)
    assert torch.allclose(found.forward[1], values.T @ values / len(values), atol=5e-3)
    slopes = 1 - values**2
    assert torch.allclose(found.gradients[0], slopes.T @ slopes / len(values), atol=5e-3)


def empirical_tangent_kernel(width: int, depth: int, activation: object, seed: int) -> Tensor:
    spec = preset("ntp", optimizer="sgd", depth=depth)
    generator = torch.Generator().manual_seed(seed)
    weights = initial_weights(spec, width=width, inputs=3, generator=generator, dtype=torch.float32)
    leaves = [weight.requires_grad_() for weight in weights]
    outputs, _ = forward(spec, leaves, INPUTS.float(), activation=activation)  # type: ignore[arg-type]
    gradients = [torch.autograd.grad(output, leaves, retain_graph=True) for output in outputs[0]]
    return torch.tensor(
        [[sum(float((g * h).sum()) for g, h in zip(p, q, strict=True)) for q in gradients] for p in gradients]
    )


@pytest.mark.parametrize("activation", [torch.relu, torch.tanh])
@pytest.mark.parametrize(("depth", "width"), [(2, 4096), (3, 512), pytest.param(3, 4096, marks=pytest.mark.slow)])
def test_wide_networks_have_the_tangent_kernel(depth: int, width: int, activation: object) -> None:
    limit = tangent_kernel(INPUTS, depth=depth, activation=activation)  # type: ignore[arg-type]
    draws = [empirical_tangent_kernel(width, depth, activation, seed).double() for seed in range(8)]
    found = torch.stack(draws).mean(0)  # one draw scatters by a few percent at width 4096
    allowed = 0.03 if width == 4096 else 0.06
    assert float((found - limit).norm() / limit.norm()) < allowed


def test_a_zero_input_is_no_nan() -> None:
    assert tangent_kernel(torch.zeros(1, 2), depth=3).item() == 0


def test_bad_depth_is_refused() -> None:
    with pytest.raises(InputError, match="depth"):
        tangent_kernel(INPUTS, depth=1)
