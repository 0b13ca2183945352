"""Homogenisation of voxel images: a matrix made voxel by voxel, exact laminates, bounds, refinement, bad input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from polyad.errors import ConvergenceError, InputError
from polyad.pde.homogenization import homogenize, voxelize
from polyad.pde.homogenization.elements import CORNERS, VoxelElement
from polyad.tensors.notation import rotate_mandel
from polyad.tensors.rotations import random_rotations

VOID = torch.zeros(6, 6, dtype=torch.float64)
SKEW = torch.tensor([[1.0, 0.1, 0.0], [0.2, 0.9, 0.1], [0.0, -0.1, 1.2]], dtype=torch.float64)


def isotropic(bulk: float, shear: float) -> Tensor:
    one = torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=torch.float64)
    return (bulk - 2 / 3 * shear) * torch.outer(one, one) + 2 * shear * torch.eye(6, dtype=torch.float64)


def triclinic(seed: int) -> Tensor:
    root = torch.randn(6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T + torch.eye(6, dtype=torch.float64)


def assembled(image: Tensor, materials: list[Tensor], cell: Tensor) -> Tensor:
    """The same discrete problem with a dense matrix, one voxel after the other, and its pseudoinverse."""
    shape = image.shape
    element = VoxelElement(cell / torch.tensor(shape)[:, None])
    size = 3 * image.numel()
    matrix, loads = np.zeros((size, size)), np.zeros((size, 6))
    energy = np.zeros((6, 6))
    for voxel in itertools.product(*map(range, shape)):
        material = materials[int(image[voxel])]
        stiffness, load = element.stiffness(material).numpy(), element.loads(material).numpy()
        nodes = [np.ravel_multi_index([(v + c) % n for v, c, n in zip(voxel, corner, shape, strict=True)], shape)
                 for corner in CORNERS]  # fmt: skip
        places = np.array([3 * node + axis for node in nodes for axis in range(3)])
        np.add.at(loads, places, load)
        np.add.at(matrix, np.ix_(places, places), stiffness)
        energy += element.volume * material.numpy()
    displacement = np.linalg.pinv(matrix, rcond=1e-11, hermitian=True) @ -loads
    return torch.from_numpy((energy + loads.T @ displacement) / float(torch.linalg.det(cell).abs()))


@pytest.mark.parametrize("void", [False, True])
def test_equals_the_assembled_matrix(void: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(3, (3, 4, 5), generator=generator)
    materials = [VOID if void else triclinic(1), triclinic(2), 20 * triclinic(3)]
    if void:
        image[0], image[:, 0], image[:, :, 0] = 1, 1, 2  # walls, so that the solid hangs together
    found = homogenize(image, materials, cell=SKEW, dtype=torch.float64, tolerance=1e-11)
    expected = assembled(image, materials, SKEW)
    torch.testing.assert_close(found.stiffness, expected, rtol=1e-7, atol=1e-7 * float(expected.max()))
    assert float(found.fractions.sum()) == pytest.approx(1.0)
    assert max(found.residual) <= 2e-11


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_laminates_are_exact(axis: int) -> None:
    """Strain in the plane and traction across it are the same in all layers (Backus average), for any anisotropy."""
    layers = [triclinic(4), 5 * triclinic(5), triclinic(6)]
    numbers = torch.tensor([0, 0, 1, 2, 2, 2])
    image = numbers.view([-1 if k == axis else 1 for k in range(3)]).expand([6 if k == axis else 3 for k in range(3)])
    across = [k for k, pair in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]) if axis in pair]
    within = [k for k in range(6) if k not in across]
    weights = torch.bincount(numbers).double() / 6
    inverse, coupled, rest = 0, 0, 0
    for weight, layer in zip(weights, layers, strict=True):
        nn, nt = layer[across][:, across], layer[across][:, within]
        inverse = inverse + weight * torch.linalg.inv(nn)
        coupled = coupled + weight * torch.linalg.solve(nn, nt)
        rest = rest + weight * (layer[within][:, within] - nt.T @ torch.linalg.solve(nn, nt))
    expected = torch.zeros(6, 6, dtype=torch.float64)
    nn = torch.linalg.inv(inverse)
    expected[np.ix_(across, across)] = nn
    expected[np.ix_(across, within)] = nn @ coupled
    expected[np.ix_(within, across)] = (nn @ coupled).T
    expected[np.ix_(within, within)] = rest + coupled.T @ nn @ coupled
    found = homogenize(image, layers, dtype=torch.float64, tolerance=1e-11)
    torch.testing.assert_close(found.stiffness, expected, rtol=1e-8, atol=1e-8)


def test_a_homogeneous_image_is_its_material() -> None:
    material = triclinic(7)
    found = homogenize(torch.ones(4, 5, 6, dtype=torch.bool), [VOID, material], cell=SKEW)
    torch.testing.assert_close(found.stiffness, material, rtol=1e-12, atol=1e-12)
    assert found.iterations == (0,) * 6


def test_turned_cells_have_turned_tensors_and_larger_cells_the_same() -> None:
    image = torch.randint(2, (4, 4, 3), generator=torch.Generator().manual_seed(1))
    materials = [isotropic(1.0, 0.5), isotropic(20.0, 12.0)]
    options = {"dtype": torch.float64, "tolerance": 1e-11}
    plain = homogenize(image, materials, cell=SKEW, **options).stiffness
    turn = random_rotations(1, generator=torch.Generator().manual_seed(2))[0]
    moved = homogenize(image, materials, cell=SKEW @ turn.T, **options).stiffness
    torch.testing.assert_close(moved, rotate_mandel(plain, turn), rtol=1e-9, atol=1e-9)
    double = torch.diag(torch.tensor([2.0, 1, 1], dtype=torch.float64))
    tiled = homogenize(image.repeat(2, 1, 1), materials, cell=double @ SKEW, **options).stiffness
    torch.testing.assert_close(tiled, plain, rtol=1e-9, atol=1e-9)


def ball(fraction: float, n: int) -> Tensor:
    radius = (3 * fraction / (4 * math.pi)) ** (1 / 3)
    return voxelize(lambda x: (x - 0.5).norm(dim=-1) - radius, torch.eye(3), (n, n, n))


def coated_spheres(matrix: tuple[float, float], ball: tuple[float, float], fraction: float) -> float:
    """Hashin's bulk modulus, a bound for isotropic and cubic mixtures, and that of cubic arrays to third order."""
    (k0, g0), (k1, _) = matrix, ball
    return k0 + fraction / (1 / (k1 - k0) + 3 * (1 - fraction) / (3 * k0 + 4 * g0))


@pytest.mark.parametrize("inside", [(0.0, 0.0), (10.0, 6.0)], ids=["void", "stiff"])
def test_arrays_of_balls_have_the_bulk_modulus_of_coated_spheres(inside: tuple[float, float]) -> None:
    outside = (1.0, 0.6)
    image = ball(0.12, 32)
    fraction = float(image.double().mean())
    found = homogenize(image, [isotropic(*outside), isotropic(*inside) if inside[0] else VOID])
    bulk = float(found.stiffness[:3, :3].sum()) / 9
    bound = coated_spheres(outside, inside, fraction)
    assert bulk == pytest.approx(bound, rel=0.01)
    if inside[0]:  # a mixture whose matrix is the softer phase lies above, and elements only add to that
        assert bulk > bound
    cubic = found.stiffness
    assert float((cubic[:3, :3].diag() - cubic[0, 0]).abs().max()) < 1e-4 * float(cubic[0, 0])
    assert float(cubic[3:, :3].abs().max()) < 1e-4 * float(cubic[0, 0])


def test_refinement_converges_from_above() -> None:
    """A cube of void is the same at every resolution, so only the elements' error is left, which is one of energy."""
    values = []
    for n in (4, 8, 16):
        image = torch.ones(n, n, n, dtype=torch.bool)
        image[: n // 2, : n // 2, : n // 2] = False
        values.append(float(homogenize(image, [VOID, isotropic(1.0, 0.6)]).stiffness[0, 0]))
    gaps = values[0] - values[1], values[1] - values[2]
    assert gaps[0] > gaps[1] > 0
    assert gaps[1] < 0.6 * gaps[0]


def test_iterations_do_not_grow_with_resolution() -> None:
    counts = []
    for n in (12, 16, 32):
        found = homogenize(ball(0.2, n), [isotropic(1.0, 0.6), VOID])
        counts.append(max(found.iterations))
    assert counts[2] <= 1.2 * counts[1] <= 1.44 * counts[0]
    assert counts[2] < 40


def test_single_precision_gives_the_double_result() -> None:
    image, materials = ball(0.2, 12), [isotropic(1.0, 0.6), VOID]
    single, double = (homogenize(image, materials, dtype=dtype) for dtype in (torch.float32, torch.float64))
    assert max(single.residual) <= 1e-6
    torch.testing.assert_close(single.stiffness, double.stiffness, rtol=0, atol=1e-10)


def test_strains_average_to_the_load_and_vanish_in_void() -> None:
    image = ball(0.2, 8)
    found = homogenize(image, [isotropic(1.0, 0.6), isotropic(9.0, 3.0)], strains=True, dtype=torch.float64)
    assert found.strains is not None
    torch.testing.assert_close(found.strains.mean((2, 3, 4)), torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-9)
    porous = homogenize(image, [isotropic(1.0, 0.6), VOID], strains=True)
    assert porous.strains is not None
    assert not bool(porous.strains[..., image].any())


def test_progress_ends_at_all_load_cases() -> None:
    seen: list[tuple[int, int]] = []
    homogenize(ball(0.2, 6), [isotropic(1.0, 0.6), VOID], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (600, 600)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize(
    ("image", "materials", "options", "words"),
    [
        (torch.zeros(4, 4), [VOID], {}, "three axes of integers"),
        (torch.zeros(2, 2, 2), [VOID], {}, "threshold it first"),
        (torch.full((2, 2, 2), 3), [VOID, isotropic(1, 1)], {}, "phases 3 to 3, but 2 materials"),
        (torch.zeros(2, 2, 2, dtype=torch.int64), [VOID, isotropic(1, 1)], {}, "holds nothing solid"),
        (torch.ones(2, 2, 2, dtype=torch.int64), [VOID, -isotropic(1, 1)], {}, "not symmetric positive definite"),
        (torch.ones(2, 2, 2, dtype=torch.int64), [VOID, VOID * math.nan], {}, "phase 1 is not a finite 6 x 6"),
        (torch.ones(2, 2, 2, dtype=torch.int64), [VOID, isotropic(1, 1)], {"cell": torch.ones(3, 3)}, "lie in a plane"),
    ],
)
def test_bad_input_is_refused(image: Tensor, materials: list[Tensor], options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        homogenize(image, materials, **options)


def test_what_does_not_converge_is_said() -> None:
    with pytest.raises(ConvergenceError, match="allow more iterations"):
        homogenize(ball(0.2, 8), [isotropic(1.0, 0.6), VOID], max_iterations=2)
