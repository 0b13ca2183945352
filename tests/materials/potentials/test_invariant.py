"""The baseline against loops, and what it is blind to."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from polyad.errors import InputError
from polyad.materials.potentials.invariant import InvariantNetwork
from polyad.materials.structures import Structures
from tests.materials.potentials.test_tensornet import CUTOFF, graph_of, molecule, rotation, turned


def network(**options: int) -> InvariantNetwork:
    return InvariantNetwork(
        **{"kinds": 3, "cutoff": CUTOFF, "channels": 8, "layers": 2, "radial": 6, **options}
    ).double()


def test_equals_the_definition_by_loops() -> None:
    net, graph = network(), graph_of(molecule(atoms=5))
    state = [net.element.weight[k] for k in graph.kind.tolist()]
    centres, step = torch.linspace(0, CUTOFF, 6, dtype=torch.float64), CUTOFF / 5
    for layer in range(2):
        received = [torch.zeros(8, dtype=torch.float64) for _ in state]
        for e, (j, i) in enumerate(graph.edge_index.T.tolist()):
            d = float(graph.vectors[e].norm())
            weights = net.filters[layer](torch.exp(-0.5 * ((d - centres) / step) ** 2))
            window = 0.5 * (1 + math.cos(math.pi * d / CUTOFF))
            received[i] = received[i] + window * weights * net.senders[layer](state[j])
        state = [h + net.updates[layer](m) for h, m in zip(state, received, strict=True)]
    assert torch.allclose(net(graph), torch.stack([net.head(h)[0] for h in state]), atol=1e-13)


def test_symmetric_but_blind_to_mirror_images() -> None:
    net, data = network(), molecule()
    energies = [net(graph_of(turned(data, rotation(1, improper=flag)))) for flag in (False, True)]
    assert float((energies[0] - energies[1]).abs().max()) < 1e-12


def test_equal_distances_look_alike() -> None:
    """Two fans of neighbours at equal distances, beyond each other's reach or not seen: one layer cannot tell."""
    net = network(layers=1)
    square = [[2.9, 0, 0], [-2.9, 0, 0], [0, 2.9, 0]]
    fan = [[2.9, 0, 0], [0, 0, 2.9], [0, 2.9, 0]]
    energies = []
    for around in (square, fan):
        positions = torch.tensor([[0.0, 0, 0], *around], dtype=torch.float64)
        energies.append(net(graph_of(Structures.from_arrays(positions, [6, 1, 1, 1]))).sum())
    assert float((energies[0] - energies[1]).detach().abs()) < 1e-12


def test_bad_options_are_refused() -> None:
    with pytest.raises(InputError):
        network(layers=0)
    assert isinstance(network(channels=1).head, nn.Sequential)
