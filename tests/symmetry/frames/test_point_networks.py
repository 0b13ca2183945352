"""Point networks: against loops over clouds, and equivariant when averaged and not otherwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.frames import DGCNN, FrameAverage, PointNet, fa_dgcnn, fa_point_net
from polyad.tensors.rotations import random_rotations

SIZES = (9, 12, 10)


def clouds() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(sum(SIZES), 3, generator=generator, dtype=torch.float64)
    structure = torch.arange(3).repeat_interleave(torch.tensor(SIZES))
    return points * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), structure


def built(name: str, **options: Any) -> FrameAverage:
    return {"PointNet": fa_point_net, "DGCNN": fa_dgcnn}[name](channels=16, **options).double()


def test_point_net_against_a_loop() -> None:
    points, structure = clouds()
    network = PointNet(channels=8, outputs=4).double()
    found = network(points, structure)
    for number in range(3):
        local = network.local(points[structure == number])
        most = network.deep(local).max(0).values.expand_as(local)
        assert torch.allclose(found[structure == number], network.head(torch.cat([local, most], 1)), atol=1e-12)


def test_dgcnn_against_a_loop() -> None:
    points, structure = clouds()
    network = DGCNN(channels=8, layers=2, neighbors=4, outputs=4).double()
    found = network(points, structure)
    for number in range(3):
        state, seen = points[structure == number], []
        for convolution in network.convolutions:
            rows = []
            for i in range(len(state)):
                near = (state - state[i]).norm(dim=1).argsort()[:4]
                rows.append(
                    torch.stack([convolution(torch.cat([state[i], state[j] - state[i]])) for j in near]).max(0).values
                )
            state = torch.stack(rows)
            seen.append(state)
        every = torch.cat(seen, dim=1)
        most = network.deep(every).max(0).values.expand(len(every), -1)
        assert torch.allclose(found[structure == number], network.head(torch.cat([every, most], 1)), atol=1e-12)


@pytest.mark.parametrize("name", ["PointNet", "DGCNN"])
def test_leading_axes_are_batches(name: str) -> None:
    points, structure = clouds()
    network = built(name).backbone
    both = network(torch.stack([points, points.flip(0)]), structure)
    assert torch.allclose(both[0], network(points, structure), atol=1e-12)
    assert torch.allclose(both[1], network(points.flip(0), structure), atol=1e-12)


@pytest.mark.parametrize("name", ["PointNet", "DGCNN"])
@pytest.mark.parametrize("group", ["E", "SE"])
@pytest.mark.parametrize("output", ["scalar", "vector", "position"])
def test_averages_turn_with_the_clouds(name: str, group: str, output: str) -> None:
    points, structure = clouds()
    model = built(name, group=group, output=output)
    value = model(points, structure)
    assert float(value.detach().abs().max()) > 1e-3
    generator = torch.Generator().manual_seed(1)
    for q in random_rotations(3, generator=generator, reflections=group == "E", dtype=torch.float64):
        turns = torch.stack([q, q @ q, q.mT])  # every cloud by its own
        shifts = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)[structure][:, None]
        moved = (turns[structure] @ points[..., None])[..., 0] + shifts
        expected = value if output == "scalar" else (turns[structure] @ value[..., None])[..., 0]
        expected = expected + shifts if output == "position" else expected
        assert torch.allclose(model(moved, structure), expected, atol=1e-9)
        assert not torch.allclose(model.backbone(moved, structure), model.backbone(points, structure), atol=1e-2)


@pytest.mark.parametrize("name", ["PointNet", "DGCNN"])
def test_points_may_come_in_any_order(name: str) -> None:
    points, structure = clouds()
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(2))
    model = built(name, output="scalar", outputs=5)
    assert model(points, structure).shape == (len(points), 5)
    assert torch.allclose(model(points[order], structure[order]), model(points, structure)[order], atol=1e-9)


def test_bad_input_is_refused() -> None:
    points, structure = clouds()
    for call in (
        lambda: PointNet(channels=0),
        lambda: DGCNN(neighbors=0),
        lambda: DGCNN(neighbors=10).double()(points, structure),
        lambda: built("PointNet", group="T")(points, structure),
    ):
        with pytest.raises(InputError):
            call()
