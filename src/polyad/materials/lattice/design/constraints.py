"""What a design must keep: small values, each with margins that are >= 0 where it is kept.

    RadiusBounds   minimum <= r <= maximum                  log(r / minimum),  log(maximum / r)
    Slenderness    r <= s L, s at most 1/2                  log(s L / r)
    StrutLength    L >= minimum                             L / minimum - 1
    Overhang       angle to the build direction <= alpha    |v.b| / L - cos alpha
    Clearance      gap between struts that do not meet      see `clearance`
    CellStretch    edges of the cell keep their length      log(f |h_0| / |h|),  log(f |h| / |h_0|)
    AtMost         an objective <= maximum                  maximum - objective

A printer's limits in millimetres become such constraints by `printer_limits`.

Margins have no unit and are smooth in positions, radii and cell. A constraint is *bound* to one or more geometries
before an optimisation: this fixes how many margins there are and on which side of a kink (the sign of v.b, the pairs of
struts that come near) they are taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.design.geometry import Geometry, Margins, struts
from polyad.materials.lattice.design.objectives import Objective

_VALID = 0.5 * (1 - 5e-6)  # kept to 1e-6, this is a valid `StrutLattice`


@runtime_checkable
class Constraint(Protocol):
    """A condition on the geometry of a design."""

    @property
    def name(self) -> str:
        """Name for messages and tables."""

    def bind(self, net: StrutLattice, geometries: Sequence[Geometry]) -> Margins:
        """The margins, smooth near `geometries` (of the struts of `net`), of which the first is the start."""


@runtime_checkable
class RadiusLimit(Protocol):
    """A constraint that bounds every radius from one side or both."""

    def limits(self, length: Float[Tensor, " edges"]) -> tuple[Float[Tensor, " edges"], Float[Tensor, " edges"]]:
        """Least and greatest radius of struts of this length (0 and infinity where there is no bound)."""


@final
@dataclass(frozen=True)
class RadiusBounds:
    """Strut radii between `minimum` and `maximum`, in the unit of the cell; None leaves a side open."""

    minimum: float | None = None
    maximum: float | None = None
    name = "radius bounds"

    def __post_init__(self) -> None:
        for side, value in (("minimum", self.minimum), ("maximum", self.maximum)):
            if value is not None:
                _positive(value, f"RadiusBounds: {side}")
        if self.minimum is None and self.maximum is None:
            raise InputError("RadiusBounds: give minimum, maximum or both")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise InputError(f"RadiusBounds: minimum {self.minimum:g} exceeds maximum {self.maximum:g}")

    def limits(self, length: Float[Tensor, " edges"]) -> tuple[Float[Tensor, " edges"], Float[Tensor, " edges"]]:
        """The two numbers for every strut."""
        low, high = self.minimum or 0.0, math.inf if self.maximum is None else self.maximum
        return torch.full_like(length, low), torch.full_like(length, high)

    def bind(self, net: StrutLattice, geometries: Sequence[Geometry]) -> Margins:
        """log(r / minimum) and log(maximum / r) of every strut."""

        def formula(vectors: Tensor, radius: Tensor) -> Tensor:
            rows = [] if self.minimum is None else [(radius / self.minimum).log()]
            return torch.stack(rows if self.maximum is None else [*rows, (self.maximum / radius).log()])

        return Margins(struts, formula)


@final
@dataclass(frozen=True)
class Slenderness:
    """Radius over length of every strut at most `maximum` (every lattice keeps 1/2; beams are accurate below 1/5)."""

    maximum: float = 0.5
    name = "slenderness"

    def __post_init__(self) -> None:
        if not 0 < self.maximum <= 0.5:
            raise InputError(f"Slenderness: maximum is {self.maximum}; radius over length must lie in (0, 0.5]")

    def limits(self, length: Float[Tensor, " edges"]) -> tuple[Float[Tensor, " edges"], Float[Tensor, " edges"]]:
        """No lower bound, and `maximum` times the length."""
        return torch.zeros_like(length), min(self.maximum, _VALID) * length

    def bind(self, net: StrutLattice, geometries: Sequence[Geometry]) -> Margins:
        """log(maximum L / r) of every strut."""
        maximum = min(self.maximum, _VALID)
        return Margins(struts, lambda vectors, radius: (maximum * _length(vectors) / radius).log()[None])


@final
@dataclass(frozen=True)
class StrutLength:
    """Every strut at least `minimum` long between node centres, in the unit of the cell."""

    minimum: float
    name = "strut length"

    def __post_init__(self) -> None:
        _positive(self.minimum, "StrutLength: minimum")

    def bind(self, net: StrutLattice, geometries: Sequence[Geometry]) -> Margins:
        """L / minimum - 1 of every strut."""
        return Margins(struts, lambda vectors, radius: (_length(vectors) / self.minimum - 1)[None])


@final
@dataclass(frozen=True)
class Overhang:
    """Every strut leans at most `maximum_deg` from the build direction, so that it prints without support.

    A strut keeps the side (up or down) on which it starts; one that starts in the plane of the layers must rise.

    Args:
        maximum_deg: degrees between strut and build direction, in (0, 90): 0 is upright, 90 in the plane of the layers.
        build_direction: any length.
    """

    maximum_deg: float = 45.0
    build_direction: tuple[float, float, float] = (0.0, 0.0, 1.0)
    name = "overhang"

    def __post_init__(self) -> None:
        if not 0 < self.maximum_deg < 90:
            raise InputError(f"Overhang: maximum_deg is {self.maximum_deg}; degrees must lie in (0, 90)")
        build = tuple(float(x) for x in self.build_direction)
        if len(build) != 3 or not 0 < math.hypot(*build) < math.inf:
            raise InputError(
                f"Overhang: build_direction is {self.build_direction}; give three finite numbers, not all zero"
            )
        object.__setattr__(self, "build_direction", build)

    def bind(self, net: StrutLattice, geometries: Sequence[Geometry]) -> Margins:
        """Signed cosine of every strut's angle less that of `maximum_deg`."""
        cosine = math.cos(math.radians(self.maximum_deg))
        up = torch.tensor(self.build_direction, dtype=torch.float64) / math.hypot(*self.build_direction)
        side = torch.where(geometries[0].vectors.detach() @ up < 0, -1.0, 1.0).to(up)
        return Margins(struts, lambda vectors, radius: (side * (vectors @ up) / _length(vectors) - cosine)[None])


@final
@dataclass(frozen=True)
class CellStretch:
    """Lattice vectors stretch and shrink at most by `factor` from the start (1.5 where the cell is varied)."""

    factor: float = 1.5
    name = "cell stretch"

    def __post_init__(self) -> None:
        if not 1 < self.factor < math.inf:
            raise InputError(f"CellStretch: factor is {self.factor}; it must exceed 1")

    def bind(self, net: StrutLattice, geometries: Sequence[Geometry]) -> Margins:
        """log(factor |h_0| / |h|) and log(factor |h| / |h_0|) of the three vectors, h_0 those of the start."""
        start = _length(geometries[0].cell.detach())

        def formula(cell: Tensor) -> Tensor:
            stretch = (_length(cell) / start).log()
            return math.log(self.factor) + torch.stack([-stretch, stretch])

        return Margins(lambda geometry: (geometry.cell,), formula)


@final
@dataclass(frozen=True)
class AtMost:
    """A second objective that must not exceed `maximum`, such as AtMost(Isotropy(), 1e-4)."""

    objective: Objective
    maximum: float
    name = "objective bound"

    def __post_init__(self) -> None:
        if not math.isfinite(self.maximum):
            raise InputError(f"AtMost: maximum is {self.maximum}; it must be a finite number")

    def margin(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, ""]:
        """maximum - objective."""
        return self.maximum - self.objective.value(stiffness)


def _length(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=-1)


def _positive(value: float, name: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} is {value!r}; it must be a positive number")
