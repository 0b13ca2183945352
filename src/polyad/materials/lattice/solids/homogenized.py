"""A lattice as the body that is printed, homogenised as a solid: where beam theory stops being true, this shows it.

The union of round struts with balls at the joints is cut into voxels and solved by `polyad.pde.homogenization`. Beams
count the material of a joint once for every strut that ends there and know nothing of its stiffness; the difference
grows with the radius over the length of the struts, and is some percent at a relative density of a few percent.

*When not to use it*: for thin struts, where voxels are too coarse (with four across the tensor may be off by twenty
percent, with eight by a few): there the beam solver is exact in the limit, and a million times faster.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.errors import InputError, NumericalWarning
from polyad.materials.elasticity import isotropic
from polyad.materials.lattice.cell import StrutLattice
from polyad.pde.homogenization import homogenize, voxelize_struts

ENOUGH = 6.0
"""Voxels across the thinnest strut below which a warning is given."""

_STEPS = 4  # solid shares of a blended voxel: few phases are few passes over the image


@final
@dataclass(frozen=True, eq=False)
class SolidStiffness:
    """What a lattice is as a solid.

    Args:
        stiffness: (6, 6) Kelvin-Mandel, in the unit of the modulus.
        density: volume fraction of the voxels; joints count once.
        shape: voxels along the lattice vectors.
        across: voxels across the thinnest strut.
        iterations: of each load case.
    """

    stiffness: Float[Tensor, "6 6"]
    density: float
    shape: tuple[int, int, int]
    across: float
    iterations: tuple[int, ...]


def lattice_voxels(lattice: StrutLattice, resolution: int = 64) -> Bool[Tensor, "x y z"]:
    """The image of a lattice's unit cell; `resolution` counts voxels along the longest lattice vector.

    Raises:
        InputError: a resolution below 4.
    """
    return _image(lattice, _shape(lattice, resolution))


def solid_stiffness(
    lattice: StrutLattice,
    *,
    young_modulus: float = 1.0,
    poisson_ratio: float = 0.3,
    resolution: int = 64,
    blend: int = 1,
    tolerance: float = 1e-6,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SolidStiffness:
    """Effective stiffness of a lattice as a solid with round joints.

    Args:
        lattice: struts as cylinders with half balls at both ends.
        young_modulus: of the solid.
        poisson_ratio: of the solid.
        resolution: voxels along the longest lattice vector; time grows with its cube.
        blend: parts of a voxel along each axis; with several, voxels on the surface get the share of the modulus that
            is solid, in quarters.
        tolerance: of the residual, relative to the load.
        dtype: of the iterations.
        device: where to compute.
        progress: called with what is done, and in all.

    Raises:
        InputError: a resolution below 4, a blend below 1, or constants of no solid.
        ConvergenceError: the tolerance was not reached.
    """
    lattice = lattice.detach()
    shares, density = _shares(lattice, resolution, blend)
    across = voxels_across(lattice, resolution)
    if across < ENOUGH:
        needed = math.ceil(resolution * ENOUGH / across - 1e-6)
        warnings.warn(
            f"the thinnest strut is {across:.1f} voxels across; take a resolution of {needed} or the beam solver",
            NumericalWarning,
            stacklevel=2,
        )
    body = isotropic(young_modulus, poisson_ratio)
    present, phase = shares.unique(return_inverse=True)
    found = homogenize(
        phase, [float(share) / _STEPS * body for share in present], cell=lattice.cell.double(), tolerance=tolerance,
        dtype=dtype, device=device, progress=progress,
    )  # fmt: skip
    return SolidStiffness(found.stiffness, density, _shape(lattice, resolution), across, found.iterations)


def voxels_across(lattice: StrutLattice, resolution: int) -> float:
    """Voxels across the thinnest strut, along the axis where they are largest."""
    cell = lattice.cell.double()
    size = max(float(vector.norm()) / count for vector, count in zip(cell, _shape(lattice, resolution), strict=True))
    return 2 * float(lattice.radius.min()) / size


def _shares(lattice: StrutLattice, resolution: int, blend: int) -> tuple[Int[Tensor, "x y z"], float]:
    """Solid share of every voxel in steps of 1 / `_STEPS`, and the density of the finer image behind it."""
    if blend < 1:
        raise InputError(f"blend: at least 1 part of a voxel along each axis, got {blend}")
    x, y, z = _shape(lattice, resolution)
    fine = _image(lattice, (blend * x, blend * y, blend * z))
    solid = fine.view(x, blend, y, blend, z, blend).sum(dim=(1, 3, 5))
    return (solid * (_STEPS / blend**3)).round().long(), float(fine.double().mean())


def _image(lattice: StrutLattice, shape: tuple[int, int, int]) -> Bool[Tensor, "x y z"]:
    starts = lattice.positions[lattice.edge_index[0]]
    return voxelize_struts(lattice.cell, starts, starts + lattice.edge_vectors, lattice.radius, shape)


def _shape(lattice: StrutLattice, resolution: int) -> tuple[int, int, int]:
    if resolution < 4:
        raise InputError(f"resolution: at least 4 voxels along the longest lattice vector, got {resolution}")
    lengths = lattice.cell.double().norm(dim=1)
    counts = [max(1, round(resolution * float(length / lengths.max()))) for length in lengths]
    return counts[0], counts[1], counts[2]
