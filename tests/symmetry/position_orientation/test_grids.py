"""Grids: known energies of repelling points, and the groups that permute them."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.symmetry.position_orientation import (
    circle_grid,
    icosahedral_rotations,
    icosahedron,
    repulsion_grid,
    rotation_grid,
)
from polyad.symmetry.position_orientation.spaces import SPACES, dual_axes, space_of

EYE = torch.eye(3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("points", "energy"),  # of Thomson's problem, as published in tables of its minima
    [(2, 0.5), (4, 3.674234614), (6, 9.985281374), (12, 49.165253058), (20, 150.881568334), (32, 412.261274651)],
)
def test_energy_is_the_known_minimum(points: int, energy: float) -> None:
    grid = repulsion_grid(points)
    assert grid.shape == (points, 3)
    assert torch.allclose(grid.norm(dim=1), torch.ones(points, dtype=torch.float64), atol=1e-14)
    assert float((1 / torch.pdist(grid)).sum()) == pytest.approx(energy, abs=2e-9)


def test_twelve_points_are_the_icosahedron() -> None:
    distances = [torch.pdist(x).sort().values for x in (repulsion_grid(12), icosahedron())]
    assert torch.allclose(*distances, atol=1e-7)
    assert not torch.equal(repulsion_grid(12), repulsion_grid(12, seed=1))
    assert torch.equal(repulsion_grid(12, seed=1), repulsion_grid(12, seed=1))


def test_sixty_rotations_permute_the_icosahedron() -> None:
    rotations, vertices = icosahedral_rotations(), icosahedron()
    assert float((rotations @ rotations.mT - EYE).abs().max()) < 1e-14
    assert float((torch.linalg.det(rotations) - 1).abs().max()) < 1e-14
    traces, counts = torch.einsum("nii->n", rotations).round(decimals=6).unique(return_counts=True)
    # halves 15, fifths 12 + 12, thirds 20, identity 1: traces -1, conjugate of the golden ratio and itself, 0, 3
    assert traces.tolist() == pytest.approx([-1, -0.618034, 0, 1.618034, 3])
    assert counts.tolist() == [15, 12, 20, 12, 1]
    for images in (vertices @ rotations.mT, -vertices @ rotations.mT):
        nearest = torch.cdist(images, vertices.expand(60, 12, 3)).min(-1)
        assert float(nearest.values.max()) < 1e-7  # cdist goes through squares
        assert all(len(set(row.tolist())) == 12 for row in nearest.indices)


def test_rotations_turn_about_their_directions() -> None:
    directions = repulsion_grid(7)
    grid = rotation_grid(directions, 8).unflatten(0, (7, 8))
    assert float((grid @ grid.mT - EYE).abs().max()) < 1e-14
    assert float((torch.linalg.det(grid) - 1).abs().max()) < 1e-14
    assert torch.allclose(grid[..., 2], directions[:, None].expand(-1, 8, -1), atol=1e-14)
    step = torch.einsum("kai,kai->ka", grid[:, :, :, 0], grid[:, [*range(1, 8), 0], :, 0])
    assert torch.allclose(step, torch.full_like(step, math.cos(math.pi / 4)), atol=1e-14)


def test_circle() -> None:
    grid = circle_grid(5)
    angles = torch.atan2(grid[:, 1], grid[:, 0]) % (2 * torch.pi)
    assert torch.allclose(angles, torch.arange(5, dtype=torch.float64) * (0.4 * torch.pi), atol=1e-14)


@pytest.mark.parametrize("name", ["r3s2", "r2s1", "se3"])
def test_turned_grids_are_rotations_of_themselves(name: str) -> None:
    space = space_of(name)
    grid = space.grid(16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        turned, other = space.turned(grid), space.turned(grid)
    assert not torch.allclose(turned, other)
    fibres = space.fibre(grid), space.fibre(turned)
    assert torch.allclose(*fibres, atol=1e-13)
    axes = space.axes(turned)
    assert torch.allclose(axes.norm(dim=1), torch.ones(16, dtype=torch.float64), atol=1e-13)


def test_lifted_vectors_come_back() -> None:
    for grid, number in ((repulsion_grid(20), 3), (repulsion_grid(50), 3), (circle_grid(3), 2)):
        vectors = torch.randn(4, number, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        back = ((vectors @ grid.T)[..., None] * dual_axes(grid)).mean(1)
        assert torch.allclose(back * number, vectors, atol=1e-13)
    assert torch.allclose(dual_axes(icosahedron()), icosahedron(), atol=1e-14)
    assert float((dual_axes(repulsion_grid(20)) - repulsion_grid(20)).abs().max()) > 1e-4


def test_bad_input_is_refused() -> None:
    for call in (
        lambda: repulsion_grid(0),
        lambda: circle_grid(0),
        lambda: rotation_grid(EYE, 0),
        lambda: space_of("r4"),
        lambda: SPACES["se3"].grid(12),
        lambda: SPACES["rn"].grid(4),
    ):
        with pytest.raises(InputError):
            call()
