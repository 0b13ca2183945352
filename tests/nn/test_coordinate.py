"""Coordinate networks against their formulas, patches against separate networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.nn.coordinate import ACTIVATIONS, CoordinateMLP, PatchedCoordinateNet


def points(number: int, dimensions: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return 2 * torch.rand(number, dimensions, generator=torch.Generator().manual_seed(seed), dtype=dtype) - 1


FORMULAS = {
    "gaussian": lambda x: math.exp(-(x**2) / (2 * 0.3**2)),
    "sine": lambda x: math.sin(7.0 * x),
    "sinc": lambda x: 1.0 if x == 0 else math.sin(7.0 * x) / (7.0 * x),
    "relu_pe": lambda x: max(x, 0.0),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_values_are_those_of_the_formula(activation: str) -> None:
    """A network of one hidden unit, computed by hand."""
    net = CoordinateMLP(1, 1, 1, 1, activation=activation, deviation=0.3, frequency=7.0, octaves=2).double()
    first, last = net.layers
    for x in (-0.9, 0.0, 0.35):
        inputs = [x]
        if activation == "relu_pe":
            inputs += [
                math.sin(math.pi * x),
                math.sin(2 * math.pi * x),
                math.cos(math.pi * x),
                math.cos(2 * math.pi * x),
            ]
        hidden = FORMULAS[activation](
            sum(w * i for w, i in zip(first.weight[0].tolist(), inputs, strict=True)) + first.bias.item()
        )
        expected = last.weight.item() * hidden + last.bias.item()
        assert net(torch.tensor([x], dtype=torch.float64)).item() == pytest.approx(expected, abs=1e-12)


def test_initial_weights_follow_the_generator_and_the_bounds() -> None:
    siren = CoordinateMLP(2, 1, 200, 3, activation="sine", frequency=30.0)
    assert siren.layers[0].weight.abs().max().item() == pytest.approx(0.5, rel=0.05)
    assert siren.layers[1].weight.abs().max().item() == pytest.approx(math.sqrt(6 / 200) / 30, rel=0.01)
    plain = CoordinateMLP(2, 1, 200, 3, activation="gaussian")
    assert plain.layers[1].weight.abs().max().item() == pytest.approx(200**-0.5, rel=0.01)
    one, two, other = (
        CoordinateMLP(2, 1, 8, 2, generator=torch.Generator().manual_seed(seed)).layers[1].weight for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_patches_equal_separate_networks(activation: str, dtype: torch.dtype) -> None:
    """2 x 3 patches, unequal numbers of points in each, one without any."""
    net = PatchedCoordinateNet(2, 3, (2, 3), 5, 2, activation=activation, frequency=4.0).to(dtype)
    given = points(57, 2, dtype=dtype)
    given = given[~((given[:, 0] < 0) & (given[:, 1] > 1 / 3))]
    found = net(given)
    for patch in range(6):
        row, column = divmod(patch, 3)
        alone = CoordinateMLP(2, 3, 5, 2, activation=activation, frequency=4.0).to(dtype)
        for layer, weight, bias in zip(alone.layers, net.weights, net.biases, strict=True):
            layer.weight.data.copy_(weight[patch].mT)
            layer.bias.data.copy_(bias[patch, 0])
        centre = torch.tensor([-0.5 + row, -2 / 3 + 2 / 3 * column], dtype=dtype)
        half = torch.tensor([0.5, 1 / 3], dtype=dtype)
        inside = ((given - centre).abs() < half).all(1)
        assert bool(inside.any()) == (patch != 2)
        tolerance = 1e-5 if dtype == torch.float32 else 1e-13
        torch.testing.assert_close(
            found[inside], alone((given[inside] - centre) / half), atol=tolerance, rtol=tolerance
        )


def test_equal_patches_equal_one_network_exactly() -> None:
    net = PatchedCoordinateNet(1, 2, (4,), 6, 2).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter))
    local = points(9, 1).expand(4, 9, 1)
    values = net.within(local)
    assert all(torch.equal(values[0], values[k]) for k in range(1, 4))
    alone = CoordinateMLP(1, 2, 6, 2).double()
    for layer, weight, bias in zip(alone.layers, net.weights, net.biases, strict=True):
        layer.weight.data.copy_(weight[0].mT)
        layer.bias.data.copy_(bias[0, 0])
    torch.testing.assert_close(values[0], alone(local[0]), atol=1e-15, rtol=1e-14)


def test_points_are_located_in_their_patch() -> None:
    net = PatchedCoordinateNet(2, 1, (2, 3))
    given = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0], [-0.5, 0.9], [-1.5, 7.0]])
    place, local = net.locate(given)
    assert place.tolist() == [0, 5, 4, 2, 2]
    expected = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-1.0, 0.0], [0.0, 0.7], [-2.0, 19.0]])
    torch.testing.assert_close(local, expected, atol=1e-5, rtol=0)
    assert net(given[:0]).shape == (0, 1)


def test_gradients_of_patches_do_not_mix() -> None:
    net = PatchedCoordinateNet(1, 1, (3,), 4, 1)
    net(torch.tensor([[0.9], [0.7]])).square().sum().backward()
    for parameter in net.parameters():
        assert float(parameter.grad[:2].abs().max()) == 0
        assert float(parameter.grad[2].abs().max()) > 0


def test_bad_input_is_refused() -> None:
    for build in (
        lambda: CoordinateMLP(2, 1, activation="tanh"),
        lambda: CoordinateMLP(0, 1),
        lambda: CoordinateMLP(2, 1, depth=0),
        lambda: CoordinateMLP(2, 1, deviation=0.0),
        lambda: PatchedCoordinateNet(2, 1, (3,)),
        lambda: PatchedCoordinateNet(2, 1, (3, 0)),
    ):
        with pytest.raises(InputError):
            build()
