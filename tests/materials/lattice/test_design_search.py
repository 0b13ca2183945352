"""Whole designs: known optima, constraints, several starts, bad input."""

from __future__ import annotations

import itertools
import math
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from polyad.errors import ConvergenceError, InputError, NumericalWarning
from polyad.materials.elasticity import poisson_ratio, universal_anisotropy, young_modulus
from polyad.materials.lattice import StrutLattice, Tube, effective_stiffness, named_cell
from polyad.materials.lattice.design import (
    AtMost,
    BulkModulus,
    Clearance,
    Design,
    Isotropy,
    MatchTarget,
    Overhang,
    PoissonRatio,
    RadiusBounds,
    StiffnessAlong,
    StrutLength,
    design,
    find_symmetry,
    printer_limits,
)
from polyad.materials.lattice.design.gauss_newton import constrained_step
from polyad.materials.lattice.solids.printing import printability
from polyad.tensors.notation import rotation_mandel
from tests.materials.lattice.seeds import body_centred_with_cube, random_net, simple_cubic

Z = [0.0, 0.0, 1.0]
UP = torch.tensor(Z, dtype=torch.float64)


def irregular(seed: int = 3, size: tuple[int, int, int] = (2, 2, 1)) -> StrutLattice:
    return simple_cubic().tile(size).perturb(0.1, seed=seed)


@pytest.mark.parametrize("method", ["auto", "slsqp", "l-bfgs-b", "trust-constr"])
@pytest.mark.parametrize("density", [1e-4, 0.05])
def test_cubic_cell_becomes_isotropic(method: str, density: float) -> None:
    start = body_centred_with_cube()
    found = design(start, Isotropy(), density=density, method=method)
    assert found.feasible
    assert float(universal_anisotropy(found.stiffness)) < 1e-6 < float(universal_anisotropy(effective_stiffness(start)))
    assert float(found.lattice.relative_density) == pytest.approx(density, rel=1e-12)
    volume = found.lattice.radius**2 * found.lattice.edge_lengths
    # slender limit: axial struts of both families give c11 - c12 = 2 c44 where bcc holds 3/2 of the cube's material
    assert float(volume[3:].sum() / volume[:3].sum()) == pytest.approx(1.5, rel=1e-4 if density < 1e-3 else 1e-2)


@pytest.mark.parametrize("method", ["slsqp", "l-bfgs-b", "trust-constr"])
def test_simple_cubic_is_stiffened_to_its_known_optimum(method: str) -> None:
    found = design(simple_cubic(), StiffnessAlong(Z), density=0.03, method=method)
    # E(z) = rho_z E, and the other two thirds shrink to the least radius, a tenth: rho_x = rho_y = rho / 300
    assert float(young_modulus(found.stiffness, UP)) == pytest.approx(0.03 * (1 - 2 / 300), rel=1e-4)
    assert found.start_quantities["E(0, 0, 1)"] == pytest.approx(0.01, rel=1e-9)
    assert found.feasible
    assert found.density == pytest.approx(0.03, rel=1e-12)


def test_a_modulus_as_goal_is_reached() -> None:
    found = design(simple_cubic(), StiffnessAlong(Z, goal=0.02), density=0.03)
    assert found.quantities["E(0, 0, 1)"] == pytest.approx(0.02, rel=1e-6)
    assert found.iterations < 10


def test_irregular_net_is_stiffened_along_z() -> None:
    found = design(irregular(), StiffnessAlong(Z), density=0.01, iterations=15)
    assert found.quantities["E(0, 0, 1)"] > 1.5 * found.start_quantities["E(0, 0, 1)"]
    assert found.feasible


@pytest.mark.parametrize("metric", ["frobenius", "log_euclidean"])
def test_reachable_target_is_recovered(metric: str) -> None:
    start = irregular(5, (2, 2, 2)).with_density(0.03)
    target = effective_stiffness(start.perturb(0.08, seed=1).with_density(0.03))
    assert float((effective_stiffness(start) - target).norm() / target.norm()) > 0.1
    found = design(start, MatchTarget(target, metric), density=0.03)
    assert float((found.stiffness - target).norm() / target.norm()) < 1e-6
    assert found.iterations < 40


def test_auxetic_from_a_convex_honeycomb() -> None:
    start = named_cell("honeycomb_prism", primitive=False)
    across, along = [1.0, 0, 0], [0, 1.0, 0]
    found = design(start, PoissonRatio(across, along, goal=-0.4), density=0.03, starts=3, iterations=60)
    assert found.start_quantities.popitem()[1] > 0.5
    x, y = torch.eye(3, dtype=torch.float64)[:2]
    assert float(poisson_ratio(found.stiffness, x, y)) < -0.3


def test_bulk_modulus_bound_is_reached() -> None:
    found = design(body_centred_with_cube(), BulkModulus(), density=1e-3)
    assert found.quantities["K"] == pytest.approx(1e-3 / 9, rel=1e-6)  # every strut stretches alike already


def test_frame_options_are_used() -> None:
    frame = {"young_modulus": 5.0, "section": Tube(0.5), "shear": False}
    found = design(simple_cubic(), StiffnessAlong(Z, goal=0.2), density=0.06, frame=frame)
    assert found.quantities["E(0, 0, 1)"] == pytest.approx(0.2, rel=1e-6)
    assert found.density == pytest.approx(0.06, rel=1e-12)
    assert float(found.lattice.relative_density) == pytest.approx(0.06 / 0.75, rel=1e-9)  # outer diameters


@pytest.mark.parametrize("method", ["slsqp", "l-bfgs-b"])
def test_constraints_are_kept_and_bind(method: str) -> None:
    start = named_cell("bcc", primitive=False).tile((1, 1, 2)).perturb(0.06, seed=2)
    limits = {"cell_size_mm": 5.0, "minimum_diameter_mm": 0.25, "maximum_overhang_deg": 58.0, "minimum_gap_mm": 0.5}
    assert not printability(start.with_density(0.02), **limits).printable
    constraints = (*printer_limits(start, **limits), StrutLength(0.7), RadiusBounds(maximum=0.05))
    free = design(start, StiffnessAlong([1.0, 0, 0]), density=0.02, method=method, iterations=40)
    found = design(
        start, StiffnessAlong([1.0, 0, 0]), density=0.02, method=method, constraints=constraints, iterations=150
    )
    assert found.feasible, found.complaint
    assert set(found.violations) >= {"radius bounds", "overhang", "clearance", "strut length", "radius bounds (2)"}
    assert printability(found.lattice, **limits).printable
    assert float(found.lattice.edge_lengths.min()) > 0.7 - 1e-6
    assert float(found.lattice.radius.max()) < 0.05 * (1 + 1e-6)
    assert not printability(free.lattice, **limits).printable
    assert found.start_quantities.popitem()[1] < found.quantities.popitem()[1] < free.quantities.popitem()[1]


def test_stiffness_constraint_holds() -> None:
    free = design(body_centred_with_cube(), StiffnessAlong(Z), density=0.02)
    bound = AtMost(Isotropy(), 1e-3)
    found = design(body_centred_with_cube(), StiffnessAlong(Z), density=0.02, constraints=[bound])
    reached = float(Isotropy().value(found.stiffness))
    assert reached == pytest.approx(1e-3, rel=1e-2)  # active
    assert float(Isotropy().value(free.stiffness)) > 0.1
    assert found.objective > free.objective


def test_symmetry_is_kept() -> None:
    start = named_cell("kelvin", primitive=False)
    group = find_symmetry(start)
    whole = design(start, StiffnessAlong(Z), density=0.02, symmetry=True)
    assert whole.symmetry == "Im-3m"
    assert whole.iterations == 0  # nothing may change
    tetragonal = group.fixing(UP)
    found = design(start, StiffnessAlong(Z), density=0.02, symmetry=tetragonal, iterations=20)
    turn = rotation_mandel(tetragonal.rotations)
    error = (turn @ found.stiffness @ turn.mT - found.stiffness).abs().max()
    assert float(error) < 1e-9 * float(found.stiffness.abs().max())
    assert found.objective < whole.objective - 0.01
    assert find_symmetry(found.lattice, tolerance=1e-7).order >= tetragonal.order
    assert find_symmetry(found.lattice, tolerance=1e-7).order < group.order


def test_frozen_parts_stay() -> None:
    start = irregular().with_density(0.01)
    found = design(start, StiffnessAlong(Z), density=0.01, frozen_struts=[0], frozen_nodes=[2], iterations=5)
    fixed = sorted({2, *start.edge_index[:, 0].tolist()})
    torch.testing.assert_close(found.lattice.positions[fixed], start.positions[fixed], rtol=0, atol=1e-12)
    assert float(found.lattice.radius[0]) == pytest.approx(float(start.radius[0]), rel=1e-12)
    assert found.density == pytest.approx(0.01, rel=1e-12)
    assert found.objective < float(StiffnessAlong(Z).value(effective_stiffness(start)))


@pytest.mark.parametrize("method", ["l-bfgs-b", "auto"])
def test_history_is_monotone_where_promised(method: str) -> None:
    start = irregular().with_density(0.01)
    target = effective_stiffness(start.perturb(0.05, seed=2).with_density(0.01))
    found = design(start, MatchTarget(target), density=0.01, method=method, iterations=20)
    history = found.history
    assert len(history) == found.iterations + 1 > 5
    assert float(history.violation.max()) == 0  # nothing binds, so the merit is the objective
    assert bool((history.objective.diff() <= 1e-14).all())
    assert bool((history.density - 0.01).abs().max() < 1e-12)
    for step in (0, len(history) - 1):
        row = history[step]
        lattice = start.replace(cell=row["cell"], positions=row["positions"], radius=row["radius"])
        torch.testing.assert_close(effective_stiffness(lattice), row["stiffness"], rtol=1e-9, atol=1e-14)
        assert float(MatchTarget(target).value(row["stiffness"])) == pytest.approx(float(row["objective"]), abs=1e-15)


def test_constrained_step_meets_the_optimality_conditions() -> None:
    generator = np.random.default_rng(0)
    residuals, slopes = generator.standard_normal(4), generator.standard_normal((4, 6))
    margins, bends = generator.standard_normal(5) - 0.2, generator.standard_normal((5, 6))
    step, multipliers = constrained_step(residuals, slopes, 0.3, margins, bends)
    kept = margins + bends @ step
    assert kept.min() > -1e-12
    assert multipliers.min() >= 0
    assert 0 < (multipliers > 1e-6).sum() < 5
    np.testing.assert_allclose(multipliers * kept, 0, atol=1e-10)
    gradient = 2 * slopes.T @ (residuals + slopes @ step) + 2 * 0.3 * step
    np.testing.assert_allclose(gradient, bends.T @ multipliers, atol=1e-10)
    contradiction = np.vstack([bends[0], -bends[0]])
    assert constrained_step(residuals, slopes, 0.3, np.array([-1.0, -1.0]), contradiction)[0] is None


def same(first: Design, second: Design) -> bool:
    return first.to_json() == second.to_json()


def test_result_does_not_depend_on_the_executor() -> None:
    options = {"density": 0.01, "starts": 3, "seed": 7, "iterations": 6, "constraints": (Clearance(0.01),)}
    alone = design(irregular(), StiffnessAlong(Z), **options)
    assert len({start.objective for start in alone.starts}) == 3
    with ThreadPoolExecutor(3) as threads:
        assert same(alone, design(irregular(), StiffnessAlong(Z), executor=threads, **options))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        assert same(alone, design(irregular(), StiffnessAlong(Z), executor=processes, **options))
    other = design(irregular(), StiffnessAlong(Z), **(options | {"seed": 8}))
    assert [x.objective for x in other.starts[1:]] != [x.objective for x in alone.starts[1:]]
    assert other.starts[0] == alone.starts[0]


def test_the_best_start_wins() -> None:
    found = design(irregular(), StiffnessAlong(Z), density=0.01, starts=3, iterations=5)
    objectives = [start.objective for start in found.starts]
    assert found.objective == pytest.approx(min(objectives), rel=1e-12)
    assert found.start == objectives.index(min(objectives))


def test_json_is_lossless() -> None:
    found = design(irregular(), StiffnessAlong(Z), density=0.01, iterations=4, frame={"shear": False})
    back = Design.from_json(found.to_json())
    assert same(found, back)
    assert torch.equal(back.lattice.positions, found.lattice.positions)
    assert torch.equal(back.history.stiffness, found.history.stiffness)
    assert back.starts == found.starts
    for text in ("", "[]", "{}", found.to_json()[:-30], found.to_json().replace('"radius": [', '"radius": ["x", ')):
        with pytest.raises(InputError, match="design"):
            Design.from_json(text)


def test_stopping() -> None:
    steps = []
    found = design(
        irregular(), StiffnessAlong(Z), density=0.01, callback=steps.append, should_stop=lambda: len(steps) > 3
    )
    assert found.reason == "stopped by the caller"
    assert [step.iteration for step in steps] == [0, 1, 2, 3]
    assert len(found.history) == 4
    goal = float(found.history.objective[1])
    assert design(irregular(), StiffnessAlong(Z), density=0.01, goal=goal).reason == "goal reached"
    assert design(irregular(), StiffnessAlong(Z), density=0.01, seconds=0.0).reason == "time limit"
    assert design(irregular(), StiffnessAlong(Z), density=0.01, iterations=2).reason == "iteration limit"
    done = []
    design(simple_cubic(), StiffnessAlong(Z), density=0.01, starts=2, iterations=1, progress=lambda *x: done.append(x))
    assert done == [(1, 2), (2, 2)]


def test_infeasible_is_never_silent() -> None:
    # diamond's four struts cannot all lean less than 50 degrees in its own cell
    with pytest.warns(NumericalWarning, match="overhang"):
        found = design(named_cell("diamond"), BulkModulus(), density=0.02, constraints=[Overhang(50.0)], iterations=15)
    assert not found.feasible
    assert found.violations["overhang"] > 0.01
    with pytest.raises(ConvergenceError, match="overhang"):
        found.require_feasible()


def test_float32_start_is_untouched() -> None:
    start = irregular().to(dtype=torch.float32)
    before = start.positions.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = design(start, StiffnessAlong(Z), density=0.01, iterations=2)
    assert torch.equal(start.positions, before)
    assert found.lattice.positions.dtype == torch.float64


def test_more_freedom_never_hurts() -> None:
    start = random_net(2, nodes=3, extra=3)
    objectives = [
        design(start, Isotropy(), density=0.01, vary=vary, iterations=20).objective
        for vary in (("radius",), ("positions", "radius"), ("positions", "radius", "cell"))
    ]
    assert all(better <= worse + 1e-9 for worse, better in itertools.pairwise(objectives))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 0.0}, "density"),
        ({"density": math.nan}, "density"),
        ({"starts": 0}, "starts"),
        ({"iterations": 0}, "iterations"),
        ({"spread": -1.0}, "spread"),
        ({"frame": {"young": 1.0}}, "frame"),
        ({"constraints": [RadiusBounds(0.2)]}, "density: .* below"),
        ({"constraints": [RadiusBounds(maximum=0.01)]}, "density: .* above"),
        ({"constraints": [RadiusBounds(0.6)]}, "strut 0"),
        ({"constraints": [Overhang(45.0)]}, "'overhang' and cannot change"),
        ({"constraints": [StrutLength(2.0)]}, "'strut length' and cannot change"),
        ({"objective": StiffnessAlong(Z, goal=0.05)}, "goal lies beyond"),
        ({"objective": BulkModulus(goal=0.02)}, "goal lies beyond"),
        ({"goal": -5.0, "objective": BulkModulus()}, None),
        ({"goal": 3.0, "objective": StiffnessAlong(Z)}, "goal: 3 lies below"),
        ({"constraints": [AtMost(StiffnessAlong(Z), 3.0)]}, "objective bound: 3 lies below"),
        ({"frozen_struts": [0, 1], "density": 1e-4}, "density"),
        ({"method": "gauss-newton", "objective": StiffnessAlong(Z)}, "sum of squares"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options, message) -> None:
    options = {"density": 0.03, "objective": StiffnessAlong(Z)} | options
    objective = options.pop("objective")
    with pytest.raises(InputError, match=message) as caught:
        design(simple_cubic(radius=0.06), objective, **options)
    assert "\n" not in str(caught.value)
