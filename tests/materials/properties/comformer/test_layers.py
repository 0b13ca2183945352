"""The layers are their formulas, written out edge by edge."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.properties.comformer import crystal_graph, nearest_neighbors
from polyad.materials.properties.comformer.layers import (
    EdgeTransformer,
    EquivariantUpdate,
    NodeTransformer,
    gaussian_bins,
)
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.spherical_harmonics import spherical_harmonics
from tests.materials.properties.comformer.samples import triclinic

CHANNELS = 6


def sample() -> tuple[PointGraph, Tensor, Tensor]:
    edges = nearest_neighbors(triclinic(0), 4)
    graph = crystal_graph(edges, torch.tensor([1, 2, 3]))
    generator = torch.Generator().manual_seed(0)
    state, features = (
        torch.randn(n, CHANNELS, generator=generator, dtype=torch.float64)
        for n in (graph.num_nodes, graph.edge_index.shape[1])
    )
    return graph, state, features


def settled(layer: nn.Module) -> nn.Module:
    """In double precision, with statistics and factors of the norms that are not the initial ones."""
    with torch.no_grad():
        for number, part in enumerate(x for x in layer.modules() if isinstance(x, nn.BatchNorm1d)):
            generator = torch.Generator().manual_seed(number)
            for value in (part.running_mean, part.running_var, part.weight, part.bias):
                assert value is not None
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
    return layer.double().eval()


def normed(norm: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_var is not None
    return (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias


def test_gaussian_bins() -> None:
    found = gaussian_bins(torch.tensor([0.3, -1.2], dtype=torch.float64), -4.0, 0.0, 9)
    expected = [[math.exp(-2 * (x - (-4 + k / 2)) ** 2) for k in range(9)] for x in (0.3, -1.2)]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-14)
    for low, high, bins in ((-1.0, 1.0, 1), (1.0, 1.0, 4)):
        with pytest.raises(InputError, match="centres"):
            gaussian_bins(torch.zeros(2), low, high, bins)


def test_node_transformer() -> None:
    graph, state, features = sample()
    with seeded(0):
        layer = settled(NodeTransformer(CHANNELS))
    assert isinstance(layer, NodeTransformer)
    q, k_own, v_own, k_sent, v_sent = layer.node(state).split(CHANNELS, dim=1)
    k_edge, v_edge = layer.edge(features).split(CHANNELS, dim=1)
    received = torch.zeros_like(state)
    for e, (j, i) in enumerate(graph.edge_index.T.tolist()):
        score = q[i] * silu(k_own[i] + k_sent[j] + k_edge[e]) / math.sqrt(CHANNELS)
        received[i] += torch.sigmoid(normed(layer.score_norm, score)) * (v_own[i] + v_sent[j] + v_edge[e])
    expected = softplus(state + normed(layer.norm, layer.out(received)))
    assert torch.allclose(layer(state, features, graph), expected, atol=1e-12)


def test_edge_transformer() -> None:
    _, _, features = sample()
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randn(2, 3, CHANNELS, generator=generator, dtype=torch.float64)
    angles = torch.rand(len(features), 3, 5, generator=generator, dtype=torch.float64)
    structure = torch.arange(len(features)) % 2
    with seeded(0):
        layer = settled(EdgeTransformer(CHANNELS, 5))
    assert isinstance(layer, EdgeTransformer)
    expected = torch.zeros_like(features)
    for e in range(len(features)):
        q, k, v = layer.edge(features[e]).split(CHANNELS)
        total = torch.zeros(CHANNELS, dtype=torch.float64)
        for m in range(3):
            k_length, v_length = layer.lattice[m](lengths[structure[e], m]).split(CHANNELS)
            k_angle, v_angle = layer.angle(angles[e, m]).split(CHANNELS)
            score = q * silu(k + k_length + k_angle) / math.sqrt(CHANNELS)
            total += torch.sigmoid(normed(layer.score_norm, score[None]))[0] * (v + v_length + v_angle)
        expected[e] = softplus(features[e] + normed(layer.norm, layer.out(total)[None])[0])
    found = layer(features, lengths, angles, structure)
    assert torch.allclose(found, expected, atol=1e-12)
    swapped = layer(features, lengths.flip(1), angles.flip(1), structure)
    assert float((swapped - found).detach().abs().max()) > 1e-3  # e1, e2, e3 are not alike


def test_equivariant_update() -> None:
    graph, state, features = sample()
    with seeded(0) as generator:
        layer = settled(EquivariantUpdate(CHANNELS, 3, generator=generator))
    assert isinstance(layer, EquivariantUpdate)
    harmonics = spherical_harmonics(graph.vectors, 2, normalization="component")
    parts = (slice(0, 1), slice(1, 4), slice(4, 9))
    weights = layer.weights(features).view(-1, 2, 3, 3)  # there and back, degree, channel
    scalars, count = layer.down(state), torch.bincount(graph.edge_index[1])
    tensors = [torch.zeros(graph.num_nodes, 3, 2 * degree + 1, dtype=torch.float64) for degree in range(3)]
    tensors[0] += scalars[:, :, None]
    for e, (j, i) in enumerate(graph.edge_index.T.tolist()):
        for degree, part in enumerate(parts):
            tensors[degree][i] += (weights[e, 0, degree] * scalars[j])[:, None] * harmonics[e, part] / count[i]
    mixed = layer.mix.irreps_out.split(layer.mix(torch.cat([x.flatten(1) for x in tensors], 1)))
    received = torch.zeros(graph.num_nodes, 3, 3, dtype=torch.float64)
    for e, (j, i) in enumerate(graph.edge_index.T.tolist()):
        for degree, part in enumerate(parts):
            invariant = mixed[degree][j] @ harmonics[e, part] / math.sqrt(2 * degree + 1)
            received[i, degree] += weights[e, 1, degree] * invariant / count[i]
    expected = softplus(normed(layer.norm, layer.up(received.flatten(1)))) + layer.skip(state)
    assert torch.allclose(layer(state, features, graph), expected, atol=1e-10)
