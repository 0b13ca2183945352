"""Crystal-graph networks in frames: the mean of eight passes, one pass in training; equivariance is with the laws."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.properties.crystal_graph import CGC
from polyad.materials.properties.frame_averaged import FrameAveragedCrystalGraph
from polyad.symmetry.frames import DegenerateFrameWarning
from polyad.symmetry.frames.structures import turned
from polyad.symmetry.irreps import Irreps
from tests.materials.properties.lattices import batch_of, cells, model_of


def test_prediction_is_the_mean_over_all_axes() -> None:
    model, data = model_of("frame-averaged-cgc"), batch_of(cells())
    network, graph = model.network, model.graph(data)
    frames = network.averaged.frames(graph)
    assert len(frames) == 8
    expected = torch.zeros_like(network(graph))
    for element in range(8):
        rotation = frames.rotation[element]
        one = network.averaged.model(turned(graph, type(frames)(rotation[None], *list(vars(frames).values())[1:])))
        expected += model.target.irreps.rotate(one, rotation) / 8
    torch.testing.assert_close(network(graph), expected, rtol=0, atol=1e-12)


def test_training_sees_one_element_and_evaluation_all() -> None:
    model, data = model_of("frame-averaged-cgc"), batch_of(cells())
    network, graph = model.network, model.graph(data)
    plain = network(graph)
    torch.testing.assert_close(network(graph), plain)
    network.train()
    draws = torch.stack([network(graph) for _ in range(60)]).detach()
    assert float((draws[0] - draws[1]).abs().max()) > 1e-6
    spread = draws.std(0).clamp_min(1e-12) / 60**0.5
    assert float(((draws.mean(0) - plain.detach()).abs() / spread).max()) < 4.5


def test_backbones_keep_their_own_width() -> None:
    options = {"kinds": 1, "cutoff": 1.0, "out": Irreps("1x0e")}
    inside = FrameAveragedCrystalGraph(**options).averaged.model
    assert isinstance(inside, CGC)
    assert inside.width == 128
    assert FrameAveragedCrystalGraph(**options, backbone="nnconv").averaged.model.width == 32
    with pytest.raises(InputError, match="allowed are cgc, nnconv"):
        FrameAveragedCrystalGraph(**options, backbone="mlp")


def test_cubic_cells_are_told() -> None:
    from polyad.materials.lattice import named_cell

    model = model_of("frame-averaged-cgc")
    with pytest.warns(DegenerateFrameWarning):
        model(batch_of([named_cell("octet", density=0.02)]))
