"""FA-MPNN: the bare network against loops, equivariance in each way of averaging, and what the averages are of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.problems.nbody import nbody_samples
from polyad.symmetry.frames import FAMessagePassing, euclidean_frames
from polyad.tensors.rotations import random_rotations


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    samples = nbody_samples(3, seed=0, before=20, ahead=0)
    graph = samples.graph()
    charges = samples.state.charges.flatten()[:, None]
    velocities = samples.state.velocities.flatten(0, 1)[:, None]
    return charges, graph.positions, velocities, graph.edge_index, graph.structure, graph.edge_scalars


def network(average: str, **options: Any) -> FAMessagePassing:
    options = {"channels": 8, "layers": 2, "edge_scalars": 1, "out_scalars": 2, "average": average, **options}
    return FAMessagePassing(**options).double()


def test_bare_network_against_loops() -> None:
    model = network("none")
    charges, positions, velocities, edges, structure, products = inputs()
    scalars, vectors = model(charges, positions, velocities, edges, structure, products)
    centre = torch.stack([positions[structure == s].mean(0) for s in range(3)])[structure]
    state = model.embedding(torch.cat([charges, positions - centre, velocities[:, 0]], 1))
    apart = [positions[i] - positions[j] for j, i in edges.T.tolist()]
    for layer in model.layers:
        received = torch.zeros_like(state)
        for e, (j, i) in enumerate(edges.T.tolist()):
            edge = [apart[e], (apart[e] ** 2).sum()[None], products[e]]
            received[i] = received[i] + layer.message(torch.cat([state[i], state[j], *edge]))
        state = state + layer.update(torch.cat([state, received], 1))
    expected = model.head(state)
    assert torch.allclose(scalars, expected[:, :2], atol=1e-12)
    assert torch.allclose(vectors[:, 0], expected[:, 2:], atol=1e-12)


@pytest.mark.parametrize("group", ["E", "SE"])
@pytest.mark.parametrize("average", ["network", "layers", "none"])
def test_averages_are_equivariant_and_the_bare_network_is_not(average: str, group: str) -> None:
    model = network(average, group=group)
    charges, positions, velocities, *rest = inputs()
    scalars, vectors = (x.detach() for x in model(charges, positions, velocities, *rest))
    assert float(vectors.abs().max()) > 1e-3
    generator = torch.Generator().manual_seed(0)
    for q in random_rotations(4, generator=generator, reflections=group == "E", dtype=torch.float64):
        turned = [x.detach() for x in model(charges, positions @ q.T + 1.5, velocities @ q.T, *rest)]
        error = max(float((turned[0] - scalars).abs().max()), float((turned[1] - vectors @ q.T).abs().max()))
        assert error > 1e-3 if average == "none" else error < 1e-9
        shifted = model(charges, positions + 1.5, velocities, *rest)
        assert torch.allclose(shifted[1], vectors, atol=1e-9)


def test_average_of_the_network_is_the_mean_of_the_bare_one_in_every_frame() -> None:
    bare, model = network("none"), network("network")
    charges, positions, velocities, *rest = inputs()
    frames = euclidean_frames(positions, rest[1])
    total_scalars, total_vectors = 0.0, 0.0
    for k in range(8):
        moved = frames.to_frame(positions, "position")[k], frames.to_frame(velocities, "vector")[k]
        scalars, vectors = bare(charges, *moved, *rest)
        total_scalars = total_scalars + scalars / 8
        back = frames.rotation[k][rest[1]]
        total_vectors = total_vectors + (back[:, None] @ vectors[..., None])[..., 0] / 8
    scalars, vectors = model(charges, positions, velocities, *rest)
    assert torch.allclose(scalars, total_scalars, atol=1e-12)
    assert torch.allclose(vectors, total_vectors, atol=1e-12)


@pytest.mark.parametrize("average", ["network", "layers"])
def test_structures_do_not_see_each_other(average: str) -> None:
    model = network(average)
    charges, positions, velocities, edges, structure, products = inputs()
    together = model(charges, positions, velocities, edges, structure, products)
    own, inside = structure == 0, edges[0] < 5
    alone = model(charges[own], positions[own], velocities[own], edges[:, inside], structure[own], products[inside])
    for a, b in zip(alone, together, strict=True):
        assert torch.allclose(a, b[:5], atol=1e-12)


def test_averaging_every_layer_is_another_network_than_averaging_the_whole() -> None:
    whole, layers = (network(name)(*inputs())[1] for name in ("network", "layers"))
    assert float((whole - layers).detach().abs().max()) > 1e-4


def test_sampled_in_training_full_in_evaluation() -> None:
    model, full = network("network", samples=1), network("network")(*inputs())[1].detach()
    assert torch.equal(model.eval()(*inputs())[1], full)
    model.train()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = torch.stack([model(*inputs())[1] for _ in range(300)])
    assert float(drawn.std(0).min()) > 1e-4
    assert float(((drawn.mean(0) - full).abs() / drawn.std(0)).max()) < 5 / 300**0.5


@pytest.mark.parametrize("outputs", [(2, 0), (0, 2)])
def test_outputs_of_one_kind_alone(outputs: tuple[int, int]) -> None:
    model = network("layers", out_scalars=outputs[0], out_vectors=outputs[1])
    scalars, vectors = model(*inputs())
    assert scalars.shape == (15, outputs[0])
    assert vectors.shape == (15, outputs[1], 3)


def test_bad_input_is_refused() -> None:
    charges, *rest = inputs()
    for call in (
        lambda: network("twice"),
        lambda: network("layers", channels=10),
        lambda: network("network", layers=0),
        lambda: network("network", group="O"),
        lambda: network("network", samples=0),
        lambda: network("layers", samples=1),
        lambda: network("network")(charges.repeat(1, 2), *rest),
    ):
        with pytest.raises(InputError):
            call()
