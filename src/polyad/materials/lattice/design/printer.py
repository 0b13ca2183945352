"""A printer's limits as constraints, so that `printability` has nothing to object to in the design."""

from __future__ import annotations

import math

import torch

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.design.clearance import Clearance
from polyad.materials.lattice.design.constraints import Constraint, Overhang, RadiusBounds

_INSIDE = 1e-5  # a design keeps margins to 1e-6; `printability` forgives nothing


def printer_limits(
    lattice: StrutLattice,
    *,
    cell_size_mm: float,
    minimum_diameter_mm: float,
    maximum_overhang_deg: float | None = None,
    minimum_gap_mm: float | None = None,
    build_direction: tuple[float, float, float] = (0.0, 0.0, 1.0),
) -> tuple[Constraint, ...]:
    """Constraints that keep a design within a printer's limits, by a part in 1e5 on the safe side.

    Args:
        lattice: the start of the design.
        cell_size_mm: length of its first lattice vector.
        minimum_diameter_mm: thinnest strut that the printer resolves.
        maximum_overhang_deg: largest angle between a strut and the build direction; None does not ask.
        minimum_gap_mm: least clearance between struts that share no node; None does not ask.
        build_direction: any length.

    Raises:
        InputError: a limit out of range.
    """
    for name, value in (("cell_size_mm", cell_size_mm), ("minimum_diameter_mm", minimum_diameter_mm)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name}: is {value!r}; it must be a positive length in millimetres")
    unit = float(torch.linalg.vector_norm(lattice.cell[0].detach())) / cell_size_mm
    limits: list[Constraint] = [RadiusBounds(minimum=0.5 * minimum_diameter_mm * unit * (1 + _INSIDE))]
    if maximum_overhang_deg is not None:
        limits.append(Overhang(maximum_overhang_deg * (1 - _INSIDE), build_direction))
    if minimum_gap_mm is not None:
        mean_length = float(lattice.edge_lengths.detach().mean())
        limits.append(Clearance(minimum_gap_mm * unit + _INSIDE * mean_length))
    return tuple(limits)
