"""Vertices against linear programs and singular values; points of the sets and points outside."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from scipy.optimize import linprog

from polyad.errors import InputError
from polyad.optim.zeroth_order import sets


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def programmed(constraint: Any, cost: np.ndarray) -> float:
    """Least <v, cost> by a general linear program."""
    size = cost.size
    if isinstance(constraint, sets.L1Ball):  # v = p - q
        found = linprog(np.concatenate([cost, -cost]), A_ub=np.ones((1, 2 * size)), b_ub=[constraint.radius])
    elif isinstance(constraint, sets.Simplex):
        found = linprog(cost, A_eq=np.ones((1, size)), b_eq=[constraint.total])
    elif isinstance(constraint, sets.Box):
        found = linprog(cost, bounds=(-constraint.radius, constraint.radius))
    else:
        order = cost.shape[0]
        rows, columns = np.kron(np.eye(order), np.ones((1, order))), np.kron(np.ones((1, order)), np.eye(order))
        found = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.ones(2 * order))
    assert found.status == 0
    return float(found.fun)


@pytest.mark.parametrize("constraint", [sets.L1Ball(1.7), sets.Simplex(0.6), sets.Box(2.3), sets.Birkhoff()], ids=repr)
def test_vertices_are_those_of_linear_programs(constraint: Any) -> None:
    cost = normal(3, 2, *[5] * constraint.event_dimensions)
    vertex = constraint.vertex(cost)
    assert vertex.shape == cost.shape
    assert float(constraint.violation(vertex).max()) < 1e-15
    for run in range(3):
        for other in range(2):
            found = float((vertex[run, other] * cost[run, other]).sum())
            assert found == pytest.approx(programmed(constraint, cost[run, other].numpy()), abs=1e-8)


def test_vertices_of_balls_are_those_of_norms() -> None:
    cost = normal(4, 6)
    vertex = sets.L2Ball(1.3).vertex(cost)
    assert torch.allclose((vertex * cost).sum(-1), -1.3 * torch.linalg.vector_norm(cost, dim=-1), atol=1e-12)
    assert torch.allclose(torch.linalg.vector_norm(vertex, dim=-1), torch.full((4,), 1.3, dtype=torch.float64))
    cost = normal(4, 7, 5, seed=1)
    vertex = sets.NuclearBall(1.3, iterations=3000, tolerance=0).vertex(cost)
    largest = torch.linalg.svdvals(cost)[..., 0]
    assert torch.allclose((vertex * cost).sum((-2, -1)), -1.3 * largest, atol=1e-8)
    singular = torch.linalg.svdvals(vertex)
    assert torch.allclose(singular[..., 0], torch.full((4,), 1.3, dtype=torch.float64))
    assert float(singular[..., 1:].max()) < 1e-12


def test_power_iteration_ends_by_its_tolerance_near_the_singular_value() -> None:
    matrix = normal(60, 40)
    left, right = sets.top_singular_pair(matrix, iterations=1000, tolerance=1e-5)
    value, largest = float(left @ matrix @ right), float(torch.linalg.matrix_norm(matrix, 2))
    assert 0.99 * largest < value <= largest * (1 + 1e-12)
    finer = sets.top_singular_pair(matrix, iterations=1000)
    assert value < float(finer[0] @ matrix @ finer[1])
    for scale in (1e-200, 1e200):  # squares would vanish or overflow
        scaled = sets.top_singular_pair(matrix * scale, iterations=1000)
        assert torch.allclose(scaled[0], finer[0], atol=1e-8)


@pytest.mark.parametrize(
    ("constraint", "shape"),
    [
        (sets.L1Ball(0.5), (4,)),
        (sets.Simplex(0.5), (4,)),
        (sets.L2Ball(0.5), (4,)),
        (sets.Box(0.5), (4,)),
        (sets.NuclearBall(0.5), (4, 3)),
        (sets.Birkhoff(), (4, 4)),
    ],
    ids=str,
)
def test_diameters_hold_for_all_vertices_and_are_reached(constraint: Any, shape: tuple[int, ...]) -> None:
    cost = normal(300, *shape)
    vertices = torch.cat([constraint.vertex(cost), constraint.vertex(-cost)]).flatten(1)
    diameter = constraint.diameter(shape)
    distances = torch.cdist(vertices, vertices, compute_mode="donot_use_mm_for_euclid_dist")
    assert float(distances.max()) == pytest.approx(diameter, rel=1e-6)
    zero = constraint.vertex(torch.zeros(shape, dtype=torch.float64))
    assert float(constraint.violation(zero)) < 1e-15


def test_violations() -> None:
    x = torch.tensor([[0.5, -0.25, 0.5], [0.3, 0.4, 0.3]], dtype=torch.float64)
    assert sets.L1Ball(1.0).violation(x).tolist() == pytest.approx([0.25, 0.0])
    assert sets.Simplex(1.0).violation(x).tolist() == pytest.approx([0.25, 0.0])
    assert sets.L2Ball(0.5).violation(x).tolist() == pytest.approx([0.25, math.sqrt(0.34) - 0.5])
    assert sets.Box(0.4).violation(x).tolist() == pytest.approx([0.1, 0.0])
    matrix = torch.diag(torch.tensor([2.0, -1.0], dtype=torch.float64))
    assert float(sets.NuclearBall(2.5).violation(matrix)) == pytest.approx(0.5)
    assert float(sets.Birkhoff().violation(matrix)) == pytest.approx(2.0)
    shifted = torch.tensor([[1.1, -0.1], [-0.1, 1.1]], dtype=torch.float64)
    assert float(sets.Birkhoff().violation(shifted)) == pytest.approx(0.1)


def test_dtypes_stay() -> None:
    for constraint in (sets.L1Ball(), sets.Simplex(), sets.L2Ball(), sets.Box(), sets.NuclearBall(), sets.Birkhoff()):
        assert constraint.vertex(torch.ones(2, 3, 3)).dtype == torch.float32


def test_bad_input_is_refused() -> None:
    for call in (
        lambda: sets.L1Ball(0.0),
        lambda: sets.Simplex(-1.0),
        lambda: sets.L2Ball(math.nan),
        lambda: sets.Box(math.inf),
        lambda: sets.NuclearBall(1.0, iterations=0),
    ):
        with pytest.raises(InputError, match="positive"):
            call()
    bad = torch.ones(3, 3) * math.nan
    for constraint in (sets.L1Ball(), sets.Simplex(), sets.L2Ball(), sets.Box(), sets.NuclearBall(), sets.Birkhoff()):
        with pytest.raises(InputError, match="NaN"):
            constraint.vertex(bad)
    with pytest.raises((InputError, TypeCheckError)):  # the second is the types' own check under test
        sets.Birkhoff().vertex(torch.ones(2, 3))
