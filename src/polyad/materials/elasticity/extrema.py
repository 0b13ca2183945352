"""Global extrema of the directional moduli, with the directions where they are reached.

In a frame whose first axis is the load n and whose second is the transverse m, each modulus is a simple function of
Kelvin-Mandel entries of the turned tensor, so that its extrema are extrema over rotations (`rotation_search`):

    1/E = S_11,  c = C_11,  1/(2 G) = S_66 (Mandel),  nu = -S_12 / S_11

Starts: on a grid of directions n, the best m is known in closed form (S_66 and S_12 are quadratic forms of m); the
lowest local minima of that profile are refined by Newton's method, all in one batch, in float64. Of 1,159 random
tensors with a ratio of extreme eigenvalues below 30 none was missed (against 80 starts each), of 1,200 with larger
ratios two (against 300), both beyond 10^6. The linear compressibility is a quadratic form of n, and its extrema are
eigenvalues. Values are differentiable in the stiffness: directions are stationary, so the derivative at fixed
directions is the derivative of the extremum (envelope theorem). Directions carry no gradient.

Source: A. N. Norris, "Extreme values of Poisson's ratio and other engineering moduli in anisotropic materials", J.
Mech. Mater. Struct. 1 (2006) 793, for the stationarity conditions; the search is our own.

When not to use it: for a singular stiffness, or one close to it without raising `starts`; for more than the extrema
(the whole surface) evaluate `directional` on a grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.elasticity import directional
from polyad.materials.elasticity.checks import check_stiffness, compliance_of
from polyad.materials.elasticity.point_groups import rotation_21
from polyad.materials.elasticity.rotation_search import (
    RotationObjective,
    best_local_minima,
    global_minimum,
    linear,
    ratio,
)
from polyad.tensors.notation import mandel_to_strain, mandel_to_vector
from polyad.tensors.rotations import frame_from_axis, spread_directions

Quantity = Literal[
    "young_modulus", "linear_compressibility", "longitudinal_stiffness", "shear_modulus", "poisson_ratio"
]

_GRID = 1000
_CONDITIONED = 30.0  # ratio of extreme eigenvalues up to which the grid resolves every basin
_CHUNK = 1 << 22


@final
@dataclass(frozen=True)
class Extrema:
    """Least and greatest value over all directions, and where they are; transverse vectors only for pairs (n, m)."""

    minimum: Float[Tensor, "*batch"]
    maximum: Float[Tensor, "*batch"]
    minimum_direction: Float[Tensor, "*batch 3"]
    maximum_direction: Float[Tensor, "*batch 3"]
    minimum_transverse: Float[Tensor, "*batch 3"] | None = None
    maximum_transverse: Float[Tensor, "*batch 3"] | None = None


def extrema(stiffness: Float[Tensor, "*batch 6 6"], quantity: Quantity, *, starts: int = 32) -> Extrema:
    """Global minimum and maximum of a directional modulus (see `directional` for the five of them).

    `starts` local minima of the grid are refined per tensor and side. Raises InputError for a stiffness that is not
    positive definite, except for the longitudinal stiffness, which needs no inverse.
    """
    if quantity not in get_args(Quantity):
        raise InputError(f"quantity: {quantity!r} is unknown; give one of {', '.join(get_args(Quantity))}")
    if starts < 1:
        raise InputError(f"starts: {starts} was given; give at least 1")
    if quantity == "linear_compressibility":
        return _compressibility_extrema(stiffness)
    check_stiffness(stiffness)
    searched = stiffness.detach().double()
    tensor = searched if quantity == "longitudinal_stiffness" else compliance_of(searched)
    flat = tensor.reshape(-1, 6, 6)
    # E and G fall where the compliance entry rises
    falls = quantity in ("young_modulus", "shear_modulus")
    lowest = _extreme_frames(flat, quantity, 1.0, starts).reshape(*stiffness.shape[:-2], 3, 3).to(stiffness.dtype)
    highest = _extreme_frames(flat, quantity, -1.0, starts).reshape(*stiffness.shape[:-2], 3, 3).to(stiffness.dtype)
    first, last = (highest, lowest) if falls else (lowest, highest)
    minimum, maximum = _value(stiffness, first, quantity), _value(stiffness, last, quantity)
    if quantity in ("young_modulus", "longitudinal_stiffness"):
        return Extrema(minimum, maximum, first[..., 0], last[..., 0])
    return Extrema(minimum, maximum, first[..., 0], last[..., 0], first[..., 1], last[..., 1])


def _value(stiffness: Tensor, frame: Tensor, quantity: str) -> Tensor:
    normal, side = frame[..., None, :, 0], frame[..., None, :, 1]
    if quantity in ("young_modulus", "longitudinal_stiffness"):
        return getattr(directional, quantity)(stiffness, normal).squeeze(-1)
    return getattr(directional, quantity)(stiffness, normal, side).squeeze(-1)


def _compressibility_extrema(stiffness: Tensor) -> Extrema:
    form = mandel_to_strain(compliance_of(stiffness)[..., :3].sum(-1))
    vectors = torch.linalg.eigh(form.detach()).eigenvectors
    low, high = vectors[..., 0], vectors[..., -1]
    least, most = (torch.einsum("...i,...ij,...j->...", vector, form, vector) for vector in (low, high))
    return Extrema(least, most, low, high)


@torch.no_grad()
def _extreme_frames(tensor: Tensor, quantity: str, sign: float, starts: int) -> Tensor:
    """Frames (n, m, n x m) in which the quantity's function of entries, times `sign`, is least."""
    objective = _objective(quantity, sign, tensor)
    unit = tensor / torch.linalg.matrix_norm(tensor, keepdim=True).clamp_min(torch.finfo(tensor.dtype).tiny)
    frames, worth = _starting_frames(unit, quantity, sign, starts)
    # stiff and soft modes far apart make valleys narrower than the grid, whose local minima mislead: search all starts
    spectrum = torch.linalg.eigvalsh(unit).abs()
    worth |= (spectrum.amax(dim=-1) > _CONDITIONED * spectrum.amin(dim=-1))[:, None]
    return global_minimum(unit, frames, worth, objective)


def _objective(quantity: str, sign: float, like: Tensor) -> RotationObjective:
    if quantity == "poisson_ratio":
        return ratio(_entry(0, 1, like) * -sign, _entry(0, 0, like))
    if quantity == "shear_modulus":
        return linear(sign * _entry(5, 5, like))
    return linear(sign * _entry(0, 0, like), axis=0)


def _starting_frames(unit: Tensor, quantity: str, sign: float, starts: int) -> tuple[Tensor, Tensor]:
    """For each tensor the frames of its lowest local minima on the grid, and which of them are worth a search."""
    frames, neighbours, table = (entry.to(unit.device) for entry in _grid())
    rows = table.flatten(0, 1).T
    chosen, angles, worths = [], [], []
    for part in mandel_to_vector(unit).split(max(1, _CHUNK // rows.shape[1])):
        entries = (part @ rows).unflatten(-1, table.shape[:2])
        profile, angle = _profile(entries, quantity, sign)
        index, worth = best_local_minima(profile, neighbours, starts)
        chosen.append(index)
        worths.append(worth)
        angles.append(angle.gather(1, index))
    index, angle = torch.cat(chosen), torch.cat(angles)
    frame = frames[index]
    cosine, sine = angle.cos()[..., None], angle.sin()[..., None]
    side = cosine * frame[..., 1] + sine * frame[..., 2]
    frame = torch.stack([frame[..., 0], side, torch.linalg.cross(frame[..., 0], side)], dim=-1)
    return frame, torch.cat(worths)


def _profile(entries: Tensor, quantity: str, sign: float) -> tuple[Tensor, Tensor]:
    """Least value over the transverse direction, and its angle from the frame's second axis, at each grid direction."""
    normal = entries[..., 0]
    if quantity in ("young_modulus", "longitudinal_stiffness"):
        return sign * normal, torch.zeros_like(normal)
    first, second, mixed = (entries[..., 1:4] if quantity == "poisson_ratio" else entries[..., 4:7]).unbind(-1)
    flipped = -sign if quantity == "poisson_ratio" else sign
    # the form a cos^2 + b sin^2 + 2 c sin cos = (a + b)/2 + |((a - b)/2, c)| cos(2 (angle - peak))
    half = (first - second) / 2
    value = flipped * (first + second) / 2 - torch.hypot(half, mixed)
    angle = torch.atan2(flipped * mixed, flipped * half) / 2 + math.pi / 2
    return (value / normal if quantity == "poisson_ratio" else value), angle


@lru_cache(maxsize=1)
def _grid() -> tuple[Tensor, Tensor, Tensor]:
    """Frames on a grid of directions, their neighbours, and rows for S_11, S_12, S_13, S_1123, S_66, S_55, S_65."""
    directions = spread_directions(_GRID)
    closeness = (directions @ directions.T).abs().fill_diagonal_(-torch.inf)
    frames = frame_from_axis(directions)
    like = directions
    rows = [_entry(0, 0, like), _entry(0, 1, like), _entry(0, 2, like), _entry(0, 3, like) / math.sqrt(2)]
    rows += [_entry(5, 5, like), _entry(4, 4, like), _entry(4, 5, like)]
    table = torch.einsum("ka,nba->nkb", torch.stack(rows), rotation_21(frames))
    return frames, closeness.topk(10, dim=1).indices, table


def _entry(row: int, column: int, like: Tensor) -> Tensor:
    """The 21-vector whose product with that of a tensor is the Kelvin-Mandel entry."""
    pick = torch.zeros(6, 6, dtype=like.dtype, device=like.device)
    pick[row, column] = 1.0
    return mandel_to_vector(pick)
