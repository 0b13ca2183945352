"""The matrix without a matrix: energies, loads and mean stresses of linear displacement fields, in chunks."""

from __future__ import annotations

import pytest
import torch

from polyad.pde.homogenization import operator as module
from polyad.pde.homogenization.elements import VoxelElement
from polyad.pde.homogenization.operator import VoxelOperator


def build(shape: tuple[int, int, int] = (3, 4, 5)) -> VoxelOperator:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(3, shape, generator=generator)
    roots = torch.randn(3, 6, 6, generator=generator, dtype=torch.float64)
    materials = roots @ roots.mT
    materials[0] = 0
    return VoxelOperator(image, VoxelElement(torch.eye(3) * 0.3), materials)


def test_it_is_symmetric_and_positive_and_blind_to_translations() -> None:
    operator, generator = build(), torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 3, 3, 4, 5, generator=generator, dtype=torch.float64)
    assert float((first * operator(second)).sum()) == pytest.approx(float((second * operator(first)).sum()))
    assert float((first * operator(first)).sum()) > 0
    assert float(operator(torch.ones_like(first)).abs().max()) < 1e-12
    assert all(float(operator.load(k).sum((1, 2, 3)).abs().max()) < 1e-12 for k in range(6))


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    field = torch.randn(3, 3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    operator = build()
    whole = operator(field), operator.load(4), operator.mean_stress(field, 2), operator.strains(field, 3)
    monkeypatch.setattr(module, "CHUNK", 7)
    parts = operator(field), operator.load(4), operator.mean_stress(field, 2), operator.strains(field, 3)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_mean_stress_is_the_mean_of_the_voxels_stresses() -> None:
    operator = build()
    field = torch.randn(3, 3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    image = torch.randint(3, (3, 4, 5), generator=torch.Generator().manual_seed(0))
    strains = operator.strains(field, 1)
    stress = torch.einsum("xyzij,jxyz->ixyz", operator.materials[image], strains)
    torch.testing.assert_close(operator.mean_stress(field, 1), stress.mean((1, 2, 3)), rtol=0, atol=1e-12)
