"""Tucker with missing entries: recovery, optimality over the known entries, and masks that leave it undetermined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import Tucker, hooi, tucker_als


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem(dtype: torch.dtype = torch.float64, part: float = 0.5, noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """The truth, what is given of it (NaN elsewhere), and where it is given."""
    truth = Tucker.random((14, 12, 10), (3, 2, 4), generator=seeded(1), dtype=dtype).to_dense()
    truth = truth + noise * torch.randn(truth.shape, generator=seeded(2), dtype=dtype)
    mask = torch.rand(truth.shape, generator=seeded(3)) < part
    return truth, torch.where(mask, truth, torch.nan), mask


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("part", [0.9, 0.4])
def test_a_tucker_tensor_is_recovered_where_nothing_was_known(dtype: torch.dtype, part: float) -> None:
    truth, given, mask = problem(dtype, part)
    fit = tucker_als(given, (3, 2, 4), mask=mask, tolerance=1e-12)
    missing = (fit.value.to_dense() - truth)[~mask]
    assert float(missing.norm()) <= 1e-6 * float(truth[~mask].norm())
    assert fit.error == fit.history[-1] <= 1e-7
    for factor in fit.value.factors:
        assert torch.allclose(factor.mH @ factor, torch.eye(factor.shape[1], dtype=dtype), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_no_small_step_improves_the_fit(dtype: torch.dtype) -> None:
    """The gradient of the masked residual over core and factors vanishes."""
    _, given, mask = problem(dtype, 0.6, noise=0.3)
    fit = tucker_als(given, (3, 2, 4), mask=mask, tolerance=1e-13, sweeps=500)
    arrays = [array.clone().requires_grad_() for array in fit.value.arrays]
    gap = (torch.where(mask, given, 0) - mask * Tucker(arrays[0], tuple(arrays[1:])).to_dense()).norm()
    assert float(gap.detach() / torch.where(mask, given, 0).norm()) == pytest.approx(fit.error, rel=1e-10)
    gap.backward()
    assert max(float(array.grad.norm()) for array in arrays if array.grad is not None) < 2e-4 * float(gap.detach())
    assert all(after <= before * (1 + 1e-12) for before, after in zip(fit.history, fit.history[1:], strict=False))


def test_with_everything_known_it_is_the_iteration_of_old() -> None:
    truth, _, _ = problem(noise=0.3)
    fit = tucker_als(truth, (3, 2, 4), mask=torch.ones_like(truth, dtype=torch.bool), tolerance=1e-12)
    best = hooi(truth, (3, 2, 4), sweeps=200, tolerance=1e-14)
    assert fit.error == pytest.approx(float(best.error / truth.norm()), rel=1e-6)


def test_stops_and_progress() -> None:
    _, given, mask = problem(noise=0.3)
    assert tucker_als(given, 2, mask=mask, sweeps=2, tolerance=0.0).stopped_by == "sweeps"
    assert tucker_als(given, 2, mask=mask, seconds=1e-9, tolerance=0.0).stopped_by == "seconds"
    calls: list[tuple[int, int]] = []
    fit = tucker_als(given, 2, mask=mask, tolerance=1e-3, progress=lambda done, total: calls.append((done, total)))
    assert fit.stopped_by == "tolerance"
    assert calls == [(k + 1, 200) for k in range(len(fit.history))]


def test_what_cannot_be_determined_is_refused() -> None:
    truth, given, mask = problem()
    few, slice_gone = torch.zeros_like(mask), mask.clone()
    few.view(-1)[:40] = True
    slice_gone[:, 3] = False
    bad = torch.where(mask, given, 0)
    bad[tuple(mask.nonzero()[0])] = torch.inf
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("40 known entries cannot fix", lambda: tucker_als(truth, 3, mask=few)),
        ("slice 3 of mode 1 has 0 known", lambda: tucker_als(given, 2, mask=slice_gone)),
        ("NaN or Inf", lambda: tucker_als(bad, 2, mask=mask)),
        ("every entry is zero", lambda: tucker_als(torch.zeros_like(given), 2, mask=mask)),
        ("mask: torch.bool", lambda: tucker_als(given, 2, mask=mask[:3])),
        ("exceeds the product of the others", lambda: tucker_als(given, (5, 2, 2), mask=mask)),
        ("ranks", lambda: tucker_als(given, (3, 2), mask=mask)),
        ("seconds", lambda: tucker_als(given, 2, mask=mask, seconds=0.0)),
    ]
    for message, call in calls:
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
