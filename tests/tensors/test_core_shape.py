"""Core shapes: packings against brute force and each other, bounds against HOOI, exact ranks found, trees."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.tensors import core_shape as cs
from polyad.tensors.core_shape.hooi import TuckerApproximation
from polyad.tensors.core_shape.spectra import matricize
from polyad.tensors.core_shape.tree import exact_tree_ranks, greedy_tree_ranks, tree_packing
from polyad.tensors.core_shape.tree_truncation import modes_below, network_to_dense, nodes_upwards, truncate


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def of_multilinear_rank(shape: tuple[int, ...], ranks: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    tensor = gaussian(*ranks, seed=seed)
    for mode, (dimension, rank) in enumerate(zip(shape, ranks, strict=True)):
        basis = torch.linalg.qr(gaussian(dimension, rank, seed=seed + mode + 1)).Q
        tensor = torch.tensordot(tensor, basis, dims=([mode], [1])).movedim(-1, mode)
    return tensor


def hilbert(dimension: int, order: int) -> torch.Tensor:
    index = torch.arange(dimension, dtype=torch.float64)
    return 1 / (1 + sum(index.reshape([-1 if n == m else 1 for n in range(order)]) for m in range(order)))


def random_problem(seed: int, modes: int = 3, largest: int = 12) -> cs.TuckerPacking:
    """Spectra from flat to steep, budgets from barely enough to nearly everything."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(3, largest + 1, modes)
    spectra = [np.sort(rng.random(n) ** rng.choice([1, 3, 8]))[::-1].copy() for n in shape]
    least, most = 1 + int(shape.sum()), int(shape.prod() + (shape**2).sum())
    return cs.TuckerPacking.from_spectra(spectra, int(rng.integers(least, most + 1)))


def brute_force(problem: cs.TuckerPacking) -> float:
    best = -math.inf
    for ranks in itertools.product(*(range(1, n + 1) for n in problem.shape)):
        if math.prod(ranks) + sum(n * r for n, r in zip(problem.shape, ranks, strict=True)) <= problem.budget:
            best = max(best, sum(tail[0] - tail[r] for tail, r in zip(problem.tails, ranks, strict=True)))
    return best


# ---------------------------------------------------------------- packings


@pytest.mark.parametrize("modes", [2, 3, 4])
def test_enumeration_is_brute_force(modes):
    for seed in range(12):
        problem = random_problem(seed, modes, largest=9 if modes < 4 else 6)
        assert problem.value(cs.enumerate_packing(problem)) == pytest.approx(brute_force(problem), rel=1e-12)


def test_enumeration_of_five_modes_is_brute_force():
    for seed in range(2):
        problem = random_problem(seed, 5, largest=5)
        assert problem.value(cs.enumerate_packing(problem)) == pytest.approx(brute_force(problem), rel=1e-12)


def test_integer_program_over_all_products_is_the_enumeration():
    for seed in range(12):
        problem = random_problem(seed, largest=8)
        best = problem.value(cs.enumerate_packing(problem))
        assert problem.value(cs.integer_program(problem, sweep="products")) >= (1 - 1e-6) * best


@pytest.mark.slow
def test_integer_program_on_two_hundred_instances():
    for seed in range(200):
        problem = random_problem(seed)
        best = problem.value(cs.enumerate_packing(problem))
        assert problem.value(cs.integer_program(problem, sweep="products")) >= (1 - 1e-6) * best


def test_integer_program_on_the_grid():
    for seed in range(0, 200, 5):
        problem = random_problem(seed)
        found = cs.integer_program(problem, eps=0.1, sweep="grid")
        assert problem.value(found) >= 0.998 * problem.value(cs.enumerate_packing(problem))


def test_greedy_packing_on_two_hundred_instances():
    # spectra as tensors have them: decaying, with one total for all modes; flat ones can cost greedy a fifth
    for seed in range(200):
        rng = np.random.default_rng(seed)
        shape = rng.integers(8, 31, 3)
        spectra = [np.sort(rng.random(n) * np.arange(1.0, n + 1) ** -rng.uniform(0.5, 3))[::-1] for n in shape]
        budget = int(rng.uniform(0.05, 0.6) * (shape.prod() + (shape**2).sum()))
        problem = cs.TuckerPacking.from_spectra([a / a.sum() for a in spectra], max(budget, 1 + int(shape.sum())))
        assert problem.value(cs.greedy_packing(problem)) >= 0.955 * problem.value(cs.enumerate_packing(problem))


@pytest.mark.slow
def test_integer_program_on_the_grid_on_all_two_hundred_instances():
    for seed in range(200):
        problem = random_problem(seed)
        found = cs.integer_program(problem, eps=0.1, sweep="grid")
        assert problem.value(found) >= 0.998 * problem.value(cs.enumerate_packing(problem))


def test_integer_program_resolves_spectra_that_fall_to_nothing():
    # values from 1 to 1e-16: relative to |X|^2 the tails are far below the feasibility tolerance of any solver
    spectra = [10.0 ** -np.arange(0, 17, 2.0)] * 3
    problem = cs.TuckerPacking.from_spectra(spectra, 400)
    exact = problem.loss(cs.enumerate_packing(problem))
    assert exact < 1e-9
    assert problem.loss(cs.integer_program(problem, sweep="products")) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("eps", [0.03, 0.1, 0.5])
def test_certificate_of_the_approximation_scheme(eps):
    for seed in range(4):
        problem = random_problem(seed + 100, modes=3 + seed % 2)
        best = problem.value(cs.enumerate_packing(problem))
        found = cs.ptas(problem, eps=eps)
        assert found.value >= (1 - eps) * best
        assert found.value == pytest.approx(problem.value(found.ranks))
        assert found.value >= (1 - eps) * found.bound
        assert found.bound >= best * (1 - 1e-9)


def test_greedy_follows_gain_per_number():
    # from (1, 1), 6 numbers: mode 0 gains 5 for 3 more (1.67 each), mode 1 gains 6 for 4 more (1.5 each)
    spectra = [np.array([9.0, 5.0]), np.array([8.0, 6.0, 0.0])]
    tight = cs.TuckerPacking.from_spectra(spectra, 10)
    assert cs.greedy_packing(tight) == (2, 1)
    assert cs.enumerate_packing(tight) == (1, 2)
    # then mode 1 costs 5 more: 6 + 3 + 5 = 14; the value 0 is never bought
    assert cs.greedy_packing(cs.TuckerPacking.from_spectra(spectra, 13)) == (2, 1)
    assert cs.greedy_packing(cs.TuckerPacking.from_spectra(spectra, 14)) == (2, 2)
    assert cs.greedy_packing(cs.TuckerPacking.from_spectra(spectra, 100)) == (2, 2)


def test_budget_is_never_exceeded_and_more_budget_is_never_worse():
    spectra = [np.sort(np.random.default_rng(n).random(n) ** 3)[::-1].copy() for n in (7, 9, 5)]
    methods = {
        "enumerate": cs.enumerate_packing,
        "ip": lambda p: cs.integer_program(p, sweep="products"),
        "greedy": cs.greedy_packing,
        "ptas": lambda p: cs.ptas(p, eps=0.05).ranks,
    }
    last = 0.0
    for budget in range(22, 480, 91):
        problem = cs.TuckerPacking.from_spectra(spectra, budget)
        for method in methods.values():
            ranks = method(problem)
            assert math.prod(ranks) + 7 * ranks[0] + 9 * ranks[1] + 5 * ranks[2] <= budget
        best = problem.value(cs.enumerate_packing(problem))
        assert best >= last
        last = best


# ---------------------------------------------------------------- tensors


def test_spectra_are_singular_values_of_the_unfoldings():
    for tensor in (gaussian(5, 30, 4), gaussian(4, 3, 5, dtype=torch.complex128), hilbert(9, 3)):
        for mode, found in enumerate(cs.unfolding_spectra(tensor)):
            matrix = tensor.movedim(mode, 0).reshape(tensor.shape[mode], -1)
            expected = torch.linalg.svdvals(matrix).square()
            assert len(found) == tensor.shape[mode]
            torch.testing.assert_close(found[: len(expected)], expected, rtol=1e-6, atol=1e-26)


def test_rounding_is_no_spectrum():
    spectra = cs.unfolding_spectra(of_multilinear_rank((8, 9, 7), (3, 2, 4)))
    assert [int((spectrum > 0).sum()) for spectrum in spectra] == [3, 2, 4]


@pytest.mark.parametrize("ranks", [(2, 3, 2), (5, 4, 3), (1, 1, 1)])
def test_loss_lies_between_the_bounds(ranks):
    tensor = gaussian(8, 9, 7)
    found = cs.hooi(tensor, ranks, sweeps=100, tolerance=1e-9)
    problem = cs.TuckerPacking.from_spectra(cs.unfolding_spectra(tensor), 10**6)
    ratio = found.loss * float(tensor.norm()) ** 2 / problem.loss(ranks)
    assert 1 / 3 <= ratio <= 1.0


def test_hooi_refuses_a_gradient():
    tensor = gaussian(5, 4, 3).requires_grad_()
    with pytest.raises(InputError, match=r"hooi: .* no gradient"):
        cs.hooi(tensor, (2, 2, 2))
    with torch.no_grad():
        assert cs.hooi(tensor, (2, 2, 2)).core.shape == (2, 2, 2)


def test_hooi_has_orthonormal_factors_and_falls():
    tensor = gaussian(6, 7, 5, dtype=torch.complex128)
    found = cs.hooi(tensor, (3, 2, 4), sweeps=15, tolerance=0.0)
    for factor in found.factors:
        identity = torch.eye(factor.shape[1], dtype=factor.dtype)
        torch.testing.assert_close(factor.mH @ factor, identity, rtol=0, atol=1e-12)
    assert np.all(np.diff(found.history) <= 1e-12)
    assert found.history[-1] < found.history[0]
    direct = float((tensor - found.reconstruct()).norm() / tensor.norm())
    assert found.relative_error == pytest.approx(direct, rel=1e-12)
    assert found.history[-1] == pytest.approx(direct, rel=1e-9)
    projected = torch.einsum("abc,ai,bj,ck->ijk", tensor, *(factor.conj() for factor in found.factors))
    torch.testing.assert_close(found.core, projected, rtol=0, atol=1e-11)


def test_hooi_of_a_matrix_is_the_truncated_svd():
    matrix = gaussian(9, 7)
    values = torch.linalg.svdvals(matrix)
    best = float(values[3:].norm() / values.norm())
    assert cs.hooi(matrix, (3, 3)).relative_error == pytest.approx(best, rel=1e-10)


@pytest.mark.parametrize("method", ["auto", "enumerate", "ip"])
@pytest.mark.parametrize("ranks", [(3, 2, 4), (2, 2, 2), (4, 3, 2, 3)])
def test_exact_ranks_are_returned(method, ranks):
    shape = (8, 9, 7, 6)[: len(ranks)]
    tensor = of_multilinear_rank(shape, ranks)
    size = math.prod(ranks) + sum(n * r for n, r in zip(shape, ranks, strict=True))
    for budget in (size, size + 40):  # no rank is spent on rounding
        found = cs.optimal_core_shape(tensor, budget, method=method)
        assert found.ranks == ranks
        assert found.size == size
        assert isinstance(found.approximation, TuckerApproximation)
        assert found.approximation.relative_error < 1e-12
        assert found.surrogate < 1e-24


@pytest.mark.parametrize("method", ["enumerate", "ip", "ptas", "greedy_hosvd", "greedy_rre"])
def test_every_method_keeps_to_budget_and_bounds(method):
    tensor = hilbert(9, 3) + 0.02 * gaussian(9, 9, 9)
    for budget in (28, 90, 200):
        found = cs.optimal_core_shape(tensor, budget, method=method)
        assert found.size <= budget
        low, high = found.bounds
        assert low <= found.approximation.loss * (1 + 1e-9) <= high * (1 + 1e-9)


def test_greedy_by_true_loss_leaves_the_first_shape():
    # no single rank above (1, 1, 1) lowers the loss: the next singular value decides, and the method goes on
    tensor = of_multilinear_rank((6, 5, 7), (3, 3, 3))
    found = cs.optimal_core_shape(tensor, 27 + 3 * 18, method="greedy_rre")
    assert found.ranks == (3, 3, 3)
    assert found.approximation.relative_error < 1e-10


# ---------------------------------------------------------------- trees


def test_flat_tree_is_the_tucker_packing():
    tensor = hilbert(7, 3) + 0.05 * gaussian(7, 7, 7)
    for budget in (40, 90, 200):
        tucker = cs.optimal_core_shape(tensor, budget, method="enumerate")
        tree = cs.tree_core_shape(tensor, (0, 1, 2), budget)
        assert tree.surrogate == pytest.approx(tucker.surrogate, rel=1e-9)
        assert tree.size <= budget


@pytest.mark.parametrize("tree", [((0, 1), (2, 3)), ((2, (0, 3)), 1), (0, (1, 2), 3)])
def test_tree_ranks_are_brute_force(tree):
    tensor = hilbert(3, 4) + 0.1 * gaussian(3, 3, 3, 3)
    for budget in (25, 45, 70):
        problem = tree_packing(tensor, tree, budget)
        found = exact_tree_ranks(problem, greedy_tree_ranks(problem))
        assert problem.size(found) <= budget
        best = math.inf
        nodes = list(problem.tails)
        for ranks in itertools.product(*(range(1, min(len(problem.tails[node]), 10)) for node in nodes)):
            trial = dict(zip(nodes, ranks, strict=True))
            if problem.twin:
                trial[problem.twin[1]] = trial[problem.twin[0]]
            if problem.size(trial) <= budget:
                best = min(best, problem.loss(trial))
        assert problem.loss(found) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("tree", [((0, 1), (2, 3)), ((2, (0, 3)), 1), (0, (1, 2), 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_truncated_tree_keeps_below_the_surrogate(tree, dtype):
    tensor = hilbert(5, 4) + 0.02 * gaussian(5, 5, 5, 5, dtype=dtype)
    found = cs.tree_core_shape(tensor, tree, 130)
    assert sum(core.numel() for core in found.cores.values()) == found.size <= 130
    assert found.surrogate / len(found.ranks) <= found.relative_error**2 <= found.surrogate * (1 + 1e-9)
    whole = cs.tree_core_shape(tensor, tree, 10**5)
    assert whole.relative_error < 1e-12


def test_truncation_of_a_tree_is_a_chain_of_projections():
    tensor, tree = gaussian(4, 5, 3), ((2, 0), 1)
    ranks = {(2,): 2, (0,): 3, (2, 0): 3, (1,): 3}
    cores = truncate(tensor, tree, ranks)
    assert [modes_below(node) for node in nodes_upwards(tree)] == [(2,), (0,), (2, 0), (1,), (2, 0, 1)]
    assert {node: tuple(core.shape) for node, core in cores.items()} == {
        (2,): (3, 2),
        (0,): (4, 3),
        (2, 0): (2, 3, 3),
        (1,): (5, 3),
        (2, 0, 1): (3, 3),
    }
    dense = torch.einsum("ca,xb,abr,ys,rs->xyc", cores[2,], cores[0,], cores[2, 0], cores[1,], cores[2, 0, 1])
    torch.testing.assert_close(network_to_dense(cores, tree), dense, rtol=0, atol=1e-12)
    lost = float((tensor - dense).norm()) ** 2
    assert lost == pytest.approx(float(tensor.norm()) ** 2 - float(dense.norm()) ** 2, rel=1e-10)
    first = torch.linalg.svd(tensor.movedim(2, 0).reshape(3, -1)).U[:, :2]
    torch.testing.assert_close(cores[2,] @ cores[2,].T, first @ first.T, rtol=0, atol=1e-12)


def test_matricisation_of_an_edge():
    tensor = gaussian(3, 4, 5, 2)
    matrix = tensor.permute(2, 0, 1, 3).reshape(15, 8)
    assert torch.equal(matricize(tensor, (2, 0)), matrix)
    expected = torch.linalg.svdvals(matrix).square()
    found = cs.matricization_spectrum(tensor, (2, 0))
    torch.testing.assert_close(found[:8], expected)
    assert float(found[8:].abs().max()) == 0.0


def test_bad_input_is_refused():
    tensor = gaussian(4, 5, 6)
    bad = tensor.clone()
    bad[0, 0, 0] = math.nan
    refused = [
        (lambda: cs.optimal_core_shape(bad, 100), "NaN"),
        (lambda: cs.optimal_core_shape(torch.zeros(3, 3), 100), "zero"),
        (lambda: cs.optimal_core_shape(gaussian(5), 100), "two modes"),
        (lambda: cs.optimal_core_shape(tensor, 15), "need 16"),
        (lambda: cs.optimal_core_shape(tensor, 100, method="ptas", eps=0.0), "eps"),
        (lambda: cs.optimal_core_shape(tensor, 100, method="ip", eps=-1.0), "eps"),
        (lambda: cs.hooi(tensor, (2, 2, 7)), "ranks"),
        (lambda: cs.TuckerPacking.from_spectra([np.array([1.0, 2.0])], 100), "increases"),
        (lambda: cs.TuckerPacking.from_spectra([np.array([1.0, -2.0])], 100), "negative"),
        (lambda: cs.tree_core_shape(tensor, ((0, 1), 1), 100), "tree"),
        (lambda: cs.tree_core_shape(tensor, ((0,), (1, 2)), 100), "no node"),
        (lambda: cs.tree_core_shape(tensor, (0, 1, 2), 15), "ranks of one"),
    ]
    for call, message in refused:
        with pytest.raises(InputError, match=message):
            call()
