"""Radii that keep a density and every bound at once, and proof where there are none.

Clipping lambda r_0 to the bounds gives an amount of material that grows with lambda, from that of the thinnest struts
allowed to that of the thickest: bisection finds the one radius scale that holds the density.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.design.constraints import (
    AtMost,
    Constraint,
    Overhang,
    RadiusBounds,
    RadiusLimit,
    Slenderness,
    StrutLength,
)
from polyad.materials.lattice.design.geometry import geometry_of
from polyad.materials.lattice.design.objectives import Objective
from polyad.materials.lattice.frames.sections import Section

THINNEST = 0.1
"""Default lower bound of radii, in units of the radius that all struts alike would have at this density."""


def complete_limits(
    constraints: tuple[Constraint | AtMost, ...], start: StrutLattice, material: float, section: Section
) -> tuple[Constraint | AtMost, ...]:
    """The constraints with what every design keeps: radius <= half the strut, and a least radius (see `THINNEST`)."""
    length = start.edge_lengths
    limits = [x.limits(length) for x in constraints if isinstance(x, RadiusLimit)]
    added: list[Constraint] = []
    if not any(isinstance(x, Slenderness) for x in constraints):
        added.append(Slenderness())
    if not any(bool((low > 0).all()) for low, _ in limits):
        unit_area = float(section.area(torch.ones(1, dtype=torch.float64)))
        uniform = (material / (unit_area * float(length.sum()))) ** 0.5
        added.append(RadiusBounds(minimum=THINNEST * uniform))
    return (*constraints, *added)


def admissible_radii(
    start: StrutLattice,
    constraints: tuple[Constraint | AtMost, ...],
    *,
    density: float,
    section: Section,
    frozen: Bool[Tensor, " edges"],
    rigid: Bool[Tensor, " edges"],
) -> Float[Tensor, " edges"]:
    """Start radii scaled and clipped to all radius limits, with the material of `density`.

    Where lengths may still change the limits may be out of reach at first; then the nearest radii are returned.

    Args:
        rigid: struts whose vectors no variable changes; a verdict on them is final.

    Raises:
        InputError: no radii can keep the limits and the density.
    """
    length = start.edge_lengths
    low, high = _limits(constraints, length)
    radius = start.radius
    broken = frozen & ((radius < low * (1 - 1e-9)) | (radius > high * (1 + 1e-9)))
    if bool((broken & rigid).any()):
        strut = int((broken & rigid).nonzero()[0])
        raise InputError(
            f"frozen_struts: strut {strut} has radius {float(radius[strut]):.4g}, allowed is "
            f"{float(low[strut]):.4g} to {float(high[strut]):.4g}; free it or change the limits"
        )
    empty = rigid & ~frozen & (low > high * (1 + 1e-9))
    if bool(empty.any()):
        strut = int(empty.nonzero()[0])
        raise InputError(
            f"constraints: strut {strut} (length {float(length[strut]):.4g}) must be at least "
            f"{float(low[strut]):.4g} and at most {float(high[strut]):.4g} in radius; lower the minimum"
        )
    # struts too short for their least radius may still grow
    low, high = torch.where(frozen, radius, torch.minimum(low, high)), torch.where(frozen, radius, high)
    material = density * float(start.volume)

    def held(radii: Tensor) -> float:
        return float((section.area(radii) * length).sum())

    _refuse_density(density, float(start.volume), low, high, constraints, length, section, rigid)
    if held(low) >= material:
        return low
    # beyond this scale every strut is at its upper bound, or alone holds more than the material
    widest = torch.minimum(high, (material / (section.area(torch.ones_like(low)) * length)).sqrt())
    below, above = 0.0, float((widest[~frozen] / radius[~frozen]).max())
    for _ in range(200):
        scale = 0.5 * (below + above)
        if held(torch.minimum(torch.maximum(scale * radius, low), high)) < material:
            below = scale
        else:
            above = scale
    return torch.minimum(torch.maximum(above * radius, low), high)


def _limits(constraints: tuple[Constraint | AtMost, ...], length: Tensor) -> tuple[Tensor, Tensor]:
    pairs = [x.limits(length) for x in constraints if isinstance(x, RadiusLimit)]
    return torch.stack([low for low, _ in pairs]).amax(0), torch.stack([high for _, high in pairs]).amin(0)


def _refuse_density(
    density: float,
    volume: float,
    low: Tensor,
    high: Tensor,
    constraints: tuple[Constraint | AtMost, ...],
    length: Tensor,
    section: Section,
    rigid: Tensor,
) -> None:
    # a strut that can move may shorten, but not below twice its radius nor below a bound on its length
    shortest = torch.stack(
        [2 * low, *(torch.full_like(low, x.minimum) for x in constraints if isinstance(x, StrutLength))]
    ).amax(0)
    least = float((section.area(low) * torch.where(rigid, length, shortest)).sum()) / volume
    if least > density * (1 + 1e-9):
        raise InputError(
            f"density: {density:.6g} is below {least:.6g}, which the thinnest struts allowed already have; "
            "raise the density or lower the minimum radius"
        )
    if not bool(rigid.all()):
        return
    most = float((section.area(high) * length).sum()) / volume
    if most < density * (1 - 1e-9):
        raise InputError(
            f"density: {density:.6g} is above {most:.6g}, which the thickest struts allowed have; "
            "lower the density or raise the maximum radius"
        )


def refuse_unreachable(
    objective: Objective,
    goal: float | None,
    constraints: tuple[Constraint | AtMost, ...],
    start: StrutLattice,
    rigid: Bool[Tensor, " edges"],
    largest_modulus: float | None,
) -> None:
    """Refuse goals beyond the bound on any lattice, and constraints that a strut which cannot change breaks.

    Args:
        largest_modulus: density times Young's modulus, or None where the bound does not hold (rigid joints).
    """
    if largest_modulus is not None:
        best, ideal = objective.least(largest_modulus), objective.least(math.inf)
        if math.isfinite(ideal) and best > ideal + 1e-12:
            raise InputError(
                f"objective: its goal lies beyond any strut lattice of this density (c(n) <= {largest_modulus:.6g}); "
                "raise the density or lower the goal"
            )
        limits = [("goal", objective, goal)] if goal is not None else []
        limits += [(x.name, x.objective, x.maximum) for x in constraints if isinstance(x, AtMost)]
        for name, bounded, maximum in limits:
            least = bounded.least(largest_modulus)
            if maximum < least - 1e-12:
                raise InputError(
                    f"{name}: {maximum:.6g} lies below {least:.6g}, the least value of any strut lattice of this "
                    "density; raise it"
                )
    for constraint in constraints:
        if isinstance(constraint, StrutLength | Overhang):
            geometry = geometry_of(start)
            margin = torch.where(rigid, constraint.bind(start, [geometry]).values(geometry), torch.inf)
            strut = int(margin.argmin())
            if float(margin[strut]) < -1e-9:
                raise InputError(
                    f"constraints: strut {strut} breaks {constraint.name!r} and cannot change "
                    "(the cell is fixed, or its ends are frozen); vary the cell, or choose another start"
                )
