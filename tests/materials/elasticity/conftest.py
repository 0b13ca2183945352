"""Random elasticity tensors, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch


@pytest.fixture
def random_stiffness() -> Callable[..., torch.Tensor]:
    """A factory of random positive definite Kelvin-Mandel matrices, strongly anisotropic."""

    def make(*batch: int, seed: int = 0, samples: int = 8) -> torch.Tensor:
        root = torch.randn(*batch, 6, samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return root @ root.mT

    return make


@pytest.fixture
def stiffness_along(random_stiffness) -> Callable[[torch.Tensor], torch.Tensor]:
    """A stiffness that depends on a few parameters, each moving all entries at random: for cheap gradient checks."""
    root = torch.linalg.cholesky(random_stiffness(seed=2))
    ways = torch.randn(5, 6, 6, generator=torch.Generator().manual_seed(6), dtype=torch.float64)

    def make(parameters: torch.Tensor) -> torch.Tensor:
        moved = root + torch.einsum("k,kab->ab", parameters, ways[: len(parameters)])
        return moved @ moved.mT

    return make
