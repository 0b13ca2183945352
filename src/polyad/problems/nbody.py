"""Charged particles in free space: what equivariant networks on moving points are compared on.

Bodies of mass 1 with charges q_i = +-1 attract and repel each other by Coulomb's law,

    F_i = k sum over j of q_i q_j (x_i - x_j) / max(r_ij, r_0)^3,        r_ij = |x_i - x_j|,

as if one of each pair were a ball of radius r_0 = 0.1 through which the other may pass, so the force of a pair stays at
most k / r_0^2 = 100 and is smooth. They start at positions N(0, 1) with speed 0.5 in a random direction, and move by
leapfrog (kick, drift, kick) with step 0.001. A sample's input is the state after 3,000 steps, its target where the
bodies are 1,000 steps later.

Sources: T. Kipf et al., ICML 2018, arXiv:1802.04687 (charged particles); V. G. Satorras, E. Hoogeboom and M. Welling,
ICML 2021, arXiv:2102.09844 (the task in three dimensions).

*Deviations*: there, components of a body's whole force are cut at 100, which depends on the axes and breaks both
conservation laws; here the force of a pair is bounded by the same 100, so the task has the symmetries of space exactly,
momentum stays, and energy stays to the integrator's order. Velocities are given at the time of the positions.

*When not to use it*: as a simulator of plasmas; all pairs are summed.
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

SOFT_RADIUS = 0.1
"""Of the ball in which the force of a pair falls to zero."""


@final
@dataclass(frozen=True, eq=False)
class ChargedSystems:
    """Systems of charged bodies of mass 1, all with one number of bodies.

    Args:
        positions: (systems, bodies, d).
        velocities: (systems, bodies, d).
        charges: (systems, bodies).
    """

    positions: Float[Tensor, "systems bodies d"]
    velocities: Float[Tensor, "systems bodies d"]
    charges: Float[Tensor, "systems bodies"]

    def __len__(self) -> int:
        """Number of systems."""
        return len(self.positions)


@final
@dataclass(frozen=True, eq=False)
class NBodySamples:
    """States of charged systems and where their bodies are later; a data set for `polyad.training.fit`.

    Args:
        state: what a network sees.
        targets: (systems, bodies, d) later positions.
    """

    state: ChargedSystems
    targets: Float[Tensor, "systems bodies d"]

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.targets)

    def __getitem__(self, index: Tensor, /) -> NBodySamples:
        """The samples with these numbers."""
        state = self.state
        parts = (state.positions[index], state.velocities[index], state.charges[index])
        return NBodySamples(ChargedSystems(*parts), self.targets[index])

    def to(self, *args: object, **options: object) -> NBodySamples:
        """The same samples on another device or of another dtype."""
        state = self.state
        parts = (x.to(*args, **options) for x in (state.positions, state.velocities, state.charges))  # type: ignore[call-overload]
        return NBodySamples(ChargedSystems(*parts), self.targets.to(*args, **options))  # type: ignore[call-overload]

    def graph(self) -> PointGraph:
        """Every body joined to all others of its system; nodes in the order of `state.positions.flatten(0, 1)`.

        A node's kind is 1 for a positive charge and 0 for a negative one; the one scalar of an edge is q_i q_j.
        """
        positions, charges = self.state.positions, self.state.charges
        systems, bodies, dimension = positions.shape
        if dimension != 3:
            raise InputError(f"graph: bodies have {dimension} coordinates; a PointGraph holds points of space")
        source, target = (~torch.eye(bodies, dtype=torch.bool, device=positions.device)).nonzero().T
        first = bodies * torch.arange(systems, device=positions.device)[:, None]
        source, target = (source + first).flatten(), (target + first).flatten()
        points, charge = positions.flatten(0, 1), charges.flatten()
        return PointGraph(
            edge_index=torch.stack([source, target]),
            vectors=points[target] - points[source],
            kind=(charge > 0).long(),
            structure=torch.arange(systems, device=positions.device).repeat_interleave(bodies),
            num_structures=systems,
            positions=points,
            edge_scalars=(charge[source] * charge[target])[:, None],
        )


def nbody_samples(
    count: int, *, seed: int, bodies: int = 5, before: int = 3000, ahead: int = 1000, step: float = 1e-3
) -> NBodySamples:
    """Samples of the task, float64: states after `before` steps and positions `ahead` steps later.

    Samples of different seeds are independent.

    Raises:
        InputError: a count of systems, bodies or steps, or a step, that is out of range.
    """
    state = simulate(charged_systems(count, seed=seed, bodies=bodies), before, step=step)
    return NBodySamples(state, simulate(state, ahead, step=step).positions)


def charged_systems(
    count: int, *, seed: int, bodies: int = 5, spread: float = 1.0, speed: float = 0.5, dimension: int = 3
) -> ChargedSystems:
    """Systems at their start: normal positions, one speed in random directions, charges -1 and 1 at equal odds.

    Args:
        count: number of systems.
        seed: of everything random.
        bodies: in each system.
        spread: standard deviation of every coordinate.
        speed: of every body.
        dimension: of space.

    Raises:
        InputError: a number that is not positive.
    """
    if min(count, bodies, dimension) < 1 or not (0 < spread < math.inf and 0 <= speed < math.inf):
        raise InputError(
            f"charged_systems: count {count}, bodies {bodies}, dimension {dimension}, spread {spread}, speed {speed}; "
            "give positive numbers"
        )
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(count, bodies, 2 * dimension + 1, generator=generator, dtype=torch.float64)
    positions, directions, signs = draw.split([dimension, dimension, 1], dim=-1)
    velocities = speed * directions / torch.linalg.vector_norm(directions, dim=-1, keepdim=True)
    charges = torch.where(signs[..., 0] < 0, -1.0, 1.0).to(torch.float64)
    return ChargedSystems(spread * positions, velocities, charges)


def simulate(
    systems: ChargedSystems, steps: int, *, step: float = 1e-3, strength: float = 1.0, radius: float = SOFT_RADIUS
) -> ChargedSystems:
    """The systems `steps` leapfrog steps later; second order in `step`, reversible, momentum exact to rounding.

    Raises:
        InputError: a negative number of steps, a step that is not finite, a radius that is not positive, or
            positions and velocities that are not finite.
    """
    if steps < 0 or not (math.isfinite(step) and math.isfinite(strength) and 0 < radius < math.inf):
        raise InputError(f"simulate: {steps} steps of {step}, strength {strength}, radius {radius}")
    parts = [systems.positions, systems.velocities, systems.charges]
    positions, velocities, charges = (x.detach().double().cpu().contiguous().numpy().copy() for x in parts)
    _leapfrog(positions, velocities, charges, steps, step, strength, radius)
    if not (np.isfinite(positions).all() and np.isfinite(velocities).all()):
        raise InputError("simulate: positions or velocities that are not finite; give finite ones, or a smaller step")
    moved, faster = (torch.from_numpy(x).to(systems.positions) for x in (positions, velocities))
    return ChargedSystems(moved, faster, systems.charges)


def forces(
    systems: ChargedSystems, *, strength: float = 1.0, radius: float = SOFT_RADIUS
) -> Float[Tensor, "systems bodies d"]:
    """What acts on every body."""
    separation = systems.positions[:, :, None] - systems.positions[:, None]
    distance = torch.linalg.vector_norm(separation, dim=-1)
    product = strength * systems.charges[:, :, None] * systems.charges[:, None]
    return ((product / distance.clamp_min(radius) ** 3)[..., None] * separation).sum(2)


def energy(systems: ChargedSystems, *, strength: float = 1.0, radius: float = SOFT_RADIUS) -> Float[Tensor, " systems"]:
    """Kinetic and potential energy of every system."""
    i, j = torch.triu_indices(systems.positions.shape[1], systems.positions.shape[1], offset=1)
    distance = torch.linalg.vector_norm(systems.positions[:, i] - systems.positions[:, j], dim=-1)
    inside = (3 * radius**2 - distance.square()) / (2 * radius**3)
    shape = torch.where(distance < radius, inside, 1 / distance.clamp_min(radius))
    potential = strength * (systems.charges[:, i] * systems.charges[:, j] * shape).sum(1)
    return potential + 0.5 * systems.velocities.square().sum((1, 2))


@numba.njit(cache=True, nogil=True)
@no_type_check
def _leapfrog(positions, velocities, charges, steps, step, strength, radius):
    """Kick, drift, kick, in place."""
    for system in range(len(positions)):
        x, v, q = positions[system], velocities[system], charges[system]
        force = np.zeros_like(x)
        _add_forces(x, q, force, strength, radius)
        for _ in range(steps):
            v += 0.5 * step * force
            x += step * v
            force[:] = 0.0
            _add_forces(x, q, force, strength, radius)
            v += 0.5 * step * force


@numba.njit(cache=True, nogil=True)
@no_type_check
def _add_forces(x, q, force, strength, radius):
    """Adds the forces of all pairs, each with its opposite."""
    bodies, dimension = x.shape
    for i in range(bodies):
        for j in range(i):
            square = 0.0
            for k in range(dimension):
                square += (x[i, k] - x[j, k]) ** 2
            size = strength * q[i] * q[j] / max(np.sqrt(square), radius) ** 3
            for k in range(dimension):
                push = size * (x[i, k] - x[j, k])
                force[i, k] += push
                force[j, k] -= push
