"""Peaks of memory within twice the need, and what is worked through in slabs against the dense tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import (
    CP,
    TensorRing,
    TensorTrain,
    TreeTensorNetwork,
    Tucker,
    balanced_tree,
    cp_als,
    hooi,
    tree_svd,
    tucker_als,
)
from polyad.tensors.formats._masked_slabs import known_counts
from polyad.tensors.formats._network_triangle import joint_triangle, network_triangle

DTYPES = (torch.float64, torch.complex128)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def size_of(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else value.storage.bytes


def peak_over_need(operands: list[Any], run: Callable[[], Any]) -> float:
    """Most bytes of tensors at one time, operands included, over those of operands and result."""
    run()  # what is made once stays out
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        result = run()
    held = largest = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        largest = max(largest, held)
    given = sum(size_of(operand) for operand in operands)
    return (given + largest) / (given + size_of(getattr(result, "value", result)))


@pytest.mark.parametrize(
    "value",
    [
        Tucker.random((200,) * 4, 12, generator=seeded()),
        TreeTensorNetwork.random((50,) * 16, 12, tree=balanced_tree(16), generator=seeded()),
        CP.random((400,) * 5, 12, generator=seeded()),
        TensorRing.random((30,) * 8, 4, generator=seeded()),
        TensorTrain.random((30,) * 8, 12, generator=seeded()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_inner_products_norms_and_rounding_stay_within_twice_their_need(value: Any) -> None:
    double = value + value
    assert peak_over_need([value], lambda: value.inner(value)) < 2
    assert peak_over_need([value], value.norm) < 2
    if not isinstance(value, TensorRing):  # a ring's working set is larger than itself
        wanted: Any = {"ranks": value.ranks} if isinstance(value, CP) else {"tolerance": 1e-6}
        assert peak_over_need([double], lambda: double.round(**wanted)) < 2


def test_fits_of_dense_tensors_hold_no_second_copy() -> None:
    cube = CP.random((100, 110, 120), 3, generator=seeded()).to_dense()
    mask = torch.rand(cube.shape, generator=seeded(1)) < 0.5
    assert peak_over_need([cube], lambda: cp_als(cube, 3, sweeps=2)) < 1.9
    # slabs have 0.4 million numbers, a third of this tensor
    assert peak_over_need([cube, mask], lambda: cp_als(cube, 2, mask=mask, sweeps=1, starts=1)) < 2.5
    assert peak_over_need([cube, mask], lambda: tucker_als(cube, 2, mask=mask, sweeps=1)) < 2.5
    dense = TensorTrain.random((10,) * 6, 4, generator=seeded()).to_dense()
    assert peak_over_need([dense], lambda: tree_svd(dense, balanced_tree(6), tolerance=1e-6)) < 2


def test_ring_truncation_takes_the_working_set_that_it_states() -> None:
    ring = TensorRing.random((30,) * 5, 4, generator=seeded())
    double = ring + ring
    need = size_of(double) + size_of(ring)
    working = 3 * (8**2 + 4**2) ** 2 * 8
    assert double.round(tolerance=1e-6).ranks == ring.ranks
    assert peak_over_need([double], lambda: double.round(tolerance=1e-6)) * need < 2 * (need + working)


@pytest.mark.parametrize("mode", range(3))
def test_known_entries_are_counted_in_slabs(mode: int) -> None:
    mask = torch.rand(60, 90, 110, generator=seeded()) < 0.3  # more than one slab
    assert known_counts(mask, mode).equal(mask.movedim(mode, 0).flatten(1).sum(1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_shape", [(), (2,)])
def test_tucker_in_slabs_is_the_dense_tensor(dtype: torch.dtype, batch_shape: tuple[int, ...]) -> None:
    shape, ranks = (11, 14, 13, 12), (9, 14, 11, 10)  # several slabs, one factor with fewer columns than others
    one, two = (Tucker.random(shape, ranks, generator=seeded(k), dtype=dtype, batch_shape=batch_shape) for k in (1, 2))
    dense = [value.to_dense().flatten(len(batch_shape)) for value in (one, two)]
    torch.testing.assert_close(one.inner(two), (dense[0].conj() * dense[1]).sum(-1), rtol=1e-11, atol=1e-9)
    torch.testing.assert_close(one.norm(), torch.linalg.vector_norm(dense[0], dim=-1), rtol=1e-12, atol=0)
    for order in (one, Tucker(one.core.mT.contiguous(), (*one.factors[:2], one.factors[3], one.factors[2]))):
        found = order.truncate(tolerance=0.3)
        gap = (found.value.to_dense() - order.to_dense()).flatten(len(batch_shape))
        assert max(found.value.ranks) < 14
        torch.testing.assert_close(found.error, torch.linalg.vector_norm(gap, dim=-1), rtol=1e-9, atol=0)


def test_derivatives_go_through_the_slabs() -> None:
    value, other = (Tucker.random((9, 12, 13, 10), (9, 12, 11, 10), generator=seeded(k)) for k in (1, 2))
    arrays = [array.requires_grad_() for array in value.arrays]
    for ours, dense in (
        (lambda x: x.inner(other), lambda x: (x.to_dense() * other.to_dense()).sum()),
        (lambda x: x.norm(), lambda x: x.to_dense().norm()),
    ):
        found, wanted = (torch.autograd.grad(function(value), arrays) for function in (ours, dense))
        for mine, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ranks", [(2, 3, 2, 4), (7, 6, 9, 8)], ids=["by transfer", "by sweep"])
def test_ring_inner_products_in_both_orders(dtype: torch.dtype, ranks: tuple[int, ...]) -> None:
    shape = (3, 2, 2, 3)
    one = TensorRing.random(shape, ranks, generator=seeded(1), dtype=dtype, batch_shape=(2,))
    two = TensorRing.random(shape, ranks[::-1], generator=seeded(2), dtype=dtype, batch_shape=(2,))
    wanted = (one.to_dense().conj() * two.to_dense()).flatten(1).sum(-1)
    torch.testing.assert_close(one.inner(two), wanted, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(one.norm(), torch.linalg.vector_norm(one.to_dense().flatten(1), dim=-1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_triangles_of_networks_side_by_side(dtype: torch.dtype) -> None:
    one, two = (TensorRing.random((40, 50, 45), r, generator=seeded(r), dtype=dtype).to_network() for r in (4, 3))
    columns = torch.stack([one.to_dense().flatten(), two.to_dense().flatten()], dim=1)
    joint = joint_triangle([one.tensors, two.tensors], one.indices, one.modes)
    alone = network_triangle(one.tensors, one.indices, one.modes)
    assert joint is not None
    assert alone is not None
    torch.testing.assert_close(joint.mH @ joint, columns.mH @ columns, rtol=1e-11, atol=1e-9)
    torch.testing.assert_close(torch.linalg.vector_norm(alone), torch.linalg.vector_norm(columns[:, 0]))
    # a difference far below the square root of rounding
    near = type(one)((one.tensors[0] * (1 + 1e-11), *one.tensors[1:]), one.indices, one.modes)
    joint = joint_triangle([one.tensors, near.tensors], one.indices, one.modes)
    assert joint is not None
    gap = float(torch.linalg.vector_norm(joint[:, 0] - joint[:, 1]) / torch.linalg.vector_norm(columns[:, 0]))
    assert gap == pytest.approx(1e-11, rel=1e-3)


def test_hooi_refuses_a_gradient() -> None:
    tensor = torch.randn(4, 5, 6, generator=seeded(), dtype=torch.float64).requires_grad_()
    with pytest.raises(InputError, match=r"hooi: .* no gradient; use torch.no_grad\(\)"):
        hooi(tensor, 2)
    with torch.no_grad():
        assert hooi(tensor, 2).value.ranks == (2, 2, 2)
    assert hooi(tensor.detach(), 2).value.ranks == (2, 2, 2)
