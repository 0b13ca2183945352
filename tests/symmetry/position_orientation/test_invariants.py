"""Invariants of pairs: what motions leave alone, and that nothing else leaves them alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from polyad.symmetry.position_orientation import invariants_r2s1, invariants_r3s2, invariants_rn, invariants_se3
from polyad.tensors.rotations import random_rotations, rotation_from_vector

DOUBLE = {"dtype": torch.float64}
UP = torch.tensor([0.0, 0.0, 1.0], **DOUBLE)


def pairs(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Differences of positions and two unit vectors."""
    rel, own, other = torch.randn(3, count, 3, generator=torch.Generator().manual_seed(seed), **DOUBLE)
    return rel, own / own.norm(dim=1, keepdim=True), other / other.norm(dim=1, keepdim=True)


def frame(rel: Tensor, own: Tensor) -> Tensor:
    """Right-handed axes in columns: o_i, rel across it, and their cross product."""
    across = rel - (rel * own).sum(-1, keepdim=True) * own
    across = across / across.norm(dim=-1, keepdim=True)
    return torch.stack([own, across, torch.linalg.cross(own, across)], dim=-1)


def test_values() -> None:
    rel, own, other = pairs(20)
    found = invariants_r3s2(rel, own, other)
    for k in range(20):
        a1 = float(own[k] @ rel[k])
        matrix = torch.stack([own[k], rel[k], other[k]])
        expected = [
            a1, math.sqrt(float(rel[k] @ rel[k]) - a1**2), float(own[k] @ other[k]), float(other[k] @ rel[k]),
            float(torch.linalg.det(matrix)),
        ]  # fmt: skip
        assert torch.allclose(found[k], torch.tensor(expected, **DOUBLE), atol=1e-12)
    three = invariants_r3s2(rel, own, other, complete=False, angle=True)
    assert torch.allclose(three[:, :2], found[:, :2])
    assert torch.allclose(three[:, 2].cos(), found[:, 2], atol=1e-12)
    assert three.shape == (20, 3)


def test_invariant_under_motions() -> None:
    rel, own, other = pairs(30)
    turns = random_rotations(30, generator=torch.Generator().manual_seed(1))

    def moved(x: Tensor) -> Tensor:
        return (turns @ x[..., None])[..., 0]

    one = invariants_r3s2(rel, own, other)
    for sign in (1.0, -1.0):  # -1: a reflection through the origin
        two = invariants_r3s2(sign * moved(rel), sign * moved(own), sign * moved(other))
        two[:, 4] *= sign
        assert float((one - two).abs().max()) < 1e-12
    assert float(one[:, 4].abs().min()) > 1e-3


def test_complete_under_rotations_and_translations() -> None:
    """The second pair is built from the five numbers alone; the motion that takes one to the other is found."""
    rel, own, other = pairs(50)
    a = invariants_r3s2(rel, own, other)
    turns = random_rotations(50, generator=torch.Generator().manual_seed(2))
    across = torch.stack([a[:, 2], (a[:, 3] - a[:, 0] * a[:, 2]) / a[:, 1]], dim=1)
    # det[o_i, rel, o_j] = a2 <third axis, o_j>
    local = torch.cat([across, (a[:, 4] / a[:, 1])[:, None]], dim=1)
    rel_local = torch.stack([a[:, 0], a[:, 1], torch.zeros(50, **DOUBLE)], dim=1)
    rel2, own2, other2 = (turns @ rel_local[..., None])[..., 0], turns[..., 0], (turns @ local[..., None])[..., 0]
    assert float((invariants_r3s2(rel2, own2, other2) - a).abs().max()) < 1e-12
    motion = frame(rel2, own2) @ frame(rel, own).mT
    assert float((torch.linalg.det(motion) - 1).abs().max()) < 1e-12
    for one, two in ((rel, rel2), (own, own2), (other, other2)):
        assert float(((motion @ one[..., None])[..., 0] - two).abs().max()) < 1e-9


def test_four_are_complete_with_reflections() -> None:
    """Equal a1 to a4 and another sign of a5: the mirror at the plane of o_i and rel takes one to the other."""
    rel, own, other = pairs(20)
    third = frame(rel, own)[..., 2]
    mirror = torch.eye(3, **DOUBLE) - 2 * third[:, :, None] * third[:, None]
    image = (mirror @ other[..., None])[..., 0]
    one, two = invariants_r3s2(rel, own, other), invariants_r3s2(rel, own, image)
    assert float((one - two)[:, :4].abs().max()) < 1e-12
    assert float((one + two)[:, 4].abs().max()) < 1e-12


def test_the_papers_three_are_not_complete() -> None:
    t = 0.7
    rel = torch.tensor([1.0, 0.0, 1.0], **DOUBLE)
    ahead, left, right = (
        torch.tensor(x, **DOUBLE)
        for x in ([math.sin(t), 0, math.cos(t)], [0, math.sin(t), math.cos(t)], [0, -math.sin(t), math.cos(t)])
    )
    a, b, c = (invariants_r3s2(rel, UP, x) for x in (ahead, left, right))
    assert torch.allclose(a[:3], b[:3], atol=1e-15)
    assert abs(float(a[3] - b[3])) > 0.5
    assert torch.allclose(b[:4], c[:4], atol=1e-15)
    assert abs(float(b[4] - c[4])) > 1
    assert torch.equal(invariants_r3s2(rel, UP, ahead, complete=False), a[:3])


def test_plane_and_lines() -> None:
    generator = torch.Generator().manual_seed(3)
    rel = torch.randn(20, 2, generator=generator, **DOUBLE)
    angles = 7 * torch.rand(2, 20, generator=generator, **DOUBLE)
    own, other = (torch.stack([x.cos(), x.sin()], dim=1) for x in angles)
    found = invariants_r2s1(rel, own, other)
    turn = torch.stack([own, torch.stack([-own[:, 1], own[:, 0]], dim=1)], dim=1)  # rows: the axes of o_i
    assert torch.allclose(found[:, :2], (turn @ rel[..., None])[..., 0], atol=1e-12)
    signed = torch.remainder(angles[1] - angles[0] + torch.pi, 2 * torch.pi) - torch.pi
    assert torch.allclose(torch.atan2(found[:, 3], found[:, 2]), signed, atol=1e-12)
    q = rotation_from_vector(1.1 * UP)[:2, :2]
    assert float((invariants_r2s1(rel @ q.T, own @ q.T, other @ q.T) - found).abs().max()) < 1e-12
    flip = torch.tensor([1.0, -1.0], **DOUBLE)
    assert float((invariants_r2s1(rel * flip, own * flip, other * flip) - found * flip.repeat(2)).abs().max()) < 1e-12
    wide = torch.randn(4, 5, generator=generator, **DOUBLE)
    assert torch.allclose(invariants_rn(wide)[:, 0] ** 2, (wide * wide).sum(1))


def test_group_itself() -> None:
    generator = torch.Generator().manual_seed(4)
    own, other, turns = random_rotations(30, generator=generator).split(10)
    rel = torch.randn(10, 3, generator=generator, **DOUBLE)
    found = invariants_se3(rel, own, other)
    moved = invariants_se3((turns @ rel[..., None])[..., 0], turns @ own, turns @ other)
    assert float((found - moved).abs().max()) < 1e-12
    # complete: pair and place follow from them
    assert torch.allclose((own @ found[:, :3, None])[..., 0], rel, atol=1e-12)
    assert torch.allclose(own @ found[:, 3:].unflatten(1, (3, 3)), other, atol=1e-12)
