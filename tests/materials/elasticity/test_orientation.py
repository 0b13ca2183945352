"""Best orientation: planted classes are recovered, and no random search finds a nearer tensor."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials import elasticity
from polyad.materials.elasticity.orientation import closest_symmetry, symmetry_distances
from polyad.tensors.notation import rotate_mandel
from polyad.tensors.rotations import random_rotations, rotation_from_vector
from polyad.testing import assert_gradient_matches

CLASSES = elasticity.SYMMETRIES
CONTAINED = [  # every tensor of the first class is one of the second
    ("isotropic", "cubic"),
    ("isotropic", "hexagonal"),
    ("cubic", "tetragonal"),
    ("cubic", "trigonal"),
    ("hexagonal", "tetragonal"),
    ("hexagonal", "trigonal"),
    ("tetragonal", "orthotropic"),
    ("orthotropic", "monoclinic"),
    ("trigonal", "monoclinic"),
    ("monoclinic", "triclinic"),
]


def planted(random_stiffness, symmetry: str, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random tensors of a class in random orientations, and the orientations."""
    standard = elasticity.project_symmetry(random_stiffness(count, seed=seed), symmetry)
    axes = random_rotations(count, generator=torch.Generator().manual_seed(seed + 1), reflections=True)
    return rotate_mandel(standard, axes), axes


@pytest.mark.parametrize("symmetry", CLASSES)
def test_a_hundred_planted_tensors_are_recovered(random_stiffness, symmetry):
    stiffness, _ = planted(random_stiffness, symmetry, 100)
    found = closest_symmetry(stiffness, symmetry)
    assert float(found.distance.max()) < 1e-12
    torch.testing.assert_close(found.projection, stiffness, rtol=1e-10, atol=1e-10)
    assert elasticity.classify(stiffness[:25], tolerance=1e-8) == [symmetry] * 25


@pytest.mark.parametrize("symmetry", ["cubic", "trigonal", "tetragonal"])
def test_axes_are_recovered_up_to_the_normalizer(random_stiffness, symmetry):
    stiffness, axes = planted(random_stiffness, symmetry, 20)
    axes = axes * torch.linalg.det(axes)[:, None, None]  # the inversion is no part of the answer
    found = closest_symmetry(stiffness, symmetry).axes
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(20, dtype=torch.float64))
    equivalent = axes[:, None] @ elasticity.normalizer(symmetry)
    assert float((equivalent - found[:, None]).abs().amax(dim=(2, 3)).amin(dim=1).max()) < 1e-8


@pytest.mark.parametrize("symmetry", ["hexagonal", "monoclinic"])
def test_the_distinguished_axis_is_recovered(random_stiffness, symmetry):
    stiffness, axes = planted(random_stiffness, symmetry, 20)
    cosine = (closest_symmetry(stiffness, symmetry).axes[..., 2] * axes[..., 2]).sum(-1).abs()
    torch.testing.assert_close(cosine, torch.ones(20, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("symmetry", [name for name in CLASSES if name not in ("isotropic", "triclinic")])
def test_no_random_start_finds_a_nearer_tensor(random_stiffness, symmetry):
    # strongly anisotropic tensors, and nearly cubic ones with their many nearly equal minima
    nearly, _ = planted(random_stiffness, "cubic", 10, seed=5)
    stiffness = torch.cat([random_stiffness(15, samples=3), nearly + 1e-3 * random_stiffness(10, seed=7)])
    found = closest_symmetry(stiffness, symmetry).distance
    generator = torch.Generator().manual_seed(3)
    starts = 3000
    for tensor, distance in zip(stiffness, found, strict=True):
        axes = random_rotations(starts, generator=generator)
        values = elasticity.symmetry_distance(tensor, symmetry, axes=axes)
        assert float(values.min()) >= float(distance)
        # and the best of them, refined by small random turns, ends at the minimum found or above it
        best = axes[values.argmin()]
        for size in (0.1, 0.03, 0.01, 0.003):
            turns = rotation_from_vector(size * torch.randn(200, 3, generator=generator, dtype=torch.float64))
            near = torch.cat([best[None], best @ turns])
            values = elasticity.symmetry_distance(tensor, symmetry, axes=near)
            best = near[values.argmin()]
        assert float(values.min()) > float(distance) - 1e-12
        assert float(values.min()) < float(distance) + 0.02


def test_distances_respect_the_order_of_the_classes(random_stiffness):
    distances = symmetry_distances(random_stiffness(30))
    assert list(distances) == list(CLASSES)
    for smaller, larger in CONTAINED:
        assert float((distances[larger] - distances[smaller]).max()) < 1e-12, (smaller, larger)
    assert float(distances["triclinic"].max()) < 1e-14
    assert float(distances["monoclinic"].min()) > 1e-3


@pytest.mark.parametrize("metric", ["frobenius", "log_euclidean"])
def test_result_does_not_depend_on_the_frame_or_the_scale(random_stiffness, metric):
    stiffness = random_stiffness(6)
    rotations = random_rotations(6, generator=torch.Generator().manual_seed(2), reflections=True)
    turned = 1e9 * rotate_mandel(stiffness, rotations)
    for symmetry in ("cubic", "hexagonal", "orthotropic"):
        first = closest_symmetry(stiffness, symmetry, metric=metric)
        second = closest_symmetry(turned, symmetry, metric=metric)
        torch.testing.assert_close(first.distance, second.distance, rtol=1e-9, atol=0)
        expected = 1e9 * rotate_mandel(first.projection, rotations)
        torch.testing.assert_close(second.projection, expected, rtol=1e-6, atol=1e3)


def test_weak_anisotropy_is_seen_and_isotropy_is_no_trouble(random_stiffness):
    cubic, _ = planted(random_stiffness, "cubic", 5)
    weak = elasticity.isotropic(1.0, 0.3) + 1e-7 * cubic
    distance = closest_symmetry(weak, "hexagonal").distance
    assert float(closest_symmetry(weak, "cubic").distance.max()) < 1e-14
    assert float(distance.min()) > 1e-9
    assert elasticity.classify(weak, tolerance=1e-10) == ["cubic"] * 5
    assert elasticity.classify(elasticity.isotropic(1.0, 0.3)) == "isotropic"
    assert float(closest_symmetry(torch.zeros(6, 6, dtype=torch.float64), "cubic").distance) == 0.0


def test_log_euclidean_distance_is_that_of_the_compliance(random_stiffness):
    stiffness = random_stiffness(4)
    first = closest_symmetry(stiffness, "orthotropic", metric="log_euclidean")
    second = closest_symmetry(elasticity.compliance_of(stiffness), "orthotropic", metric="log_euclidean")
    torch.testing.assert_close(first.distance, second.distance, rtol=1e-8, atol=0)
    measured = elasticity.log_euclidean_distance(stiffness, first.projection)
    torch.testing.assert_close(first.distance, measured, rtol=1e-7, atol=0)


@pytest.mark.parametrize("symmetry", ["cubic", "hexagonal", "tetragonal", "monoclinic"])
def test_gradients_include_the_motion_of_the_axes(stiffness_along, symmetry):
    def outcome(parameters: torch.Tensor) -> torch.Tensor:
        found = closest_symmetry(stiffness_along(parameters), symmetry)
        return torch.cat([found.distance[None], found.projection.flatten()])

    assert_gradient_matches(outcome, torch.full((5,), 0.1, dtype=torch.float64), tolerance=1e-6, step=1e-3)


def test_batches_dtypes_and_repetition(random_stiffness):
    stiffness = random_stiffness(2, 3)
    found = closest_symmetry(stiffness, "cubic")
    assert found.axes.shape == (2, 3, 3, 3)
    assert found.distance.shape == (2, 3)
    assert torch.equal(found.distance, closest_symmetry(stiffness, "cubic").distance)
    torch.testing.assert_close(closest_symmetry(stiffness[1, 2], "cubic").distance, found.distance[1, 2])
    single = closest_symmetry(stiffness.float(), "cubic")
    assert single.projection.dtype == single.axes.dtype == torch.float32
    torch.testing.assert_close(single.distance.double(), found.distance, rtol=1e-4, atol=0)
    assert closest_symmetry(stiffness[:0, 0], "trigonal").distance.shape == (0,)
    names = elasticity.classify(stiffness)
    assert names == [["triclinic"] * 3] * 2


def test_bad_input_is_refused(random_stiffness):
    with pytest.raises(InputError, match="starts: 0"):
        closest_symmetry(random_stiffness(), "cubic", starts=0)
    with pytest.raises(InputError, match="not symmetric"):
        elasticity.classify(random_stiffness() + torch.eye(6, dtype=torch.float64).roll(1, 0))
