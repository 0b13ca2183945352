"""Charged particles: forces are the energy's slope, the laws of mechanics hold, and the task is what it says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.problems.nbody import (
    ChargedSystems,
    charged_systems,
    energy,
    forces,
    nbody_samples,
    simulate,
)
from polyad.testing import assert_convergence_order


def two_bodies(distance: float, product: float, speed: float = 0.0) -> ChargedSystems:
    positions = torch.tensor([[[distance / 2, 0, 0], [-distance / 2, 0, 0]]], dtype=torch.float64)
    velocities = torch.tensor([[[0, speed, 0], [0, -speed, 0]]], dtype=torch.float64)
    return ChargedSystems(positions, velocities, torch.tensor([[1.0, product]], dtype=torch.float64))


def energy_error(start: ChargedSystems, end: ChargedSystems) -> Tensor:
    return (energy(end) - energy(start)).abs() / (energy(start).abs() + 1)


@pytest.mark.parametrize("radius", [0.1, 1.5])  # 1.5: many pairs are closer than that
def test_forces_are_minus_the_slope_of_the_energy(radius: float) -> None:
    systems = charged_systems(20, seed=0)
    moved = systems.positions.clone().requires_grad_()
    (slope,) = torch.autograd.grad(
        energy(ChargedSystems(moved, systems.velocities, systems.charges), radius=radius).sum(), moved
    )
    found = forces(systems, radius=radius)
    assert torch.allclose(found, -slope, atol=1e-12)
    step, move = 1e-6, torch.zeros_like(systems.positions)
    move[:, 3, 1] = step
    high, low = (
        energy(ChargedSystems(systems.positions + s * move, systems.velocities, systems.charges), radius=radius)
        for s in (1, -1)
    )
    assert torch.allclose(found[:, 3, 1], -(high - low) / (2 * step), atol=1e-7)


def test_force_of_a_pair_is_coulombs_outside_and_linear_inside_the_ball() -> None:
    assert float(forces(two_bodies(2.0, -1.0))[0, 0, 0]) == pytest.approx(-0.25)  # attraction, 1 / r^2
    assert float(forces(two_bodies(2.0, 1.0))[0, 0, 0]) == pytest.approx(0.25)
    assert float(forces(two_bodies(0.1, 1.0))[0, 0, 0]) == pytest.approx(100.0)
    assert float(forces(two_bodies(0.05, 1.0))[0, 0, 0]) == pytest.approx(50.0)
    assert float(energy(two_bodies(2.0, -1.0, speed=1.0))[0]) == pytest.approx(1.0 - 0.5)
    assert float(energy(two_bodies(0.0, 1.0))[0]) == pytest.approx(15.0)  # the centre of a charged ball: 3 / (2 r_0)


def test_kernel_moves_by_the_same_forces() -> None:
    systems, step = charged_systems(50, seed=1), 1e-3
    half = systems.velocities + 0.5 * step * forces(systems)
    positions = systems.positions + step * half
    velocities = half + 0.5 * step * forces(ChargedSystems(positions, half, systems.charges))
    moved = simulate(systems, 1, step=step)
    assert torch.allclose(moved.positions, positions, atol=1e-14)
    assert torch.allclose(moved.velocities, velocities, atol=1e-13)
    assert torch.equal(simulate(systems, 0).positions, systems.positions)


def test_bodies_on_a_circle_come_round() -> None:
    """Opposite charges at distance d: speed v of each with v^2 / (d / 2) = 1 / d^2, period pi d / v."""
    distance = 1.0
    speed = math.sqrt(0.5 / distance)
    start = two_bodies(distance, -1.0, speed)
    steps = 4000
    end = simulate(start, steps, step=math.pi * distance / speed / steps)
    assert torch.allclose(end.positions, start.positions, atol=1e-5)
    assert torch.allclose(end.velocities, start.velocities, atol=1e-5)


def test_energy_momentum_and_angular_momentum_stay() -> None:
    start = charged_systems(300, seed=2)
    end = simulate(start, 4000)
    assert float(energy_error(start, end).max()) < 0.03  # near the centre of a pair; it does not grow with time
    assert float(energy_error(start, end).median()) < 2e-5
    finer = energy_error(start, simulate(start, 16000, step=2.5e-4))
    assert float(finer.max()) < 0.1 * float(energy_error(start, end).max())  # second order: a sixteenth
    assert torch.allclose(end.velocities.sum(1), start.velocities.sum(1), atol=1e-11)
    angular = [torch.linalg.cross(x.positions, x.velocities).sum(1) for x in (start, end)]
    assert torch.allclose(*angular, atol=1e-10)


def test_leapfrog_is_of_second_order_and_reversible() -> None:
    start = two_bodies(1.0, -1.0, speed=0.5)
    exact = simulate(start, 64000, step=1 / 64000).positions
    steps = [1 / 125, 1 / 250, 1 / 500]
    errors = [float((simulate(start, round(1 / h), step=h).positions - exact).norm()) for h in steps]
    assert_convergence_order(errors, steps, order=2, tolerance=0.1)
    back = simulate(start, 1000)
    back = simulate(ChargedSystems(back.positions, -back.velocities, back.charges), 1000)
    assert torch.allclose(back.positions, start.positions, atol=1e-10)


def test_motion_commutes_with_rotations_reflections_and_shifts() -> None:
    start = charged_systems(20, seed=3)
    generator = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    turned = simulate(ChargedSystems(start.positions @ q.T + 2.0, start.velocities @ q.T, start.charges), 300)
    expected = simulate(start, 300).positions @ q.T + 2.0
    assert torch.allclose(turned.positions, expected, atol=1e-9)


def test_start_has_the_spread_speed_and_charges_of_the_task() -> None:
    systems = charged_systems(4000, seed=4)
    assert float(systems.positions.std()) == pytest.approx(1.0, abs=0.02)
    speeds = torch.linalg.vector_norm(systems.velocities, dim=-1)
    assert torch.allclose(speeds, torch.full_like(speeds, 0.5))
    assert set(systems.charges.unique().tolist()) == {-1.0, 1.0}
    assert float(systems.charges.mean()) == pytest.approx(0.0, abs=0.03)
    assert float((systems.positions * systems.velocities).mean()) == pytest.approx(0.0, abs=0.01)


def test_samples_are_states_and_later_positions() -> None:
    samples = nbody_samples(6, seed=5, before=30, ahead=20)
    start = charged_systems(6, seed=5)
    assert torch.equal(samples.state.positions, simulate(start, 30).positions)
    assert torch.allclose(samples.targets, simulate(start, 50).positions, atol=1e-13)
    assert torch.equal(nbody_samples(6, seed=5, before=30, ahead=20).targets, samples.targets)
    assert not torch.equal(nbody_samples(6, seed=6, before=30, ahead=20).targets, samples.targets)
    some = samples[torch.tensor([4, 1])].to(torch.float32)
    assert len(samples) == 6
    assert len(some) == 2
    assert some.state.positions.dtype == some.targets.dtype == torch.float32
    assert torch.equal(some.targets[1], samples.targets[1].float())


def test_graph_joins_all_bodies_of_a_system() -> None:
    samples = nbody_samples(3, seed=7, bodies=4, before=10, ahead=10)
    graph = samples.graph()
    pairs = {(4 * s + i, 4 * s + j) for s in range(3) for i in range(4) for j in range(4) if i != j}
    assert {tuple(edge) for edge in graph.edge_index.T.tolist()} == pairs
    assert graph.edge_index.shape[1] == len(pairs)
    points, charges = samples.state.positions.flatten(0, 1), samples.state.charges.flatten()

    def ends(values: Tensor) -> tuple[Tensor, Tensor]:
        return values[graph.edge_index[0]], values[graph.edge_index[1]]

    (a, b), (qa, qb) = ends(points), ends(charges)
    assert torch.equal(graph.vectors, b - a)
    assert torch.equal(graph.edge_scalars[:, 0], qa * qb)
    assert torch.equal(graph.kind, (charges > 0).long())
    assert torch.equal(graph.structure, torch.arange(3).repeat_interleave(4))


def test_bad_input_is_refused() -> None:
    good = charged_systems(1, seed=0)
    broken = ChargedSystems(good.positions * math.nan, good.velocities, good.charges)
    for build in (
        lambda: charged_systems(0, seed=0),
        lambda: charged_systems(1, seed=0, spread=0.0),
        lambda: simulate(good, -1),
        lambda: simulate(good, 1, radius=0.0),
        lambda: simulate(broken, 1),
        lambda: nbody_samples(1, seed=0, bodies=0),
        lambda: nbody_samples(1, seed=0, before=-1),
    ):
        with pytest.raises(InputError):
            build()
