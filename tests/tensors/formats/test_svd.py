"""Decompositions of dense tensors: exact ranks, the guaranteed error, optimality against plain SVDs, and tensorly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import (
    TensorRing,
    TensorTrain,
    TreeTensorNetwork,
    Tucker,
    balanced_tree,
    chain_tree,
    dominant_basis,
    hooi,
    hosvd,
    randomised_basis,
    st_hosvd,
    tr_svd,
    tree_svd,
    tt_svd,
)

TREE = ((0, 2), (1, 3))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def decaying(dtype: torch.dtype = torch.float64) -> Tensor:
    """A (7, 6, 5, 8) tensor whose unfoldings have falling singular values."""
    tensor = torch.randn(7, 6, 5, 8, generator=seeded(), dtype=dtype)
    for mode, size in enumerate(tensor.shape):
        shape = [1] * 4
        shape[mode] = size
        tensor = tensor * (2.0 ** -torch.arange(size, dtype=torch.float64)).reshape(shape).to(dtype)
    return tensor


METHODS: dict[str, Callable[..., Any]] = {
    "tt": tt_svd,
    "tr": tr_svd,
    "hosvd": hosvd,
    "st-hosvd": st_hosvd,
    "tree": partial(tree_svd, tree=TREE),
    "chain tree": partial(tree_svd, tree=chain_tree(4)),
    "flat tree": partial(tree_svd, tree=(0, 1, 2, 3)),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


@every_method
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("tolerance", [1e-10, 1e-3, 0.1])
def test_error_is_within_tolerance_and_bound(method: Callable[..., Any], dtype: torch.dtype, tolerance: float) -> None:
    tensor = decaying(dtype)
    found = method(tensor, tolerance=tolerance)
    error, size = (found.value.to_dense() - tensor).norm(), tensor.norm()
    assert float(error) <= tolerance * float(size)
    assert float(error) <= float(found.error) * (1 + 1e-9) + 1e-13 * float(size)
    assert found.value.storage.numbers < 2 * tensor.numel() or tolerance < 1e-3


@every_method
def test_sequential_error_is_the_bound(method: Callable[..., Any]) -> None:
    """Projections one after another lose exactly what their discarded singular values say."""
    tensor = decaying()
    found = method(tensor, ranks=3)
    error = float((found.value.to_dense() - tensor).norm())
    if method in (hosvd, tr_svd):  # a ring may fill its grid of ranks with zeros, into which later errors can fall
        assert error <= float(found.error) * (1 + 1e-12)
    else:
        assert error == pytest.approx(float(found.error), rel=1e-9)


@pytest.mark.parametrize(
    "drawn",
    [
        TensorTrain.random((5, 6, 4, 5), (3, 7, 4), generator=seeded(1)),
        Tucker.random((5, 6, 4, 5), (2, 3, 4, 2), generator=seeded(2)),
        TreeTensorNetwork.random((5, 6, 4, 5), (2, 3, 4, 3, 3, 4), tree=TREE, generator=seeded(3)),
    ],
    ids=lambda drawn: type(drawn).__name__,
)
def test_exact_ranks_are_found(drawn: Any) -> None:
    options = {"tree": TREE} if isinstance(drawn, TreeTensorNetwork) else {}
    found = type(drawn).from_dense(drawn.to_dense(), tolerance=1e-10, **options)
    assert found.ranks == drawn.ranks
    assert torch.allclose(found.to_dense(), drawn.to_dense(), atol=1e-11)
    assert drawn.add(drawn).round(tolerance=1e-10).ranks == drawn.ranks


def test_ring_finds_at_most_the_ranks_of_a_ring_cut_open() -> None:
    ring = TensorRing.random((6, 5, 6, 5), 2, generator=seeded(4))
    found = TensorRing.from_dense(ring.to_dense(), tolerance=1e-10)
    assert torch.allclose(found.to_dense(), ring.to_dense(), atol=1e-11)
    assert found.ranks[0] * found.ranks[1] == 4
    assert TensorRing.from_dense(ring.to_dense(), ranks=(2, 2, 4, 3)).ranks == (2, 2, 4, 3)


def test_matrix_case_is_the_truncated_svd() -> None:
    matrix = decaying().reshape(42, 40)
    values = torch.linalg.svdvals(matrix)
    best = float(values[5:].square().sum().sqrt())
    for found in (tt_svd(matrix, ranks=5), st_hosvd(matrix, ranks=5), tr_svd(matrix, ranks=(1, 5))):
        assert float((found.value.to_dense() - matrix).norm()) == pytest.approx(best, rel=1e-10)
        assert float(found.error) == pytest.approx(best, rel=1e-10)


def test_tt_svd_is_quasi_optimal_and_its_first_rank_the_smallest() -> None:
    tensor = decaying()
    unfoldings = [tensor.reshape(7, -1), tensor.reshape(42, -1), tensor.reshape(210, -1)]
    tails = [torch.linalg.svdvals(u)[3:].square().sum() for u in unfoldings]
    found = tt_svd(tensor, ranks=3)
    error = float((found.value.to_dense() - tensor).norm())
    assert float(max(tails).sqrt()) <= error * (1 + 1e-12) <= float(sum(tails).sqrt()) * (1 + 1e-9)
    tolerance = 1e-2
    allowed = (tolerance * tensor.norm()).square() / 3
    values = torch.linalg.svdvals(unfoldings[0]).square()
    smallest = next(r for r in range(8) if float(values[r:].sum()) <= float(allowed))
    assert tt_svd(tensor, tolerance=tolerance).value.ranks[0] == smallest


def test_hooi_improves_on_sequential_truncation_and_has_no_descent_left() -> None:
    tensor = torch.randn(6, 7, 5, generator=seeded(), dtype=torch.float64)
    start, found = st_hosvd(tensor, ranks=2), hooi(tensor, 2, sweeps=500, tolerance=1e-15)
    assert float(found.error) < float(start.error)
    # first-order condition: each factor spans the dominant subspace of the tensor projected on the others
    for mode in range(3):
        reduced = tensor
        for other in set(range(3)) - {mode}:
            reduced = torch.tensordot(reduced, found.value.factors[other], dims=([other], [0])).movedim(-1, other)
        values = torch.linalg.svdvals(reduced.movedim(mode, 0).flatten(1))
        held = found.value.factors[mode].mT @ reduced.movedim(mode, 0).flatten(1)
        assert float(held.norm()) == pytest.approx(float(values[:2].norm()), rel=1e-6)


@pytest.mark.parametrize("method", [tt_svd, st_hosvd, partial(tree_svd, tree=TREE)], ids=["tt", "tucker", "tree"])
def test_randomised_variants_keep_tolerance_and_seed(method: Callable[..., Any]) -> None:
    tensor = TensorTrain.random((30, 20, 25, 20), 4, generator=seeded(7)).to_dense()
    tensor = tensor + 1e-4 * torch.randn(tensor.shape, generator=seeded(8), dtype=torch.float64)
    found = method(tensor, tolerance=1e-2, generator=seeded(9))
    again = method(tensor, tolerance=1e-2, generator=seeded(9))
    assert float((found.value.to_dense() - tensor).norm()) <= min(1e-2 * float(tensor.norm()), float(found.error))
    assert all(torch.equal(a, b) for a, b in zip(found.value.arrays, again.value.arrays, strict=True))
    assert found.value.ranks == method(tensor, tolerance=1e-2).value.ranks


def test_a_sketch_refuses_a_gradient() -> None:
    tensor = torch.randn(40, 30, 20, generator=seeded(), dtype=torch.float64, requires_grad=True)
    with pytest.raises(InputError, match="no gradient"):
        tt_svd(tensor, ranks=3, generator=seeded())


def test_randomised_basis_is_near_the_best_and_certified() -> None:
    left = torch.linalg.qr(torch.randn(200, 200, generator=seeded(), dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(300, 200, generator=seeded(1), dtype=torch.float64)).Q
    values = 0.8 ** torch.arange(200, dtype=torch.float64)
    matrix = (left * values) @ right.mT
    basis, lost = randomised_basis(matrix, budget=None, cap=20, generator=seeded(2))
    best = float(values[20:].square().sum())
    missed = float((matrix - basis @ (basis.mT @ matrix)).norm().square())
    assert best <= missed <= 1.05 * best
    assert missed == pytest.approx(float(lost), rel=1e-6)


def test_decompositions_have_a_gradient_across_the_gap() -> None:
    """The derivative of a truncated SVD, where the discarded values repeat (here they vanish)."""
    core = torch.randn(5, 2, generator=seeded(), dtype=torch.float64)
    matrix = (core @ core.mT).requires_grad_()

    def projection(a: Tensor) -> Tensor:
        return tt_svd(a, ranks=2).value.to_dense().sin().sum()

    assert torch.autograd.gradcheck(projection, (matrix,), atol=1e-6)


def test_dominant_basis_in_a_metric() -> None:
    matrix = torch.randn(9, 4, generator=seeded(), dtype=torch.complex128)
    root = torch.randn(4, 6, generator=seeded(1), dtype=torch.complex128)
    basis, lost = dominant_basis(matrix, budget=None, cap=2, root=root)
    values = torch.linalg.svdvals(matrix @ root)
    assert float(lost) == pytest.approx(float(values[2:].square().sum()), rel=1e-10)
    assert torch.allclose(basis.mH @ basis, torch.eye(2, dtype=torch.complex128), atol=1e-12)


def test_wide_matrix_by_gram_keeps_its_bound() -> None:
    """The cheap path must not choose a smaller rank than the budget allows."""
    matrix = torch.randn(12, 3000, generator=seeded(), dtype=torch.float64)
    matrix = torch.linalg.qr(matrix.mT).Q.mT * (10.0 ** -torch.arange(12, dtype=torch.float64))[:, None]
    for exponent in range(1, 10):
        budget = torch.tensor(10.0 ** (-2 * exponent) / 2, dtype=torch.float64)
        basis, lost = dominant_basis(matrix, budget=budget, cap=12)
        missed = float((matrix - basis @ (basis.mT @ matrix)).norm().square())
        assert missed <= float(lost) * (1 + 1e-9) + 1e-30
        assert float(lost) <= float(budget)
        assert basis.shape[1] == exponent + 1


# ---------------------------------------------------------------- the peer


def test_conventions_are_those_of_tensorly() -> None:
    tensorly = pytest.importorskip("tensorly")
    train = TensorTrain.random((3, 4, 5), 2, generator=seeded())
    ring = TensorRing.random((3, 4, 5), 2, generator=seeded())
    tucker = Tucker.random((3, 4, 5), 2, generator=seeded())
    cores = [core.numpy() for core in train.cores]
    assert abs(tensorly.tt_to_tensor(cores) - train.to_dense().numpy()).max() < 1e-13
    cores = [core.numpy() for core in ring.cores]
    assert abs(tensorly.tr_tensor.tr_to_tensor(cores) - ring.to_dense().numpy()).max() < 1e-13
    parts = tucker.core.numpy(), [factor.numpy() for factor in tucker.factors]
    assert abs(tensorly.tucker_to_tensor(parts) - tucker.to_dense().numpy()).max() < 1e-13


def test_tt_svd_agrees_with_tensorly() -> None:
    decomposition = pytest.importorskip("tensorly.decomposition")
    tensor = decaying()
    found = tt_svd(tensor, ranks=(3, 4, 2)).value.to_dense().numpy()
    theirs = decomposition.tensor_train(tensor.numpy(), rank=[1, 3, 4, 2, 1]).to_tensor()
    assert abs(found - theirs).max() < 1e-12


# ---------------------------------------------------------------- bad input


@every_method
def test_bad_tensors_are_refused(method: Callable[..., Any]) -> None:
    good = decaying()
    bad = good.clone()
    bad[0, 0, 0, 0] = float("nan")
    for tensor, word in ((bad, "NaN"), (torch.zeros_like(good), "zero"), (good.long(), "dtype")):
        with pytest.raises(InputError, match=word):
            method(tensor, tolerance=0.1)
    for options, word in (
        ({}, "tolerance"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"tolerance": 2.0}, "tolerance"),
        ({"ranks": 0}, "ranks"),
        ({"ranks": [2, 2]}, "ranks"),
    ):
        with pytest.raises(InputError, match=word):
            method(good, **options)


@pytest.mark.parametrize("tree", [((0, 1), (2, 2)), ((0, 1), 2), (0, (), 1, 2, 3), ((0, 1), "a", 2)])
def test_bad_trees_are_refused(tree: Any) -> None:
    with pytest.raises(InputError, match="tree"):
        tree_svd(decaying(), tree, tolerance=0.1)


def test_trees_by_name() -> None:
    assert balanced_tree(5) == ((0, 1), (2, (3, 4)))
    assert balanced_tree(6, children=3) == ((0, 1), (2, 3), (4, 5))
    assert balanced_tree(1) == (0,)
    assert chain_tree(4) == (((0, 1), 2), 3)
