"""Differences of values: means that are gradients of smoothed functions, and differences along coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from polyad.optim.zeroth_order import differences

DRAWS = 300_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("estimate", [differences.two_sided, differences.one_sided])
@pytest.mark.parametrize("count", [1, 4])
def test_mean_is_the_gradient_of_the_smoothed_function(estimate: Callable[..., torch.Tensor], count: int) -> None:
    """E (x + u z)^4 = x^4 + 6 u^2 x^2 + 3 u^4 for a normal z."""
    at, u = torch.tensor([0.8, -0.5, 0.3], dtype=torch.float64), 0.4
    runs = at.expand(DRAWS, 3)
    directions = differences.gaussian_directions(runs, count, generator=generator())
    found = estimate(lambda x: (x**4).sum(-1), runs, directions, u)
    error = (found.mean(0) - 4 * at**3 - 12 * u**2 * at).abs()
    assert bool((error <= 4.5 * found.std(0) / math.sqrt(DRAWS)).all())
    assert float(error.max()) < 0.2 * float((12 * u**2 * at).abs().min())  # the smoothing shows


@pytest.mark.parametrize("draw", [differences.gaussian_directions, differences.sphere_directions])
def test_directions_have_unit_second_moment(draw: Callable[..., torch.Tensor]) -> None:
    z = draw(torch.zeros(5, dtype=torch.float64), DRAWS, generator=generator())
    assert torch.allclose(z.mT @ z / DRAWS, torch.eye(5, dtype=torch.float64), atol=0.02)
    assert torch.allclose(z.mean(0), torch.zeros(5, dtype=torch.float64), atol=0.01)


def test_sphere_has_one_length() -> None:
    z = differences.sphere_directions(torch.zeros(7, 5, dtype=torch.float64), 4, generator=generator())
    assert z.shape == (4, 7, 5)
    assert torch.allclose((z**2).sum(-1), torch.full((4, 7), 5.0, dtype=torch.float64))


def test_coordinates_of_matrices_are_forward_differences() -> None:
    at = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator())
    directions = differences.coordinate_directions(at, 2)
    c = 1e-3
    found = differences.one_sided(lambda x: (x**3).sum((-2, -1)), at, directions, c / math.sqrt(12))
    assert torch.allclose(found, ((at + c) ** 3 - at**3) / c, atol=1e-9)
