"""The smallest CP rank within a tolerance."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.tensors.formats import CP
from polyad.tensors.formats.als_ranks import cp_within


def test_the_planted_rank_is_the_smallest_that_suffices() -> None:
    generator = torch.Generator().manual_seed(3)
    dense = CP.random((12, 10, 11), 5, generator=generator).to_dense()
    noisy = dense + 0.01 * torch.randn(dense.shape, generator=generator, dtype=torch.float64)
    fit = cp_within(noisy, 0.02, max_rank=40)
    assert fit is not None
    assert fit.value.ranks == (5,)
    assert float((fit.value.to_dense() - noisy).norm()) <= 0.02 * float(noisy.norm())
    assert cp_within(noisy, 0.02, max_rank=4) is None
    assert CP.from_dense(noisy, tolerance=0.02).ranks == (5,)
    with pytest.raises(InputError, match="no fit of up to 4 terms keeps"):
        CP.from_dense(noisy, tolerance=0.02, ranks=4)
    with pytest.raises(InputError, match="max_rank"):
        cp_within(noisy, 0.02, max_rank=0)
