"""A design as a task: from what the page asks for to the library's design, step by step."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch

from polyad.errors import InputError, NumericalWarning
from polyad.materials.lattice import StrutLattice
from polyad.materials.lattice.design import (
    AtMost,
    BulkModulus,
    Clearance,
    Design,
    Isotropy,
    MatchTarget,
    Objective,
    Overhang,
    PoissonRatio,
    RadiusBounds,
    ShearModulus,
    Step,
    StiffnessAlong,
    design,
)
from polyad.materials.lattice.view.packing import pack_lattice
from polyad.web.wire import finite, moduli, read_lattice, write_lattice
from polyad.web.workers import Channel

MOST_STARTS, MOST_ITERATIONS, MOST_STRUTS = 16, 500, 1000

KINDS = ("stiff", "bulk", "shear", "poisson", "isotropy", "match")
"""What may be asked for: E along directions, K, G, Poisson's ratio, isotropy, a tensor."""


def run_design(payload: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """Design a lattice; every accepted point is emitted as it comes.

    Args:
        payload: the fields of `polyad.web.models.DesignRequest`, and `seconds`.
    """
    start = read_lattice(payload["lattice"])
    if start.num_edges > MOST_STRUTS:
        raise InputError(f"lattice: has {start.num_edges} struts; designs take at most {MOST_STRUTS}")
    for name, most in (("starts", MOST_STARTS), ("iterations", MOST_ITERATIONS)):
        if not 1 <= payload[name] <= most:
            raise InputError(f"{name}: {payload[name]} must lie between 1 and {most}")
    poisson_ratio = payload["poisson_ratio"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # the result says whether it is feasible
        result = design(
            start,
            read_objective(payload["objective"], payload.get("target")),
            density=payload["density"],
            constraints=_constraints(start, payload),
            vary=payload["vary"],
            symmetry=payload["symmetry"],
            starts=payload["starts"],
            seed=payload["seed"],
            iterations=payload["iterations"],
            seconds=payload["seconds"] / payload["starts"],
            frame={"poisson_ratio": poisson_ratio},
            callback=lambda step: channel.emit(_event(start, step)),
            should_stop=channel.stopped,
        )
    return _result(result)


def read_objective(terms: list[dict[str, Any]], target: Any) -> Objective:
    """The weighted sum of terms {"kind", "weight", "goal", "direction"}.

    Raises:
        InputError: no terms, an unknown kind or goal, or a target that is no tensor.
    """
    if not 1 <= len(terms) <= 8:
        raise InputError(f"objective: has {len(terms)} terms; give one to eight")
    parts = [_term(term, target) for term in terms]
    weights = [float(term.get("weight", 1.0)) for term in terms]
    if not all(math.isfinite(weight) for weight in weights):
        raise InputError("objective: every weight must be a finite number")
    if len(parts) == 1 and weights[0] == 1.0:
        return parts[0]
    total: Objective = weights[0] * parts[0]
    for weight, part in zip(weights[1:], parts[1:], strict=True):
        total = total + weight * part
    return total


def _term(term: dict[str, Any], target: Any) -> Objective:
    kind, goal = term["kind"], term.get("goal")
    options = {} if goal is None else {"goal": _goal(goal)}
    if kind == "stiff":
        return StiffnessAlong([tuple(term.get("direction") or (0.0, 0.0, 1.0))], **options)
    if kind == "bulk":
        return BulkModulus(**options)
    if kind == "shear":
        return ShearModulus(**options)
    if kind == "poisson":
        return PoissonRatio(**options)
    if kind == "isotropy":
        return Isotropy()
    if kind == "match":
        return MatchTarget(_matrix(target))
    raise InputError(f"objective: kind {kind!r} is unknown; choose of {', '.join(KINDS)}")


def _goal(goal: Any) -> Any:
    if goal in ("maximise", "minimise"):
        return goal
    try:
        number = float(goal)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"objective: goal {str(goal)[:80]!r} must be a number, maximise or minimise")
    return number


def _matrix(target: Any) -> torch.Tensor:
    try:
        matrix = torch.tensor(target, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        matrix = torch.zeros(0)
    if tuple(matrix.shape) != (6, 6) or not bool(torch.isfinite(matrix).all()):
        raise InputError("target: must be a finite 6x6 Kelvin-Mandel matrix")
    return matrix


def _constraints(lattice: StrutLattice, payload: dict[str, Any]) -> list[Any]:
    cell_mm = payload["cell_mm"]
    if not (math.isfinite(cell_mm) and cell_mm > 0):
        raise InputError(f"cell_mm: {cell_mm} must be a positive length")
    scale = cell_mm / float(lattice.cell[0].norm())
    constraints: list[Any] = []
    if payload.get("minimum_diameter") is not None:
        constraints.append(RadiusBounds(minimum=0.5 * payload["minimum_diameter"] / scale))
    if payload.get("overhang") is not None:
        constraints.append(Overhang(payload["overhang"]))
    if payload.get("clearance") is not None:
        constraints.append(Clearance(payload["clearance"] / scale))
    if payload.get("isotropic") is not None:
        constraints.append(AtMost(Isotropy(), payload["isotropic"] ** 2))
    return constraints


def _event(start: StrutLattice, step: Step) -> dict[str, Any]:
    event = {
        "start": step.start,
        "step": step.iteration,
        "objective": finite(step.objective),
        "violation": finite(step.violation),
        "density": finite(step.density),
        "stiffness": step.stiffness.tolist(),
        "moduli": moduli(step.stiffness),
        "drawing": None,
    }
    try:
        lattice = start.replace(cell=step.cell, positions=step.positions, radius=step.radius)
        event["drawing"] = pack_lattice(lattice)
    except InputError:  # on the way a point need not be a lattice
        pass
    return event


def _result(result: Design) -> dict[str, Any]:
    return {
        "lattice": write_lattice(result.lattice),
        "drawing": pack_lattice(result.lattice),
        "stiffness": result.stiffness.tolist(),
        "moduli": moduli(result.stiffness),
        "objective": result.objective,
        "density": result.density,
        "quantities": result.quantities,
        "start_quantities": result.start_quantities,
        "violations": result.violations,
        "feasible": result.feasible,
        "complaint": None if result.feasible else result.complaint,
        "reason": result.reason,
        "iterations": result.iterations,
        "symmetry": result.symmetry,
        "json": result.to_json(),
    }
