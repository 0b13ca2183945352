"""Inverse design through a network: the gradient of a wish in nodal positions and radii, at constant density.

    x = x0 + move L tanh(a),   r = c r0 exp(log(stretch) tanh(b)),   c such that the density stays

with L the mean strut length. Adam minimises the objective of the *predicted* stiffness over a and b; the bounds keep
the lattice where the network has seen its like. A network's optimum is partly its own error, so the end is solved
exactly, and both numbers are returned.

*When not to use it*: for beam lattices the exact solver has exact gradients and is no slower
(`polyad.materials.lattice.design`); this is for properties whose labels are expensive.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice import LatticeBatch, StrutLattice, effective_stiffness
from polyad.materials.lattice.cell import edge_vectors
from polyad.materials.lattice.design import Objective
from polyad.materials.properties.model import PropertyModel
from polyad.materials.structures import Structures


@final
@dataclass(frozen=True, eq=False)
class SurrogateDesign:
    """What came of a design through a network.

    Args:
        start: the lattice it began with.
        lattice: the one with the best predicted objective.
        predicted: (2, 6, 6) the network's stiffness of both, in the unit of the training data.
        exact: (2, 6, 6) the solver's stiffness of both.
        objective: predicted values after every step.
    """

    start: StrutLattice
    lattice: StrutLattice
    predicted: Float[Tensor, "2 6 6"]
    exact: Float[Tensor, "2 6 6"]
    objective: tuple[float, ...]


def design_by_surrogate(
    lattice: StrutLattice,
    model: PropertyModel,
    objective: Objective,
    *,
    steps: int = 150,
    seconds: float | None = None,
    move: float = 0.15,
    stretch: float = 2.0,
    learning_rate: float = 0.05,
    frame: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SurrogateDesign:
    """Improve an objective of the network's stiffness, then solve what came out exactly.

    Args:
        lattice: to begin with; its cell, struts and density stay.
        model: of elasticity, trained on lattices.
        objective: to be minimised, of `polyad.materials.lattice.design`.
        steps: of Adam.
        seconds: stop after this time.
        move: largest change of a coordinate, in mean strut lengths.
        stretch: largest factor of a radius, and of its inverse, before all are scaled to the density.
        learning_rate: of Adam, for both kinds of variables.
        frame: options of the exact solver, such as `shear`.
        progress: called with steps done and steps in all.

    Raises:
        InputError: a model of another target, or limits out of range.
    """
    if model.target.name != "elasticity" or not model.struts:
        raise InputError(f"surrogate: predicts {model.target.name}; give a model of elasticity trained on lattices")
    if steps < 1 or not 0 <= move < 0.5 or not (math.isfinite(stretch) and stretch >= 1):
        raise InputError(f"surrogate: steps {steps}, move {move}, stretch {stretch}; need >= 1, [0, 0.5), >= 1")
    start = lattice.to(dtype=torch.float64).detach()
    model = copy.deepcopy(model).double().eval().requires_grad_(False)  # the caller's stays as it is
    shape = Structures.from_lattices(LatticeBatch.from_lattices([start]))
    reach = move * float(start.edge_lengths.mean())
    shifts = torch.zeros_like(start.positions, requires_grad=True)
    factors = torch.zeros_like(start.radius, requires_grad=True)
    optimizer = torch.optim.Adam([shifts, factors], lr=learning_rate)

    def geometry() -> tuple[Tensor, Tensor]:
        positions = start.positions + reach * torch.tanh(shifts)
        radius = start.radius * torch.exp(math.log(stretch) * torch.tanh(factors))
        lengths = torch.linalg.vector_norm(
            edge_vectors(start.cell, positions, start.edge_index, start.edge_shift), dim=-1
        )
        density = math.pi * (radius.square() * lengths).sum() / start.volume
        return positions, radius * (start.relative_density / density).sqrt()

    def predict(positions: Tensor, radius: Tensor) -> Tensor:
        edges = {"radius": radius.repeat_interleave(2)}
        return model(shape.replace(positions=positions, edge_features=edges))[0]

    history: list[float] = []
    best, began = (start.positions, start.radius), time.monotonic()
    for step in range(steps):
        optimizer.zero_grad()
        positions, radius = geometry()
        value = objective.value(predict(positions, radius))
        number = float(value.detach())
        if not math.isfinite(number):
            raise InputError(f"surrogate: the objective is {number} after {step} steps; lower the learning rate")
        if number < min(history, default=math.inf):
            best = positions.detach(), radius.detach()
        history.append(number)
        value.backward()
        optimizer.step()
        if progress is not None:
            progress(step + 1, steps)
        if seconds is not None and time.monotonic() - began > seconds:
            break
    found = StrutLattice(start.cell, best[0], start.edge_index, start.edge_shift, best[1])
    both = LatticeBatch.from_lattices([start, found])
    predicted = torch.stack([predict(x.positions, x.radius) for x in (start, found)])
    return SurrogateDesign(start, found, predicted, effective_stiffness(both, **(frame or {})), tuple(history))
