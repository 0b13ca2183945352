"""Minimal networks: invariant or equivariant as they say, and separating exactly the pairs that theory says."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry.geometric_wl import GeometricGraph, counterexamples, geometric_graph, k_chains, rotsym, to_points
from polyad.symmetry.geometric_wl.equivariant_networks import EgnnLike, GvpLike, MaceLike, TfnLike
from polyad.symmetry.geometric_wl.invariant_networks import DimeNetLike, SchNetLike
from polyad.symmetry.geometric_wl.specimens import RADIAL, distance_basis

Build = Callable[..., nn.Module]

NETWORKS: dict[str, Build] = {
    "SchNet": partial(SchNetLike, channels=8),
    "DimeNet": partial(DimeNetLike, channels=8),
    "EGNN": partial(EgnnLike, channels=16),
    "GVP": partial(GvpLike, channels=8),
    "TFN": partial(TfnLike, lmax=2, channels=8),
    "MACE 2": partial(MaceLike, lmax=2, correlation=2, channels=8),
    "MACE 3": partial(MaceLike, lmax=2, correlation=3, channels=8),
    "MACE 4": partial(MaceLike, lmax=3, correlation=4, channels=4),
    "MACE 3, SO(3)": partial(MaceLike, lmax=4, correlation=3, channels=4, group="SO(3)"),
    "MACE 4, SO(3)": partial(MaceLike, lmax=3, correlation=4, channels=4, group="SO(3)"),
}
ORIENTED = {name: build for name, build in NETWORKS.items() if name in ("EGNN", "GVP", "TFN", "MACE 2")}


def turned(graph: GeometricGraph, seed: int, *, determinant: int) -> GeometricGraph:
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    order = torch.randperm(graph.num_nodes, generator=generator)
    q = q * determinant * torch.linalg.det(q).sign()
    return geometric_graph(
        graph.positions[order] @ q.T + 1.0, order.argsort()[graph.edge_index], scalars=graph.scalars[order]
    )


@torch.no_grad()
def difference(
    build: Build, first: GeometricGraph, second: GeometricGraph, *, seeds: int = 3, **options: Any
) -> Tensor:
    """Relative differences of eight outputs, a seed each; three seeds."""
    points = to_points([first, second])
    values = torch.stack([build(seed=seed, outputs=8, **options).double()(points) for seed in range(3)])
    return (values[:, 0] - values[:, 1]).abs().amax(1) / values.abs().amax((1, 2))


def separates(build: Build, pair: tuple[GeometricGraph, GeometricGraph], **options: Any) -> bool:
    found = difference(build, pair[0], turned(pair[1], 0, determinant=1), **options)
    assert float(found.max()) < 1e-13 or float(found.median()) > 1e-12
    return float(found.median()) > 1e-12


def cluster() -> GeometricGraph:
    generator = torch.Generator().manual_seed(0)
    positions = 4 * torch.rand(7, 3, generator=generator, dtype=torch.float64)
    edges = (torch.cdist(positions, positions) < 3.0).fill_diagonal_(False).nonzero().T
    return geometric_graph(positions, edges, scalars=torch.arange(7) % 2)


@pytest.mark.parametrize("name", NETWORKS)
def test_invariant_under_the_group_and_renumbering(name: str) -> None:
    costly = name.startswith("MACE 4") or "SO(3)" in name
    build = partial(NETWORKS[name], layers=1 if costly else 2, kinds=2)
    graph = cluster()
    for determinant in (1, -1):
        change = difference(build, graph, turned(graph, 1, determinant=determinant))
        if determinant == 1 or "SO(3)" not in name:
            assert float(change.max()) < 1e-11
        else:
            assert float(change.min()) > 1e-6
    other = geometric_graph(graph.positions, graph.edge_index, scalars=1 - graph.scalars)
    assert float(difference(build, graph, other).min()) > 1e-6  # kinds are seen


@pytest.mark.parametrize("name", ORIENTED)
def test_outputs_of_equivariant_readout_turn(name: str) -> None:
    """Pooled features are linear in the representation: over a rotation's angle, order-1 outputs are sinusoids."""
    model = ORIENTED[name](layers=2, kinds=2, equivariant=True).double()
    model.head = nn.Identity()
    graph, quarter = cluster(), torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    positions = [graph.positions]
    for _ in range(4):
        positions.append(positions[-1] @ quarter.T)
    values = model(to_points([geometric_graph(x, graph.edge_index, scalars=graph.scalars) for x in positions]))
    assert torch.allclose(values[4], values[0], atol=1e-10)
    assert float((values[1] - values[0]).detach().abs().max()) > 1e-4
    norms = torch.linalg.vector_norm(values, dim=1)
    assert torch.allclose(norms, norms[:1].expand(5), rtol=1e-10)  # representations are orthogonal


@pytest.mark.parametrize("name", ["SchNet", "DimeNet", "EGNN", "GVP", "TFN", "MACE 2"])
@pytest.mark.parametrize("k", [2, 3, 4])
def test_chains_from_the_layers_that_theory_says(name: str, k: int) -> None:
    build, moment = NETWORKS[name], k // 2 + 1
    if name in ("SchNet", "DimeNet"):
        assert not separates(build, k_chains(k), layers=moment + 2)
        return
    if name == "EGNN":  # its scalars see the positions of the layer before
        moment = (k + 1) // 2 + 1
    assert not separates(build, k_chains(k), layers=moment - 1)
    assert separates(build, k_chains(k), layers=moment)


ENVIRONMENTS: dict[Any, set[str]] = {  # which networks separate them in one layer
    2: set(NETWORKS) - {"SchNet", "EGNN"},
    3: {"MACE 3", "MACE 4", "MACE 3, SO(3)", "MACE 4, SO(3)"},
    4: {"MACE 4", "MACE 4, SO(3)"},
    "chiral": {"MACE 4, SO(3)"},
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("case", ENVIRONMENTS)
def test_environments_by_body_order_in_one_layer(name: str, case: Any) -> None:
    assert separates(NETWORKS[name], counterexamples(case), layers=1) is (name in ENVIRONMENTS[case])


@pytest.mark.parametrize("fold", [2, 3, 5])
def test_orientations_of_stars_by_order(fold: int) -> None:
    def sees(build: Build, **options: Any) -> bool:
        pair = rotsym(fold, 0.5 * math.pi / fold)
        found = difference(build, *pair, layers=1, equivariant=True, cutoff=2.0, **options)
        assert float(found.max()) < 1e-13 or float(found.min()) > 1e-6
        return float(found.min()) > 1e-6

    assert not sees(NETWORKS["EGNN"])
    assert not sees(NETWORKS["GVP"])
    for lmax in (fold - 1, fold):
        assert sees(TfnLike, lmax=lmax, channels=4) is (lmax == fold)
        assert sees(MaceLike, lmax=lmax, correlation=2, channels=2) is (lmax == fold)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_come_from_the_seed_and_train(name: str) -> None:
    points = to_points(counterexamples(2))
    values = [NETWORKS[name](layers=1, seed=seed).double()(points) for seed in (0, 0, 1)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    model = NETWORKS[name](layers=1).double()
    model(points).square().sum().backward()
    lost = [key for key, weight in model.named_parameters() if weight.grad is None]
    unread = (".along.", "updates.0.second", "updates.0.gates")  # the last layer's vectors
    assert all(any(part in key for part in unread) for key in lost)


def test_functions_of_distance_have_no_window() -> None:
    """cutoff^(3/2) sqrt(2 / cutoff) sin(n pi d / cutoff) / d at the chains' one distance, 5."""
    order = torch.arange(1, RADIAL + 1, dtype=torch.float64)
    expected = 12.0 * math.sqrt(2) * torch.sin(order * math.pi * 5 / 12) / 5
    assert torch.allclose(distance_basis(to_points(k_chains(2)), 12.0), expected.expand(12, RADIAL), atol=1e-12)


def test_bad_input_is_refused() -> None:
    points = to_points(k_chains(2))
    calls: list[Any] = [lambda build=build: build(layers=0) for build in NETWORKS.values()]
    calls += [
        lambda: TfnLike(lmax=-1, layers=1),
        lambda: MaceLike(lmax=1, correlation=0, layers=1),
        lambda: SchNetLike(layers=1, cutoff=5.0).double()(points),
    ]
    for call in calls:
        with pytest.raises(InputError):
            call()
