"""Pareto fronts with a known trade-off: stiffness along x against stiffness along z of the simple cubic net."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.elasticity import young_modulus
from polyad.materials.lattice.design import Custom, StiffnessAlong, pareto_front
from tests.materials.lattice.seeds import simple_cubic

DENSITY = 0.03
X, Z = [1.0, 0, 0], [0, 0, 1.0]


def share(stiffness: Tensor, direction: list[float]) -> Tensor:
    """Part of the material that stretches along a direction: E(n) = rho_n E for the simple cubic net."""
    return young_modulus(stiffness, torch.tensor(direction, dtype=torch.float64)) / DENSITY


def test_convex_front_is_the_known_one() -> None:
    front = pareto_front(simple_cubic(), StiffnessAlong(X), StiffnessAlong(Z), density=DENSITY, points=4)
    assert len(front) == 4
    moduli = (-front.values).exp() / DENSITY
    # struts along y are useless and shrink to the least radius, a tenth of the uniform one
    torch.testing.assert_close(moduli.sum(dim=1), torch.full((4,), 1 - 1 / 300).double(), rtol=1e-4, atol=0)
    assert float(moduli.max()) == pytest.approx(1 - 2 / 300, rel=1e-3)
    assert all(result.feasible for result in front.designs)


def test_concave_front_is_found_too() -> None:
    # x = s_x^2 against z = s_z^2 with s_x + s_z = const: every weighted sum has its minimum at an end
    first = Custom(lambda stiffness: -share(stiffness, X).square(), "x")
    second = Custom(lambda stiffness: -share(stiffness, Z).square(), "z")
    done = []
    front = pareto_front(simple_cubic(), first, second, density=DENSITY, points=4, progress=lambda *x: done.append(x))
    assert len(front) == 4
    assert done[-1] == (10, 10)
    root = (-front.values).sqrt()
    torch.testing.assert_close(root.sum(dim=1), torch.full((4,), 1 - 1 / 300).double(), rtol=1e-4, atol=0)
    inside = front.values[1:-1]
    assert float(inside[:, 0].min()) > float(front.values[0, 0]) + 0.1
    assert float(inside[:, 1].min()) > float(front.values[-1, 1]) + 0.1
    for before, after in itertools.pairwise(front.values.tolist()):
        assert after[0] > before[0]
        assert after[1] < before[1]


def test_bad_number_of_points() -> None:
    with pytest.raises(InputError, match="points"):
        pareto_front(simple_cubic(), StiffnessAlong(X), StiffnessAlong(Z), density=DENSITY, points=1)
