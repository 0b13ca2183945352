"""Cross approximation: exact recovery, tolerances on unseen points, honest counting, and every way of stopping."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import TensorTrain, tt_cross


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def hilbert(indices: Tensor) -> Tensor:
    return 1 / (1 + indices.double().sum(1))


def wave(indices: Tensor) -> Tensor:
    x = indices.double() / 15
    return torch.exp(-((x.sum(1) - 3) ** 2)) * torch.cos(3 * x[:, 0] + x[:, -1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_a_train_is_recovered_with_its_ranks(dtype: torch.dtype) -> None:
    train = TensorTrain.random((5, 6, 4, 7, 5), (3, 4, 5, 3), generator=seeded(), dtype=dtype)
    found = tt_cross(train.entries, train.shape, tolerance=1e-10)
    assert found.value.ranks == train.ranks
    assert float((found.value - train).norm()) <= 1e-9 * float(train.norm())
    assert found.stopped_by == "tolerance"


@pytest.mark.parametrize("function", [hilbert, wave], ids=["hilbert", "wave"])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-7])
def test_tolerance_holds_on_unseen_points(function: Any, tolerance: float) -> None:
    shape = (16,) * 8
    found = tt_cross(function, shape, tolerance=tolerance)
    points = torch.randint(0, 16, (4000, 8), generator=seeded(99))
    error = (found.value.entries(points) - function(points)).norm() / function(points).norm()
    assert float(error) <= tolerance
    assert found.error <= tolerance
    assert float(error) == pytest.approx(found.error, rel=2.0)
    assert found.history[-1] == (found.evaluations, found.error)


def test_no_lucky_sample_ends_the_search() -> None:
    """For every seed the tolerance holds on ten thousand unseen points, not only on those that the search looked at."""
    shape = (16,) * 10
    points = torch.randint(0, 16, (10_000, 10), generator=seeded(99))
    exact = wave(points)
    for seed in range(6):
        found = tt_cross(wave, shape, tolerance=1e-3, seed=seed)
        assert float((found.value.entries(points) - exact).norm() / exact.norm()) <= 1e-3
        before, confirmed = found.history[-2:]
        assert confirmed[0] == before[0] + 200, "fresh points confirm"


def test_evaluations_are_counted_and_few() -> None:
    asked = 0

    def counted(indices: Tensor) -> Tensor:
        nonlocal asked
        asked += len(indices)
        return wave(indices)

    found = tt_cross(counted, (16,) * 8, tolerance=1e-5)
    assert found.evaluations == asked
    stored = found.value.storage.numbers
    assert asked <= 4 * stored, "most of what is asked becomes part of the train"


def test_interpolant_is_exact_at_its_pivots() -> None:
    """At low rank the error elsewhere is large, but lines through the first pivot are reproduced."""
    pivot = torch.tensor([[3, 4, 5, 2]])
    found = tt_cross(wave, (16,) * 4, tolerance=0.5, max_rank=1, max_sweeps=1, validation=1, pivots=pivot)
    at_pivot = found.value.entries(pivot) - wave(pivot)
    other = tt_cross(wave, (16,) * 4, tolerance=1e-12, pivots=pivot)
    assert float((other.value.entries(pivot) - wave(pivot)).abs()) < 1e-12
    assert float(at_pivot.abs()) < 1.0


def test_a_missed_peak_is_found_through_its_pivot() -> None:
    """A narrow peak that random points do not meet, far off the smooth part."""

    def peaked(indices: Tensor) -> Tensor:
        at = (indices == torch.tensor([7, 1, 9, 3, 8])).all(1)
        return torch.where(at, 50.0, hilbert(indices))

    peak = torch.tensor([[7, 1, 9, 3, 8]])
    found = tt_cross(peaked, (10,) * 5, tolerance=1e-6, pivots=peak)
    assert float(found.value.entries(peak)) == pytest.approx(50.0, rel=1e-6)
    points = torch.randint(0, 10, (2000, 5), generator=seeded(5))
    assert float((found.value.entries(points) - peaked(points)).abs().max()) < 1e-3


def test_stops_and_seed() -> None:
    shape = (16,) * 6
    assert tt_cross(wave, shape, tolerance=1e-9, max_rank=3).stopped_by == "rank"
    assert max(tt_cross(wave, shape, tolerance=1e-9, max_rank=3).value.ranks) == 3
    assert tt_cross(wave, shape, tolerance=1e-9, max_evaluations=500).stopped_by == "evaluations"
    assert tt_cross(wave, shape, tolerance=1e-9, max_sweeps=1).stopped_by == "sweeps"
    assert tt_cross(wave, shape, tolerance=1e-9, seconds=1e-9).stopped_by == "seconds"
    one, two, other = (tt_cross(wave, shape, tolerance=1e-4, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.value.cores, two.value.cores, strict=True))
    assert other.evaluations != one.evaluations
    calls: list[int] = []
    tt_cross(wave, shape, tolerance=1e-3, progress=lambda done, total: calls.append(done))
    assert calls == sorted(calls)


def test_one_and_two_modes() -> None:
    line = tt_cross(lambda i: i[:, 0].double().sin() + 2, (9,), tolerance=1e-10)
    assert torch.allclose(line.value.to_dense(), torch.arange(9).double().sin() + 2)
    matrix = tt_cross(lambda i: 1.0 / (1 + i[:, 0] + i[:, 1]), (9, 11), tolerance=1e-6)
    rows, columns = torch.arange(9)[:, None], torch.arange(11)[None]
    assert torch.allclose(matrix.value.to_dense(), 1.0 / (1 + rows + columns), atol=1e-5)


def test_bad_input_is_refused() -> None:
    calls: list[tuple[str, Any]] = [
        ("NaN", lambda: tt_cross(lambda i: hilbert(i) / (i[:, 0] != 3), (8, 8, 8))),
        ("zero", lambda: tt_cross(lambda i: 0 * hilbert(i), (8, 8, 8))),
        ("gave shape", lambda: tt_cross(lambda i: hilbert(i)[:2], (8, 8, 8))),
        ("tolerance", lambda: tt_cross(hilbert, (8, 8, 8), tolerance=0.0)),
        ("max_rank", lambda: tt_cross(hilbert, (8, 8, 8), max_rank=0)),
        ("shape", lambda: tt_cross(hilbert, (8, 0))),
        ("single entry", lambda: tt_cross(hilbert, (1, 1))),
    ]
    for word, call in calls:
        with pytest.raises(InputError, match=word) as caught:
            call()
        assert "\n" not in str(caught.value)
