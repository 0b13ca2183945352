"""The trade-off between two objectives: a front of designs, none of which beats another in both.

Ends first: the least a (and, at that a, the least b), and the other way round. Between them levels of a are spread
evenly, and at every level

    minimise b   subject to   a <= level                                   (epsilon constraint)

is solved from the neighbour before and from the minimiser of a weighted sum of both. Weighted sums alone find only
where the front is convex; the epsilon constraint finds every part of it.

Source: K. Miettinen, Nonlinear Multiobjective Optimization (1999), sections 3.1 and 3.2.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError, NumericalWarning
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.design.constraints import AtMost
from polyad.materials.lattice.design.objectives import Objective
from polyad.materials.lattice.design.radii import complete_limits
from polyad.materials.lattice.design.result import Design
from polyad.materials.lattice.design.search import design
from polyad.materials.lattice.design.symmetry import find_symmetry, symmetrise
from polyad.materials.lattice.frames.sections import Circle

_SLACK = 1e-6  # of the front's extent, by which an end may give way in its own objective


@final
@dataclass(frozen=True, eq=False)
class ParetoFront:
    """Feasible designs that do not dominate each other, by growing first objective.

    Args:
        designs: `objective` of each is the one that was minimised; read the pair from `values`.
        values: (designs, 2) both objectives.
    """

    designs: tuple[Design, ...]
    values: Float[Tensor, "designs 2"]

    def __len__(self) -> int:
        """Number of designs."""
        return len(self.designs)


def pareto_front(
    start: StrutLattice,
    objective_a: Objective,
    objective_b: Objective,
    *,
    density: float,
    points: int = 9,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> ParetoFront:
    """Designs that trade `objective_a` against `objective_b`.

    Args:
        start: as for `design`.
        objective_a, objective_b: both to be minimised.
        density: as for `design`.
        points: levels of `objective_a`, both ends included; where neighbours coincide fewer designs come back.
        progress: called with (solves done, solves).
        options: further options of `design`.

    Raises:
        InputError: as `design`; fewer than two points; or no feasible design at either end.
    """
    if points < 2:
        raise InputError(f"points: {points} must be at least 2, the ends of the front")
    search = _Search(start, objective_a, objective_b, density, options, progress, 4 + 3 * (points - 2))
    least_a, least_b = search.solve(objective_a), search.solve(objective_b)
    for end, name in ((least_a, "objective_a"), (least_b, "objective_b")):
        if not end.feasible:
            raise InputError(f"{name}: {end.complaint}")
    (low, _), (high, other) = search.pair(least_a), search.pair(least_b)
    first_b, extent_b = search.pair(least_a)[1], abs(search.pair(least_a)[1] - other)
    extent = abs(high - low)
    end_a = search.solve(objective_b, AtMost(objective_a, low + _SLACK * extent), start=least_a.lattice)
    end_b = search.solve(objective_a, AtMost(objective_b, other + _SLACK * extent_b), start=least_b.lattice)
    low, high = low + _SLACK * extent, search.pair(end_b)[0] if end_b.feasible else high
    levels = np.linspace(low, high, points)
    previous = end_a if end_a.feasible else least_a
    for share, level in zip(np.linspace(0, 1, points)[1:-1], levels[1:-1], strict=True):
        weights = (1 - share) / max(extent, 1e-12), share / max(abs(first_b - other), 1e-12)
        mixed = search.solve(weights[0] * objective_a + weights[1] * objective_b, start=previous.lattice)
        bound = AtMost(objective_a, float(level))
        found = [search.solve(objective_b, bound, start=x.lattice) for x in (previous, mixed)]
        previous = min(found, key=lambda x: (not x.feasible, search.pair(x)[1]))
        previous = previous if previous.feasible else mixed
    return search.front(levels)


class _Search:
    """All designs found so far, and the problem that they share."""

    def __init__(
        self,
        start: StrutLattice,
        objective_a: Objective,
        objective_b: Objective,
        density: float,
        options: dict[str, Any],
        progress: Callable[[int, int], None] | None,
        total: int,
    ) -> None:
        plain = start.detach().to(dtype=torch.float64, device="cpu")
        self.objectives, self.density, self.options = (objective_a, objective_b), density, dict(options)
        self.progress, self.total = progress, total
        if self.options.get("symmetry") is True:  # that of the start, not of a design on the way
            self.options["symmetry"] = find_symmetry(plain)
            plain = symmetrise(plain, self.options["symmetry"])
        section = (self.options.get("frame") or {}).get("section") or Circle()
        material = density * float(plain.volume)
        # the least radius too is that of the start
        self.constraints = complete_limits(tuple(self.options.pop("constraints", ())), plain, material, section)
        self.start, self.found = plain, list[Design]()

    def solve(self, objective: Objective, *bounds: AtMost, start: StrutLattice | None = None) -> Design:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)  # what is not feasible is left out of the front
            result = design(
                start or self.start,
                objective,
                density=self.density,
                constraints=(*self.constraints, *bounds),
                **self.options,
            )
        self.found.append(result)
        if self.progress is not None:
            self.progress(len(self.found), self.total)
        return result

    def pair(self, result: Design) -> tuple[float, float]:
        first, second = (float(x.value(result.stiffness)) for x in self.objectives)
        return first, second

    def front(self, levels: Sequence[float] | np.ndarray) -> ParetoFront:
        """At every level the best design of all found; then those that no other one beats in both."""
        feasible = [(*self.pair(x), x) for x in self.found if x.feasible]
        chosen: list[tuple[float, float, Design]] = []
        for level in levels:
            slack = _SLACK * max(1.0, abs(level))
            below = [x for x in feasible if x[0] <= level + slack] or feasible
            best = min(below, key=lambda x: (x[1], x[0]))
            if not any(best[2] is x[2] for x in chosen):
                chosen.append(best)
        chosen.sort(key=lambda x: x[:2])
        keep = [chosen[0]]
        for _, candidate in itertools.pairwise(chosen):
            if candidate[1] < keep[-1][1]:
                keep.append(candidate)
        values = torch.tensor([x[:2] for x in keep], dtype=torch.float64)
        return ParetoFront(tuple(x[2] for x in keep), values)
