"""First yield and first buckling of a strut lattice under uniaxial stress along any direction.

The macroscopic stress is sigma n (x) n; strut forces follow from the linear frame (`forces`), so every strut's
utilisation grows in proportion to sigma and the strength is the sigma at which the first one reaches one:

    yield      sqrt((|N| / A + |M| c / I)^2 + 3 (|T| l / J)^2) = yield stress       at either end of the strut
    buckling   -N = pi^2 E I / (k L)^2                                              in compression

N is the normal force, M the bending moment, T the torque; c is the distance of the outermost fibre (the radius of a
round section, half the diagonal of a square) and l the lever of the largest torsional stress (the radius; 1.3506 half
sides for a square). For squares the two largest stresses lie at different points of the edge, and bending is taken
about the diagonal, so the yield strength is a lower bound; for round sections it is exact. The shear stress of the
shear force is left out: it vanishes at the outermost fibre where bending is largest.

*End condition of buckling*: k is the effective length over the length, for nodes that do not sway: 0.5 for ends built
in (the default: neighbours hold the rigid joint), 1.0 for pinned ends. The truth for a rigid frame lies between the two
as long as it buckles strut by strut. Where joints have rigid parts (`joint_length`), L is the flexible length.

Source: Timoshenko and Gere, Theory of Elastic Stability (1961), section 2.1; von Mises (1913); Timoshenko and Goodier,
Theory of Elasticity (1951), section 109 (torsion of the square); Deshpande, Fleck, Ashby, J. Mech. Phys. Solids 49
(2001) 1747-1769 (octet: yield stress times density over 3 along a cube axis).

When not to use: as an ultimate load. First yield of one fibre is not collapse, buckling of one strut is neither the
critical load of the frame (modes that sway or span several cells can come earlier) nor its end, and notches at the
nodes and the roughness of printed struts are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Unpack, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.elasticity.directional import unit
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.frames.sections import Circle, Section, Square, Tube
from polyad.materials.lattice.response.forces import FrameOptions, StrutForces, combine, unit_strain_forces
from polyad.tensors.notation import strain_to_mandel

SQUARE_TORSION_LEVER = 1.3506290
"""Largest torsional stress of a square, in T r / J: 2 (1 - (8 / pi^2) sum over odd n of 1 / (n^2 cosh(n pi / 2)))."""

_AT_ONCE = 400_000
"""Struts times directions handled together."""


@final
@dataclass(frozen=True, eq=False)
class Strength:
    """Macroscopic stress at the first failure, and the strut that fails.

    Args:
        value: (*directions) for a lattice, (batch, *directions) for a batch; infinite where nothing can fail.
        strut: of the same shape, number of the strut within its lattice (the first, where several fail together);
            -1 where nothing can fail.
    """

    value: Float[Tensor, "..."]
    strut: Int[Tensor, "..."]


def yield_strength(
    lattice: StrutLattice | LatticeBatch,
    directions: Float[Tensor, "*directions 3"],
    *,
    yield_stress: float | Tensor,
    **options: Unpack[FrameOptions],
) -> Strength:
    """Uniaxial stress along each direction at which the first fibre of the first strut yields (tension or compression).

    Args:
        directions: any lengths; the same for all lattices of a batch.
        yield_stress: of the solid: one number, or one a strut (of the whole batch).
        options: of `homogenize`; the section must be a `Circle`, `Tube` or `Square`.

    Raises:
        InputError: a direction that is none, a yield stress that is not positive, another section, or a lattice that
            cannot carry every stress.
    """
    section = options.get("section") or Circle()
    fibre, lever = _fibre_and_lever(section)
    radius, length = lattice.radius.detach().double(), _lengths(lattice)
    allowed = _per_strut(yield_stress, radius, "yield_stress")
    area, second, torsion = section.area(radius), section.second_moment(radius), section.torsion_constant(radius)
    rigid = options.get("joint_length", 0.0) * radius / length

    def utilisation(forces: StrutForces) -> Tensor:
        bending = torch.maximum(forces.bending_at(rigid), forces.bending_at(1 - rigid))
        normal = forces.axial.abs() / area + bending * fibre * radius / second
        shear = forces.torque.abs() * lever * radius / torsion
        return torch.sqrt(normal.square() + 3 * shear.square()) / allowed

    return _first_failure(lattice, directions, utilisation, options)


def buckling_strength(
    lattice: StrutLattice | LatticeBatch,
    directions: Float[Tensor, "*directions 3"],
    *,
    effective_length: float = 0.5,
    load: str = "compression",
    **options: Unpack[FrameOptions],
) -> Strength:
    """Uniaxial stress along each direction (its magnitude) at which the first strut reaches Euler's load.

    Args:
        directions: any lengths; the same for all lattices of a batch.
        effective_length: k, the end condition: 0.5 built in, 0.7 built in and pinned, 1.0 pinned.
        load: sign of the macroscopic stress, 'compression' or 'tension'. Under tension struts across the direction are
            compressed and can buckle.
        options: of `homogenize`.

    Raises:
        InputError: a direction that is none, an effective length or load out of range, or a lattice that cannot carry
            every stress.
    """
    if not (math.isfinite(effective_length) and effective_length > 0):
        raise InputError(f"effective_length: is {effective_length}; give 0.5 (built in) to 1.0 (pinned)")
    if load not in ("compression", "tension"):
        raise InputError(f"load: is {load!r}; choose 'compression' or 'tension'")
    sign = -1.0 if load == "compression" else 1.0
    radius = lattice.radius.detach().double()
    flexible = _lengths(lattice) - 2 * options.get("joint_length", 0.0) * radius
    modulus = _per_strut(options.get("young_modulus", 1.0), radius, "young_modulus")
    second = (options.get("section") or Circle()).second_moment(radius)
    critical = math.pi**2 * modulus * second / (effective_length * flexible).square()
    # compression that is rounding beside the forces on the strut is none
    noise = 1e-11

    def utilisation(forces: StrutForces) -> Tensor:
        compression = -sign * forces.axial
        scale = forces.axial.abs().amax(-1, keepdim=True)
        return torch.where(compression > noise * scale, compression, 0.0) / critical

    return _first_failure(lattice, directions, utilisation, options)


@torch.no_grad()
def _first_failure(
    lattice: StrutLattice | LatticeBatch,
    directions: Tensor,
    utilisation: Callable[[StrutForces], Tensor],
    options: FrameOptions,
) -> Strength:
    """Strength by the largest utilisation (cases, edges) per unit stress, a few directions at a time."""
    batch = lattice if isinstance(lattice, LatticeBatch) else LatticeBatch.from_lattices([lattice])
    normal = unit(directions.detach().double()).reshape(-1, 3)
    stress = strain_to_mandel(normal[:, :, None] * normal[:, None, :])
    strained, compliance = unit_strain_forces(batch, need_compliance=True, **options)
    assert compliance is not None
    stressed = combine(strained, compliance.permute(2, 0, 1), batch)
    edges, owner = batch.edge_index.shape[1], batch.edge_batch
    values, struts = [], []
    for some in stress.split(max(1, _AT_ONCE // edges)):
        force, moment = ((some @ x.flatten(1)).unflatten(1, (edges, 3)) for x in (stressed.force, stressed.moment))
        used = utilisation(StrutForces(force, moment, stressed.vectors))
        place = owner.expand_as(used)
        worst = used.new_zeros(len(some), len(batch)).scatter_reduce(1, place, used, "amax")
        # struts that symmetry makes equal differ by rounding: the first of them is named
        fails = used >= (1 - 1e-9) * worst[:, owner]
        number = torch.where(fails, torch.arange(edges, device=used.device), edges)
        first = torch.full_like(worst, edges, dtype=torch.int64).scatter_reduce(1, place, number, "amin")
        values.append(worst.reciprocal())
        struts.append(torch.where(worst > 0, first - batch.edge_start[:-1], -1))
    shape = (len(batch), *directions.shape[:-1])
    value = torch.cat(values).T.reshape(shape).to(batch.positions.dtype)
    strut = torch.cat(struts).T.reshape(shape)
    return Strength(value, strut) if isinstance(lattice, LatticeBatch) else Strength(value[0], strut[0])


def _fibre_and_lever(section: Section) -> tuple[float, float]:
    """Distance of the outermost fibre and lever of the torsional stress, over the radius."""
    match section:
        case Circle() | Tube():
            return 1.0, 1.0
        case Square():
            return math.sqrt(2), SQUARE_TORSION_LEVER
    raise InputError(f"section: yield is known for Circle, Tube and Square, not for {type(section).__name__}")


def _lengths(lattice: StrutLattice | LatticeBatch) -> Float[Tensor, " edges"]:
    return torch.linalg.vector_norm(lattice.edge_vectors.detach().double(), dim=-1)


def _per_strut(value: float | Tensor, radius: Tensor, name: str) -> Tensor:
    tensor = torch.as_tensor(value, dtype=radius.dtype, device=radius.device).detach()
    if tensor.ndim and tensor.shape != radius.shape:
        raise InputError(f"{name}: shape is {tuple(tensor.shape)}; give one number or one a strut ({len(radius)},)")
    if not bool((torch.isfinite(tensor) & (tensor > 0)).all()):
        raise InputError(f"{name}: must be positive and finite for every strut")
    return tensor
