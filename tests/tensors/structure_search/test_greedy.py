"""Greedy growth: monotone paths, brute force on small graphs, recovery of planted formats, other losses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.structure_search import (
    ClassifierLayer,
    GradientLoss,
    GreedySearch,
    NetworkLoss,
    NetworkStructure,
    complete,
    completion,
    decomposition,
    fit_network,
    greedy_tn,
    path,
    random_walk,
    ring,
    star,
)
from polyad.tensors.structure_search.plans import to_dense

SHAPE = (7,) * 5
PLANTED = {
    "train": path(5).structure(SHAPE, (2, 3, 6, 5)),
    "ring": ring(5).structure(SHAPE, (2, 3, 4, 3, 2)),
    "Tucker": star(5).structure(SHAPE, (2, 2, 3, 2, 2)),
    "triangle": NetworkStructure.from_edges(SHAPE, {(0, 1): 3, (1, 2): 2, (0, 2): 4}),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planted(structure: NetworkStructure, seed: int) -> Tensor:
    return to_dense(structure, structure.random_cores(seeded(seed)))[0]


def noisy(seed: int) -> tuple[NetworkStructure, Tensor]:
    """A random graph on four modes of size three, ranks at most two, with a tenth of noise."""
    generator = seeded(seed)
    structure = complete(4).structure((3,) * 4, (1,) * 6)
    while not 2 <= len(structure.edges) <= 5:
        structure = complete(4).structure((3,) * 4, torch.randint(1, 3, (6,), generator=generator).tolist())
    x = to_dense(structure, structure.random_cores(generator))[0]
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    return structure, x / x.norm() + 0.1 * noise / noise.norm()


def assert_path_is_sound(found: GreedySearch, loss: NetworkLoss) -> None:
    losses = [step.loss for step in found.steps]
    assert all(after <= before for before, after in pairwise(losses))
    assert found.value.storage.numbers == found.structure.parameters == found.steps[-1].parameters
    assert found.loss == pytest.approx(loss.value(found.structure, list(found.value.tensors)), rel=1e-6, abs=1e-14)


@pytest.mark.slow
def test_greedy_is_near_the_optimum_of_all_graphs() -> None:
    """Brute force over all graphs on four modes with ranks at most two that the budget allows."""
    near = 0
    for seed in range(10):
        truth, x = noisy(seed)
        within = [
            structure
            for ranks in product((1, 2), repeat=6)
            if (structure := complete(4).structure((3,) * 4, ranks)).parameters <= truth.parameters
        ]
        # a smaller graph is a special case of a larger one, so the largest ones suffice
        largest = [s for s in within if not any(s != t and covers(t, s) for t in within)]
        loss = decomposition(x, sweeps=200, tolerance=1e-3)
        found = greedy_tn(loss, budget=truth.parameters, r_max=2, exchange=True, restarts=4)
        assert found.structure in within
        fits = [fit_network(x, s, starts=6, sweeps=100, tolerance=1e-2, seed=seed).loss for s in largest]
        optimum = min([found.loss, *fits])  # brute force is itself a best of six starts
        near += found.loss <= 1.1 * optimum
    assert near >= 9


def covers(larger: NetworkStructure, smaller: NetworkStructure) -> bool:
    return all(
        a >= b for one, two in zip(larger.ranks, smaller.ranks, strict=True) for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "seeds", "wanted"), [("train", (0, 2), 2), ("ring", (0, 1), 2), ("triangle", (1, 3), 2)]
)
def test_recovery(name: str, seeds: tuple[int, ...], wanted: int) -> None:
    truth, good = PLANTED[name], 0
    for seed in seeds:
        loss = decomposition(planted(truth, seed))
        found = greedy_tn(loss, goal=1e-9, budget=3 * truth.parameters)
        assert_path_is_sound(found, loss)
        good += found.loss < 1e-8 and found.structure.parameters <= 1.2 * truth.parameters
    assert good >= wanted


def test_tucker_appears_by_splits() -> None:
    truth = PLANTED["Tucker"]
    for seed in (1, 2):
        x = planted(truth, seed)
        found = greedy_tn(decomposition(x), goal=1e-9, budget=3 * truth.parameters, split=1e-3, selection="loss")
        assert found.structure.canonical() == truth.canonical()
        assert float((found.value.to_dense() - x).norm() / x.norm()) < 1e-4
        assert "split" in [step.event for step in found.steps]


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_recovery_with_pruning_in_three_of_four(name: str) -> None:
    """Triangles have minima in which alternating solves stay: two of four."""
    truth, good = PLANTED[name], 0
    for seed in range(4):
        x = planted(truth, seed)
        options = {"goal": 1e-9, "budget": 3 * truth.parameters, "split": 1e-3, "prune": True, "restarts": 4}
        found = greedy_tn(decomposition(x), **options)
        error = float((found.value.to_dense() - x).norm() / x.norm())
        good += error < 1e-4 and found.structure.parameters <= 1.2 * truth.parameters
    assert good >= (2 if name == "triangle" else 4)


@pytest.mark.slow
def test_pruning_takes_back_what_the_goal_does_not_need() -> None:
    truth = PLANTED["train"]
    x = planted(truth, 1)
    plain = greedy_tn(decomposition(x), goal=1e-9, budget=3 * truth.parameters, selection="loss")
    pruned = greedy_tn(
        decomposition(x), goal=1e-9, budget=3 * truth.parameters, selection="loss", prune=True, restarts=4
    )
    assert plain.structure.parameters > 1.2 * truth.parameters
    assert pruned.structure == truth


def test_growth_on_given_pairs_alone_and_exchange_at_the_goal() -> None:
    _, x = noisy(2)
    loss = decomposition(x)
    chain = greedy_tn(loss, goal=0.05, edges=path(4).edges)
    assert set(chain.structure.edges) <= set(path(4).edges)
    free = greedy_tn(loss, goal=0.05)
    exchanged = greedy_tn(loss, goal=0.05, exchange=True, prune=True)
    assert exchanged.loss <= 0.05
    assert exchanged.structure.parameters <= min(free.structure.parameters, chain.structure.parameters)
    assert exchanged.loss == pytest.approx(loss.value(exchanged.structure, list(exchanged.value.tensors)), rel=1e-6)


def test_choosing_beats_a_random_walk() -> None:
    _, x = noisy(4)
    loss = decomposition(x)
    greedy = greedy_tn(loss, budget=60)
    walks = [random_walk(loss, budget=60, seed=seed) for seed in range(3)]
    for walk in walks:
        assert_path_is_sound(walk, loss)
        assert walk.steps[-1].scores <= len(walk.steps)
    assert greedy.loss < min(walk.loss for walk in walks)


def test_scores_may_be_found_in_parallel() -> None:
    _, x = noisy(1)
    with ThreadPoolExecutor(2) as executor:
        parallel = greedy_tn(decomposition(x), budget=70, executor=executor)
    alone = greedy_tn(decomposition(x), budget=70)
    assert [step.structure for step in parallel.steps] == [step.structure for step in alone.steps]
    assert parallel.loss == pytest.approx(alone.loss, rel=1e-10)


def test_completion_stops_by_data_held_back() -> None:
    truth = ring(4).structure((6, 6, 6, 6), (2, 2, 2, 2))
    clean = planted(truth, 0)
    noise = torch.randn(clean.shape, generator=seeded(1), dtype=torch.float64)
    x = clean + 0.05 * clean.std() * noise
    known = torch.rand(x.shape, generator=seeded(2)) < 0.35
    held = known & (torch.rand(x.shape, generator=seeded(3)) < 0.15)
    loss = completion(torch.where(known, x, torch.nan), known & ~held, sweeps=200, tolerance=1e-3)
    found = greedy_tn(loss, validate=lambda dense: float((dense - x)[held].norm()), patience=3)
    assert found.stopped_by == "validation"
    assert found.steps[-1].event == "kept"
    error = float((found.value.to_dense() - clean)[~known].norm() / clean[~known].norm())
    assert error < 0.05
    assert found.structure.parameters <= 1.6 * truth.parameters


def test_gradients_grow_a_network_too() -> None:
    truth = path(3).structure((4, 3, 4), (2, 2))
    x = planted(truth, 0)

    def squares(dense: Tensor, step: int | None) -> Tensor:
        return (dense - x).square().sum() / x.square().sum()

    loss = GradientLoss((4, 3, 4), squares, steps=400, learning_rate=3e-2, dtype=torch.float64)
    found = greedy_tn(loss, goal=1e-5, budget=80)
    assert_path_is_sound(found, loss)
    assert found.loss <= 1e-5
    best, value = loss.restart(truth, 2, 0, 1e-5)
    assert value == pytest.approx(loss.value(truth, best))


def test_layer_is_the_classifier_that_its_matrix_gives() -> None:
    generator = seeded()
    centres = 2 * torch.randn(3, 16, generator=generator)
    labels = torch.arange(90) % 3
    inputs = centres[labels] + 0.5 * torch.randn(90, 16, generator=generator)
    layer = ClassifierLayer(inputs, labels, rows=(4, 2, 2), columns=(2, 2, 2), classes=3, batch=30)
    assert layer.shape == (8, 4, 4)
    dense = torch.randn(8, 4, 4, generator=generator)
    # pair (row, column) of every mode, spelled out
    matrix = layer.matrix(dense)
    for i in range(16):
        for o in range(8):
            rows, columns = (i // 4, i // 2 % 2, i % 2), (o // 4, o // 2 % 2, o % 2)
            mode = tuple(r * 2 + c for r, c in zip(rows, columns, strict=True))
            assert matrix[i, o] == dense[mode]
    found = greedy_tn(layer.loss(steps=60, score_steps=5), budget=48)
    assert found.structure.parameters <= 48
    assert layer.accuracy(found.value.to_dense(), inputs, labels) >= 0.95
    losses = [step.loss for step in found.steps]
    assert all(after <= before for before, after in pairwise(losses))
    with pytest.raises(InputError, match="rows"):
        ClassifierLayer(inputs, labels, rows=(4, 2), columns=(2, 2), classes=3)


def test_limits_and_bad_input() -> None:
    _, x = noisy(0)
    loss = decomposition(x)
    calls: list[tuple[int, int]] = []
    found = greedy_tn(loss, budget=40, progress=lambda done, total: calls.append((done, total)))
    assert found.stopped_by == "budget"
    assert calls[0] == (12, 40)
    assert calls[-1] == (found.structure.parameters, 40)
    assert greedy_tn(loss, most_steps=2).evaluations == 3
    assert greedy_tn(loss, seconds=1e-9).stopped_by == "seconds"
    assert greedy_tn(loss, goal=1.0).stopped_by == "goal"
    with pytest.raises(InputError, match="budget"):
        greedy_tn(loss)
    with pytest.raises(InputError, match="rank-one"):
        greedy_tn(loss, budget=11)
