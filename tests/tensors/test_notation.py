"""Kelvin-Mandel and Voigt notation against loops over the (3, 3, 3, 3) tensor."""

from __future__ import annotations

import itertools

import pytest
import torch

from polyad.errors import InputError
from polyad.tensors import notation
from polyad.tensors.rotations import random_rotations

PAIRS = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def random_tensor(generator: torch.Generator, *batch: int) -> torch.Tensor:
    """A random tensor with the minor and major symmetries, made by summing over the eight index orders."""
    raw = torch.randn(*batch, 3, 3, 3, 3, generator=generator, dtype=torch.float64)
    orders = ["ijkl", "jikl", "ijlk", "jilk", "klij", "lkij", "klji", "lkji"]
    return sum(torch.einsum(f"...ijkl->...{order}", raw) for order in orders) / 8


def test_mandel_entries_are_tensor_entries_times_their_factors(generator):
    tensor = random_tensor(generator, 2)
    matrix = notation.tensor_to_mandel(tensor)
    voigt = notation.mandel_to_voigt_stiffness(matrix)
    compliance = notation.mandel_to_voigt_compliance(matrix)
    for (a, (i, j)), (b, (m, n)) in itertools.product(enumerate(PAIRS), repeat=2):
        root = 2**0.5
        factor = (1 if a < 3 else root) * (1 if b < 3 else root)
        torch.testing.assert_close(matrix[:, a, b], factor * tensor[:, i, j, m, n])
        torch.testing.assert_close(voigt[:, a, b], tensor[:, i, j, m, n])
        torch.testing.assert_close(compliance[:, a, b], factor**2 * tensor[:, i, j, m, n])


def test_every_conversion_has_its_inverse(generator):
    tensor = random_tensor(generator, 2, 3)
    matrix = notation.tensor_to_mandel(tensor)
    torch.testing.assert_close(notation.mandel_to_tensor(matrix), tensor)
    torch.testing.assert_close(notation.voigt_stiffness_to_mandel(notation.mandel_to_voigt_stiffness(matrix)), matrix)
    torch.testing.assert_close(notation.voigt_compliance_to_mandel(notation.mandel_to_voigt_compliance(matrix)), matrix)
    torch.testing.assert_close(notation.vector_to_mandel(notation.mandel_to_vector(matrix)), matrix)
    strain = torch.randn(4, 3, 3, generator=generator, dtype=torch.float64)
    strain = strain + strain.mT
    torch.testing.assert_close(notation.mandel_to_strain(notation.strain_to_mandel(strain)), strain)


def test_norms_products_and_inverses_are_kept(generator):
    tensor, other = random_tensor(generator), random_tensor(generator)
    strain = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    strain = strain + strain.T
    matrix, vector = notation.tensor_to_mandel(tensor), notation.strain_to_mandel(strain)
    torch.testing.assert_close(matrix @ vector, notation.strain_to_mandel(torch.einsum("ijkl,kl->ij", tensor, strain)))
    product = torch.einsum("ijkl,klmn->ijmn", tensor, other)
    torch.testing.assert_close(matrix @ notation.tensor_to_mandel(other), notation.tensor_to_mandel(product))
    torch.testing.assert_close(matrix.norm(), tensor.norm(), rtol=1e-14, atol=0)
    torch.testing.assert_close(notation.mandel_to_vector(matrix).norm(), tensor.norm(), rtol=1e-14, atol=0)


def test_voigt_compliance_is_the_inverse_of_voigt_stiffness(generator):
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    stiffness = root @ root.T + torch.eye(6, dtype=torch.float64)
    voigt = notation.mandel_to_voigt_stiffness(stiffness)
    compliance = notation.mandel_to_voigt_compliance(torch.linalg.inv(stiffness))
    torch.testing.assert_close(compliance, torch.linalg.inv(voigt))


def test_basis_is_orthonormal():
    basis = notation.mandel_basis().flatten(1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("reflections", [False, True])
def test_rotation_turns_tensors_as_the_einsum_does(generator, reflections):
    rotations = random_rotations(5, generator=generator, reflections=reflections)
    tensor = random_tensor(generator, 5)
    turned = torch.einsum("nia,njb,nkc,nld,nabcd->nijkl", *[rotations] * 4, tensor)
    matrix = notation.rotate_mandel(notation.tensor_to_mandel(tensor), rotations)
    torch.testing.assert_close(matrix, notation.tensor_to_mandel(turned), rtol=1e-12, atol=1e-12)
    strain = random_tensor(generator, 5)[..., 0, 0]
    turned_strain = rotations @ strain @ rotations.mT
    expected = torch.einsum("nab,nb->na", notation.rotation_mandel(rotations), notation.strain_to_mandel(strain))
    torch.testing.assert_close(notation.strain_to_mandel(turned_strain), expected)


def test_rotation_matrix_is_orthogonal_and_a_representation(generator):
    first, second = random_rotations(4, generator=generator), random_rotations(4, generator=generator, reflections=True)
    turn = notation.rotation_mandel(first)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(6, dtype=torch.float64).expand(4, 6, 6), rtol=0, atol=1e-14)
    torch.testing.assert_close(
        turn @ notation.rotation_mandel(second), notation.rotation_mandel(first @ second), rtol=0, atol=1e-14
    )


def test_symmetrize_is_the_orthogonal_projection(generator):
    raw = torch.randn(2, 3, 3, 3, 3, generator=generator, dtype=torch.float64)
    nearest = notation.symmetrize(raw)
    torch.testing.assert_close(notation.symmetrize(nearest), nearest)
    for order in ("jikl", "ijlk", "klij"):
        torch.testing.assert_close(nearest, torch.einsum(f"...ijkl->...{order}", nearest))
    other = random_tensor(generator)
    assert abs(float((other * (raw - nearest)).sum(dim=(1, 2, 3, 4)).abs().max())) < 1e-12
    minor = notation.symmetrize(raw, major=False)
    torch.testing.assert_close(minor, notation.mandel_to_tensor(notation.tensor_to_mandel(raw)))
    assert float((minor - minor.movedim((-2, -1), (-4, -3))).abs().max()) > 0.1


@pytest.mark.parametrize("bad", ["scaled", "nan"])
def test_what_is_no_rotation_is_refused(bad):
    matrix = torch.eye(3, dtype=torch.float64) * (1.001 if bad == "scaled" else float("nan"))
    with pytest.raises(InputError, match=r"rotation: max \|Q Q\^T - 1\|"):
        notation.rotation_mandel(matrix)


def test_dtype_is_followed_and_gradients_are_exact(generator):
    tensor = random_tensor(generator)
    single = notation.rotate_mandel(notation.tensor_to_mandel(tensor.float()), torch.eye(3))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, notation.tensor_to_mandel(tensor).float())
    rotation = random_rotations(1, generator=generator)[0]

    def round_trip(tensor: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
        matrix = notation.rotate_mandel(notation.tensor_to_mandel(tensor), rotation, check=False)
        return notation.mandel_to_voigt_stiffness(notation.vector_to_mandel(notation.mandel_to_vector(matrix)))

    assert torch.autograd.gradcheck(round_trip, (tensor.requires_grad_(), rotation.requires_grad_()))
