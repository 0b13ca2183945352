"""Forces and moments in struts, from the displacements of the nodes that they join.

A strut with vector v from node i to node j stretches, shears, twists and bends by

    eta = epsilon v + u_j - u_i + v x (theta_i + theta_j) / 2,    delta = theta_j - theta_i,

epsilon the macroscopic strain of a periodic frame (absent in a finite one). With n = v / |v| it carries the force and,
at mid-length, the moment

    f = b eta + (a - b) n (n.eta),    m = g delta + (t - g) n (n.delta),

with the four stiffnesses (a, b, t, g) of `sections`. They are what the target's side of a section exerts on the
source's side: the force is the same in every section, the moment is m + (1/2 - s) v x f at the fraction s of the way
from source to target, so m + v x f / 2 at the source and m - v x f / 2 at the target. Nodes are in equilibrium, and the
macroscopic stress is (1 / V) sum over struts of f (x) v.

Forces under any load are combinations of those under six unit strains, so many loads cost one homogenisation.

Source: Przemieniecki, Theory of Matrix Structural Analysis (1968), section 5.6; virtual work for the stress.

When not to use: as an objective to differentiate. Forces carry no gradient; the stiffness tensor does (`homogenize`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict, Unpack, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import StrutLattice, vector_lengths
from polyad.materials.lattice.frames.sections import Section, strut_stiffness
from polyad.materials.lattice.homogenization import homogenize
from polyad.tensors.notation import mandel_basis, strain_to_mandel


class FrameOptions(TypedDict, total=False):
    """Keywords that describe the struts and the solver, as `homogenize` takes them."""

    young_modulus: float | Tensor
    poisson_ratio: float | Tensor
    shear: bool
    section: Section | None
    joint_length: float
    method: str


@final
@dataclass(frozen=True, eq=False)
class StrutForces:
    """What every strut carries, for one load or several (leading dimensions).

    Args:
        force: (*cases, edges, 3) force vector, the same in every section; along the strut's vector in tension.
        moment: (*cases, edges, 3) moment vector at mid-length.
        vectors: (edges, 3) strut vectors, source to target.
    """

    force: Float[Tensor, "*cases edges 3"]
    moment: Float[Tensor, "*cases edges 3"]
    vectors: Float[Tensor, "edges 3"]

    @property
    def direction(self) -> Float[Tensor, "edges 3"]:
        """Unit vector of every strut."""
        return self.vectors / vector_lengths(self.vectors)[:, None]

    @property
    def axial(self) -> Float[Tensor, "*cases edges"]:
        """Normal force, positive in tension."""
        return (self.force * self.direction).sum(-1)

    @property
    def shear(self) -> Float[Tensor, "*cases edges"]:
        """Magnitude of the shear force."""
        return vector_lengths(self.force - self.axial[..., None] * self.direction)

    @property
    def torque(self) -> Float[Tensor, "*cases edges"]:
        """Torque about the strut's vector, the same in every section."""
        return (self.moment * self.direction).sum(-1)

    def moment_at(self, fraction: float | Tensor) -> Float[Tensor, "*cases edges 3"]:
        """Moment vector at `fraction` of the way from source (0) to target (1); one number, or one a strut."""
        lever = (0.5 - torch.as_tensor(fraction, dtype=self.vectors.dtype)).expand(len(self.vectors))
        arm = (lever[:, None] * self.vectors).expand_as(self.force)
        return self.moment + torch.linalg.cross(arm, self.force, dim=-1)

    def bending_at(self, fraction: float | Tensor) -> Float[Tensor, "*cases edges"]:
        """Magnitude of the bending moment (torque left out) at `fraction` of the way from source to target."""
        moment = self.moment_at(fraction)
        return vector_lengths(moment - (moment * self.direction).sum(-1, keepdim=True) * self.direction)

    @property
    def bending(self) -> Float[Tensor, "*cases edges 2"]:
        """Bending moments at source and target, where they are largest: in between they change linearly."""
        return torch.stack([self.bending_at(0.0), self.bending_at(1.0)], dim=-1)

    def on_nodes(self, edge_index: Int[Tensor, "2 edges"], nodes: int) -> Float[Tensor, "*cases nodes 6"]:
        """Forces and moments that hold the struts in place, summed at every node: zero where a node is free."""
        source, target = edge_index
        at_target = torch.cat([self.force, self.moment_at(1.0)], dim=-1)
        at_source = torch.cat([-self.force, -self.moment_at(0.0)], dim=-1)
        total = self.force.new_zeros(*self.force.shape[:-2], nodes, 6)
        return total.index_add(-2, target, at_target).index_add(-2, source, at_source)

    def to(self, dtype: torch.dtype) -> StrutForces:
        """The same in another floating dtype."""
        return StrutForces(self.force.to(dtype), self.moment.to(dtype), self.vectors.to(dtype))


@torch.no_grad()
def strut_forces(
    lattice: StrutLattice | LatticeBatch,
    *,
    strain: Float[Tensor, "... 6"] | Float[Tensor, "... 3 3"] | None = None,
    stress: Float[Tensor, "... 6"] | Float[Tensor, "... 3 3"] | None = None,
    **options: Unpack[FrameOptions],
) -> StrutForces:
    """Forces in all struts under a macroscopic strain or stress, or under several at once.

    Args:
        lattice: one lattice, or a batch whose struts follow each other in the result.
        strain: macroscopic strain, Kelvin-Mandel (*cases, 6) or tensors (*cases, 3, 3). For a batch the last of the
            leading dimensions counts lattices: (*cases, batch, 6), or 1 in its place where all share the load; a single
            (6,) or (3, 3) serves all.
        stress: the same for a macroscopic stress, in the unit of Young's modulus. Give one of the two.
        options: of `homogenize`.

    Returns:
        Forces in unit of modulus times length squared, shape (*cases, edges, 3); without gradient.

    Raises:
        InputError: both or neither load, shapes that do not fit, or a stress on a lattice that cannot carry it.
    """
    load = _mandel(strain, stress)
    if isinstance(lattice, StrutLattice):
        load, batch = load[..., None, :], LatticeBatch.from_lattices([lattice])
    else:
        load, batch = load if load.ndim > 1 else load[None], lattice
    if load.shape[-2] not in (1, len(batch)):
        raise InputError(
            f"load: its shape is {tuple(load.shape)} for {len(batch)} lattices; "
            f"give (*cases, {len(batch)}, 6), or (*cases, 1, 6) for all"
        )
    unit, compliance = unit_strain_forces(batch, need_compliance=stress is not None, **options)
    if compliance is not None:
        load = torch.einsum("bij,...bj->...bi", compliance, load)
    return combine(unit, load, batch).to(batch.positions.dtype)


def unit_strain_forces(
    batch: LatticeBatch, *, need_compliance: bool, **options: Unpack[FrameOptions]
) -> tuple[StrutForces, Float[Tensor, "batch 6 6"] | None]:
    """Forces (6, edges, 3) under the six Mandel unit strains in float64, and where needed the compliances."""
    double = batch.replace(
        cell=batch.cell.detach().double(),
        positions=batch.positions.detach().double(),
        radius=batch.radius.detach().double(),
    )
    result = homogenize(double, **options)
    vectors = double.edge_vectors
    strut = {k: v for k, v in options.items() if k != "method"}
    coefficients = strut_stiffness(vector_lengths(vectors), double.radius, **strut)  # type: ignore[arg-type]
    stretch = torch.einsum("kpq,eq->kep", mandel_basis(device=vectors.device), vectors)
    assert result.displacements is not None
    forces = node_displacement_forces(vectors, coefficients, batch.edge_index, result.displacements, stretch=stretch)
    return forces, result.compliance if need_compliance else None


def combine(unit: StrutForces, strain: Float[Tensor, "*cases batch 6"], batch: LatticeBatch) -> StrutForces:
    """Forces under strains of every lattice, from those under the six unit strains."""
    strain = strain.to(unit.force).expand(*strain.shape[:-2], len(batch), 6)[..., batch.edge_batch, :]
    force, moment = (torch.einsum("kep,...ek->...ep", x, strain) for x in (unit.force, unit.moment))
    return StrutForces(force, moment, unit.vectors)


def node_displacement_forces(
    vectors: Float[Tensor, "edges 3"],
    coefficients: Float[Tensor, "edges 4"],
    edge_index: Int[Tensor, "2 edges"],
    displacements: Float[Tensor, "nodes 6 cases"],
    *,
    stretch: Float[Tensor, "cases edges 3"] | None = None,
) -> StrutForces:
    """Forces (cases, edges, 3) in struts whose nodes are displaced and turned.

    Args:
        coefficients: (edges, 4) from `strut_stiffness`.
        displacements: displacement and rotation (rows) of every node, one column a case.
        stretch: displacement of every strut's target in addition, epsilon v under a macroscopic strain.
    """
    moved = displacements.movedim(-1, 0)
    source, target = edge_index
    difference, total = moved[:, target] - moved[:, source], moved[:, target, 3:] + moved[:, source, 3:]
    eta = difference[..., :3] + 0.5 * torch.linalg.cross(vectors.expand_as(total), total, dim=-1)
    eta = eta if stretch is None else eta + stretch
    n = vectors / vector_lengths(vectors)[:, None]
    a, b, t, g = (x[:, None] for x in coefficients.unbind(-1))
    force = b * eta + (a - b) * (eta * n).sum(-1, keepdim=True) * n
    delta = difference[..., 3:]
    moment = g * delta + (t - g) * (delta * n).sum(-1, keepdim=True) * n
    return StrutForces(force, moment, vectors)


def _mandel(strain: Tensor | None, stress: Tensor | None) -> Float[Tensor, "*cases 6"]:
    given = [x for x in (strain, stress) if x is not None]
    if len(given) != 1:
        raise InputError(f"strut_forces: {len(given)} loads were given; give either strain or stress")
    load = given[0].detach().double()
    if not bool(torch.isfinite(load).all()):
        raise InputError("load: holds NaN or infinity; every component must be finite")
    return load if load.shape[-1] == 6 else strain_to_mandel(load)
