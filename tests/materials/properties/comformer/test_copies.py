"""Copies of structures are those structures, whatever the order of the edges."""

from __future__ import annotations

import torch

from polyad.graphs.points import PointGraph
from polyad.materials.properties.comformer.copies import copies_of, mean_copies


def sample() -> PointGraph:
    edge_index = torch.tensor([[3, 0, 2, 5, 1, 3], [2, 1, 3, 5, 0, 4]])
    return PointGraph(
        edge_index=edge_index,
        vectors=torch.arange(18.0).view(6, 3),
        kind=torch.arange(6),
        structure=torch.tensor([0, 0, 1, 1, 1, 2]),
        num_structures=3,
        positions=torch.arange(18.0).view(6, 3) / 7,
        edge_scalars=torch.arange(6.0)[:, None],
        cell=torch.arange(27.0).view(3, 3, 3),
    )


def test_every_copy_is_its_structure() -> None:
    graph = sample()
    copies = copies_of(graph, torch.tensor([1, 1, 0, 2, 1]))
    assert copies.num_structures == 5
    assert copies.structure.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 4, 4]
    assert copies.kind.tolist() == [2, 3, 4, 2, 3, 4, 0, 1, 5, 2, 3, 4]
    assert torch.equal(copies.positions, graph.positions[copies.kind])
    assert torch.equal(copies.cell, graph.cell[[1, 1, 0, 2, 1]])
    ends = copies.kind[copies.edge_index]
    numbers = copies.edge_scalars[:, 0].long()
    assert numbers.tolist() == [0, 2, 5, 0, 2, 5, 1, 4, 3, 0, 2, 5]
    assert torch.equal(ends, graph.edge_index[:, numbers])
    assert torch.equal(copies.vectors, graph.vectors[numbers])
    assert torch.equal(copies.structure[copies.edge_index[0]], copies.structure[copies.edge_index[1]])


def test_all_structures_once_are_the_graph_itself() -> None:
    graph = sample()
    assert copies_of(graph, torch.arange(3)) is graph
    assert copies_of(graph, torch.tensor([0, 2, 1])) is not graph


def test_means_over_copies() -> None:
    values = torch.tensor([[1.0, 2], [3, 6], [5, 0], [9, 1]])
    found = mean_copies(values, torch.tensor([1, 1, 0, 1]), 2)
    assert torch.allclose(found, torch.tensor([[5.0, 0], [13 / 3, 3]]))
    assert mean_copies(values, torch.arange(4), 4) is values
