"""Cross-sections of struts and the four stiffnesses that a strut of given length has with them.

All sections are doubly symmetric (equal second moments about every axis of the section plane), so a strut needs no
orientation about its own axis. The size is the `radius` of the lattice: the outer radius of a round section, half the
side of a square one.

A strut of length L, Young's modulus E, shear modulus G = E / (2 (1 + nu)) and shear parameter
phi = 12 E I / (kappa G A L^2) (0 for Euler-Bernoulli beams) resists

    stretch a = E A / L,   shear b = 12 E I / ((1 + phi) L^3),   twist t = G J / L,   curvature g = E I / L.

Source: Przemieniecki, Theory of Matrix Structural Analysis (1968), section 5.6; Cowper, J. Appl. Mech. 33 (1966)
335-340 (shear factors of the tube and the square). The solid round section takes kappa = 0.89, the value behind the
published lattice data (arXiv:2401.16914); Cowper's formula gives 0.886 at nu = 0.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError

SQUARE_TORSION = 2.2492322
"""J / r^4 of a square of half side r: (16/3) (1 - (192 / pi^5) sum over odd n of tanh(n pi / 2) / n^5)."""


@runtime_checkable
class Section(Protocol):
    """A doubly symmetric cross-section: four properties as functions of the strut radius."""

    def area(self, radius: Float[Tensor, "*edges"]) -> Float[Tensor, "*edges"]:
        """Area A."""
        ...

    def second_moment(self, radius: Float[Tensor, "*edges"]) -> Float[Tensor, "*edges"]:
        """Second moment of area I about any axis through the centroid."""
        ...

    def torsion_constant(self, radius: Float[Tensor, "*edges"]) -> Float[Tensor, "*edges"]:
        """Saint-Venant torsion constant J."""
        ...

    def shear_factor(self, poisson_ratio: Tensor) -> Tensor:
        """Timoshenko's shear factor kappa."""
        ...


@final
@dataclass(frozen=True)
class Circle:
    """Solid round section; `kappa` is Timoshenko's shear factor."""

    kappa: float = 0.89

    def area(self, radius: Float[Tensor, "*edges"]) -> Float[Tensor, "*edges"]:
        """A = pi r^2."""
        return math.pi * radius * radius

    def second_moment(self, radius: Float[Tensor, "*edges"]) -> Float[Tensor, "*edges"]:
        """I = pi r^4 / 4."""
        return (math.pi / 4) * _fourth(radius)

    def torsion_constant(self, radius: Float[Tensor, "*edges"]) -> Float[Tensor, "*edges"]:
        """J = pi r^4 / 2."""
        return (math.pi / 2) * _fourth(radius)

    def shear_factor(self, poisson_ratio: Tensor) -> Tensor:
        """The constant `kappa`."""
        return torch.full_like(poisson_ratio, self.kappa)


@final
@dataclass(frozen=True)
class Tube:
    """Round tube; `bore` is inner radius over outer radius, in [0, 1)."""

    bore: float

    def __post_init__(self) -> None:
        if not 0 <= self.bore < 1:
            raise InputError(f"Tube: bore is {self.bore}; inner over outer radius must lie in [0, 1)")

    def area(self, radius: Float[Tensor, "*edges"]) -> Float[Tensor, "*edges"]:
        """A = pi r^2 (1 - bore^2)."""
        return math.pi * (1 - self.bore**2) * radius * radius

    def second_moment(self, radius: Float[Tensor, "*edges"]) -> Float[Tensor, "*edges"]:
        """I = pi r^4 (1 - bore^4) / 4."""
        return (math.pi / 4) * (1 - self.bore**4) * _fourth(radius)

    def torsion_constant(self, radius: Float[Tensor, "*edges"]) -> Float[Tensor, "*edges"]:
        """J = 2 I."""
        return 2 * self.second_moment(radius)

    def shear_factor(self, poisson_ratio: Tensor) -> Tensor:
        """Cowper (1966): 6 (1+nu) (1+m^2)^2 / ((7+6nu) (1+m^2)^2 + (20+12nu) m^2), m the bore."""
        nu, m2 = poisson_ratio, self.bore**2
        return 6 * (1 + nu) * (1 + m2) ** 2 / ((7 + 6 * nu) * (1 + m2) ** 2 + (20 + 12 * nu) * m2)


@final
@dataclass(frozen=True)
class Square:
    """Solid square section of side 2 r."""

    def area(self, radius: Float[Tensor, "*edges"]) -> Float[Tensor, "*edges"]:
        """A = 4 r^2."""
        return 4 * radius * radius

    def second_moment(self, radius: Float[Tensor, "*edges"]) -> Float[Tensor, "*edges"]:
        """I = (2 r)^4 / 12."""
        return (4 / 3) * _fourth(radius)

    def torsion_constant(self, radius: Float[Tensor, "*edges"]) -> Float[Tensor, "*edges"]:
        """J = 2.2492 r^4 (Saint-Venant)."""
        return SQUARE_TORSION * _fourth(radius)

    def shear_factor(self, poisson_ratio: Tensor) -> Tensor:
        """Cowper (1966): 10 (1+nu) / (12 + 11 nu)."""
        return 10 * (1 + poisson_ratio) / (12 + 11 * poisson_ratio)


def strut_stiffness(
    length: Float[Tensor, " edges"],
    radius: Float[Tensor, " edges"],
    *,
    young_modulus: float | Tensor = 1.0,
    poisson_ratio: float | Tensor = 0.3,
    shear: bool = True,
    section: Section | None = None,
    joint_length: float = 0.0,
) -> Float[Tensor, "edges 4"]:
    """Stretch, shear, twist and curvature stiffness (a, b, t, g) of every strut.

    Args:
        length: (edges,) between node centres.
        radius: (edges,).
        young_modulus: one number, or one a strut; its unit is the unit of every stiffness that follows.
        poisson_ratio: one number, or one a strut; in (-1, 0.5].
        shear: True for Timoshenko, False for Euler-Bernoulli beams.
        section: `Circle()` where not given.
        joint_length: the part of a strut within joint_length x radius of either node is rigid (0: no correction). Rigid
            ends of equal length move with the nodes and leave stretch and shear at mid-length as they are, so only the
            length in the four stiffnesses shrinks.

    Raises:
        InputError: a modulus out of range, or joints that leave no flexible strut.
    """
    section = section or Circle()
    modulus = _modulus(young_modulus, length, "young_modulus")
    ratio = _modulus(poisson_ratio, length, "poisson_ratio")
    if not bool((modulus > 0).all()):
        raise InputError("young_modulus: must be positive for every strut")
    if not bool(((ratio > -1) & (ratio <= 0.5)).all()):
        raise InputError("poisson_ratio: must lie in (-1, 0.5] for every strut")
    if joint_length:
        length = length - 2 * joint_length * radius
        if joint_length < 0 or not bool((length > 0).all()):
            raise InputError(
                f"joint_length: {joint_length} leaves strut {int(length.argmin())} without a flexible part; lower it"
            )
    area, second_moment = section.area(radius), section.second_moment(radius)
    shear_modulus = modulus / (2 * (1 + ratio))
    bending = modulus * second_moment / length
    slide = 12 * bending / (length * length)
    if shear:
        slide = slide / (1 + slide * length / (section.shear_factor(ratio) * shear_modulus * area))
    twist = shear_modulus * section.torsion_constant(radius) / length
    return torch.stack([modulus * area / length, slide, twist, bending], dim=-1)


def _fourth(radius: Tensor) -> Tensor:
    # products, not a power: the last bit must not depend on the place in the batch
    square = radius * radius
    return square * square


def _modulus(value: float | Tensor, length: Tensor, name: str) -> Tensor:
    tensor = torch.as_tensor(value, dtype=length.dtype, device=length.device)
    if tensor.ndim and tensor.shape != length.shape:
        raise InputError(f"{name}: shape is {tuple(tensor.shape)}; give one number or one a strut ({len(length)},)")
    return tensor
