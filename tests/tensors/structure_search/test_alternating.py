"""TnALE and its rivals: objectives, counts, local minima by brute force, the cache, limits; and `search_structure`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from polyad.errors import FileFormatError, InputError
from polyad.tensors.structure_search import (
    Centre,
    Counter,
    Evaluator,
    NetworkStructure,
    complete,
    fit_network,
    most_evaluations,
    planted_ring,
    random_search,
    read_instance,
    ring,
    search_structure,
    star,
    theory_counts,
    tn_ga,
    tnale,
    tnls,
    tolerance_objective,
    weighted_objective,
)
from polyad.tensors.structure_search.alternating import rank_window
from polyad.tensors.structure_search.plans import to_dense


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


TOY = planted_ring(4, size=3, r_min=1, r_max=2, seed=5)


def toy_evaluator(**options: Any) -> Evaluator:
    return Evaluator(
        TOY.tensor + 0.05 * torch.randn(TOY.tensor.shape, generator=seeded(1), dtype=torch.float64), **options
    )


def test_objective_equals_a_recomputation_with_tensorly() -> None:
    """Ring with permuted modes: tr_to_tensor gives the modes in ring order, which is undone by a transposition."""
    tensorly = pytest.importorskip("tensorly")
    instance = planted_ring(5, seed=2, r_min=2)
    template, ranks, permutation = ring(5), (2, 3, 2, 2, 3), (3, 0, 4, 1, 2)
    evaluator = Evaluator(instance.tensor, starts=2)
    (found,) = evaluator.evaluate([template.structure((3,) * 5, ranks, permutation)])
    at = [permutation.index(position) for position in range(5)]  # mode on each position
    factors = []
    for position, mode in enumerate(at):
        before, after = at[position - 1], at[(position + 1) % 5]
        names = found.structure.labels(mode)
        order = [
            names.index((min(mode, before), max(mode, before))),
            0,
            names.index((min(mode, after), max(mode, after))),
        ]
        factors.append(found.value.tensors[mode].permute(order))
    dense = torch.from_numpy(tensorly.tr_to_tensor([f.numpy() for f in factors])).permute(permutation)
    x = instance.tensor
    rse = float((dense - x).square().sum() / x.square().sum())
    numbers = sum(f.numel() for f in factors)
    assert found.objective == pytest.approx(numbers / 3**5 + 200 * rse, abs=1e-6)


def test_evaluator_reaches_planted_structures() -> None:
    for seed in range(4):
        instance = planted_ring(6, seed=seed, r_min=2)
        assert instance.structure is not None
        (found,) = Evaluator(instance.tensor, seed=seed).evaluate([instance.structure])
        assert found.loss < 1e-8
        assert found.objective == pytest.approx(instance.structure.compression, abs=2e-6)


def test_known_structures_are_free() -> None:
    evaluator = toy_evaluator(starts=2)
    template = ring(4)
    one = template.structure((3,) * 4, (2, 3, 2, 1), (0, 1, 2, 3))
    turned = template.structure((3,) * 4, (3, 2, 1, 2), (3, 0, 1, 2))  # the same ring, begun elsewhere
    inner = star(4).structure((3,) * 4, (2, 2, 2, 2))
    first = evaluator.evaluate([one])[0]
    assert evaluator.fits == 1
    again = evaluator.evaluate([turned, one, one])
    assert evaluator.fits == 1
    assert all(evaluation is first for evaluation in again)
    evaluator.evaluate([inner])
    assert evaluator.fits == 2
    counter = Counter(evaluator)
    counter.evaluate([turned, inner, one])
    assert (counter.count, evaluator.fits) == (2, 2)


def test_value_does_not_depend_on_who_asked_first() -> None:
    structures = [ring(4).structure((3,) * 4, ranks) for ranks in ((2, 2, 2, 2), (1, 2, 3, 2), (3, 1, 1, 2))]
    forward, backward = toy_evaluator(), toy_evaluator()
    one = forward.evaluate(structures)
    two = backward.evaluate(structures[::-1])[::-1]
    assert [e.loss for e in one] == [e.loss for e in two]


@pytest.mark.parametrize("template", [ring(4), complete(4), star(4)], ids=lambda template: template.name)
def test_fixed_point_is_a_local_minimum(template: Any) -> None:
    """Every single change of a rank by one, and every transposition, was no better: found by brute force."""
    evaluator = toy_evaluator(starts=3)
    found = tnale(evaluator, template, r_max=3, seed=1)
    assert found.stopped_by == "minimum"
    best = found.best
    orders = permutations(range(4)) if template.permutes else [tuple(range(4))]
    centres = [
        Centre(ranks, order)
        for order in orders
        for ranks in product((1, 2, 3), repeat=len(template.edges))
        if len(template.edges) < 6 or sum(ranks) <= 12
        if template.structure((3,) * 4, ranks, order).canonical() == best.structure
    ]
    assert centres
    ranks, order = centres[0]
    for edge in range(len(ranks)):
        for rank in (1, 2, 3):
            if abs(rank - ranks[edge]) <= 1:
                changed = (*ranks[:edge], rank, *ranks[edge + 1 :])
                assert evaluator.evaluate([template.structure((3,) * 4, changed, order)])[0].objective >= best.objective
    for a, b in product(range(4), repeat=2):
        swapped = list(order)
        swapped[a], swapped[b] = swapped[b], swapped[a]
        assert evaluator.evaluate([template.structure((3,) * 4, ranks, swapped)])[0].objective >= best.objective


def test_objective_of_the_centre_never_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    from polyad.tensors.structure_search.alternating import _Search

    values: list[float] = []
    original = _Search._try

    def watched(self: Any, centres: Any) -> Any:
        found = original(self, centres)
        values.append(self.value)
        return found

    monkeypatch.setattr(_Search, "_try", watched)
    instance = planted_ring(5, seed=3, r_min=2, r_max=3)
    found = tnale(Evaluator(instance.tensor, starts=1, sweeps=20), ring(5), r_max=6, seed=2)
    assert len(values) > 20
    assert all(after <= before for before, after in pairwise(values))
    assert found.best.objective == values[-1]
    bound = most_evaluations(ring(5), 2)
    assert bound == 2 * (5 * 5 + 10 + 1)
    assert max(found.sweeps[:2]) <= bound
    assert max(found.sweeps[2:]) <= most_evaluations(ring(5), 1)
    assert sum(found.sweeps) + 1 == found.evaluations


def test_planted_ring_is_found() -> None:
    instance = planted_ring(5, seed=3, r_min=2, r_max=3)
    assert instance.structure is not None
    evaluator, planted = Evaluator(instance.tensor, starts=4, sweeps=60), instance.structure.compression + 200e-4
    found = tnale(evaluator, ring(5), r_max=5, seed=0, restarts=2, stop_at=planted)
    assert found.best.structure.compression <= instance.structure.compression
    assert found.best.loss < 1e-4


def test_interpolation_saves_evaluations() -> None:
    """Five ranks of a window take three evaluations and one of the guess at most; the centre is known."""
    evaluator = toy_evaluator(starts=2)
    sparse = tnale(evaluator, ring(4), r_max=7, n_init=1, initial=Centre((4,) * 4, (0, 1, 2, 3)), evaluations=5)
    assert [e.structure.ranks[0][1] for e in sparse.history[:3]] == [4, 2, 6]
    assert rank_window(4, 2, 7) == [2, 3, 4, 5, 6]
    assert rank_window(1, 2, 7) == [1, 2, 3, 4, 5]
    assert rank_window(7, 1, 7) == [5, 6, 7]
    assert rank_window(2, 2, 3) == [1, 2, 3]


@pytest.mark.parametrize("search", [tnale, tnls, tn_ga, random_search])
def test_every_search_counts_stops_and_repeats_itself(search: Any) -> None:
    evaluator = toy_evaluator(starts=1, sweeps=20)
    calls: list[tuple[int, int]] = []
    one = search(evaluator, ring(4), r_max=3, seed=4, evaluations=25, progress=lambda *a: calls.append(a))
    two = search(toy_evaluator(starts=1, sweeps=20), ring(4), r_max=3, seed=4, evaluations=25)
    assert [e.structure for e in one.history] == [e.structure for e in two.history]
    assert one.evaluations == len({e.structure for e in one.history}) <= 25
    assert calls[-1] == (one.evaluations, 25)
    assert one.best.objective == min(e.objective for e in one.history)
    reached = one.evaluations_to(one.best.objective)
    assert reached is not None
    assert one.history[reached - 1].objective == one.best.objective
    assert one.evaluations_to(-1.0) is None
    assert search(evaluator, ring(4), r_max=3, seed=4, evaluations=1).evaluations == 1
    assert search(evaluator, ring(4), r_max=3, seed=4, evaluations=25, stop_at=1e9).stopped_by == "goal"
    assert search(evaluator, ring(4), r_max=3, seed=4, evaluations=25, seconds=1e-9).stopped_by == "seconds"
    with pytest.raises(InputError, match="evaluations"):
        search(evaluator, ring(4), evaluations=0)


def test_neighbours_may_be_fitted_in_parallel() -> None:
    alone = tnale(toy_evaluator(starts=2), ring(4), r_max=3, seed=3, evaluations=30)
    with ThreadPoolExecutor(2) as executor:
        parallel = tnale(toy_evaluator(starts=2, executor=executor), ring(4), r_max=3, seed=3, evaluations=30)
    assert [e.structure for e in parallel.history] == [e.structure for e in alone.history]


def test_objectives_and_theory() -> None:
    assert weighted_objective(200)(0.25, 1e-3) == pytest.approx(0.45)
    assert tolerance_objective(0.1)(0.25, 1e-3) == 0.25
    assert tolerance_objective(0.1)(0.25, 1e-1) == pytest.approx(1.25)
    counts = theory_counts(10, 7)
    assert (counts.sampling, counts.alternating) == (1024.0, 700.0)
    adam = Evaluator(TOY.tensor, method="adam", starts=1, goal=0.9).evaluate([ring(4).structure((3,) * 4, (2,) * 4)])
    assert adam[0].loss <= 0.9


def test_bad_settings_are_refused() -> None:
    evaluator = toy_evaluator()
    with pytest.raises(InputError, match="template"):
        tnale(evaluator, ring(5))
    with pytest.raises(InputError, match="r_max"):
        tnale(evaluator, ring(4), r_max=0)
    with pytest.raises(InputError, match="batch"):
        tnls(evaluator, ring(4), batch=0)
    with pytest.raises(InputError, match="population"):
        tn_ga(evaluator, ring(4), population=2)
    with pytest.raises(InputError, match="method"):
        Evaluator(TOY.tensor, method="sgd")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="seconds"):
        tnale(evaluator, ring(4), seconds=0.0)
    with pytest.raises(InputError, match="tolerance"):
        tolerance_objective(1.0)
    with pytest.raises(InputError, match="order"):
        planted_ring(2)


# ---------------------------------------------------------------- files


def test_published_file_is_read(tmp_path: Path) -> None:
    structure = ring(6).structure((3,) * 6, (3, 4, 2, 2, 3, 2), (0, 3, 2, 1, 4, 5))
    goal = to_dense(structure, structure.random_cores(seeded()))[0].float().numpy()
    adjacency = np.array(structure.ranks)
    adjacency[adjacency == 1] = 0
    np.fill_diagonal(adjacency, 3)
    np.savez(tmp_path / "data.npz", goal=goal, adj_matrix=adjacency, permute=np.array([0, 3, 2, 1, 4, 5]))
    found = read_instance(tmp_path / "data.npz")
    assert found.structure == structure
    assert found.structure.parameters == 126
    assert torch.equal(found.tensor, torch.from_numpy(goal).double())
    fit = fit_network(found.tensor, found.structure, starts=6, goal=1e-8)
    assert fit.loss < 1e-8


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", image=np.ones(3))
    np.savez(tmp_path / "objects.npz", goal=np.array([{"a": 1}], dtype=object))
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "wrong.npz", goal=np.ones((2, 2)), adj_matrix=np.array([[3, 2], [2, 3]]))
    np.savez(tmp_path / "image.npz", goal=np.ones((2, 2, 2)), adj_matrix=np.zeros((2, 2), dtype=int))
    for name, message in (("other", "goal"), ("objects", "plain numbers"), ("text", "plain"), ("wrong", "adjacency")):
        with pytest.raises(FileFormatError, match=message):
            read_instance(tmp_path / f"{name}.npz")
    assert read_instance(tmp_path / "image.npz").structure is None


# ---------------------------------------------------------------- one call


@pytest.mark.parametrize(
    ("method", "scale"),
    [("greedy", 1.0), ("greedy", 1e12), pytest.param("alternating", 1e12, marks=pytest.mark.slow)],
)
def test_search_finds_a_planted_ring(method: Any, scale: float) -> None:
    instance = planted_ring(4, size=4, r_min=2, r_max=2, seed=0)
    assert instance.structure is not None
    calls: list[tuple[int, int]] = []
    x = scale * instance.tensor
    found = search_structure(x, method=method, tol=1e-3, progress=lambda *a: calls.append(a))
    assert found.error <= 1e-3
    assert float((found.value.to_dense() - x).norm() / x.norm()) == pytest.approx(found.error, rel=1e-6, abs=1e-12)
    assert found.parameters <= instance.structure.parameters
    assert found.ratio == pytest.approx(4**4 / found.parameters)
    assert found.parameters == found.value.storage.numbers == found.structure.parameters
    assert (found.method, found.drawing.count("--2--")) == (method, 4)
    assert calls[-1][1] == 0
    numbers, errors = [p.parameters for p in found.path], [p.error for p in found.path]
    assert numbers == sorted(numbers)
    assert errors == sorted(errors, reverse=True)
    assert found.evaluations > 1


def test_search_returns_its_best_when_time_is_over() -> None:
    x = torch.randn(4, 5, 6, generator=seeded())
    for method in ("greedy", "alternating"):
        found = search_structure(x, method=method, tol=1e-3, seconds=1e-6)  # type: ignore[arg-type]
        assert found.stopped_by == "seconds"
        assert 1e-3 < found.error <= 1


def test_search_refuses_bad_input() -> None:
    x = torch.randn(4, 5, 6, generator=seeded())
    for bad, match in (({"tol": 0.0}, "tol"), ({"method": "best"}, "method"), ({"seconds": -1.0}, "seconds")):
        with pytest.raises(InputError, match=match):
            search_structure(x, **bad)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="order"):
        search_structure(x[0, 0])
    with pytest.raises(InputError, match="NaN"):
        search_structure(x * torch.nan)
    assert NetworkStructure.from_edges((4, 5), {}).edges == ()
