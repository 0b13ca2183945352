"""What a design run leaves: the lattice, its verified stiffness, and the path that led there."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import ConvergenceError, InputError
from polyad.materials.lattice.cell import StrutLattice

FORMAT, VERSION = "polyad-design", 1
_LATTICE = ("cell", "positions", "edge_index", "edge_shift", "radius")
_HISTORY = ("objective", "violation", "density", "stiffness", "cell", "positions", "radius")


@final
@dataclass(frozen=True, eq=False)
class History:
    """The accepted points of one run, the start first.

    Args:
        objective, violation, density: (steps,); the violation is the largest broken margin, 0 where all are kept.
        stiffness: (steps, 6, 6).
        cell: (steps, 3, 3), positions: (steps, nodes, 3), radius: (steps, edges).
    """

    objective: Float[Tensor, " steps"]
    violation: Float[Tensor, " steps"]
    density: Float[Tensor, " steps"]
    stiffness: Float[Tensor, "steps 6 6"]
    cell: Float[Tensor, "steps 3 3"]
    positions: Float[Tensor, "steps nodes 3"]
    radius: Float[Tensor, "steps edges"]

    def __len__(self) -> int:
        """Number of points."""
        return len(self.objective)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """All columns at one step."""
        return {name: getattr(self, name)[step] for name in _HISTORY}


@final
@dataclass(frozen=True)
class StartSummary:
    """How one of several starts ended; without objective and violation where the start was no lattice."""

    objective: float | None
    violation: float | None
    iterations: int
    reason: str


@final
@dataclass(frozen=True, eq=False)
class Design:
    """A designed lattice. `feasible` says whether all constraints are kept; see `require_feasible`.

    Args:
        lattice: the design (float64).
        stiffness: (6, 6) Kelvin-Mandel, of a fresh solve of `lattice`.
        objective: its value, computed from that stiffness.
        quantities: what the objective is about in natural numbers, at the design.
        start_quantities: the same at the start lattice, at the density asked for.
        density: relative density of `lattice`.
        violations: largest broken margin of every constraint, 0.0 where it is kept.
        feasible: all violations and the error of the density are within 1e-6.
        reason: why the optimiser stopped.
        history: accepted points of the start that won.
        start: number of that start; 0 is the lattice as given.
        starts: how every start ended.
        symmetry: symbol of the space group that was kept, or None.
        frame: options of the solver, as text where they are no numbers.
    """

    lattice: StrutLattice
    stiffness: Float[Tensor, "6 6"]
    objective: float
    quantities: dict[str, float]
    start_quantities: dict[str, float]
    density: float
    violations: dict[str, float]
    feasible: bool
    reason: str
    history: History
    start: int
    starts: tuple[StartSummary, ...]
    symmetry: str | None
    frame: dict[str, Any]

    @property
    def iterations(self) -> int:
        """Accepted steps of the start that won."""
        return len(self.history) - 1

    def require_feasible(self) -> Design:
        """The design itself.

        Raises:
            ConvergenceError: a constraint is broken; names the worst one.
        """
        if not self.feasible:
            raise ConvergenceError(self.complaint)
        return self

    @property
    def complaint(self) -> str:
        """One line on what is broken."""
        name, worst = max(self.violations.items(), key=lambda item: item[1], default=("density", math.nan))
        return (
            f"design is not feasible: {name!r} is broken by {worst:.3g} after {self.iterations} iterations "
            f"({self.reason}); relax it, give more starts or iterations, or another start lattice"
        )

    def to_json(self) -> str:
        """The whole design as JSON; every number reads back bit by bit."""
        row: dict[str, Any] = {"format": FORMAT, "version": VERSION}
        row["lattice"] = {name: getattr(self.lattice, name).tolist() for name in _LATTICE}
        row["stiffness"] = self.stiffness.tolist()
        for name in _PLAIN:
            row[name] = getattr(self, name)
        row["starts"] = [vars(start) for start in self.starts]
        row["history"] = {name: getattr(self.history, name).tolist() for name in _HISTORY}
        return json.dumps(row, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> Design:
        """The design that `to_json` wrote.

        Raises:
            InputError: no such JSON, or one of another kind or version.
        """
        try:
            row = json.loads(text)
        except ValueError as error:
            raise InputError(f"design: is no valid JSON ({error})") from error
        if not isinstance(row, dict) or row.get("format") != FORMAT or row.get("version") != VERSION:
            raise InputError(f'design: is JSON of another kind; expected "format": "{FORMAT}", "version": {VERSION}')
        try:
            lattice = StrutLattice(**{name: row["lattice"][name] for name in _LATTICE})
            history = History(**{name: _tensor(row["history"][name]) for name in _HISTORY})
            starts = tuple(StartSummary(**start) for start in row["starts"])
            plain = {name: row[name] for name in _PLAIN}
            return Design(lattice=lattice, stiffness=_tensor(row["stiffness"]), history=history, starts=starts, **plain)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"design: a field is missing or malformed ({type(error).__name__}: {error})") from error


_PLAIN = (
    "objective", "quantities", "start_quantities", "density", "violations", "feasible", "reason", "start", "symmetry",
    "frame",
)  # fmt: skip


def _tensor(value: Any) -> Tensor:
    return torch.from_numpy(np.array(value, dtype=np.float64))
