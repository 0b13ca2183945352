"""The element: strains of linear displacements, rigid motions, energy of a distorted voxel by exact integration."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.pde.homogenization.elements import CORNERS, VoxelElement
from polyad.tensors.notation import strain_to_mandel

EDGES = torch.tensor([[0.5, 0.1, 0.0], [0.0, 0.4, 0.1], [0.1, -0.1, 0.6]], dtype=torch.float64)
PLACES = torch.tensor(CORNERS, dtype=torch.float64) @ EDGES


def triclinic() -> torch.Tensor:
    root = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return root @ root.T


def test_linear_displacements_have_their_strain_at_every_point() -> None:
    gradient = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    element = VoxelElement(EDGES)
    strain = strain_to_mandel(0.5 * (gradient + gradient.T))
    found = element.strain @ (PLACES @ gradient.T).flatten()
    torch.testing.assert_close(found, strain.expand(8, 6), rtol=0, atol=1e-13)
    torch.testing.assert_close(element.mean_strain() @ (PLACES @ gradient.T).flatten(), strain, rtol=0, atol=1e-13)
    material = triclinic()
    energy = (PLACES @ gradient.T).flatten() @ element.stiffness(material) @ (PLACES @ gradient.T).flatten()
    volume = float(torch.linalg.det(EDGES).abs())
    assert float(energy) == pytest.approx(volume * float(strain @ material @ strain))
    torch.testing.assert_close(
        element.stiffness(material) @ (PLACES @ gradient.T).flatten(), element.loads(material) @ strain
    )


def test_only_rigid_motions_cost_nothing() -> None:
    values = torch.linalg.eigvalsh(VoxelElement(EDGES).stiffness(triclinic()))
    assert float(values[:6].abs().max()) < 1e-12 * float(values[-1])
    assert float(values[6]) > 1e-4 * float(values[-1])


def test_quadratic_modes_are_integrated_exactly() -> None:
    """u = x y e_x on the unit cube: strains y and x / 2, energy of an isotropic solid by hand."""
    material = torch.diag(torch.tensor([2.0, 2, 2, 1, 1, 1], dtype=torch.float64))
    corners = torch.tensor(CORNERS, dtype=torch.float64)
    mode = torch.zeros(8, 3, dtype=torch.float64)
    mode[:, 0] = corners[:, 0] * corners[:, 1]
    energy = mode.flatten() @ VoxelElement(torch.eye(3)).stiffness(material) @ mode.flatten()
    assert float(energy) == pytest.approx(2 * (1 / 3) + 1 * 2 * (1 / 12))


def test_a_flat_cell_is_refused() -> None:
    with pytest.raises(InputError, match="lie in a plane"):
        VoxelElement(torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]]))
