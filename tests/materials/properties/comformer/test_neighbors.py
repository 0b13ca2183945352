"""The nearest neighbours are those of a long neighbour list, ties are taken whole, and the cell does not matter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.properties.comformer import crystal_edges, crystal_graph, nearest_neighbors
from polyad.materials.structures import Structures
from tests.materials.properties.comformer.samples import CUBIC, FCC, crystal, quartz, triclinic, with_cell


def incoming(found: Structures, node: int) -> Tensor:
    return found.edge_vectors()[found.edge_index[1] == node]


def separation(one: Tensor, other: Tensor) -> Tensor:
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")


@pytest.mark.parametrize("neighbors", [1, 4, 25])
def test_neighbors_are_the_nearest_of_a_long_list(neighbors: int) -> None:
    parts = [triclinic(0), triclinic(1, atoms=1), quartz(), with_cell(triclinic(3), [[1, 3, 0], [0, 1, 0], [0, -2, 1]])]
    data = Structures.concatenate(parts)
    found, everything = nearest_neighbors(data, neighbors), data.with_neighbors(9.0)
    assert found.edge_start.tolist() == [int((found.edge_index[1] < n).sum()) for n in data.node_start.tolist()]
    for node in range(data.num_nodes):
        around = incoming(everything, node)
        order = around.norm(dim=1).sort()
        count = int((order.values <= order.values[neighbors - 1] * (1 + 1e-6)).sum())
        own = incoming(found, node)
        assert len(own) == count >= neighbors
        expected = around[order.indices[:count]]
        assert float(separation(own, expected).min(1).values.max()) < 1e-10
        assert float(separation(expected, own).min(1).values.max()) < 1e-10


def test_ties_are_taken_whole() -> None:
    for cell, counts in ((FCC, {1: 12, 12: 12, 13: 18, 25: 42}), (CUBIC, {1: 6, 7: 18, 25: 26})):
        for neighbors, count in counts.items():
            assert nearest_neighbors(crystal(cell, [[0, 0, 0]], [1]), neighbors).num_edges == count


def test_cells_and_supercells_give_the_same_surroundings() -> None:
    one = triclinic(4)
    large = with_cell(one, [[1, 1, 0], [0, 2, 0], [1, 0, 2]])
    for found in (nearest_neighbors(large), crystal_edges(large)):
        assert found.num_nodes == (20 if found.num_edges > 300 else 5)
        lengths = torch.stack([incoming(found, k).norm(dim=1).sort().values[:25] for k in range(found.num_nodes)])
        wanted = torch.stack([incoming(nearest_neighbors(one), k).norm(dim=1).sort().values[:25] for k in range(5)])
        assert float(separation(lengths, wanted).min(1).values.max()) < 1e-9


def test_graph_of_crystals() -> None:
    data = Structures.concatenate([triclinic(0), quartz()])
    edges = crystal_edges(data)
    graph = crystal_graph(edges, torch.tensor([14, 8, 1, 2, 3]))
    assert torch.equal(graph.vectors, edges.edge_vectors())
    assert graph.cell is not None
    assert torch.equal(graph.cell, edges.cell)
    assert torch.equal(torch.tensor([14, 8, 1, 2, 3])[graph.kind], edges.species)
    with pytest.raises(InputError, match="unknown"):
        crystal_graph(edges, torch.tensor([14, 8]))
    with pytest.raises(InputError, match="edges"):
        crystal_graph(data, torch.tensor([14, 8, 1, 2, 3]))


def test_bad_input_is_refused() -> None:
    one = triclinic(0)
    for options in ({"neighbors": 0}, {"tolerance": 0.0}):
        with pytest.raises(InputError, match="at least 1"):
            nearest_neighbors(one, **options)
    with pytest.raises(InputError, match="repeat"):
        nearest_neighbors(one.replace(periodic=torch.tensor([[True, False, True]])))
    with pytest.raises(InputError, match="finite"):
        nearest_neighbors(one.replace(cell=one.cell * torch.nan))
    with pytest.raises(InputError, match="on top"):
        nearest_neighbors(crystal(CUBIC, [[0, 0, 0], [1, 0, 0]], [1, 1]), 4)
