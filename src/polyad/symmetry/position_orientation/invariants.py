"""Invariants of pairs of points with orientations: equal for two pairs exactly when a motion takes one to the other.

With rel = p_j - p_i, every pair (p_i, o_i), (p_j, o_j) of R^3 x S^2 has

    a1 = <o_i, rel>,    a2 = |rel - a1 o_i|,    a3 = <o_i, o_j>,    a4 = <o_j, rel>,    a5 = det[o_i, rel, o_j]

A pair has 10 parameters and SE(3) has 6, so four numbers are needed: a1 to a4 separate the classes of E(3), and with
the sign of a5 those of SE(3). In R^2 x S^1 rel in the axes of o_i and the signed angle from o_i to o_j are complete,
in R^n the distance is.

Source: E. Bekkers et al., ICLR 2024, arXiv:2310.02970, theorem 1 and table 1.

*Deviations*: the paper calls a1, a2, a3 complete for R^3 x S^2, and they are not: o_j may turn about o_i while rel
stays. `complete=False` gives those three. The signed angle of the plane is given by its cosine and sine, which do not
jump.

*When not to use it*: features that only need to be smooth where a2 = 0, the line through p_i along o_i, should take its
square, for a2 has a kink there.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def invariants_rn(relative: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch 1"]:
    """|rel|, complete under E(n)."""
    return torch.linalg.vector_norm(relative, dim=-1, keepdim=True)


def invariants_r3s2(
    relative: Float[Tensor, "*#batch 3"],
    own: Float[Tensor, "*#batch 3"],
    other: Float[Tensor, "*#batch 3"],
    *,
    complete: bool = True,
    angle: bool = False,
) -> Float[Tensor, "*batch invariants"]:
    """a1, a2, a3, and with `complete` a4, a5; batches broadcast.

    Args:
        relative: p_j - p_i.
        own: unit vector o_i of the receiving point.
        other: unit vector o_j of the sending point.
        complete: whether to add a4 and a5; a5 changes its sign under reflections.
        angle: whether a3 is the angle arccos <o_i, o_j>, whose slope is infinite at 0 and pi, or its cosine.
    """
    relative, own, other = torch.broadcast_tensors(relative, own, other)
    along = _dot(own, relative)
    across = torch.linalg.vector_norm(relative - along[..., None] * own, dim=-1)
    cosine = _dot(own, other)
    found = [along, across, cosine.clamp(-1, 1).arccos() if angle else cosine]
    if complete:
        found += [_dot(other, relative), _dot(own, torch.linalg.cross(relative, other))]
    return torch.stack(found, dim=-1)


def invariants_r2s1(
    relative: Float[Tensor, "*#batch 2"], own: Float[Tensor, "*#batch 2"], other: Float[Tensor, "*#batch 2"]
) -> Float[Tensor, "*batch 4"]:
    """rel along o_i and along o_i turned by a right angle, cosine and sine of the angle from o_i to o_j."""
    relative, own, other = torch.broadcast_tensors(relative, own, other)
    left = torch.stack([-own[..., 1], own[..., 0]], dim=-1)
    return torch.stack([_dot(own, relative), _dot(left, relative), _dot(own, other), _dot(left, other)], dim=-1)


def invariants_se3(
    relative: Float[Tensor, "*#batch 3"], own: Float[Tensor, "*#batch 3 3"], other: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*batch 12"]:
    """For points with rotations R, the whole group SE(3): rel in the axes of R_i, and the entries of R_i' R_j."""
    placed = (own.mT @ relative[..., None])[..., 0]
    turn = (own.mT @ other).flatten(-2)
    batch = torch.broadcast_shapes(placed.shape[:-1], turn.shape[:-1])
    return torch.cat([placed.expand(*batch, 3), turn.expand(*batch, 9)], dim=-1)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(-1)
