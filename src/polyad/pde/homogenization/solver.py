"""Effective stiffness of a periodic voxel image: conjugate gradients on finite elements, preconditioned by FFT.

For each of six unit strains E the periodic displacement u solves

    K u = -f(E),        C* E = mean over the cell of C (E + strain(u)),

with K and f of trilinear elements (`elements`, `operator`), and K0^-1 of a homogeneous reference (`green`) as the
preconditioner. This is the Lippmann-Schwinger equation with a Green operator that is consistent with the elements, so
there is no ringing, and void may be true void: displacements of nodes inside it mean nothing and harm nothing.

In float32 the iterations run in single precision, and corrections are added up in double precision until the residual,
computed in double precision, is as small as asked for (iterative refinement): half the time and memory, same result.

C* is computed from the energies of pairs of fields, (E_i + u_i)' K (E_j + u_j), whose error is of second order in that
of u, and is symmetric by construction.

Source: M. Ladecky et al., Appl. Math. Comput. 446 (2023) 127835; J. Zeman, T. W. J. de Geus, J. Vondrejc, R. H. J.
Peerlings and M. G. D. Geers, Int. J. Numer. Meth. Engng 111 (2017) 903.

*When not to use it*: for struts of a voxel or two in diameter (refine, or use the beam solver), and for shapes whose
surface matters to high order; the error falls with the first power of the voxel's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import ConvergenceError, InputError
from polyad.linalg.krylov import conjugate_gradients
from polyad.pde.homogenization.elements import VoxelElement
from polyad.pde.homogenization.green import GreenOperator
from polyad.pde.homogenization.operator import VoxelOperator


@final
@dataclass(frozen=True, eq=False)
class Homogenized:
    """Effective stiffness, and how it was reached.

    Args:
        stiffness: (6, 6) Kelvin-Mandel, float64, in the unit of the phases.
        fractions: volume fractions of the phases.
        iterations: of each load case.
        residual: of each load case, |K u + f| / |f|.
        strains: (6 load cases, 6, x, y, z) mean strains of the voxels, where asked for.
    """

    stiffness: Float[Tensor, "6 6"]
    fractions: Float[Tensor, " phases"]
    iterations: tuple[int, ...]
    residual: tuple[float, ...]
    strains: Float[Tensor, "6 6 x y z"] | None = None


@torch.no_grad()
def homogenize(
    image: Tensor,
    materials: Sequence[Float[Tensor, "6 6"]],
    *,
    cell: Float[Tensor, "3 3"] | None = None,
    tolerance: float = 1e-6,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    max_iterations: int = 2000,
    strains: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Homogenized:
    """The effective stiffness tensor of a periodic image of several phases.

    Args:
        image: (x, y, z) number of the phase of every voxel, or a truth value where there are two phases.
        materials: stiffness of each phase, Kelvin-Mandel; a matrix of zeros is void.
        cell: rows are the lattice vectors; by default a box with voxels as cubes.
        tolerance: of the residual, relative to the load.
        dtype: of the iterations, float32 or float64; fields and sums are float64.
        device: where to compute; by default where the image is.
        max_iterations: of one load case, before it counts as failed.
        strains: keep the strain fields.
        progress: called with load cases done x 100, and 600.

    Raises:
        InputError: an image that names a phase that is not given, nothing solid, a material that is not symmetric
            positive definite, a cell without volume.
        ConvergenceError: the tolerance was not reached, as where parts hang together at edges or corners only.
    """
    numbers, tensors = _checked(image, materials)
    place = numbers.device if device is None else torch.device(device)
    shape = numbers.shape
    if cell is None:
        cell = torch.diag(torch.tensor([float(n) for n in shape], dtype=torch.float64))
    element = VoxelElement(cell / torch.tensor(shape, dtype=torch.float64)[:, None].to(cell.device))
    operator = VoxelOperator(numbers.to(place), element, tensors)
    solid = tensors[tensors.flatten(1).any(1)]
    like = torch.zeros((), dtype=dtype, device=place)
    green = GreenOperator(element.stiffness(solid.mean(0)), (shape[0], shape[1], shape[2]), like=like)
    displacements, iterations, residuals = [], [], []
    for case in range(6):
        load = -operator.load(case)
        report = None if progress is None else _within(progress, case)
        # a homogeneous image has loads that cancel; what is left of them is rounding
        if float(load.abs().max()) < 1e-12 * float(element.loads(solid).abs().max()):
            load.zero_()
        moved, residual, count = _solve(operator, green, load, dtype, tolerance, max_iterations, report)
        displacements.append(moved)
        iterations.append(count)
        residuals.append(residual)
        if progress is not None:
            progress(100 * (case + 1), 600)
    return Homogenized(
        _stiffness(operator, displacements),
        torch.bincount(numbers.flatten(), minlength=len(tensors)).double() / numbers.numel(),
        tuple(iterations),
        tuple(residuals),
        torch.stack([operator.strains(u, case) for case, u in enumerate(displacements)]) if strains else None,
    )


def _stiffness(operator: VoxelOperator, displacements: list[Tensor]) -> Tensor:
    """Energies of pairs: <E_i, mean stress of j> plus what the work of u_i against the residual of j leaves."""
    volume = operator.element.volume * math.prod(operator.shape)
    stiffness = torch.stack([operator.mean_stress(u, case) for case, u in enumerate(displacements)], dim=1)
    for case, u in enumerate(displacements):
        unbalanced = operator(u) + operator.load(case)
        for other, v in enumerate(displacements):
            stiffness[other, case] += float((v * unbalanced).sum(dtype=torch.float64)) / volume
    return 0.5 * (stiffness + stiffness.T)


def _solve(
    operator: VoxelOperator,
    green: GreenOperator,
    load: Tensor,
    dtype: torch.dtype,
    tolerance: float,
    max_iterations: int,
    report: Callable[[int, int], None] | None,
) -> tuple[Tensor, float, int]:
    """Displacement under a load, its relative residual, and the iterations spent."""
    total, rest = torch.zeros_like(load), load
    size, count, residual = float(load.norm()), 0, 0.0
    if size == 0:
        return total, residual, count
    residual = 1.0
    while residual > tolerance:
        if count >= max_iterations:
            raise ConvergenceError(
                f"homogenize: the residual is {residual:.1e} after {count} iterations, not {tolerance:.0e}; allow more "
                "iterations, or look for parts that hang together at edges or corners only"
            )
        # what single precision can reach in one go; the rest is for the next round
        wanted = max(0.5 * tolerance / residual, 1e-12 if dtype == torch.float64 else 1e-4)
        found = conjugate_gradients(
            lambda u: operator(u[..., 0])[..., None],
            (rest / (size * residual)).to(dtype)[..., None],
            preconditioner=lambda r: green(r[..., 0])[..., None],
            tolerance=wanted,
            max_iterations=max_iterations,
            progress=report,
        )
        count += found.iterations
        total.add_(found.solution[..., 0].to(total), alpha=size * residual)
        rest = load - operator(total)
        before, residual = residual, float(rest.norm()) / size
        if residual > 0.5 * before:
            raise ConvergenceError(f"homogenize: the residual stays at {residual:.1e}; take dtype=torch.float64")
    return total, residual, count


def _within(progress: Callable[[int, int], None], case: int) -> Callable[[int, int], None]:
    return lambda done, total: progress(100 * case + min(99, 100 * done // max(total, 1)), 600)


def _checked(image: Tensor, materials: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    if image.ndim != 3 or image.is_floating_point() or min(image.shape) < 1:
        raise InputError(
            f"image: needs three axes of integers or truth values, got {image.dtype} {tuple(image.shape)}; "
            "threshold it first"
        )
    numbers = image.long()
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= len(materials):
        raise InputError(f"image: phases {low} to {high}, but {len(materials)} materials are given, numbered from 0")
    tensors = torch.stack([torch.as_tensor(material).double().cpu() for material in materials])
    for number, tensor in enumerate(tensors):
        if tensor.shape != (6, 6) or not bool(torch.isfinite(tensor).all()):
            raise InputError(f"materials: that of phase {number} is not a finite 6 x 6 matrix")
        gap = float((tensor - tensor.T).abs().max())
        lowest = float(torch.linalg.eigvalsh(tensor)[0])
        if gap > 1e-9 * float(tensor.abs().max()) or (lowest <= 0 and bool(tensor.any())):
            raise InputError(
                f"materials: that of phase {number} is not symmetric positive definite (smallest eigenvalue "
                f"{lowest:.3g}); only a matrix of zeros may stand for void"
            )
    present = torch.bincount(numbers.flatten(), minlength=len(tensors)) > 0
    if not bool((present.cpu() & tensors.flatten(1).any(1)).any()):
        raise InputError("image: holds nothing solid, so its stiffness is zero; look at its phases")
    return numbers, tensors
