"""Objectives of single moduli: stiffness along directions, Poisson's ratio, bulk and shear modulus.

Every one takes a `goal`: "maximise", "minimise", or the number to be reached. With q the modulus (positive, so its
logarithm is used: scale-free and better conditioned), the value to be minimised is

    maximise   -log q           minimise   log q           number g   log(q / g)^2

Poisson's ratio may be negative and has no unit: nu, -nu, or (nu - g)^2. Of several directions, moduli are combined by
their geometric mean, or by a smooth minimum, the power mean (mean q^-p)^(-1/p) with p = 20, which lies between the
least of k values and k^(1/p) times it. A number as goal is asked of each direction.

For one strut lattice of relative density rho, the energy under an affine motion of its nodes bounds the real one from
above, so c(n) <= rho E for r <= L / 2, and E(n) <= c(n), K <= rho E / 9: goals beyond that are refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials import elasticity
from polyad.materials.lattice.design.objectives import Objective

Goal = str | float
_SHARPNESS = 20.0


@final
@dataclass(frozen=True)
class StiffnessAlong(Objective):
    """Stiffness along one or several directions.

    Args:
        directions: (3,) or (k, 3); lengths do not matter.
        goal: "maximise", "minimise", or a modulus in the unit of the solid's.
        modulus: "young" for E(n), uniaxial stress; "longitudinal" for c(n), uniaxial strain.
        mean: "geometric" or "minimum" (the least stiff direction counts), for several directions.

    Raises:
        InputError: no directions, a zero vector, an unknown option, a goal that is not positive.
    """

    directions: Any
    goal: Goal = "maximise"
    modulus: str = "young"
    mean: str = "geometric"

    def __post_init__(self) -> None:
        object.__setattr__(self, "directions", _vectors(self.directions, "directions"))
        _check_goal(self.goal, positive=True)
        _check_option(self.modulus, ("young", "longitudinal"), "modulus")
        _check_option(self.mean, ("geometric", "minimum"), "mean")

    def _moduli(self, stiffness: Tensor) -> Tensor:
        directions = torch.tensor(self.directions, dtype=stiffness.dtype, device=stiffness.device)
        if self.modulus == "young":
            return elasticity.young_modulus(stiffness, directions)
        return elasticity.longitudinal_stiffness(stiffness, directions)

    def value(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, ""]:
        """See the module's docstring."""
        return _log_goal(self._moduli(stiffness), self.goal, self.mean)

    def residuals(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, " residuals"] | None:
        """log(q / goal) of every direction, for a number as goal."""
        return _log_residuals(self._moduli(stiffness), self.goal)

    def quantities(self, stiffness: Float[Tensor, "6 6"]) -> dict[str, float]:
        """The modulus along each direction."""
        symbol = "E" if self.modulus == "young" else "c"
        numbers = self._moduli(stiffness.detach()).tolist()
        return {f"{symbol}{_show(n)}": x for n, x in zip(self.directions, numbers, strict=True)}

    def least(self, largest_modulus: float) -> float:
        """The value where every direction has the largest modulus."""
        return _least(self.goal, largest_modulus)


@final
@dataclass(frozen=True)
class PoissonRatio(Objective):
    """Poisson's ratio: nu(n, m) for given directions, or of the isotropic (Hill) average where none are given.

    Args:
        directions: (3,) or (k, 3) loads n, or None for the isotropic average.
        transverse: the same number of vectors m, orthogonal to n.
        goal: "minimise" (auxetic), "maximise", or a ratio. Several pairs: the mean.

    Raises:
        InputError: vectors that are zero, do not pair up or are not orthogonal; a goal that is not a number.
    """

    directions: Any = None
    transverse: Any = None
    goal: Goal = "minimise"

    def __post_init__(self) -> None:
        _check_goal(self.goal, positive=False)
        _set_pairs(self)

    def _ratios(self, stiffness: Tensor) -> Tensor:
        if self.directions is None:
            return elasticity.hill_average(stiffness).poisson[None]
        return elasticity.poisson_ratio(stiffness, *_pairs(self, stiffness))

    def value(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, ""]:
        """nu, -nu or (nu - goal)^2, averaged over the pairs."""
        ratios = self._ratios(stiffness)
        if isinstance(self.goal, str):
            return ratios.mean() if self.goal == "minimise" else -ratios.mean()
        return (ratios - self.goal).square().mean()

    def residuals(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, " residuals"] | None:
        """nu - goal of every pair, for a number as goal."""
        ratios = self._ratios(stiffness)
        return None if isinstance(self.goal, str) else (ratios - self.goal) / math.sqrt(len(ratios))

    def quantities(self, stiffness: Float[Tensor, "6 6"]) -> dict[str, float]:
        """Every ratio."""
        return _named("nu", self, self._ratios(stiffness.detach()))


@final
@dataclass(frozen=True)
class ShearModulus(Objective):
    """Shear modulus: G(n, m) for given directions, or of the isotropic (Hill) average where none are given.

    Arguments and errors as for `PoissonRatio`; the goal's default is "maximise", a number must be positive.
    """

    directions: Any = None
    transverse: Any = None
    goal: Goal = "maximise"

    def __post_init__(self) -> None:
        _check_goal(self.goal, positive=True)
        _set_pairs(self)

    def _moduli(self, stiffness: Tensor) -> Tensor:
        if self.directions is None:
            return elasticity.hill_average(stiffness).shear[None]
        return elasticity.shear_modulus(stiffness, *_pairs(self, stiffness))

    def value(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, ""]:
        """See the module's docstring."""
        return _log_goal(self._moduli(stiffness), self.goal, "geometric")

    def residuals(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, " residuals"] | None:
        """log(G / goal) of every pair, for a number as goal."""
        return _log_residuals(self._moduli(stiffness), self.goal)

    def quantities(self, stiffness: Float[Tensor, "6 6"]) -> dict[str, float]:
        """Every modulus."""
        return _named("G", self, self._moduli(stiffness.detach()))


@final
@dataclass(frozen=True)
class BulkModulus(Objective):
    """Bulk modulus under hydrostatic pressure; the goal is "maximise", "minimise", or a positive modulus."""

    goal: Goal = "maximise"

    def __post_init__(self) -> None:
        _check_goal(self.goal, positive=True)

    def value(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, ""]:
        """See the module's docstring."""
        return _log_goal(elasticity.bulk_modulus(stiffness)[None], self.goal, "geometric")

    def residuals(self, stiffness: Float[Tensor, "6 6"]) -> Float[Tensor, " residuals"] | None:
        """log(K / goal), for a number as goal."""
        return _log_residuals(elasticity.bulk_modulus(stiffness)[None], self.goal)

    def quantities(self, stiffness: Float[Tensor, "6 6"]) -> dict[str, float]:
        """The bulk modulus K."""
        return {"K": float(elasticity.bulk_modulus(stiffness.detach()))}

    def least(self, largest_modulus: float) -> float:
        """The value at K = rho E / 9, the bulk modulus of struts that all stretch alike."""
        return _least(self.goal, largest_modulus / 9)


def _log_goal(moduli: Tensor, goal: Goal, mean: str) -> Tensor:
    logarithm = moduli.log()
    residuals = _log_residuals(moduli, goal)
    if residuals is not None:
        return residuals.square().sum()
    if mean == "minimum":
        count = math.log(len(logarithm))
        combined = (count - torch.logsumexp(-_SHARPNESS * logarithm, dim=0)) / _SHARPNESS
    else:
        combined = logarithm.mean()
    return combined if goal == "minimise" else -combined


def _log_residuals(moduli: Tensor, goal: Goal) -> Tensor | None:
    return None if isinstance(goal, str) else (moduli / goal).log() / math.sqrt(len(moduli))


def _vectors(value: Any, name: str) -> tuple[tuple[float, ...], ...]:
    tensor = torch.as_tensor(value, dtype=torch.float64).detach().cpu()
    if tensor.shape[-1:] != (3,) or tensor.ndim not in (1, 2) or not tensor.numel():
        raise InputError(f"{name}: shape is {tuple(tensor.shape)}; give one vector (3,) or several (k, 3)")
    return tuple(map(tuple, elasticity.directional.unit(tensor, name=name).reshape(-1, 3).tolist()))


def _set_pairs(objective: Any) -> None:
    if (objective.directions is None) != (objective.transverse is None):
        raise InputError("directions, transverse: give both, or neither for the isotropic average")
    if objective.directions is None:
        return
    pair = _vectors(objective.directions, "directions"), _vectors(objective.transverse, "transverse")
    if len(pair[0]) != len(pair[1]):
        raise InputError(f"transverse: {len(pair[1])} vectors for {len(pair[0])} directions; give one for each")
    for n, m in zip(*pair, strict=True):
        cosine = abs(sum(a * b for a, b in zip(n, m, strict=True)))
        if cosine > 1e-7:
            raise InputError(f"transverse: {_show(m)} is not orthogonal to {_show(n)} (|cosine| {cosine:.3g})")
    object.__setattr__(objective, "directions", pair[0])
    object.__setattr__(objective, "transverse", pair[1])


def _pairs(objective: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    first, second = (torch.tensor(x, dtype=like.dtype) for x in (objective.directions, objective.transverse))
    return first.to(like.device), second.to(like.device)


def _named(symbol: str, objective: Any, numbers: Tensor) -> dict[str, float]:
    if objective.directions is None:
        return {f"{symbol} (isotropic average)": float(numbers[0])}
    pairs = zip(objective.directions, objective.transverse, numbers.tolist(), strict=True)
    return {f"{symbol}[{_show(n)}, {_show(m)}]": x for n, m, x in pairs}


def _show(vector: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{x:.4g}" for x in vector) + ")"


def _check_goal(goal: Any, *, positive: bool) -> None:
    if goal in ("maximise", "minimise"):
        return
    if isinstance(goal, bool) or not isinstance(goal, int | float) or not math.isfinite(goal):
        raise InputError(f"goal: {goal!r} is not 'maximise', 'minimise' or a finite number")
    if positive and not goal > 0:
        raise InputError(f"goal: {goal!r} must be positive for a modulus")


def _check_option(value: str, allowed: tuple[str, ...], name: str) -> None:
    if value not in allowed:
        raise InputError(f"{name}: {value!r} is not one of {', '.join(allowed)}")


def _least(goal: Goal, largest: float) -> float:
    """Least value of `_log_goal` over moduli of at most `largest`."""
    if goal == "minimise":
        return -math.inf
    if isinstance(goal, str):
        return -math.log(largest) if largest > 0 else math.inf
    return max(math.log(goal) - math.log(largest), 0.0) ** 2
