"""The 2x0e + 2x2e + 1x4e basis: orthogonality, SciPy's harmonics, Wigner matrices, Cartesian pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from polyad.materials import elasticity
from polyad.tensors.notation import rotate_mandel, tensor_to_mandel
from polyad.tensors.rotations import random_rotations
from polyad.testing import assert_gradient_matches

BLOCKS = {0: slice(0, 1), 1: slice(1, 2), 2: slice(2, 7), 3: slice(7, 12), 4: slice(12, 21)}
DEGREES = (0, 0, 2, 2, 4)


def spherical_harmonics(degree: int, directions: torch.Tensor) -> torch.Tensor:
    """Real orthonormal harmonics (n, 2l + 1), m = -l..l, z polar, no Condon-Shortley sign; from SciPy's."""
    x, y, z = directions.numpy().T
    columns = []
    for order in range(-degree, degree + 1):
        value = sph_harm_y(degree, abs(order), np.arccos(z), np.arctan2(y, x)) * (-1) ** order
        columns.append(value.real if order == 0 else math.sqrt(2) * (value.real if order > 0 else value.imag))
    return torch.from_numpy(np.stack(columns, axis=-1))


def wigner(degree: int, rotation: torch.Tensor) -> torch.Tensor:
    """D with Y(Q n) = D(Q) Y(n), fitted to values of the harmonics."""
    directions = torch.nn.functional.normalize(
        torch.randn(60, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64), dim=-1
    )
    turned = spherical_harmonics(degree, directions @ rotation.T)
    return torch.linalg.lstsq(spherical_harmonics(degree, directions), turned).solution.T


@pytest.fixture
def directions() -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.nn.functional.normalize(torch.randn(40, 3, generator=generator, dtype=torch.float64), dim=-1)


def test_basis_is_orthogonal():
    basis = elasticity.harmonic_basis()
    torch.testing.assert_close(basis @ basis.T, torch.eye(21, dtype=torch.float64), rtol=0, atol=2e-15)


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_harmonic_tensors_are_positive_multiples_of_spherical_harmonics(degree, directions):
    tensors = elasticity.harmonic_tensors(degree)
    flat = tensors.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(2 * degree + 1, dtype=torch.float64), rtol=0, atol=1e-14)
    values = tensors.expand(len(directions), *tensors.shape)
    for _ in range(degree):
        values = torch.einsum("nm...i,ni->nm...", values, directions)
    factor = math.sqrt(4 * math.pi * math.factorial(degree) / math.prod(range(1, 2 * degree + 2, 2)))
    torch.testing.assert_close(values, factor * spherical_harmonics(degree, directions), rtol=0, atol=1e-14)


def test_longitudinal_stiffness_of_the_4e_block_is_a_spherical_harmonic(directions):
    for order in range(9):
        coefficients = torch.zeros(21, dtype=torch.float64)
        coefficients[12 + order] = 1.0
        value = elasticity.longitudinal_stiffness(elasticity.harmonic_to_stiffness(coefficients), directions)
        expected = spherical_harmonics(4, directions)[:, order]
        ratio = float((value @ expected) / (expected @ expected))
        assert ratio > 0.1
        torch.testing.assert_close(value, ratio * expected, rtol=0, atol=1e-14)


def test_rotation_acts_by_wigner_matrices(random_stiffness):
    stiffness = random_stiffness()
    coefficients = elasticity.harmonic_coefficients(stiffness)
    for rotation in random_rotations(4, generator=torch.Generator().manual_seed(1), reflections=True):
        turned = elasticity.harmonic_coefficients(rotate_mandel(stiffness, rotation))
        for block, degree in zip(BLOCKS.values(), DEGREES, strict=True):
            expected = wigner(degree, rotation) @ coefficients[block]
            torch.testing.assert_close(turned[block], expected, rtol=0, atol=1e-12)


def test_coefficients_keep_the_norm_and_come_back(random_stiffness):
    stiffness = random_stiffness(3, 2)
    coefficients = elasticity.harmonic_coefficients(stiffness)
    torch.testing.assert_close(coefficients.norm(dim=-1), torch.linalg.matrix_norm(stiffness), rtol=1e-14, atol=0)
    torch.testing.assert_close(elasticity.harmonic_to_stiffness(coefficients), stiffness)


def test_isotropic_coefficients():
    coefficients = elasticity.harmonic_coefficients(elasticity.isotropic(1.0, 0.2))
    bulk, shear = 1 / (3 * (1 - 0.4)), 1 / 2.4
    expected = torch.zeros(21, dtype=torch.float64)
    expected[0], expected[1] = 3 * bulk, 2 * math.sqrt(5) * shear
    torch.testing.assert_close(coefficients, expected, rtol=0, atol=1e-14)


def test_the_two_2e_blocks_are_coupling_and_shape():
    unit = torch.eye(3, dtype=torch.float64)
    deviatoric = torch.eye(6, dtype=torch.float64)
    deviatoric[:3, :3] -= 1 / 3
    for order, tensor in enumerate(elasticity.harmonic_tensors(2)):
        coupling = torch.einsum("ij,kl->ijkl", unit, tensor) + torch.einsum("ij,kl->ijkl", tensor, unit)
        expected = torch.zeros(21, dtype=torch.float64)
        expected[2 + order] = math.sqrt(6)
        found = elasticity.harmonic_coefficients(tensor_to_mandel(coupling))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
        # the operator eps -> T eps + eps T, on symmetric tensors
        product = torch.einsum("ik,lj->ijkl", tensor, unit) + torch.einsum("ik,lj->ijkl", unit, tensor)
        shape = deviatoric @ tensor_to_mandel(product) @ deviatoric
        expected = torch.zeros(21, dtype=torch.float64)
        expected[7 + order] = float(shape.norm())
        torch.testing.assert_close(elasticity.harmonic_coefficients(shape), expected, rtol=0, atol=1e-14)


def test_cartesian_pieces_add_up_and_are_what_they_claim(random_stiffness):
    stiffness = random_stiffness(4)
    pieces = elasticity.harmonic_decomposition(stiffness)
    torch.testing.assert_close(pieces.stiffness(), stiffness, rtol=1e-12, atol=1e-12)
    harmonic = pieces.harmonic
    for order in ("jikl", "ikjl", "ijlk", "lijk"):
        torch.testing.assert_close(harmonic, torch.einsum(f"...ijkl->...{order}", harmonic), rtol=0, atol=1e-12)
    assert float(torch.einsum("...iikl->...kl", harmonic).abs().max()) < 1e-12
    for deviator in (pieces.dilatational, pieces.voigt):
        assert float(torch.einsum("...ii->...", deviator).abs().max()) < 1e-12
    coefficients = elasticity.harmonic_coefficients(stiffness)
    norm = harmonic.flatten(1).norm(dim=1)
    torch.testing.assert_close(norm, coefficients[:, BLOCKS[4]].norm(dim=1), rtol=1e-12, atol=0)
    torch.testing.assert_close(3 * pieces.bulk, coefficients[:, 0])
    torch.testing.assert_close(2 * math.sqrt(5) * pieces.shear, coefficients[:, 1])
    # the coupling of volume and shape is the deviator of C_ijkk alone
    coupling = torch.einsum("mij,nij->nm", elasticity.harmonic_tensors(2), pieces.dilatational)
    torch.testing.assert_close(coupling * math.sqrt(6) / 3, coefficients[:, BLOCKS[2]])


def test_gradients(random_stiffness):
    def pieces(root: torch.Tensor) -> torch.Tensor:
        parts = elasticity.harmonic_decomposition(root + root.mT)
        return torch.cat([parts.bulk[None], parts.voigt.flatten(), parts.harmonic.flatten()])

    assert_gradient_matches(pieces, random_stiffness())
    assert_gradient_matches(lambda root: elasticity.harmonic_coefficients(root + root.mT), random_stiffness())
