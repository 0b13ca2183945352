"""Frames in space: their elements, what crystals and slabs need, draws from a generator, gradients at equal moments."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.graphs.neighbors import edge_vectors, neighbor_list
from polyad.symmetry.frames import DegenerateFrameWarning, edge_covariance, frames_3d, principal_frames, random_axes
from polyad.tensors.rotations import random_rotations

DOUBLE = {"dtype": torch.float64}
CELL = torch.tensor([[4.0, 0.3, 0], [0.2, 4.1, 0.5], [-0.4, 0.1, 3.9]], **DOUBLE)


def clouds(count: int = 20, points: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count * points, 3, generator=generator, **DOUBLE), torch.arange(count).repeat_interleave(points)


@pytest.mark.parametrize(("group", "plane", "size"), [("E", 0, 8), ("SE", 0, 4), ("E", 1, 4), ("SE", 1, 2)])
def test_elements_are_the_axes_of_the_covariance_with_signs(group: str, plane: int, size: int) -> None:
    positions, structure = clouds()
    frames = frames_3d(positions, structure, group=group, plane=bool(plane))
    assert frames.rotation.shape == (size, 20, 3, 3)
    assert torch.allclose(frames.rotation.mT @ frames.rotation, torch.eye(3, **DOUBLE).expand(size, 20, 3, 3))
    hands = torch.linalg.det(frames.rotation)
    assert torch.allclose(hands.abs(), torch.ones_like(hands))
    assert bool((hands > 0).all()) if group == "SE" else torch.allclose(hands.sum(0), torch.zeros(20, **DOUBLE))
    keys = {tuple(round(x, 9) for x in rotation[:, 0].tolist() + rotation[:, 1].tolist() + rotation[:, 2].tolist())
            for rotation in frames.rotation[:, 3]}  # fmt: skip
    assert len(keys) == size
    for number in range(20):
        own = positions[structure == number]
        own = own - own.mean(0) * torch.tensor([1, 1, 1 - plane])
        seen = frames.to_frame(positions, "position")[:, structure == number]
        for element in range(size):
            assert torch.allclose(seen[element], own @ frames.rotation[element, number], atol=1e-13)
            axes = 2 if plane else 3
            moments = (seen[element].T @ seen[element])[:axes, :axes]
            assert float((moments - moments.diag().diag()).abs().max()) < 1e-12
            assert bool((moments.diag().diff() > 0).all())
            if plane:
                assert torch.equal(seen[element][:, 2], own[:, 2])


def test_hands_of_the_routine_differ_so_signs_alone_say_nothing() -> None:
    positions, structure = clouds()
    centred = positions.view(20, 5, 3) - positions.view(20, 5, 3).mean(1, keepdim=True)
    hands = torch.linalg.det(torch.linalg.eigh(centred.mT @ centred).eigenvectors)
    assert 0 < int((hands > 0).sum()) < 20
    assert bool((torch.linalg.det(frames_3d(positions, structure, group="SE").rotation) > 0).all())


def crystal(images: Tensor, cell: Tensor = CELL) -> tuple[Tensor, Tensor]:
    """Positions and edge vectors of three atoms, stored in these images."""
    inside = torch.tensor([[0.1, 0.2, 0.3], [0.6, 0.55, 0.1], [0.3, 0.8, 0.75]], **DOUBLE)
    positions = (inside + images) @ cell
    found = neighbor_list(positions, 3.5, cell=cell)
    return positions, edge_vectors(positions, found.edge_index, found.edge_shift, cell[None])


def moments_of(vectors: Tensor) -> Tensor:
    return edge_covariance(vectors, torch.zeros(len(vectors), dtype=torch.long), num_structures=1, cutoff=3.5)


def test_covariance_of_edges_equals_a_loop_and_does_not_know_images() -> None:
    here, there = torch.zeros(3, 3, **DOUBLE), torch.tensor([[0, 0, 0], [1, -1, 0], [0, 2, 1]], **DOUBLE)
    (positions, vectors), (moved, same) = crystal(here), crystal(there)
    expected = torch.zeros(3, 3, **DOUBLE)
    for r in vectors:
        u = float(r.norm()) / 3.5
        expected += (1 - 28 * u**6 + 48 * u**7 - 21 * u**8) * torch.outer(r, r)
    assert torch.allclose(moments_of(vectors)[0], expected, atol=1e-12)
    assert torch.allclose(moments_of(same)[0], expected, atol=1e-12)
    by_edges = [frames_3d(x, covariance=moments_of(v)) for x, v in ((positions, vectors), (moved, same))]
    by_positions = [frames_3d(x) for x in (positions, moved)]
    for (one, two), alike in ((by_edges, True), (by_positions, False)):
        gap = (one.rotation.abs() - two.rotation.abs()).abs().max()
        assert float(gap) < 1e-10 if alike else float(gap) > 1e-2


def test_cell_turns_with_the_crystal() -> None:
    turn = random_rotations(1, generator=torch.Generator().manual_seed(1))[0]
    none = torch.zeros(3, 3, **DOUBLE)
    seen = []
    for cell in (CELL, CELL @ turn.T):
        positions, vectors = crystal(none, cell)
        frames = frames_3d(positions, covariance=moments_of(vectors))
        rows = frames.to_frame(cell[None], "structure_vector")
        assert torch.allclose(rows[2, 0], cell @ frames.rotation[2, 0], atol=1e-13)
        seen.append(rows.abs())
    assert torch.allclose(seen[0], seen[1], atol=1e-10)


def test_equal_moments_are_told_and_the_frame_is_not_claimed_finite() -> None:
    square = torch.tensor([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]], **DOUBLE)
    tetrahedron = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], **DOUBLE)
    other, alone = clouds(1)[0], torch.ones(1, 3, **DOUBLE)
    structure = torch.tensor([0] * 4 + [1] * 4 + [2] * 5 + [3])
    points = torch.cat([square, tetrahedron, other, alone])
    with pytest.warns(DegenerateFrameWarning, match="2 of 4"):
        frames = frames_3d(points, structure)
    assert frames.finite.tolist() == [False, False, True, True]
    edges = torch.cat([tetrahedron, clouds(1)[0]])
    moments = edge_covariance(edges, torch.tensor([0] * 4 + [1] * 5), num_structures=2, cutoff=3.0)
    with pytest.warns(DegenerateFrameWarning, match="1 of 2"):  # edges to a tetrahedron's corners: all axes alike
        by_edges = frames_3d(points[:9], torch.tensor([0] * 4 + [1] * 5), covariance=moments)
    assert by_edges.finite.tolist() == [False, True]
    with pytest.warns(DegenerateFrameWarning, match="1 of 1"):
        frames_3d(square, plane=True)


def test_one_element_is_drawn_and_the_global_generator_left_alone() -> None:
    positions, structure = clouds(4000)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    full = frames_3d(positions, structure)
    one, two = (frames_3d(positions, structure, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert len(one) == 1
    assert torch.equal(one.rotation, two.rotation)
    match = (full.rotation == one.rotation).all(-1).all(-1)
    assert bool((match.sum(0) == 1).all())
    counts = match.sum(1).double()
    assert float(((counts - 500) ** 2 / 500).sum()) < 24.3  # chi-squared, 7 degrees of freedom, p = 0.001
    later = frames_3d(positions, structure, generator=torch.Generator().manual_seed(6))
    assert not torch.equal(one.rotation, later.rotation)


@pytest.mark.parametrize("group", ["E", "SE"])
@pytest.mark.parametrize("plane", [False, True])
def test_random_axes_are_uniform_on_the_group(group: str, plane: bool) -> None:
    positions, structure = clouds(4000, 3)
    frames = random_axes(
        frames_3d(positions, structure), group=group, plane=plane, generator=torch.Generator().manual_seed(1)
    )
    q = frames.rotation[0]
    assert torch.allclose(q.mT @ q, torch.eye(3, **DOUBLE).expand(4000, 3, 3), atol=1e-12)
    improper = float((torch.linalg.det(q) < 0).double().mean())
    assert improper == 0 if group == "SE" else abs(improper - 0.5) < 4 * 0.5 / math.sqrt(4000)
    size = 2 if plane else 3
    if plane:
        assert torch.equal(q[:, 2], torch.tensor([0, 0, 1], **DOUBLE).expand(4000, 3))
    # first and second moments of uniform rotations: mean 0, mean square 1 / size
    assert float(q[:, :size, :size].mean(0).abs().max()) < 4.5 / math.sqrt(size * 4000)
    assert float((q[:, :size, :size].square().mean(0) - 1 / size).abs().max()) < 4.5 * 0.36 / math.sqrt(4000)


def test_gradients_of_degenerate_structures_are_finite_and_do_not_disturb_others() -> None:
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(2, 3, 3, generator=generator, **DOUBLE)
    covariance, weights = half @ half.mT, torch.randn(3, 3, generator=generator, **DOUBLE)
    covariance[0] = torch.eye(3, **DOUBLE)

    def slope(x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rotation, _ = principal_frames(x, proper=True)
        (found,) = torch.autograd.grad((weights * rotation).exp().sum(), x)
        return found

    both, alone = slope(covariance), slope(covariance[1:])
    assert torch.equal(both[0], torch.zeros(3, 3, **DOUBLE))
    assert float(alone.abs().max()) > 1e-3
    assert torch.allclose(both[1], alone[0], atol=1e-13)


def test_bad_input_is_refused() -> None:
    positions, structure = clouds(2)
    with pytest.raises(InputError, match="'O' is none"):
        frames_3d(positions, structure, group="O")
    with pytest.raises(InputError, match="finite"):
        frames_3d(positions / 0, structure)
    with pytest.raises(InputError, match="finite"):
        frames_3d(positions, structure, covariance=torch.full((2, 3, 3), torch.nan, **DOUBLE))
