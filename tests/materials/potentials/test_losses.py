"""Losses and metrics against means written out."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.potentials import Potential, PotentialLoss, prepare_energies
from polyad.materials.structures import Structures
from tests.materials.potentials.pair_network import LennardJones
from tests.materials.potentials.test_potential import crystals


def prepared() -> tuple[Potential, Structures]:
    generator = torch.Generator().manual_seed(3)
    potential = Potential(LennardJones(), species=[1, 6, 8], cutoff=3.0, shift=[1.0, 2.0, 3.0]).train()
    targets = {
        "energy": torch.randn(2, generator=generator, dtype=torch.float64) * 100,
        "stress": torch.randn(2, 3, 3, generator=generator, dtype=torch.float64),
    }
    forces = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    data = crystals().replace(targets=targets, node_targets={"forces": forces})
    return potential, prepare_energies(data, potential)


def test_loss_is_the_weighted_sum_of_mean_squares() -> None:
    potential, data = prepared()
    found = potential(data, stress=True)
    energy = (found["energy"] - data.targets["energy"]) / torch.tensor([4.0, 5.0])
    forces, stress = found["forces"] - data.node_targets["forces"], found["stress"] - data.targets["stress"]
    expected = 2 * energy.square().mean() + 30 * forces.square().mean() + 4 * stress.square().mean()
    loss = PotentialLoss(energy=2.0, forces=30.0, stress=4.0)
    assert torch.allclose(loss(potential, data), expected)
    metrics = loss.metrics(potential, data)
    assert torch.allclose(metrics["energy_mae"], energy.abs().mean())
    assert torch.allclose(metrics["forces_mae"], forces.abs().mean())
    assert torch.allclose(metrics["stress_mae"], stress.abs().mean())


def test_huber_agrees_where_errors_are_small() -> None:
    potential, data = prepared()
    plain = PotentialLoss(energy=1.0, forces=0.0)(potential, data)
    assert torch.allclose(PotentialLoss(energy=1.0, forces=0.0, huber=1e6)(potential, data), plain)
    assert bool(PotentialLoss(energy=1.0, forces=0.0, huber=1e-3)(potential, data) < plain)


def test_bad_input_is_refused() -> None:
    potential, data = prepared()
    with pytest.raises(InputError, match="weights"):
        PotentialLoss(energy=0.0, forces=0.0)
    with pytest.raises(InputError, match="no 'forces'"):
        PotentialLoss()(potential, data.replace(node_targets={}))
    with pytest.raises(InputError, match="no 'energy'"):
        prepare_energies(data.replace(targets={}), potential)
