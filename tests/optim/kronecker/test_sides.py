"""Sides of a preconditioner: what is kept, in how many bytes, and what it stands for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.optim.kronecker.sides import (
    SideOptions,
    accumulate,
    bytes_of,
    new_side,
    renew_root,
    restore,
    root,
    second_moments,
    store,
)

OPTIONS: dict[str, Any] = {
    "bits": 32,
    "basis": "eigh",
    "codebook": "linear2",
    "decay": 0.9,
    "eps": 1e-6,
    "min_size": 4096,
    "rectify_statistics": 1,
    "rectify_roots": 4,
}


def factors(order: int, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(order, 2 * order, dtype=torch.float64, generator=generator) for _ in range(count)]


def kept(order: int, **changes: Any) -> tuple[Tensor, Tensor]:
    """Second moments and root after three factors."""
    options = SideOptions(**{**OPTIONS, **changes})
    side = new_side(order, torch.zeros(1, dtype=torch.float64), options)
    for factor in factors(order, 3):
        accumulate(side, factor, options)
    renew_root(side, options)
    return second_moments(side, options), root(side, options)


@pytest.mark.parametrize("basis", ["eigh", "matrix"])
def test_second_moments_are_running_means(basis: str) -> None:
    expected = torch.zeros(8, 8, dtype=torch.float64)
    for factor in factors(8, 3):
        expected = 0.9 * expected + 0.1 * factor @ factor.mT
    moments, inverse = kept(8, basis=basis)
    torch.testing.assert_close(moments, expected, atol=1e-12, rtol=0)
    ridge = 1e-6 * torch.linalg.eigvalsh(expected)[-1] * torch.eye(8)
    identity = torch.linalg.matrix_power(inverse, 4) @ (expected + ridge)
    torch.testing.assert_close(identity, torch.eye(8).double(), atol=1e-9, rtol=0)


def test_rounded_sides_stand_for_nearly_the_same() -> None:
    exact, exact_root = kept(64)
    for basis in ("eigh", "matrix"):
        moments, inverse = kept(64, bits=4, basis=basis)
        assert 1e-3 < float((moments - exact).norm() / exact.norm()) < 0.15
        assert float((inverse - exact_root).norm() / exact_root.norm()) < 0.15


def test_repairs_before_a_root_bring_it_nearer() -> None:
    _, exact = kept(64)
    error = {k: float((kept(64, bits=4, rectify_roots=k)[1] - exact).norm()) for k in (0, 4)}
    assert error[4] < 0.8 * error[0]


def test_diagonals_of_symmetric_matrices_are_kept_as_they_are() -> None:
    options = SideOptions(**{**OPTIONS, "bits": 4})
    matrix = kept(64)[0]
    stored = store(matrix, options, symmetric=True)
    back = restore(stored, options)
    assert torch.equal(back.diagonal(), matrix.diagonal())
    assert not torch.equal(back, matrix)
    assert bytes_of({"a": [stored]}) == 64 * 64 / 2 + 8 * 64 + 8 * 64  # codes, one float64 scale a row, diagonal
    assert bytes_of(3) == 0
