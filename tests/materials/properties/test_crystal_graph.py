"""The baselines are their formulas, edge by edge."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import silu, softplus

from polyad.errors import InputError
from polyad.materials.properties.crystal_graph import CGC, NNConv
from polyad.materials.properties.edges import edge_basis
from polyad.symmetry.irreps import Irreps
from tests.materials.properties.lattices import batch_of, cells, model_of

OUT = Irreps("2x0e+2x2e+1x4e")


def test_gated_convolution() -> None:
    model = model_of("cgc", layers=1)
    graph, network = model.graph(batch_of(cells()[1:])), model.network
    assert isinstance(network, CGC)
    state = network.element(graph.kind)
    edges = torch.cat(
        [graph.vectors / graph.vectors.norm(dim=1, keepdim=True), edge_basis(graph, size=6, cutoff=1.0, radius=0.1)], 1
    )
    received = torch.zeros_like(state)
    for edge, (j, i) in enumerate(graph.edge_index.T.tolist()):
        # rows of W: those for the sender come first, then the receiver's; gates before values
        sent, own = network.nodes[0].weight.split(24)
        bias = sum(network.nodes[0].bias.split(24))
        mixed = sent @ state[j] + own @ state[i] + network.edges[0].weight @ edges[edge] + bias
        received[i] += torch.sigmoid(mixed[:12]) * softplus(mixed[12:]) / 4.0
    expected = network.head(graph.mean_nodes(state + received))
    assert torch.allclose(network(graph), expected, atol=1e-12)


def test_edge_matrices() -> None:
    model = model_of("nnconv", layers=1)
    graph, network = model.graph(batch_of(cells()[1:])), model.network
    assert isinstance(network, NNConv)
    state = network.element(graph.kind)
    edges = torch.cat(
        [graph.vectors / graph.vectors.norm(dim=1, keepdim=True), edge_basis(graph, size=6, cutoff=1.0, radius=0.1)], 1
    )
    received = torch.zeros_like(state)
    for edge, (j, i) in enumerate(graph.edge_index.T.tolist()):
        received[i] += network.matrices[0](edges[edge]).view(6, 6) @ state[j] / 4.0
    expected = network.head(graph.mean_nodes(silu(network.own[0](state) + received)))
    assert torch.allclose(network(graph), expected, atol=1e-12)


def test_sizes_that_cannot_be() -> None:
    for build in (CGC, NNConv):
        with pytest.raises(InputError, match="give at least 1"):
            build(kinds=1, cutoff=1.0, out=OUT, width=0)
        with pytest.raises(InputError, match="must be positive"):
            build(kinds=1, cutoff=1.0, out=OUT, neighbors=0.0)
