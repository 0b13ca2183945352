"""Clearance: a gap between the surfaces of struts that do not meet.

The distance of two segments p + a u and q + b w is that of their closest points. At the minimum over (a, b) the
derivative by any parameter is the derivative at fixed (a, b) (envelope theorem, also where a or b is clamped to an
end), so only the closest points are searched for, in closed form, and torch differentiates the distance between them.

Pairs that share a node (image) are left out: they touch by design. Only pairs that come within reach of the gap at one
of the geometries bound to are watched; whoever moves nodes far must bind again (`design` does).

Source: Ericson, Real-Time Collision Detection (2005), section 5.1.9 (closest points of two segments).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.design.geometry import Geometry, Margins
from polyad.materials.lattice.nets.contacts import contacts_of

_REACH = 0.25  # watched beyond the gap, in mean strut lengths


@final
@dataclass(frozen=True)
class Clearance:
    """Surfaces of struts that do not share a node stay at least `gap` apart, in the unit of the cell.

    This covers nodes too: a node is the end of a strut. `gap` may be 0: struts must not cross.
    """

    gap: float
    name = "clearance"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.gap) and self.gap >= 0):
            raise InputError(f"Clearance: gap is {self.gap}; it must be zero or positive")

    def bind(self, net: StrutLattice, geometries: Sequence[Geometry]) -> Margins:
        """(distance - r1 - r2 - gap) / mean strut length of every watched pair."""
        unit = float(geometries[0].length.detach().mean())
        pairs = np.unique(np.concatenate([self._near(net, x, _REACH * unit) for x in geometries]), axis=0)
        first, second, shift = (
            torch.from_numpy(np.ascontiguousarray(x)) for x in (pairs[:, 0], pairs[:, 1], pairs[:, 2:])
        )
        start, cells = net.edge_index[0], shift.double()

        def select(geometry: Geometry) -> tuple[Tensor, ...]:
            begin, vectors, radius = geometry.positions[..., start, :], geometry.vectors, geometry.radius
            between = begin[..., second, :] - begin[..., first, :] + cells @ geometry.cell
            return between, vectors[..., first, :], vectors[..., second, :], radius[..., first] + radius[..., second]

        def formula(between: Tensor, u: Tensor, w: Tensor, radii: Tensor) -> Tensor:
            return ((segment_distance(between, u, w) - radii - self.gap) / unit)[None]

        return Margins(select, formula)

    def _near(self, net: StrutLattice, geometry: Geometry, reach: float) -> np.ndarray:
        cell, positions, radius = (x.detach().numpy() for x in (geometry.cell, geometry.positions, geometry.radius))
        search = self.gap + 2 * float(radius.max()) + reach
        found = contacts_of(cell, positions, net.edge_index.numpy(), net.edge_shift.numpy(), search)
        near = found.distance < self.gap + radius[found.first] + radius[found.second] + reach
        return np.column_stack([found.first, found.second, found.shift])[near]


def segment_distance(
    between: Float[Tensor, "pairs 3"], u: Float[Tensor, "pairs 3"], w: Float[Tensor, "pairs 3"]
) -> Float[Tensor, " pairs"]:
    """Distance of the segments from 0 to u and from `between` to `between` + w; differentiable where it is not 0."""
    a, b = _closest_points(between.detach(), u.detach(), w.detach())
    return torch.linalg.vector_norm(between + b[:, None] * w - a[:, None] * u, dim=-1)


def _closest_points(between: Tensor, u: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Parameters in [0, 1] of the closest points of a u and between + b w."""
    uu, ww, uw = (u * u).sum(-1), (w * w).sum(-1), (u * w).sum(-1)
    ur, wr = (u * between).sum(-1), (w * between).sum(-1)
    determinant = uu * ww - uw * uw
    skew = determinant > 1e-12 * uu * ww
    a = torch.where(skew, (ur * ww - uw * wr) / torch.where(skew, determinant, 1.0), 0.0).clamp(0, 1)
    b = (a * uw - wr) / ww
    outside = (b < 0) | (b > 1)
    b = b.clamp(0, 1)
    return torch.where(outside, ((ur + b * uw) / uu).clamp(0, 1), a), b
