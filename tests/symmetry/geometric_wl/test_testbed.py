"""The structures themselves: distances, angles, sums of harmonics, and why the printed points do not serve."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.symmetry.geometric_wl import counterexamples, distinguishable, geometric_graph, k_chains, rotsym
from polyad.symmetry.spherical_harmonics import spherical_harmonics, split_degrees


def harmonic_sums(fold: int, angle: float, lmax: int) -> tuple[Tensor, ...]:
    _, star = rotsym(fold, angle)
    return split_degrees(spherical_harmonics(star.positions[1:], lmax).sum(0))


@pytest.mark.parametrize("fold", [2, 3, 5, 10])
def test_orders_below_the_fold_do_not_see_the_angle(fold: int) -> None:
    one, other = harmonic_sums(fold, 0.0, fold), harmonic_sums(fold, 0.37, fold)
    for degree in range(fold):
        assert torch.allclose(one[degree], other[degree], atol=1e-10)
        away = one[degree].clone()
        away[degree] = 0.0  # m = 0 alone survives
        assert float(away.abs().max()) < 1e-10
    assert float((one[fold] - other[fold]).abs().max()) > 0.1
    assert float((one[fold] - harmonic_sums(fold, 2 * math.pi / fold, fold)[fold]).abs().max()) < 1e-10


def sets_of(points: Tensor, size: int) -> Counter[Any]:
    """Sorted distances within every set of `size` points and the origin, which know the set up to reflections."""
    found: Counter[Any] = Counter()
    for chosen in itertools.combinations(points, size):
        rows = []
        for order in itertools.permutations(chosen):
            stacked = torch.stack(order)
            gram = stacked @ stacked.T
            rows.append(tuple((gram * 1e6).round().long().flatten().tolist()))
        found[min(rows)] += 1
    return found


@pytest.mark.parametrize("case", [2, 3, 4, "chiral"])
def test_counterexamples_share_all_smaller_sets(case: Any) -> None:
    first, second = (graph.positions[1:] for graph in counterexamples(case))
    order = 4 if case == "chiral" else case
    for size in range(1, order):
        assert sets_of(first, size) == sets_of(second, size)
    if case == "chiral":
        assert sets_of(first, 4) == sets_of(second, 4)
    else:
        assert sets_of(first, order) != sets_of(second, order)


def test_coordinates_are_the_published_ones() -> None:
    first, second = counterexamples(2)
    assert first.positions.tolist() == [[0, 0, 0], [5, 0, 0], [3, 0, 4]]
    assert second.positions.tolist() == [[0, 0, 0], [5, 0, 0], [-5, 0, 0]]
    assert counterexamples(3)[1].positions[3:].tolist() == [[-5, -5, 5], [0, -5, 5]]
    assert counterexamples("chiral")[0].positions[1:].tolist() == [[3, 0, -4], [0, 0, 5], [-4, 0, -3], [0, 5, 0]]
    one, other = k_chains(3)
    assert one.positions.tolist() == [[-4, -3, 0], [0, 0, 0], [0, 5, 0], [0, 10, 0], [-4, 13, 0]]
    assert other.positions[-1].tolist() == [4, 13, 0]
    lengths = torch.linalg.vector_norm(one.edge_vectors, dim=1)
    assert torch.equal(lengths, torch.full((8,), 5.0, dtype=torch.float64))


def test_isosceles_triangles_do_not_serve() -> None:
    """With (-3, 0, -4) for the third point, as printed in notebooks, a rotation maps one of a pair onto the other."""
    star = torch.stack([torch.zeros(7, dtype=torch.long), torch.arange(1, 8)])
    triangle = torch.tensor([[3.0, 0, -4], [0, 0, 5], [-3, 0, -4]], dtype=torch.float64)
    cosine, sine = math.cos(0.2 * math.pi), math.sin(0.2 * math.pi)
    turn = torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], dtype=torch.float64)
    up, origin = torch.tensor([[0.0, 2, 0]], dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)
    tetrahedra, chiral = [], []
    for sign in (1, -1):
        last = torch.tensor([[0.0, 5 * sign, 0]], dtype=torch.float64)
        points = torch.cat([origin, triangle + up, triangle @ turn.T - up, last])
        tetrahedra.append(geometric_graph(points, star))
        chiral.append(geometric_graph(torch.cat([origin, triangle, last]), star[:, :4]))
    assert not distinguishable(*tetrahedra, group="SO(3)", body_orders=())
    assert not distinguishable(*chiral, group="SO(3)", body_orders=())


def test_bad_input_is_refused() -> None:
    calls: list[Any] = [lambda: k_chains(1), lambda: rotsym(0, 0.1), lambda: rotsym(2, math.nan)]
    for call in calls:
        with pytest.raises(InputError):
            call()
