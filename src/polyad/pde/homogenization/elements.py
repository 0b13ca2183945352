"""Trilinear hexahedra on a regular grid of voxels, each with one stiffness: what the discrete problem is made of.

The cell is a parallelepiped, cut into equal small ones; a node sits at the low corner of each voxel, and opposite faces
of the cell are the same. With B the strain-displacement matrix (6 x 24, Kelvin-Mandel rows) and full 2 x 2 x 2 Gauss
quadrature

    K_e = integral of B' C B,        f_e(E) = integral of B' C E,        corners ordered as `CORNERS`.

Source: any text on finite elements, e.g. T. J. R. Hughes, The Finite Element Method (2000), section 3.

*When not to use it*: for nearly incompressible phases (nu > 0.49), where full quadrature locks.
"""

from __future__ import annotations

import itertools
import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError

CORNERS = tuple(itertools.product((0, 1), repeat=3))
"""Offsets of a voxel's eight nodes along the three lattice vectors; the third runs fastest."""

_ROOT2 = math.sqrt(2.0)
_MANDEL = (((0, 0, 1.0),), ((1, 1, 1.0),), ((2, 2, 1.0),), ((1, 2, 1 / _ROOT2), (2, 1, 1 / _ROOT2)),
           ((0, 2, 1 / _ROOT2), (2, 0, 1 / _ROOT2)), ((0, 1, 1 / _ROOT2), (1, 0, 1 / _ROOT2)))  # fmt: skip


@final
class VoxelElement:
    """The element of one voxel.

    Args:
        edges: (3, 3) rows are the voxel's edge vectors.

    Raises:
        InputError: edges that span no volume.
    """

    def __init__(self, edges: Float[Tensor, "3 3"]) -> None:
        edges = edges.double().cpu()
        self.volume = float(torch.linalg.det(edges).abs())
        if not self.volume > 1e-12 * float(edges.norm()) ** 3:
            raise InputError("cell: its three lattice vectors lie in a plane; give a cell with a volume")
        points = 0.5 + torch.tensor([-0.5, 0.5], dtype=torch.float64) / math.sqrt(3.0)
        gradients = torch.stack([_gradients(torch.stack(p)) for p in itertools.product(points, repeat=3)])
        self.strain = _strain_matrices(gradients @ torch.linalg.inv(edges).T)
        """(8 points, 6, 24) strains of unit displacements, 24 = (corner, axis)."""

    def stiffness(self, material: Float[Tensor, "*phases 6 6"]) -> Float[Tensor, "*phases 24 24"]:
        """K_e of materials with these stiffness tensors."""
        weight = self.volume / len(self.strain)
        return weight * torch.einsum("gia,...ij,gjb->...ab", self.strain, material.double().cpu(), self.strain)

    def loads(self, material: Float[Tensor, "*phases 6 6"]) -> Float[Tensor, "*phases 24 6"]:
        """f_e of six unit strains, as columns."""
        return self.volume * torch.einsum("ia,...ij->...aj", self.strain.mean(0), material.double().cpu())

    def mean_strain(self) -> Float[Tensor, "6 24"]:
        """Mean strain of unit displacements."""
        return self.strain.mean(0)


def _gradients(point: Tensor) -> Tensor:
    """Derivatives of the eight shape functions by the coordinates in [0, 1]^3, (8, 3)."""
    rows = []
    for corner in CORNERS:
        factors = [point[k] if corner[k] else 1 - point[k] for k in range(3)]
        slopes = [1.0 if corner[k] else -1.0 for k in range(3)]
        rows.append(torch.stack([slopes[k] * factors[(k + 1) % 3] * factors[(k + 2) % 3] for k in range(3)]))
    return torch.stack(rows)


def _strain_matrices(gradients: Tensor) -> Tensor:
    """(points, 8, 3) gradients in space to (points, 6, 24)."""
    strain = gradients.new_zeros(len(gradients), 6, 8, 3)
    for row, terms in enumerate(_MANDEL):
        for axis, along, factor in terms:
            strain[:, row, :, axis] += factor * gradients[:, :, along]
    return strain.flatten(2)
