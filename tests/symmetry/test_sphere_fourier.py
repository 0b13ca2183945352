"""Trigonometric polynomials of functions on the sphere: values on the torus, closed integrals, there and back."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.symmetry.sphere_fourier import from_fourier, from_torus, to_fourier, to_torus, torus_shape
from polyad.symmetry.spherical_harmonics import spherical_harmonics


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("lmax", [0, 1, 2, 5, 12])
def test_series_has_the_values_of_the_function(lmax: int) -> None:
    coefficients = normal(2, 3, (lmax + 1) ** 2)
    spectrum = to_fourier(coefficients)
    theta, phi = math.pi * torch.rand(10, dtype=torch.float64), 2 * math.pi * torch.rand(10, dtype=torch.float64)
    u = torch.cat([torch.arange(lmax + 1), torch.arange(-lmax, 0)])
    v = torch.arange(lmax + 1)
    waves = torch.exp(1j * (u[:, None] * theta + v[:, None, None] * phi))
    values = torch.einsum("...vu,vun->...n", spectrum * torch.where(v > 0, 2.0, 1.0)[:, None], waves).real
    directions = torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], -1)
    torch.testing.assert_close(values, coefficients @ spherical_harmonics(directions, lmax).T, rtol=0, atol=1e-12)
    torch.testing.assert_close(from_fourier(spectrum, lmax), coefficients, rtol=0, atol=1e-12)
    torus = to_torus(spectrum, torus_shape(lmax, lmax))
    torch.testing.assert_close(from_torus(torus, lmax)[..., : lmax + 1, :], spectrum, rtol=0, atol=1e-13)


def test_projection_to_other_degrees_cuts_or_pads() -> None:
    coefficients = normal(4, 16)
    spectrum = to_fourier(coefficients)
    torch.testing.assert_close(from_fourier(spectrum, 1), coefficients[:, :4], rtol=0, atol=1e-13)
    padded = torch.nn.functional.pad(coefficients, (0, 20))
    torch.testing.assert_close(from_fourier(spectrum, 5), padded, rtol=0, atol=1e-13)


def test_sizes_hold_the_product() -> None:
    for degree in range(1, 40):
        for lmax in (0, degree // 2, degree, degree + 3):
            azimuth, polar = torus_shape(degree, lmax)
            assert polar >= 2 * degree + 1
            assert azimuth >= degree + min(lmax, degree) + 1
