"""Frames of molecules, crystals and slabs, and one of them drawn at random.

With t the centroid and Sigma = U diag(l) U' the covariance, l ascending, the frame of a structure is {(U S, t)} with
S = diag(+-1, +-1, +-1): 8 elements for E(3), and for SE(3) the 4 with det(U S) = 1. Rows of positions, of edge vectors
and of the cell are multiplied by U S from the right.

    crystals    Sigma = sum over edges of w(|r_ij|) r_ij r_ij', w falling smoothly to 0 at the cutoff: blind to the
                image in which an atom is stored and to the choice of the cell, which the covariance of positions is not
    slabs       axes within the plane only, z kept: 4 elements, or 2 without reflections
    stochastic  one element, drawn for every structure; its average over draws is the average over the frame

Source: A. Duval, V. Schmidt, A. Hernandez-Garcia, S. Miret, F. D. Malliaros, Y. Bengio and D. Rolnick, FAENet: Frame
Averaging Equivariant GNN for Materials Modeling, ICML 2023, arXiv:2305.05577, sections 3.2 and 3.3.

*Deviations*: SE(3) elements are chosen by the determinant of U S, not of S; the covariance of edges for crystals. In
the plane variant z is not centred, so that the height above the surface stays visible.

*When not to use it*: structures with equal principal moments; see `polyad.symmetry.frames.euclidean`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.frames.euclidean import EuclideanFrames, principal_frames
from polyad.symmetry.radial import polynomial_window
from polyad.tensors.rotations import random_rotations


def frames_3d(
    positions: Float[Tensor, "points 3"],
    structure: Int[Tensor, " points"] | None = None,
    *,
    num_structures: int | None = None,
    group: str = "E",
    covariance: Float[Tensor, "structures 3 3"] | None = None,
    plane: bool = False,
    generator: torch.Generator | None = None,
    tolerance: float = 1e-5,
) -> EuclideanFrames:
    """Frames of structures in space; all elements, or one of each structure's drawn at random.

    A structure of one point with nothing around it looks alike along all axes and is not counted as degenerate.

    Args:
        positions: of the points of all structures.
        structure: number of the structure of every point; one structure by default.
        num_structures: how many there are; by default up to the largest number.
        group: "E", or "SE" without reflections.
        covariance: what the axes are taken from; by default that of the positions. Crystals need `edge_covariance`.
        plane: axes within the plane of x and y only; z and its origin stay as they are.
        generator: draw one element for every structure with it; None gives all elements.
        tolerance: a structure is degenerate where two principal moments differ by less than this part of the largest.

    Raises:
        InputError: an unknown group, or positions or covariances that are not finite.
    """
    if group not in ("E", "SE"):
        raise InputError(f"group: {group!r} is none; allowed are E and SE")
    if structure is None:
        structure = torch.zeros(len(positions), dtype=torch.long, device=positions.device)
    count = (int(structure.max()) + 1 if len(structure) else 0) if num_structures is None else num_structures
    sizes = torch.bincount(structure, minlength=count)
    share = 1 / sizes.clamp_min(1).to(positions.dtype)
    centroid = share[:, None] * positions.new_zeros(count, 3).index_add(0, structure, positions)
    if plane:
        centroid = centroid * centroid.new_tensor([1.0, 1.0, 0.0])
    if covariance is None:
        centred = positions - centroid[structure]
        covariance = positions.new_zeros(count, 3, 3).index_add(0, structure, centred[:, :, None] * centred[:, None, :])
    if not bool(torch.isfinite(positions).all()) or not bool(torch.isfinite(covariance).all()):
        raise InputError("positions, covariance: not all are finite; no frame can be found")
    if plane:
        covariance = covariance[:, :2, :2]
    alone = (sizes <= 1) & (covariance.detach() == 0).flatten(1).all(1)
    apart = torch.arange(1, covariance.shape[-1] + 1, dtype=covariance.dtype, device=covariance.device).diag()
    covariance = torch.where(alone[:, None, None], apart, covariance)
    rotation, degenerate = principal_frames(covariance, proper=group == "SE", tolerance=tolerance)
    frames = EuclideanFrames(_upright(rotation) if plane else rotation, centroid, structure, degenerate)
    return frames if generator is None else frames.sample(generator=generator)


def edge_covariance(
    vectors: Float[Tensor, "edges 3"],
    structure: Int[Tensor, " edges"],
    *,
    num_structures: int,
    cutoff: float,
) -> Float[Tensor, "structures 3 3"]:
    """Sums over the edges of w(|r|) r r', which depend neither on stored images nor on the cell.

    Args:
        vectors: of the edges, both directions of a pair or one.
        structure: number of the structure of every edge.
        num_structures: how many there are.
        cutoff: where w, a polynomial window, falls to 0 with two derivatives; that of the neighbour list.
    """
    weight = polynomial_window(torch.linalg.vector_norm(vectors, dim=-1), cutoff)
    squares = (weight[:, None] * vectors)[:, :, None] * vectors[:, None, :]
    return vectors.new_zeros(num_structures, 3, 3).index_add(0, structure, squares)


def random_axes(
    like: EuclideanFrames, *, group: str = "E", plane: bool = False, generator: torch.Generator
) -> EuclideanFrames:
    """One element of the whole group for every structure, uniform, in place of its frame: what augmentation draws.

    Args:
        like: structures and origins.
        group: "E" or "SE".
        plane: turn about z, and mirror in planes through it, only.
        generator: of the draw.
    """
    count, mirrors = len(like.translation), group == "E"
    if not plane:
        turn = random_rotations(count, generator=generator, reflections=mirrors)
    else:
        angle = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)
        hand = torch.randint(2, (count,), generator=generator, device=generator.device) * 2 - 1 if mirrors else 1
        cosine, sine = angle.cos(), angle.sin()
        turn = _upright(torch.stack([cosine, -hand * sine, sine, hand * cosine], dim=-1).view(count, 2, 2))
    return replace(like, rotation=turn[None].to(like.rotation))


def _upright(rotation: Float[Tensor, "*batch 2 2"]) -> Float[Tensor, "*batch 3 3"]:
    """Turns of the plane as turns of space that keep z."""
    whole = torch.nn.functional.pad(rotation, (0, 1, 0, 1))
    return whole + torch.diag(rotation.new_tensor([0.0, 0.0, 1.0]))
