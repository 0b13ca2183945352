"""Canonical forms: isometries where they are promised, unit columns of CP, and the errors of each constructor."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from polyad.errors import InputError
from polyad.tensors.formats import CP, TensorRing, TensorTrain, TreeTensorNetwork, Tucker, khatri_rao


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_isometry(tall: torch.Tensor) -> None:
    eye = torch.eye(tall.shape[-1], dtype=tall.dtype)
    assert torch.allclose(tall.mH @ tall, eye.expand_as(tall.mH @ tall), atol=1e-12)


@pytest.mark.parametrize("center", [0, 2, 3])
def test_train_is_orthogonal_on_both_sides_of_its_centre(center: int) -> None:
    train = TensorTrain.random((3, 4, 5, 3), 3, generator=seeded(), dtype=torch.complex128, batch_shape=(2,))
    found = train.orthogonalise(center)
    for k, core in enumerate(found.cores):
        if k < center:
            assert_isometry(core.flatten(-3, -2))
        if k > center:
            assert_isometry(core.flatten(-2).mH)
    assert torch.allclose(torch.linalg.vector_norm(found.cores[center], dim=(-3, -2, -1)), train.norm())


def test_tucker_ring_and_tree() -> None:
    tucker = Tucker.random((5, 4, 6), 3, generator=seeded(), dtype=torch.complex128).orthogonalise()
    tree = TreeTensorNetwork.random((5, 4, 6, 3), 3, tree=((0, 3), (2, 1)), generator=seeded()).orthogonalise()
    ring = TensorRing.random((5, 4, 6), 2, generator=seeded()).orthogonalise()
    for array in (*tucker.factors, *tree.factors, *(c.flatten(0, -2) for c in tree.cores[:-1])):
        assert_isometry(array)
    for core in ring.cores[:-1]:
        assert_isometry(core.flatten(0, 1))


def test_cp_has_unit_columns_and_falling_weights() -> None:
    cp = CP.random((5, 4, 6), 3, generator=seeded(), dtype=torch.complex128)
    found = cp.scale(-2.0).orthogonalise()
    for factor in found.factors:
        assert torch.allclose(torch.linalg.vector_norm(factor, dim=0), torch.ones(3, dtype=torch.float64))
    assert float(found.weights.imag.abs().max()) == 0
    assert bool((found.weights.real[:-1] >= found.weights.real[1:]).all())
    assert float(found.weights.real.min()) > 0


def test_khatri_rao_follows_row_major_unfoldings() -> None:
    """X_(0) = A diag(w) (B kr C)^T with the last mode fastest."""
    cp = CP.random((3, 4, 5), 2, generator=seeded())
    a, b, c = cp.factors
    assert torch.allclose((a * cp.weights) @ khatri_rao([b, c]).mT, cp.to_dense().reshape(3, 20), atol=1e-13)


def test_norm_of_a_long_train_is_finite_and_right() -> None:
    """Dense it would have 2^60 entries; each core scales the norm by a known factor."""
    ones = torch.ones(1, 2, 1, dtype=torch.float64)
    train = TensorTrain((ones,) * 60)
    assert float(train.norm()) == pytest.approx(2.0**30, rel=1e-12)
    assert float(train.inner(train)) == pytest.approx(2.0**60, rel=1e-12)
    assert train.add(train).round(tolerance=1e-10).ranks == (1,) * 59


def test_dense_tensors_larger_than_the_machine_are_refused() -> None:
    train = TensorTrain.random((16,) * 14, 2, generator=seeded())
    with pytest.raises(InputError, match=r"GB would be needed.*entries"):
        train.to_dense()


def test_bad_constructions_are_refused() -> None:
    one = torch.ones(2, 3, 2, dtype=torch.float64)
    edge = torch.ones(1, 3, 2, dtype=torch.float64)
    calls: list[tuple[str, Any]] = [
        ("rank 1", lambda: TensorTrain((one, one))),
        ("core 0 ends with", lambda: TensorTrain((edge, torch.ones(3, 3, 1, dtype=torch.float64)))),
        ("equal", lambda: TensorRing((edge, one))),
        ("no arrays", lambda: TensorTrain(())),
        ("factor", lambda: CP(torch.ones(2), (torch.ones(3, 3),))),
        ("R >= 1", lambda: CP(torch.ones(0), (torch.ones(3, 0),))),
        ("factor", lambda: Tucker(torch.ones(2, 2), (torch.ones(3, 2), torch.ones(3, 3)))),
        ("core", lambda: Tucker(torch.ones(2), (torch.ones(3, 2), torch.ones(3, 2)))),
        ("core", lambda: TreeTensorNetwork((0, 1), (torch.ones(3, 2),) * 2, ())),
        ("root", lambda: TreeTensorNetwork((0, 1), (torch.ones(3, 2),) * 2, (torch.ones(2, 2, 2),))),
        ("ranks", lambda: TensorTrain.random((3, 3), 0)),
        ("ranks", lambda: TensorTrain.random((3, 3), (4,))),
        ("ranks", lambda: TensorRing.random((3, 3), (1,))),
        ("ranks", lambda: CP.random((3, 3), 0)),
        ("tree", lambda: TreeTensorNetwork((0, 1), (torch.ones(3, 2),) * 2, (torch.ones(2, 2, 1),)).add(
            TreeTensorNetwork((1, 0), (torch.ones(3, 2),) * 2, (torch.ones(2, 2, 1),)))),
        ("all modes", lambda: TensorTrain((torch.ones(1, 1, 1),)).squeeze([0])),
    ]  # fmt: skip
    for word, call in calls:
        with pytest.raises(InputError, match=word) as caught:
            call()
        assert "\n" not in str(caught.value)
