"""The numbers that a design may change, and the lattice that they stand for.

All variables z = (z_x, z_r, z_a) are zero at the start and of order one where the lattice has changed a lot:

    positions   x = (x_0 + l D z_x) F^T        l the mean strut length, rows of D an orthonormal basis of displacements
    radii       r = lambda r_0 exp(R z_r)      rows of R an orthonormal basis of log-radii of mean zero
    cell        h = h_0 F^T,  F = exp(A z_a)   A a basis of traceless matrices, so that the volume is kept

lambda is chosen so that the relative density is the one asked for, exactly and at every z: the constraint is eliminated
and no optimiser can lose it. The bases span what is free: no rigid translation of the lattice, nothing frozen, and with
a symmetry only what the group leaves alone, so that gradients are projected by the chain rule.

A strut that is frozen keeps its radius and its end nodes; a frozen node keeps its fractional coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice, edge_vectors
from polyad.materials.lattice.design.geometry import Geometry
from polyad.materials.lattice.design.symmetry import LatticeSymmetry
from polyad.materials.lattice.frames.sections import Circle, Section

PARTS = ("positions", "radius", "cell")


@final
@dataclass(frozen=True, eq=False)
class Variables:
    """See the module's docstring; `make_variables` builds one.

    Args:
        start: the lattice at z = 0 (float64, without gradients).
        material: volume of all struts, density x cell volume.
        displacements: (positions variables, nodes, 3), scaled by the mean strut length.
        log_radii: (radius variables, edges).
        deformations: (cell variables, 3, 3).
        frozen: (edges,) struts that keep their radius.
        section: cross-section; its area must grow as r^2.
    """

    start: StrutLattice
    material: float
    displacements: Float[Tensor, "positions_variables nodes 3"]
    log_radii: Float[Tensor, "radius_variables edges"]
    deformations: Float[Tensor, "cell_variables 3 3"]
    frozen: Bool[Tensor, " edges"]
    section: Section

    @property
    def sizes(self) -> list[int]:
        """Number of variables of each part: positions, radius, cell."""
        return [len(self.displacements), len(self.log_radii), len(self.deformations)]

    @property
    def count(self) -> int:
        """Number of variables."""
        return sum(self.sizes)

    def geometry(self, variables: Float[Tensor, " variables"]) -> Geometry:
        """The lattice at `variables`, differentiable; NaN radii where frozen struts alone exceed the density."""
        moved, thickened, deformed = variables.split(self.sizes)
        turn = torch.linalg.matrix_exp(torch.einsum("v,vij->ij", deformed, self.deformations)).mT
        cell = self.start.cell @ turn
        positions = (self.start.positions + torch.einsum("v,vnk->nk", moved, self.displacements)) @ turn
        vectors = edge_vectors(cell, positions, self.start.edge_index, self.start.edge_shift)
        shape = self.start.radius * (thickened @ self.log_radii).exp()
        volume = self._volumes(shape, vectors)
        scale = ((self.material - volume[self.frozen].sum()) / volume[~self.frozen].sum()).sqrt()
        return Geometry(cell, positions, vectors, torch.where(self.frozen, self.start.radius, scale * shape))

    def tangent(self, variables: Float[Tensor, " variables"]) -> Geometry:
        """Derivatives of `geometry` by every variable, in closed form."""
        moved, _, deformed = variables.split(self.sizes)
        generator = torch.einsum("v,vij->ij", deformed, self.deformations)
        turn, slopes = torch.linalg.matrix_exp(generator).mT, _exponential_slopes(generator, self.deformations).mT
        still = self.start.positions + torch.einsum("v,vnk->nk", moved, self.displacements)
        count = [len(self.displacements), len(self.log_radii)]
        cell = torch.cat([self.start.cell.new_zeros(sum(count), 3, 3), self.start.cell @ slopes])
        unmoved = still.new_zeros(count[1], *still.shape)
        positions = torch.cat([self.displacements @ turn, unmoved, still @ slopes])
        source, target = self.start.edge_index
        vectors = positions[:, target] - positions[:, source] + self.start.edge_shift.double() @ cell
        here = self.geometry(variables)
        stretch = (here.vectors * vectors).sum(-1) / here.length.square()  # d log L
        thicker = torch.cat([
            self.log_radii.new_zeros(count[0], self.start.num_edges),
            self.log_radii,
            self.log_radii.new_zeros(len(self.deformations), self.start.num_edges),
        ])  # fmt: skip
        # the material of free struts is what frozen ones leave: d log(scale) from d(volumes) = 0, volumes ~ r^2 L
        volume = self._volumes(here.radius, here.vectors)
        free = torch.where(self.frozen, 0.0, volume)
        common = -0.5 * (stretch @ volume + 2 * thicker @ free) / free.sum()
        radius = torch.where(self.frozen, 0.0, here.radius) * (thicker + common[:, None])
        return Geometry(cell, positions, vectors, radius)

    def density(self, geometry: Geometry) -> float:
        """Relative density of a geometry, with the section's area."""
        volume = torch.linalg.det(geometry.cell).abs()
        return float((self.section.area(geometry.radius) * geometry.length).sum() / volume)

    def _volumes(self, radius: Tensor, vectors: Tensor) -> Tensor:
        radius = torch.where(self.frozen, self.start.radius, radius)
        return self.section.area(radius) * torch.linalg.vector_norm(vectors, dim=-1)

    def lattice(self, variables: Float[Tensor, " variables"]) -> StrutLattice:
        """The validated lattice at `variables`.

        Raises:
            InputError: not a lattice (a strut without length, a radius beyond half its strut).
        """
        geometry = self.geometry(variables.detach())
        return self.start.replace(cell=geometry.cell, positions=geometry.positions, radius=geometry.radius)


def make_variables(
    start: StrutLattice,
    *,
    density: float,
    vary: Sequence[str] = PARTS[:2],
    symmetry: LatticeSymmetry | None = None,
    frozen_nodes: Sequence[int] = (),
    frozen_struts: Sequence[int] = (),
    section: Section | None = None,
) -> Variables:
    """Variables of a lattice whose radii (up to a common factor) and nodes are the start.

    Args:
        start: float64, already on its symmetry if one is given.
        density: relative density to be kept, with the section's area.
        vary: any of "positions", "radius", "cell".
        symmetry: group to be kept; frozen parts are frozen with all their images.
        frozen_nodes, frozen_struts: numbers.
        section: solid round struts where not given.

    Raises:
        InputError: an unknown part, a number out of range, a section whose area is no multiple of r^2.
    """
    unknown = [part for part in vary if part not in PARTS]
    if unknown or not vary or isinstance(vary, str):
        raise InputError(f"vary: {vary!r} must be a sequence of one or more of {', '.join(PARTS)}")
    section = section or Circle()
    probe = section.area(torch.tensor([1.0, 2.0], dtype=torch.float64))
    if not bool((probe[1] - 4 * probe[0]).abs() < 1e-9 * probe[0]):
        raise InputError(f"section: the area of {section!r} is no multiple of r^2; density could not be kept exactly")
    frozen = _mask(frozen_struts, start.num_edges, "frozen_struts")
    still = _mask(frozen_nodes, start.num_nodes, "frozen_nodes")
    still[start.edge_index[:, frozen].reshape(-1)] = True
    if symmetry is not None:
        frozen = frozen[symmetry.edge_map].any(0)
        still = still[symmetry.node_map].any(0)
    if bool(frozen.all()):
        raise InputError("frozen_struts: all struts are frozen, so the density could not be set; leave some free")
    return Variables(
        start,
        float(density * start.volume),
        _displacement_basis(start, still, symmetry)
        if "positions" in vary
        else torch.zeros(0, start.num_nodes, 3).double(),
        _radius_basis(start, frozen, symmetry) if "radius" in vary else torch.zeros(0, start.num_edges).double(),
        _deformation_basis(symmetry) if "cell" in vary else torch.zeros(0, 3, 3).double(),
        frozen,
        section,
    )


def _displacement_basis(start: StrutLattice, still: Tensor, symmetry: LatticeSymmetry | None) -> Tensor:
    nodes = start.num_nodes
    size = 3 * nodes
    barred = torch.zeros(size, size, dtype=torch.float64)
    if symmetry is not None:
        projector = symmetry.project_displacements(torch.eye(size, dtype=torch.float64).reshape(size, nodes, 3))
        barred += torch.eye(size, dtype=torch.float64) - projector.reshape(size, size)
    barred += torch.diag(still.repeat_interleave(3).double())
    if not bool(still.any()):  # a translation of the whole lattice changes nothing
        barred += (torch.eye(3, dtype=torch.float64).repeat(nodes, nodes)) / nodes
    return start.edge_lengths.mean() * _null_space(barred).reshape(-1, nodes, 3)


def _radius_basis(start: StrutLattice, frozen: Tensor, symmetry: LatticeSymmetry | None) -> Tensor:
    identity = torch.eye(start.num_edges, dtype=torch.float64)
    barred = torch.diag(frozen.double())
    if symmetry is not None:
        barred += identity - symmetry.project_radii(identity)
    free = (~frozen).double()
    barred += torch.outer(free, free) / free.sum()  # a common factor is taken up by the density
    return _null_space(barred)


def _deformation_basis(symmetry: LatticeSymmetry | None) -> Tensor:
    identity = torch.eye(9, dtype=torch.float64)
    trace = torch.eye(3, dtype=torch.float64).reshape(9)
    barred = torch.outer(trace, trace) / 3
    if symmetry is not None:
        barred += identity - symmetry.project_deformations(identity.reshape(9, 3, 3)).reshape(9, 9)
    return _null_space(barred).reshape(-1, 3, 3)


def _exponential_slopes(matrix: Float[Tensor, "3 3"], directions: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3 3"]:
    """Derivatives of exp(matrix) along directions: exp [[X, D], [0, X]] holds them in its upper right block."""
    block = matrix.new_zeros(len(directions), 6, 6)
    block[:, :3, :3] = block[:, 3:, 3:] = matrix
    block[:, :3, 3:] = directions
    return torch.linalg.matrix_exp(block)[:, :3, 3:]


def _null_space(barred: Float[Tensor, "n n"]) -> Float[Tensor, "free n"]:
    """Orthonormal rows that span the null space of a sum of projectors."""
    values, vectors = torch.linalg.eigh(0.5 * (barred + barred.T))
    return vectors[:, values < 1e-8].T.contiguous()


def _mask(numbers: Sequence[int], size: int, name: str) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    for number in numbers:
        if not 0 <= int(number) < size:
            raise InputError(f"{name}: {number} is out of range; the lattice has numbers 0 to {size - 1}")
        mask[int(number)] = True
    return mask
