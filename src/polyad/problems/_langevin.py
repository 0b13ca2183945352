"""Langevin dynamics of atoms in units of electronvolt, angstrom, atomic mass and femtosecond; shared by problems."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

BOLTZMANN = 8.617333e-5
"""eV a kelvin."""

_TIME = 10.180505  # fs in one unit of angstrom sqrt(amu / eV)


def langevin(
    energy: Callable[[Tensor], Tensor],
    positions: Tensor,
    mass: Tensor,
    *,
    temperature: float,
    friction: float,
    step: float,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """Positions after every step, without end, by the BAOAB splitting (B. Leimkuhler and C. Matthews 2013).

    Args:
        energy: (..., atoms, 3) -> (...), in eV.
        positions: (..., atoms, 3) at the start; velocities are drawn.
        mass: (atoms, 1), in atomic masses.
        temperature: in kelvin.
        friction: in 1/fs; 0 conserves the energy.
        step: in fs.
        generator: of velocities and noise.
    """
    step = step / _TIME
    thermal = (BOLTZMANN * temperature / mass).sqrt()
    damping = math.exp(-friction * _TIME * step)

    def noise() -> Tensor:
        return torch.randn(positions.shape, generator=generator, dtype=positions.dtype)

    x, v = positions, thermal * noise()
    _, force = with_forces(energy, x)
    while True:
        v = v + 0.5 * step * force / mass
        x = x + 0.5 * step * v
        v = damping * v + math.sqrt(1 - damping**2) * thermal * noise()
        x = x + 0.5 * step * v
        _, force = with_forces(energy, x)
        v = v + 0.5 * step * force / mass
        yield x


def with_forces(energy: Callable[[Tensor], Tensor], positions: Tensor) -> tuple[Tensor, Tensor]:
    """Energy, and its negative gradient."""
    with torch.enable_grad():
        moved = positions.detach().requires_grad_()
        value = energy(moved)
        (gradient,) = torch.autograd.grad(value.sum(), moved)
    return value.detach(), -gradient
