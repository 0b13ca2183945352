"""Answers on pairs: known pairs, layers of networks, batches and periodic structures, and the printed table."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.geometric_wl import counterexamples, distinguishable, geometric_graph, k_chains, to_points


def test_chains_and_the_layers_that_networks_need() -> None:
    result = distinguishable(*k_chains(4))
    assert result
    assert (result.gwl, result.igwl, result.body_orders) == (3, None, {2: None, 3: None, 4: None, 5: None})
    layers = result.least_layers()
    assert layers["SchNet, InvariantNetwork"] is None
    assert layers["DimeNet-like"] is None
    assert {layers[name] for name in ("EGNN", "GVP-like", "TFN", "MACE, correlation 3")} == {3}
    assert layers["TensorNet"] == 2


@pytest.mark.parametrize(("case", "needed"), [(2, 3), (3, 4), (4, 5)])
def test_environments_and_the_body_order_that_networks_need(case: Any, needed: int) -> None:
    result = distinguishable(*counterexamples(case))
    assert result.gwl == result.igwl == 1
    assert result.body_orders == {order: 1 if order >= needed else None for order in (2, 3, 4, 5)}
    layers = result.least_layers()
    assert [layers[f"MACE, correlation {nu}"] for nu in (2, 3, 4)] == [1 if nu + 1 >= needed else 2 for nu in (2, 3, 4)]
    assert layers["EGNN"] == 2
    assert layers["TFN"] == layers["GVP-like"] == (1 if needed == 3 else 2)


def test_mirror_images_need_the_smaller_group() -> None:
    pair = counterexamples("chiral")
    nothing = distinguishable(*pair)
    assert not nothing
    assert nothing.igwl is None
    assert set(nothing.least_layers().values()) == {None}
    hand = distinguishable(*pair, group="SO(3)", body_orders=(4, 5))
    assert hand
    assert (hand.gwl, hand.igwl, hand.body_orders) == (1, 1, {4: None, 5: 1})
    with pytest.raises(InputError, match=r"\[2, 3\] are missing"):
        hand.least_layers()


def test_equal_structures_turned_and_renumbered() -> None:
    generator = torch.Generator().manual_seed(0)
    positions = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    edges = (torch.cdist(positions, positions) < 0.9).fill_diagonal_(False).nonzero().T
    order = torch.randperm(30, generator=generator)
    q = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    copy = geometric_graph(positions[order] @ q.T, order.argsort()[edges])
    result = distinguishable(geometric_graph(positions, edges), copy, body_orders=(2, 3, 4))
    assert not result
    assert {result.igwl, *result.body_orders.values()} == {None}
    nudged = copy.positions.clone()
    nudged[int(copy.edge_index[0, 0])] += 0.01
    assert distinguishable(copy, geometric_graph(nudged, copy.edge_index), body_orders=(2,)).body_orders[2] == 1


def test_periodic_structures_by_their_edges() -> None:
    """A cell of one node with its images: a square net of lines apart by 1 against one stretched by a tenth."""

    def net(stretch: float) -> PointGraph:
        steps = torch.tensor([[1.0, 0, 0], [0, stretch, 0]], dtype=torch.float64)
        return PointGraph(
            edge_index=torch.zeros(2, 4, dtype=torch.long), vectors=torch.cat([steps, -steps]),
            kind=torch.zeros(1, dtype=torch.long), structure=torch.zeros(1, dtype=torch.long), num_structures=1,
            positions=torch.zeros(1, 3, dtype=torch.float64), edge_scalars=torch.zeros(4, 0, dtype=torch.float64),
        )  # fmt: skip

    assert distinguishable(net(1.0), net(1.1)).body_orders[2] == 1
    turned = dataclasses.replace(net(1.1), vectors=net(1.1).vectors[:, [2, 1, 0]])
    assert not distinguishable(net(1.1), turned)
    with pytest.raises(InputError, match="2 structures"):
        distinguishable(to_points(k_chains(2)), net(1.0))


def test_the_table_names_tests_and_networks() -> None:
    text = str(distinguishable(*k_chains(2)))
    assert "GWL                       yes, from 2 iterations" in text
    assert "IGWL, body order 4        no" in text
    assert "EGNN                      yes, from 2 layers" in text
    assert "GWL                       yes, from 1 iteration\n" in str(distinguishable(*counterexamples(2)))
    assert "layers" not in str(distinguishable(*k_chains(2), body_orders=(2,)))


def test_graphs_without_edges_or_nodes() -> None:
    none = torch.zeros(2, 0, dtype=torch.long)
    empty, one, two = (geometric_graph(torch.eye(3)[:nodes], none) for nodes in range(3))
    assert not distinguishable(empty, empty)
    assert not distinguishable(two, two)
    assert distinguishable(one, two).body_orders == {2: 0, 3: 0, 4: 0, 5: 0}
