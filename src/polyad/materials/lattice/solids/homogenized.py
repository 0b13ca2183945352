"""A lattice as the body that is printed, homogenised as a solid: where beam theory stops being true, this shows it.

The union of round struts with balls at the joints is cut into voxels and solved by `polyad.pde.homogenization`. Beams
count the material of a joint once for every strut that ends there and know nothing of its stiffness; the difference
grows with the radius over the length of the struts, and is some percent at a relative density of a few percent.

*When not to use it*: for thin struts (below about four voxels across the tensor is off by ten percent and more): there
the beam solver is exact in the limit, and a million times faster.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.errors import InputError, NumericalWarning
from polyad.materials.elasticity import isotropic
from polyad.materials.lattice.cell import StrutLattice
from polyad.pde.homogenization import homogenize, voxelize_struts

ENOUGH = 4.0
"""Voxels across the thinnest strut below which a warning is given."""


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
    shape = _shape(lattice, resolution)
    starts = lattice.positions[lattice.edge_index[0]]
    return voxelize_struts(lattice.cell, starts, starts + lattice.edge_vectors, lattice.radius, shape)


def solid_stiffness(
    lattice: StrutLattice,
    *,
    young_modulus: float = 1.0,
    poisson_ratio: float = 0.3,
    resolution: int = 64,
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
        tolerance: of the residual, relative to the load.
        dtype: of the iterations.
        device: where to compute.
        progress: called with what is done, and in all.

    Raises:
        InputError: a resolution below 4, or constants of no solid.
        ConvergenceError: the tolerance was not reached.
    """
    lattice = lattice.detach()
    image = lattice_voxels(lattice, resolution)
    size = max(float(vector.norm()) / count for vector, count in zip(lattice.cell.double(), image.shape, strict=True))
    across = 2 * float(lattice.radius.min()) / size
    if across < ENOUGH:
        needed = math.ceil(resolution * ENOUGH / across - 1e-6)
        warnings.warn(
            f"the thinnest strut is {across:.1f} voxels across; take a resolution of {needed} or the beam solver",
            NumericalWarning,
            stacklevel=2,
        )
    body = isotropic(young_modulus, poisson_ratio)
    found = homogenize(
        image, [torch.zeros_like(body), body], cell=lattice.cell.double(), tolerance=tolerance, dtype=dtype,
        device=device, progress=progress,
    )  # fmt: skip
    shape = (image.shape[0], image.shape[1], image.shape[2])
    return SolidStiffness(found.stiffness, float(found.fractions[1]), shape, across, found.iterations)


def _shape(lattice: StrutLattice, resolution: int) -> tuple[int, int, int]:
    if resolution < 4:
        raise InputError(f"resolution: at least 4 voxels along the longest lattice vector, got {resolution}")
    lengths = lattice.cell.double().norm(dim=1)
    counts = [max(1, round(resolution * float(length / lengths.max()))) for length in lengths]
    return counts[0], counts[1], counts[2]
