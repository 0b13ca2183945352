"""Gaussian moments against loops and closed forms, what their contractions tell apart, and the scale of the network."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.potentials.gaussian_moments import (
    GaussianMomentNetwork,
    GaussianMoments,
    ScaledPerceptron,
    invariants,
    matrix_products,
    num_invariants,
)
from polyad.materials.structures import Structures
from tests.materials.potentials.test_tensornet import CUTOFF, graph_of, molecule


def moments(**options: object) -> GaussianMoments:
    return GaussianMoments(**{"kinds": 3, "cutoff": CUTOFF, "radial": 3, "gaussians": 6, **options}).double()  # type: ignore[arg-type]


def around(points: Tensor) -> PointGraph:
    """Node 0 in the origin receives from all points, and nobody else receives."""
    count = len(points)
    edge_index = torch.stack([torch.arange(1, count + 1), torch.zeros(count, dtype=torch.int64)])
    positions = torch.cat([torch.zeros(1, 3, dtype=torch.float64), points])
    zeros = torch.zeros(count + 1, dtype=torch.int64)
    return PointGraph(edge_index, -points, zeros, zeros, 1, positions, torch.zeros(count, 0, dtype=torch.float64))


def test_moments_equal_loops() -> None:
    net, graph = moments(neighbors=2.5), graph_of(molecule())
    found, size, beta = net(graph), net.gaussians, net.beta.detach()
    centres = [0.1 * CUTOFF + k * 0.9 * CUTOFF / (size - 1) for k in range(size)]
    for node in range(graph.num_nodes):
        expected = [torch.zeros(3, *[3] * rank, dtype=torch.float64) for rank in range(4)]
        for edge, (source, target) in enumerate(zip(*graph.edge_index.tolist(), strict=True)):
            if target != node:
                continue
            r = float(graph.vectors[edge].norm())
            unit = (graph.positions[target] - graph.positions[source]) / r
            window = 0.5 * (math.cos(math.pi * r / CUTOFF) + 1)
            basis = [math.exp(-0.5 * ((r - c) / (centres[1] - centres[0])) ** 2) for c in centres]
            pair = 3 * int(graph.kind[target]) + int(graph.kind[source])
            for s in range(3):
                weight = sum(float(beta[pair, k, s]) * basis[k] for k in range(size))
                weight *= window * math.pi**-0.25 / math.sqrt(2.5)
                outer = torch.tensor(weight, dtype=torch.float64)
                for rank in range(4):
                    expected[rank][s] += outer
                    outer = outer[..., None] * unit
        for rank in range(4):
            assert float((found[rank][node].detach() - expected[rank]).abs().max()) < 1e-12


def test_invariants_equal_loops_over_independent_triples() -> None:
    psi = moments()(graph_of(molecule(atoms=4)))
    found, size = invariants(psi), 3
    for node in range(4):
        p0, p1, p2, p3 = (tensor[node].detach() for tensor in psi)
        pairs = list(combinations_with_replacement(range(size), 2))
        expected = [float(p0[r]) for r in range(size)]
        for p in (p1, p2, p3):
            expected += [float((p[r] * p[s]).sum()) for r, s in pairs]
        expected += [float((p2[r] @ p2[s] @ p2[t]).trace()) for r, s in pairs for t in range(s, size)]
        expected += [float(p1[r] @ p2[t] @ p1[s]) for r, s in pairs for t in range(size)]
        expected += [float(torch.einsum("ijk,ijl,kl", p3[r], p3[s], p2[t])) for r, s in pairs for t in range(size)]
        for r in range(size):
            for s in range(size):
                expected += [float(torch.einsum("ijk,ij,k", p3[r], p2[s], p1[t])) for t in range(size)]
        assert torch.allclose(found[node], torch.tensor(expected, dtype=torch.float64), atol=1e-13)


def test_number_of_invariants_is_that_of_the_papers() -> None:
    assert [num_invariants(radial) for radial in (1, 5, 7)] == [8, 360, 910]


def test_matrix_products_are_the_named_ones() -> None:
    psi = moments()(graph_of(molecule(atoms=4)))
    _, vector, matrix, cubic = psi
    names = ("nri,nsj->nrsij", "nrik,nskj->nrsij", "nrkli,nsklj->nrsij")
    for found, x, formula in zip(matrix_products(psi), (vector, matrix, cubic), names, strict=True):
        full = torch.einsum(formula, x, x)
        for place, (r, s) in enumerate(combinations_with_replacement(range(3), 2)):
            assert torch.allclose(found[:, place], 0.5 * (full[:, r, s] + full[:, r, s].mT), atol=1e-14)


def planar(numbers: list[int]) -> Tensor:
    """Points on the unit circle at multiples of 45 degrees."""
    angle = math.pi / 4 * torch.tensor(numbers, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=1)


def test_triples_tell_apart_what_pairs_cannot() -> None:
    """{0, 1, 3, 4} and {0, 1, 2, 5} of eight points on a circle have the same six distances and are not congruent.

    With z = sum of exp(i angle) and w = sum of exp(2 i angle), Psi_1 Psi_2 Psi_1 is (|z|^2 N + Re z^2 w*) / 2, where
    z^2 w* is -4 for the one and 4 for the other; contractions of two moments depend on the distances alone.
    """
    one, other = planar([0, 1, 3, 4]), planar([0, 1, 2, 5])
    assert torch.allclose(torch.pdist(one).sort().values, torch.pdist(other).sort().values)
    net = moments(kinds=1, radial=1)
    with torch.no_grad():  # the radial function is 1 at distance 1
        net.beta /= net(around(one[:1]))[0][0, 0]
    first, second = (invariants(net(around(points)))[0].tolist() for points in (one, other))
    assert first[:4] == pytest.approx(second[:4], abs=1e-12)
    assert first[0] == pytest.approx(4)
    assert (first[5], second[5]) == pytest.approx(((2 * 4 - 4) / 2, (2 * 4 + 4) / 2))


def test_features_separate_sets_with_the_same_distances() -> None:
    """A trapezoid and a kite with the distances 2, 4, sqrt 2 twice and sqrt 10 twice; sums of pair terms agree."""
    trapezoid = torch.tensor([[0, 0, 0], [4, 0, 0], [3, 1, 0], [1, 1, 0]], dtype=torch.float64)
    kite = torch.tensor([[0, -1, 0], [0, 1, 0], [1, 0, 0], [-3, 0, 0]], dtype=torch.float64)
    assert torch.allclose(torch.pdist(trapezoid).sort().values, torch.pdist(kite).sort().values)
    net, found = GaussianMoments(kinds=1, cutoff=5.0).double(), []
    for points in (trapezoid, kite):
        data = Structures.from_arrays(points, [1] * 4).with_neighbors(5.0)
        graph = PointGraph(
            data.edge_index, data.edge_vectors(), torch.zeros(4, dtype=torch.int64), data.structure, 1, points,
            torch.zeros(data.num_edges, 0, dtype=torch.float64),
        )  # fmt: skip
        found.append(invariants(net(graph)).sum(0))
    gaps = (found[0] - found[1]).abs()
    assert float(gaps[:5].max()) < 1e-12
    assert all(float(gaps[low:high].max()) > 1e-3 for low, high in ((5, 20), (20, 35), (50, 85), (85, 160), (235, 360)))


def test_output_at_start_does_not_depend_on_the_width() -> None:
    """Unit inputs give unit variance for any width: mean of squares over seeds, within four standard errors."""
    x = torch.randn(20, generator=torch.Generator().manual_seed(3))
    x = x / x.square().mean().sqrt()
    for width, seeds in ((16, 600), (128, 300), (512, 150)):
        values = torch.stack([ScaledPerceptron([20, width, width, 1], seed=s)(x).detach()[0] for s in range(seeds)])
        spread = 4 * math.sqrt(2 / seeds) * (1 + 8 / width)  # narrow networks have heavier tails
        assert float(values.square().mean()) == pytest.approx(1, abs=spread)


def test_activation_has_unit_mean_square() -> None:
    """One hidden layer whose weights are sqrt(n) times the identity returns the activation itself."""
    z = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    net = ScaledPerceptron([1, 1, 1]).double()
    with torch.no_grad():
        for weight in net.weights:
            weight.fill_(1)
        value = net(z[:, None])[:, 0]
        density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
        assert float(torch.trapezoid(value.square() * density, z)) == pytest.approx(1, abs=1e-6)
        for bias in net.biases:
            bias.fill_(1)  # biases count a tenth
        assert torch.allclose(net(z[:-200, None])[:, 0] - 0.1, torch.nn.functional.silu(z[:-200] + 0.1) * 1.676532)


def test_elements_scale_and_shift() -> None:
    graph = graph_of(molecule())
    net = GaussianMomentNetwork(kinds=3, cutoff=CUTOFF, radial=2, gaussians=4, width=8).double()
    plain = net(graph)
    with torch.no_grad():
        net.scale.copy_(torch.tensor([1.0, 2.0, 3.0]))
        net.shift.copy_(torch.tensor([0.0, 0.5, -1.0]))
    factor, added = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([0.0, 0.5, -1.0]).double()
    assert torch.allclose(net(graph), factor[graph.kind] * plain + added[graph.kind])
    assert float(plain[1:3].detach().abs().min()) > 0.1


def test_seeds_and_bad_options() -> None:
    one, same, other = (GaussianMomentNetwork(kinds=2, cutoff=3.0, width=4, seed=s).state_dict() for s in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["perceptron.weights.0"], other["perceptron.weights.0"])
    assert not torch.equal(one["moments.beta"], other["moments.beta"])
    for options in ({"kinds": 0}, {"radial": 0}, {"gaussians": 1}, {"neighbors": 0.0}, {"neighbors": math.nan}):
        with pytest.raises(InputError):
            moments(**options)
    with pytest.raises(InputError, match="sizes"):
        ScaledPerceptron([3])
