"""What a design should achieve: small values that add and scale.

An objective turns an effective stiffness into one number to be *minimised*, smooth wherever the stiffness is positive
definite, and without unit, so that a weighted sum makes sense:

    objective = Isotropy() + 0.1 * StiffnessAlong([0, 0, 1])

    MatchTarget   |C - C*|^2 / |C*|^2            or   |log C - log C*|^2
    Isotropy      |C - P C|^2 / |C|^2            or the same of log C, or the universal anisotropy A_U
    Custom        any differentiable function of the stiffness

with P the projection onto the isotropic tensors. Distances are squared: a distance itself has a kink where it is zero,
which is where the optimiser is asked to go. Objectives of single moduli are in `moduli`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.linalg.spd import spd_logarithm
from polyad.materials.elasticity import check_stiffness, symmetry_projector, universal_anisotropy
from polyad.tensors.notation import mandel_to_vector

_METRICS = ("frobenius", "log_euclidean", "universal")


class Objective(ABC):
    """A number to be minimised, from a (6, 6) Kelvin-Mandel stiffness; add objectives and scale them by numbers."""

    @abstractmethod
    def value(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, ""]:
        """The number, differentiable in the stiffness.

        Raises:
            InputError: a stiffness that is not positive definite where an inverse or a logarithm is needed.
        """

    def residuals(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, " residuals"] | None:
        """Numbers whose squares sum to the value, for objectives that are such a sum; None for the others."""
        return None

    @abstractmethod
    def quantities(self, stiffness: Float[Tensor, "6 6"]) -> dict[str, float]:
        """What the objective is about, in natural numbers and units, for tables: {"E(0, 0, 1)": 0.0123}."""

    def least(self, largest_modulus: float) -> float:
        """A lower bound of the value over all lattices with c(n) <= `largest_modulus` in every direction n."""
        return -math.inf

    def __add__(self, other: Objective) -> Objective:
        """Sum of two objectives."""
        if not isinstance(other, Objective):
            return NotImplemented
        return WeightedSum((*_terms(self), *_terms(other)))

    def __mul__(self, weight: float) -> Objective:
        """The objective times a weight."""
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            return NotImplemented
        return WeightedSum(tuple((weight * w, term) for w, term in _terms(self)))

    __rmul__ = __mul__


@final
@dataclass(frozen=True)
class WeightedSum(Objective):
    """Sum of weight x objective; written with + and *."""

    terms: tuple[tuple[float, Objective], ...]

    def __post_init__(self) -> None:
        for weight, term in self.terms:
            if not math.isfinite(weight):
                raise InputError(f"weight of {term} is {weight}; it must be a finite number")

    def value(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, ""]:
        """Weighted sum of the values."""
        return torch.stack([weight * term.value(stiffness) for weight, term in self.terms]).sum()

    def residuals(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, " residuals"] | None:
        """All residuals times the roots of their weights, if every term is a sum of squares with weight >= 0."""
        parts = [(weight, term.residuals(stiffness)) for weight, term in self.terms]
        if any(part is None or weight < 0 for weight, part in parts):
            return None
        return torch.cat([math.sqrt(weight) * part for weight, part in parts if part is not None])

    def quantities(self, stiffness: Float[Tensor, "6 6"]) -> dict[str, float]:
        """Quantities of all terms."""
        return {name: number for _, term in self.terms for name, number in term.quantities(stiffness).items()}

    def least(self, largest_modulus: float) -> float:
        """Weighted sum of the bounds; terms of negative weight have none."""
        parts = [w * term.least(largest_modulus) if w > 0 else -math.inf for w, term in self.terms if w]
        return math.fsum(parts) if all(map(math.isfinite, parts)) else -math.inf


@final
@dataclass(frozen=True)
class MatchTarget(Objective):
    """Squared distance to a target stiffness.

    Args:
        target: (6, 6) Kelvin-Mandel, symmetric and positive definite, in the unit of Young's modulus of the solid.
        metric: "frobenius" (relative: |C - C*|^2 / |C*|^2) or "log_euclidean", which weighs soft and stiff modes alike.

    Raises:
        InputError: a target that is not symmetric, not positive definite or not finite, or an unknown metric.
    """

    target: Any
    metric: str = "frobenius"

    def __post_init__(self) -> None:
        if self.metric not in _METRICS[:2]:
            raise InputError(f"metric: {self.metric!r} is not one of {', '.join(_METRICS[:2])}")
        target = torch.as_tensor(self.target, dtype=torch.float64).detach().cpu()
        if target.shape != (6, 6):
            raise InputError(f"target: shape is {tuple(target.shape)}; give a (6, 6) Kelvin-Mandel stiffness")
        check_stiffness(target, positive=True, name="target")
        # plain numbers: comparable, readable in a repr, and cheap to send to another process
        object.__setattr__(self, "target", tuple(map(tuple, target.tolist())))

    def value(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, ""]:
        """Squared distance."""
        return self.residuals(stiffness).square().sum()

    def residuals(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, " residuals"]:
        """The difference as a vector of the same norm."""
        target = torch.tensor(self.target, dtype=stiffness.dtype, device=stiffness.device)
        if self.metric == "log_euclidean":
            check_stiffness(stiffness, positive=True)
            return mandel_to_vector(spd_logarithm(stiffness) - spd_logarithm(target))
        return mandel_to_vector(stiffness - target) / torch.linalg.matrix_norm(target)

    def least(self, largest_modulus: float) -> float:
        """Zero."""
        return 0.0

    def quantities(self, stiffness: Float[Tensor, "6 6"]) -> dict[str, float]:
        """The distance itself: relative Frobenius error, or log-Euclidean."""
        name = "relative error" if self.metric == "frobenius" else "log-Euclidean error"
        return {name: math.sqrt(float(self.value(stiffness.detach())))}


@final
@dataclass(frozen=True)
class Isotropy(Objective):
    """Squared distance to the nearest isotropic tensor.

    Args:
        metric: "frobenius" (relative to |C|), "log_euclidean" (weighs soft and stiff modes alike), or "universal" (the
            universal anisotropy A_U >= 0, which is quadratic near isotropy too).
    """

    metric: str = "frobenius"

    def __post_init__(self) -> None:
        if self.metric not in _METRICS:
            raise InputError(f"metric: {self.metric!r} is not one of {', '.join(_METRICS)}")

    def value(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, ""]:
        """Squared distance, or A_U."""
        residuals = self.residuals(stiffness)
        return universal_anisotropy(stiffness) if residuals is None else residuals.square().sum()

    def residuals(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, " residuals"] | None:
        """The anisotropic part as a vector of the same norm; none for the universal anisotropy."""
        if self.metric == "universal":
            return None
        if self.metric == "log_euclidean":
            check_stiffness(stiffness, positive=True)
            vector, size = mandel_to_vector(spd_logarithm(stiffness)), 1.0
        else:
            vector = mandel_to_vector(stiffness)
            size = torch.linalg.vector_norm(vector)
        return (vector - vector @ symmetry_projector("isotropic").to(vector)) / size

    def least(self, largest_modulus: float) -> float:
        """Zero."""
        return 0.0

    def quantities(self, stiffness: Float[Tensor, "6 6"]) -> dict[str, float]:
        """The distance itself (or A_U)."""
        number = max(float(self.value(stiffness.detach())), 0.0)
        names = {"frobenius": "distance to isotropy", "log_euclidean": "log-Euclidean distance to isotropy"}
        if self.metric == "universal":
            return {"universal anisotropy": number}
        return {names[self.metric]: math.sqrt(number)}


@final
@dataclass(frozen=True)
class Custom(Objective):
    """Any differentiable function of the stiffness, to be minimised.

    Args:
        function: from a (6, 6) Kelvin-Mandel tensor to a scalar tensor, in torch. To run in other processes it must be
            importable: a function of a module, no lambda.
        name: for tables.
    """

    function: Callable[[Tensor], Tensor]
    name: str = "custom objective"

    def value(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, ""]:
        """function(stiffness), checked to be one number."""
        value = self.function(stiffness)
        if not isinstance(value, Tensor) or value.ndim:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"{self.name}: returned {shape}; it must return a scalar torch tensor")
        return value

    def quantities(self, stiffness: Float[Tensor, "6 6"]) -> dict[str, float]:
        """The value under its name."""
        return {self.name: float(self.value(stiffness.detach()))}


def _terms(objective: Objective) -> tuple[tuple[float, Objective], ...]:
    return objective.terms if isinstance(objective, WeightedSum) else ((1.0, objective),)
