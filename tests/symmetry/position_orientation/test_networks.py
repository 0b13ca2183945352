"""Networks on positions and orientations: exact where they are exact, nearly so by the number of orientations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.position_orientation import (
    PointPonita,
    Ponita,
    circle_grid,
    icosahedral_rotations,
    icosahedron,
    invariants_r3s2,
    monomials,
    repulsion_grid,
    rotation_grid,
)
from polyad.symmetry.radial import polynomial_window
from polyad.tensors.rotations import random_rotations
from polyad.testing import assert_gradient_matches

DOUBLE = {"dtype": torch.float64}
TINY: dict[str, Any] = {
    "scalars": 2, "vectors": 2, "edge_scalars": 1, "out_scalars": 2, "out_vectors": 2, "channels": 6, "layers": 2,
    "basis": 5,
}  # fmt: skip


def cloud(nodes: int = 6, dimension: int = 3) -> dict[str, Tensor]:
    """Scalars, edge vectors from receiver to sender, edges, vectors and edge scalars."""
    generator = torch.Generator().manual_seed(0)
    index = (torch.rand(nodes, nodes, generator=generator) < 0.8).fill_diagonal_(False).nonzero().T
    positions = torch.randn(nodes, dimension, generator=generator, **DOUBLE)
    return {
        "scalars": torch.randn(nodes, 2, generator=generator, **DOUBLE),
        "relative": positions[index[0]] - positions[index[1]],
        "edge_index": index,
        "vectors": torch.randn(nodes, 2, dimension, generator=generator, **DOUBLE),
        "edge_scalars": torch.randn(index.shape[1], 1, generator=generator, **DOUBLE),
    }


def turned(data: dict[str, Tensor], q: Tensor, keys: tuple[str, ...] = ("relative", "vectors")) -> dict[str, Tensor]:
    return data | {key: data[key] @ q.T for key in keys}


def gap(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor], q: Tensor) -> tuple[float, float]:
    """Relative errors of invariance of the scalars and of equivariance of the vectors."""
    scalars, vectors = (one[0] - two[0]).norm() / one[0].norm(), (one[1] @ q.T - two[1]).norm() / one[1].norm()
    return float(scalars), float(vectors)


@torch.no_grad()
def test_exact_under_the_symmetries_of_the_grid() -> None:
    network, data = Ponita(**TINY, orientations=icosahedron(), cutoff=4.0).double().eval(), cloud()
    found = network(**data)
    assert float(found[0].std()) > 1e-2
    assert float(found[1].norm()) > 1e-2
    for rotation in icosahedral_rotations():
        for q in (rotation, -rotation):
            assert max(gap(found, network(**turned(data, q)), q)) < 1e-9


@torch.no_grad()
def test_error_falls_with_the_number_of_orientations() -> None:
    data, rotations, errors = cloud(4), random_rotations(20, generator=torch.Generator().manual_seed(1)), []
    options = TINY | {"channels": 8, "basis": 32}
    for points in (6, 20, 50, 100):
        network = Ponita(**options, orientations=points).double().eval()
        found = network(**data)
        each = torch.tensor([gap(found, network(**turned(data, q)), q) for q in rotations])
        errors.append(each.mean(0))
    table = torch.stack(errors)
    assert bool((table[1:] < table[:-1]).all()), table
    assert bool((table[-1] < table[0] / 20).all()), table
    assert bool((table[0] > 1e-3).all()), table


@torch.no_grad()
def test_plane_turns_by_steps_of_the_circle() -> None:
    network, data = Ponita(**TINY, space="r2s1", orientations=9).double().eval(), cloud(dimension=2)
    found, step = network(**data), circle_grid(9)[1]
    q = torch.stack([step, torch.stack([-step[1], step[0]])], dim=1)
    again = network(**turned(data, q))
    assert max(gap(found, again, q)) < 1e-10
    assert max(gap(found, network(**turned(data, torch.diag(torch.tensor([1.0, -1.0], **DOUBLE)))), q)) > 1e-4
    one, two = (features(network, inputs) for inputs in (data, turned(data, q)))
    for layer_one, layer_two in zip(one, two, strict=True):
        assert float((layer_one.roll(1, dims=1) - layer_two).abs().max()) < 1e-10
        assert float((layer_one - layer_two).abs().max()) > 1e-3


def features(network: Ponita, data: dict[str, Tensor]) -> list[Tensor]:
    """What every block gives, (nodes, orientations, channels)."""
    found: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda *call: found.append(call[2])) for block in network.trunk.blocks]
    network(**data)
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def test_motions_turn_about_their_axes() -> None:
    """The grid of eight turns about z is permuted by a rotation of 45 degrees about z."""
    grid = rotation_grid(torch.tensor([[0.0, 0.0, 1.0]], **DOUBLE), 8)
    network, data = Ponita(**TINY, space="se3", orientations=grid).double().eval(), cloud()
    q = grid[1] @ grid[0].T
    found = network(**data)
    assert max(gap(found, network(**turned(data, q)), q)) < 1e-10
    other = torch.diag(torch.tensor([1.0, -1.0, -1.0], **DOUBLE))
    assert gap(found, network(**turned(data, other)), other)[0] > 1e-6
    assert Ponita(**TINY, space="se3", orientations=32).grid.shape == (32, 3, 3)


@torch.no_grad()
@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_distances_alone_are_exact(dimension: int) -> None:
    options = TINY | {"vectors": 0}
    network = Ponita(**options, space="rn", orientations=1, cutoff=5.0).double().eval()
    data = cloud(dimension=dimension)
    data.pop("vectors")
    q = torch.linalg.qr(torch.randn(dimension, dimension, generator=torch.Generator().manual_seed(5), **DOUBLE))[0]
    found = network(**data)
    assert float(found[1].norm()) > 1e-2
    for turn in (q, q * torch.tensor([-1.0] + [1.0] * (dimension - 1), **DOUBLE)):
        assert max(gap(found, network(**turned(data, turn, ("relative",))), turn)) < 1e-10


@torch.no_grad()
@pytest.mark.parametrize("complete", [False, True])
def test_points_with_orientations_are_exactly_equivariant(complete: bool) -> None:
    network, data = PointPonita(**TINY, complete=complete, cutoff=6.0).double(), cloud()
    axes = torch.randn(6, 3, generator=torch.Generator().manual_seed(6), **DOUBLE)
    data["orientations"] = axes / axes.norm(dim=1, keepdim=True)
    keys, found = ("relative", "vectors", "orientations"), network(**data)
    for q in random_rotations(5, generator=torch.Generator().manual_seed(7)):
        assert max(gap(found, network(**turned(data, q, keys)), q)) < 1e-9
        mirrored = max(gap(found, network(**turned(data, -q, keys)), -q))
        assert (mirrored < 1e-9) == (not complete)
    assert not complete or mirrored > 1e-6


@torch.no_grad()
def test_points_by_loops() -> None:
    network, data = PointPonita(**TINY, cutoff=6.0, length=2.0, every_layer=False).double(), cloud(4)
    axes = repulsion_grid(4)
    f = torch.cat([data["scalars"], torch.einsum("nvd,nd->nv", data["vectors"], axes)], dim=1)
    trunk = network.trunk
    f = f @ trunk.embedding.weight.T + trunk.embedding.bias
    for block in trunk.blocks:
        total = block.convolution.own * f
        for e, (j, i) in enumerate(data["edge_index"].T.tolist()):
            rel = data["relative"][e]
            seen = torch.cat([invariants_r3s2(rel / 2.0, axes[i], axes[j]), data["edge_scalars"][e]])
            basis = trunk.edge_basis.perceptron(monomials(seen, 3)) * polynomial_window(rel.norm(), 6.0)
            total[i] += block.convolution.spatial(basis) * f[j]
        f = f + block.mixing(block.norm(total + block.convolution.bias))
    values = trunk.readouts[0].values(f)
    scalars, vectors = network(orientations=axes, **data)
    assert torch.allclose(scalars, values[:, :2], atol=1e-12)
    assert torch.allclose(vectors, values[:, 2:, None] * axes[:, None], atol=1e-12)


@torch.no_grad()
def test_readouts_of_all_layers_are_summed() -> None:
    data = cloud()
    sums = Ponita(**TINY, orientations=8).double().eval()
    last = Ponita(**TINY, orientations=8, every_layer=False).double().eval()
    weights = sums.state_dict()
    weights = {k.replace("readouts.1", "readouts.0"): v for k, v in weights.items() if "readouts.0" not in k}
    last.load_state_dict(weights)
    alone = last(**data)
    for parameter in sums.trunk.readouts[0].parameters():
        parameter.zero_()
    assert all(torch.allclose(*pair) for pair in zip(alone, sums(**data), strict=True))
    for parameter in sums.trunk.readouts[0].parameters():
        parameter.fill_(1.0)
    assert not torch.allclose(alone[0], sums(**data)[0])


@torch.no_grad()
def test_grid_turns_in_training_alone() -> None:
    network, data = Ponita(**TINY, orientations=6).double(), cloud()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = network(**data)[0], network(**data)[0]
        torch.manual_seed(0)
        again = network(**data)[0]
    assert torch.equal(first, again)
    assert not torch.allclose(first, second, rtol=1e-4)
    network.eval()
    assert torch.equal(network(**data)[0], network(**data)[0])
    still = Ponita(**TINY, orientations=6, turning=False).double().train()
    assert torch.equal(still(**data)[0], network(**data)[0])
    assert torch.equal(network.state_dict()["grid"], repulsion_grid(6))


def test_kink_of_the_distance_to_the_line() -> None:
    """Across the line along an orientation the slope of the output jumps, unless its square is taken."""
    grid = icosahedron()
    jumps = []
    for smooth in (False, True):
        network = Ponita(scalars=1, channels=8, layers=1, orientations=grid, smooth=smooth).double().eval()
        slopes = []
        for side in (1e-8, -1e-8):
            rel = (1.3 * grid[0] + side * grid[5].cross(grid[0], dim=0)).requires_grad_()
            value = network(torch.ones(2, 1, **DOUBLE), rel[None], torch.tensor([[0], [1]]))[0]
            slopes.append(torch.autograd.grad(value[1, 0], rel)[0])
        jumps.append(float((slopes[0] - slopes[1]).norm()))
    assert jumps[0] > 1e-5
    assert jumps[1] < 1e-9
    distances = Ponita(scalars=1, channels=4, space="rn", orientations=1, smooth=True).double()
    rel = torch.zeros(1, 3, **DOUBLE, requires_grad=True)
    value = distances(torch.ones(2, 1, **DOUBLE), rel, torch.tensor([[0], [1]]))[0].sum()
    assert torch.equal(torch.autograd.grad(value, rel)[0], torch.zeros(1, 3, **DOUBLE))


@pytest.mark.parametrize("space", ["r3s2", "se3"])
def test_gradient_with_respect_to_edges(space: str) -> None:
    network, data = Ponita(**TINY, space=space, orientations=8, cutoff=5.0, layer_scale=0.5).double().eval(), cloud(4)
    rel = data.pop("relative")
    assert_gradient_matches(lambda x: network(relative=x, **data)[1].square().sum(), rel)


@torch.no_grad()
def test_nodes_beyond_the_cutoff_are_not_seen() -> None:
    network, data = Ponita(**TINY, orientations=6, cutoff=1.5).double().eval(), cloud()
    near = data["relative"].norm(dim=1) < 1.5
    assert 0 < int(near.sum()) < len(near)
    few = data | {key: data[key][near] for key in ("relative", "edge_scalars")}
    few["edge_index"] = data["edge_index"][:, near]
    assert all(torch.allclose(*pair, atol=1e-13) for pair in zip(network(**data), network(**few), strict=True))


def test_weights_come_from_the_seed() -> None:
    one, same, other = (dict(Ponita(**TINY, seed=seed).named_parameters()) for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["trunk.embedding.weight"], other["trunk.embedding.weight"])


def test_bad_input_is_refused() -> None:
    data, network = cloud(), Ponita(**TINY, orientations=6).double()
    points = PointPonita(**TINY).double()
    for call in (
        lambda: Ponita(**TINY, space="rn", orientations=1),
        lambda: Ponita(**(TINY | {"channels": 0})),
        lambda: Ponita(**(TINY | {"out_scalars": 0, "out_vectors": 0})),
        lambda: Ponita(**TINY, cutoff=0.0),
        lambda: Ponita(**TINY, length=-1.0),
        lambda: Ponita(**TINY, degree=0),
        lambda: network(**(data | {"vectors": data["vectors"][:, :1]})),
        lambda: network(**(data | {"edge_scalars": None})),
        lambda: network(**(data | {"scalars": data["scalars"][:, :1]})),
        lambda: points(orientations=2 * repulsion_grid(6), **data),
    ):
        with pytest.raises(InputError):
            call()
