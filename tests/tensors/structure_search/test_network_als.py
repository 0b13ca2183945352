"""Fits of one structure: the least-squares step, planted tensors, missing entries, many starts, Adam."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.structure_search import (
    FitTarget,
    NetworkStructure,
    adam_cores,
    complete,
    fit_network,
    fit_network_adam,
    path,
    ring,
    star,
)
from polyad.tensors.structure_search.network_als import network_loss, run_sweeps
from polyad.tensors.structure_search.plans import Update, sweep_plan, to_dense


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SHAPE = (3, 4, 2, 5)
STRUCTURES = {
    "ring": ring(4).structure(SHAPE, (2, 3, 2, 2)),
    "complete": complete(4).structure(SHAPE, (2, 2, 2, 2, 1, 2)),
    "star": star(4).structure(SHAPE, (2, 3, 2, 3)),
    "rank one": NetworkStructure.from_edges(SHAPE, {}),
}
every_structure = pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES.keys())


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def design(structure: NetworkStructure, cores: list[Tensor], node: int) -> Tensor:
    """The linear map from core `node` to the dense tensor, column by column: an oracle without any plan."""
    columns = []
    for k in range(cores[node].numel()):
        unit = torch.zeros(cores[node].numel(), dtype=torch.float64)
        unit[k] = 1
        moved = [*cores]
        moved[node] = unit.reshape(cores[node].shape)
        columns.append(structure.network(moved).to_dense().reshape(-1))
    return torch.stack(columns, 1)


@every_structure
@pytest.mark.parametrize("missing", [False, True], ids=["all entries", "some missing"])
def test_step_solves_the_normal_equations(structure: NetworkStructure, missing: bool) -> None:
    x = noise(*SHAPE)
    mask = torch.rand(SHAPE, generator=seeded(5)) < 0.8 if missing else None
    target = FitTarget.of(x, mask)
    weight = torch.ones(x.numel(), dtype=torch.float64) if mask is None else mask.double().reshape(-1)
    cores = structure.random_cores(seeded(1))
    for node in range(structure.nodes):
        found = run_sweeps(target, structure, cores, nodes=(node,), sweeps=1)
        mine = [core[0] for core in found.cores]
        columns = design(structure, mine, node)
        gradient = columns.mT @ (weight * (columns @ mine[node].reshape(-1) - x.reshape(-1)))
        assert float(gradient.norm()) <= 1e-8 * float((columns.mT @ (weight * x.reshape(-1))).norm())
        dense_loss = network_loss(target, structure, found.cores)
        assert torch.allclose(dense_loss, found.losses, rtol=1e-9)
        for other in range(structure.nodes):
            assert other == node or torch.equal(found.cores[other], cores[other])


@every_structure
def test_residual_never_grows(structure: NetworkStructure) -> None:
    fit = fit_network(noise(*SHAPE), structure, starts=1, sweeps=60, tolerance=0)
    assert all(after <= before * (1 + 1e-10) for before, after in pairwise(fit.history))
    dense = fit.value.to_dense()
    assert fit.error == pytest.approx(float((dense - noise(*SHAPE)).norm() / noise(*SHAPE).norm()), rel=1e-8)


def test_two_modes_reach_the_truncated_svd() -> None:
    x = noise(7, 9)
    fit = fit_network(x, path(2).structure((7, 9), (3,)), starts=2, sweeps=2000, tolerance=1e-12)
    values = torch.linalg.svdvals(x)
    assert fit.error == pytest.approx(float(values[3:].norm() / values.norm()), rel=1e-6)


def test_starts_in_a_batch_are_the_starts_alone() -> None:
    structure, x = STRUCTURES["ring"], noise(*SHAPE)
    target = FitTarget.of(x)
    cores = structure.random_cores(seeded(2), starts=3)
    together = run_sweeps(target, structure, cores, sweeps=30, tolerance=1e-3)
    for start in range(3):
        alone = run_sweeps(target, structure, [core[start : start + 1] for core in cores], sweeps=30, tolerance=1e-3)
        assert float(alone.losses[0]) == pytest.approx(float(together.losses[start]), rel=1e-9)


def test_planted_structure_is_fitted_from_nearly_every_start() -> None:
    """The count of the catalogue of methods: 32 of 36 single starts, hence all from six."""
    structure = ring(6).structure((3,) * 6, (3, 4, 2, 2, 3, 2), (0, 3, 2, 1, 4, 5))
    generator = seeded()
    reached, best = 0, 0
    for k in range(12):
        x = to_dense(structure, structure.random_cores(generator))[0]
        fit = fit_network(x, structure, starts=6, seed=k, sweeps=500, goal=1e-8, tolerance=1e-2)
        best += fit.loss < 1e-8
        single = fit_network(x, structure, starts=1, seed=k, sweeps=500, goal=1e-8, tolerance=1e-2)
        reached += single.loss < 1e-8
    assert best == 12
    assert reached >= 9


def test_known_entries_give_the_missing_ones() -> None:
    structure = ring(4).structure((6, 7, 5, 6), (2, 2, 3, 2))
    x = to_dense(structure, structure.random_cores(seeded(3)))[0]
    mask = torch.rand(x.shape, generator=seeded(4)) < 0.4
    spoiled = torch.where(mask, x, torch.nan)
    fit = fit_network(spoiled, structure, mask=mask, starts=4, sweeps=1000, goal=1e-16, tolerance=1e-4)
    assert float((fit.value.to_dense() - x)[~mask].norm() / x[~mask].norm()) < 1e-6


def test_scale_of_the_tensor_does_not_matter() -> None:
    x, structure = noise(*SHAPE), STRUCTURES["ring"]
    small = fit_network(1e-60 * x, structure, sweeps=50)
    assert small.loss == pytest.approx(fit_network(x, structure, sweeps=50).loss, rel=1e-6)


def test_single_precision_and_limits() -> None:
    x, structure = noise(*SHAPE), STRUCTURES["star"]
    calls: list[tuple[int, int]] = []
    fit = fit_network(x.float(), structure, sweeps=7, tolerance=0, progress=lambda *a: calls.append(a))
    assert fit.value.dtype == torch.float32
    assert (fit.stopped_by, len(fit.history), calls[-1]) == ("sweeps", 7, (7, 7))
    assert fit_network(x, structure, seconds=1e-9).stopped_by == "seconds"
    assert fit_network(x, STRUCTURES["rank one"], goal=2.0).stopped_by == "goal"
    assert fit_network(x, structure, tolerance=0.9).stopped_by == "tolerance"
    again = fit_network(x, structure, initial=fit_network(x, structure, sweeps=20).value.tensors, sweeps=1)
    assert len(again.starts) == 1


def test_adam_reaches_what_alternating_solves_reach() -> None:
    structure = ring(3).structure((3, 4, 3), (2, 2, 2))
    x = to_dense(structure, structure.random_cores(seeded(1)))[0]
    fit = fit_network_adam(x, structure, steps=2000, learning_rate=3e-2, starts=2, goal=1e-8)
    assert fit.loss < 1e-8
    assert fit.stopped_by == "goal"
    assert float((fit.value.to_dense() - x).norm() / x.norm()) == pytest.approx(fit.error, rel=1e-6)
    with pytest.raises(InputError, match="learning_rate"):
        adam_cores(
            lambda dense: 1e200 * dense.flatten(1).mul(1e200).exp().sum(1), structure, structure.random_cores(seeded())
        )


def test_a_sweep_updates_every_node_once() -> None:
    for structure in STRUCTURES.values():
        updates = [step.node for step in sweep_plan(structure).steps if isinstance(step, Update)]
        assert sorted(updates) == list(range(structure.nodes))
    products = len(sweep_plan(ring(8).structure((2,) * 8, (2,) * 8)).steps) - 8
    assert products <= 8 * 3  # p log2(p), not p (p - 1)


def test_bad_input_is_refused() -> None:
    x, structure = noise(*SHAPE), STRUCTURES["ring"]
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[:, 2] = False
    with pytest.raises(InputError, match="slice 2 of mode 1"):
        fit_network(x, structure, mask=mask)
    with pytest.raises(InputError, match="structure"):
        fit_network(x[:2], structure)
    with pytest.raises(InputError, match="NaN"):
        fit_network(x * torch.nan, structure)
    with pytest.raises(InputError, match="zero"):
        fit_network(x * 0, structure)
    with pytest.raises(InputError, match="real"):
        FitTarget.of(torch.complex(x, x))
    with pytest.raises(InputError, match="starts"):
        fit_network(x, structure, starts=0)
    with pytest.raises(InputError, match="mask"):
        fit_network(x, structure, mask=torch.ones(3, dtype=torch.bool))
