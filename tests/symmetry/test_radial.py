"""Radial functions against their definitions, orthogonality and smoothness at the cutoff."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.radial import bessel, cosine_window, exponential_normal, gaussian, polynomial_window


def test_bessel_functions_are_orthonormal_on_the_ball() -> None:
    nodes, weights = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(80))
    distance, weights = 2.5 * (nodes + 1), 2.5 * weights  # [0, 5]
    values = bessel(distance, 6, 5.0)
    gram = torch.einsum("dn,dm,d->nm", values, values, weights * distance**2)
    assert torch.allclose(gram, torch.eye(6, dtype=torch.float64), atol=1e-12)
    d = 1.7
    expected = [math.sqrt(2 / 5) * math.sin(n * math.pi * d / 5) / d for n in range(1, 7)]
    assert bessel(torch.tensor(d, dtype=torch.float64), 6, 5.0).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("basis", [bessel, gaussian, exponential_normal])
def test_bases_have_derivatives_at_zero_and_any_shape(basis: Callable[..., Tensor]) -> None:
    distance = torch.tensor([[0.0, 0.3, 1.0], [2.0, 4.9, 5.5]], dtype=torch.float64, requires_grad=True)
    values = basis(distance, 7, 5.0)
    assert values.shape == (2, 3, 7)
    assert torch.autograd.gradcheck(partial(basis, size=7, cutoff=5.0), (distance[:, 1:].detach().requires_grad_(),))
    (gradient,) = torch.autograd.grad(values.sum(), distance)
    assert bool(torch.isfinite(gradient).all())


def test_gaussians_and_exponential_normals() -> None:
    d = torch.tensor([0.7], dtype=torch.float64)
    assert gaussian(d, 3, 4.0)[0].tolist() == pytest.approx([math.exp(-0.5 * ((0.7 - c) / 2) ** 2) for c in (0, 2, 4)])
    centres = [math.exp(-5) + k / 2 * (1 - math.exp(-5)) for k in range(3)]
    width = (2 / 3 * (1 - math.exp(-5))) ** -2
    expected = [math.exp(-width * (math.exp(-5 * 0.7 / 4) - c) ** 2) for c in centres]
    assert exponential_normal(d, 3, 4.0)[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("window", "order"), [(cosine_window, 1), (polynomial_window, 2)])
def test_windows_end_smoothly(window: Callable[..., Tensor], order: int) -> None:
    ends = torch.tensor([0.0, 3.0, 3.5], dtype=torch.float64)
    assert window(ends, 3.0).tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-15)
    value = window(x := torch.tensor(3.0 - 1e-9, dtype=torch.float64, requires_grad=True), 3.0)
    for _ in range(order):
        (value,) = torch.autograd.grad(value, x, create_graph=True)
        assert abs(float(value)) < 1e-5
    middle = window(torch.tensor(1.5, dtype=torch.float64), 3.0)
    u, p = 0.5, 6
    polynomial = 1 - (p + 1) * (p + 2) / 2 * u**p + p * (p + 2) * u ** (p + 1) - p * (p + 1) / 2 * u ** (p + 2)
    assert float(middle) == pytest.approx(0.5 if window is cosine_window else polynomial)


def test_bad_options_are_refused() -> None:
    d = torch.ones(2)
    for build in (
        lambda: bessel(d, 0, 5.0),
        lambda: gaussian(d, 1, 5.0),
        lambda: exponential_normal(d, 1, 5.0),
        lambda: cosine_window(d, 0.0),
        lambda: polynomial_window(d, 5.0, power=1),
        lambda: bessel(d, 3, math.nan),
    ):
        with pytest.raises(InputError):
            build()
