"""Length and radius become Gaussians side by side."""

from __future__ import annotations

import torch

from polyad.materials.properties.edges import edge_basis
from polyad.symmetry.radial import gaussian
from tests.materials.properties.lattices import batch_of, cells, model_of


def test_lengths_come_first_and_radii_after() -> None:
    data = batch_of(cells())
    graph = model_of("cgc").graph(data)
    found = edge_basis(graph, size=5, cutoff=0.7, radius=0.2)
    assert torch.equal(found[:, :5], gaussian(data.edge_vectors().norm(dim=1), 5, 0.7))
    assert torch.equal(found[:, 5:], gaussian(data.edge_features["radius"], 5, 0.2))
    assert torch.equal(edge_basis(graph, size=5, cutoff=0.7, radius=None), found[:, :5])
