"""Projection and distance in a given orientation."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.linalg.spd import spd_logarithm
from polyad.materials import elasticity
from polyad.materials.elasticity.symmetry import to_metric
from polyad.tensors.notation import mandel_to_voigt_stiffness, rotate_mandel
from polyad.tensors.rotations import random_rotations
from polyad.testing import assert_gradient_matches, assert_positive_semidefinite


@pytest.mark.parametrize("symmetry", elasticity.SYMMETRIES)
@pytest.mark.parametrize("metric", ["frobenius", "log_euclidean"])
def test_projection_is_the_nearest_tensor_of_the_class(random_stiffness, symmetry, metric):
    stiffness = random_stiffness(5)
    nearest = elasticity.project_symmetry(stiffness, symmetry, metric=metric)
    torch.testing.assert_close(elasticity.project_symmetry(nearest, symmetry, metric=metric), nearest)
    assert_positive_semidefinite(nearest)
    distance = elasticity.symmetry_distance(stiffness, symmetry, metric=metric)
    if metric == "frobenius":
        measured = torch.linalg.matrix_norm(stiffness - nearest) / torch.linalg.matrix_norm(stiffness)
    else:
        measured = torch.linalg.matrix_norm(spd_logarithm(stiffness) - spd_logarithm(nearest))
    torch.testing.assert_close(distance, measured, rtol=1e-7, atol=1e-10)
    # every other tensor of the class is farther: Pythagoras in the flat metric
    other = elasticity.project_symmetry(random_stiffness(5, seed=1), symmetry, metric=metric)
    flat = [to_metric(tensor, metric) for tensor in (stiffness, nearest, other)]
    legs = [torch.linalg.matrix_norm(a - b).square() for a, b in ((flat[0], flat[1]), (flat[1], flat[2]))]
    torch.testing.assert_close(torch.linalg.matrix_norm(flat[0] - flat[2]).square(), legs[0] + legs[1])


def test_closed_forms_of_the_isotropic_and_cubic_projections(random_stiffness):
    stiffness = random_stiffness(3)
    average = elasticity.voigt_average(stiffness)
    expected = elasticity.isotropic(average.young, average.poisson)
    torch.testing.assert_close(elasticity.project_symmetry(stiffness, "isotropic"), expected)
    voigt = mandel_to_voigt_stiffness(stiffness)
    c11 = voigt[:, :3, :3].diagonal(dim1=1, dim2=2).mean(1)
    c12 = (voigt[:, 0, 1] + voigt[:, 0, 2] + voigt[:, 1, 2]) / 3
    c44 = voigt[:, 3:, 3:].diagonal(dim1=1, dim2=2).mean(1)
    torch.testing.assert_close(elasticity.project_symmetry(stiffness, "cubic"), elasticity.cubic(c11, c12, c44))


@pytest.mark.parametrize("metric", ["frobenius", "log_euclidean"])
def test_axes_turn_the_class(random_stiffness, metric):
    axes = random_rotations(4, generator=torch.Generator().manual_seed(0))
    standard = elasticity.project_symmetry(random_stiffness(4), "trigonal")
    turned = rotate_mandel(standard, axes)
    assert float(elasticity.symmetry_distance(turned, "trigonal", axes=axes, metric=metric).max()) < 1e-12
    assert float(elasticity.symmetry_distance(turned, "trigonal", metric=metric).min()) > 1e-2
    # projecting commutes with turning, and axes broadcast against one tensor
    stiffness = random_stiffness(seed=2)
    both = elasticity.project_symmetry(rotate_mandel(stiffness, axes), "trigonal", axes=axes, metric=metric)
    alone = rotate_mandel(elasticity.project_symmetry(stiffness, "trigonal", metric=metric), axes)
    torch.testing.assert_close(both, alone)
    assert elasticity.project_symmetry(stiffness, "trigonal", axes=axes).shape == (4, 6, 6)


def test_log_euclidean_projection_commutes_with_inversion(random_stiffness):
    stiffness = random_stiffness(3)
    nearest = elasticity.project_symmetry(stiffness, "tetragonal", metric="log_euclidean")
    compliance = elasticity.project_symmetry(torch.linalg.inv(stiffness), "tetragonal", metric="log_euclidean")
    torch.testing.assert_close(torch.linalg.inv(nearest), compliance)


@pytest.mark.parametrize("metric", ["frobenius", "log_euclidean"])
def test_gradients(random_stiffness, metric):
    def both(root: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
        stiffness = root @ root.mT
        nearest = elasticity.project_symmetry(stiffness, "monoclinic", axes=axes, metric=metric)
        return torch.cat([nearest.flatten(), elasticity.symmetry_distance(stiffness, "cubic", metric=metric)[None]])

    axes = random_rotations(1, generator=torch.Generator().manual_seed(0))[0]
    root = torch.linalg.cholesky(random_stiffness())
    assert_gradient_matches(lambda r: both(r, axes), root)
    # at a tensor of the class, where all eigenvalues repeat, the distance has a kink with subgradient zero
    exact = elasticity.isotropic(1.0, 0.3).requires_grad_()
    elasticity.symmetry_distance(exact, "cubic", metric=metric).backward()
    assert bool(torch.isfinite(exact.grad).all())


def test_bad_input_is_refused(random_stiffness):
    with pytest.raises(InputError, match="metric: 'riemannian' is unknown"):
        to_metric(random_stiffness(), "riemannian")
    with pytest.raises(InputError, match="not positive definite"):
        elasticity.project_symmetry(-random_stiffness(), "cubic", metric="log_euclidean")
    with pytest.raises(InputError, match="rotation"):
        elasticity.project_symmetry(random_stiffness(), "cubic", axes=2 * torch.eye(3, dtype=torch.float64))
