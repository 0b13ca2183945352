"""Projection of elasticity tensors onto the symmetry classes, and distance to them, in a given orientation.

The nearest tensor of a class in a given orientation is the average over the class' point group (`point_groups`), in
two metrics:

    frobenius       C_s = P C              distance |C - C_s| / |C|         (relative, 0..1)
    log_euclidean   log C_s = P log C      distance |log C - log C_s|       (the same for compliances)

Both hold for axes Q (columns = the class' axes x, y, z in the frame of C): turn back, average, turn forth. The
average of positive definite tensors is positive definite, so projections stay stable.

Source: M. Moakher and A. N. Norris, "The closest elastic tensor of arbitrary symmetry to an elasticity tensor of
lower symmetry", J. Elasticity 85 (2006) 215.

When not to use it: where the axes are unknown use `closest_symmetry`, which searches them.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.linalg.spd import spd_logarithm
from polyad.materials.elasticity.checks import check_stiffness
from polyad.materials.elasticity.point_groups import Symmetry, symmetry_projector
from polyad.tensors.notation import check_orthogonal, mandel_to_vector, rotate_mandel, vector_to_mandel

Metric = Literal["frobenius", "log_euclidean"]


def project_symmetry(
    stiffness: Float[Tensor, "*batch 6 6"],
    symmetry: Symmetry,
    *,
    axes: Float[Tensor, "*axes 3 3"] | None = None,
    metric: Metric = "frobenius",
) -> Float[Tensor, "... 6 6"]:
    """The tensor of the class nearest to each Kelvin-Mandel stiffness (or compliance) in the given orientation.

    `axes` holds the class' axes as columns of a rotation, broadcast against the leading dimensions; None means x,
    y, z as they are.
    """
    flat = to_metric(stiffness, metric)
    return from_metric(project_flat(flat, symmetry, axes), metric)


def symmetry_distance(
    stiffness: Float[Tensor, "*batch 6 6"],
    symmetry: Symmetry,
    *,
    axes: Float[Tensor, "*axes 3 3"] | None = None,
    metric: Metric = "frobenius",
) -> Float[Tensor, "..."]:
    """Distance of each tensor to the class in the given orientation (arguments as in `project_symmetry`)."""
    flat = to_metric(stiffness, metric)
    return flat_distance(flat, project_flat(flat, symmetry, axes), metric)


def to_metric(stiffness: Tensor, metric: str) -> Tensor:
    """The stiffness, checked, where the metric is flat: itself, or its logarithm."""
    if metric == "frobenius":
        check_stiffness(stiffness)
        return stiffness
    if metric == "log_euclidean":
        check_stiffness(stiffness, positive=True)
        return spd_logarithm(stiffness)
    raise InputError(f"metric: {metric!r} is unknown; give frobenius or log_euclidean")


def from_metric(flat: Tensor, metric: str) -> Tensor:
    """The inverse of `to_metric`."""
    return flat if metric == "frobenius" else torch.linalg.matrix_exp(flat)


def project_flat(flat: Tensor, symmetry: Symmetry, axes: Tensor | None) -> Tensor:
    """Average over the group of the class, with the class' axes turned to `axes`."""
    projector = symmetry_projector(symmetry).to(flat)
    if axes is None:
        return vector_to_mandel(mandel_to_vector(flat) @ projector)
    check_orthogonal(axes)
    standard = rotate_mandel(flat, axes.mT, check=False)
    return rotate_mandel(vector_to_mandel(mandel_to_vector(standard) @ projector), axes, check=False)


def flat_distance(flat: Tensor, projection: Tensor, metric: str) -> Tensor:
    """Frobenius norm of the difference, relative to the tensor's own norm in the Frobenius metric."""
    difference = torch.linalg.matrix_norm(flat - projection)
    if metric != "frobenius":
        return difference
    return difference / torch.linalg.matrix_norm(flat).clamp_min(torch.finfo(flat.dtype).tiny)
