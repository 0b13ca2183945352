"""Gaunt products against integrals by quadrature, the product of the functions, e3nn's paths, and equivariance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.coupling import gaunt_factor, gaunt_tensor
from polyad.symmetry.gaunt import GauntTensorProduct, gaunt_convolution, gaunt_product
from polyad.symmetry.spherical_harmonics import degree_slices, spherical_harmonics
from polyad.symmetry.wigner import rotate
from polyad.testing import assert_gradient_matches, assert_rotation_covariant

BACKENDS = ("grid", "fft")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def integrals() -> Tensor:
    """Integrals of Y_a Y_b Y_c to degree 6 by a quadrature of its own (Gauss-Legendre times equal steps, exact)."""
    heights, weights = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(10))
    azimuths = torch.arange(20, dtype=torch.float64) * (2 * math.pi / 20)
    height, azimuth = (grid.flatten() for grid in torch.meshgrid(heights, azimuths, indexing="ij"))
    radius = (1 - height.square()).sqrt()
    values = spherical_harmonics(torch.stack([radius * azimuth.cos(), radius * azimuth.sin(), height], -1), 6)
    return torch.einsum("na,nb,nc,n->abc", values, values, values, weights.repeat_interleave(20) * 2 * math.pi / 20)


@pytest.mark.parametrize("backend", BACKENDS)
def test_equal_to_the_dense_product_for_all_degrees_to_six(backend: str, integrals: Tensor) -> None:
    first, second = normal(3, 49), normal(3, 49, seed=1)
    for l1 in range(7):
        for l2 in range(7):
            one, two = first[:, : (l1 + 1) ** 2], second[:, : (l2 + 1) ** 2]
            dense = torch.einsum("na,nb,abc->nc", one, two, integrals[: one.shape[1], : two.shape[1]])
            for l3 in range(7):
                result = gaunt_product([one, two], l3, backend=backend)
                torch.testing.assert_close(result, dense[:, : (l3 + 1) ** 2], rtol=0, atol=1e-11)


def test_one_product_in_sympys_exact_integrals() -> None:
    wigner = pytest.importorskip("sympy.physics.wigner")
    exact = np.zeros((9, 9, 9))
    for a in range(9):
        for b in range(9):
            for c in range(9):
                degrees = [math.isqrt(index) for index in (a, b, c)]
                orders = [index - degree * degree - degree for index, degree in zip((a, b, c), degrees, strict=True)]
                exact[a, b, c] = float(wigner.real_gaunt(*degrees, *orders))
    # sympy's real harmonics carry no Condon-Shortley sign either
    first, second = normal(2, 9), normal(2, 9, seed=1)
    dense = torch.einsum("na,nb,abc->nc", first, second, torch.from_numpy(exact))
    for backend in BACKENDS:
        torch.testing.assert_close(gaunt_product([first, second], 2, backend=backend), dense, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("degrees", [(3, 4), (6, 6), (0, 5), (2, 3, 4), (4, 4, 4), (1, 2, 1, 2)])
def test_values_are_the_product_of_the_values(backend: str, degrees: tuple[int, ...]) -> None:
    factors = [normal(4, (degree + 1) ** 2, seed=seed) for seed, degree in enumerate(degrees)]
    directions = normal(100, 3, seed=9)
    product = gaunt_product(factors, sum(degrees), backend=backend)
    values = math.prod(
        factor @ spherical_harmonics(directions, degree).T for factor, degree in zip(factors, degrees, strict=True)
    )
    torch.testing.assert_close(product @ spherical_harmonics(directions, sum(degrees)).T, values, rtol=0, atol=1e-10)
    lower = gaunt_product(factors, 2, backend=backend)
    torch.testing.assert_close(lower, torch.nn.functional.pad(product, (0, 9))[:, :9], rtol=0, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_equivariance_with_reflections(backend: str) -> None:
    assert_rotation_covariant(
        lambda x, y, z: gaunt_product([x, y, z], 5, backend=backend),
        [normal(3, 2, 25), normal(3, 2, 16, seed=1), normal(3, 2, 9, seed=2)],
        act_on_input=lambda q, x: rotate(x, q),
        act_on_output=lambda q, y: rotate(y, q),
        tolerance=1e-12,
    )


def test_two_vectors_give_no_vector() -> None:
    first, second = torch.zeros(5, 4, dtype=torch.float64), torch.zeros(5, 4, dtype=torch.float64)
    first[:, 1:], second[:, 1:] = normal(5, 3), normal(5, 3, seed=1)
    for backend in BACKENDS:
        product = gaunt_product([first, second], 2, backend=backend)
        assert float(product[:, 1:4].abs().max()) < 1e-14
        torch.testing.assert_close(product[:, 0], (first * second).sum(-1) / math.sqrt(4 * math.pi))


def test_even_paths_are_e3nns_times_one_constant_each() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    for l1, l2, l3 in [(1, 1, 2), (2, 3, 3), (4, 2, 6), (5, 5, 0)]:
        places = [degree_slices(6)[degree] for degree in (l1, l2, l3)]
        first, second = torch.zeros(4, 49, dtype=torch.float64), torch.zeros(4, 49, dtype=torch.float64)
        first[:, places[0]], second[:, places[1]] = normal(4, 2 * l1 + 1), normal(4, 2 * l2 + 1, seed=1)
        path = torch.einsum(
            "na,nb,abc->nc", first[:, places[0]], second[:, places[1]], o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
        )
        product = gaunt_product([first, second], 6)[:, places[2]]
        torch.testing.assert_close(product, gaunt_factor(l1, l2, l3) * path, rtol=0, atol=1e-10)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("degree", "filter_degree", "lmax"), [(4, 3, 5), (3, 3, 0), (2, 5, 7), (6, 6, 6), (0, 2, 3), (3, 0, 3)]
)
def test_convolution_is_the_product_with_the_harmonics_of_the_direction(
    backend: str, degree: int, filter_degree: int, lmax: int
) -> None:
    coefficients, directions = normal(6, 2, (degree + 1) ** 2), normal(6, 3, seed=1)
    directions[0], directions[1] = torch.tensor([0.0, 0.0, 2.0]), torch.tensor([0.0, 0.0, -1.0])
    weights = normal(6, 2, filter_degree + 1, seed=2)
    per_order = weights.repeat_interleave(2 * torch.arange(filter_degree + 1) + 1, dim=-1)
    kernel = per_order * spherical_harmonics(directions, filter_degree)[:, None]
    expected = torch.einsum("nua,nub,abc->nuc", coefficients, kernel, gaunt_tensor(degree, filter_degree, lmax))
    result = gaunt_convolution(coefficients, directions, weights, lmax, backend=backend)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-11)
    without_channels = gaunt_convolution(coefficients[:, 1], directions, weights[:, 1], lmax, backend=backend)
    torch.testing.assert_close(without_channels, expected[:, 1], rtol=0, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_layer_weights_factor_by_degree(backend: str) -> None:
    layer = GauntTensorProduct(
        3, 2, 4, channels=5, generator=torch.Generator().manual_seed(0), backend=backend, dtype=torch.float64
    )
    first, second = normal(7, 5, 16), normal(7, 5, 9, seed=1)
    degrees = [torch.arange(degree + 1).repeat_interleave(2 * torch.arange(degree + 1) + 1) for degree in (3, 2, 4)]
    weights = [w.detach()[:, d] for w, d in zip((layer.weight1, layer.weight2, layer.weight_out), degrees, strict=True)]
    expected = torch.einsum("nua,nub,abc,ua,ub,uc->nuc", first, second, gaunt_tensor(3, 2, 4), *weights)
    torch.testing.assert_close(layer(first, second).detach(), expected, rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="lmax are"):
        layer(second, second)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients(backend: str) -> None:
    assert_gradient_matches(
        lambda x, y: gaunt_product([x, y], 3, backend=backend), [normal(2, 9), normal(2, 16, seed=1)]
    )
    directions = torch.tensor([[0.3, -0.2, 0.9], [0.5, 0.1, -0.4]], dtype=torch.float64)
    assert_gradient_matches(
        lambda x, v, w: gaunt_convolution(x, v, w, 3, backend=backend), [normal(2, 9), directions, normal(2, 3, seed=2)]
    )
    inputs = (normal(1, 9).requires_grad_(), normal(1, 9, seed=1).requires_grad_())
    assert torch.autograd.gradgradcheck(lambda x, y: gaunt_product([x, y], 2, backend=backend), inputs)


def test_single_precision_and_the_choice_of_backend() -> None:
    for degree in (4, 17):
        first, second = normal(2, (degree + 1) ** 2), normal(2, (degree + 1) ** 2, seed=1)
        chosen = gaunt_product([first, second], degree)
        for backend in BACKENDS:
            torch.testing.assert_close(
                gaunt_product([first, second], degree, backend=backend), chosen, rtol=0, atol=1e-10
            )
        single = gaunt_product([first.float(), second.float()], degree)
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), chosen, rtol=0, atol=1e-5 * float(chosen.abs().max()))


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="two or more"):
        gaunt_product([normal(2, 9)], 2)
    with pytest.raises(InputError, match="components"):
        gaunt_product([normal(2, 9), normal(2, 8)], 2)
    with pytest.raises(InputError, match="no length"):
        gaunt_convolution(normal(2, 9), torch.zeros(2, 3, dtype=torch.float64), normal(2, 3), 2)
