"""From numbers to a machine: a table of printable materials, and what a printer would object to in a lattice.

Stiffness scales with Young's modulus: a lattice solved with E = 1 has the stiffness C * E in GPa, and weighs density
times volume fraction. *The table holds typical values* of published data sheets, rounded; what a machine prints depends
on powder, direction, heat treatment and thickness (thin struts are weaker and rougher than test bars): measure before a
part carries load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.nets.contacts import strut_contacts
from polyad.materials.lattice.solids.block import in_millimetres


@final
@dataclass(frozen=True)
class Material:
    """Typical properties of a printable material at room temperature.

    Args:
        young_modulus_gpa: Young's modulus in GPa.
        poisson_ratio: Poisson's ratio.
        yield_mpa: 0.2 % proof stress in MPa; of polymers the stress at yield (or at break, where none yields).
        density_g_cm3: density of the dense material in g/cm^3.
        conductivity_w_mk: thermal conductivity in W/(m K).
        expansion_1_k: linear thermal expansion in 1/K.
        source: where the values come from, and for which condition.
    """

    name: str
    young_modulus_gpa: float
    poisson_ratio: float
    yield_mpa: float
    density_g_cm3: float
    conductivity_w_mk: float
    expansion_1_k: float
    source: str

    @property
    def shear_modulus_gpa(self) -> float:
        """G = E / (2 (1 + nu)) in GPa."""
        return self.young_modulus_gpa / (2.0 * (1.0 + self.poisson_ratio))


_MATERIALS = (
    Material("Ti-6Al-4V", 114.0, 0.34, 830.0, 4.43, 6.7, 8.6e-6, "ASM data sheet, annealed bar (minimum yield)"),
    Material("316L", 193.0, 0.28, 290.0, 7.99, 16.2, 16.0e-6, "AK Steel data sheet, annealed (as printed: higher)"),
    Material("AlSi10Mg", 70.0, 0.33, 230.0, 2.67, 173.0, 20e-6, "EOS data sheet, heat-treated (nu, expansion: cast)"),
    Material("Inconel 718", 200.0, 0.29, 1030.0, 8.19, 11.4, 13.0e-6, "Special Metals SMC-045, aged (minimum yield)"),
    Material("17-4PH", 196.0, 0.27, 1170.0, 7.80, 18.0, 10.8e-6, "typical of steelmakers' data sheets, condition H900"),
    Material("CoCrMo", 210.0, 0.30, 600.0, 8.3, 13.0, 14e-6, "typical of printed dental and implant alloys, ASTM F75"),
    Material("PA12", 1.65, 0.40, 48.0, 0.93, 0.2, 1.1e-4, "EOS PA 2200, laser-sintered (tensile strength)"),
    Material("PLA", 3.5, 0.36, 50.0, 1.24, 0.13, 1.0e-4, "typical of filament data sheets (strength in the layers)"),
    Material("ABS", 2.2, 0.37, 32.0, 1.04, 0.17, 9.0e-5, "typical of filament data sheets (strength in the layers)"),
    Material("PEEK", 4.0, 0.40, 98.0, 1.30, 0.32, 4.5e-5, "Victrex 450G, moulded; printed parts reach less"),
    Material("TPU 95A", 0.026, 0.48, 8.6, 1.22, 0.2, 1.5e-4, "Ultimaker TPU 95A; other grades 24 to 250 MPa"),
)  # fmt: skip


def materials() -> dict[str, Material]:
    """The built-in materials by name: typical values, each with its source."""
    return {material.name: material for material in _MATERIALS}


def material(name: str) -> Material:
    """One material by name, whatever its capitals, spaces and hyphens.

    Raises:
        InputError: unknown; the message lists what there is.
    """
    wanted = _plain(name)
    for entry in _MATERIALS:
        if _plain(entry.name) == wanted:
            return entry
    raise InputError(f"material: unknown name {name[:40]!r}; there are {', '.join(m.name for m in _MATERIALS)}")


@final
@dataclass(frozen=True, eq=False)
class Printability:
    """What a printer would object to, in millimetres and degrees, per strut of the cell.

    Args:
        diameter_mm: (struts,) diameters.
        overhang_deg: (struts,) angle between strut and build direction: 0 upright, 90 in the plane of the layers.
        too_thin: numbers of struts thinner than the minimum diameter.
        overhanging: numbers of struts that lean further than the maximum.
        too_close: (pairs, 2) numbers of struts that share no node and whose surfaces come closer than the minimum gap;
            a pair is listed once per image.
        gap_mm: (pairs,) their clearance; negative where they overlap.
    """

    diameter_mm: Float[Tensor, " struts"]
    overhang_deg: Float[Tensor, " struts"]
    too_thin: Int[Tensor, " thin"]
    overhanging: Int[Tensor, " overhanging"]
    too_close: Int[Tensor, "pairs 2"]
    gap_mm: Float[Tensor, " pairs"]

    @property
    def printable(self) -> bool:
        """Whether nothing was objected to."""
        return not (len(self.too_thin) or len(self.overhanging) or len(self.too_close))

    def __str__(self) -> str:
        """One line: what is wrong with how many struts, and the worst of each."""
        if self.printable:
            return f"printable: {len(self.diameter_mm)} struts, thinnest {float(self.diameter_mm.min()):.3g} mm"
        parts = []
        if len(self.too_thin):
            parts.append(f"{len(self.too_thin)} struts too thin (thinnest {float(self.diameter_mm.min()):.3g} mm)")
        if len(self.overhanging):
            parts.append(
                f"{len(self.overhanging)} struts overhang (up to {float(self.overhang_deg.max()):.3g} degrees)"
            )
        if len(self.too_close):
            parts.append(f"{len(self.too_close)} pairs too close (smallest gap {float(self.gap_mm.min()):.3g} mm)")
        return "; ".join(parts)


def printability(
    lattice: StrutLattice,
    *,
    cell_size_mm: float,
    minimum_diameter_mm: float,
    maximum_overhang_deg: float = 45.0,
    minimum_gap_mm: float = 0.0,
    build_direction: tuple[float, float, float] = (0.0, 0.0, 1.0),
) -> Printability:
    """Check every strut of the periodic lattice against a printer's limits.

    Args:
        cell_size_mm: length of the first lattice vector.
        minimum_diameter_mm: thinnest strut that the printer resolves.
        maximum_overhang_deg: largest angle between a strut and the build direction that prints without support, 0 to
            90; a rise of at least 45 degrees above the layers is 45 here too.
        minimum_gap_mm: least clearance between the surfaces of struts that share no node, all images considered;
            0 reports overlaps only.
        build_direction: any length, in the lattice's axes.

    Raises:
        InputError: a limit out of range, a build direction that is none.
    """
    for name, value in (("minimum_diameter_mm", minimum_diameter_mm), ("minimum_gap_mm", minimum_gap_mm)):
        if not 0 <= value < float("inf"):
            raise InputError(f"{name}: is {value!r}; it must be a length in millimetres, zero or more")
    if not 0 <= maximum_overhang_deg <= 90:
        raise InputError(f"maximum_overhang_deg: is {maximum_overhang_deg!r}; degrees from 0 (upright) to 90")
    build = torch.tensor(build_direction, dtype=torch.float64)
    if build.shape != (3,) or not bool(torch.isfinite(build).all()) or not bool(build.any()):
        raise InputError(f"build_direction: is {build_direction!r}; give three finite numbers, not all zero")

    scaled = in_millimetres(lattice.detach().to(dtype=torch.float64, device="cpu"), cell_size_mm)
    overhang = _angle_to(scaled.edge_vectors, build)
    diameter = 2.0 * scaled.radius
    pairs, gap = clearances(scaled, minimum_gap_mm)
    tolerance = 1e-9  # a limit met exactly is met
    return Printability(
        diameter_mm=diameter,
        overhang_deg=overhang,
        too_thin=(diameter < minimum_diameter_mm * (1 - tolerance)).nonzero()[:, 0],
        overhanging=(overhang > maximum_overhang_deg + 1e-6).nonzero()[:, 0],
        too_close=pairs,
        gap_mm=gap,
    )


def clearances(lattice: StrutLattice, below: float) -> tuple[Int[Tensor, "pairs 2"], Float[Tensor, " pairs"]]:
    """Pairs of struts without a common node whose surfaces come closer than `below`, and their gaps, smallest first.

    The gap of two struts is the distance of their axes less both radii, over all periodic images, in the lattice's
    unit; it is negative where they overlap. Struts that leave a node in one and the same direction count as a pair.
    """
    radius = lattice.radius.detach().double().cpu()
    contacts = strut_contacts(lattice, 2.0 * float(radius.max()) + below + 1e-12)
    pairs = torch.from_numpy(contacts.first), torch.from_numpy(contacts.second)
    gap = torch.from_numpy(contacts.distance) - radius[pairs[0]] - radius[pairs[1]]
    order = torch.argsort(gap, stable=True)
    order = order[gap[order] < below]
    return torch.stack(pairs, dim=1)[order], gap[order]


def _angle_to(vectors: Tensor, direction: Tensor) -> Tensor:
    """Angle in degrees between lines, 0 to 90; by atan2, which keeps its digits near 0 and 90."""
    along = (vectors @ direction).abs()
    across = torch.linalg.vector_norm(torch.linalg.cross(vectors, direction.expand_as(vectors)), dim=-1)
    return torch.rad2deg(torch.atan2(across, along))


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())
