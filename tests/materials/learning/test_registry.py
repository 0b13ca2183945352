"""Every name builds, trains a step and comes back from its options."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.learning.registry import POTENTIALS, build_network, takes
from polyad.materials.potentials import Potential
from tests.materials.potentials.test_tensornet import molecule


@pytest.mark.parametrize("name", sorted(POTENTIALS))
def test_every_network_gives_energies_that_can_be_trained(name: str) -> None:
    options = {"neighbors": 3.0} if takes(name, "neighbors") else {}
    network = build_network(name, kinds=3, cutoff=3.0, options=options)
    potential = Potential(network, species=[1, 6, 8], cutoff=3.0).double().train()
    found = potential(molecule())
    (found["forces"].square().mean() + found["energy"].sum()).backward()
    gradients = [p.grad for p in potential.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    assert POTENTIALS[name].summary


def test_options_reach_the_class() -> None:
    network = build_network("tensornet", kinds=2, cutoff=3.0, options={"channels": 5, "layers": 2})
    assert len(network.interactions) == 2
    assert network.embedding.channels == 5


def test_unknown_names_and_options_are_listed() -> None:
    with pytest.raises(InputError, match=r"there are .*tensornet"):
        build_network("tensornett", kinds=1, cutoff=1.0)
    with pytest.raises(InputError, match="no option 'chanels'; there are channels, layers"):
        build_network("tensornet", kinds=1, cutoff=1.0, options={"chanels": 3})
