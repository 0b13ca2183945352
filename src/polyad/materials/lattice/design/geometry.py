"""The numbers of a candidate design, and margins: what a constraint asks of them.

On its way an optimiser passes through lattices that are no valid ones (a radius beyond half its strut); constraints and
variables speak of a plain tuple instead. Its tangent, the derivatives by all variables, is a tuple of the same kind
with one more leading dimension.

Every margin is a smooth formula of a few local quantities (a strut's vector and radius, the vectors of a pair), and
these are linear in the geometry. So one backward pass through the formula serves all margins at once: with local
quantities q_k = S_k(geometry), d margin_k / dz = (d formula / d q)_k . S_k(tangent).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.materials.lattice.cell import StrutLattice


class Geometry(NamedTuple):
    """One cell, or its tangent by `variables` numbers; the net itself (edge_index, edge_shift) is known elsewhere."""

    cell: Float[Tensor, "*variables 3 3"]
    positions: Float[Tensor, "*variables nodes 3"]
    vectors: Float[Tensor, "*variables edges 3"]
    radius: Float[Tensor, "*variables edges"]

    @property
    def length(self) -> Float[Tensor, " edges"]:
        """Length of every strut (of a geometry, not of a tangent)."""
        return torch.linalg.vector_norm(self.vectors, dim=-1)


def geometry_of(lattice: StrutLattice) -> Geometry:
    """The geometry of a lattice."""
    return Geometry(lattice.cell, lattice.positions, lattice.edge_vectors, lattice.radius)


@final
@dataclass(frozen=True)
class Margins:
    """Numbers that are >= 0 where a constraint is kept.

    Args:
        select: local quantities of a geometry, each (..., count) or (..., count, 3); linear, any leading dimensions.
        formula: from the local quantities to (rows, count) margins; margin k depends on the k-th local quantities only.
    """

    select: Callable[[Geometry], tuple[Tensor, ...]]
    formula: Callable[..., Float[Tensor, "rows count"]]

    def values(self, geometry: Geometry) -> Float[Tensor, " margins"]:
        """All margins, differentiable."""
        return self.formula(*self.select(geometry)).reshape(-1)

    def jacobian(self, geometry: Geometry, tangent: Geometry) -> Float[Tensor, "margins variables"]:
        """Derivative of the margins by the variables of the tangent."""
        local = [x.detach().requires_grad_() for x in self.select(geometry)]
        change = self.select(tangent)
        blocks = []
        for row in self.formula(*local):
            slopes = torch.autograd.grad(row.sum(), local, retain_graph=True, allow_unused=True)
            block = torch.zeros(tangent.radius.shape[0], row.shape[0], dtype=row.dtype)
            for slope, moved in zip(slopes, change, strict=True):
                if slope is not None:
                    product = slope * moved
                    block = block + (product.sum(-1) if slope.ndim == 2 else product)
            blocks.append(block.T)
        return torch.cat(blocks)


def struts(geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Local quantities of every strut: its vector and its radius."""
    return geometry.vectors, geometry.radius
