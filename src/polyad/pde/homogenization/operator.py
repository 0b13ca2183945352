"""The finite-element matrix of a voxel image, applied without being built; voxels without stiffness cost nothing."""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.pde.homogenization.elements import CORNERS, VoxelElement

CHUNK = 1 << 18
"""Voxels that are gathered at a time."""


@final
class VoxelOperator:
    """K of an image and the loads of unit strains, on displacements (3, x, y, z) of the nodes.

    Args:
        image: numbers of the phases.
        element: of one voxel.
        materials: (phases, 6, 6) stiffness tensors; phases of zeros are void.
    """

    def __init__(
        self, image: Int[Tensor, "x y z"], element: VoxelElement, materials: Float[Tensor, "phases 6 6"]
    ) -> None:
        self.shape, self.device = tuple(image.shape), image.device
        self.element, self.materials = element, materials
        solid = [k for k, material in enumerate(materials) if bool(material.any())]
        self.phases = [(k, _corner_nodes(image, k)) for k in solid]
        order = torch.arange(24).view(8, 3).T.flatten()  # from (corner, axis) to (axis, corner)
        self._stiffness = element.stiffness(materials)[:, order][:, :, order].to(self.device)
        self._loads = element.loads(materials)[:, order].to(self.device)
        self._mean = element.mean_strain()[:, order].to(self.device)

    def __call__(self, displacement: Float[Tensor, "3 x y z"]) -> Float[Tensor, "3 x y z"]:
        """Nodal forces, in the precision of the displacements."""
        flat, forces = displacement.reshape(3, -1), self._zeros(3, displacement.dtype)
        stiffness = self._stiffness.to(displacement.dtype)
        for phase, nodes in self.phases:
            for part in nodes.split(CHUNK, dim=1):
                _scatter(forces, part, stiffness[phase] @ _gather(flat, part))
        return forces.view(3, *self.shape)

    def load(self, strain: int) -> Float[Tensor, "3 x y z"]:
        """Nodal forces of a unit strain everywhere, by its number in Kelvin-Mandel order; float64."""
        forces = self._zeros(3, torch.float64)
        for phase, nodes in self.phases:
            for part in nodes.split(CHUNK, dim=1):
                _scatter(forces, part, self._loads[phase, :, strain, None].expand(-1, part.shape[1]))
        return forces.view(3, *self.shape)

    def mean_stress(self, displacement: Float[Tensor, "3 x y z"], strain: int) -> Float[Tensor, "6"]:
        """Stress averaged over the whole cell, void included, under a unit strain and a periodic displacement."""
        flat, total = displacement.reshape(3, -1), torch.zeros(6, dtype=torch.float64)
        unit = torch.eye(6, dtype=torch.float64)[strain]
        for phase, nodes in self.phases:
            moved = torch.zeros(24, dtype=torch.float64)
            for part in nodes.split(CHUNK, dim=1):
                moved += _gather(flat, part).sum(1, dtype=torch.float64).cpu()
            inside = self._mean.cpu() @ moved + nodes.shape[1] * unit
            total += self.materials[phase].double().cpu() @ inside
        return total / math.prod(self.shape)

    def strains(self, displacement: Float[Tensor, "3 x y z"], strain: int) -> Float[Tensor, "6 x y z"]:
        """Mean strain of every voxel; zero in void."""
        flat = displacement.reshape(3, -1)
        field, mean = self._zeros(6, flat.dtype), self._mean.to(flat.dtype)
        for _, nodes in self.phases:
            for part in nodes.split(CHUNK, dim=1):
                values = mean @ _gather(flat, part)
                values[strain] += 1
                field[:, part[0].long()] = values
        return field.view(6, *self.shape)

    def _zeros(self, rows: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(rows, math.prod(self.shape), dtype=dtype, device=self.device)


def _corner_nodes(image: Tensor, phase: int) -> Int[Tensor, "8 voxels"]:
    """Numbers of the nodes at the corners of the voxels of a phase, in int32; the first is the voxel's own."""
    shape, places = image.shape, torch.nonzero(image == phase)
    nodes = []
    for corner in CORNERS:
        i, j, k = ((places[:, axis] + corner[axis]) % shape[axis] for axis in range(3))
        nodes.append(((i * shape[1] + j) * shape[2] + k).int())
    return torch.stack(nodes)


def _gather(flat: Tensor, nodes: Tensor) -> Tensor:
    """Displacements of the corners, (24, voxels) in the order (axis, corner)."""
    return flat.index_select(1, nodes.flatten()).view(24, nodes.shape[1])


def _scatter(forces: Tensor, nodes: Tensor, values: Tensor) -> None:
    """Add forces (24, voxels) to the nodes; one axis at a time, which torch does in a plain loop."""
    place, by_axis = nodes.flatten(), values.reshape(3, -1)
    for axis in range(3):
        forces[axis].index_add_(0, place, by_axis[axis])
