"""Forces of a head: units, equivariance through frames, and the loss that holds them to the energy's gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.potentials import Potential, PotentialLoss, prepare_energies
from polyad.materials.potentials.direct_forces import ConsistentLoss, DirectForces
from polyad.materials.potentials.faenet import FAENet
from polyad.materials.structures import Structures
from polyad.symmetry.frames import FrameAveraged
from tests.materials.potentials.test_tensornet import CUTOFF, molecule, rotation, turned

SMALL: dict[str, Any] = {"kinds": 3, "cutoff": CUTOFF, "channels": 6, "layers": 2, "radial": 5, "force_head": True}


def model(mode: str = "stochastic", *, scale: float = 2.5) -> DirectForces:
    net = FAENet(**SMALL)
    network = FrameAveraged(net, outputs={"energy": "scalar", "forces": "vector"}, cutoff=CUTOFF, mode=mode)
    return DirectForces(network, species=[1, 6, 8], cutoff=CUTOFF, shift=[1.0, -2.0, 3.0], scale=scale).double()


def both() -> Structures:
    return Structures.concatenate([molecule(), molecule(3, 5)])


@pytest.mark.parametrize("improper", [False, True])
def test_forces_of_the_head_turn_with_the_molecule(improper: bool) -> None:
    potential, q = model().eval(), rotation(1, improper=improper)
    one, two = potential(both(), gradient=True), potential(turned(both(), q), gradient=True)
    assert torch.allclose(one["energy"], two["energy"], atol=1e-10)
    for name in ("forces", "gradient_forces"):
        assert float(one[name].abs().max()) > 1e-3
        assert torch.allclose(one[name] @ q.T, two[name], atol=1e-10)


def test_energy_and_its_gradient_are_those_of_a_potential() -> None:
    direct = model().eval()

    class Energies(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = direct.units.network

        def forward(self, graph: object) -> Tensor:
            return self.whole(graph)["energy"]

    plain = Potential(Energies(), species=[1, 6, 8], cutoff=CUTOFF, shift=[1.0, -2.0, 3.0], scale=2.5).double().eval()
    with torch.no_grad():  # derivatives all the same
        found = direct(both(), gradient=True)
    expected = plain(both())
    assert torch.allclose(found["energy"], expected["energy"], atol=1e-12)
    assert torch.allclose(found["gradient_forces"], expected["forces"], atol=1e-12)
    assert float((found["forces"] - expected["forces"]).abs().max()) > 1e-2  # a head is no gradient
    assert torch.allclose(model(scale=5.0).eval()(both())["forces"], 2 * found["forces"], atol=1e-12)
    assert "forces" not in direct(both(), forces=False)
    assert "gradient_forces" not in direct(both())
    cell = 4.0 * torch.eye(3).double()[None] + 0.1 * torch.arange(9).view(1, 3, 3)
    periodic = molecule(atoms=4).replace(cell=cell, periodic=torch.ones(1, 3, dtype=torch.bool))
    assert torch.allclose(direct(periodic)["energy"], plain(periodic)["energy"], atol=1e-12)


def batch_of(potential: DirectForces) -> Structures:
    data = both()
    targets = {"energy": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    forces = torch.randn(12, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return prepare_energies(data.replace(targets=targets, node_targets={"forces": forces}), potential)


def test_loss_adds_the_gap_between_head_and_gradient() -> None:
    potential = model("full").train()
    batch, base = batch_of(potential), PotentialLoss(energy=1.0, forces=3.0)
    found = potential(batch, gradient=True)
    gap = found["forces"] - found["gradient_forces"]
    expected = base(potential, batch) + 0.7 * gap.square().mean()
    assert float(ConsistentLoss(base, 0.7)(potential, batch).detach()) == pytest.approx(
        float(expected.detach()), rel=1e-12
    )
    metrics = ConsistentLoss(base, 0.7).metrics(potential, batch)
    assert float(metrics["consistency_mae"]) == pytest.approx(float(gap.detach().abs().mean()), rel=1e-12)
    assert float(metrics["forces_mae"]) == pytest.approx(float(base.metrics(potential, batch)["forces_mae"]))
    expected.backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in potential.parameters())


def test_consistency_is_learned() -> None:
    """Trained alike with and without the last term, the head is nearer to the gradient with it."""
    gaps = []
    for weight in (1e-9, 1.0):
        potential = model("full", scale=1.0).train()
        batch, loss = batch_of(potential), ConsistentLoss(PotentialLoss(energy=0.0, forces=0.1), weight)
        optimizer = torch.optim.Adam(potential.parameters(), lr=1e-2)
        for _ in range(30):
            optimizer.zero_grad()
            loss(potential, batch).backward()
            optimizer.step()
        gaps.append(float(loss.metrics(potential.eval(), batch)["consistency_mae"]))
    assert gaps[1] < 0.5 * gaps[0]


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="stress"):
        model()(both(), stress=True)
    with pytest.raises(InputError, match="consistency"):
        ConsistentLoss(PotentialLoss(), 0.0)
