"""Invariant features of edges: Gaussians and both kinds, in order; factors start around 1."""

from __future__ import annotations

import torch

from polyad.graphs.points import PointGraph
from polyad.symmetry.edge_scales import EdgeEmbedding, EdgeScales
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.radial import gaussian


def graph() -> PointGraph:
    positions = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0]])
    edge_index = torch.tensor([[0, 1, 2, 0], [1, 0, 1, 2]])
    vectors = positions[edge_index[1]] - positions[edge_index[0]]
    none = torch.zeros(4, 0)
    return PointGraph(edge_index, vectors, torch.tensor([1, 0, 2]), torch.zeros(3).long(), 1, positions, none)


def test_features_are_the_distance_and_the_kinds_of_source_and_target() -> None:
    with seeded(0):
        embedding = EdgeEmbedding(3, cutoff=4.0, radial=5, channels=2)
    found = embedding(graph())
    assert found.shape == (4, embedding.size) == (4, 9)
    for edge, (source, target, distance) in enumerate([(1, 0, 1.0), (0, 1, 1.0), (2, 0, 5**0.5), (1, 2, 2.0)]):
        expected = [gaussian(torch.tensor(distance), 5, 4.0), embedding.source[source], embedding.target[target]]
        assert torch.allclose(found[edge], torch.cat(expected))


def test_factors_are_one_plus_a_perceptron_in_the_order_of_the_pairs() -> None:
    with seeded(0):
        scales = EdgeScales(9, 4, 3, hidden=8)
    features = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    found = scales(features)
    assert torch.allclose(found, 1 + scales.network(features).view(6, 4, 3))
    assert 0.5 < float(found.mean()) < 1.5
    assert float(found.std()) > 0.01
