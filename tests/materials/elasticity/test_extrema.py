"""Global extrema against closed forms for cubic tensors and against brute force."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from polyad.errors import InputError
from polyad.materials import elasticity
from polyad.tensors.notation import rotate_mandel
from polyad.tensors.rotations import random_rotations
from polyad.testing import assert_gradient_matches

QUANTITIES = get_args(elasticity.Quantity)
PAIRED = ("shear_modulus", "poisson_ratio")


def evaluate(quantity: str, stiffness: torch.Tensor, normal: torch.Tensor, side: torch.Tensor) -> torch.Tensor:
    function = getattr(elasticity, quantity)
    return function(stiffness, normal, side) if quantity in PAIRED else function(stiffness, normal)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_no_random_direction_goes_beyond_and_some_come_near(random_stiffness, quantity):
    stiffness = torch.cat([random_stiffness(6), random_stiffness(6, seed=1, samples=30)])
    found = elasticity.extrema(stiffness, quantity)
    frames = random_rotations(40000, generator=torch.Generator().manual_seed(0))
    values = evaluate(quantity, stiffness, frames[..., 0], frames[..., 1])
    assert bool((values.amin(1) >= found.minimum - 1e-12 * found.minimum.abs()).all())
    assert bool((values.amax(1) <= found.maximum + 1e-12 * found.maximum.abs()).all())
    # random frames come within a few percent of the range where the peaks are not too sharp
    gap = (found.maximum - found.minimum)[6:]
    assert float(((values.amin(1) - found.minimum)[6:] / gap).max()) < 0.05
    assert float(((found.maximum - values.amax(1))[6:] / gap).max()) < 0.05


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_values_are_reached_at_the_directions(random_stiffness, quantity):
    stiffness = random_stiffness(2, 3)
    found = elasticity.extrema(stiffness, quantity)
    assert found.minimum.shape == (2, 3)
    assert found.maximum_direction.shape == (2, 3, 3)
    assert (found.minimum_transverse is not None) == (quantity in PAIRED)
    for value, normal, side in (
        (found.minimum, found.minimum_direction, found.minimum_transverse),
        (found.maximum, found.maximum_direction, found.maximum_transverse),
    ):
        there = evaluate(quantity, stiffness, normal[..., None, :], side[..., None, :] if side is not None else normal)
        torch.testing.assert_close(there.squeeze(-1), value)
        # stationary: a turn by 1e-4 about any axis changes it by the order of 1e-8
        for axis in range(3):
            turn = torch.eye(3, dtype=torch.float64)[axis] * 1e-4
            moved = normal + torch.linalg.cross(turn.expand_as(normal), normal)
            other = side + torch.linalg.cross(turn.expand_as(side), side) if side is not None else normal
            other = other - (other * moved).sum(-1, keepdim=True) * moved / moved.square().sum(-1, keepdim=True)
            near = evaluate(quantity, stiffness, moved[..., None, :], other[..., None, :]).squeeze(-1)
            assert float(((near - value).abs() / (found.maximum - found.minimum)).max()) < 1e-5


@pytest.mark.parametrize("constants", [(168.4, 121.4, 75.4), (10.0, 1.0, 2.0)], ids=["zener above 1", "zener below 1"])
def test_cubic_closed_forms(constants):
    c11, c12, c44 = constants
    turn = random_rotations(1, generator=torch.Generator().manual_seed(8))[0]
    stiffness = rotate_mandel(elasticity.cubic(*constants), turn)
    s11 = (c11 + c12) / ((c11 - c12) * (c11 + 2 * c12))
    s12 = -c12 / ((c11 - c12) * (c11 + 2 * c12))
    excess = s11 - s12 - 1 / (2 * c44)
    young = sorted([1 / s11, 1 / (s11 - 2 * excess / 3)])
    found = elasticity.extrema(stiffness, "young_modulus")
    assert [float(found.minimum), float(found.maximum)] == pytest.approx(young, rel=1e-13)
    cube_axis = found.minimum_direction if 1 / s11 == young[0] else found.maximum_direction
    assert float((turn.T @ cube_axis).abs().max()) == pytest.approx(1, abs=1e-12)
    found = elasticity.extrema(stiffness, "shear_modulus")
    assert [float(found.minimum), float(found.maximum)] == pytest.approx(sorted([c44, (c11 - c12) / 2]), rel=1e-13)
    found = elasticity.extrema(stiffness, "longitudinal_stiffness")
    diagonal = (c11 + 2 * c12 + 4 * c44) / 3
    assert [float(found.minimum), float(found.maximum)] == pytest.approx(sorted([c11, diagonal]), rel=1e-13)
    found = elasticity.extrema(stiffness, "linear_compressibility")
    assert [float(found.minimum), float(found.maximum)] == pytest.approx([1 / (c11 + 2 * c12)] * 2, rel=1e-13)


def test_extreme_poisson_ratios_of_copper_lie_on_110():
    # load along 110: transverse 1-10 gives the least, 001 the greatest ratio of moderately anisotropic cubic crystals
    c11, c12, c44 = 168.4, 121.4, 75.4
    s11 = (c11 + c12) / ((c11 - c12) * (c11 + 2 * c12))
    s12 = -c12 / ((c11 - c12) * (c11 + 2 * c12))
    load = (2 * s11 + 2 * s12 + 1 / c44) / 4
    least, greatest = -(2 * s11 + 2 * s12 - 1 / c44) / 4 / load, -s12 / load
    found = elasticity.extrema(elasticity.cubic(c11, c12, c44), "poisson_ratio")
    assert float(found.minimum) == pytest.approx(least, rel=1e-12)
    assert float(found.maximum) == pytest.approx(greatest, rel=1e-12)
    assert least < 0 < 0.5 < greatest


def test_isotropic_extrema_coincide():
    stiffness = elasticity.isotropic(1.0, 0.25)
    for quantity, value in (("young_modulus", 1.0), ("shear_modulus", 0.4), ("poisson_ratio", 0.25)):
        found = elasticity.extrema(stiffness, quantity)
        assert [float(found.minimum), float(found.maximum)] == pytest.approx([value, value], rel=1e-13)


def test_result_does_not_depend_on_the_frame(random_stiffness):
    stiffness = random_stiffness(10)
    turned = rotate_mandel(stiffness, random_rotations(10, generator=torch.Generator().manual_seed(3)))
    for quantity in QUANTITIES:
        first, second = elasticity.extrema(stiffness, quantity), elasticity.extrema(turned, quantity)
        torch.testing.assert_close(first.minimum, second.minimum, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(first.maximum, second.maximum, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_gradients(stiffness_along, quantity):
    def both(parameters: torch.Tensor) -> torch.Tensor:
        found = elasticity.extrema(stiffness_along(parameters), quantity)
        return torch.stack([found.minimum, found.maximum])

    assert_gradient_matches(both, torch.full((5,), 0.1, dtype=torch.float64), tolerance=1e-6, step=1e-3)


def test_bad_input_and_single_precision(random_stiffness):
    singular = torch.zeros(6, 6, dtype=torch.float64)
    singular[0, 0] = 1.0
    with pytest.raises(InputError, match="not positive definite"):
        elasticity.extrema(singular, "young_modulus")
    found = elasticity.extrema(singular, "longitudinal_stiffness")
    assert float(found.minimum) == pytest.approx(0, abs=1e-15)
    assert float(found.maximum) == pytest.approx(1)
    with pytest.raises(InputError, match="starts: 0"):
        elasticity.extrema(random_stiffness(), "young_modulus", starts=0)
    stiffness = random_stiffness(2)
    for quantity in QUANTITIES:
        single, double = (elasticity.extrema(tensor, quantity) for tensor in (stiffness.float(), stiffness))
        assert single.maximum.dtype == torch.float32
        torch.testing.assert_close(single.maximum.double(), double.maximum, rtol=1e-3, atol=0)
        assert elasticity.extrema(stiffness[:0], quantity).minimum.shape == (0,)
