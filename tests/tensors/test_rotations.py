"""Rotations: group laws, the exponential map against Rodrigues' formula, evenness of the spread sets."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from polyad.errors import InputError
from polyad.tensors import rotations


def assert_rotations(matrices: torch.Tensor, determinant: float | None = 1.0) -> None:
    identity = torch.eye(3, dtype=matrices.dtype).expand_as(matrices)
    torch.testing.assert_close(matrices @ matrices.mT, identity, rtol=0, atol=1e-13)
    if determinant is not None:
        torch.testing.assert_close(
            torch.linalg.det(matrices), torch.full(matrices.shape[:-2], determinant, dtype=matrices.dtype)
        )


def test_random_rotations_are_uniform_and_repeatable():
    sample = rotations.random_rotations(20000, generator=torch.Generator().manual_seed(3))
    assert_rotations(sample)
    assert torch.equal(sample, rotations.random_rotations(20000, generator=torch.Generator().manual_seed(3)))
    # Haar measure: every entry has mean 0 and variance 1/3, and the trace 1 + 2 cos(angle) has mean 0 and variance 1
    assert float(sample.mean(dim=0).abs().max()) < 0.015
    assert float((sample.square().mean(dim=0) - 1 / 3).abs().max()) < 0.01
    trace = sample.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert abs(float(trace.square().mean()) - 1) < 0.05


def test_reflections_make_half_of_the_sample_improper():
    sample = rotations.random_rotations(2000, generator=torch.Generator().manual_seed(1), reflections=True)
    assert_rotations(sample, determinant=None)
    assert abs(float((torch.linalg.det(sample) < 0).double().mean()) - 0.5) < 0.05


def test_spread_rotations_leave_no_hole():
    # 2000 cells of equal volume 8 pi^2 / 2000 have radius 0.21; a random set leaves holes of about twice that
    spread = rotations.spread_rotations(2000)
    assert_rotations(spread)
    probes = rotations.random_rotations(2000, generator=torch.Generator().manual_seed(2))
    cosine = (probes.flatten(1) @ spread.flatten(1).T - 1) / 2
    assert float(cosine.max(dim=1).values.clamp(max=1).acos().max()) < 0.36


def test_spread_directions_cover_the_half_sphere_evenly():
    directions = rotations.spread_directions(1000)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(1000, dtype=torch.float64))
    assert float(directions[:, 2].min()) > 0
    torch.testing.assert_close(
        directions.T @ directions / 1000, torch.eye(3, dtype=torch.float64) / 3, rtol=0, atol=2e-3
    )


def test_exponential_is_rodrigues_and_differentiable_at_zero():
    vectors = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.from_numpy(Rotation.from_rotvec(vectors.numpy()).as_matrix())
    torch.testing.assert_close(rotations.rotation_from_vector(vectors), expected, rtol=0, atol=1e-13)
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotations.rotation_from_vector, (zero,))


def test_quaternions_agree_with_scipy():
    quaternion = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    expected = torch.from_numpy(Rotation.from_quat(quaternion.numpy()).as_matrix())
    torch.testing.assert_close(rotations.quaternion_to_rotation(quaternion), expected, rtol=0, atol=1e-14)


def test_frames_start_with_their_axis():
    axes = torch.cat([torch.eye(3, dtype=torch.float64), rotations.spread_directions(50)])
    frames = rotations.frame_from_axis(axes)
    assert_rotations(frames)
    torch.testing.assert_close(frames[..., 0], axes)


def test_euler_angles_are_scipys_intrinsic_zyz():
    angles = torch.randn(10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    expected = torch.from_numpy(Rotation.from_euler("ZYZ", angles.numpy()).as_matrix())
    torch.testing.assert_close(rotations.euler_to_rotation(*angles.T), expected, rtol=0, atol=1e-14)


def test_cross_product_matrix():
    first, second = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    product = (rotations.cross_product_matrix(first) @ second[..., None]).squeeze(-1)
    torch.testing.assert_close(product, torch.linalg.cross(first, second))


def test_a_count_below_one_is_refused():
    for spread in (rotations.spread_rotations, rotations.spread_directions):
        with pytest.raises(InputError, match="count: 0"):
            spread(0)


def test_angle_of_the_exponential():
    turn = rotations.rotation_from_vector(torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64))
    expected = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(turn, expected, rtol=0, atol=1e-15)
