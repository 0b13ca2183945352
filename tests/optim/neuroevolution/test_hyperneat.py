"""Weights of a large network drawn by a small one."""

from __future__ import annotations

import pytest
import torch
from neat_populations import grown

from polyad.errors import InputError
from polyad.optim.neuroevolution import Population, forward, substrate_forward, substrate_weights


def difference_network() -> Population:
    """Answers x of the target minus x of the source (places on a line)."""
    nodes = torch.tensor([[2.0, 0, 1, 0, 3]], dtype=torch.float64)
    connections = torch.tensor([[0.0, 2, -1, 1], [1, 2, 1, 1]], dtype=torch.float64)
    return Population(nodes[None], connections[None], 2, 1)


def test_weights_follow_the_places() -> None:
    sources = torch.tensor([[0.0], [0.5]], dtype=torch.float64)
    targets = torch.tensor([[-1.0], [0.1], [1.0]], dtype=torch.float64)
    found = substrate_weights(difference_network(), sources, targets, threshold=0.2, largest=3.0)[0]
    wanted = torch.tensor([[-3.0, 0.0, 3.0], [-1.3 / 0.8 * 3, -0.2 / 0.8 * 3, 0.3 / 0.8 * 3]], dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_every_pair_is_asked_source_first() -> None:
    networks = grown(30, 6, inputs=4, outputs=1, seed=1)
    generator = torch.Generator().manual_seed(0)
    sources = torch.rand(3, 2, dtype=torch.float64, generator=generator)
    targets = torch.rand(5, 2, dtype=torch.float64, generator=generator)
    found = substrate_weights(networks, sources, targets, threshold=0.0, largest=1.0)
    for s in range(3):
        for t in range(5):
            answer = forward(networks, torch.cat([sources[s], targets[t]])[None])[:, 0, 0]
            torch.testing.assert_close(found[:, s, t], answer, rtol=1e-12, atol=1e-12)


def test_the_large_network_is_dense_layers() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(7, 2, 4, dtype=torch.float64, generator=generator)
    second = torch.rand(7, 4, 3, dtype=torch.float64, generator=generator)
    points = torch.rand(5, 2, dtype=torch.float64, generator=generator)
    found = substrate_forward([first, second], points)
    for k in range(7):
        torch.testing.assert_close(found[k], torch.tanh(torch.tanh(points @ first[k]) @ second[k]))


def test_bad_input_is_refused() -> None:
    places = torch.zeros(2, 2, dtype=torch.float64)
    with pytest.raises(InputError, match="need 4"):
        substrate_weights(difference_network(), places, places)
    with pytest.raises(InputError, match="threshold"):
        substrate_weights(difference_network(), places[:, :1], places[:, :1], threshold=1.0)
    with pytest.raises(InputError, match="activation"):
        substrate_forward([torch.zeros(1, 2, 2, dtype=torch.float64)], places, activation="cube")
    with pytest.raises(InputError, match="layer"):
        substrate_forward([], places)
