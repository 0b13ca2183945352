"""Voxel images of struts with round joints, and of any shape that is given by a signed distance or level set."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.errors import InputError


def voxel_centers(cell: Float[Tensor, "3 3"], shape: tuple[int, int, int]) -> Float[Tensor, "x y z 3"]:
    """Centres of the voxels of a periodic cell whose rows are the lattice vectors."""
    steps = [(torch.arange(n, dtype=torch.float64) + 0.5) / n for n in shape]
    fractions = torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1)
    return fractions @ cell.double()


def voxelize(
    level: Callable[[Float[Tensor, "points 3"]], Float[Tensor, " points"]],
    cell: Float[Tensor, "3 3"],
    shape: tuple[int, int, int],
) -> Bool[Tensor, "x y z"]:
    """Where a periodic function, such as a signed distance, is negative at the voxel's centre.

    Raises:
        InputError: the function does not give one number a point.
    """
    centers = voxel_centers(cell, _checked(shape))
    planes = []
    for (
        plane
    ) in centers:  # one plane after the other, so that the points of the whole image are never evaluated at once
        values = level(plane.reshape(-1, 3))
        if values.shape != (plane.shape[0] * plane.shape[1],):
            raise InputError(f"level: gave shape {tuple(values.shape)} for {plane[..., 0].numel()} points")
        planes.append((values < 0).view(plane.shape[:2]))
    return torch.stack(planes)


def voxelize_struts(
    cell: Float[Tensor, "3 3"],
    starts: Float[Tensor, "struts 3"],
    ends: Float[Tensor, "struts 3"],
    radii: Float[Tensor, " struts"],
    shape: tuple[int, int, int],
) -> Bool[Tensor, "x y z"]:
    """The union of cylinders with half balls at both ends, repeated by the lattice.

    Raises:
        InputError: radii that are not positive, or a cell without volume.
    """
    cell, starts, ends, radii = (x.detach().double().cpu() for x in (cell, starts, ends, radii))
    if not bool((radii > 0).all()):
        raise InputError(f"radii: must be positive, the smallest is {float(radii.min()):.3g}")
    if not float(torch.linalg.det(cell).abs()) > 0:
        raise InputError("cell: its three lattice vectors lie in a plane; give a cell with a volume")
    image = torch.zeros(_checked(shape), dtype=torch.bool)
    size = torch.tensor(shape, dtype=torch.float64)
    inverse = torch.linalg.inv(cell)
    reach = inverse.norm(dim=0)  # by how much a coordinate grows for a step of length 1
    for start, end, radius in zip(starts, ends, radii.tolist(), strict=True):
        both = torch.stack([start, end]) @ inverse
        low = torch.floor((both.min(0).values - radius * reach) * size - 0.5).long()
        high = torch.ceil((both.max(0).values + radius * reach) * size - 0.5).long()
        steps = [torch.arange(int(a), int(b) + 1) for a, b in zip(low, high, strict=True)]
        along = end - start
        length2 = float(along @ along)
        for first in steps[0]:  # a plane at a time
            centers = torch.stack(torch.meshgrid(first[None], *steps[1:], indexing="ij"), dim=-1)[0].double() + 0.5
            away = (centers / size) @ cell - start
            share = ((away @ along) / length2).clamp(0, 1) if length2 > 0 else torch.zeros(away.shape[:-1])
            inside = (away - share[..., None] * along).square().sum(-1) <= radius**2
            rows, columns = torch.nonzero(inside, as_tuple=True)
            image[int(first) % shape[0], (steps[1][rows]) % shape[1], (steps[2][columns]) % shape[2]] = True
    return image


def _checked(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape) < 1 or math.prod(shape) > 2**31 - 1:
        raise InputError(f"shape: three positive numbers of voxels, at most 2^31 in all, got {tuple(shape)}")
    return shape
