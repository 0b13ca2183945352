"""The eSCN block against the same map written out edge by edge, its symmetry on finer and finer grids, its readouts."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from polyad.symmetry.escn import ESCNBlock, ESCNMessage, SphereReadout, point_perceptron
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.so2 import EdgeFrames, edge_rotation, frame_components
from polyad.symmetry.sphere_grid import SphereGrid
from polyad.symmetry.spherical_harmonics import spherical_harmonics
from polyad.symmetry.wigner import rotate
from polyad.tensors.rotations import random_rotations

LMAX, CHANNELS = 3, 2
EDGES = torch.tensor([[1, 2, 0, 2, 3], [0, 0, 1, 1, 1]])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def message(degree: int, *, mmax: int = 2, reflections: bool = False) -> ESCNMessage:
    with seeded(3) as generator:
        layer = ESCNMessage(
            CHANNELS, 3, LMAX, mmax=mmax, degree=degree, edge_features=4, edge_hidden=5, reflections=reflections,
            generator=generator,
        ).double()  # fmt: skip
        for linear in (layer.first, layer.second):
            nn.init.normal_(linear.bias)
    return layer


def block(degree: int, **options: int) -> ESCNBlock:
    inner = message(degree, **options)
    with seeded(4):
        return ESCNBlock(inner, CHANNELS, LMAX, degree=degree, neighbors=2.5).double()


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features of four nodes, vectors, features and windows of the edges."""
    return normal(4, 16, CHANNELS), normal(5, 3, seed=1), normal(5, 4, seed=2), torch.linspace(0.2, 1, 5).double()


def turned(features: Tensor, turn: Tensor) -> Tensor:
    return rotate(features.mT.contiguous(), turn).mT


def test_message_is_what_the_formula_says_edge_by_edge() -> None:
    mmax, degree = 2, 8
    layer, (features, vectors, known, _) = message(degree), inputs()
    found = layer(features, EDGES, EdgeFrames.from_directions(vectors, LMAX, mmax=mmax), known)
    columns = [d * d + d + m for d, m in frame_components(LMAX, mmax)]
    grid = SphereGrid(degree)
    harmonics = spherical_harmonics(grid.directions(features), LMAX)[:, columns]
    weights = grid.weights(features)
    for edge, (source, target) in enumerate(EDGES.T.tolist()):
        turn = edge_rotation(vectors[edge])
        inside = torch.cat([turned(features[[end]], turn)[:, columns] for end in (source, target)], dim=-1)
        hidden, _ = layer.first(inside, scales=layer.scales[0](known[[edge]]))
        values = harmonics @ hidden[0]
        values = values * torch.sigmoid(values)
        projected = (harmonics * weights[:, None]).T @ values
        out, _ = layer.second(projected[None], scales=layer.scales[1](known[[edge]]))
        whole = torch.zeros(1, 16, CHANNELS, dtype=torch.float64)
        whole[:, columns] = out
        torch.testing.assert_close(found[[edge]], turned(whole, turn.T), rtol=0, atol=1e-12)


def test_update_is_a_perceptron_at_every_point() -> None:
    layer, (features, vectors, known, window) = block(8), inputs()
    frames = EdgeFrames.from_directions(vectors, LMAX, mmax=2)
    found = layer(features, EDGES, frames, known, window)
    messages = layer.message(features, EDGES, frames, known)
    grid = SphereGrid(8)
    harmonics = spherical_harmonics(grid.directions(features), LMAX)
    for node in range(4):
        received = torch.zeros(16, CHANNELS, dtype=torch.float64)
        for edge in range(5):
            if int(EDGES[1, edge]) == node:
                received = received + window[edge] * messages[edge]
        at_points = torch.cat([harmonics @ features[node], harmonics @ received / math.sqrt(2.5)], dim=-1)
        change = (harmonics * grid.weights(features)[:, None]).T @ layer.update(at_points)
        torch.testing.assert_close(found[node], features[node] + change, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mmax", [1, 3])
def test_rotation_and_roll_errors_fall_with_the_grid(mmax: int) -> None:
    features, vectors, known, window = inputs()
    turn = random_rotations(1, generator=torch.Generator().manual_seed(0))[0]
    rolls = normal(5, seed=7)
    errors: list[tuple[float, float]] = []
    for degree in (2 * LMAX, 4 * LMAX, 8 * LMAX, 16 * LMAX):
        layer = block(degree, mmax=mmax)
        with torch.no_grad():
            plain = layer(features, EDGES, EdgeFrames.from_directions(vectors, LMAX, mmax=mmax), known, window)
            rolled = layer(
                features, EDGES, EdgeFrames.from_directions(vectors, LMAX, mmax=mmax, roll=rolls), known, window
            )
            frames = EdgeFrames.from_directions(vectors @ turn.T, LMAX, mmax=mmax)
            moved = layer(turned(features, turn), EDGES, frames, known, window)
        size = float((plain - features).abs().max())
        errors.append(
            (float((moved - turned(plain, turn)).abs().max()) / size, float((rolled - plain).abs().max()) / size)
        )
    for kind in zip(*errors, strict=True):
        assert all(late < early / 4 for early, late in pairwise(kind))
        assert kind[0] > 1e-4
        assert kind[-1] < 1e-5


def test_reflections_hold_when_asked_for() -> None:
    features, vectors, known, window = inputs()
    turn = -random_rotations(1, generator=torch.Generator().manual_seed(0))[0]
    found = []
    for reflections in (True, False):
        layer = block(16 * LMAX, reflections=reflections)
        with torch.no_grad():
            plain = layer(features, EDGES, EdgeFrames.from_directions(vectors, LMAX, mmax=2), known, window)
            frames = EdgeFrames.from_directions(vectors @ turn.T, LMAX, mmax=2)
            moved = layer(turned(features, turn), EDGES, frames, known, window)
        found.append(float((moved - turned(plain, turn)).abs().max()))
    assert found[0] < 1e-4
    assert found[1] > 1e-2


def test_readouts_are_moments_of_the_function() -> None:
    readout, features = SphereReadout(CHANNELS, LMAX, degree=6).double(), normal(4, 16, CHANNELS)
    readout.network = nn.Linear(CHANNELS, 1, bias=False).double()
    mixed = features @ readout.network.weight[0]
    torch.testing.assert_close(readout.scalars(features), mixed[:, 0] / math.sqrt(4 * math.pi))
    torch.testing.assert_close(readout.vectors(features), mixed[:, [3, 1, 2]] * math.sqrt(3 / (4 * math.pi)) / 3)


def test_readouts_turn_with_the_features_on_a_fine_grid() -> None:
    turn, features = random_rotations(1, generator=torch.Generator().manual_seed(1))[0], normal(4, 16, CHANNELS)
    errors = []
    for degree in (6, 24, 60):
        with seeded(0):
            readout = SphereReadout(CHANNELS, LMAX, degree=degree).double()
        moved = turned(features, turn)
        scalar = (readout.scalars(moved) - readout.scalars(features)).abs().max()
        vector = (readout.vectors(moved) - readout.vectors(features) @ turn.T).abs().max()
        errors.append(float(torch.maximum(scalar, vector)))
    assert errors[0] > 1e-4
    assert errors[1] < errors[0] / 30
    assert errors[2] < 1e-7


def test_perceptrons_keep_variances() -> None:
    with seeded(0):
        network = point_perceptron([256, 256, 256, 256])
    values = network(torch.randn(200, 256, generator=torch.Generator().manual_seed(0))).detach()
    assert float(values.square().mean()) == pytest.approx(1.0, rel=0.15)
