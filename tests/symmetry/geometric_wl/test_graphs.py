"""Graphs from positions, batches there and back, numbers for values, and refusals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.symmetry.geometric_wl import from_points, geometric_graph, k_chains, to_points
from polyad.symmetry.geometric_wl.prepared import number_values

POSITIONS = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0]])


def test_edges_run_both_ways_once() -> None:
    graph = geometric_graph(POSITIONS, torch.tensor([[0, 1, 2], [1, 0, 0]]), scalars=torch.tensor([6, 1, 1]))
    assert graph.edge_index.T.tolist() == [[0, 1], [0, 2], [1, 0], [2, 0]]
    assert graph.edge_vectors.tolist() == [[1, 0, 0], [0, 2, 0], [-1, 0, 0], [0, -2, 0]]
    assert graph.scalars.tolist() == [[6], [1], [1]]
    assert graph.edge_vectors.dtype == torch.float64
    assert geometric_graph(POSITIONS, torch.zeros(2, 0, dtype=torch.long)).edge_index.shape == (2, 0)


def test_batches_there_and_back() -> None:
    graphs = [*k_chains(2), geometric_graph(POSITIONS, torch.tensor([[0], [1]]), scalars=torch.tensor([2, 0, 1]))]
    plain = geometric_graph(graphs[0].positions, graphs[0].edge_index, scalars=torch.zeros(4))
    batch = to_points(graphs)
    assert (batch.num_structures, batch.num_nodes) == (3, 11)
    assert batch.kind.tolist() == [0] * 8 + [2, 0, 1]
    assert torch.equal(batch.vectors, batch.positions[batch.edge_index[1]] - batch.positions[batch.edge_index[0]])
    back = from_points(batch)
    for found, graph in zip(back, [plain, graphs[1], graphs[2]], strict=True):
        assert torch.equal(found.positions, graph.positions)
        assert torch.equal(found.edge_index, graph.edge_index)
        assert torch.equal(found.edge_vectors, graph.edge_vectors)
    assert torch.equal(back[2].scalars, graphs[2].scalars)


def test_values_are_numbered_by_gaps() -> None:
    values = np.array([[1.0, 5.0], [1.0 + 1e-9, 5.0], [2.0, 5.0], [1.0, 5.1], [1.0, 5.0]])
    assert number_values(values, tolerance=1e-6).tolist() == [0, 0, 2, 1, 0]
    assert number_values(np.zeros((3, 0)), tolerance=1e-6).tolist() == [0, 0, 0]
    assert number_values(np.zeros((2, 1)), tolerance=1e-6).tolist() == [0, 0]


def test_bad_input_is_refused() -> None:
    edge = torch.tensor([[0], [1]])
    fine = geometric_graph(POSITIONS, edge)
    calls: list[Any] = [
        lambda: geometric_graph(POSITIONS, torch.tensor([[0], [3]])),
        lambda: geometric_graph(POSITIONS, edge, scalars=torch.zeros(2)),
        lambda: geometric_graph(POSITIONS * float("nan"), edge),
        lambda: dataclasses.replace(fine, edge_index=edge.repeat(1, 2) + 2),
        lambda: to_points([]),
        lambda: to_points([geometric_graph(POSITIONS, edge, scalars=torch.tensor([0.5, 0, 0]))]),
        lambda: to_points([geometric_graph(POSITIONS, edge, vectors=POSITIONS[:, None])]),
    ]
    for call in calls:
        with pytest.raises(InputError):
            call()
