"""The Green operator against the dense pseudoinverse of the homogeneous matrix."""

from __future__ import annotations

import pytest
import torch

from polyad.pde.homogenization.elements import VoxelElement
from polyad.pde.homogenization.green import GreenOperator
from polyad.pde.homogenization.operator import VoxelOperator

SKEW = torch.tensor([[1.0, 0.1, 0.0], [0.2, 0.9, 0.1], [0.0, -0.1, 1.2]], dtype=torch.float64)


def reference() -> torch.Tensor:
    root = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return root @ root.T + torch.eye(6, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 2, 6), (1, 3, 4)])
def test_it_inverts_the_homogeneous_matrix(shape: tuple[int, int, int]) -> None:
    element = VoxelElement(SKEW / torch.tensor(shape)[:, None])
    like = torch.zeros((), dtype=torch.float64)
    green = GreenOperator(element.stiffness(reference()), shape, like=like)
    operator = VoxelOperator(torch.zeros(shape, dtype=torch.int64), element, reference()[None])
    field = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    centred = field - field.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(green(operator(field)), centred, rtol=0, atol=1e-9)
    torch.testing.assert_close(operator(green(field)), centred, rtol=0, atol=1e-9)


def test_single_precision() -> None:
    element = VoxelElement(SKEW)
    green = GreenOperator(element.stiffness(reference()), (4, 4, 4), like=torch.zeros((), dtype=torch.float32))
    exact = GreenOperator(element.stiffness(reference()), (4, 4, 4), like=torch.zeros((), dtype=torch.float64))
    field = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    found = green(field)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact(field.double()), rtol=1e-4, atol=1e-4)
