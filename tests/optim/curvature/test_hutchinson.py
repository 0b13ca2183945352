"""Random estimates against exact traces and diagonals."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.optim.curvature.hutchinson import hutchinson_diagonal, hutchinson_trace


def symmetric(size: int) -> torch.Tensor:
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return a + a.mT


def test_estimates_lie_within_their_errors() -> None:
    a = symmetric(12)
    trace = hutchinson_trace(lambda v: a @ v, 12, samples=4000)
    assert abs(float(trace.mean - a.trace())) < 4 * float(trace.standard_error)
    off = a - torch.diag(a.diagonal())
    assert float(trace.standard_error) == pytest.approx(float(2 * off.square().sum() / 4000) ** 0.5, rel=0.1)
    diagonal = hutchinson_diagonal(lambda v: a @ v, 12, samples=4000)
    assert bool(((diagonal.mean - a.diagonal()).abs() < 5 * diagonal.standard_error).all())


def test_diagonal_operators_need_one_product() -> None:
    d = torch.arange(1.0, 6.0, dtype=torch.float64)
    assert float(hutchinson_trace(lambda v: d * v, 5, samples=1).mean) == pytest.approx(15.0, abs=1e-12)
    found = hutchinson_diagonal(lambda v: d * v, 5, samples=1)
    assert torch.allclose(found.mean, d, atol=1e-12)
    assert bool(found.standard_error.isinf().all())


def test_no_samples_are_refused() -> None:
    with pytest.raises(InputError, match="samples"):
        hutchinson_trace(lambda v: v, 3, samples=0)
