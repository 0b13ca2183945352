"""Rotation matrices against the harmonics themselves, the group law, e3nn, and gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.spherical_harmonics import degree_slices, spherical_harmonics
from polyad.symmetry.wigner import rotate, rotate_by_blocks, wigner_d, wigner_d_matrix
from polyad.tensors.rotations import euler_to_rotation, random_rotations, rotation_from_vector


def rotations(count: int, *, seed: int = 0, reflections: bool = True) -> Tensor:
    return random_rotations(count, generator=torch.Generator().manual_seed(seed), reflections=reflections)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SPECIAL = torch.stack(
    [
        torch.eye(3, dtype=torch.float64),
        -torch.eye(3, dtype=torch.float64),
        torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)),
        torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)),
    ]
)


def test_harmonics_at_turned_points_to_degree_twenty() -> None:
    turns = torch.cat([rotations(12), SPECIAL])
    vectors = normal(30, 3)
    values, turned = spherical_harmonics(vectors, 20), spherical_harmonics(vectors @ turns.mT, 20)
    for block, place in zip(wigner_d(turns, 20), degree_slices(20), strict=True):
        torch.testing.assert_close(turned[..., place], values[:, place] @ block.mT, rtol=0, atol=1e-12)


def test_orthogonal_and_a_representation_to_degree_twenty() -> None:
    first, second = rotations(6), rotations(6, seed=2)
    blocks = [wigner_d(turn, 20) for turn in (first, second, first @ second)]
    for one, two, both in zip(*blocks, strict=True):
        torch.testing.assert_close(one @ two, both, rtol=0, atol=1e-12)
        identity = torch.eye(one.shape[-1], dtype=torch.float64).expand_as(one)
        torch.testing.assert_close(one @ one.mT, identity, rtol=0, atol=1e-12)


def test_rotation_about_the_polar_axis_turns_order_m_by_m_times_the_angle() -> None:
    angle = 0.7
    block = wigner_d(rotation_from_vector(torch.tensor([0.0, 0.0, angle], dtype=torch.float64)), 5)[5]
    for order in range(1, 6):
        pair = block[[5 + order, 5 - order]][:, [5 + order, 5 - order]]
        cosine, sine = math.cos(order * angle), math.sin(order * angle)
        expected = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)
        torch.testing.assert_close(pair, expected, rtol=0, atol=1e-13)


@pytest.fixture
def double_precision_peer() -> Iterator[None]:
    """e3nn's matrices come from tables in torch's default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("double_precision_peer")
def test_equal_to_e3nn_in_renamed_axes() -> None:
    o3 = pytest.importorskip("e3nn.o3")
    turns = rotations(5, reflections=False)
    axes = torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.float64)  # (x, y, z) -> (y, z, x)
    for degree, block in enumerate(wigner_d(turns, 8)):
        peer = o3.Irrep(degree, 1).D_from_matrix(axes @ turns @ axes.T)
        torch.testing.assert_close(block, peer, rtol=0, atol=1e-9)  # e3nn goes through angles


def test_rotate_is_the_dense_matrix_and_the_turned_function() -> None:
    turns, coefficients = rotations(4), normal(4, 3, 49)
    turned = rotate(coefficients, turns)
    dense = coefficients @ wigner_d_matrix(turns, 6).mT
    torch.testing.assert_close(turned, dense, rtol=0, atol=1e-13)
    vectors = normal(10, 3)
    before = torch.einsum("eca,ena->ecn", coefficients, spherical_harmonics(vectors @ turns, 6))  # f(Q^-1 x)
    after = turned @ spherical_harmonics(vectors, 6).T
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)


def test_rotate_shapes_and_inverse() -> None:
    coefficients = normal(4, 3, 16)
    one = rotations(1)[0]
    torch.testing.assert_close(rotate(coefficients, one)[2, 1], rotate(coefficients[2, 1], one))
    turns = rotations(4)
    blocks = wigner_d(turns, 5)
    back = rotate_by_blocks(rotate_by_blocks(coefficients, blocks), blocks, inverse=True)
    torch.testing.assert_close(back, coefficients, rtol=0, atol=1e-13)
    assert rotate(coefficients[:0], turns[:0]).shape == (0, 3, 16)


def test_euler_angles_place_the_polar_axis() -> None:
    alpha, beta, gamma = (torch.tensor([0.4, -2.0]).double(), torch.tensor([1.2, 0.0]).double(), torch.ones(2).double())
    turn = euler_to_rotation(alpha, beta, gamma)
    expected = torch.stack([beta.sin() * alpha.cos(), beta.sin() * alpha.sin(), beta.cos()], -1)
    torch.testing.assert_close(turn[:, :, 2], expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(turn[1], rotation_from_vector(torch.tensor([0.0, 0.0, -1.0]).double()))


def test_gradients() -> None:
    coefficients = normal(2, 3, 16).requires_grad_()
    vectors = torch.tensor([[0.0, 0.0, 0.0], [0.3, -1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c, v: rotate(c, rotation_from_vector(v)), (coefficients, vectors))


def test_single_precision() -> None:
    turns = rotations(20)
    for double, single in zip(wigner_d(turns, 12), wigner_d(turns.float(), 12), strict=True):
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), double, rtol=0, atol=2e-5)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="Q Q"):
        wigner_d(2 * torch.eye(3, dtype=torch.float64), 2)
    with pytest.raises(InputError, match="lmax"):
        wigner_d(SPECIAL, -1)
    with pytest.raises(InputError, match="first dimensions"):
        rotate(normal(3, 16), rotations(4))
    with pytest.raises(InputError, match="degree"):
        rotate_by_blocks(normal(4, 16), wigner_d(rotations(4), 2))
