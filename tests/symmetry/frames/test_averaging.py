"""The average: equivariant for any backbone, equal to equivariant ones, and the group average on constant frames."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry.egnn import EGNN
from polyad.symmetry.frames import (
    EuclideanFrames,
    FrameAverage,
    euclidean_frames,
    frame_average,
    permutation_frames,
    symmetric_group,
)
from polyad.symmetry.initialisation import seeded
from polyad.tensors.rotations import random_rotations

DOUBLE = {"dtype": torch.float64}
POINTS = 6


def perceptron(size: int, out: int) -> nn.Sequential:
    with seeded(0):
        return nn.Sequential(nn.Linear(size, 32), nn.Tanh(), nn.Linear(32, out)).double()


class RawNetwork(nn.Module):
    """Everything of a cloud flattened: no symmetry at all. Gives an invariant, a vector and a matrix, as it claims."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = perceptron(7 * POINTS, 1 + 3 + 9)

    def forward(self, positions: Tensor, vectors: Tensor, scalars: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        numbers = self.layers(torch.cat([x.flatten() for x in (positions, vectors, scalars)]))
        return numbers[:1], numbers[None, 1:4], numbers[None, 4:].view(1, 3, 3)


def inputs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    positions, vectors = torch.randn(2, POINTS, 3, generator=generator, **DOUBLE)
    return (
        positions * torch.tensor([1.0, 2.0, 3.0], **DOUBLE),
        vectors,
        torch.randn(POINTS, 1, generator=generator, **DOUBLE),
    )


def averaged(group: Any, **options: Any) -> FrameAverage:
    return frame_average(
        RawNetwork(),
        lambda positions, vectors, scalars: euclidean_frames(positions, group=group),
        ("position", "vector", "scalar"),
        ("scalar", "structure_vector", "structure_matrix"),
        **options,
    )


def errors(model: FrameAverage, group: str) -> list[float]:
    """Largest errors of the invariant, the vector and the matrix under random elements of the group."""
    worst = [0.0, 0.0, 0.0]
    generator = torch.Generator().manual_seed(1)
    reflections = group in ("O", "E")
    for seed, q in enumerate(random_rotations(8, generator=generator, reflections=reflections, dtype=torch.float64)):
        positions, vectors, scalars = inputs(seed)
        shift = 3.0 if "E" in group else 0.0
        expected = model(positions, vectors, scalars)
        found = model(positions @ q.T + shift, vectors @ q.T, scalars)
        expected = (expected[0], expected[1] @ q.T, q @ expected[2] @ q.T)
        for k in range(3):
            worst[k] = max(worst[k], float((found[k] - expected[k]).detach().abs().max()))
    return worst


@pytest.mark.parametrize("group", ["O", "SO", "E", "SE"])
def test_average_of_any_network_is_equivariant(group: str) -> None:
    assert max(errors(averaged(group), group)) < 1e-9
    outputs = averaged(group)(*inputs())
    assert min(float(x.detach().abs().max()) for x in outputs) > 1e-3  # nothing averaged to zero


def test_frames_without_reflections_tell_hands_apart() -> None:
    reflect = torch.diag(torch.tensor([-1.0, 1.0, 1.0], **DOUBLE))
    positions, vectors, scalars = inputs()
    for group, same in (("E", True), ("SE", False)):
        model = averaged(group)
        change = model(positions @ reflect, vectors @ reflect, scalars)[0] - model(positions, vectors, scalars)[0]
        assert (float(change.detach().abs()) < 1e-9) is same


def test_one_random_sign_is_not_enough() -> None:
    """A frame cut down to one element drawn at random, or always the first, is not equivariant."""
    generator = torch.Generator().manual_seed(0)

    def drawn(positions: Tensor, *_: Tensor) -> EuclideanFrames:
        return euclidean_frames(positions).sample(generator=generator)

    def first(positions: Tensor, *_: Tensor) -> EuclideanFrames:
        frames = euclidean_frames(positions)
        return EuclideanFrames(frames.rotation[:1], frames.translation, frames.structure, frames.degenerate)

    for frame in (drawn, first):
        model = averaged("E")
        model.frame = frame
        assert min(errors(model, "E")) > 1e-3


def test_sampled_in_training_and_full_in_evaluation() -> None:
    model, full = averaged("E", samples=1), averaged("E")
    assert max(errors(model.eval(), "E")) < 1e-9
    model.train()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        found = torch.stack([model(*inputs())[0] for _ in range(600)])
        mean = full(*inputs())[0]
    assert float(found.std()) > 1e-3
    assert abs(float(found.mean() - mean)) < 4 * float(found.std()) / 600**0.5


def test_equivariant_backbones_stay_what_they_are() -> None:
    """E(3) frames on EGNN, whose outputs are two kinds at once."""
    network = EGNN(scalars=1, channels=8, layers=2).double()
    for layer in network.layers:
        nn.init.normal_(layer.along[2].weight)
    positions, _, scalars = inputs()
    edges = torch.tensor(list(itertools.permutations(range(POINTS), 2))).T
    model = frame_average(
        network, lambda _, x, edges: euclidean_frames(x), ("scalar", "position", None), ("scalar", "position")
    )
    for found, expected in zip(model(scalars, positions, edges), network(scalars, positions, edges), strict=True):
        assert torch.allclose(found, expected, atol=1e-9)


def test_constant_frame_is_the_group_average() -> None:
    """S_3 on three points: node outputs averaged by a loop over the group."""
    network = perceptron(9, 6)
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(2, 3, 3, generator=generator, **DOUBLE)

    def backbone(matrix: Tensor) -> Tensor:
        return network(matrix.flatten(-2)).unflatten(-1, (3, 2))

    model = frame_average(backbone, lambda x: symmetric_group(3, graphs=2), ("edges",), "nodes", together=True)
    for number in range(2):
        total = torch.zeros(3, 2, **DOUBLE)
        for order in itertools.permutations(range(3)):
            p = torch.eye(3, **DOUBLE)[list(order)]  # (p x)_a = x_order[a]
            total = total + p.T @ backbone(p @ matrices[number] @ p.T) / 6
        assert torch.allclose(model(matrices)[number], total, atol=1e-12)


def test_constant_frame_of_rotations_is_the_group_average() -> None:
    """C_4 about z, vectors out: any finite group of matrices is a frame."""
    turns = torch.stack([
        torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], **DOUBLE) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))
    ])  # fmt: skip
    network = perceptron(3 * POINTS, 3)

    def backbone(x: Tensor) -> Tensor:
        return network(x.flatten())[None]

    def frame(x: Tensor) -> EuclideanFrames:
        structure = torch.zeros(len(x), dtype=torch.long)
        return EuclideanFrames(turns[:, None], x.new_zeros(1, 3), structure, torch.zeros(1, dtype=torch.bool))

    model = frame_average(backbone, frame, ("vector",), "structure_vector")
    x = inputs()[0]
    expected = sum(backbone(x @ turn) @ turn.T for turn in turns) / 4  # rows: turn^-1 x is x @ turn
    assert torch.allclose(model(x), expected, atol=1e-12)


@pytest.mark.parametrize("together", [False, True])
def test_equivariant_outputs_of_nodes_follow_a_relabelling(together: bool) -> None:
    network = perceptron(25, 5)
    generator = torch.Generator().manual_seed(0)
    upper = torch.triu((torch.rand(4, 5, 5, generator=generator) < 0.5).double(), diagonal=1)
    graphs = upper + upper.mT
    model = frame_average(
        lambda x: network(x.flatten(-2)), permutation_frames, ("edges",), "nodes", together=together
    )  # fmt: skip
    order = torch.randperm(5, generator=generator)
    assert torch.allclose(model(graphs[:, order][:, :, order]), model(graphs)[:, order], atol=1e-9)
    assert float(network(graphs.flatten(-2)).detach().var(-1).min()) > 1e-4


def test_together_and_apart_agree() -> None:
    network = perceptron(3, 3)
    structure = torch.tensor([0] * 3 + [1] * 3)
    models = [
        frame_average(network, lambda x: euclidean_frames(x, structure), ("position",), "vector", together=together)
        for together in (False, True)
    ]
    x = inputs()[0]
    found = [model(x) for model in models]
    assert torch.allclose(*found, atol=1e-12)


def test_parameters_are_those_of_the_backbone_and_are_trained() -> None:
    model = averaged("SE")
    assert len(list(model.parameters())) == 4
    sum(x.sum() for x in model(*inputs())).backward()
    assert all(float(p.grad.abs().max()) > 0 for p in model.parameters())


def test_bad_input_is_refused() -> None:
    for call in (
        lambda: averaged("E", samples=0),
        lambda: averaged("E")(*inputs()[:2]),
        lambda: frame_average(RawNetwork(), euclidean_frames, "position", "scalar"),
        lambda: frame_average(RawNetwork(), lambda *x: euclidean_frames(x[0]), (None,) * 3, ("scalar",) * 3)(*inputs()),
        lambda: frame_average(lambda x: (x, x), euclidean_frames, ("position",), ("vector",), together=True)(
            inputs()[0]
        ),
    ):
        with pytest.raises(InputError):
            call()
