"""Networks of any graph: contraction paths, loops, hyperedges, and truncation with a measured error."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.tensors.formats import (
    CP,
    TensorNetwork,
    TensorRing,
    TensorTrain,
    _network_triangle,
    contract_network,
    contraction_cost,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_contraction_equals_einsum_with_any_labels() -> None:
    a, b, c = (torch.randn(3, 4, generator=seeded(k), dtype=torch.float64) for k in range(3))
    labels = [("x", "shared"), ("shared", (1, 2))[::-1][::-1], ("x", 7)]
    found = contract_network([a, b.mT, c], [labels[0], labels[1], labels[2]], [7, (1, 2), "x"])
    assert torch.allclose(found, torch.einsum("xs,sy,xz->zyx", a, b.mT, c), atol=1e-13)


def test_path_avoids_the_naive_cost() -> None:
    """A chain of matrices against a vector costs d r^2 when begun at the vector."""
    shapes = [(50, 50)] * 6 + [(50,)]
    labels = [(k, k + 1) for k in range(6)] + [(6,)]
    cost = contraction_cost(shapes, labels, [0])
    assert cost.operations <= 2 * 6 * 50**2
    assert cost.largest <= 50**2


def test_ring_and_network_agree() -> None:
    ring = TensorRing.random((3, 4, 5), (2, 3, 4), generator=seeded(), dtype=torch.complex128)
    network = ring.to_network()
    assert torch.allclose(network.to_dense(), ring.to_dense(), atol=1e-13)
    assert network.ranks == ring.ranks
    assert torch.allclose(network.norm(), ring.norm(), rtol=1e-12)


def test_inner_product_of_two_different_graphs() -> None:
    train = TensorTrain.random((3, 4, 5), 2, generator=seeded(), dtype=torch.complex128)
    cp = CP.random((3, 4, 5), 2, generator=seeded(1), dtype=torch.complex128)
    one = TensorNetwork(
        tuple(core.squeeze() for core in train.cores), ((0, "a"), ("a", 1, "b"), ("b", 2)), output=(0, 1, 2)
    )
    two = TensorNetwork((cp.weights, *cp.factors), (("r",), (0, "r"), (1, "r"), (2, "r")), output=(0, 1, 2))
    assert torch.allclose(two.to_dense(), cp.to_dense(), atol=1e-13)
    assert torch.allclose(one.inner(two), (train.to_dense().conj() * cp.to_dense()).sum(), atol=1e-12)


def test_tree_shaped_network_truncates_as_well_as_the_train() -> None:
    train = TensorTrain.random((4, 5, 6, 4), 4, generator=seeded(3))
    indices = ((0, "a"), ("a", 1, "b"), ("b", 2, "c"), ("c", 3))
    tensors = tuple(core.squeeze(0) if k == 0 else core for k, core in enumerate(train.cores[:-1]))
    network = TensorNetwork((*tensors, train.cores[-1].squeeze(-1)), indices, output=(0, 1, 2, 3))
    found, wanted = network.truncate(ranks=2), train.truncate(ranks=2)
    dense = train.to_dense()
    error, best = (float((f.value.to_dense() - dense).norm()) for f in (found, wanted))
    assert error <= 1.05 * best
    assert error <= float(found.error) * (1 + 1e-9)


def test_redundant_bond_of_a_loop_is_removed() -> None:
    """A ring whose bonds were blown up by invertible matrices and zeros comes back to its own ranks."""
    ring = TensorRing.random((4, 5, 4), 2, generator=seeded(5))
    gauges = [torch.randn(2, 4, generator=seeded(10 + k), dtype=torch.float64) for k in range(3)]
    cores = []
    for k, core in enumerate(ring.cores):
        before, after = torch.linalg.pinv(gauges[k]), gauges[(k + 1) % 3]
        cores.append(torch.einsum("ar,rns,sb->anb", before, core, after))
    blown = TensorRing(tuple(cores))
    assert torch.allclose(blown.to_dense(), ring.to_dense(), atol=1e-12)
    found = blown.truncate(tolerance=1e-11)
    assert max(found.value.ranks) <= 2
    assert float((found.value.to_dense() - ring.to_dense()).norm()) <= 1e-11 * float(ring.norm())


def test_sums_of_sums_in_a_loop_come_back_in_full_precision() -> None:
    """Six sums later the ring still has its first ranks, and no digit is lost to squaring."""
    ring = TensorRing.random((4, 5, 4, 6), 3, generator=seeded(6), dtype=torch.complex128)
    total = ring
    for _ in range(6):
        total = (total + ring.scale(0.5)).round(tolerance=1e-12)
        assert max(total.ranks) <= 3
    assert float((total.to_dense() - 4 * ring.to_dense()).norm()) <= 1e-10 * float(ring.norm())


def test_a_small_part_of_a_loop_is_rounded_away() -> None:
    ring, small = (TensorRing.random((4, 5, 4, 6), rank, generator=seeded(rank)) for rank in (3, 2))
    total = ring + small.scale(1e-4)
    found = total.truncate(tolerance=1e-3)
    assert max(found.value.ranks) <= 3
    assert float((found.value.to_dense() - total.to_dense()).norm()) <= float(found.error) <= 1e-3 * float(total.norm())
    kept = total.truncate(tolerance=1e-9)
    assert float((kept.value.to_dense() - total.to_dense()).norm()) <= float(kept.error) <= 1e-9 * float(total.norm())


def test_rounding_to_ranks_is_a_best_fit() -> None:
    """No small step of any core makes it better: the gradient of the error vanishes there."""
    ring = TensorRing.random((4, 5, 6), 3, generator=seeded(8))
    found = ring.truncate(ranks=2)
    dense = ring.to_dense()
    cores = [core.clone().requires_grad_() for core in found.value.cores]
    error = (TensorRing(tuple(cores)).to_dense() - dense).norm()
    assert float(error.detach()) == pytest.approx(float(found.error), rel=1e-9)
    error.backward()
    assert all(float(core.grad.norm()) <= 0.1 * float(error.detach() / core.detach().norm()) for core in cores)
    assert float(error.detach()) < 0.7 * float(dense.norm())


def test_a_hyperedge_and_a_lonely_bond_lose_what_is_redundant() -> None:
    """Three tensors share a label with one term twice and one that is zero; a fourth label only sums one tensor."""
    cp = CP.random((4, 5, 6), 2, generator=seeded(9))
    factors = [torch.cat([factor, factor[:, :1], 0 * factor[:, :1]], dim=1) for factor in cp.factors]
    split = torch.stack([0.25 * factors[0], 0.75 * factors[0]])
    network = TensorNetwork((split, *factors[1:]), (("lonely", 0, "r"), (1, "r"), (2, "r")), output=(0, 1, 2))
    found = network.truncate(tolerance=1e-10)
    assert found.value.ranks == (1, 2)
    assert torch.allclose(found.value.to_dense(), network.to_dense(), atol=1e-9)


def test_wide_cuts_fall_back_to_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the triangle would not fit, errors are measured by squares, and tolerances below their rounding refused."""
    ring = TensorRing.random((4, 5, 4), 2, generator=seeded(5))
    doubled = ring + ring
    exact = float(ring.norm())
    monkeypatch.setattr(_network_triangle, "LARGEST", 1)
    found = doubled.truncate(tolerance=1e-5)
    assert max(found.value.ranks) <= 2
    assert float((found.value.to_dense() - 2 * ring.to_dense()).norm()) <= 2e-5 * exact
    assert float(found.error) <= 2e-5 * exact
    with pytest.raises(InputError, match="tensor train or tree"):
        doubled.round(tolerance=1e-12)


def test_a_zero_network_has_rank_one() -> None:
    ring = TensorRing.random((4, 5, 4), 2, generator=seeded(5))
    for options in ({"tolerance": 1e-3}, {"ranks": 2}):
        found = ring.scale(0.0).truncate(**options)
        assert found.value.ranks == (1, 1, 1)
        assert float(found.value.to_dense().abs().max()) == float(found.error) == 0


def test_second_derivative_of_a_cancelled_norm_is_refused() -> None:
    ring = TensorRing.random((4, 5, 4), 2, generator=seeded(5))
    core = ring.cores[0].clone().requires_grad_()
    gap = TensorRing((core, *ring.cores[1:])) - ring + ring.scale(1e-7)
    (gradient,) = torch.autograd.grad(gap.norm(), core, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()


def test_isometries_towards_the_centre_of_a_tree() -> None:
    indices = ((0, "a"), ("a", 1, "b", "c"), ("b", 2), ("c", 3))
    sizes = {0: 4, 1: 3, 2: 5, 3: 4, "a": 3, "b": 2, "c": 3}
    network = TensorNetwork.random(indices, sizes, generator=seeded())
    centred = network.orthogonalise(center=1)
    for place in (0, 2, 3):
        bond = next(k for k, name in enumerate(indices[place]) if isinstance(name, str))
        tall = centred.tensors[place].movedim(bond, -1).flatten(0, -2)
        assert torch.allclose(tall.mT @ tall, torch.eye(tall.shape[1], dtype=torch.float64), atol=1e-12)
    assert float(centred.tensors[1].norm()) == pytest.approx(float(network.norm()), rel=1e-10)


def test_bad_networks_are_refused() -> None:
    a = torch.ones(2, 3, dtype=torch.float64)
    for tensors, indices, output, word in (
        ((a,), (("x",),), None, "label"),
        ((a,), (("x", "x"),), None, "label"),
        ((a, a), (("x", "y"), ("y", "z")), None, "size"),
        ((a,), (("x", "y"),), ("q",), "output"),
        ((a, a), (("x", "y"), ("x", "y")), None, "no open mode"),
        ((a, a), (("x", "y"),), None, "label lists"),
    ):
        with pytest.raises(InputError, match=word):
            TensorNetwork(tensors, indices, output)
    with pytest.raises(InputError, match="sizes"):
        TensorNetwork.random((("x", 0),), {0: 2})
