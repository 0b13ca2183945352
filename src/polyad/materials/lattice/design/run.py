"""One start of a design: perturb, minimise, watch, and keep every accepted point.

A run is a pure function of a `Task` and a number, so that it gives the same points in this process or in another one.
Tasks and results travel between processes as plain arrays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.cell import edge_vectors
from polyad.materials.lattice.design.constraints import AtMost, Constraint
from polyad.materials.lattice.design.geometry import Geometry, geometry_of
from polyad.materials.lattice.design.objectives import Objective
from polyad.materials.lattice.design.optimisers import Method, Stop, minimise
from polyad.materials.lattice.design.problem import Problem
from polyad.materials.lattice.design.result import History
from polyad.materials.lattice.design.variables import Variables

FEASIBLE = 1e-6
"""A margin broken by no more than this counts as kept."""

_BINDINGS = 5  # times that struts which came near are added to those watched
_COLUMNS = ("objective", "violation", "density", "stiffness", "cell", "positions", "radius")


@final
@dataclass(frozen=True, eq=False)
class Step:
    """One accepted point, as it happens; on the way a point need not be a valid `StrutLattice`."""

    start: int
    iteration: int
    objective: float
    violation: float
    density: float
    stiffness: Tensor
    cell: Tensor
    positions: Tensor
    radius: Tensor


@final
@dataclass(frozen=True, eq=False)
class Task:
    """Everything that the starts of one design share."""

    variables: Variables
    objective: Objective
    constraints: tuple[Constraint | AtMost, ...]
    frame: Mapping[str, Any]
    method: Method
    iterations: int
    tolerance: float
    goal: float | None
    seconds: float | None
    spread: float
    seed: int


class Run(NamedTuple):
    """Columns of `History` as arrays, the best row, and the reason for stopping. A failed start has no rows."""

    columns: dict[str, np.ndarray]
    best: int
    reason: str

    @property
    def history(self) -> History:
        """The columns as tensors."""
        return History(**{name: torch.from_numpy(column) for name, column in self.columns.items()})


def run_start(
    task: Task,
    number: int,
    *,
    on_step: Callable[[Step], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Run:
    """Optimise from start `number`: 0 is the lattice as it is, the others are perturbed by (seed, number)."""
    bound_to = [geometry_of(task.variables.start)]
    problem = _problem(task, bound_to)
    point = _starting_point(task, problem, number)
    failure = problem.evaluate(point).failure
    if failure is not None:
        if number == 0:
            raise InputError(f"start: {failure}")
        return Run({}, -1, failure)
    steps: list[Step] = []
    watched = problem
    began = time.monotonic()

    def accept(point: np.ndarray) -> None:
        step = _step(task, watched, point, number, len(steps))
        if step is None:
            return
        steps.append(step)
        if on_step is not None:
            on_step(step)
        if task.goal is not None and step.violation <= FEASIBLE and step.objective <= task.goal:
            raise Stop("goal reached")
        if should_stop is not None and should_stop():
            raise Stop("stopped by the caller")
        if task.seconds is not None and time.monotonic() - began > task.seconds:
            raise Stop("time limit")

    reason = "no free variables"
    try:
        accept(point)
        for _ in range(_BINDINGS if task.variables.count else 0):
            bound_to.append(_detached(watched.evaluate(point).geometry))
            watched = _problem(task, bound_to)
            left = task.iterations - len(steps) + 1
            point, reason = minimise(
                watched, point, method=task.method, iterations=left, tolerance=task.tolerance, on_step=accept
            )
            # struts that were far at the start may have come near: then watch them too and go on
            kept = watched.evaluate(point).violation <= FEASIBLE
            again = _problem(task, [*bound_to, _detached(watched.evaluate(point).geometry)])
            if not kept or again.evaluate(point).violation <= FEASIBLE or len(steps) > task.iterations:
                break
    except Stop as stop:
        reason = str(stop)
    bound_to.append(_detached(watched.evaluate(point).geometry))
    return _conclude(task, steps, _problem(task, bound_to), reason)


def _conclude(task: Task, steps: list[Step], watched: Problem, reason: str) -> Run:
    """All steps, with the violations that the last binding sees, and the best: feasible first, then by objective."""
    columns = {name: np.array([np.asarray(getattr(step, name)) for step in steps]) for name in _COLUMNS}
    columns["violation"] = np.array(
        [max(step.violation, watched.shape_violation(_geometry(task, step))) for step in steps]
    )
    broken = np.maximum(columns["violation"] - FEASIBLE, 0.0)
    invalid = np.array([_is_no_lattice(_geometry(task, step)) for step in steps])
    best = int(np.lexsort((columns["objective"], broken, invalid))[0])
    return Run({}, -1, "no valid lattice was reached") if invalid[best] else Run(columns, best, reason)


def _is_no_lattice(geometry: Geometry) -> bool:
    return bool((geometry.radius > 0.5 * geometry.length * (1 + 1e-9)).any())


def _problem(task: Task, bound_to: list[Geometry]) -> Problem:
    return Problem(task.variables, task.objective, task.constraints, task.frame, bound_to)


def _starting_point(task: Task, problem: Problem, number: int) -> np.ndarray:
    """Zero, or normal numbers that move a node by `spread` mean strut lengths and a radius by a factor exp(spread)."""
    variables = task.variables
    if number == 0:
        return np.zeros(variables.count)
    generator = np.random.default_rng((task.seed, number))
    whole = (variables.start.num_nodes, variables.start.num_edges, 1)
    deviation = [(size / max(free, 1)) ** 0.5 for size, free in zip(whole, variables.sizes, strict=True)]
    point = task.spread * np.repeat(deviation, variables.sizes) * generator.standard_normal(variables.count)
    for _ in range(10):
        if problem.evaluate(point).failure is None:
            break
        point = 0.5 * point
    return point


def _step(task: Task, problem: Problem, point: np.ndarray, number: int, iteration: int) -> Step | None:
    found = problem.evaluate(point)
    if found.geometry is None or found.stiffness is None:
        return None
    geometry = _detached(found.geometry)
    density = task.variables.density(geometry)
    return Step(
        number,
        iteration,
        found.value,
        found.violation,
        density,
        found.stiffness.detach(),
        geometry.cell,
        geometry.positions,
        geometry.radius,
    )


def _detached(geometry: Geometry | None) -> Geometry:
    assert geometry is not None
    return Geometry(*(x.detach() for x in geometry))


def _geometry(task: Task, step: Step) -> Geometry:
    start = task.variables.start
    vectors = edge_vectors(step.cell, step.positions, start.edge_index, start.edge_shift)
    return Geometry(step.cell, step.positions, vectors, step.radius)
