"""Grids for features with channels last against harmonics at their points, and against exact integrals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.feature_grid import FeatureGrid
from polyad.symmetry.so2 import EdgeFrames, frame_components
from polyad.symmetry.sphere_grid import SphereGrid
from polyad.symmetry.spherical_harmonics import spherical_harmonics


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_whole_features_have_the_values_of_their_functions() -> None:
    grid, features = FeatureGrid(3, 9), normal(5, 16, 2)
    values = grid.to_grid(features)
    expected = torch.einsum("gk,rkc->rgc", spherical_harmonics(grid.directions(features), 3), features)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(values.mT, SphereGrid(9).to_grid(features.mT), rtol=0, atol=1e-13)
    torch.testing.assert_close(grid.from_grid(values), features, rtol=0, atol=1e-13)
    torch.testing.assert_close(grid.from_grid(values**2).mT, SphereGrid(9).from_grid(values.mT**2, 3))


@pytest.mark.parametrize("mmax", [0, 1, 3])
def test_features_in_a_frame_have_the_values_of_the_turned_functions(mmax: int) -> None:
    """Along +z the frame is the common one, so components are those of whole features, in another order."""
    features = normal(2, 4, 16)
    frames = EdgeFrames.from_directions(torch.tensor([[0.0, 0, 2]], dtype=torch.float64).expand(2, 3), 3, mmax=mmax)
    cut = features.clone()
    for degree in range(4):
        for order in range(-degree, degree + 1):
            if abs(order) > mmax:
                cut[..., degree * degree + degree + order] = 0
    grid = FeatureGrid(3, 8, mmax)
    values = grid.to_grid(frames.to_frame(features))
    torch.testing.assert_close(values, FeatureGrid(3, 8).to_grid(cut.mT), rtol=0, atol=1e-13)
    torch.testing.assert_close(grid.from_grid(values), frames.to_frame(features), rtol=0, atol=1e-13)
    assert grid.components == len(frame_components(3, mmax))


def test_means_are_integrals() -> None:
    grid, features = FeatureGrid(2, 6), normal(3, 9, 2)
    values = grid.to_grid(features)
    torch.testing.assert_close(grid.mean(values), features[:, 0] / math.sqrt(4 * math.pi))
    first = grid.mean(values[..., :1] * grid.directions(values))
    # mean of Y_1m times the direction is sqrt(3 / 4 pi) / 3 along its own axis; orders run y, z, x
    torch.testing.assert_close(first, features[:, [3, 1, 2], 0] * math.sqrt(3 / (4 * math.pi)) / 3)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="need at least 6"):
        FeatureGrid(3, 5)
    with pytest.raises(InputError, match="is for 16"):
        FeatureGrid(3, 6).to_grid(normal(1, 9, 1))
    with pytest.raises(InputError, match="this grid has 28"):
        FeatureGrid(3, 6).from_grid(normal(1, 9, 1))
