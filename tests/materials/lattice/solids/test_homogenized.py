"""Lattices as solids beside beams: straight bars exactly, thin struts in the limit, the same body in two cells."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError, NumericalWarning
from polyad.materials.elasticity import isotropic
from polyad.materials.lattice import StrutLattice, effective_stiffness, named_cell
from polyad.materials.lattice.solids.homogenized import lattice_voxels, solid_stiffness, voxels_across
from polyad.pde.homogenization import homogenize


def bars(radius: float) -> StrutLattice:
    """Straight struts along the three axes that meet in one node."""
    cell = torch.eye(3, dtype=torch.float64)
    edges, shifts = torch.zeros(2, 3, dtype=torch.int64), torch.eye(3, dtype=torch.int64)
    return StrutLattice(cell, torch.full((1, 3), 0.5), edges, shifts, torch.full((3,), radius))


def test_density_is_that_of_the_union() -> None:
    """Three orthogonal cylinders share a volume: two by two a Steinmetz solid, all three once more."""
    radius = 0.2
    pair, triple = 16 / 3 * radius**3, 8 * (2 - math.sqrt(2)) * radius**3
    union = 3 * math.pi * radius**2 - 3 * pair + triple
    image = lattice_voxels(bars(radius), 64)
    assert image.shape == (64, 64, 64)
    assert float(image.double().mean()) == pytest.approx(union, rel=0.02)  # a circle of 12.8 voxels counts 1.5 % more


def test_stretched_bars_carry_what_their_section_says() -> None:
    """Along an axis, the crossing struts stiffen a short piece only: a bar in tension, plus a few percent."""
    radius = 0.12
    found = solid_stiffness(bars(radius), resolution=40)
    section = math.pi * radius**2
    assert section < float(found.stiffness[0, 0]) < 1.25 * section
    assert found.shape == (40, 40, 40)
    assert found.across == pytest.approx(9.6)


@pytest.mark.slow
def test_beams_and_solids_agree_in_the_limit_of_thin_struts() -> None:
    """Octet: voxels of the same size relative to the struts, ever thinner struts."""
    gaps = []
    for density, resolution in ((0.2, 40), (0.1, 56), (0.05, 80)):
        lattice = named_cell("octet", density=density)
        beam, solid = effective_stiffness(lattice), solid_stiffness(lattice, resolution=resolution)
        gaps.append(float((solid.stiffness / solid.density - beam / density).norm() / (beam / density).norm()))
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.25


def test_the_cell_is_a_choice() -> None:
    """The same body-centred struts in the primitive and in the doubled cell."""
    small = named_cell("bcc", density=0.3)
    large = small.tile((2, 1, 1))
    one, two = solid_stiffness(small, resolution=16), solid_stiffness(large, resolution=32)
    assert two.shape == (32, 16, 16)
    torch.testing.assert_close(one.stiffness, two.stiffness, rtol=1e-6, atol=1e-8)


def test_blended_voxels_take_the_share_that_is_solid() -> None:
    """Shares by brute force: points of every voxel that are nearer to an axis of the bars than the radius."""
    count, parts, radius = 8, 3, 0.3
    line = (torch.arange(count * parts, dtype=torch.float64) + 0.5) / (count * parts) - 0.5
    squares = torch.stack(torch.meshgrid(line, line, line, indexing="ij")).square()
    inside = (squares.sum(0) - squares).amin(0) <= radius**2
    blocks = inside.double().view(count, parts, count, parts, count, parts).mean(dim=(1, 3, 5))
    phase = (4 * blocks).round().long()
    body = isotropic(1.0, 0.3)
    wanted = homogenize(phase, [k / 4 * body for k in range(5)], cell=torch.eye(3, dtype=torch.float64))
    found = solid_stiffness(bars(radius), resolution=count, blend=parts)
    assert phase.unique().tolist() == [0, 1, 2, 4]
    assert found.density == pytest.approx(float(inside.double().mean()))
    torch.testing.assert_close(found.stiffness, wanted.stiffness, rtol=1e-5, atol=1e-7)
    assert found.across == pytest.approx(voxels_across(bars(radius), count)) == pytest.approx(4.8)
    with pytest.raises(InputError, match="blend"):
        solid_stiffness(bars(radius), resolution=count, blend=0)


def test_thin_struts_and_bad_input_are_told() -> None:
    with pytest.warns(NumericalWarning, match=r"1\.6 voxels across; take a resolution of 38"):
        solid_stiffness(bars(0.08), resolution=10, tolerance=1e-2)
    with pytest.raises(InputError, match="at least 4 voxels"):
        solid_stiffness(bars(0.05), resolution=2)
