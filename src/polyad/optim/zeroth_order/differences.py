"""Gradients from differences of values along random directions, or along the coordinates.

With directions z of unit second moment, E[z z'] = I, the mean over directions of

    [f(x + u z) - f(x - u z)] / (2 u) z    (two-sided, 2 values a direction)
    [f(x + u z) - f(x)] / u z              (one-sided, 1 value a direction and 1 at x)

has the gradient of the smoothed function E f(x + u z) as its mean; on a quadratic that is the gradient itself, for
every u. The d directions sqrt(d) e_i have unit second moment together and give differences along the coordinates.
Directions stand along the leading dimension: Float[Tensor, "m ... event"].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gaussian_directions(point: Tensor, count: int, *, generator: torch.Generator) -> Tensor:
    """Standard normal directions, `count` for every run."""
    return torch.randn((count, *point.shape), dtype=point.dtype, device=point.device, generator=generator)


def sphere_directions(point: Tensor, count: int, *, generator: torch.Generator) -> Tensor:
    """Directions uniform on the sphere of radius sqrt(d), for points that are vectors."""
    directions = gaussian_directions(point, count, generator=generator)
    length = torch.linalg.vector_norm(directions, dim=-1, keepdim=True)
    return directions * (point.shape[-1] ** 0.5 / length)


def coordinate_directions(point: Tensor, event_dimensions: int = 1) -> Tensor:
    """sqrt(d) e_i for all d coordinates of a point, the same for every run; takes d times the memory of the points."""
    event = point.shape[point.dim() - event_dimensions :]
    size = event.numel()
    identity = torch.eye(size, dtype=point.dtype, device=point.device) * size**0.5
    runs = [1] * (point.dim() - event_dimensions)
    return identity.reshape(size, *runs, *event).expand(size, *point.shape)


def two_sided(values: Callable[[Tensor], Tensor], point: Tensor, directions: Tensor, step: float) -> Tensor:
    """Gradient estimate from 2 m values.

    Args:
        values: oracle, "points ... event" to "points ...".
        point: Float[Tensor, "... event"].
        directions: Float[Tensor, "m ... event"].
        step: u.
    """
    count = len(directions)
    answers = values(torch.cat([point + step * directions, point - step * directions]))
    slopes = (answers[:count] - answers[count:]) / (2 * step)
    return _weighted_mean(slopes, directions)


def one_sided(values: Callable[[Tensor], Tensor], point: Tensor, directions: Tensor, step: float) -> Tensor:
    """Gradient estimate from m + 1 values; arguments as in `two_sided`."""
    answers = values(torch.cat([point[None], point + step * directions]))
    return _weighted_mean((answers[1:] - answers[0]) / step, directions)


def _weighted_mean(slopes: Tensor, directions: Tensor) -> Tensor:
    slopes = slopes.to(directions.dtype)
    return (slopes.reshape(*slopes.shape, *[1] * (directions.dim() - slopes.dim())) * directions).mean(0)
