"""Particles that relax under pair potentials with two minima: a task for networks that move points step by step.

Every pair of particles has a double well in its distance, whose place is drawn for the pair:

    V(r; a) = x^4 - x^2 + 0.1 x - V_0,    x = r - 1 - a,    a uniform in [0, 1],    V_0 so that the least value is 0

with minima at x = -0.7309 (the deeper) and x = 0.6806, so at distances of 0.27 + a and 1.68 + a. Particles start at
normal positions of deviation 0.5, mostly between the two minima, and go down the sum over all pairs,

    x_i <- x_i - step * dE / dx_i,    200 steps of 0.005.

A sample's input is the start and the a_ij; its target is where the particles end. No particle can please all the
others, so where one goes depends on where they go: directions at the start do not tell directions at the end.

Source: F. B. Fuchs, E. Wagstaff, J. Dauparas and I. Posner, Iterative SE(3)-Transformers, GSI 2021, arXiv:2102.13419
(potential, a_ij and start).

*Deviations*: there networks are trained on the energy of the positions that they give; here on positions that gradient
descent gives. Its steps are not clamped, for with this length none is too long.

*When not to use it*: to find minima; 200 steps end before the softest directions have settled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final, no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.graphs.points import PointGraph

LOWEST = -0.3219193468815588
"""V_0: the least value of x^4 - x^2 + 0.1 x."""


@final
@dataclass(frozen=True, eq=False)
class RelaxationSamples:
    """Particles, the wells of their pairs and where they end; a data set for `polyad.training.fit`.

    Args:
        positions: (systems, particles, 3) at the start.
        wells: (systems, particles, particles) a_ij, symmetric; the diagonal means nothing.
        targets: (systems, particles, 3) at the end.
    """

    positions: Float[Tensor, "systems particles 3"]
    wells: Float[Tensor, "systems particles particles"]
    targets: Float[Tensor, "systems particles 3"]

    def __len__(self) -> int:
        """Number of systems."""
        return len(self.positions)

    def __getitem__(self, index: Tensor, /) -> RelaxationSamples:
        """The samples with these numbers."""
        return RelaxationSamples(self.positions[index], self.wells[index], self.targets[index])

    def to(self, *args: object, **options: object) -> RelaxationSamples:
        """The same samples on another device or of another dtype."""
        parts = (self.positions, self.wells, self.targets)
        return RelaxationSamples(*(part.to(*args, **options) for part in parts))  # type: ignore[call-overload]

    def graph(self) -> PointGraph:
        """Every particle joined to all others of its system, a_ij on the edges; nodes system after system."""
        systems, particles, _ = self.positions.shape
        device = self.positions.device
        source, target = (~torch.eye(particles, dtype=torch.bool, device=device)).nonzero().T
        first = particles * torch.arange(systems, device=device)[:, None]
        wells = self.wells[:, source, target].reshape(-1, 1)
        source, target = (source + first).flatten(), (target + first).flatten()
        points = self.positions.flatten(0, 1)
        return PointGraph(
            edge_index=torch.stack([source, target]),
            vectors=points[target] - points[source],
            kind=torch.zeros(len(points), dtype=torch.int64, device=device),
            structure=torch.arange(systems, device=device).repeat_interleave(particles),
            num_structures=systems,
            positions=points,
            edge_scalars=wells,
        )


def relaxation_samples(
    count: int, *, seed: int, particles: int = 10, spread: float = 0.5, steps: int = 200, step: float = 0.005
) -> RelaxationSamples:
    """Samples of the task, float64; those of different seeds are independent.

    Args:
        count: number of systems.
        seed: of everything random.
        particles: in each system.
        spread: standard deviation of the start's coordinates.
        steps, step: of gradient descent, number and length.

    Raises:
        InputError: a number that is out of range, or a descent that leaves the range of numbers.
    """
    if count < 1 or particles < 2 or not 0 < spread < math.inf:
        raise InputError(
            f"relaxation_samples: count {count}, particles {particles}, spread {spread}; give at least 1 system of 2 "
            "particles and a positive spread"
        )
    generator = torch.Generator().manual_seed(seed)
    positions = spread * torch.randn(count, particles, 3, generator=generator, dtype=torch.float64)
    drawn = torch.rand(count, particles, particles, generator=generator, dtype=torch.float64).triu(1)
    wells = drawn + drawn.mT
    return RelaxationSamples(positions, wells, relax(positions, wells, steps=steps, step=step))


def relax(
    positions: Float[Tensor, "*batch particles 3"],
    wells: Float[Tensor, "*batch particles particles"],
    *,
    steps: int = 200,
    step: float = 0.005,
) -> Float[Tensor, "*batch particles 3"]:
    """Positions after so many steps of gradient descent, computed in float64; no gradient flows.

    Raises:
        InputError: a negative number of steps, a step that is not positive, or one that is too long to stay finite.
    """
    if steps < 0 or not 0 < step < math.inf:
        raise InputError(f"relax: {steps} steps of {step}; give a number >= 0 of steps of positive length")
    particles = positions.shape[-2]
    moved = positions.detach().double().cpu().reshape(-1, particles, 3).numpy().copy()
    places = wells.detach().double().cpu().reshape(-1, particles, particles).numpy()
    _descend(moved, places, steps, step)
    if not np.isfinite(moved).all():
        raise InputError(
            f"relax: positions are not finite after {steps} steps of {step}; give finite ones, or a shorter step"
        )
    return torch.from_numpy(moved).to(positions).view_as(positions)


def energy(
    positions: Float[Tensor, "*batch particles 3"], wells: Float[Tensor, "*batch particles particles"]
) -> Float[Tensor, "*batch"]:
    """The sum of V over all pairs of every system."""
    first, second = torch.triu_indices(positions.shape[-2], positions.shape[-2], offset=1)
    distance = torch.linalg.vector_norm(positions[..., first, :] - positions[..., second, :], dim=-1)
    x = distance - 1 - wells[..., first, second]
    return (x.square() * (x.square() - 1) + 0.1 * x - LOWEST).sum(-1)


def forces(
    positions: Float[Tensor, "*batch particles 3"], wells: Float[Tensor, "*batch particles particles"]
) -> Float[Tensor, "*batch particles 3"]:
    """Minus the slope of `energy`; a pair in one place exerts none."""
    separation = positions.unsqueeze(-2) - positions.unsqueeze(-3)
    distance = torch.linalg.vector_norm(separation, dim=-1)
    x = distance - 1 - wells
    slope = x * (4 * x.square() - 2) + 0.1
    along = torch.where(distance > 0, slope / distance.clamp_min(torch.finfo(distance.dtype).tiny), 0.0)
    return -(along.unsqueeze(-1) * separation).sum(-2)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _descend(positions, wells, steps, step):
    """Steps down the slope, in place."""
    force = np.empty_like(positions[0])
    for system in range(len(positions)):
        x, a = positions[system], wells[system]
        for _ in range(steps):
            force[:] = 0.0
            for i in range(len(x)):
                for j in range(i):
                    u, v, w = x[i, 0] - x[j, 0], x[i, 1] - x[j, 1], x[i, 2] - x[j, 2]
                    distance = np.sqrt(u * u + v * v + w * w)
                    if distance > 0.0:
                        y = distance - 1.0 - a[i, j]
                        along = (4.0 * y * y * y - 2.0 * y + 0.1) / distance
                        force[i, 0] -= along * u
                        force[i, 1] -= along * v
                        force[i, 2] -= along * w
                        force[j, 0] += along * u
                        force[j, 1] += along * v
                        force[j, 2] += along * w
            x += step * force
