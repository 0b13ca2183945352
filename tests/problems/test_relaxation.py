"""Particles that relax: forces are the energy's slope, pairs end in a minimum, the task has the symmetries of space."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.problems.relaxation import RelaxationSamples, energy, forces, relax, relaxation_samples

DOUBLE = {"dtype": torch.float64}


def systems(count: int = 6, seed: int = 0) -> RelaxationSamples:
    return relaxation_samples(count, seed=seed)


def test_energy_is_the_papers_double_well() -> None:
    wells = torch.full((2, 2), 0.3, **DOUBLE)
    for distance in (0.2, 0.5691, 1.3, 1.9806, 3.0):
        x = distance - 1.3
        expected = x**4 - x**2 + 0.1 * x + 0.3219193
        positions = torch.tensor([[0, 0, 0], [0, distance, 0]], **DOUBLE)
        assert float(energy(positions, wells)) == pytest.approx(expected, abs=1e-6)
        assert float(energy(positions, wells)) >= 0


def test_forces_are_minus_the_slope() -> None:
    samples = systems()
    positions = samples.positions.clone().requires_grad_()
    (slope,) = torch.autograd.grad(energy(positions, samples.wells).sum(), positions)
    found = forces(samples.positions, samples.wells)
    assert torch.allclose(found, -slope, atol=1e-12)
    assert torch.allclose(found.sum(1), torch.zeros(6, 3, **DOUBLE), atol=1e-12)
    together = torch.zeros(2, 3, **DOUBLE)
    assert torch.equal(forces(together, torch.zeros(2, 2, **DOUBLE)), together)


def test_descent_takes_steps_along_the_forces() -> None:
    samples = systems()
    positions, before = samples.positions, energy(samples.positions, samples.wells)
    for number in range(200):
        positions = positions + 0.005 * forces(positions, samples.wells)
        if number % 20 == 19:
            after = energy(positions, samples.wells)
            assert bool((after < before).all())
            before = after
    assert torch.allclose(samples.targets, positions, atol=1e-12)
    assert torch.equal(relax(samples.positions, samples.wells, steps=0), samples.positions)
    assert bool((before < 0.5 * energy(samples.positions, samples.wells)).all())


@pytest.mark.parametrize(("start", "end"), [(0.6, -0.7308931), (1.36, 0.6806393), (2.6, 0.6806393)])
def test_a_pair_ends_in_the_minimum_of_its_side(start: float, end: float) -> None:
    wells = torch.full((2, 2), 0.25, **DOUBLE)
    positions = torch.tensor([[0.1, 0, 0], [0.1 + start, 0, 0]], **DOUBLE)
    moved = relax(positions, wells, steps=3000)
    assert float((moved[1] - moved[0]).norm()) == pytest.approx(1.25 + end, abs=1e-6)
    assert torch.allclose(moved.mean(0), positions.mean(0), atol=1e-12)


def test_task_has_the_symmetries_of_space_and_of_particles() -> None:
    samples = systems()
    q = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), **DOUBLE))[0]
    for turn in (q, -q):
        moved = relax(samples.positions @ turn.T + 1, samples.wells)
        assert torch.allclose(moved, samples.targets @ turn.T + 1, atol=1e-9)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(2))
    moved = relax(samples.positions[:, order], samples.wells[:, order][:, :, order])
    assert torch.allclose(moved, samples.targets[:, order], atol=1e-9)


def test_samples_have_the_papers_start_and_are_seeded() -> None:
    many = relaxation_samples(2000, seed=3)
    upper = many.wells[:, *torch.triu_indices(10, 10, 1)]
    assert torch.equal(many.wells, many.wells.mT)
    assert 0 <= float(upper.min()) < 0.01 < 0.99 < float(upper.max()) <= 1
    assert float(upper.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(many.positions.std()) == pytest.approx(0.5, abs=0.01)
    assert torch.equal(systems(4).targets, systems(4).targets)
    assert not torch.equal(systems(4).targets, systems(4, seed=1).targets)
    single = many.to(torch.float32)[torch.tensor([5, 2])]
    assert single.targets.dtype == torch.float32
    assert len(single) == 2
    assert torch.equal(single.wells[0], many.wells[5].float())


def test_graph_joins_all_particles_of_a_system() -> None:
    samples = relaxation_samples(3, seed=0, particles=4)
    graph = samples.graph()
    assert graph.edge_index.shape == (2, 36)
    assert torch.equal(graph.positions, samples.positions.flatten(0, 1))
    for edge in (0, 17, 35):
        source, target = graph.edge_index[:, edge].tolist()
        assert source // 4 == target // 4 == int(graph.structure[source])
        assert source != target
        assert float(graph.edge_scalars[edge]) == float(samples.wells[source // 4, source % 4, target % 4])
        assert torch.equal(graph.vectors[edge], graph.positions[target] - graph.positions[source])


def test_bad_input_is_refused() -> None:
    samples = systems(1)
    for call in (
        lambda: relaxation_samples(0, seed=0),
        lambda: relaxation_samples(1, seed=0, particles=1),
        lambda: relaxation_samples(1, seed=0, spread=0.0),
        lambda: relax(samples.positions, samples.wells, steps=-1),
        lambda: relax(samples.positions, samples.wells, step=0.0),
        lambda: relax(samples.positions, samples.wells, step=10.0),
        lambda: relax(samples.positions * float("nan"), samples.wells),
    ):
        with pytest.raises(InputError):
            call()
