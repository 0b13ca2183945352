"""Variables keep the density, what is frozen and the symmetry; constraints and their derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice import Tube, named_cell
from polyad.materials.lattice.design import (
    AtMost,
    CellStretch,
    Clearance,
    Isotropy,
    Overhang,
    RadiusBounds,
    Slenderness,
    StiffnessAlong,
    StrutLength,
)
from polyad.materials.lattice.design.clearance import segment_distance
from polyad.materials.lattice.design.geometry import geometry_of
from polyad.materials.lattice.design.problem import Problem
from polyad.materials.lattice.design.radii import admissible_radii
from polyad.materials.lattice.design.variables import make_variables
from polyad.materials.lattice.solids.printing import clearances
from tests.materials.lattice.seeds import random_net

PARTS = ("positions", "radius", "cell")


def net(seed: int = 1):
    return random_net(seed, nodes=5, extra=4).with_density(0.01)


def some_point(count: int, size: float = 0.05, seed: int = 0) -> np.ndarray:
    return size * np.random.default_rng(seed).standard_normal(count)


@pytest.mark.parametrize("section", [None, Tube(0.5)])
def test_density_and_volume_are_exact_at_every_point(section) -> None:
    start = net()
    variables = make_variables(start, density=0.02, vary=PARTS, frozen_struts=[3], section=section)
    assert variables.sizes == [3 * (5 - 2), start.num_edges - 2, 8]
    for seed in range(5):
        geometry = variables.geometry(torch.from_numpy(some_point(variables.count, 0.2, seed)))
        factor = 1.0 if section is None else 1 - section.bore**2
        volume = float(torch.linalg.det(geometry.cell).abs())
        density = factor * math.pi * float((geometry.radius**2 * geometry.length).sum()) / volume
        assert density == pytest.approx(0.02, rel=1e-13)
        assert volume == pytest.approx(float(start.volume), rel=1e-12)
        assert float(geometry.radius[3]) == float(start.radius[3])


def test_frozen_nodes_keep_their_fractional_coordinates() -> None:
    start = net()
    variables = make_variables(start, density=0.01, vary=PARTS, frozen_nodes=[0, 2])
    geometry = variables.geometry(torch.from_numpy(some_point(variables.count, 0.2)))
    fractional = geometry.positions @ torch.linalg.inv(geometry.cell)
    torch.testing.assert_close(fractional[[0, 2]], start.fractional[[0, 2]])
    assert float((fractional - start.fractional)[[1, 3, 4]].abs().min()) > 1e-6


def test_translations_are_no_variables() -> None:
    variables = make_variables(net(), density=0.01)
    assert float(variables.displacements.sum(dim=1).abs().max()) < 1e-12
    assert float(variables.log_radii.sum(dim=1).abs().max()) < 1e-12


def test_tangent_agrees_with_automatic_differentiation() -> None:
    variables = make_variables(net(), density=0.01, vary=PARTS, frozen_struts=[2], section=Tube(0.3))
    point = torch.from_numpy(some_point(variables.count))
    tangent = variables.tangent(point)
    for name in ("cell", "positions", "vectors", "radius"):
        jacobian = torch.autograd.functional.jacobian(lambda z, name=name: getattr(variables.geometry(z), name), point)
        torch.testing.assert_close(getattr(tangent, name), jacobian.movedim(-1, 0), rtol=1e-9, atol=1e-11)


def make_problem(constraints, objective=None) -> Problem:
    start = net()
    variables = make_variables(start, density=0.01, vary=PARTS, frozen_struts=[2])
    return Problem(variables, objective or StiffnessAlong([0, 0, 1]), constraints, {}, [geometry_of(start)])


CONSTRAINTS = [
    RadiusBounds(0.01, 0.05),
    Slenderness(0.3),
    StrutLength(0.2),
    Overhang(60.0, (1.0, 2.0, 3.0)),
    Clearance(0.1),
    CellStretch(1.3),
    AtMost(Isotropy(), 0.5),
]


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda x: x.name)
def test_derivatives_of_margins(constraint) -> None:
    problem = make_problem([constraint])
    point = some_point(problem.variables.count, 0.02)
    jacobian, count = problem.jacobian(point), len(problem.evaluate(point).margins)
    assert count > 0
    step = 1e-6
    for k, unit in enumerate(np.eye(len(point))):
        difference = problem.evaluate(point + step * unit).margins - problem.evaluate(point - step * unit).margins
        np.testing.assert_allclose(jacobian[:, k], difference / (2 * step), atol=1e-6, rtol=1e-6)
    weights = np.random.default_rng(1).standard_normal(count)
    np.testing.assert_allclose(problem.pull_back(point, weights), weights @ jacobian, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("objective", [StiffnessAlong([0, 0, 1]) + 0.3 * Isotropy(), Isotropy("log_euclidean")])
def test_derivatives_of_the_objective(objective) -> None:
    problem = make_problem([], objective)
    point = some_point(problem.variables.count, 0.02)
    gradient, step = problem.gradient(point), 1e-5
    differences = [
        (problem.evaluate(point + step * u).value - problem.evaluate(point - step * u).value) / (2 * step)
        for u in np.eye(len(point))
    ]
    np.testing.assert_allclose(gradient, differences, atol=1e-6, rtol=1e-6)
    residuals = problem.residuals(point)
    if residuals is not None:
        np.testing.assert_allclose(2 * residuals @ problem.residual_jacobian(point), gradient, rtol=1e-6, atol=1e-8)


def test_segment_distance_against_sampling() -> None:
    between, u, w = torch.randn(3, 40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w[0], u[0] = torch.tensor([2.0, 0, 0]), torch.tensor([1.0, 0, 0])  # parallel
    steps = torch.linspace(0, 1, 401, dtype=torch.float64)
    first = steps[:, None, None] * u
    second = between + steps[:, None, None] * w
    sampled = torch.stack([torch.cdist(first[:, k], second[:, k]).min() for k in range(40)])
    exact = segment_distance(between, u, w)
    assert bool((exact <= sampled + 1e-12).all())
    torch.testing.assert_close(exact, sampled, atol=1e-2, rtol=0)


def test_clearance_agrees_with_the_printability_check() -> None:
    start = random_net(4, nodes=6, extra=8, radius=0.02)
    gap = 0.3
    bound = Clearance(gap).bind(start, [geometry_of(start)])
    margins = bound.values(geometry_of(start)) * start.edge_lengths.mean()
    _, gaps = clearances(start, gap)
    broken = margins[margins < 0].sort().values
    assert len(broken) > 3
    torch.testing.assert_close(broken, gaps - gap, rtol=1e-9, atol=1e-12)


def test_margins_by_hand() -> None:
    lattice = named_cell("bcc", density=0.02)  # all struts lean acos(1/sqrt 3) = 54.74 degrees and are alike
    geometry = geometry_of(lattice)
    length, radius = float(lattice.edge_lengths[0]), float(lattice.radius[0])
    expected = {
        RadiusBounds(0.5 * radius, 3 * radius): [math.log(2)] * 4 + [math.log(3)] * 4,
        StrutLength(0.5 * length): [1.0] * 4,
        Slenderness(0.25): [math.log(0.25 * length / radius)] * 4,
        Overhang(60.0): [3**-0.5 - 0.5] * 4,
    }
    for constraint, values in expected.items():
        torch.testing.assert_close(constraint.bind(lattice, [geometry]).values(geometry), torch.tensor(values).double())


def test_admissible_radii_hold_density_and_bounds() -> None:
    start = net(3)
    start = start.replace(radius=start.radius * torch.linspace(0.3, 2, start.num_edges)).with_density(0.01)
    rigid = torch.ones(start.num_edges, dtype=torch.bool)
    bounds = RadiusBounds(0.8 * float(start.radius.mean()), 1.4 * float(start.radius.mean()))
    section, frozen = make_variables(start, density=0.01).section, ~rigid
    radius = admissible_radii(start, (bounds,), density=0.01, section=section, frozen=frozen, rigid=rigid)
    assert float(start.replace(radius=radius).relative_density) == pytest.approx(0.01, rel=1e-12)
    assert float(radius.min()) >= bounds.minimum
    assert float(radius.max()) <= bounds.maximum
    inside = (radius > bounds.minimum) & (radius < bounds.maximum)
    ratio = (radius / start.radius)[inside]
    assert len(ratio) > 1
    torch.testing.assert_close(ratio, ratio[0].expand_as(ratio))  # the same scale for all that are free


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vary": ("position",)}, "vary"),
        ({"vary": "radius"}, "vary"),
        ({"frozen_nodes": [5]}, "frozen_nodes"),
        ({"frozen_struts": [-1]}, "frozen_struts"),
        ({"frozen_struts": range(net().num_edges)}, "all struts are frozen"),
    ],
)
def test_bad_freedom(options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_variables(net(), density=0.01, **options)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RadiusBounds(),
        lambda: RadiusBounds(0.2, 0.1),
        lambda: RadiusBounds(-1.0),
        lambda: Slenderness(0.6),
        lambda: StrutLength(0.0),
        lambda: Overhang(95.0),
        lambda: Overhang(45.0, (0.0, 0.0, 0.0)),
        lambda: Clearance(-0.1),
        lambda: CellStretch(1.0),
        lambda: AtMost(Isotropy(), math.nan),
    ],
)
def test_bad_constraints(make) -> None:
    with pytest.raises(InputError):
        make()
