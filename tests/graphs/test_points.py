"""Sums over edges and structures against loops."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.graphs.points import PointGraph, check_neighbors


def graph() -> PointGraph:
    return PointGraph(
        edge_index=torch.tensor([[0, 1, 3, 0], [1, 0, 4, 1]]),
        vectors=torch.tensor([[3.0, 4, 0], [-3, -4, 0], [0, 0, 2], [1, 0, 0]], dtype=torch.float64),
        kind=torch.tensor([0, 1, 0, 0, 2]),
        structure=torch.tensor([0, 0, 2, 2, 2]),
        num_structures=4,
        positions=torch.zeros(5, 3, dtype=torch.float64),
        edge_scalars=torch.zeros(4, 0, dtype=torch.float64),
    )


def test_sums() -> None:
    g = graph()
    assert g.distances().tolist() == [5, 5, 2, 1]
    messages = torch.arange(8.0, dtype=torch.float64).reshape(4, 2)
    assert g.sum_messages(messages).tolist() == [[2, 3], [6, 8], [0, 0], [0, 0], [4, 5]]
    values = torch.arange(10.0, dtype=torch.float64).reshape(5, 2)
    assert g.sum_nodes(values).tolist() == [[2, 4], [0, 0], [18, 21], [0, 0]]
    assert g.mean_nodes(values).tolist() == [[1, 2], [0, 0], [6, 7], [0, 0]]
    assert g.mean_nodes(values[:, 0]).tolist() == [1, 0, 6, 0]
    assert g.num_nodes == 5


def test_mean_neighbours_must_be_positive() -> None:
    assert check_neighbors(3) == 3.0
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="neighbors"):
            check_neighbors(value)
