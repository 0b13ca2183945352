"""Minimisation over all rotations of a function of the turned elasticity tensor: grid, then Newton, in one batch.

In the frame with axes Q (columns) the tensor has the 21-vector y(Q) = R(Q)^T c, and a small turn Q exp(w) changes it to

    y(w) = exp(-w.J) y = y - w_i J_i y + 1/2 w_i w_j J_i J_j y + ...

with constant antisymmetric generators J_i. An objective is a function of a few linear features z = L y; its exact
gradient and Hessian in w need L, L J_i and L (J_i J_j + J_j J_i)/2 only, one small matrix product for a whole
batch. Newton's method on SO(3), with eigenvalues of the Hessian replaced by their absolute values (so that steps
descend), damping, and a cap on the angle, converges quadratically to local minima; flat directions (rotations that
do not matter) get no step. Global minima come from starting it at the best local minima of a grid that resolves the
objectives: polynomials in Q of degree 8 (squared distances) or 4 (moduli), and ratios of two of degree 4.

When not to use it: for objectives much rougher than these, whose basins fall between the grid points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.tensors.notation import mandel_to_vector, rotate_mandel, rotation_mandel, vector_to_mandel
from polyad.tensors.rotations import cross_product_matrix, rotation_from_vector

LARGEST_ANGLE = 0.35
"""Cap on the angle of one Newton step, in radians."""

Combination = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


@final
@dataclass(frozen=True)
class RotationObjective:
    """A function of linear features of the turned tensor.

    `features` are the rows L; `combine(z (n, k), dz (n, 3, k))` returns the value (n,), its gradient in z (n, k),
    and the second derivative in z applied to the tangents, dz_i . H . dz_j (n, 3, 3).
    """

    features: Float[Tensor, "features 21"]
    combine: Combination
    axis: int | None = None
    """The only axis (column of Q) the objective depends on, if so: turns about it do not matter and are not made."""


def sum_of_squares(features: Float[Tensor, "features 21"], *, axis: int | None = None) -> RotationObjective:
    """The objective |L y|^2."""

    def combine(value: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return value.square().sum(-1), 2 * value, 2 * tangents @ tangents.mT

    return RotationObjective(features, combine, axis)


def linear(feature: Float[Tensor, "21"], *, axis: int | None = None) -> RotationObjective:
    """The objective L y, for a single row L."""

    def combine(value: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return value[:, 0], torch.ones_like(value), tangents.new_zeros(len(value), 3, 3)

    return RotationObjective(feature[None], combine, axis)


def ratio(numerator: Float[Tensor, "21"], denominator: Float[Tensor, "21"]) -> RotationObjective:
    """The objective (a y) / (b y), for rows a and b."""

    def combine(value: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        top, bottom = value.unbind(-1)
        quotient = top / bottom
        gradient = torch.stack([1 / bottom, -quotient / bottom], dim=-1)
        rise, fall = tangents.unbind(-1)  # change of numerator and denominator along the three turns
        mixed = (quotient / bottom)[:, None] * fall - rise / bottom[:, None]
        bend = (mixed[:, :, None] * fall[:, None, :] + fall[:, :, None] * mixed[:, None, :]) / bottom[:, None, None]
        return quotient, gradient, bend

    return RotationObjective(torch.stack([numerator, denominator]), combine)


@torch.no_grad()
def minimise_over_rotations(
    tensors: Float[Tensor, "n 6 6"],
    rotations: Float[Tensor, "n 3 3"],
    objective: RotationObjective,
    *,
    tolerance: float = 1e-11,
    steps: int = 100,
) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n"]]:
    """Local minimum of the objective near each start: axes and value. A step below `tolerance` radians ends it."""
    parts = [
        _minimise(part, start, objective, tolerance, steps)
        for part, start in zip(tensors.split(_CHUNK), rotations.split(_CHUNK), strict=True)
    ]
    axes, values = zip(*parts, strict=True)
    return torch.cat(axes), torch.cat(values)


def implicit_turn(
    tensors: Float[Tensor, "n 6 6"], rotations: Float[Tensor, "n 3 3"], objective: RotationObjective
) -> Float[Tensor, "n 3 3"]:
    """The minimising axes as a differentiable function of the tensors (implicit function theorem), unchanged in value.

    One Newton step from the minimum: its length is zero, its derivative -H^-1 d(gradient)/d(tensor) is that of the
    minimiser.
    """
    _, gradient, hessian = _expand(tensors, rotations, objective, _derivative_table(objective.features))
    inverse = torch.linalg.pinv(hessian.detach(), rtol=1e-8, hermitian=True)
    return rotations @ rotation_from_vector(-(inverse @ gradient[..., None]).squeeze(-1))


def best_local_minima(
    values: Float[Tensor, "n grid"], neighbours: Int[Tensor, "grid k"], count: int
) -> tuple[Int[Tensor, "n starts"], Bool[Tensor, "n starts"]]:
    """Indices of the `count` lowest grid points, local minima (no lower neighbour) first; and which deserve a search.

    The local minima do, and always the lowest point.
    """
    minimal = values <= values[:, neighbours].amin(dim=-1)
    spread = values.amax(dim=-1, keepdim=True) - values.amin(dim=-1, keepdim=True) + 1.0
    ranked = torch.where(minimal, values, values + spread)
    index = ranked.topk(min(count, values.shape[-1]), largest=False).indices
    worth = minimal.gather(1, index)
    worth[:, :1] = True
    return index, worth


@torch.no_grad()
def global_minimum(
    tensors: Float[Tensor, "n 6 6"],
    starts: Float[Tensor, "n starts 3 3"],
    worth: Bool[Tensor, "n starts"],
    objective: RotationObjective,
) -> Float[Tensor, "n 3 3"]:
    """Axes of the lowest minimum reached from the starts that are `worth` it (at least one for each tensor)."""
    owner, slot = worth.nonzero(as_tuple=True)
    axes, value = minimise_over_rotations(tensors[owner], starts[owner, slot], objective)
    table = torch.full(worth.shape, torch.inf, dtype=value.dtype, device=value.device)
    table[owner, slot] = value
    result = torch.zeros_like(starts)
    result[owner, slot] = axes
    return result[torch.arange(len(table), device=table.device), table.argmin(dim=1)]


def _minimise(
    tensors: Tensor, rotations: Tensor, objective: RotationObjective, tolerance: float, steps: int
) -> tuple[Tensor, Tensor]:
    table = _derivative_table(objective.features)
    rotations = rotations.clone()
    value, gradient, hessian = _expand(tensors, rotations, objective, table)
    damping = torch.zeros_like(value)
    active = torch.arange(len(value), device=value.device)
    for _ in range(steps):
        move = _newton_step(gradient[active], hessian[active], damping[active])
        trial = rotations[active] @ rotation_from_vector(move)
        new_value, new_gradient, new_hessian = _expand(tensors[active], trial, objective, table)
        better = new_value <= value[active] + 1e-14 * value[active].abs()
        taken = active[better]
        rotations[taken], value[taken] = trial[better], new_value[better]
        gradient[taken], hessian[taken] = new_gradient[better], new_hessian[better]
        damping[active] = torch.where(better, damping[active] / 10, (damping[active] * 10).clamp_min(1e-3))
        damping[active] = torch.where(damping[active] < 1e-6, 0.0, damping[active])
        finished = (move.norm(dim=-1) < tolerance) | (damping[active] > 1e6)
        active = active[~finished]
        if not len(active):
            break
    return rotations, value


def _expand(
    tensors: Tensor, rotations: Tensor, objective: RotationObjective, table: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Value, gradient (n, 3) and Hessian (n, 3, 3) of the objective for small turns of the axes."""
    vector = mandel_to_vector(rotate_mandel(tensors, rotations.mT, check=False))
    features = (vector @ table).unflatten(-1, (10, -1))
    tangents = features[:, 1:4]
    value, slope, bend = objective.combine(features[:, 0], tangents)
    gradient = (tangents @ slope[..., None]).squeeze(-1)
    second = (features[:, 4:] @ slope[..., None]).squeeze(-1)
    turns = torch.ones(3, dtype=value.dtype, device=value.device)
    if objective.axis is not None:
        turns[objective.axis] = 0.0
    return value, turns * gradient, torch.outer(turns, turns) * (bend + second[:, _PACKED])


def _newton_step(gradient: Tensor, hessian: Tensor, damping: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(hessian)
    scale = values.abs().amax(dim=-1, keepdim=True).clamp_min(1e-300)
    curvature = torch.where(values.abs() > _FLAT * scale, values.abs(), torch.inf) + damping[:, None] * scale
    step = -(vectors @ ((vectors.mT @ gradient[..., None]) / curvature[..., None])).squeeze(-1)
    length = step.norm(dim=-1, keepdim=True)
    return step * (LARGEST_ANGLE / length.clamp_min(LARGEST_ANGLE))


_FLAT = 1e-11  # curvature below this share of the largest is rounding: a rotation that does not matter
_CHUNK = 1 << 15  # searches at once: bounds the memory, about 10 kB each
_PACKED = torch.tensor([[0, 1, 2], [1, 3, 4], [2, 4, 5]])


def _derivative_table(features: Tensor) -> Tensor:
    """The columns L, -L J_i and L (J_i J_j + J_j J_i)/2, as one (21, 10 k) matrix."""
    generators = _generators().to(features)
    seconds = [
        (generators[i] @ generators[j] + generators[j] @ generators[i]) / 2 for i in range(3) for j in range(i, 3)
    ]
    return torch.cat([features, *(-(features @ generators)), *(features @ second for second in seconds)]).T


@lru_cache(maxsize=1)
def _generators() -> Tensor:
    """The three generators J_i of rotations of 21-vectors: derivatives of rotation_21(exp(w)) at w = 0."""
    basis = vector_to_mandel(torch.eye(21, dtype=torch.float64))
    result = []
    for axis in torch.eye(3, dtype=torch.float64):
        # M(Q) is quadratic in Q, so that its odd part along 1 + t [w]x is exactly t times the derivative
        small, unit = cross_product_matrix(axis), torch.eye(3, dtype=torch.float64)
        turn = (rotation_mandel(unit + small, check=False) - rotation_mandel(unit - small, check=False)) / 2
        result.append(mandel_to_vector(turn @ basis + basis @ turn.mT).T)
    return torch.stack(result)
