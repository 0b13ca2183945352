"""SE(3)-Transformers: equal to the papers' formulas in loops, equivariant after every round, with true gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.coupling import clebsch_gordan
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.se3_transformer import (
    AttentionLayer,
    EdgeBasis,
    EdgeKernel,
    IterativeSE3Transformer,
    NormNonlinearity,
    SE3Transformer,
    displaced,
    edge_softmax,
)
from polyad.symmetry.spherical_harmonics import degree_slices, spherical_harmonics
from polyad.tensors.rotations import random_rotations
from polyad.testing import assert_convergence_order, assert_gradient_matches

DOUBLE = {"dtype": torch.float64}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def graph_of(positions: Tensor, *, edges: Tensor | None = None, scalars: Tensor | None = None) -> PointGraph:
    nodes = len(positions)
    edges = (~torch.eye(nodes, dtype=torch.bool)).nonzero().T if edges is None else edges
    return PointGraph(
        edge_index=edges,
        vectors=positions[edges[1]] - positions[edges[0]],
        kind=torch.zeros(nodes, dtype=torch.int64),
        structure=torch.zeros(nodes, dtype=torch.int64),
        num_structures=1,
        positions=positions,
        edge_scalars=positions.new_zeros(edges.shape[1], 0) if scalars is None else scalars,
    )


def points(nodes: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(nodes, 3, generator=generator(seed), **DOUBLE)


def features_of(nodes: int, channels: int, lmax: int, seed: int = 1) -> Tensor:
    return torch.randn(nodes, channels, (lmax + 1) ** 2, generator=generator(seed), **DOUBLE)


def turned(features: Tensor, q: Tensor) -> Tensor:
    return Irreps.spherical(math.isqrt(features.shape[-1]) - 1).rotate(features, q)


def iterative(**options: Any) -> IterativeSE3Transformer:
    given = {"channels_in": 2, "channels": 4, "lmax": 2, "heads": 2, "layers": 1, "edge_scalars": 1, **options}
    return IterativeSE3Transformer(**given).double()


# ---------------------------------------------------------------- kernels


@pytest.mark.parametrize("reflections", [False, True])
def test_kernel_is_the_sum_over_paths(reflections: bool) -> None:
    channels_in, channels_out, degree_in = 2, [3, 1, 2], 2
    kernel = EdgeKernel(
        channels_in, channels_out, degree_in, invariants=2, reflections=reflections, generator=generator()
    ).double()
    offsets, invariants = points(4), torch.randn(4, 2, generator=generator(2), **DOUBLE)
    features = features_of(4, channels_in, degree_in)
    basis = EdgeBasis.from_offsets(offsets, 2, reflections=reflections)
    found = kernel(features, basis, invariants)
    harmonics, slices = spherical_harmonics(offsets, 4, normalization="component"), degree_slices(4)
    paths = 0
    for degree, strengths in enumerate(kernel.strengths(invariants)):
        expected, place = torch.zeros(4, channels_out[degree], 2 * degree + 1, **DOUBLE), 0
        for k in range(degree_in + 1):
            couplings = [
                j for j in range(abs(k - degree), k + degree + 1) if not reflections or (j + k + degree) % 2 == 0
            ]
            phi = strengths[..., place : place + channels_in * len(couplings)]
            phi = phi.unflatten(-1, (channels_in, len(couplings)))
            place += channels_in * len(couplings)
            for number, j in enumerate(couplings):
                matrix = torch.einsum("kjl,ej->elk", clebsch_gordan(k, j, degree), harmonics[:, slices[j]])
                image = torch.einsum("elk,eck->ecl", matrix, features[..., slices[k]])
                expected += torch.einsum("eoc,ecl->eol", phi[..., number], image)
        paths += place // channels_in
        assert torch.allclose(found[degree], expected, atol=1e-12)
    assert paths == (14 if reflections else 19)


def test_images_of_unit_features_have_unit_size() -> None:
    kernel = EdgeKernel(8, [8, 8, 8], 2, invariants=1, generator=generator())
    offsets = torch.randn(1000, 3, generator=generator(1))
    basis = EdgeBasis.from_offsets(offsets, 2)
    features = torch.randn(1000, 8, 9, generator=generator(2))
    for image in kernel(features, basis, basis.lengths[:, None]):
        assert 0.3 < float(image.detach().square().mean()) < 3


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gradient_of_the_basis_at_the_poles(sign: float) -> None:
    poles = sign * torch.tensor([[0, 0, 1], [0, 0, 2.5], [0, 1e-9, 0.7]], **DOUBLE)
    for call in (
        lambda x: torch.cat([block.flatten(1) for block in EdgeBasis.from_offsets(x, 3).blocks], dim=1),
        lambda x: spherical_harmonics(x, 6),
    ):
        assert bool(torch.isfinite(call(poles)).all())
        assert_gradient_matches(call, poles, tolerance=1e-6, step=1e-3)


def test_basis_is_smooth_where_points_coincide() -> None:
    near = torch.tensor([[0.0, 0, 0], [0.01, -0.02, 0.01]], **DOUBLE)
    basis = EdgeBasis.from_offsets(near, 2, shortest=0.1)
    assert torch.equal(basis.lengths, torch.full((2,), 0.1, **DOUBLE))
    assert_gradient_matches(
        lambda x: torch.cat([b.flatten(1) for b in EdgeBasis.from_offsets(x, 2, shortest=0.1).blocks], dim=1), near
    )


# ---------------------------------------------------------------- attention


def test_layer_is_the_formula_node_by_node() -> None:
    heads, channels, edges = 2, 4, torch.tensor([[0, 1, 2, 3, 1, 0, 2], [1, 0, 1, 1, 2, 2, 3]])  # 4 receives nothing
    graph, features = graph_of(points(), edges=edges), features_of(5, 3, 1)
    layer = AttentionLayer(3, channels, 1, 2, heads=heads, generator=generator()).double()
    with torch.no_grad():
        layer.keep.bias.normal_(generator=generator(3))
    basis = EdgeBasis.from_offsets(-graph.vectors, 2)
    invariants = basis.lengths[:, None]
    found = layer(features, edges, basis, invariants)
    images = layer.kernel(features[edges[0]], basis, invariants)
    for node in range(5):
        incoming = [e for e in range(edges.shape[1]) if edges[1, e] == node]
        kept = torch.nn.functional.pad(layer.keep(features[node]), (0, 5))
        query = layer.query(features[node])
        for head in range(heads):
            mine = slice(head * 2, head * 2 + 2)
            scores, values = [], []
            for e in incoming:
                keys = [images[degree][e, :channels][mine] for degree in (0, 1)]
                queries = [query[mine, 0:1], query[mine, 1:4]]
                total = sum((q * k).sum() for q, k in zip(queries, keys, strict=True))
                scores.append(total / math.sqrt(2 * 4))
                values.append(torch.cat([images[degree][e, -channels:][mine] for degree in (0, 1, 2)], dim=-1))
            expected = kept[mine]
            if incoming:
                alpha = torch.stack(scores).softmax(0)
                expected = expected + sum(a * v for a, v in zip(alpha, values, strict=True))
            assert torch.allclose(found[node, mine], expected, atol=1e-12)


def test_weights_sum_to_one_and_do_not_see_rotations() -> None:
    x, features = points(6), features_of(6, 3, 2)
    layer = AttentionLayer(3, 4, 2, 2, heads=2, generator=generator()).double()

    def weights(positions: Tensor, values: Tensor) -> Tensor:
        graph = graph_of(positions)
        basis = EdgeBasis.from_offsets(-graph.vectors, 2)
        return layer.attend(values, graph.edge_index, basis, basis.lengths[:, None])[0].detach()

    alpha = weights(x, features)
    assert float(alpha.std()) > 0.05
    sums = torch.zeros(6, 2, **DOUBLE).index_add(0, graph_of(x).edge_index[1], alpha)
    assert float((sums - 1).abs().max()) < 1e-10
    for q in random_rotations(4, generator=generator(3)):
        assert float((weights(x @ q.T + 2, turned(features, q)) - alpha).abs().max()) < 1e-10


def test_softmax_over_edges() -> None:
    target = torch.tensor([0, 2, 0, 2, 2])
    scores = torch.tensor([[1.0], [800.0], [-2.0], [799.0], [-900.0]], **DOUBLE)
    expected = torch.cat([scores[[0, 2]].softmax(0), scores[[1, 3, 4]].softmax(0)])[[0, 2, 1, 3, 4]]
    assert torch.allclose(edge_softmax(scores, target, 3), expected, atol=1e-14)
    window = torch.tensor([0.5, 1.0, 0.0, 0.2, 1.0], **DOUBLE)
    found = edge_softmax(scores, target, 3, window=window)
    assert float(found[0]) == pytest.approx(0.5 * math.e / (1 + 0.5 * math.e))
    assert float(found[2]) == 0
    assert float(found[1]) == pytest.approx(1 / (1 + 0.2 / math.e))
    small = scores.clamp(-3, 3)
    assert_gradient_matches(lambda s, w: edge_softmax(s, target, 3, window=w), [small, window])
    assert_gradient_matches(lambda s: edge_softmax(s, target, 3), small)


@pytest.mark.parametrize("neighbours", [1, 2, 3])
def test_neighbours_leave_smoothly_at_the_cutoff(neighbours: int) -> None:
    """What a node sees of leaving neighbours falls as (cutoff - d)^3, if these are its last ones too."""
    model = SE3Transformer(channels_in=2, out="1x0e+1x1o", channels=4, heads=2, cutoff=2.0, epsilon=0.1).double()
    features = features_of(4, 2, 0)
    directions = torch.nn.functional.normalize(points(3, seed=4), dim=-1)

    def output(distance: float, *, joined: bool = True, network: SE3Transformer = model) -> Tensor:
        outer = directions * torch.where(torch.arange(3) < neighbours, distance, 1.2)[:, None]
        positions = torch.cat([torch.zeros(1, 3, **DOUBLE), outer])
        sources = torch.arange(1 if joined else 1 + neighbours, 4)
        edges = torch.stack([sources, torch.zeros_like(sources)])
        return network(features, graph_of(positions, edges=edges))[0]

    away, gaps = output(2.0, joined=False), [0.04, 0.02, 0.01]
    assert torch.allclose(output(2.0 - 1e-9), away, atol=1e-12)
    assert torch.allclose(output(2.5), away, atol=1e-12)
    errors = [float((output(2.0 - gap) - away).norm().detach()) for gap in gaps]
    assert_convergence_order(errors, gaps, order=3, tolerance=0.3)
    full = SE3Transformer(channels_in=2, out="1x0e+1x1o", channels=4, heads=2).double()
    jump = output(2.0, network=full) - output(2.0, joined=False, network=full)
    assert float(jump.norm().detach()) > 0.05  # attention without a window


# ---------------------------------------------------------------- nonlinearity


def test_nonlinearity_is_the_formula() -> None:
    layer, features = NormNonlinearity(5, 2, epsilon=1e-3).double(), features_of(7, 5, 2)
    with torch.no_grad():
        layer.weight.normal_(generator=generator(2))
        layer.bias.normal_(generator=generator(3))
    expected = []
    for degree, place in enumerate(degree_slices(2)):
        part = features[..., place]
        norms = (part.square().sum(-1) + 1e-3).sqrt()
        normal = torch.nn.functional.layer_norm(norms, (5,), layer.weight[:, degree], layer.bias[:, degree], eps=1e-3)
        expected.append(part / norms[..., None] * normal.relu()[..., None])
    assert torch.allclose(layer(features), torch.cat(expected, dim=-1), atol=1e-12)


def test_vanishing_features_stay_zero_with_a_finite_gradient() -> None:
    layer = NormNonlinearity(3, 2).double()
    for features in (torch.zeros(2, 3, 9, **DOUBLE), features_of(2, 3, 2) * torch.tensor([1.0, 0, 1])[:, None]):
        given = features.clone().requires_grad_()
        found = layer(given)
        (slope,) = torch.autograd.grad(found.sum(), given)
        assert bool((found[features == 0] == 0).all())
        assert bool(torch.isfinite(slope).all())


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize("share_weights", [False, True])
@pytest.mark.parametrize("reflections", [False, True])
@torch.no_grad()
def test_four_rounds_turn_and_move_with_the_input(share_weights: bool, reflections: bool) -> None:
    model = iterative(n_iter=4, share_weights=share_weights, reflections=reflections, degree_in=1)
    x, features, scalars = points(), features_of(5, 2, 1), torch.randn(20, 1, generator=generator(5), **DOUBLE)
    hidden, positions = model(features, graph_of(x, scalars=scalars))
    assert positions.shape == (4, 5, 3)
    assert float((positions[-1] - x).abs().max()) > 0.3
    for q in random_rotations(3, generator=generator(3)):
        for turn in (q, -q):
            again, moved = model(turned(features, turn), graph_of(x @ turn.T - 3, scalars=scalars))
            error = float((moved - (positions @ turn.T - 3)).abs().max())
            scalar_error = float((again[..., 0] - hidden[..., 0]).abs().max())
            if turn is q or reflections:
                assert error <= 1e-9
                assert scalar_error <= 1e-9
                assert torch.allclose(again, turned(hidden, turn), atol=1e-9)
            else:  # without `reflections`, paths with odd J + k + l see them
                assert error > 1e-3
                assert scalar_error > 1e-3


@torch.no_grad()
def test_single_pass_is_one_round() -> None:
    x, features = points(), features_of(5, 2, 0)
    scalars = torch.randn(20, 1, generator=generator(5), **DOUBLE)
    graph = graph_of(x, scalars=scalars)
    _, positions = iterative(n_iter=1, layers=3)(features, graph)
    options = {"channels_in": 2, "channels": 4, "lmax": 2, "heads": 2, "layers": 3, "edge_scalars": 1}
    single = SE3Transformer(out="1o", final_degree=2, **options).double()
    assert torch.equal(positions[0], x + single(features, graph)[:, [2, 0, 1]])


@pytest.mark.parametrize("share_weights", [False, True])
@torch.no_grad()
def test_rounds_are_single_passes_on_rebuilt_graphs(share_weights: bool) -> None:
    model, x, features = (
        iterative(n_iter=3, edge_scalars=0, share_weights=share_weights),
        points(),
        features_of(5, 2, 0),
    )
    found_hidden, found = model(features, graph_of(x))
    if model.embedding is not None:
        features = torch.nn.functional.pad(model.embedding(features), (0, 8))
    for number in range(3):
        transformer = model.rounds[0 if share_weights else number]
        if number:
            features = model.nonlinearities[number - 1](features)
        features = transformer.hidden(features, graph_of(x))
        vectors = torch.einsum("c,ncm->nm", transformer.head.weights["1o"][0], features[..., 1:4]) / 2
        x = x + vectors[:, [2, 0, 1]]
        assert torch.allclose(found[number], x, atol=1e-11)
    assert torch.allclose(found_hidden, features, atol=1e-10)
    assert len(model.rounds) == (1 if share_weights else 3)


@torch.no_grad()
def test_graph_can_be_rebuilt_between_rounds() -> None:
    model, graph, features, seen = iterative(n_iter=3, edge_scalars=0), graph_of(points()), features_of(5, 2, 0), []

    def nearest(moved: PointGraph) -> PointGraph:
        seen.append(moved.positions)
        order = torch.cdist(moved.positions, moved.positions).argsort(1)[:, 1:3]
        return graph_of(moved.positions, edges=torch.stack([order.flatten(), torch.arange(5).repeat_interleave(2)]))

    _, positions = model(features, graph, rebuild=nearest)
    _, kept = model(features, graph)
    assert len(seen) == 2
    assert torch.equal(torch.stack(seen), positions[:2])
    assert torch.equal(positions[0], kept[0])
    assert float((positions[1] - kept[1]).abs().max()) > 1e-3


def test_displaced_graph_keeps_images() -> None:
    graph, shift = graph_of(points()), torch.randn(20, 3, generator=generator(7), **DOUBLE)
    images = PointGraph(**{**vars(graph), "vectors": graph.vectors + shift})
    moves = points(seed=8)
    moved = displaced(images, moves)
    assert torch.allclose(moved.positions, graph.positions + moves)
    assert torch.allclose(moved.vectors, graph_of(moved.positions).vectors + shift, atol=1e-13)


@pytest.mark.parametrize("coincident", [False, True])
def test_gradient_flows_through_the_basis_of_every_round(coincident: bool) -> None:
    x, features = points(3), features_of(3, 2, 0)
    if coincident:
        x[1] = x[0]
    x.requires_grad_()

    full, cut = (
        iterative(n_iter=2, channels=2, edge_scalars=0, shortest=0.05, detach_basis=detach) for detach in (False, True)
    )

    def final(model: IterativeSE3Transformer) -> Callable[[Tensor], Tensor]:
        return lambda positions: model(features, graph_of(positions))[1][-1]

    assert torch.autograd.gradcheck(final(full), x, eps=1e-6, atol=1e-6)
    assert torch.equal(final(full)(x), final(cut)(x))
    slopes = [torch.autograd.functional.jacobian(final(model), x) for model in (full, cut)]
    assert float((slopes[0] - slopes[1]).abs().max()) > 0.05
    assert not torch.autograd.gradcheck(final(cut), x, eps=1e-6, atol=1e-6, raise_exception=False)


@torch.no_grad()
def test_order_of_nodes_and_seed() -> None:
    x, features = points(), features_of(5, 2, 0)
    order = torch.randperm(5, generator=generator(1))
    _, positions = iterative(n_iter=2, edge_scalars=0)(features, graph_of(x))
    _, again = iterative(n_iter=2, edge_scalars=0)(features[order], graph_of(x[order]))
    assert torch.allclose(again, positions[:, order], atol=1e-11)
    _, other = iterative(n_iter=2, edge_scalars=0, seed=9)(features, graph_of(x))
    assert float((other - positions).abs().max()) > 0.01
    drawn = torch.get_rng_state()
    model = iterative(n_iter=2, edge_scalars=0)
    assert torch.equal(drawn, torch.get_rng_state())
    assert not torch.equal(model.rounds[0].head.weights["1o"], model.rounds[1].head.weights["1o"])


def test_bad_input_is_refused() -> None:
    graph, features = graph_of(points()), features_of(5, 2, 0)
    basis = EdgeBasis.from_offsets(graph.vectors, 1)
    kernel = EdgeKernel(2, [1, 1], 1, invariants=1, generator=generator()).double()
    lengths = basis.lengths[:, None]
    sent = features_of(20, 2, 1)
    for call in (
        lambda: SE3Transformer(channels_in=0, out="1o"),
        lambda: SE3Transformer(channels_in=1, out="3o", lmax=2),
        lambda: SE3Transformer(channels_in=1, out="1e"),
        lambda: SE3Transformer(channels_in=1, out="1o", degree_in=3),
        lambda: SE3Transformer(channels_in=1, out="1o", channels=6, heads=4),
        lambda: SE3Transformer(channels_in=1, out="1o", epsilon=0.0),
        lambda: IterativeSE3Transformer(n_iter=0, channels_in=1),
        lambda: iterative(n_iter=1)(features, graph),  # edges without their scalar
        lambda: EdgeBasis.from_offsets(graph.vectors, 1, shortest=0.0),
        lambda: kernel(sent[:, :1], basis, lengths),
        lambda: kernel(sent, EdgeBasis.from_offsets(graph.vectors, 0), lengths),
        lambda: kernel(sent, EdgeBasis.from_offsets(graph.vectors, 1, reflections=True), lengths),
    ):
        with pytest.raises(InputError):
            call()
