"""Effective stiffness of periodic frames: exact, batched, differentiable.

Struts are Timoshenko (or Euler-Bernoulli) beams that meet in rigid nodes. A macroscopic strain epsilon displaces the
image of a node by epsilon times its lattice vector; displacements and rotations are periodic otherwise. Minimising the
elastic energy of the cell over them leaves a quadratic form in epsilon,

    W = 1/2 V epsilon : C : epsilon,     V C = A'KA - A'KB (B'KB)^+ B'KA,

whose matrix C (6x6, Kelvin-Mandel order 11,22,33,23,13,12) is the effective stiffness. Because the energy is stationary
in the displacements, its derivative by any parameter is the derivative at fixed displacements: gradients cost no second
solve.

Small cells are eliminated block by block in compiled code (`frame_kernels`), large ones solved by preconditioned
conjugate gradients (`iterative`), cells on an accelerator by dense batched factorisations (`dense`).

With rigid joints the zero-energy motions are the rigid motions of components that are not three-periodic: each
component has 3 translations, a chain one rotation more and an island three more. They are counted as `mechanisms`
(beyond the one global translation that every lattice has) and held by springs that take no force.

Source: Grega, Batatia, Csanyi, Karlapati, Deshpande, ICLR 2024, arXiv:2401.16914, appendix A; Vigliotti and Pasini,
Comput. Methods Appl. Mech. Eng. 229-232 (2012) 27-43 (periodic frames).

Deviations: the published finite-element results split every strut into three elements; Timoshenko elements are exact,
so one is used here. Nodes are points: `joint_length` is the only correction for their size.

When not to use: struts thicker than about a fifth of their length, or relative density above about 0.1, where joints
are three-dimensional bodies and beam theory overestimates compliance.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.errors import InputError, NumericalWarning
from polyad.graphs.periodic import periodic_components_batched
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import StrutLattice, vector_lengths
from polyad.materials.lattice.dense import dense_energy
from polyad.materials.lattice.elimination import Grounding, block_energy
from polyad.materials.lattice.iterative import iterative_energy
from polyad.materials.lattice.sections import Section, strut_stiffness

LARGEST_DIRECT = 400
"""Cells with more nodes than this are solved by conjugate gradients unless a method is named."""


@final
@dataclass(frozen=True, eq=False)
class Homogenization:
    """Result of `homogenize`; the fields of a batch have a leading dimension where one lattice has none.

    Args:
        stiffness: (..., 6, 6) Kelvin-Mandel, symmetric, in the unit of Young's modulus.
        mechanisms: (...) zero-energy motions beyond the global translation.
        dangling: (edges,) struts that end freely (leaves of the net, removed repeatedly); they carry nothing.
        displacements: (nodes, 6, 6) periodic displacement and rotation (rows) under the six Mandel unit strains
            (columns), up to a rigid motion of every component.
        relative_density: (...) sum of A L over the cell volume, with the section that was used.
    """

    stiffness: Float[Tensor, "*batch 6 6"]
    mechanisms: Int[Tensor, "*batch"]
    dangling: Bool[Tensor, " edges"]
    displacements: Float[Tensor, "nodes 6 6"] | None
    relative_density: Float[Tensor, "*batch"]

    @property
    def compliance(self) -> Float[Tensor, "*batch 6 6"]:
        """Inverse of the stiffness.

        Raises:
            InputError: a lattice that has no stiffness in some direction (its tensor is singular).
        """
        eigenvalues = torch.linalg.eigvalsh(self.stiffness.detach())
        singular = eigenvalues[..., 0] <= 1e-13 * eigenvalues[..., -1]
        if bool(singular.any()):
            raise InputError(
                "compliance: the lattice resists no stress in some direction (it is not rigid in all three dimensions)"
            )
        return torch.linalg.inv(self.stiffness)


def effective_stiffness(
    lattice: StrutLattice | LatticeBatch,
    *,
    young_modulus: float | Tensor = 1.0,
    poisson_ratio: float | Tensor = 0.3,
    shear: bool = True,
    section: Section | None = None,
    joint_length: float = 0.0,
    method: str = "auto",
) -> Float[Tensor, "*batch 6 6"]:
    """The first field of `homogenize`: (6, 6) for a lattice, (batch, 6, 6) for a batch; see there."""
    return _solve(
        lattice,
        young_modulus=young_modulus,
        poisson_ratio=poisson_ratio,
        shear=shear,
        section=section,
        joint_length=joint_length,
        method=method,
        keep_displacements=False,
        tolerance=1e-10,
        progress=None,
    ).stiffness


def homogenize(
    lattice: StrutLattice | LatticeBatch,
    *,
    young_modulus: float | Tensor = 1.0,
    poisson_ratio: float | Tensor = 0.3,
    shear: bool = True,
    section: Section | None = None,
    joint_length: float = 0.0,
    method: str = "auto",
    tolerance: float = 1e-10,
    progress: Callable[[int, int], None] | None = None,
) -> Homogenization:
    """Effective stiffness of a lattice or of a batch, with what a user should know about it.

    Args:
        lattice: differentiable in cell, positions and radius.
        young_modulus: of the solid: one number, or one a strut (of the whole batch); differentiable.
        poisson_ratio: of the solid, likewise.
        shear: True for Timoshenko beams, False for Euler-Bernoulli beams.
        section: `Circle()` (default), `Tube(bore)` or `Square()`.
        joint_length: rigid length at both ends of every strut, in radii.
        method: "block" (compiled elimination), "iterative" (conjugate gradients), "dense" (plain torch; any device), or
            "auto" by size and device.
        tolerance: relative residual at which the iterative method stops.
        progress: called with (iterations done, limit) by the iterative method.

    Raises:
        InputError: a modulus, joint length or method out of range.
        ConvergenceError: the iterative method stopped short of its tolerance.

    Warns:
        NumericalWarning: a lattice is disconnected, or so slender that digits are lost.
    """
    return _solve(
        lattice,
        young_modulus=young_modulus,
        poisson_ratio=poisson_ratio,
        shear=shear,
        section=section,
        joint_length=joint_length,
        method=method,
        keep_displacements=True,
        tolerance=tolerance,
        progress=progress,
    )


def _solve(
    lattice: StrutLattice | LatticeBatch,
    *,
    young_modulus: float | Tensor,
    poisson_ratio: float | Tensor,
    shear: bool,
    section: Section | None,
    joint_length: float,
    method: str,
    keep_displacements: bool,
    tolerance: float,
    progress: Callable[[int, int], None] | None,
) -> Homogenization:
    single = isinstance(lattice, StrutLattice)
    batch = LatticeBatch.from_lattices([lattice]) if isinstance(lattice, StrutLattice) else lattice
    dtype = batch.positions.dtype
    vectors = batch.edge_vectors.double()
    length = vector_lengths(vectors)
    radius = batch.radius.double()
    coefficients = strut_stiffness(
        length,
        radius,
        young_modulus=young_modulus,
        poisson_ratio=poisson_ratio,
        shear=shear,
        section=section,
        joint_length=joint_length,
    )
    grounding, mechanisms = _ground(batch)
    if bool((mechanisms > 0).any()):
        worst = int(mechanisms.argmax())
        warnings.warn(
            f"lattice {worst} has {int(mechanisms[worst])} zero-energy motions: it is not one three-periodic net",
            NumericalWarning,
            stacklevel=3,
        )
    keep = keep_displacements or vectors.requires_grad or coefficients.requires_grad
    problem = (vectors, coefficients, batch.edge_index, batch.node_start, batch.edge_start, grounding)
    match _choose(method, batch):
        case "block":
            energy, displacements = block_energy(*problem, keep)
        case "dense":
            energy, displacements = dense_energy(*problem)
        case _:
            energy, displacements = iterative_energy(*problem, tolerance=tolerance, progress=progress)
    volume = batch.volume.double()
    stiffness = energy / volume[:, None, None]
    area = radius**2 * torch.pi if section is None else section.area(radius)
    density = torch.zeros_like(volume).index_add(0, batch.edge_batch, area * length) / volume
    fields = (stiffness.to(dtype), mechanisms, density.to(dtype))
    stiffness, mechanisms, density = (x[0] for x in fields) if single else fields
    kept = displacements.to(dtype) if keep_displacements and displacements is not None else None
    return Homogenization(stiffness, mechanisms, dangling_struts(batch), kept, density)


def dangling_struts(lattice: StrutLattice | LatticeBatch) -> Bool[Tensor, " edges"]:
    """Struts that end freely: leaves of the net, removed repeatedly until every node left has two strut ends."""
    nodes = lattice.positions.shape[0]
    source, target = lattice.edge_index
    free = torch.zeros(source.shape[0], dtype=torch.bool, device=source.device)
    while True:
        kept = ~free
        ends = torch.bincount(source[kept], minlength=nodes) + torch.bincount(target[kept], minlength=nodes)
        leaves = kept & ((ends[source] == 1) | (ends[target] == 1))
        if not bool(leaves.any()):
            return free
        free = free | leaves


def _choose(method: str, batch: LatticeBatch) -> str:
    methods = ("auto", "block", "dense", "iterative")
    if method not in methods:
        raise InputError(f"method: {method!r} is not one of {', '.join(methods)}")
    if method != "auto":
        return method
    if batch.cell.device.type != "cpu":
        return "dense"
    return "block" if int(batch.node_start.diff().max()) <= LARGEST_DIRECT else "iterative"


def _ground(batch: LatticeBatch) -> tuple[Grounding, Int[Tensor, " batch"]]:
    """One node to hold in every component, the rotations to hold there, and the mechanisms of every lattice."""
    parts = periodic_components_batched(batch.node_start, batch.edge_start, batch.edge_index, batch.edge_shift)
    device = batch.cell.device
    first = torch.full((len(parts),), batch.positions.shape[0], dtype=torch.int64, device=device)
    first.scatter_reduce_(0, parts.label, torch.arange(len(parts.label), device=device), "amin")
    rotation = torch.zeros(len(parts), 3, 3, dtype=torch.float64, device=device)
    rotation[parts.dimension == 0] = torch.eye(3, dtype=torch.float64, device=device)
    chains = torch.nonzero(parts.dimension == 1).flatten()
    owner = torch.searchsorted(parts.component_start, chains, right=True) - 1
    axis = torch.einsum("ck,ckd->cd", parts.directions[chains, 0].double(), batch.cell.detach()[owner].double())
    axis = axis / torch.linalg.vector_norm(axis, dim=-1, keepdim=True)
    rotation[chains] = axis[:, :, None] * axis[:, None, :]
    free = torch.tensor([6, 4, 3, 3], device=device)[parts.dimension]
    total = torch.nn.functional.pad(free.cumsum(0), (1, 0))
    mechanisms = total[parts.component_start[1:]] - total[parts.component_start[:-1]] - 3
    return Grounding(parts.component_start, first, rotation), mechanisms
