"""Voxel images: volumes of shapes, periodic images of struts, skewed cells, bad input."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.pde.homogenization.voxels import voxel_centers, voxelize, voxelize_struts

CUBE = torch.eye(3, dtype=torch.float64)
SKEW = torch.tensor([[1.0, 0.0, 0.0], [0.3, 1.1, 0.0], [-0.2, 0.1, 0.9]], dtype=torch.float64)


def test_balls_and_their_volume() -> None:
    image = voxelize(lambda x: (x - 0.5).norm(dim=-1) - 0.4, CUBE, (40, 40, 40))
    assert float(image.double().mean()) == pytest.approx(4 / 3 * math.pi * 0.4**3, rel=0.01)
    assert voxel_centers(CUBE, (2, 2, 4))[1, 0, 3].tolist() == [0.75, 0.25, 0.875]


@pytest.mark.parametrize("cell", [CUBE, SKEW], ids=["cube", "skew"])
def test_struts_are_the_points_near_a_segment_or_its_images(cell: torch.Tensor) -> None:
    starts = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.9, 0.8]], dtype=torch.float64)
    ends = torch.tensor([[1.2, 0.4, -0.5], [0.9, 0.9, 0.8]], dtype=torch.float64)  # the second is a ball
    radii = torch.tensor([0.12, 0.2], dtype=torch.float64)
    image = voxelize_struts(cell, starts, ends, radii, (12, 10, 14))
    steps = torch.cartesian_prod(*[torch.arange(-2.0, 3.0, dtype=torch.float64)] * 3) @ cell
    points = voxel_centers(cell, (12, 10, 14)).reshape(-1, 1, 3) + steps
    expected = torch.zeros(len(points), dtype=torch.bool)
    for start, end, radius in zip(starts, ends, radii, strict=True):
        along = end - start
        share = (((points - start) @ along) / (along @ along).clamp_min(1e-30)).clamp(0, 1)
        expected |= ((points - start - share[..., None] * along).norm(dim=-1) <= radius).any(1)
    assert torch.equal(image.flatten(), expected)


def test_a_long_strut_has_its_volume() -> None:
    start, end = torch.tensor([[0.0, 0.5, 0.5]]), torch.tensor([[1.0, 0.5, 0.5]])
    image = voxelize_struts(CUBE, start, end, torch.tensor([0.2]), (3, 80, 80))
    assert float(image.double().mean()) == pytest.approx(math.pi * 0.04, rel=0.01)


def test_bad_input_is_refused() -> None:
    one = torch.zeros(1, 3)
    with pytest.raises(InputError, match="radii: must be positive"):
        voxelize_struts(CUBE, one, one + 1, torch.zeros(1), (4, 4, 4))
    with pytest.raises(InputError, match="shape: three positive"):
        voxelize_struts(CUBE, one, one + 1, torch.ones(1), (4, 0, 4))
    with pytest.raises(InputError, match="lie in a plane"):
        voxelize_struts(torch.ones(3, 3), one, one + 1, torch.ones(1), (4, 4, 4))
    with pytest.raises(InputError, match="level: gave shape"):
        voxelize(lambda x: x, CUBE, (4, 4, 4))
