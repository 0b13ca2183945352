"""Directional stiffness, sampled for drawing: over the sphere and along the three coordinate planes.

Young's modulus E(n) where the stiffness is positive definite; where it is not, E does not exist in every direction and
the stiffness for uniaxial strain c(n) = C_nnnn, which always does, is drawn instead (and labelled so).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.elasticity import longitudinal_stiffness, young_modulus

PLANES = {"xy": (0, 1), "xz": (0, 2), "yz": (1, 2)}
"""Coordinate planes: the two axes whose angle theta turns from the first to the second."""

_RIGID = 1e-12


def is_stiff(stiffness: Float[Tensor, "*batch 6 6"]) -> Tensor:
    """Whether every stress is resisted: the smallest eigenvalue exceeds 1e-12 of the largest."""
    values = torch.linalg.eigvalsh(stiffness.detach())
    return values[..., 0] > _RIGID * values[..., -1].clamp_min(torch.finfo(values.dtype).tiny)


def directional_stiffness(
    stiffness: Float[Tensor, "6 6"], directions: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, " n"], str]:
    """Values along unit vectors, and the symbol of the quantity: "E(n)", or "c(n)" where the stiffness is singular."""
    if tuple(stiffness.shape) != (6, 6):
        raise InputError(f"stiffness: shape is {tuple(stiffness.shape)}; give one Kelvin-Mandel matrix (6, 6)")
    matrix = stiffness.detach().cpu().double()
    if bool(is_stiff(matrix)):
        return young_modulus(matrix, directions), "E(n)"
    return longitudinal_stiffness(matrix, directions), "c(n)"


def polar_cut(stiffness: Float[Tensor, "6 6"], plane: str, *, samples: int = 361) -> tuple[Tensor, Tensor, str]:
    """Angles (radians, 0 to 2 pi), values and symbol in the plane "xy", "xz" or "yz"."""
    if plane not in PLANES:
        raise InputError(f"plane: {plane!r} is unknown; give one of {', '.join(PLANES)}")
    first, second = PLANES[plane]
    angle = torch.linspace(0, 2 * math.pi, samples, dtype=torch.float64)
    directions = torch.zeros(samples, 3, dtype=torch.float64)
    directions[:, first], directions[:, second] = angle.cos(), angle.sin()
    values, symbol = directional_stiffness(stiffness, directions)
    return angle, values, symbol
