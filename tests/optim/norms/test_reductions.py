"""Adam, Shampoo and Prodigy without averages against torch's Adam, singular values, and a loop over numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from polyad.errors import InputError
from polyad.optim.kronecker import Shampoo
from polyad.optim.norms import AdaptiveSignDescent, SignDescent, SteepestDescent, UnaccumulatedShampoo, dual_map


def parameter(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    made = nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype))
    made.grad = torch.randn(shape, generator=generator, dtype=dtype)
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adam_without_averages_is_sign_descent(dtype: torch.dtype) -> None:
    ours, theirs, norms = (parameter(5, 7, dtype=dtype) for _ in range(3))
    optimizers = [
        SignDescent([ours], lr=0.01),
        torch.optim.Adam([theirs], lr=0.01, betas=(0.0, 0.0), eps=1e-30),
        SteepestDescent([norms], lr=0.01, norm="inf", scale="unit"),
    ]
    for k in range(5):
        for p, optimizer in zip((ours, theirs, norms), optimizers, strict=True):
            p.grad = (3 * p.detach() + k).cos()
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=1e-7, rtol=0)
    assert torch.equal(ours, norms)


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (4, 4), (6,), (3, 2, 2)])
def test_shampoo_without_accumulation_is_the_polar_factor(shape: tuple[int, ...]) -> None:
    p = parameter(*shape)
    before, gradient = p.detach().clone(), p.grad
    assert gradient is not None
    UnaccumulatedShampoo([p], lr=0.1).step()
    expected = -0.1 * dual_map(gradient.reshape(shape[0], -1), "spectral").reshape(shape)
    assert torch.allclose(p.detach() - before, expected, atol=1e-6)
    other = parameter(*shape)
    SteepestDescent([other], lr=0.1, norm="spectral", scale="unit", polar="svd").step()
    assert torch.allclose(p, other, atol=1e-6)


def test_one_step_of_the_real_shampoo_points_the_same_way() -> None:
    """With grafting it has the gradient's length."""
    p = parameter(5, 5)
    before, gradient = p.detach().clone(), p.grad
    assert gradient is not None
    options: dict[str, Any] = {"momentum": 0.0, "decay": 0.0, "eps": 1e-12, "statistics_every": 1, "roots_every": 1}
    Shampoo([p], lr=1.0, bits=32, basis="eigh", **options).step()
    direction = (before - p.detach()) / gradient.norm()
    exact = dual_map(gradient, "spectral")
    assert torch.allclose(direction, exact / exact.norm(), atol=1e-5)


def test_steps_of_prodigy_without_averages() -> None:
    """Against the two formulas in plain numbers, on |x - a|, from a step far too small."""
    target = [3.0, -2.0, 0.5, 8.0]
    first, second = (nn.Parameter(torch.zeros(2, dtype=torch.float64)) for _ in range(2))
    optimizer = AdaptiveSignDescent([{"params": [first]}, {"params": [second]}], initial_step=1e-3)
    w, eta, etas = [0.0] * 4, 1e-3, []
    for _ in range(60):
        optimizer.zero_grad()
        x = torch.cat([first, second])
        (0.5 * (x - torch.tensor(target, dtype=torch.float64)).square().sum()).backward()
        optimizer.step()
        g = [a - b for a, b in zip(w, target, strict=True)]
        eta = max(eta, sum(a * (0 - b) for a, b in zip(g, w, strict=True)) / sum(map(abs, g)))
        w = [a - eta * ((b > 0) - (b < 0)) for a, b in zip(w, g, strict=True)]
        etas.append(eta)
        assert optimizer.eta == pytest.approx(eta, rel=1e-12)
        assert torch.cat([first, second]).tolist() == pytest.approx(w, rel=1e-10)
    assert etas == sorted(etas)
    assert 0.5 < etas[-1] < 8  # it found the scale of the distance


def test_growing_step_survives_saving_and_schedules() -> None:
    ours, other = parameter(4), parameter(4)
    optimizer, resumed = AdaptiveSignDescent([ours]), AdaptiveSignDescent([other])
    for p in (ours,):
        for _ in range(12):
            p.grad = p.detach() - 3
            optimizer.step()
    other.data.copy_(ours.data)
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.eta == optimizer.eta > 1e-6
    for p, its in ((ours, optimizer), (other, resumed)):
        for _ in range(3):
            p.grad = p.detach() - 3
            its.step()
    assert torch.equal(ours, other)
    assert resumed.eta == optimizer.eta
    optimizer.param_groups[0]["lr"] = 0.0
    before = ours.detach().clone()
    optimizer.step()
    assert torch.equal(ours, before)
    with pytest.raises(InputError, match="initial_step"):
        AdaptiveSignDescent([parameter(2)], initial_step=0.0)
