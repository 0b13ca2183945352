"""What requests hold, as dataclasses: FastAPI reads them from JSON and describes them on the page of the interface."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, final

Matrix = list[list[float]]


@final
@dataclass(frozen=True)
class LatticeBody:
    """A periodic cell of struts; see `polyad.materials.lattice.StrutLattice` for the meaning of the fields."""

    cell: Matrix
    positions: Matrix
    edge_index: list[list[int]]
    edge_shift: list[list[int]]
    radius: list[float]


@final
@dataclass(frozen=True)
class SolveRequest:
    """A lattice to solve: with `density` its radii are scaled first; `surface` 0 to 5 asks for the mesh of E(n)."""

    lattice: LatticeBody
    density: float | None = None
    poisson_ratio: float = 0.3
    surface: int | None = None


@final
@dataclass(frozen=True)
class FreedomRequest:
    """A lattice whose movable parts are wanted, within its space group or (`symmetry` false) without it."""

    lattice: LatticeBody
    symmetry: bool = True


@final
@dataclass(frozen=True)
class NamedLattice:
    """A lattice and what to call it."""

    lattice: LatticeBody
    name: str = "lattice"


@final
@dataclass(frozen=True)
class AnalyseRequest:
    """Lattices to compare, at most twelve."""

    lattices: list[NamedLattice]
    poisson_ratio: float = 0.3


@final
@dataclass(frozen=True)
class Term:
    """One wish: `goal` is "maximise", "minimise" or a number; `direction` is for "stiff"."""

    kind: Literal["stiff", "bulk", "shear", "poisson", "isotropy", "match"]
    weight: float = 1.0
    goal: float | str | None = None
    direction: list[float] | None = None


@final
@dataclass(frozen=True)
class DesignRequest:
    """A design to run. Lengths in millimetres refer to a first lattice vector of `cell_mm`.

    `isotropic` bounds the relative distance of the tensor to isotropy; `target` is the tensor of the term "match".
    """

    lattice: LatticeBody
    objective: list[Term]
    density: float
    name: str = "design"
    isotropic: float | None = None
    target: Matrix | None = None
    vary: list[Literal["positions", "radius", "cell"]] = field(default_factory=lambda: ["positions", "radius"])
    symmetry: bool = False
    minimum_diameter: float | None = None
    overhang: float | None = None
    clearance: float | None = None
    cell_mm: float = 10.0
    starts: int = 1
    seed: int = 0
    iterations: int = 100
    poisson_ratio: float = 0.3


@final
@dataclass(frozen=True)
class ExportRequest:
    """What to write: lattices, or designs by their numbers; `counts` cells and `cell_mm` are for solids."""

    format: Literal["stl", "3mf", "json", "report"]
    lattices: list[NamedLattice] = field(default_factory=list)
    designs: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [1, 1, 1])
    cell_mm: float = 10.0


def as_payload(value: Any) -> Any:
    """A request as plain values for a worker; lists of numbers are passed on, not copied one by one."""
    if is_dataclass(value):
        return {field.name: as_payload(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list) and value and is_dataclass(value[0]):
        return [as_payload(item) for item in value]
    return value
