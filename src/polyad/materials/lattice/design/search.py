"""`design`: from a lattice and an objective to the best feasible lattice of several starts, verified.

Positions, radii and, where wanted, the cell of one net are changed by a gradient method with the exact gradient of the
homogenised stiffness. The relative density is eliminated (see `variables`), so every iterate has it to rounding. The
result is solved afresh and every constraint checked anew at the final lattice.

Source: exact gradients in place of the surrogate's of Grega, Batatia, Csanyi, Karlapati, Deshpande, ICLR 2024,
arXiv:2401.16914; a tensor as target for lattices as in Bastek, Kumar, Telgen, Glaesener, Kochmann, PNAS 119 (2022)
e2111505119.

When not to use it: to change the net itself. Struts are neither created nor removed; they can only become thin.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from polyad.errors import ConvergenceError, InputError, NumericalWarning
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.design.constraints import AtMost, CellStretch, Constraint
from polyad.materials.lattice.design.geometry import geometry_of
from polyad.materials.lattice.design.objectives import Objective
from polyad.materials.lattice.design.optimisers import Method
from polyad.materials.lattice.design.radii import admissible_radii, complete_limits, refuse_unreachable
from polyad.materials.lattice.design.result import Design, StartSummary
from polyad.materials.lattice.design.run import FEASIBLE, Run, Step, Task, run_start
from polyad.materials.lattice.design.symmetry import LatticeSymmetry, find_symmetry, symmetrise
from polyad.materials.lattice.design.transfer import pack, run_packed
from polyad.materials.lattice.design.variables import Variables, make_variables
from polyad.materials.lattice.homogenization import homogenize

_FRAME = {"young_modulus", "poisson_ratio", "shear", "section", "joint_length", "method"}


def design(
    start: StrutLattice,
    objective: Objective,
    *,
    density: float,
    constraints: Sequence[Constraint | AtMost] = (),
    vary: Sequence[str] = ("positions", "radius"),
    symmetry: bool | LatticeSymmetry = False,
    frozen_nodes: Sequence[int] = (),
    frozen_struts: Sequence[int] = (),
    method: Method = "auto",
    starts: int = 1,
    spread: float = 0.1,
    seed: int = 0,
    iterations: int = 200,
    tolerance: float = 1e-12,
    goal: float | None = None,
    seconds: float | None = None,
    frame: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
    callback: Callable[[Step], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Design:
    """Change a lattice so that an objective becomes small, at fixed relative density and under constraints.

    Args:
        start: the net and its first geometry; its radii are scaled to `density` and clipped to the bounds.
        objective: `MatchTarget`, `StiffnessAlong`, `Isotropy`, `PoissonRatio`, `BulkModulus`, `ShearModulus`,
            `Custom`, or a weighted sum of them.
        density: relative density by the beam formula (with the section of `frame`), kept to rounding.
        constraints: `RadiusBounds`, `Slenderness`, `StrutLength`, `Overhang`, `Clearance`, `CellStretch`, `AtMost`, or
            `printer_limits(...)`. Added where nothing of the kind is given: radius <= half the strut, radius >= a tenth
            of the uniform radius, and cell edges within a factor of 1.5.
        vary: any of "positions", "radius" and "cell" (at constant volume).
        symmetry: True keeps the space group of the start; a `LatticeSymmetry` keeps that group.
        frozen_nodes: nodes that keep their place (fractional coordinates).
        frozen_struts: struts that keep their radius and their end nodes.
        method: "slsqp", "trust-constr", "l-bfgs-b", "gauss-newton", or "auto": gauss-newton for sums of squares
            (targets and numbers as goals), slsqp otherwise.
        starts: 1 is the lattice as given alone; more are perturbed ones. A symmetric lattice stays as symmetric as its
            objective, because gradients that would break the symmetry vanish: perturbed starts are the way out.
        spread: size of the perturbation, in mean strut lengths (nodes) and in log radius.
        seed: of the perturbations. The result does not depend on the executor.
        iterations: accepted steps of each start.
        tolerance: a start ends where a step would improve the objective by less.
        goal: a start ends as soon as a feasible point has an objective of at most this.
        seconds: a start ends after this time (results then depend on the machine).
        frame: options of `effective_stiffness`: young_modulus, poisson_ratio, shear, section, joint_length, method.
        executor: runs the starts; None runs them one after another here.
        callback: called with every accepted point (`Step`), without executor only.
        should_stop: asked after every accepted point, with an executor about ten times a second; True ends the search
            with what was found.
        progress: called with (starts done, starts).

    Returns:
        The best feasible point of all starts, solved afresh. Where none is feasible the least infeasible one is
        returned with `feasible=False` and a warning; `Design.require_feasible` turns that into an error.

    Raises:
        InputError: bad options, or a density, goal or constraint that provably cannot be met.
        ConvergenceError: a fresh solve of the result disagrees with the optimiser's.

    Warns:
        NumericalWarning: the result is not feasible.
    """
    _check_options(starts, spread, iterations, tolerance, density)
    frame = dict(frame or {})
    unknown = set(frame) - _FRAME
    if unknown:
        raise InputError(f"frame: {sorted(unknown)[0]!r} is not one of {', '.join(sorted(_FRAME))}")
    given = _plain(start)
    group = find_symmetry(given) if symmetry is True else (symmetry or None)
    variables, limits = _prepare(
        given if group is None else symmetrise(given, group),
        objective,
        goal,
        density,
        tuple(constraints),
        frame,
        {"vary": vary, "symmetry": group, "frozen_nodes": frozen_nodes, "frozen_struts": frozen_struts},
    )
    task = Task(variables, objective, limits, frame, method, iterations, tolerance, goal, seconds, spread, seed)
    runs = _run_all(task, starts, executor, callback, should_stop, progress)
    result = _conclude(task, runs, density, None if group is None else group.symbol)
    if not result.feasible:
        warnings.warn(result.complaint, NumericalWarning, stacklevel=2)
    return result


def _check_options(starts: int, spread: float, iterations: int, tolerance: float, density: float) -> None:
    if not (math.isfinite(density) and 0 < density < 1):
        raise InputError(f"density: {density!r} must lie between 0 and 1, usually below 0.3")
    for name, value in (("starts", starts), ("iterations", iterations)):
        if value < 1:
            raise InputError(f"{name}: {value} must be at least 1")
    for name, number in (("spread", spread), ("tolerance", tolerance)):
        if not (math.isfinite(number) and number >= 0):
            raise InputError(f"{name}: {number} must be zero or positive")


def _plain(start: StrutLattice) -> StrutLattice:
    return start.detach().to(dtype=torch.float64, device="cpu")


def _prepare(
    start: StrutLattice,
    objective: Objective,
    goal: float | None,
    density: float,
    constraints: tuple[Constraint | AtMost, ...],
    frame: Mapping[str, Any],
    freedom: Mapping[str, Any],
) -> tuple[Variables, tuple[Constraint | AtMost, ...]]:
    """Variables whose zero is the start at the density asked for, and all constraints; what cannot be is refused."""
    variables = make_variables(start, density=density, section=frame.get("section"), **freedom)
    moved = variables.tangent(torch.zeros(variables.count, dtype=torch.float64)).vectors
    rigid = (moved.abs() < 1e-12).all(-1).all(0)
    modulus = float(torch.as_tensor(frame.get("young_modulus", 1.0)).max())
    largest = None if frame.get("joint_length") else density * modulus  # rigid joints void the bound
    refuse_unreachable(objective, goal, constraints, start, rigid, largest)
    limits = complete_limits(constraints, start, variables.material, variables.section)
    if len(variables.deformations) and not any(isinstance(x, CellStretch) for x in limits):
        limits = (*limits, CellStretch())
    radius = admissible_radii(
        start, limits, density=density, section=variables.section, frozen=variables.frozen, rigid=rigid
    )
    return replace(variables, start=start.replace(radius=radius)), limits


def _run_all(
    task: Task,
    starts: int,
    executor: Executor | None,
    callback: Callable[[Step], None] | None,
    should_stop: Callable[[], bool] | None,
    progress: Callable[[int, int], None] | None,
) -> dict[int, Run]:
    runs: dict[int, Run] = {}
    if executor is None:
        for number in range(starts):
            if runs and should_stop is not None and should_stop():
                break
            runs[number] = run_start(task, number, on_step=callback, should_stop=should_stop)
            if progress is not None:
                progress(len(runs), starts)
        return runs
    packed = pack(task)
    pending: dict[Future[Run], int] = {executor.submit(run_packed, packed, number): number for number in range(starts)}
    while pending:
        done, _ = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
        for future in done:
            runs[pending.pop(future)] = future.result()
            if progress is not None:
                progress(len(runs), starts)
        if should_stop is not None and should_stop():
            for future in [f for f in pending if f.cancel()]:
                del pending[future]
    return dict(sorted(runs.items()))


def _conclude(task: Task, runs: dict[int, Run], density: float, symbol: str | None) -> Design:
    summaries = {number: _summary(run) for number, run in runs.items()}
    number = min(runs, key=lambda k: _rank(summaries[k], k))
    run = runs[number]
    if not run.columns:
        raise InputError(f"start: no start could be evaluated ({run.reason})")
    history = run.history
    row = history[run.best]
    lattice = task.variables.start.replace(cell=row["cell"], positions=row["positions"], radius=row["radius"])
    solved = homogenize(lattice, **task.frame)
    stiffness, reached = solved.stiffness, float(solved.relative_density)
    error = float(torch.linalg.matrix_norm(stiffness - row["stiffness"]) / torch.linalg.matrix_norm(stiffness))
    if not error < 1e-9:
        raise ConvergenceError(
            f"design: a fresh solve differs by {error:.1e} from the optimiser's; raise the least radius"
        )
    violations = _violations(task, lattice, stiffness)
    feasible = max(violations.values(), default=0.0) <= FEASIBLE and abs(reached - density) <= FEASIBLE * density
    first = torch.from_numpy(runs[min(runs)].columns["stiffness"][0]) if runs[min(runs)].columns else row["stiffness"]
    return Design(
        lattice=lattice,
        stiffness=stiffness,
        objective=float(task.objective.value(stiffness)),
        quantities=task.objective.quantities(stiffness),
        start_quantities=task.objective.quantities(first),
        density=reached,
        violations=violations,
        feasible=feasible,
        reason=run.reason,
        history=history,
        start=number,
        starts=tuple(summaries.values()),
        symmetry=symbol,
        frame={name: _plain_value(value) for name, value in task.frame.items()},
    )


def _plain_value(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    return value if isinstance(value, int | float | str) else str(value)


def _violations(task: Task, lattice: StrutLattice, stiffness: Tensor) -> dict[str, float]:
    """Largest broken margin of every constraint, bound afresh to the start and the final lattice."""
    geometry = geometry_of(lattice)
    bound_to = [geometry_of(task.variables.start), geometry]
    result: dict[str, float] = {}
    for constraint in task.constraints:
        if isinstance(constraint, AtMost):
            margin = float(constraint.margin(stiffness))
        else:
            values = constraint.bind(lattice, bound_to).values(geometry)
            margin = float(values.min()) if len(values) else 0.0
        name, count = constraint.name, 2
        while name in result:
            name, count = f"{constraint.name} ({count})", count + 1
        result[name] = max(0.0, -margin)
    return result


def _summary(run: Run) -> StartSummary:
    if not run.columns:
        return StartSummary(None, None, 0, run.reason)
    objective, violation = (float(run.columns[name][run.best]) for name in ("objective", "violation"))
    return StartSummary(objective, violation, len(run.columns["objective"]) - 1, run.reason)


def _rank(summary: StartSummary, number: int) -> tuple[float, float, int]:
    if summary.objective is None or summary.violation is None:
        return (math.inf, math.inf, number)
    return (max(summary.violation - FEASIBLE, 0.0), summary.objective, number)
