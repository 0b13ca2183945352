"""The worm against enumeration and Kaufman's partition function."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.tensors.renormalization import (
    CRITICAL_BETA,
    derivatives,
    kaufman,
    link_degrees,
    loop_observables,
    loop_statistics,
    worm,
)

BETAS = torch.tensor([1 / 2.0, CRITICAL_BETA, 1 / 3.0], dtype=torch.float64)


@pytest.mark.parametrize(("size", "samples"), [(2, 40_000), (4, 40_000), (16, 6_000), (32, 2_500)])
def test_mean_and_variance_of_links_equal_exact_ones(size: int, samples: int) -> None:
    # L = 2 is enumerated and L = 4 checked against 2^16 spin states in test_references
    found = loop_observables(worm(size, BETAS, samples, seed=size), BETAS)
    mean, variance = loop_statistics(BETAS, size, size)
    assert ((found.mean_links - mean).abs() < 3 * found.mean_links_error).all()
    assert ((found.variance_links - variance).abs() < 3 * found.variance_links_error).all()
    assert (found.mean_links_error < 0.03 * mean).all()
    assert (found.variance_links_error < 0.08 * variance).all()


def test_second_moment_on_the_smallest_torus() -> None:
    # second moments by block errors of their own
    links = worm(2, BETAS, 40_000, seed=5).flatten(-3).sum(-1).double()
    mean, variance = loop_statistics(BETAS, 2, 2)
    square = links.square()
    error = square.unflatten(-1, (50, 800)).mean(-1).std(-1) / math.sqrt(50)
    assert ((square.mean(-1) - variance - mean**2).abs() < 3 * error).all()


def test_energy_and_heat_are_derivatives_of_the_exact_partition_function() -> None:
    size, samples = 8, 40_000
    found = loop_observables(worm(size, BETAS, samples, seed=2), BETAS)
    _, first, second = derivatives(lambda b: kaufman(b, size, size) / size**2, BETAS)
    # fed with the exact moments the formulas are exact; with samples they are as good as the moments
    slope = 2 / torch.sinh(2 * BETAS) / size**2
    assert ((found.energy + first).abs() < 3.5 * slope * found.mean_links_error).all()
    scale = BETAS**2 * 4 / torch.sinh(2 * BETAS) ** 2 / size**2
    tolerance = scale * (found.variance_links_error + torch.cosh(2 * BETAS) * found.mean_links_error)
    assert ((found.heat - BETAS**2 * second).abs() < 3.5 * tolerance).all()
    mean, variance = loop_statistics(BETAS, size, size)
    energy = -2 * torch.tanh(BETAS) - slope * mean
    torch.testing.assert_close(energy, -first, rtol=1e-12, atol=0)
    heat = BETAS**2 * 2 / torch.cosh(BETAS) ** 2 + scale * (variance - torch.cosh(2 * BETAS) * mean)
    torch.testing.assert_close(heat, BETAS**2 * second, rtol=1e-10, atol=0)
    torch.testing.assert_close(found.occupation, found.mean_links / (2 * size**2))


def test_every_sample_is_closed() -> None:
    images = worm(6, BETAS, 300, seed=3)
    assert images.dtype == torch.uint8
    assert images.shape == (3, 300, 2, 6, 6)
    assert int(images.max()) == 1
    assert int((link_degrees(images) % 2).sum()) == 0


def test_both_directions_and_all_places_are_alike() -> None:
    occupation = worm(4, CRITICAL_BETA, 20_000, seed=7).double().mean(0)
    error = (occupation.mean() * (1 - occupation.mean()) / 20_000) ** 0.5
    assert ((occupation - occupation.mean()).abs() < 6 * error).all()


def test_seeds_decide() -> None:
    first, again, other = (worm(4, BETAS, 50, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[1], worm(4, BETAS[1], 50, seed=1))  # streams differ by place in the batch


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="size must be >= 2"):
        worm(1, 0.4, 10, seed=0)
    with pytest.raises(InputError, match="the others >= 1"):
        worm(4, 0.4, 10, seed=0, skip=0)
    with pytest.raises(InputError, match="beta must be positive"):
        worm(4, -0.4, 10, seed=0)
    with pytest.raises(InputError, match="cannot be cut into 50 blocks"):
        loop_observables(worm(4, 0.4, 10, seed=0), 0.4)
