"""A design for the page: its path, thinned to what a slider can show, and the tensor reached beside the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.records import LatticeRecord
from polyad.materials.lattice.report.payload import rounded
from polyad.materials.lattice.view.packing import pack_lattice

if TYPE_CHECKING:
    from polyad.materials.lattice.design import Design

FRAMES = 40
"""Lattices on the way that are kept at most."""


@final
@dataclass(frozen=True, eq=False)
class NamedDesign:
    """A design with what the page needs beside it: a name, and the stiffness it was to reach (or None)."""

    name: str
    design: Design
    target: Tensor | None = None


def name_designs(
    designs: Sequence[Design], names: Sequence[str], targets: Sequence[Tensor | None]
) -> list[NamedDesign]:
    """Designs with names (by default "Design 1", ...) and targets (by default none).

    Raises:
        InputError: other numbers of names or targets than of designs, or a target that is no finite (6, 6) matrix.
    """
    for what, given in (("design_names", names), ("targets", targets)):
        if given and len(given) != len(designs):
            raise InputError(f"{what}: {len(given)} were given for {len(designs)} designs; give one each, or none")
    for target in targets:
        if target is not None and not (tuple(target.shape) == (6, 6) and bool(torch.isfinite(target).all())):
            raise InputError(f"targets: one has shape {tuple(target.shape)}; give finite (6, 6) tensors, or None")
    names = names or [f"Design {number + 1}" for number in range(len(designs))]
    return [NamedDesign(*entry) for entry in zip(names, designs, targets or [None] * len(designs), strict=True)]


def design_record(named: NamedDesign) -> LatticeRecord:
    """The design's lattice as a record, to be shown like any other."""
    design = named.design
    return LatticeRecord(
        named.name,
        design.lattice,
        design.density,
        stiffness=design.stiffness / _modulus(design),
        source="designed",
        notes=() if design.feasible else (design.complaint,),
    )


def design_payload(named: NamedDesign, *, young_modulus: float) -> dict[str, Any]:
    """Path, frames, tensors and facts of one design; stiffnesses are multiplied by `young_modulus`."""
    design = named.design
    history, scale = design.history, young_modulus / _modulus(design)
    return {
        "name": named.name,
        "iteration": list(range(len(history))),
        "objective": rounded(history.objective),
        "constraint": rounded(history.violation),
        "density": rounded(history.density),
        "frames": _frames(design),
        "start": upper_triangle(scale * history.stiffness[0]),
        "reached": upper_triangle(scale * design.stiffness),
        "target": None if named.target is None else upper_triangle(scale * named.target),
        "facts": _facts(design),
    }


def upper_triangle(matrix: Tensor) -> list[float]:
    """The 21 numbers of a symmetric (6, 6) matrix, row by row."""
    rows, columns = np.triu_indices(6)
    return [float(f"{value:.8g}") for value in matrix.detach().cpu().double().numpy()[rows, columns].tolist()]


def _modulus(design: Design) -> float:
    """Young's modulus of the solid that the design was solved with."""
    modulus = design.frame.get("young_modulus", 1.0)
    return float(modulus) if isinstance(modulus, int | float) else 1.0


def _frames(design: Design) -> list[dict[str, Any]]:
    """Lattices at evenly spaced steps, first and last among them; a point on the way that is no lattice is left out."""
    history = design.history
    count = len(history)
    frames = []
    for step in np.unique(np.linspace(0, count - 1, min(count, FRAMES)).round().astype(int)).tolist():
        point = history[step]
        try:
            lattice = design.lattice.replace(cell=point["cell"], positions=point["positions"], radius=point["radius"])
        except InputError:
            continue
        frames.append({"step": step, "lattice": pack_lattice(lattice)})
    return frames or [{"step": count - 1, "lattice": pack_lattice(design.lattice)}]


def _facts(design: Design) -> list[list[Any]]:
    """Names and values for the page: numbers as given, or as "start → reached" where a quantity was sought."""
    facts: list[list[Any]] = [["relative density", design.density]]
    for name, value in design.quantities.items():
        before = design.start_quantities.get(name)
        facts.append([name, value if before is None else f"{before:.4g} → {value:.4g}"])
    for name, broken in design.violations.items():
        facts.append([f"constraint: {name}", "kept" if broken <= 1e-6 else f"broken by {broken:.3g}"])
    facts.append(["iterations", design.iterations])
    facts.append(["stopped", design.reason])
    if design.symmetry:
        facts.append(["space group kept", design.symmetry])
    return facts
