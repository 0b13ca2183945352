"""Networks seen in frames: exact on full frames, unbiased draws, crystals and slabs, trainings that go on."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.neighbors import edge_vectors, neighbor_list
from polyad.graphs.points import PointGraph
from polyad.symmetry.frames import DegenerateFrameWarning, FrameAveraged
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.irreps import Irreps
from polyad.tensors.rotations import random_rotations
from polyad.training import fit

DOUBLE = {"dtype": torch.float64}
POINTS, CUTOFF = 5, 6.0
OUTPUTS = {"energy": "structure_scalar", "dipole": "structure_vector", "forces": "vector"}


class Raw(nn.Module):
    """A perceptron of the flattened positions: no symmetry at all; or of the mean edge, for crystals."""

    def __init__(self, *, edges: bool = False) -> None:
        super().__init__()
        self.edges = edges
        self.sizes = (1, 3, 3 * POINTS)
        with seeded(0):
            first = nn.Linear(3 if edges else 3 * POINTS, 48)
            self.layers = nn.Sequential(first, nn.Tanh(), nn.Linear(48, sum(self.sizes))).double()

    def forward(self, graph: PointGraph, scale: Tensor | None = None) -> dict[str, Tensor]:
        if self.edges:
            weighed = (graph.vectors - 0.3).sin() * graph.distances()[:, None].neg().exp()
            seen = graph.mean_nodes(graph.sum_messages(weighed))
        else:
            seen = graph.positions.view(graph.num_structures, 3 * POINTS)
        energy, dipole, forces = self.layers(seen.to(self.layers[0].weight.dtype)).split(self.sizes, dim=1)
        forces = forces.reshape(-1, 3)[: graph.num_nodes]
        return {"energy": energy, "dipole": dipole, "forces": forces if scale is None else scale[:, None] * forces}


def clouds(count: int = 100, seed: int = 0) -> PointGraph:
    positions = torch.randn(count * POINTS, 3, generator=torch.Generator().manual_seed(seed), **DOUBLE)
    return graph_of(positions, count)


def graph_of(positions: Tensor, count: int) -> PointGraph:
    """All pairs of points of a structure as edges."""
    pairs = torch.tensor([(i, j) for i in range(POINTS) for j in range(POINTS) if i != j]).T
    edge_index = (pairs[:, None] + POINTS * torch.arange(count)[None, :, None]).flatten(1)
    vectors = positions[edge_index[1]] - positions[edge_index[0]]
    structure = torch.arange(count).repeat_interleave(POINTS)
    return PointGraph(
        edge_index,
        vectors,
        torch.zeros_like(structure),
        structure,
        count,
        positions,
        vectors.new_zeros(len(vectors), 0),
    )


def averaged(**options: object) -> FrameAveraged:
    return FrameAveraged(Raw(), **{"outputs": OUTPUTS, "cutoff": CUTOFF, **options})  # type: ignore[arg-type]


def error(model: FrameAveraged, turn: Tensor, *, of: PointGraph | None = None) -> float:
    """Largest error of all outputs under one motion of all clouds."""
    graph = clouds() if of is None else of
    moved = graph_of(graph.positions @ turn.T + 2.0, graph.num_structures)
    with torch.no_grad():
        one, two = model(graph), model(moved)
    expected = {"energy": one["energy"], "dipole": one["dipole"] @ turn.T, "forces": one["forces"] @ turn.T}
    return max(float((two[name] - value).abs().max()) for name, value in expected.items())


@pytest.mark.parametrize("covariance", ["edges", "positions"])
@pytest.mark.parametrize("group", ["E", "SE"])
def test_any_network_becomes_equivariant_on_full_frames(group: str, covariance: str) -> None:
    model = averaged(group=group, covariance=covariance, mode="full").eval()
    turn = random_rotations(1, generator=torch.Generator().manual_seed(2))[0]
    assert error(model, turn) < 1e-8
    mirrored = error(model, -turn)
    assert mirrored < 1e-8 if group == "E" else mirrored > 1e-2
    assert error(averaged(mode="augmented").eval(), turn) > 1e-2  # the bare network


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["rotation", "reflection"])
def test_features_of_any_irreps_turn_with_their_structures(sign: float) -> None:
    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.raw = Raw()

        def forward(self, graph: PointGraph) -> Tensor:
            found = self.raw(graph)
            return torch.cat([found["energy"], found["forces"].view(graph.num_structures, -1)], dim=1)

    irreps = Irreps("2x0o+1x1e+1x0e+1x1o+1x3o")
    graph, turn = clouds(), sign * random_rotations(1, generator=torch.Generator().manual_seed(2))[0]
    model = FrameAveraged(Features(), outputs=irreps, cutoff=CUTOFF).eval()
    with torch.no_grad():
        plain, moved = model(graph), model(graph_of(graph.positions @ turn.T + 2.0, graph.num_structures))
    assert all(float(part.norm()) > 0.1 for part in irreps.split(plain))
    assert float((moved - irreps.rotate(plain, turn.expand(len(plain), 3, 3))).abs().max()) < 1e-8


def test_cells_are_turned_along() -> None:
    graph, seen = replace(clouds(3), cell=torch.randn(3, 3, 3, **DOUBLE)), []

    class Volume(nn.Module):
        def forward(self, turned: PointGraph) -> Tensor:
            assert turned.cell is not None
            seen.append(turned.cell)
            return (turned.cell[:, 0] * turned.positions.view(len(turned.cell), POINTS, 3)[:, 0]).sum(1, keepdim=True)

    value = FrameAveraged(Volume(), outputs="structure_scalar", cutoff=CUTOFF).eval()(graph)
    centred = graph.positions.view(3, POINTS, 3) - graph.positions.view(3, POINTS, 3).mean(1, keepdim=True)
    assert graph.cell is not None
    torch.testing.assert_close(value, (graph.cell[:, 0] * centred[:, 0]).sum(1, keepdim=True))
    assert seen[0].shape == (24, 3, 3)


def test_frames_without_reflections_tell_mirror_images_apart() -> None:
    graph = clouds()
    mirrored = graph_of(graph.positions * torch.tensor([1.0, 1.0, -1.0], **DOUBLE), 100)
    for group, apart in (("SE", True), ("E", False)):
        model = averaged(group=group).eval()
        gaps = (model(graph)["energy"] - model(mirrored)["energy"]).detach().abs()
        assert bool((gaps > 1e-6).all()) if apart else float(gaps.max()) < 1e-8


def test_full_average_is_the_mean_of_draws() -> None:
    draws, turn = 10_000, random_rotations(1, generator=torch.Generator().manual_seed(4))[0]
    single = clouds(1, seed=3).positions @ turn.T
    full = averaged().eval()(graph_of(single, 1))
    many = averaged().train()(graph_of(single.repeat(draws, 1), draws))
    for name, rows in (("energy", 1), ("dipole", 1), ("forces", POINTS)):
        sample = many[name].detach().view(draws, rows, -1)
        off = (sample.mean(0) - full[name].detach()).abs()
        deviation = sample.std(0)
        assert float(deviation.max()) > 1e-2
        assert bool((off < 4 * deviation / math.sqrt(draws)).all())
        # errors of means of n draws fall as n^-1/2: as large as the deviation says, at n = 10 and n = 100
        for size in (10, 100):
            blocks = sample.view(-1, size, *sample.shape[1:]).mean(1) - full[name].detach()
            assert torch.allclose(blocks.square().mean(0).sqrt(), deviation / math.sqrt(size), rtol=0.3, atol=1e-6)


def test_draws_are_seeded_counted_and_uniform() -> None:
    graph, model = clouds(1), averaged(seed=7).train()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    values = torch.stack([model(graph)["energy"].detach() for _ in range(480)]).flatten()
    assert torch.equal(torch.get_rng_state(), before)
    _, counts = values.mul(1e9).round().unique(return_counts=True)
    assert len(counts) == 8  # successive draws, not only structures of one draw, take all elements alike
    assert float(((counts - 60.0) ** 2 / 60).sum()) < 24.3
    assert int(model.draws) == 480
    again = averaged(seed=7).train()
    assert float(again(graph)["energy"].detach()) == float(values[0])
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(graph)["energy"], model(graph)["energy"])
    other = torch.stack([averaged(seed=s).train()(graph)["energy"].detach() for s in range(20)])
    assert len(other.unique()) > 3


def test_evaluation_draws_when_asked_and_the_same_every_time() -> None:
    graph = clouds()
    model = averaged(inference="stochastic").eval()
    full = averaged().eval()(graph)["energy"]
    one = model(graph)["energy"]
    assert torch.equal(one, model(graph)["energy"])
    assert int(model.draws) == 0
    assert float((one - full).abs().max()) > 1e-2
    assert torch.equal(averaged(mode="full").train()(graph)["energy"], full)


class Samples:
    """Clouds with a number each, as `fit` takes them."""

    def __init__(self) -> None:
        self.positions = clouds(12).positions.view(12, POINTS, 3)

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.positions[index]


@pytest.mark.parametrize("mode", ["stochastic", "augmented"])
def test_a_training_that_goes_on_ends_with_the_same_bits(tmp_path: Path, mode: str) -> None:
    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        graph = graph_of(batch.reshape(-1, 3), len(batch))
        return (model(graph)["energy"][:, 0] - batch.norm(dim=(1, 2))).square().mean()

    def train(folder: Path, stop_at: int | None) -> FrameAveraged:
        def progress(done: int, whole: int) -> None:
            if done == stop_at:
                raise KeyboardInterrupt

        model = averaged(mode=mode)
        fit(
            model, loss, Samples(), folder=folder, steps=8, batch_size=4, precision="float64", checkpoint_seconds=0.0,
            ema=0.9, progress=progress,
        )  # fmt: skip
        return model

    whole = train(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", 5)
    resumed = train(tmp_path / "parts", None)
    assert int(resumed.draws) == 8
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


CELL = torch.tensor([[4.0, 0.3, 0], [0.2, 4.1, 0.5], [-0.4, 0.1, 3.9]], **DOUBLE)


def crystal(cell: Tensor, images: Tensor) -> PointGraph:
    inside = torch.tensor(
        [[0.1, 0.2, 0.3], [0.6, 0.55, 0.1], [0.3, 0.8, 0.75], [0.7, 0, 0.6], [0.2, 0.4, 0.9]], **DOUBLE
    )
    positions = (inside + images) @ cell
    found = neighbor_list(positions, 3.5, cell=cell)
    vectors = edge_vectors(positions, found.edge_index, found.edge_shift, cell[None])
    zeros = torch.zeros(POINTS, dtype=torch.long)
    return PointGraph(found.edge_index, vectors, zeros, zeros, 1, positions, vectors.new_zeros(len(vectors), 0))


def test_crystals_know_neither_their_images_nor_their_axes() -> None:
    none = torch.zeros(POINTS, 3, **DOUBLE)
    images = torch.tensor([[0, 0, 0], [1, -1, 0], [0, 2, 1], [0, 0, 0], [3, 0, 0]], **DOUBLE)
    turn = random_rotations(1, generator=torch.Generator().manual_seed(2))[0]
    gaps = {}
    for covariance in ("edges", "positions"):
        model = FrameAveraged(Raw(edges=True), outputs=OUTPUTS, cutoff=3.5, covariance=covariance).eval()
        plain, turned, stored = (
            model(crystal(*arguments))["energy"] for arguments in ((CELL, none), (CELL @ turn.T, none), (CELL, images))
        )
        assert float((plain - turned).abs()) < 1e-9
        gaps[covariance] = float((plain - stored).abs())
    assert gaps["edges"] < 1e-9
    assert gaps["positions"] > 1e-3


def test_slabs_turn_about_their_normal_only() -> None:
    graph = clouds()
    angle = torch.tensor(0.7, **DOUBLE)
    about_z = torch.eye(3, **DOUBLE)
    about_z[0, 0] = about_z[1, 1] = angle.cos()
    about_z[0, 1], about_z[1, 0] = -angle.sin(), angle.sin()
    model = averaged(plane=True).eval()
    level = graph.positions * torch.tensor([1.0, 1.0, 0.0], **DOUBLE)
    moved = graph_of(graph.positions @ about_z.T + torch.tensor([1.0, -2.0, 0.0], **DOUBLE), 100)
    one, two = model(graph), model(moved)
    assert float((one["energy"] - two["energy"]).abs().max()) < 1e-8
    assert float((one["forces"] @ about_z.T - two["forces"]).abs().max()) < 1e-8
    assert float(one["forces"][:, 2].abs().max()) > 1e-2
    assert [len(averaged(plane=True, group=group).frames(graph)) for group in ("E", "SE")] == [4, 2]
    # the height is seen, and turning it over is no symmetry
    assert float((model(graph_of(level, 100))["energy"] - one["energy"]).abs().max()) > 1e-2
    assert error(model, -torch.eye(3, **DOUBLE)) > 1e-2
    bare = averaged(plane=True, mode="augmented")
    flat = bare.train()(graph_of(level, 100))["energy"]  # z is kept in training, too
    assert float((flat - averaged(mode="augmented").train()(graph_of(level, 100))["energy"]).abs().max()) > 1e-2
    up = torch.tensor([0.0, 0.0, 0.5], **DOUBLE)
    gap = bare.eval()(graph_of(graph.positions + up, 100))["energy"] - bare(graph)["energy"]
    assert float(gap.abs().min()) > 1e-5  # nor is z centred


def test_invariants_of_nodes_go_to_the_model() -> None:
    graph, model = clouds(), averaged().eval()
    scale = torch.linspace(-1, 1, graph.num_nodes, **DOUBLE)
    assert torch.allclose(model(graph, scale=scale)["forces"], scale[:, None] * model(graph)["forces"])


def near_equal(gap: float) -> Tensor:
    """A cloud whose principal moments are 1, 2 and 2 + gap, the last two along given axes."""
    points = clouds(1, seed=1).positions
    points = points - points.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(points.T @ points), points.T, upper=False).T
    return white * torch.tensor([1.0, 2.0, 2.0 + gap], **DOUBLE).sqrt()


def test_gradients_are_exact_near_equal_moments_and_grow_as_one_over_the_gap() -> None:
    model = averaged(covariance="positions").eval()

    def energy(positions: Tensor) -> Tensor:
        return model(graph_of(positions, 1))["energy"].sum()

    sizes = []
    for gap in (1e-1, 1e-2, 1e-3):
        place = near_equal(gap).requires_grad_()
        (slope,) = torch.autograd.grad(energy(place), place)
        assert bool(torch.isfinite(slope).all())
        sizes.append(float(slope.abs().max()))
        step = 1e-4 * gap
        for node, axis in ((0, 1), (2, 0), (1, 0)):
            move = torch.zeros(POINTS, 3, **DOUBLE)
            move[node, axis] = step
            with torch.no_grad():
                difference = (energy(place + move) - energy(place - move)) / (2 * step)
            assert float(difference) == pytest.approx(float(slope[node, axis]), rel=1e-4, abs=1e-6)
    assert sizes[1] / sizes[0] == pytest.approx(10, rel=0.3)
    assert sizes[2] / sizes[1] == pytest.approx(10, rel=0.1)


def test_energies_jump_where_moments_cross_and_the_place_is_told() -> None:
    model = averaged(covariance="positions").eval()
    before, after = (float(model(graph_of(near_equal(gap), 1))["energy"]) for gap in (-1e-4, 1e-4))
    near = float(model(graph_of(near_equal(2e-4), 1))["energy"])
    assert abs(before - after) > max(1e-3, 10 * abs(near - after))
    place = near_equal(0.0).requires_grad_()
    with pytest.warns(DegenerateFrameWarning):
        energy = model(graph_of(place, 1))["energy"].sum()
    (slope,) = torch.autograd.grad(energy, place)  # at fixed axes
    assert bool(torch.isfinite(slope).all())
    assert float(slope.abs().max()) > 1e-3


def test_frames_can_be_constants_in_gradients() -> None:
    slopes = []
    for detach in (False, True):
        place = clouds(1).positions.requires_grad_()
        model = averaged(detach=detach, group="SE").eval()
        slopes.append(torch.autograd.grad(model(graph_of(place, 1))["energy"].sum(), place)[0])
    torque = [torch.linalg.cross(clouds(1).positions, slope).sum(0).abs().max() for slope in slopes]
    assert float(torque[0]) < 1e-10  # the energy is invariant under rotations, if frames move along
    assert float(torque[1]) > 1e-2


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="mode 'some'"):
        averaged(mode="some")
    with pytest.raises(InputError, match="inference 'half'"):
        averaged(inference="half")
    with pytest.raises(InputError, match="covariance 'none'"):
        averaged(covariance="none")
    with pytest.raises(InputError, match="outputs"):
        averaged(outputs={"energy": "number"})
    with pytest.raises(InputError, match="promised"):
        averaged(outputs={"energy": "structure_scalar"})(clouds(2))
    with pytest.raises(InputError, match="rows"):
        averaged(outputs={**OUTPUTS, "energy": "scalar"})(clouds(2))


def test_one_tensor_needs_no_name() -> None:
    class Heights(nn.Module):
        def forward(self, graph: PointGraph) -> Tensor:
            return graph.positions.exp()

    graph = clouds()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = FrameAveraged(Heights(), outputs="vector", cutoff=CUTOFF).eval()(graph)
    frames = averaged().frames(graph)
    own = frames.rotation[:, graph.structure]
    centred = graph.positions - frames.translation[graph.structure]
    seen = torch.einsum("enij,ni->enj", own, centred)
    assert torch.allclose(found, torch.einsum("enij,enj->eni", own, seen.exp()).mean(0), atol=1e-12)
