"""Effective stiffness of periodic frames: exact, batched, differentiable.

Struts are Timoshenko (or Euler-Bernoulli) beams that meet in rigid nodes. A macroscopic strain epsilon displaces the
image of a node by epsilon times its lattice vector; displacements and rotations are periodic otherwise. Minimising the
elastic energy of the cell over them leaves a quadratic form in epsilon,

    W = 1/2 V epsilon : C : epsilon,     V C = A'KA - A'KB (B'KB)^+ B'KA,

whose matrix C (6x6, Kelvin-Mandel order 11,22,33,23,13,12) is the effective stiffness. Because the energy is stationary
in the displacements, its derivative by any parameter is the derivative at fixed displacements: gradients cost no second
solve.

Small cells are eliminated block by block in compiled code (`elimination_kernels`), large ones solved by preconditioned
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
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.errors import InputError, NumericalWarning
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import StrutLattice, vector_lengths
from polyad.materials.lattice.frames.dense import dense_energy
from polyad.materials.lattice.frames.energy import frame_energy
from polyad.materials.lattice.frames.frame import assemble
from polyad.materials.lattice.frames.sections import Circle, Section, strut_stiffness

METHODS = ("auto", "block", "dense", "iterative")

LARGEST_DIRECT = 1500
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
    batch = _as_batch(lattice)
    strut = _Strut(young_modulus, poisson_ratio, shear, section, joint_length)
    stiffness, _, _ = _solve(batch, strut, method, keep_displacements=False)
    return stiffness[0] if isinstance(lattice, StrutLattice) else stiffness


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
    batch = _as_batch(lattice)
    options = _Strut(young_modulus, poisson_ratio, shear, section, joint_length)
    stiffness, mechanisms, displacements = _solve(
        batch, options, method, keep_displacements=True, tolerance=tolerance, progress=progress
    )
    strut = (section or Circle()).area(batch.radius) * vector_lengths(batch.edge_vectors)
    density = torch.zeros_like(batch.volume).index_add(0, batch.edge_batch, strut) / batch.volume
    if isinstance(lattice, StrutLattice):
        stiffness, mechanisms, density = stiffness[0], mechanisms[0], density[0]
    return Homogenization(stiffness, mechanisms, dangling_struts(batch), displacements, density)


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


def _as_batch(lattice: StrutLattice | LatticeBatch) -> LatticeBatch:
    return LatticeBatch.from_lattices([lattice]) if isinstance(lattice, StrutLattice) else lattice


class _Strut(NamedTuple):
    young_modulus: float | Tensor
    poisson_ratio: float | Tensor
    shear: bool
    section: Section | None
    joint_length: float


def _solve(
    batch: LatticeBatch,
    strut: _Strut,
    method: str,
    *,
    keep_displacements: bool,
    tolerance: float = 1e-10,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[Tensor, "batch 6 6"], Int[Tensor, " batch"], Float[Tensor, "nodes 6 6"] | None]:
    """Stiffness, mechanisms and (where kept) displacements, in the dtype of the lattices; solved in float64."""
    if method not in METHODS:
        raise InputError(f"method: {method!r} is not one of {', '.join(METHODS)}")
    vectors = batch.edge_vectors.double()
    coefficients = strut_stiffness(vector_lengths(vectors), batch.radius.double(), **strut._asdict())
    frame, mechanisms = assemble(batch, vectors, coefficients)
    if bool((mechanisms > 0).any()):
        worst = int(mechanisms.argmax())
        warnings.warn(
            f"lattice {worst} has {int(mechanisms[worst])} zero-energy motions: it is not one three-periodic net",
            NumericalWarning,
            stacklevel=3,
        )
    displacements: Tensor | None
    if method == "dense" or (method == "auto" and batch.cell.device.type != "cpu"):
        energy, displacements = dense_energy(frame)
    else:
        limit = {"block": batch.positions.shape[0], "iterative": 0, "auto": LARGEST_DIRECT}[method]
        energy, displacements = frame_energy(
            frame,
            batch.node_start.diff() <= limit,
            keep_displacements=keep_displacements,
            tolerance=tolerance,
            progress=progress,
        )
    stiffness = (energy / batch.volume.double()[:, None, None]).to(batch.positions.dtype)
    kept = displacements.to(stiffness.dtype) if keep_displacements and displacements is not None else None
    return stiffness, mechanisms, kept
