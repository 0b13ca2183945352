"""Automatic compression: the planted structure wins, the tolerance holds, and the reason says the truth."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch

from polyad.errors import InputError
from polyad.tensors.formats import CP, TensorTrain, Tucker, compress, mutual_information, order_modes


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


PLANTED = {
    "cp": CP.random((20, 18, 16), 4, generator=seeded(1)),
    "tucker": Tucker.random((20, 18, 16, 17), (3, 2, 4, 3), generator=seeded(2)),
    "train": TensorTrain.random((8, 9, 7, 8, 6), 3, generator=seeded(3)),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_structure_is_chosen(name: str) -> None:
    planted = PLANTED[name]
    dense = planted.to_dense()
    found = compress(dense, tol=1e-3)
    assert found.best.name == name
    assert found.value.ranks == planted.ranks
    error = float((found.to_dense() - dense).norm() / dense.norm())
    assert error <= 1e-3
    assert error == pytest.approx(found.best.error, abs=1e-12)
    assert found.ratio == dense.numel() / found.value.storage.numbers
    assert f"{found.best.numbers:,}" in found.reason
    assert [c.numbers for c in found.candidates] == sorted(c.numbers for c in found.candidates)


def test_shuffled_modes_are_put_in_order() -> None:
    planted = PLANTED["train"]
    shuffle = (2, 0, 4, 1, 3)
    dense = planted.to_dense().permute(shuffle)
    found = compress(dense, tol=1e-3)
    assert found.value.ranks == planted.ranks
    original = [shuffle[mode] for mode in found.best.modes]
    assert original in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0])
    assert torch.allclose(found.to_dense(), dense, atol=1e-2 * float(dense.abs().max()))
    fixed = compress(dense, tol=1e-3, reorder=False, formats=("tucker", "train", "tree"))
    assert fixed.best.numbers > 2 * found.best.numbers


def test_every_candidate_keeps_the_tolerance_also_from_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that large tensors take: all from the Tucker core."""
    monkeypatch.setattr(import_module("polyad.tensors.formats.compress"), "SMALL", 0)
    base = PLANTED["train"].to_dense()
    noise = torch.randn(base.shape, generator=seeded(4), dtype=torch.float64)
    dense = base + 0.02 * base.norm() / noise.norm() * noise
    for tol in (0.05, 0.3):
        found = compress(dense, tol=tol, max_cp_rank=4)
        assert {c.name for c in found.candidates} >= {"tucker", "train", "tree"}
        for candidate in found.candidates:
            error = float((candidate.to_dense() - dense).norm() / dense.norm())
            assert error <= tol
            assert error == pytest.approx(candidate.error, rel=1e-9)


def test_noise_is_said_to_have_no_structure() -> None:
    found = compress(torch.randn(9, 8, 7, generator=seeded(), dtype=torch.float64), tol=1e-3, max_cp_rank=4)
    assert found.ratio < 1
    assert "keep it dense" in found.reason


def test_mutual_information_of_pairs() -> None:
    """Two independent pairs of maximally related modes: I = 2 ln n inside a pair, 0 across."""
    eye = torch.eye(3, dtype=torch.float64)
    tensor = torch.einsum("ac,bd->abcd", eye, eye)
    shared = mutual_information(tensor)
    expected = 2 * torch.log(torch.tensor(3.0, dtype=torch.float64))
    assert torch.allclose(shared[0, 2], expected)
    assert torch.allclose(shared[1, 3], expected)
    assert float(shared[0, 1].abs()) < 1e-12
    order = order_modes(tensor)
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1


def test_options_progress_and_bad_input() -> None:
    dense = PLANTED["cp"].to_dense()
    calls: list[tuple[int, int]] = []
    found = compress(dense, tol=1e-2, formats=("tucker", "train"), progress=lambda *c: calls.append(c))
    assert {c.name for c in found.candidates} == {"tucker", "train"}
    assert calls[-1][0] == calls[-1][1]
    assert len(compress(dense, tol=1e-2, seconds=1e-9).candidates) == 1
    bad: list[tuple[str, Any]] = [
        ("tolerance", lambda: compress(dense, tol=0.0)),
        ("formats", lambda: compress(dense, tol=0.1, formats=("magic",))),
        ("formats", lambda: compress(dense[0, 0], tol=0.1)),
        ("zero", lambda: compress(0 * dense, tol=0.1)),
        ("tol", lambda: compress(dense, tol=1e-6, formats=("cp",), max_cp_rank=2)),
    ]
    for word, call in bad:
        with pytest.raises(InputError, match=word):
            call()
