"""Attention against softmax written out, its convolution against Clebsch-Gordan products, symmetry, and the cutoff."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyad.symmetry.coupling import clebsch_gordan
from polyad.symmetry.graph_attention import AttentionWeights, SO2Attention, leaky_silu
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.separable import GateActivation, SeparableActivation
from polyad.symmetry.so2 import EdgeFrames, SO2Linear, weights_from_paths
from polyad.symmetry.spherical_harmonics import degree_slices, spherical_harmonics
from polyad.symmetry.wigner import rotate
from polyad.tensors.rotations import random_rotations

EDGES = torch.tensor([[1, 2, 0, 2, 3], [0, 0, 1, 1, 1]])
CHANNELS = 2


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turned(features: Tensor, turn: Tensor) -> Tensor:
    return rotate(features.mT.contiguous(), turn).mT


def attention(activation: nn.Module, lmax: int, **options: Any) -> SO2Attention:
    settings = {"mmax": min(2, lmax), "hidden": 3, "heads": 2, "head_channels": 2, "head_invariants": 4, **options}
    with seeded(1) as generator:
        return SO2Attention(
            CHANNELS, 3, lmax, activation=activation, edge_features=4, edge_hidden=5, generator=generator, **settings
        ).double()  # fmt: skip


def test_leaky_silu_is_the_smoothed_rectifier() -> None:
    x = torch.linspace(-40, 40, 81, dtype=torch.float64)
    torch.testing.assert_close(leaky_silu(x), 0.6 * x + 0.4 * x * (2 * torch.sigmoid(x) - 1))
    assert float(leaky_silu(x)[0]) == pytest.approx(0.2 * -40)
    assert float(leaky_silu(x)[-1]) == pytest.approx(40)


@pytest.mark.parametrize("renormalize", [True, False])
def test_weights_are_a_softmax_over_the_neighbours(renormalize: bool) -> None:
    with seeded(0):
        layer = AttentionWeights(2, 4, renormalize=renormalize).double()
    invariants, window = normal(5, 8), torch.linspace(0.1, 1, 5).double()
    found = layer(invariants, EDGES[1], 4, window)
    for node in (0, 1):
        here = EDGES[1] == node
        values = invariants[here].view(-1, 2, 4)
        if renormalize:
            values = nn.functional.layer_norm(values, (4,))
        logits = (leaky_silu(values) * layer.vector).sum(-1)
        expected = window[here, None] * logits.exp() / (window[here, None] * logits.exp()).sum(0)
        torch.testing.assert_close(found[here], expected)
        torch.testing.assert_close(found[here].sum(0), torch.ones(2, dtype=torch.float64))
    huge = layer(1e4 * invariants, EDGES[1], 4, window)
    assert bool(torch.isfinite(huge).all())
    torch.testing.assert_close(huge[:2].sum(0), torch.ones(2, dtype=torch.float64))
    # re-normalised invariants do not know their size
    assert torch.allclose(huge, found, atol=1e-3) == renormalize


class Linear(nn.Module):
    """No activation: what it takes it gives."""

    scalars = 1

    def forward(self, features: Tensor, scalars: Tensor) -> Tensor:
        return features


class Ones(nn.Module):
    """Every edge counts alike."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, values: Tensor, *rest: object) -> Tensor:
        return values.new_ones(len(values), *self.shape)


def product_weights(first: SO2Linear, second: SO2Linear) -> tuple[Tensor, list[Tensor]]:
    """Weights of the one SO(2) map that two in a row are; orders m > 0 multiply as complex numbers do."""
    size = (first.lmax + 1) * first.channels_out
    higher = []
    for a, b in zip(first.weights, second.weights, strict=True):
        higher.append(torch.stack([b[0] @ a[0] - b[1] @ a[1], b[0] @ a[1] + b[1] @ a[0]]))
    return second.weight0 @ first.weight0[:size], higher


def paths_of_weights(weight0: Tensor, higher: list[Tensor], lmax: int, out: int) -> dict[tuple[int, int, int], Tensor]:
    """Path weights of the dense convolution: for every pair of degrees a square system of equations."""
    paths = {}
    for l1 in range(lmax + 1):
        for l3 in range(lmax + 1):
            degrees = range(abs(l1 - l3), l1 + l3 + 1)
            one = torch.ones(1, 1, dtype=torch.float64)
            columns, rows = [], None
            for l2 in degrees:
                zeroth, other = weights_from_paths({(l1, l2, l3): one}, lmax)
                entries = [zeroth[l3, l1]]
                for m in range(1, min(l1, l3) + 1):
                    entries += [other[m - 1][k, l3 - m, l1 - m] for k in (0, 1)]
                columns.append(torch.stack(entries))
            blocks = [weight0.unflatten(0, (-1, out)).unflatten(2, (lmax + 1, -1))[l3, :, l1]]
            for m in range(1, min(l1, l3) + 1):
                whole = higher[m - 1].unflatten(1, (-1, out)).unflatten(3, (lmax + 1 - m, -1))
                blocks += [whole[k, l3 - m, :, l1 - m] for k in (0, 1)]
            rows = torch.stack(blocks)
            solved = torch.linalg.solve(torch.stack(columns, dim=1), rows.flatten(1)).unflatten(1, rows.shape[1:])
            paths.update({(l1, l2, l3): weight for l2, weight in zip(degrees, solved, strict=True)})
    return paths


@pytest.mark.parametrize("lmax", [1, 2, 4])
def test_linear_layer_is_the_full_clebsch_gordan_convolution(lmax: int) -> None:
    """No activation, no norm, weights 1, mmax = lmax: a dense convolution with filters to degree 2 lmax."""
    layer = attention(Linear(), lmax, mmax=lmax)
    layer.scales, layer.weights = Ones(layer.first.pairs, 2 * CHANNELS), Ones(2)
    features, vectors = normal(4, (lmax + 1) ** 2, CHANNELS), normal(5, 3, seed=1)
    with torch.no_grad():
        found = layer(
            features, EDGES, EdgeFrames.from_directions(vectors, lmax), normal(5, 4), torch.ones(5, dtype=torch.float64)
        )
        paths = paths_of_weights(*product_weights(layer.first, layer.second), lmax, 4)
        both = torch.cat([features[EDGES[0]], features[EDGES[1]]], dim=-1)
        harmonics, places = spherical_harmonics(vectors, 2 * lmax), degree_slices(2 * lmax)
        dense = torch.zeros(5, (lmax + 1) ** 2, 4, dtype=torch.float64)
        for (l1, l2, l3), weight in paths.items():
            dense[:, places[l3]] += torch.einsum(
                "abc,eau,eb,wu->ecw", clebsch_gordan(l1, l2, l3), both[:, places[l1]], harmonics[:, places[l2]], weight
            )
        received = torch.zeros(4, (lmax + 1) ** 2, 4, dtype=torch.float64).index_add(0, EDGES[1], dense)
        expected = layer.project(received.mT).mT
    assert {l2 for _, l2, _ in paths} == set(range(2 * lmax + 1))
    assert float(expected.abs().max()) > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def inputs(lmax: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return normal(4, (lmax + 1) ** 2, CHANNELS), normal(5, 3, seed=1), normal(5, 4, seed=2), torch.ones(5).double()


def equivariance(layer: SO2Attention, turn: Tensor, lmax: int) -> float:
    features, vectors, known, window = inputs(lmax)
    with torch.no_grad():
        frames = EdgeFrames.from_directions(vectors, lmax, mmax=2)
        plain = layer(features, EDGES, frames, known, window)
        frames = EdgeFrames.from_directions(vectors @ turn.T, lmax, mmax=2, roll=normal(5, seed=9))
        moved = layer(turned(features, turn), EDGES, frames, known, window)
    return float((moved - turned(plain, turn)).abs().max() / plain.abs().max())


def test_rotations_commute_exactly_with_gates_and_ever_better_on_finer_grids() -> None:
    turn, lmax = random_rotations(1, generator=torch.Generator().manual_seed(0))[0], 3
    assert equivariance(attention(GateActivation(3, lmax, mmax=2), lmax), turn, lmax) < 1e-12
    assert equivariance(attention(GateActivation(3, lmax, mmax=2), lmax), -turn, lmax) > 1e-3
    assert equivariance(attention(GateActivation(3, lmax, mmax=2), lmax, reflections=True), -turn, lmax) < 1e-12
    errors = [
        equivariance(attention(SeparableActivation(3, lmax, degree=degree, mmax=2), lmax), turn, lmax)
        for degree in (6, 12, 24, 60)
    ]
    assert errors[0] > 1e-4
    assert all(late < early / 4 for early, late in pairwise(errors))
    assert errors[-1] < 1e-7


def test_messages_are_weighted_by_head_and_window() -> None:
    """Twice the window of the only neighbour is twice its message; heads carry channels of their own."""
    layer, lmax = attention(GateActivation(3, 2, mmax=2), 2, head_channels=2), 2
    features, vectors, known, _ = inputs(lmax)
    nn.init.zeros_(layer.project.bias)
    alone = torch.tensor([[1], [0]])
    frames = EdgeFrames.from_directions(vectors[:1], lmax, mmax=2)
    one, two = (layer(features, alone, frames, known[:1], torch.tensor([w]).double()) for w in (0.4, 0.8))
    torch.testing.assert_close(2 * one, two)
    assert not one[1:].any()

    class Heads(nn.Module):
        def forward(self, values: Tensor, *rest: object) -> Tensor:
            return values.new_tensor([[1.0, 0.0]]).expand(len(values), 2)

    layer.weights = Heads()
    with torch.no_grad():
        first = layer(features, alone, frames, known[:1], torch.ones(1, dtype=torch.float64))
        layer.project.weight[:, :, 2:] = 0  # what the second head would have sent
        torch.testing.assert_close(layer(features, alone, frames, known[:1], torch.ones(1, dtype=torch.float64)), first)


def test_nothing_jumps_when_a_neighbour_leaves() -> None:
    layer, lmax = attention(GateActivation(3, 2, mmax=2), 2), 2
    features, vectors, known, window = inputs(lmax)
    fading = window.clone()
    fading[0] = 1e-14
    frames = EdgeFrames.from_directions(vectors, lmax, mmax=2)
    there = layer(features, EDGES, frames, known, fading)
    gone = layer(features, EDGES[:, 1:], EdgeFrames.from_directions(vectors[1:], lmax, mmax=2), known[1:], window[1:])
    torch.testing.assert_close(there, gone, rtol=0, atol=1e-12)
    # a window of zero, of all neighbours, gives no messages and no NaN
    nothing = layer(features, EDGES, frames, known, 0 * window)
    torch.testing.assert_close(nothing[:, 1:], torch.zeros_like(nothing[:, 1:]))
    assert bool(torch.isfinite(nothing).all())
