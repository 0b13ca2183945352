"""The best orientation of a symmetry class: the axes in which a tensor is nearest to it, over all of SO(3).

    minimise over Q:  |C - Q P(Q^T C)|^2 = |(1 - P) R(Q)^T c|^2        (P: average over the class' point group)

The search (`rotation_search`) evaluates all grid rotations modulo the class' normaliser at once, takes the lowest
local minima as starts and refines all of them in one batch in float64. Distances are differentiable (the axes are
stationary, so that they need not be differentiated), and so are projections and axes (implicit function theorem),
once, where the minimum is isolated.

Source: the distance functions of M. Moakher and A. N. Norris, J. Elasticity 85 (2006) 215; the search is our own.
Its minima
agree with those from hundreds of random starts per tensor.

When not to use it: where the axes are known (`symmetry_distance`), and for gradients of axes at tensors of higher
symmetry than the class, where axes are not unique.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.elasticity.point_groups import (
    INDEPENDENT_CONSTANTS,
    SYMMETRIES,
    Symmetry,
    check_symmetry,
    normalizer,
    rotation_21,
    symmetry_projector,
)
from polyad.materials.elasticity.rotation_search import (
    best_local_minima,
    global_minimum,
    implicit_turn,
    sum_of_squares,
)
from polyad.materials.elasticity.symmetry import Metric, flat_distance, from_metric, project_flat, to_metric
from polyad.tensors.notation import mandel_to_vector
from polyad.tensors.rotations import frame_from_axis, spread_directions, spread_rotations

_CHUNK = 1 << 22
_AXIAL = ("hexagonal", "monoclinic")  # of their axes, only z matters


@final
@dataclass(frozen=True)
class ClosestSymmetry:
    """The nearest tensor of a symmetry class over all orientations."""

    axes: Float[Tensor, "*batch 3 3"]
    """Rotation whose columns are the class' axes x, y, z (standard setting of `point_groups`) in the tensor's frame."""
    projection: Float[Tensor, "*batch 6 6"]
    """The nearest tensor of the class, in the frame of the tensor."""
    distance: Float[Tensor, "*batch"]
    """Its distance: relative (Frobenius) or absolute (log-Euclidean)."""


def closest_symmetry(
    stiffness: Float[Tensor, "*batch 6 6"], symmetry: Symmetry, *, metric: Metric = "frobenius", starts: int = 16
) -> ClosestSymmetry:
    """Nearest tensor of a class to each Kelvin-Mandel stiffness (or compliance), over all orientations of the class.

    `starts` grid minima per tensor are refined; more of them cost time in proportion. Axes are unique only up to
    the class' normaliser.
    """
    check_symmetry(symmetry)
    if starts < 1:
        raise InputError(f"starts: {starts} was given; give at least 1")
    flat = to_metric(stiffness, metric).double()
    batch = flat.shape[:-2]
    axes = _best_axes(flat.reshape(-1, 6, 6), symmetry, starts).reshape(*batch, 3, 3)
    projection = project_flat(flat, symmetry, axes)
    distance = flat_distance(flat, project_flat(flat, symmetry, axes.detach()), metric)
    dtype = stiffness.dtype
    return ClosestSymmetry(axes.to(dtype), from_metric(projection, metric).to(dtype), distance.to(dtype))


def symmetry_distances(
    stiffness: Float[Tensor, "*batch 6 6"], *, metric: Metric = "frobenius", starts: int = 16
) -> dict[Symmetry, Float[Tensor, "*batch"]]:
    """Distance of each tensor to each of the eight classes, in the best orientation for that class."""
    return {name: closest_symmetry(stiffness, name, metric=metric, starts=starts).distance for name in SYMMETRIES}


def classify(stiffness: Float[Tensor, "*batch 6 6"], *, tolerance: float = 1e-6, metric: Metric = "frobenius") -> Any:
    """The most symmetric class within `tolerance` of each tensor: a name for one tensor, nested lists for a batch.

    Classes are tried by growing number of constants; between trigonal and tetragonal (6 each) the nearer one wins.
    Measured tensors need a tolerance of the size of their error (1e-2, say).
    """
    distances = symmetry_distances(stiffness.detach(), metric=metric)
    table = torch.stack([distances[name] for name in SYMMETRIES], dim=-1)
    constants = torch.tensor([INDEPENDENT_CONSTANTS[name] for name in SYMMETRIES]).to(table)
    # the number of constants decides; distances, kept below one constant, only break ties
    score = torch.where(table <= tolerance, constants + table.clamp(max=0.5), torch.inf)
    return _names(score.argmin(dim=-1).tolist())


def _names(index: Any) -> Any:
    return [_names(entry) for entry in index] if isinstance(index, list) else SYMMETRIES[index]


def _best_axes(flat: Tensor, symmetry: Symmetry, starts: int) -> Tensor:
    if symmetry in ("isotropic", "triclinic"):
        return torch.eye(3, dtype=flat.dtype, device=flat.device).expand(len(flat), 3, 3)
    anisotropic = flat - project_flat(flat, "isotropic", None)  # the rest is the same in all axes
    size = torch.linalg.matrix_norm(anisotropic.detach(), keepdim=True)
    unit = anisotropic / size.clamp_min(torch.finfo(flat.dtype).tiny)
    objective = sum_of_squares(_complement(symmetry).to(flat), axis=2 if symmetry in _AXIAL else None)
    with torch.no_grad():
        axes = global_minimum(unit, *_grid_minima(unit, symmetry, starts), objective)
    return implicit_turn(unit, axes, objective) if flat.requires_grad else axes


def _grid_minima(unit: Tensor, symmetry: Symmetry, starts: int) -> tuple[Tensor, Tensor]:
    """For each tensor the grid rotations of its lowest local minima, and which of them are worth a search."""
    grid, neighbours, features = (entry.to(unit.device) for entry in _grid(symmetry))
    vectors = mandel_to_vector(unit)
    rows = features.flatten(0, 1).T
    index, worth = [], []
    for part in vectors.split(max(1, _CHUNK // rows.shape[1])):
        kept = (part @ rows).unflatten(-1, features.shape[:2]).square().sum(-1)
        lowest = best_local_minima(-kept, neighbours, starts)
        index.append(lowest[0])
        worth.append(lowest[1])
    return grid[torch.cat(index)], torch.cat(worth)


@lru_cache(maxsize=8)
def _grid(symmetry: Symmetry) -> tuple[Tensor, Tensor, Tensor]:
    """Rotations covering SO(3) modulo the normaliser, their neighbours, and the turned invariants (grid, k, 21)."""
    group = normalizer(symmetry)
    if symmetry in _AXIAL:
        grid = frame_from_axis(spread_directions(400))[..., [1, 2, 0]]
        closeness = (grid[:, :, 2] @ grid[:, :, 2].T).abs()
    else:
        grid = spread_rotations(9600)
        trace = torch.einsum("nii->n", grid)
        others = torch.einsum("nij,gji->ng", grid, group)
        grid = grid[trace >= others.amax(dim=1) - 1e-12]
        turned = (grid[:, None] @ group).flatten(2)
        closeness = torch.einsum("na,mga->nmg", grid.flatten(1), turned).amax(dim=-1)
    neighbours = closeness.fill_diagonal_(-torch.inf).topk(10, dim=1).indices
    features = torch.einsum("ka,nba->nkb", _invariants(symmetry), rotation_21(grid))
    return grid, neighbours, features


@lru_cache(maxsize=8)
def _invariants(symmetry: Symmetry) -> Tensor:
    """Orthonormal rows that span the class without the isotropic tensors, whose share no rotation changes."""
    return _eigenrows(symmetry_projector(symmetry) - symmetry_projector("isotropic"))


@lru_cache(maxsize=8)
def _complement(symmetry: Symmetry) -> Tensor:
    """Orthonormal rows that span what is orthogonal to the class."""
    return _eigenrows(torch.eye(21, dtype=torch.float64) - symmetry_projector(symmetry))


def _eigenrows(projector: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(projector)
    return vectors[:, values > 0.5].T.contiguous()
