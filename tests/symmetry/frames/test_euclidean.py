"""Euclidean frames: sizes, hands, equivariance as sets, ragged batches, weights, degeneracy, gradients."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.frames import DegenerateFrameWarning, EuclideanFrames, euclidean_frames, principal_frames
from polyad.tensors.rotations import random_rotations
from polyad.testing import assert_gradient_matches

DOUBLE = {"dtype": torch.float64}


def cloud(points: int = 7, dimension: int = 3, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(points, dimension, generator=generator, **DOUBLE) * torch.arange(1.0, dimension + 1) + 2.0


def orthogonal(dimension: int, seed: int, *, determinant: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(dimension, dimension, generator=generator, **DOUBLE))[0]
    q[0] *= torch.linalg.det(q).sign() * determinant
    return q


def distance_of_sets(a: Tensor, b: Tensor) -> float:
    """Hausdorff distance of two sets of matrices."""
    between = (a[:, None] - b).abs().amax((-1, -2))
    return float(torch.maximum(between.amin(0).max(), between.amin(1).max()))


@pytest.mark.parametrize(("group", "sizes"), [("O", (2, 4, 8, 16)), ("SO", (1, 2, 4, 8))])
@pytest.mark.parametrize("prefix", ["", "E"])
def test_size_of_the_frame(group: str, sizes: tuple[int, ...], prefix: str) -> None:
    named = {"O": "E", "SO": "SE"}[group] if prefix else group
    for dimension, size in enumerate(sizes, start=1):
        frames = euclidean_frames(cloud(9, dimension), group=named)
        assert len(frames) == size
        matrices = frames.rotation[:, 0]
        eye = torch.eye(dimension, **DOUBLE)
        assert torch.allclose(matrices.mT @ matrices, eye.expand_as(matrices), atol=1e-12)
        between = (matrices[:, None] - matrices).abs().amax((-1, -2))
        assert float((between + eye.new_ones(size).diag()).min()) > 0.1  # all different
        determinants = torch.linalg.det(matrices)
        expected = {1.0} if "S" in named else {1.0, -1.0}
        assert {round(x, 9) for x in determinants.tolist()} == expected


def test_axes_are_those_of_the_covariance_ascending() -> None:
    points = cloud(20)
    frames = euclidean_frames(points, group="SE")
    assert torch.allclose(frames.translation[0], points.mean(0))
    for rotation in frames.rotation[:, 0]:
        moved = (points - points.mean(0)) @ rotation
        moments = moved.T @ moved / 20
        assert torch.allclose(moments, torch.diag(moments.diagonal()), atol=1e-12)
        assert bool((moments.diagonal().diff() > 0).all())
    about_origin = euclidean_frames(points, group="O")
    assert torch.equal(about_origin.translation, torch.zeros(1, 3, **DOUBLE))
    moved = points @ about_origin.rotation[0, 0]
    moments = moved.T @ moved
    assert torch.allclose(moments, torch.diag(moments.diagonal()), atol=1e-10)


@pytest.mark.parametrize("group", ["E", "SE", "O", "SO"])
@pytest.mark.parametrize("dimension", [2, 3, 4])
def test_frame_moves_with_the_cloud(group: str, dimension: int) -> None:
    points = cloud(9, dimension)
    frames = euclidean_frames(points, group=group)
    shift = torch.arange(1.0, dimension + 1, **DOUBLE) if "E" in group else torch.zeros(dimension, **DOUBLE)
    for seed in range(8):
        q = orthogonal(dimension, seed, determinant=1.0 if "S" in group else (-1.0) ** seed)
        moved = euclidean_frames(points @ q.T + shift, group=group)
        assert distance_of_sets(moved.rotation[:, 0], q @ frames.rotation[:, 0]) < 1e-10
        if "E" in group:
            assert torch.allclose(moved.translation[0], q @ frames.translation[0] + shift, atol=1e-12)


def test_hands_are_told_by_the_product_not_by_the_signs() -> None:
    """Choosing signs with product 1 would leave the hand to the eigenvector routine."""
    found = set()
    for seed in range(12):
        points = cloud(seed=seed) @ orthogonal(3, seed, determinant=1.0)
        _, axes = torch.linalg.eigh(torch.cov(points.T, correction=0))
        found.add(round(float(torch.linalg.det(axes))))
        matrices = euclidean_frames(points, group="SE").rotation[:, 0]
        assert torch.allclose(torch.linalg.det(matrices), torch.ones(4, **DOUBLE))
    assert found == {1, -1}  # the routine gave both hands, so the test could have failed


def test_clouds_of_different_sizes_in_any_order() -> None:
    clouds = [cloud(n, seed=n) for n in (5, 9, 6)]
    structure = torch.tensor([0] * 5 + [1] * 9 + [2] * 6)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    together = euclidean_frames(torch.cat(clouds)[order], structure[order], group="SE")
    for number, points in enumerate(clouds):
        alone = euclidean_frames(points, group="SE")
        assert distance_of_sets(together.rotation[:, number], alone.rotation[:, 0]) < 1e-12
        assert torch.allclose(together.translation[number], alone.translation[0], atol=1e-12)


def test_weights_count_as_repeated_points() -> None:
    points = cloud(5)
    weighed = euclidean_frames(points, weights=torch.tensor([1.0, 2.0, 1.0, 0.0, 3.0], **DOUBLE))
    repeated = euclidean_frames(points[[0, 1, 1, 2, 4, 4, 4]])
    assert distance_of_sets(weighed.rotation[:, 0], repeated.rotation[:, 0]) < 1e-12
    assert torch.allclose(weighed.translation, repeated.translation)


def test_values_go_to_the_frame_and_back() -> None:
    structure = torch.tensor([0] * 5 + [1] * 4)
    points = torch.cat([cloud(5), cloud(4, seed=1)])
    frames = euclidean_frames(points, structure)
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "scalar": (9, 2), "vector": (9, 2, 3), "position": (9, 3), "matrix": (9, 3, 3),
        "structure_vector": (2, 3), "structure_matrix": (2, 4, 3, 3), "structure_position": (2, 3),
    }  # fmt: skip
    for name, shape in shapes.items():
        values = torch.randn(*shape, generator=generator, **DOUBLE)
        moved = frames.to_frame(values, name)
        assert moved.shape == (8, *shape)
        assert torch.allclose(frames.from_frame(moved, name), values.expand(8, *shape), atol=1e-12)
        assert torch.allclose(frames.average(moved, name), values, atol=1e-12)
    element, point = 3, 7
    rotation, origin = frames.rotation[element, 1], frames.translation[1]
    vectors, matrices = (torch.randn(9, *[3] * k, generator=generator, **DOUBLE) for k in (1, 2))
    assert torch.allclose(frames.to_frame(points, "position")[element, point], rotation.T @ (points[point] - origin))
    assert torch.allclose(frames.to_frame(vectors, "vector")[element, point], rotation.T @ vectors[point])
    expected = rotation.T @ matrices[point] @ rotation
    assert torch.allclose(frames.to_frame(matrices, "matrix")[element, point], expected)


def test_sampling_is_uniform_independent_and_reproducible() -> None:
    structure = torch.arange(2).repeat_interleave(6)
    frames = euclidean_frames(torch.cat([cloud(6), cloud(6, seed=1)]), structure)
    drawn = frames.sample(4000, generator=torch.Generator().manual_seed(0))
    equal = (drawn.rotation[:, None] == frames.rotation).all(-1).all(-1)  # draws, elements, structures
    assert bool((equal.sum(1) == 1).all())
    chosen = equal.long().argmax(1)
    for structure_choice in chosen.T:
        counts = torch.bincount(structure_choice, minlength=8)
        assert float(((counts - 500) ** 2 / 500).sum()) < 25  # chi-squared with 7 degrees: 1 in 1,500 beyond
    pairs = torch.bincount(8 * chosen[:, 0] + chosen[:, 1], minlength=64)
    assert float(((pairs - 62.5) ** 2 / 62.5).sum()) < 110
    again = frames.sample(4000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.rotation, drawn.rotation)


def test_degenerate_clouds_are_told() -> None:
    square = torch.tensor([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]], **DOUBLE)
    tetrahedron = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], **DOUBLE)
    pair = torch.tensor([[1, 2, 3], [0, 0, 1]], **DOUBLE)
    fine = cloud(6)
    structure = torch.tensor([0] * 4 + [1] * 4 + [2] * 2 + [3] * 6)
    with pytest.warns(DegenerateFrameWarning, match="3 of 4"):
        frames = euclidean_frames(torch.cat([square, tetrahedron, pair, fine]), structure)
    assert frames.degenerate.tolist() == [True, True, True, False]
    nearly = square + 1e-3 * torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0.5], [0, 0, 0]], **DOUBLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        euclidean_frames(fine)
        euclidean_frames(nearly)
        with pytest.raises(DegenerateFrameWarning):
            euclidean_frames(nearly, tolerance=0.01)


def test_gradients_flow_through_the_frame_unless_it_is_detached() -> None:
    points = cloud(5)
    weights = torch.linspace(-1, 1, 15, **DOUBLE).view(5, 3)

    def feature(x: Tensor, *, detach: bool = False) -> Tensor:
        frames = euclidean_frames(x, group="SE", detach=detach)
        return frames.average(torch.tanh(weights * frames.to_frame(x, "position") + 0.5), "scalar").sum()

    assert_gradient_matches(feature, points)
    with pytest.raises(AssertionError):
        assert_gradient_matches(lambda x: feature(x, detach=True), points)
    moved = points.clone().requires_grad_()
    (slope,) = torch.autograd.grad(feature(moved, detach=True), moved)
    held = euclidean_frames(points, group="SE")

    def at_fixed_frame(x: Tensor) -> Tensor:
        return held.average(torch.tanh(weights * held.to_frame(x, "position") + 0.5), "scalar").sum()

    (expected,) = torch.autograd.grad(at_fixed_frame(moved), moved)
    assert torch.allclose(slope, expected, atol=1e-12)


def test_principal_frames_take_any_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(4, 3, 3, generator=generator, **DOUBLE)
    covariance = half @ half.mT
    matrices, degenerate = principal_frames(covariance, proper=True)
    assert not bool(degenerate.any())
    turned = random_rotations(4, generator=generator, dtype=torch.float64)
    moved, _ = principal_frames(turned @ covariance @ turned.mT, proper=True)
    for number in range(4):
        assert distance_of_sets(moved[:, number], turned[number] @ matrices[:, number]) < 1e-10


def test_float32_input_gives_float32_frames() -> None:
    frames = euclidean_frames(cloud().float())
    assert frames.rotation.dtype == frames.translation.dtype == torch.float32


def test_bad_input_is_refused() -> None:
    points = cloud()
    frames = euclidean_frames(points)
    assert isinstance(frames, EuclideanFrames)
    for call in (
        lambda: euclidean_frames(points, group="U"),
        lambda: euclidean_frames(points * math.nan),
        lambda: euclidean_frames(points, num_structures=2),
        lambda: euclidean_frames(points, weights=-torch.ones(7, **DOUBLE)),
        lambda: frames.sample(0),
        lambda: frames.to_frame(points, "spinor"),
        lambda: frames.to_frame(points[:3], "vector"),
        lambda: frames.to_frame(points[:, :2], "vector"),
        lambda: frames.from_frame(points[None], "vector"),
    ):
        with pytest.raises(InputError):
            call()
