"""Objective, margins and their exact derivatives as functions of the variables, for SciPy.

One evaluation solves the frame once. The last few are kept with their graphs, so that a gradient at a point whose value
is known costs one backward pass, and a point visited twice costs nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.batch import LatticeBatch
from polyad.materials.lattice.design.constraints import AtMost, Constraint
from polyad.materials.lattice.design.geometry import Geometry
from polyad.materials.lattice.design.objectives import Objective
from polyad.materials.lattice.design.variables import Variables
from polyad.materials.lattice.homogenization import effective_stiffness
from polyad.tensors.notation import mandel_to_vector, vector_to_mandel

_KEPT = 8


@final
@dataclass(frozen=True, eq=False)
class Evaluation:
    """One point: `objective` and `margins` are tensors with their graph; `failure` says why there are none."""

    variables: Tensor
    geometry: Geometry | None
    stiffness: Tensor | None
    objective: Tensor | None
    shape_margins: Tensor
    stiffness_margins: tuple[Tensor, ...]
    failure: str | None = None

    @property
    def value(self) -> float:
        """The objective, infinite where it could not be computed."""
        return math.inf if self.objective is None else float(self.objective.detach())

    @property
    def margins(self) -> np.ndarray:
        """All margins, those of the shape first."""
        parts = [self.shape_margins, *(x.reshape(1) for x in self.stiffness_margins)]
        return torch.cat([x.detach() for x in parts]).numpy()

    @property
    def violation(self) -> float:
        """The largest amount by which a margin is negative, or 0; infinite where the point could not be computed."""
        return math.inf if self.objective is None else max(0.0, -float(self.margins.min(initial=0.0)))


class Problem:
    """Values and derivatives of a design problem at NumPy vectors of variables."""

    def __init__(
        self,
        variables: Variables,
        objective: Objective,
        constraints: Sequence[Constraint | AtMost],
        frame: Mapping[str, Any],
        bound_to: Sequence[Geometry],
    ) -> None:
        self.variables = variables
        self.objective = objective
        self.frame = dict(frame)
        self._shape = [x.bind(variables.start, bound_to) for x in constraints if not isinstance(x, AtMost)]
        self._stiffness = [x for x in constraints if isinstance(x, AtMost)]
        self._kept: OrderedDict[bytes, Evaluation] = OrderedDict()
        self._last_tangent: tuple[bytes, Geometry] | None = None

    def evaluate(self, variables: np.ndarray) -> Evaluation:
        """Everything at one point; a point without a lattice is a value with its `failure`, not an exception."""
        key = variables.tobytes()
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        point = torch.tensor(variables, dtype=torch.float64, requires_grad=True)
        try:
            result = self._evaluate(point)
        except (InputError, torch.linalg.LinAlgError) as error:
            result = Evaluation(point, None, None, None, torch.empty(0, dtype=torch.float64), (), str(error))
        self._kept[key] = result
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return result

    def gradient(self, variables: np.ndarray) -> np.ndarray:
        """Derivative of the objective."""
        found = self.evaluate(variables)
        assert found.objective is not None
        return _derivative(found.objective, found.variables)

    def residuals(self, variables: np.ndarray) -> np.ndarray | None:
        """Residuals of the objective, None where it is no sum of squares or there is no lattice."""
        found = self.evaluate(variables)
        if found.stiffness is None:
            return None
        residuals = self.objective.residuals(found.stiffness.detach())
        return None if residuals is None else residuals.numpy()

    def residual_jacobian(self, variables: np.ndarray) -> np.ndarray:
        """(residuals, variables): the chain rule through the 21 independent moduli, all differentiated in one batch."""
        found = self.evaluate(variables)
        assert found.stiffness is not None
        assert found.geometry is not None
        slopes = moduli_jacobian(self.variables, found.geometry, self.tangent(variables), self.frame)
        moduli = mandel_to_vector(found.stiffness.detach()).requires_grad_()
        residuals = self.objective.residuals(vector_to_mandel(moduli))
        assert residuals is not None
        outer = [torch.autograd.grad(x, moduli, retain_graph=True)[0] for x in residuals]
        return (torch.stack(outer) @ slopes).numpy()

    def tangent(self, variables: np.ndarray) -> Geometry:
        """Derivatives of the geometry; the last one is kept."""
        key = variables.tobytes()
        if self._last_tangent is None or self._last_tangent[0] != key:
            self._last_tangent = key, self.variables.tangent(torch.from_numpy(np.array(variables, dtype=np.float64)))
        return self._last_tangent[1]

    def jacobian(self, variables: np.ndarray) -> np.ndarray:
        """(margins, variables) derivative of the margins."""
        found = self.evaluate(variables)
        assert found.geometry is not None
        rows = [margins.jacobian(found.geometry, self.tangent(variables)).numpy() for margins in self._shape]
        rows += [_derivative(margin, found.variables)[None] for margin in found.stiffness_margins]
        return np.concatenate([np.empty((0, len(variables))), *rows])

    def pull_back(self, variables: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Derivative of sum(weights * margins), by one backward pass."""
        found = self.evaluate(variables)
        margins = torch.cat([found.shape_margins, *(x.reshape(1) for x in found.stiffness_margins)])
        return _derivative((torch.from_numpy(weights) * margins).sum(), found.variables)

    def shape_violation(self, geometry: Geometry) -> float:
        """The largest broken margin of the shape, at a geometry that needs no solve."""
        parts = [x.values(geometry) for x in self._shape]
        return max(0.0, -float(torch.cat(parts).min())) if sum(map(len, parts)) else 0.0

    def _evaluate(self, point: Tensor) -> Evaluation:
        geometry = self.variables.geometry(point)
        if not (bool(torch.isfinite(geometry.radius.detach()).all()) and bool(geometry.length.detach().min() > 0)):
            raise InputError("a strut has no length, or frozen struts alone exceed the density")
        stiffness = stiffness_of(self.variables, geometry, self.frame)
        objective = self.objective.value(stiffness)
        shape = torch.cat([torch.empty(0, dtype=torch.float64), *(x.values(geometry) for x in self._shape)])
        other = tuple(x.margin(stiffness) for x in self._stiffness)
        if not all(bool(torch.isfinite(x.detach()).all()) for x in (objective, shape, *other)):
            raise InputError("the objective or a constraint is not a finite number")
        return Evaluation(point, geometry, stiffness, objective, shape, other)


def stiffness_of(variables: Variables, geometry: Geometry, frame: Mapping[str, Any]) -> Float[Tensor, "6 6"]:
    """Effective stiffness of a geometry that need not be a valid lattice."""
    batch = LatticeBatch.from_geometries(
        variables.start, positions=geometry.positions[None], radius=geometry.radius[None], cell=geometry.cell[None]
    )
    return effective_stiffness(batch, **frame)[0]


def moduli_jacobian(
    variables: Variables, geometry: Geometry, tangent: Geometry, frame: Mapping[str, Any]
) -> Float[Tensor, "21 variables"]:
    """Derivatives of the 21 numbers of the stiffness: 21 copies of the cell, one backward pass."""
    parts = (geometry.positions, geometry.radius, geometry.cell)
    positions, radius, cell = (x.detach().expand(21, *x.shape).clone().requires_grad_() for x in parts)
    batch = LatticeBatch.from_geometries(variables.start, positions=positions, radius=radius, cell=cell)
    frame = {name: _repeated(value) for name, value in frame.items()}
    moduli = mandel_to_vector(effective_stiffness(batch, **frame)).diagonal().sum()
    slopes = torch.autograd.grad(moduli, (positions, radius, cell))
    moved = (tangent.positions, tangent.radius, tangent.cell)
    return sum(
        (s.flatten(1) @ m.flatten(1).mT for s, m in zip(slopes, moved, strict=True)),
        start=torch.zeros(21, variables.count, dtype=torch.float64),
    )


def _repeated(value: Any) -> Any:
    """A modulus given strut by strut, for 21 copies."""
    return value.repeat(21) if isinstance(value, Tensor) and value.ndim else value


def _derivative(value: Tensor, variables: Tensor) -> np.ndarray:
    if not value.requires_grad:
        return np.zeros(len(variables))
    (result,) = torch.autograd.grad(value, variables, retain_graph=True, allow_unused=True)
    return np.zeros(len(variables)) if result is None else result.numpy()
