"""Harmonics against sympy's closed forms, the Laplace equation, quadrature, e3nn, and derivatives at hard places."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.spherical_harmonics import degree_of, degree_slices, spherical_harmonics

NORMALIZATIONS = ("integral", "component", "norm")


def random_vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_first_degrees_are_the_textbook_polynomials() -> None:
    vectors = random_vectors(50)
    x, y, z = (vectors / vectors.norm(dim=-1, keepdim=True)).unbind(-1)
    first, second = math.sqrt(3 / (4 * math.pi)), math.sqrt(15 / (4 * math.pi))
    expected = [
        torch.full_like(x, math.sqrt(1 / (4 * math.pi))),
        first * y, first * z, first * x,
        second * x * y, second * y * z, math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1),
        second * x * z, second / 2 * (x * x - y * y),
    ]  # fmt: skip
    torch.testing.assert_close(spherical_harmonics(vectors, 2), torch.stack(expected, -1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("degree", [3, 7, 12])
def test_equal_to_sympy(degree: int) -> None:
    sympy = pytest.importorskip("sympy")
    theta, phi = 1.1, -2.3
    vector = torch.tensor(
        [math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)], dtype=torch.float64
    )
    values = spherical_harmonics(3.7 * vector, degree)[degree * degree :]
    for order in range(degree + 1):
        complex_value = complex(sympy.Ynm(degree, order, theta, phi).expand(func=True).evalf(30))
        sign = (-1) ** order * (math.sqrt(2) if order else 1)  # the sign of Condon and Shortley taken away
        assert abs(float(values[degree + order]) - sign * complex_value.real) < 1e-13
        if order:
            assert abs(float(values[degree - order]) - sign * complex_value.imag) < 1e-13


def test_orthonormal_to_degree_twelve_by_exact_quadrature() -> None:
    heights, weights = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(13))
    azimuths = torch.arange(25, dtype=torch.float64) * (2 * math.pi / 25)
    height, azimuth = (grid.flatten() for grid in torch.meshgrid(heights, azimuths, indexing="ij"))
    radius = (1 - height.square()).sqrt()
    points = torch.stack([radius * azimuth.cos(), radius * azimuth.sin(), height], -1)
    values = spherical_harmonics(points, 12)
    gram = values.T @ (values * (weights.repeat_interleave(25) * 2 * math.pi / 25)[:, None])
    torch.testing.assert_close(gram, torch.eye(169, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_normalisations_by_the_addition_theorem(normalization: str) -> None:
    values = spherical_harmonics(random_vectors(20), 12, normalization=normalization)
    for degree, place in enumerate(degree_slices(12)):
        expected = {"integral": (2 * degree + 1) / (4 * math.pi), "component": 2 * degree + 1, "norm": 1.0}
        sums = values[:, place].square().sum(-1)
        torch.testing.assert_close(sums, torch.full_like(sums, expected[normalization]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_equal_to_e3nn_with_axes_renamed(normalization: str) -> None:
    o3 = pytest.importorskip("e3nn.o3")
    vectors = random_vectors(40)
    for solid in (False, True):
        peer = o3.spherical_harmonics(list(range(12)), vectors[:, [1, 2, 0]], not solid, normalization)
        ours = spherical_harmonics(vectors, 11, normalization=normalization, solid=solid)
        torch.testing.assert_close(ours, peer, rtol=1e-12, atol=1e-12)


def test_solid_harmonics_are_r_to_the_l_times_the_surface_ones_and_harmonic() -> None:
    vectors = random_vectors(10)
    solid, surface = spherical_harmonics(vectors, 12, solid=True), spherical_harmonics(vectors, 12)
    radii = vectors.norm(dim=-1, keepdim=True)
    for degree, place in enumerate(degree_slices(12)):
        torch.testing.assert_close(solid[:, place], radii**degree * surface[:, place], rtol=1e-12, atol=1e-13)
    point = 0.7 * vectors[0]
    for component in (3, 20, 50, 168):
        hessian = torch.autograd.functional.hessian(
            lambda v, component=component: spherical_harmonics(v, 12, solid=True)[component], point
        )
        assert abs(float(hessian.trace())) < 1e-11 * max(1.0, float(hessian.abs().max()))


HARD_PLACES = {
    "pole": [0.0, 0.0, 1.3],
    "south pole": [0.0, 0.0, -0.4],
    "equator": [0.8, 0.0, 0.0],
    "other axis": [0.0, 1.0, 0.0],
    "anywhere": [0.3, -0.8, 0.5],
}


@pytest.mark.parametrize("place", HARD_PLACES)
@pytest.mark.parametrize("solid", [False, True])
def test_first_and_second_derivatives(place: str, solid: bool) -> None:
    vectors = torch.tensor([HARD_PLACES[place]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: spherical_harmonics(v, 5, solid=solid), vectors, atol=1e-7)
    assert torch.autograd.gradgradcheck(lambda v: spherical_harmonics(v, 4, solid=solid), vectors, atol=1e-6)


def test_solid_form_is_smooth_at_the_origin() -> None:
    vectors = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: spherical_harmonics(v, 4, solid=True), vectors, atol=1e-7)
    assert torch.autograd.gradgradcheck(lambda v: spherical_harmonics(v, 4, solid=True), vectors, atol=1e-6)


def test_a_vector_without_direction_has_the_mean_over_directions_and_no_gradient() -> None:
    vectors = torch.zeros(2, 3, dtype=torch.float64)
    vectors[1] = torch.tensor([0.0, 0.3, 0.1])
    vectors.requires_grad_()
    values = spherical_harmonics(vectors, 3)
    assert float(values[0, 0].detach()) == pytest.approx(math.sqrt(0.25 / math.pi), rel=1e-15)
    assert not values[0, 1:].any()
    (gradient,) = torch.autograd.grad(values.sum(), vectors)
    assert not gradient[0].any()
    assert torch.isfinite(gradient).all()
    assert gradient[1].any()


def test_directions_of_tiny_and_huge_vectors() -> None:
    vectors = random_vectors(5)
    for scale in (1e-200, 1e200):
        torch.testing.assert_close(
            spherical_harmonics(scale * vectors, 6), spherical_harmonics(vectors, 6), rtol=0, atol=1e-13
        )


def test_batches_and_dtypes() -> None:
    vectors = random_vectors(2, 3, 4)
    values = spherical_harmonics(vectors, 6)
    assert values.shape == (2, 3, 4, 49)
    torch.testing.assert_close(values[1, 2, 3], spherical_harmonics(vectors[1, 2, 3], 6))
    single = spherical_harmonics(vectors.float(), 6)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), values, rtol=0, atol=3e-6)
    assert spherical_harmonics(vectors[:0], 2).shape == (0, 3, 4, 9)
    assert spherical_harmonics(vectors, 0).shape == (2, 3, 4, 1)


def test_tables_made_under_inference_mode_serve_gradients_later() -> None:
    with torch.inference_mode():
        spherical_harmonics(random_vectors(2), 19)
    vectors = random_vectors(2).requires_grad_()
    (gradient,) = torch.autograd.grad(spherical_harmonics(vectors, 19).sum(), vectors)
    assert torch.isfinite(gradient).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="lmax"):
        spherical_harmonics(random_vectors(2), -1)
    assert [degree_of(size) for size in (1, 4, 49)] == [0, 1, 6]
    for size in (0, 2, 48):
        with pytest.raises(InputError, match="components"):
            degree_of(size)
