"""CP by alternating least squares: recovery, residuals, missing entries, stopping, and tensorly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import CP, cp_als, khatri_rao
from polyad.tensors.formats.als_starts import pencil_start
from polyad.tensors.formats.als_targets import CPTarget, DenseTarget, MaskedTarget


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(noise: float = 0.05, dtype: torch.dtype = torch.float64) -> tuple[Tensor, CP]:
    planted = CP.random((14, 12, 13), 3, generator=seeded(1), dtype=dtype)
    dense = planted.to_dense()
    draw = torch.randn(dense.shape, generator=seeded(2), dtype=dtype)
    return dense + noise * dense.norm() / draw.norm() * draw, planted


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize(("shape", "rank"), [((12, 10, 8), 4), ((6, 5, 4, 7), 3), ((9, 8), 2), ((20, 18, 16), 3)])
def test_exact_tensors_are_recovered(shape: tuple[int, ...], rank: int, dtype: torch.dtype) -> None:
    dense = CP.random(shape, rank, generator=seeded(), dtype=dtype).to_dense()
    fit = cp_als(dense, rank)
    assert fit.value.ranks == (rank,)
    assert float((fit.value.to_dense() - dense).norm()) <= 1e-10 * float(dense.norm())


def test_factors_are_the_planted_ones_up_to_order_and_scale() -> None:
    planted = CP.random((12, 10, 8), 3, generator=seeded(), dtype=torch.complex128)
    fit = cp_als(planted.to_dense(), 3)
    for found, wanted in zip(fit.value.factors, planted.factors, strict=True):
        cosines = (found.mH @ (wanted / torch.linalg.vector_norm(wanted, dim=0))).abs()
        assert torch.allclose(cosines.max(0).values, torch.ones(3, dtype=torch.float64), atol=1e-9)


def test_reported_residual_is_the_true_one_and_never_rises() -> None:
    dense, planted = noisy()
    fit = cp_als(dense, 3, tolerance=1e-12)
    assert fit.error == pytest.approx(float((fit.value.to_dense() - dense).norm() / dense.norm()), rel=1e-9)
    assert fit.error <= float((planted.to_dense() - dense).norm() / dense.norm())
    assert all(after <= before + 1e-12 for before, after in zip(fit.history, fit.history[1:], strict=False))
    assert fit.error == fit.history[-1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("shape", [(5, 4, 6), (3, 4, 3, 5), (4, 3, 2, 3, 2), (7, 6)])
def test_each_solve_is_the_least_squares_solution(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Against lstsq on the unfolding, for every mode in turn; the mask case row by row."""
    dense = torch.randn(shape, generator=seeded(), dtype=dtype)
    mask = torch.rand(shape, generator=seeded(1)) < 0.8
    factors = [torch.randn(size, 2, generator=seeded(k), dtype=dtype) for k, size in enumerate(shape)]
    plain, masked = DenseTarget(dense), MaskedTarget(dense, mask)
    for mode in range(len(shape)):
        others = khatri_rao([f for k, f in enumerate(factors) if k != mode])
        unfolded, known = dense.movedim(mode, 0).flatten(1), mask.movedim(mode, 0).flatten(1)
        found = masked.solve(factors, mode)
        for row in range(shape[mode]):
            seen = known[row]
            wanted = torch.linalg.lstsq(others[seen], unfolded[row, seen, None]).solution[:, 0]
            assert torch.allclose(found[row], wanted, atol=1e-8)
        factors[mode] = plain.solve(factors, mode)
        assert torch.allclose(factors[mode], torch.linalg.lstsq(others, unfolded.mT).solution.mT, atol=1e-9)
    gap = dense - CP(torch.ones(2, dtype=dtype), tuple(factors)).to_dense()
    assert plain.residual(factors) == pytest.approx(float(gap.norm() / dense.norm()), rel=1e-10)


def test_cp_target_solves_like_the_dense_one() -> None:
    value = CP.random((5, 4, 6), 4, generator=seeded(), dtype=torch.complex128)
    factors = [torch.randn(n, 2, generator=seeded(n), dtype=torch.complex128) for n in value.shape]
    sparse, dense = CPTarget(value), DenseTarget(value.to_dense())
    for mode in range(3):
        assert torch.allclose(sparse.solve(factors, mode), dense.solve(factors, mode), atol=1e-10)
        factors[mode] = dense.solve(factors, mode)
    assert sparse.residual(factors) == pytest.approx(dense.residual(factors), rel=1e-9)


def test_pencil_is_exact_for_exact_rank() -> None:
    for dtype in (torch.float64, torch.complex128):
        dense = CP.random((5, 8, 3, 7), 5, generator=seeded(), dtype=dtype).to_dense()
        start = pencil_start(dense, 5, seeded())
        assert start is not None
        factors = [factor.clone() for factor in start]
        target = DenseTarget(dense)
        for mode in range(4):
            factors[mode] = target.solve(factors, mode)
        assert target.residual(factors) < 1e-9
    assert pencil_start(dense, 8, seeded()) is None


def test_compression_does_not_change_the_answer() -> None:
    planted = CP.random((40, 36, 38), 3, generator=seeded(1)).to_dense()
    draw = torch.randn(planted.shape, generator=seeded(2), dtype=torch.float64)
    dense = planted + 0.1 * planted.norm() / draw.norm() * draw
    fast, plain = cp_als(dense, 3, tolerance=1e-10), cp_als(dense, 3, compress=False, tolerance=1e-10)
    assert 0 < fast.full_sweeps < 20
    assert plain.full_sweeps == 0
    assert fast.error == pytest.approx(plain.error, abs=1e-7)


def test_missing_entries_are_never_read_and_are_predicted() -> None:
    planted = CP.random((15, 14, 13), 3, generator=seeded(5)).to_dense()
    mask = torch.rand(planted.shape, generator=seeded(6)) < 0.3
    holes = torch.where(mask, planted, float("nan"))
    fit = cp_als(holes, 3, mask=mask, tolerance=1e-10)
    assert fit.error < 1e-6
    assert float((fit.value.to_dense() - planted)[~mask].norm()) < 1e-5 * float(planted.norm())


def test_seeds_stops_and_progress() -> None:
    dense, _ = noisy()
    one, two, other = (cp_als(dense, 3, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.value.arrays, two.value.arrays, strict=True))
    assert other.error == pytest.approx(one.error, rel=1e-6)
    assert len(one.starts) == 4
    assert one.stopped_by == "tolerance"
    hard = torch.randn(8, 7, 6, generator=seeded(), dtype=torch.float64)
    assert cp_als(hard, 5, sweeps=3, starts=1).stopped_by == "sweeps"
    assert cp_als(hard, 5, seconds=1e-9, starts=3).stopped_by == "seconds"
    calls: list[tuple[int, int]] = []
    cp_als(hard, 2, sweeps=5, progress=lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == list(range(1, len(calls) + 1))
    assert calls[-1][0] <= calls[-1][1]
    again = cp_als(dense, 3, initial=one.value.factors, sweeps=2)
    assert again.error <= one.error * (1 + 1e-6)


def test_residual_is_never_worse_than_tensorly() -> None:
    tensorly = pytest.importorskip("tensorly.decomposition")
    dense, _ = noisy(0.2)
    ours = cp_als(dense, 3).error
    theirs = tensorly.parafac(dense.numpy(), 3, n_iter_max=500, tol=1e-8, init="svd", return_errors=True)[1][-1]
    assert ours <= float(theirs) + 1e-6


def test_bad_input_is_refused() -> None:
    dense, _ = noisy()
    bad = dense.clone()
    bad[1, 2, 3] = float("inf")
    thin = torch.rand(dense.shape, generator=seeded()) < 0.5
    empty = thin.clone()
    empty[:, 4] = False
    few = torch.rand(dense.shape, generator=seeded()) < 0.02
    calls: list[tuple[str, Any]] = [
        ("NaN", lambda: cp_als(bad, 2)),
        ("zero", lambda: cp_als(torch.zeros(3, 3, 3), 2)),
        ("rank", lambda: cp_als(dense, 0)),
        ("rank", lambda: cp_als(dense, 10_000)),
        ("two", lambda: cp_als(dense[0, 0], 1)),
        ("slice 4 of mode 1", lambda: cp_als(dense, 2, mask=empty)),
        ("unknowns", lambda: cp_als(dense, 3, mask=few)),
        ("mask", lambda: cp_als(dense, 3, mask=thin[0])),
        ("seconds", lambda: cp_als(dense, 3, seconds=-1.0)),
        ("initial", lambda: cp_als(dense, 3, initial=[dense[0]])),
    ]
    for word, call in calls:
        with pytest.raises(InputError, match=word) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_rounding_to_a_tolerance_finds_the_planted_rank() -> None:
    one, two = (CP.random((9, 8, 7), 2, generator=seeded(k)) for k in (1, 2))
    found = (one + two + one).truncate(tolerance=1e-6)
    assert found.value.ranks == (4,)
    dense = 2 * one.to_dense() + two.to_dense()
    assert float((found.value.to_dense() - dense).norm()) <= 1e-6 * float(dense.norm())
    zero = one - one
    assert float(zero.round(ranks=1).norm()) <= 1e-12
