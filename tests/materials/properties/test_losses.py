"""Losses and errors are their formulas; augmentation turns structures and targets together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.materials.lattice import effective_stiffness
from polyad.materials.properties.losses import (
    PREPARED,
    PropertyLoss,
    directional_error,
    turned,
    turned_at_random,
    unphysical_share,
)
from polyad.materials.properties.targets import TARGETS
from polyad.materials.structures import Structures
from polyad.tensors.notation import rotate_mandel
from polyad.tensors.rotations import random_rotations
from tests.materials.properties.lattices import data_set

TARGET = TARGETS["elasticity"]


class Exact(nn.Module):
    """The solver as a model, times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, batch: Structures) -> Tensor:
        return self.factor * effective_stiffness(batch.to_lattices())


def prepared() -> Structures:
    data = data_set(4)
    return data.replace(targets={PREPARED: data.targets["stiffness"]})


def test_relative_and_absolute() -> None:
    data, model = prepared(), Exact(1.1).eval()
    assert float(PropertyLoss(TARGET, relative=True)(model, data)) == pytest.approx(100 * 0.1**2)
    square = data.targets[PREPARED].square().mean()
    assert float(PropertyLoss(TARGET, scale=0.3)(model, data)) == pytest.approx(0.01 * float(square) / 0.09)
    found = PropertyLoss(TARGET).metrics(model, data)
    assert float(found["relative"]) == pytest.approx(0.1)
    assert float(found["mae"]) == pytest.approx(0.1 * float(data.targets[PREPARED].abs().mean()))
    with pytest.raises(InputError, match="prepare_property"):
        PropertyLoss(TARGET)(model, data_set(1))


def test_augmented_copies_have_the_targets_of_turned_lattices() -> None:
    data, model = prepared(), Exact()
    moved = turned_at_random(data, TARGET)
    assert float((moved.positions - data.positions).abs().max()) > 0.1
    assert torch.allclose(model(moved), moved.targets[PREPARED], rtol=1e-7, atol=1e-12)
    loss = PropertyLoss(TARGET, relative=True, augment=True)
    assert float(loss(model.train(), data)) < 1e-10

    class Remembering(nn.Module):
        def forward(self, batch: Structures) -> Tensor:
            self.seen = batch
            return batch.targets[PREPARED]

    remembering = Remembering()
    loss(remembering.train(), data)
    assert not torch.equal(remembering.seen.positions, data.positions)
    loss(remembering.eval(), data)
    assert torch.equal(remembering.seen.positions, data.positions)


def test_turned_lattices_have_turned_stiffness() -> None:
    data = data_set(3)
    q = random_rotations(len(data), generator=torch.Generator().manual_seed(0), reflections=True)
    found = effective_stiffness(turned(data, q).to_lattices())
    assert torch.allclose(found, rotate_mandel(data.targets["stiffness"], q), rtol=1e-7, atol=1e-12)


def test_errors_of_stiffness() -> None:
    exact = data_set(3).targets["stiffness"]
    assert directional_error(exact, exact) == 0.0
    assert directional_error(1.2 * exact, exact) == pytest.approx(0.2)
    assert unphysical_share(exact) == 0.0
    broken = exact.clone()
    broken[0] -= 2 * torch.linalg.eigvalsh(exact[0])[-1] * torch.eye(6)
    assert unphysical_share(broken) == pytest.approx(1 / len(exact))
