"""Stability against Born's criteria, and the log-Euclidean distance."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials import elasticity
from polyad.tensors.notation import rotate_mandel, strain_to_mandel, voigt_stiffness_to_mandel
from polyad.tensors.rotations import random_rotations
from polyad.testing import assert_gradient_matches


def cubic_matrix(c11: float, c12: float, c44: float) -> torch.Tensor:
    matrix = torch.diag(torch.tensor([c11 - c12] * 3 + [c44] * 3, dtype=torch.float64))
    matrix[:3, :3] += c12
    return voigt_stiffness_to_mandel(matrix)


@pytest.mark.parametrize(
    ("constants", "smallest", "mode"),
    [
        ((3.0, 1.0, 1.5), 2.0, None),
        ((1.0, 2.0, 1.0), -1.0, "tetragonal shear"),  # C11 - C12 < 0
        ((1.0, -1.0, 1.0), -1.0, "volume"),  # C11 + 2 C12 < 0
        ((3.0, 1.0, -0.5), -1.0, "shear"),  # C44 < 0
    ],
)
def test_born_criteria_of_cubic_crystals(constants, smallest, mode):
    found = elasticity.stability(cubic_matrix(*constants))
    assert bool(found.stable) == (mode is None)
    assert float(found.smallest_eigenvalue) == pytest.approx(smallest)
    strain = found.mode
    assert float(strain.norm()) == pytest.approx(1)
    off_diagonal = float((strain - torch.diag(strain.diagonal())).abs().max())
    if mode == "volume":
        torch.testing.assert_close(strain.abs(), torch.eye(3, dtype=torch.float64) / 3**0.5)
    elif mode == "tetragonal shear":
        assert abs(float(strain.trace())) < 1e-12
        assert off_diagonal < 1e-12
    elif mode == "shear":
        assert float(strain.diagonal().abs().max()) < 1e-12


def test_energy_of_the_mode_is_the_eigenvalue(random_stiffness):
    stiffness = random_stiffness(4) - 3 * torch.eye(6, dtype=torch.float64)
    found = elasticity.stability(stiffness)
    mode = strain_to_mandel(found.mode)
    torch.testing.assert_close(torch.einsum("na,nab,nb->n", mode, stiffness, mode), found.smallest_eigenvalue)
    torch.testing.assert_close(found.smallest_eigenvalue, torch.linalg.eigvalsh(stiffness)[:, 0])
    assert found.stable.tolist() == (torch.linalg.eigvalsh(stiffness)[:, 0] > 0).tolist()


def test_tolerance_separates_mechanisms_from_rounding():
    stiffness = torch.diag(torch.tensor([1.0, 1, 1, 1, 1, 1e-12], dtype=torch.float64))
    assert bool(elasticity.stability(stiffness).stable)
    assert not bool(elasticity.stability(stiffness, tolerance=1e-9).stable)
    with pytest.raises(InputError, match="NaN"):
        elasticity.stability(stiffness * float("nan"))


def test_distance_is_a_metric_that_rotation_inversion_and_scale_keep(random_stiffness):
    first, second, third = random_stiffness(3, 5).unbind(0)
    distance = elasticity.log_euclidean_distance
    torch.testing.assert_close(distance(first, second), distance(second, first))
    assert bool((distance(first, third) <= distance(first, second) + distance(second, third)).all())
    inverses = torch.linalg.inv(first), torch.linalg.inv(second)
    inverses = tuple((inverse + inverse.mT) / 2 for inverse in inverses)
    torch.testing.assert_close(distance(*inverses), distance(first, second), rtol=1e-8, atol=0)
    torch.testing.assert_close(distance(1e6 * first, 1e6 * second), distance(first, second), rtol=1e-9, atol=0)
    turn = random_rotations(5, generator=torch.Generator().manual_seed(0))
    turned = distance(rotate_mandel(first, turn), rotate_mandel(second, turn))
    torch.testing.assert_close(turned, distance(first, second), rtol=1e-8, atol=0)
    # a factor of e in all moduli is a distance of sqrt 6
    expected = torch.full((5,), 6**0.5, dtype=torch.float64)
    torch.testing.assert_close(distance(first, torch.e * first), expected, rtol=1e-9, atol=0)
    assert distance(first, second[0]).shape == (5,)
    assert float(distance(first, first).max()) == 0.0


def test_gradients(random_stiffness):
    other = random_stiffness(seed=1)

    def both(root: torch.Tensor) -> torch.Tensor:
        stiffness = root @ root.mT
        smallest = elasticity.stability(stiffness).smallest_eigenvalue
        return torch.stack([smallest, elasticity.log_euclidean_distance(stiffness, other)])

    assert_gradient_matches(both, torch.linalg.cholesky(random_stiffness()), tolerance=1e-6)
    with pytest.raises(InputError, match=r"^second: not positive definite"):
        elasticity.log_euclidean_distance(other, -other)
