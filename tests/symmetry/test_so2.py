"""SO(2) convolutions against dense Clebsch-Gordan convolutions, free roll, equivariance, and gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.coupling import clebsch_gordan
from polyad.symmetry.so2 import EdgeFrames, SO2Convolution, SO2Linear, edge_rotation, weights_from_paths
from polyad.symmetry.spherical_harmonics import degree_slices, spherical_harmonics
from polyad.symmetry.wigner import rotate
from polyad.tensors.rotations import random_rotations
from polyad.testing import assert_gradient_matches


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hard_directions(count: int) -> Tensor:
    directions = normal(count, 3, seed=4)
    directions[:6] = torch.tensor(
        [[0.0, 0, 1], [0, 0, -1], [1, 0, 0], [0, -2, 0], [1e-9, 0, -1], [0.6, 0.8, 0]], dtype=torch.float64
    )
    return directions


def convolution(channels_in: int, channels_out: int, lmax: int, **options: Any) -> SO2Convolution:
    layer = SO2Convolution(
        channels_in, channels_out, lmax, generator=torch.Generator().manual_seed(1), dtype=torch.float64, **options
    )
    if layer.linear.bias is not None:
        torch.nn.init.normal_(layer.linear.bias, generator=torch.Generator().manual_seed(2))
    return layer


def dense_paths(lmax: int, channels_in: int, channels_out: int) -> dict[tuple[int, int, int], Tensor]:
    triples = [
        (l1, l2, l3)
        for l1 in range(lmax + 1)
        for l3 in range(lmax + 1)
        for l2 in range(abs(l1 - l3), l1 + l3 + 1)
    ]  # fmt: skip
    return {triple: normal(channels_out, channels_in, seed=seed) for seed, triple in enumerate(triples)}


def dense_convolution(
    paths: dict[tuple[int, int, int], Tensor], coefficients: Tensor, directions: Tensor, lmax: int
) -> Tensor:
    places = degree_slices(2 * lmax)
    harmonics = spherical_harmonics(directions, 2 * lmax)
    result = torch.zeros(len(coefficients), next(iter(paths.values())).shape[0], (lmax + 1) ** 2, dtype=torch.float64)
    for (l1, l2, l3), weight in paths.items():
        result[..., places[l3]] += torch.einsum(
            "wu,abc,nua,nb->nwc",
            weight,
            clebsch_gordan(l1, l2, l3),
            coefficients[..., places[l1]],
            harmonics[:, places[l2]],
        )
    return result


def test_edge_rotation_takes_the_direction_to_the_pole() -> None:
    directions = hard_directions(40)
    for roll in (None, normal(40)):
        turns = edge_rotation(directions, roll=roll)
        torch.testing.assert_close(
            turns @ turns.mT, torch.eye(3, dtype=torch.float64).expand(40, 3, 3), rtol=0, atol=1e-14
        )
        torch.testing.assert_close(torch.linalg.det(turns), torch.ones(40, dtype=torch.float64))
        poles = torch.einsum("eij,ej->ei", turns, directions) / directions.norm(dim=-1, keepdim=True)
        torch.testing.assert_close(poles, torch.tensor([0.0, 0, 1]).double().expand(40, 3), rtol=0, atol=1e-14)
    about = edge_rotation(directions, roll=torch.full((40,), 0.3, dtype=torch.float64)) @ edge_rotation(directions).mT
    assert float(about[0, 1, 0]) == pytest.approx(math.sin(0.3))


@pytest.mark.parametrize("lmax", [1, 2, 4, 6])
def test_equal_to_the_dense_convolution(lmax: int) -> None:
    """Every dense path, odd ones too, has its place in the SO(2) weights; the roll changes nothing."""
    paths = dense_paths(lmax, 2, 3)
    coefficients, directions = normal(8, 2, (lmax + 1) ** 2), hard_directions(8)
    expected = dense_convolution(paths, coefficients, directions, lmax)
    layer = convolution(2, 3, lmax, bias=False)
    weight0, weights = weights_from_paths(paths, lmax)
    with torch.no_grad():
        layer.linear.weight0.copy_(weight0)
        for parameter, weight in zip(layer.linear.weights, weights, strict=True):
            parameter.copy_(weight)
        for roll in (None, 10 * normal(8, seed=3)):
            result = layer(coefficients, EdgeFrames.from_directions(directions, lmax, roll=roll))
            torch.testing.assert_close(result, expected, rtol=0, atol=1e-11 * float(expected.abs().max()))


def test_even_paths_feed_the_first_weight_and_odd_ones_the_second() -> None:
    for triple in [(2, 2, 2), (1, 2, 3)]:
        weight0, weights = weights_from_paths({triple: normal(1, 1)}, 3)
        assert weight0.any()
        assert all(not weight[1].any() for weight in weights)
        assert weights[0][0].any()
    for triple in [(2, 2, 1), (2, 3, 2)]:
        weight0, weights = weights_from_paths({triple: normal(1, 1)}, 3)
        assert not weight0.any()
        assert all(not weight[0].any() for weight in weights)
        assert weights[0][1].any()
    with pytest.raises(InputError, match="does not couple"):
        weights_from_paths({(1, 1, 4): normal(1, 1)}, 3)


@pytest.mark.parametrize("mmax", [0, 1, 2, 4])
def test_roll_is_free_and_rotations_commute(mmax: int) -> None:
    layer = convolution(3, 2, 4, mmax=mmax)
    coefficients, directions, scales = normal(10, 3, 25), hard_directions(10), normal(10, layer.linear.pairs, 3, seed=5)
    with torch.no_grad():
        frames = EdgeFrames.from_directions(directions, 4, mmax=mmax)
        result = layer(coefficients, frames, scales=scales)
        assert result.shape == (10, 2, 25)
        rolled = EdgeFrames.from_directions(directions, 4, mmax=mmax, roll=normal(10, seed=6))
        torch.testing.assert_close(layer(coefficients, rolled, scales=scales), result, rtol=0, atol=1e-12)
        for turn in random_rotations(4, generator=torch.Generator().manual_seed(0)):
            turned = EdgeFrames.from_directions(directions @ turn.T, 4, mmax=mmax)
            expected = rotate(result, turn)
            torch.testing.assert_close(
                layer(rotate(coefficients, turn), turned, scales=scales), expected, rtol=0, atol=1e-12
            )


def test_reflections_commute_only_without_the_second_weight() -> None:
    coefficients, directions = normal(10, 3, 16), hard_directions(10)
    turn = random_rotations(1, generator=torch.Generator().manual_seed(0))[0] * -1
    errors = []
    for reflections in (True, False):
        layer = convolution(3, 2, 3, reflections=reflections)
        with torch.no_grad():
            result = rotate(layer(coefficients, EdgeFrames.from_directions(directions, 3)), turn)
            moved = layer(rotate(coefficients, turn), EdgeFrames.from_directions(directions @ turn.T, 3))
            errors.append(float((result - moved).abs().max()))
    assert errors[0] < 1e-12
    assert errors[1] > 1e-2


def test_invariants_do_not_turn_and_carry_their_own_weights() -> None:
    layer = SO2Linear(3, 2, 3, mmax=2, invariants=4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    coefficients, directions = normal(9, 3, 16), hard_directions(9)
    turn = random_rotations(1, generator=torch.Generator().manual_seed(0))[0]
    with torch.no_grad():
        layer.bias.copy_(torch.arange(6.0))
        image, invariants = layer(EdgeFrames.from_directions(directions, 3, mmax=2).to_frame(coefficients))
        assert image.shape == (9, 4 + 2 * 3 + 2 * 2, 2)
        assert invariants.shape == (9, 4)
        frames = EdgeFrames.from_directions(directions @ turn.T, 3, mmax=2, roll=normal(9))
        _, moved = layer(frames.to_frame(rotate(coefficients, turn)))
        torch.testing.assert_close(moved, invariants, rtol=0, atol=1e-12)
        zero = layer(torch.zeros(1, 14, 3, dtype=torch.float64))
        assert zero[1].tolist() == [[2.0, 3.0, 4.0, 5.0]]
        assert zero[0][0, 0].tolist() == [0.0, 1.0]
        assert not zero[0][0, 1:].any()


def test_scales_act_on_pairs_of_orders() -> None:
    layer = SO2Linear(1, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    frames = EdgeFrames.from_directions(torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64), 2)
    values = frames.to_frame(normal(1, 1, 9))
    scales = torch.arange(1.0, 7.0, dtype=torch.float64).view(1, 6, 1)  # (0,0) (1,0) (2,0) (1,1) (2,1) (2,2)
    factors = torch.tensor([1.0, 2, 3, 4, 5, 4, 5, 6, 6], dtype=torch.float64).view(1, 9, 1)
    torch.testing.assert_close(layer(values, scales=scales)[0], layer(values * factors)[0])


def test_frames_are_isometries() -> None:
    coefficients, directions = normal(9, 2, 25), hard_directions(9)
    frames = EdgeFrames.from_directions(directions, 4)
    inside = frames.to_frame(coefficients)
    torch.testing.assert_close(frames.from_frame(inside), coefficients, rtol=0, atol=1e-13)
    harmonics = frames.to_frame(spherical_harmonics(directions, 4)[:, None])[..., 0]
    pole = torch.tensor([math.sqrt((2 * degree + 1) / (4 * math.pi)) for degree in range(5)], dtype=torch.float64)
    torch.testing.assert_close(harmonics[:, :5], pole.expand(9, 5), rtol=0, atol=1e-13)
    assert float(harmonics[:, 5:].abs().max()) < 1e-13
    with pytest.raises(InputError, match="these frames"):
        frames.to_frame(coefficients[:3])
    with pytest.raises(InputError, match="mmax"):
        EdgeFrames.from_directions(directions, 2, mmax=3)
    with pytest.raises(InputError, match="1 of 2"):
        edge_rotation(torch.tensor([[0.0, 0, 0], [1, 0, 0]]))
    with pytest.raises(InputError, match="this layer"):
        convolution(2, 2, 3)(normal(9, 2, 25), frames)


def test_gradients_also_where_the_roll_jumps() -> None:
    layer = convolution(2, 2, 2)
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    directions = torch.tensor(
        [[0.3, 0.5, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.4, -1.0, 0.3]], dtype=torch.float64
    )

    def message(coefficients: Tensor, vectors: Tensor) -> Tensor:
        return layer(coefficients, EdgeFrames.from_directions(vectors, 2))

    assert_gradient_matches(message, [normal(4, 2, 9), directions])


def test_no_edges_no_messages() -> None:
    layer = SO2Linear(3, 2, 3, mmax=2, invariants=4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    image, invariants = layer(torch.zeros(0, 14, 3, dtype=torch.float64))
    assert image.shape == (0, 14, 2)
    assert invariants.shape == (0, 4)


def test_cost_grows_with_the_third_power_and_the_dense_one_with_the_sixth() -> None:
    """Multiply-adds that torch counts on a run, against the dense product's (2 l1 + 1)(2 l2 + 1)(2 l3 + 1) a path."""
    from torch.utils.flop_counter import FlopCounterMode

    sizes, counts = range(2, 9), []
    for lmax in sizes:
        linear = SO2Linear(16, 16, lmax, generator=torch.Generator().manual_seed(0), bias=False)
        values = torch.zeros(5, (lmax + 1) ** 2, 16)
        with FlopCounterMode(display=False) as counter:
            linear(values)
        dense = sum(
            (2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1)
            for l1 in range(lmax + 1)
            for l3 in range(lmax + 1)
            for l2 in range(abs(l1 - l3), l1 + l3 + 1)
        )
        counts.append((counter.get_total_flops() / 2 / 5, dense))
        # by hand: (lmax + 1)^2 for m = 0 and, for +m and -m, two products of lmax + 1 - m degrees each
        by_hand = (lmax + 1) ** 2 + sum(4 * (lmax + 1 - m) ** 2 for m in range(1, lmax + 1))
        assert counts[-1][0] == by_hand * 16 * 16
    logs = torch.tensor(counts, dtype=torch.float64).log()
    across = torch.tensor([math.log(lmax + 1) for lmax in sizes], dtype=torch.float64)
    across = across - across.mean()
    ours, dense_slope = ((across @ logs) / across.square().sum()).tolist()
    assert 2.5 < ours < 3.5
    assert dense_slope > 5
