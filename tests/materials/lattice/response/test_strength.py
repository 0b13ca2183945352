"""Strut forces, first yield and buckling against textbook elements, closed forms and the laws of statics."""

import math

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice import (
    LatticeBatch,
    Square,
    StrutLattice,
    Tube,
    buckling_strength,
    effective_stiffness,
    homogenize,
    strut_forces,
    yield_strength,
)
from polyad.materials.lattice.response import strength
from polyad.tensors.notation import mandel_to_strain, strain_to_mandel
from polyad.testing import assert_convergence_order
from tests.materials.lattice.response.textbook_frames import periodic_end_forces
from tests.materials.lattice.seeds import (
    body_centred_with_cube,
    kelvin,
    octet,
    random_net,
    random_rotation,
    simple_cubic,
)

AXES = torch.eye(3, dtype=torch.float64)
DIAGONAL = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
RANDOM = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
STRAINS = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


# ------------------------------------------------------------------ strut forces


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("method", ["block", "dense", "iterative"])
def test_forces_match_textbook_elements(seed, method):
    lattice = random_net(seed)
    forces = strut_forces(lattice, strain=STRAINS, method=method)
    for case, strain in enumerate(STRAINS):
        expected = torch.from_numpy(periodic_end_forces(lattice, strain.numpy()))
        found = torch.cat(
            [-forces.force[case], -forces.moment_at(0.0)[case], forces.force[case], forces.moment_at(1.0)[case]], dim=1
        )
        assert float((found - expected).abs().max() / expected.abs().max()) < 1e-7


def test_components_of_the_forces_are_their_projections():
    lattice = random_net(4)
    forces = strut_forces(lattice, strain=STRAINS[0])
    direction = lattice.edge_vectors / lattice.edge_lengths[:, None]
    along = forces.axial[:, None] * direction
    torch.testing.assert_close(forces.axial.square() + forces.shear.square(), forces.force.square().sum(-1))
    torch.testing.assert_close(forces.shear, torch.linalg.cross(forces.force, direction).norm(dim=1))
    torch.testing.assert_close(
        along + torch.linalg.cross(direction, torch.linalg.cross(forces.force, direction)), forces.force
    )
    for end, fraction in enumerate((0.0, 1.0)):
        moment = forces.moment_at(fraction)
        torch.testing.assert_close((moment * direction).sum(-1), forces.torque)
        torch.testing.assert_close(torch.linalg.cross(moment, direction).norm(dim=1), forces.bending[:, end])
    torch.testing.assert_close(forces.moment_at(0.5), forces.moment)


@pytest.mark.parametrize(
    "lattice", [random_net(0), random_net(1, nodes=15), octet(), kelvin(), body_centred_with_cube()]
)
def test_nodes_are_in_equilibrium_and_forces_add_up_to_the_stress(lattice):
    forces = strut_forces(lattice, strain=torch.eye(6, dtype=torch.float64))
    size = forces.force.abs().max()
    assert float(forces.on_nodes(lattice.edge_index, lattice.num_nodes).abs().max() / size) < 1e-10
    stress = torch.einsum("kep,eq->kpq", forces.force, lattice.edge_vectors) / lattice.volume
    # moments balance, so the stress is symmetric of itself
    assert float((stress - stress.mT).abs().max() / stress.abs().max()) < 1e-10
    stiffness = effective_stiffness(lattice)
    torch.testing.assert_close(
        strain_to_mandel(stress), stiffness, rtol=1e-9, atol=1e-12 * float(stiffness.abs().max())
    )


def test_a_given_stress_is_the_stress_that_the_forces_add_up_to():
    lattice = random_net(2)
    stress = mandel_to_strain(STRAINS)
    forces = strut_forces(lattice, stress=stress, young_modulus=3.0)
    found = torch.einsum("kep,eq->kpq", forces.force, lattice.edge_vectors) / lattice.volume
    torch.testing.assert_close(found, stress, rtol=1e-8, atol=1e-8)


def test_a_batch_gives_each_lattice_its_forces_under_its_own_load():
    lattices = [random_net(0), octet(), random_net(1, nodes=9)]
    batch = LatticeBatch.from_lattices(lattices)
    loads = torch.randn(2, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    own = strut_forces(batch, stress=loads)
    shared = strut_forces(batch, strain=mandel_to_strain(loads[:, :1]))
    single = strut_forces(batch, strain=loads[0, 0])
    for k, lattice in enumerate(lattices):
        edges = slice(int(batch.edge_start[k]), int(batch.edge_start[k + 1]))
        expected = strut_forces(lattice, stress=loads[:, k])
        torch.testing.assert_close(own.force[:, edges], expected.force)
        torch.testing.assert_close(own.moment[:, edges], expected.moment)
        expected = strut_forces(lattice, strain=loads[:, 0])
        torch.testing.assert_close(shared.force[:, edges], expected.force)
        torch.testing.assert_close(single.force[edges], expected.force[0])


def test_float32_follows_the_input_and_is_solved_in_double():
    lattice = random_net(0)
    forces = strut_forces(lattice.to(dtype=torch.float32), strain=STRAINS.float())
    assert forces.force.dtype == torch.float32
    expected = strut_forces(lattice, strain=STRAINS)
    assert float((forces.force - expected.force).norm() / expected.force.norm()) < 1e-4
    assert yield_strength(lattice.to(dtype=torch.float32), RANDOM, yield_stress=1.0).value.dtype == torch.float32


# ------------------------------------------------------------------ first yield


def test_simple_cubic_yields_at_its_closed_forms():
    radius = 0.05
    axial = yield_strength(simple_cubic(radius), 7.0 * AXES, yield_stress=200.0)
    expected = torch.full((3,), 200 * math.pi * radius**2, dtype=torch.float64)
    torch.testing.assert_close(axial.value, expected, rtol=1e-12, atol=0.0)
    assert axial.strut.tolist() == [0, 1, 2]
    # along a face diagonal: N = V = sigma a^2 / 2, M = V a / 2 at the nodes
    normal, bending = 0.5 / (math.pi * radius**2), 0.25 * radius / (math.pi * radius**4 / 4)
    diagonal = yield_strength(simple_cubic(radius), DIAGONAL, yield_stress=1.0)
    assert float(diagonal.value) == pytest.approx(1 / (normal + bending), rel=1e-9)
    assert int(diagonal.strut) == 0


@pytest.mark.parametrize(
    ("section", "area", "modulus"),
    [
        (Tube(0.6), math.pi * (1 - 0.6**2), math.pi / 4 * (1 - 0.6**4)),
        # bent about its diagonal: I / c = (4/3) r^4 / (sqrt 2 r)
        (Square(), 4.0, 4 / 3 / math.sqrt(2)),
    ],
)
def test_sections_and_rigid_joints_enter_the_yield_strength(section, area, modulus):
    radius, rigid = 0.05, 1.5
    found = yield_strength(simple_cubic(radius), DIAGONAL, yield_stress=1.0, section=section, joint_length=rigid)
    expected = 1 / (0.5 / (area * radius**2) + 0.5 * (0.5 - rigid * radius) / (modulus * radius**3))
    assert float(found.value) == pytest.approx(expected, rel=1e-9)


def test_torsional_lever_of_the_square_is_saint_venants():
    series = sum(1 / (n**2 * math.cosh(n * math.pi / 2)) for n in range(1, 40, 2))
    lever = 2 * (1 - 8 / math.pi**2 * series)
    assert lever == pytest.approx(strength.SQUARE_TORSION_LEVER, rel=1e-7)


def test_octet_is_stretch_dominated_and_yields_at_a_third_of_its_density():
    radii = [0.02, 0.01, 0.005, 0.0025]
    errors = []
    for radius in radii:
        lattice = octet(radius)
        found = yield_strength(lattice, AXES[2], yield_stress=1.0)
        errors.append(float((lattice.relative_density / 3) / found.value - 1))
    # what bending adds at the outermost fibre is of the order of radius over length
    assert_convergence_order(errors, radii, 1.0, 0.1)
    assert errors[-1] < 0.05


@pytest.mark.parametrize("section", [None, Tube(0.5), Square()])
@pytest.mark.parametrize("seed", range(2))
def test_yield_of_random_nets_follows_from_textbook_elements(seed, section):
    lattice = random_net(seed)
    allowed = 1 + torch.rand(lattice.num_edges, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = yield_strength(lattice, RANDOM, yield_stress=allowed, shear=False, section=section)
    radius = lattice.radius.numpy()
    bore = {None: 0.0, Tube(0.5): 0.5}.get(section)
    if bore is None:
        area, fibre, lever = 4 * radius**2, math.sqrt(2) * radius, 1.3506290 * radius
        second, torsion = 4 / 3 * radius**4, 2.2492322 * radius**4
    else:
        area, fibre, lever = np.pi * radius**2 * (1 - bore**2), radius, radius
        second = np.pi / 4 * radius**4 * (1 - bore**4)
        torsion = 2 * second
    compliance = homogenize(lattice, shear=False, section=section).compliance
    for direction, value, strut in zip(RANDOM, found.value, found.strut, strict=True):
        n = direction / direction.norm()
        strain = compliance @ strain_to_mandel(torch.outer(n, n))
        forces = strut_forces(lattice, strain=strain, shear=False, section=section)
        if section is None:
            ends = periodic_end_forces(lattice, strain.numpy(), kappa=None)
        else:
            ends = np.concatenate([-forces.force, -forces.moment_at(0.0), forces.force, forces.moment_at(1.0)], axis=1)
        axis = (lattice.edge_vectors / lattice.edge_lengths[:, None]).numpy()
        worst = np.zeros(lattice.num_edges)
        for force, moment in ((ends[:, :3], ends[:, 3:6]), (ends[:, 6:9], ends[:, 9:])):
            normal, torque = (force * axis).sum(1), (moment * axis).sum(1)
            bending = np.linalg.norm(np.cross(axis, moment), axis=1)
            sigma, tau = np.abs(normal) / area + bending * fibre / second, np.abs(torque) * lever / torsion
            worst = np.maximum(worst, np.sqrt(sigma**2 + 3 * tau**2) / allowed.numpy())
        assert float(value) == pytest.approx(1 / worst.max(), rel=1e-6)
        assert int(strut) == worst.argmax()


# ------------------------------------------------------------------ buckling


def test_simple_cubic_buckles_at_eulers_load():
    radius, modulus = 0.03, 70.0
    second = math.pi * radius**4 / 4
    found = buckling_strength(simple_cubic(radius), AXES, young_modulus=modulus)
    expected = torch.full((3,), 4 * math.pi**2 * modulus * second, dtype=torch.float64)
    torch.testing.assert_close(found.value, expected, rtol=1e-12, atol=0.0)
    assert found.strut.tolist() == [0, 1, 2]
    pinned = buckling_strength(simple_cubic(radius), AXES[0], young_modulus=modulus, effective_length=1.0)
    assert float(pinned.value) == pytest.approx(math.pi**2 * modulus * second, rel=1e-12)
    jointed = buckling_strength(simple_cubic(radius), AXES[0], young_modulus=modulus, joint_length=2.0)
    assert float(jointed.value) == pytest.approx(float(expected[0]) / (1 - 4 * radius) ** 2, rel=1e-12)
    # pulled along an axis, nothing is compressed
    pulled = buckling_strength(simple_cubic(radius), AXES, load="tension")
    assert torch.isinf(pulled.value).all()
    assert pulled.strut.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("load", ["compression", "tension"])
def test_octet_buckles_in_the_struts_that_statics_compresses(load):
    # slender octet under sigma_zz: N = sigma / (4 sqrt 2) in inclined struts, the opposite in horizontal ones
    radius = 0.001
    lattice = octet(radius)
    found = buckling_strength(lattice, AXES[2], load=load)
    critical = math.pi**2 * (math.pi * radius**4 / 4) / (0.5 * math.sqrt(0.5)) ** 2
    assert float(found.value) == pytest.approx(4 * math.sqrt(2) * critical, rel=1e-4)
    horizontal = bool(lattice.edge_vectors[int(found.strut), 2].abs() < 1e-12)
    assert horizontal == (load == "tension")


# ------------------------------------------------------------------ both


def strengths(lattice, directions):
    yielding = yield_strength(lattice, directions, yield_stress=0.01)
    buckling = buckling_strength(lattice, directions)
    return yielding, buckling


def test_a_batch_and_a_surface_of_directions_equal_single_calls(monkeypatch):
    lattices = [random_net(0), kelvin(), octet()]
    together = strengths(LatticeBatch.from_lattices(lattices), RANDOM[:4].reshape(2, 2, 3))
    monkeypatch.setattr(strength, "_AT_ONCE", 1)
    in_pieces = strengths(LatticeBatch.from_lattices(lattices), RANDOM[:4].reshape(2, 2, 3))
    for found, again, kind in zip(together, in_pieces, (0, 1), strict=True):
        assert found.value.shape == found.strut.shape == (3, 2, 2)
        torch.testing.assert_close(found.value, again.value)
        for k, lattice in enumerate(lattices):
            for d in range(4):
                alone = strengths(lattice, RANDOM[d])[kind]
                assert float(found.value[k].flatten()[d]) == pytest.approx(float(alone.value), rel=1e-9)
                assert int(found.strut[k].flatten()[d]) == int(alone.strut)


def test_strength_turns_with_the_lattice_and_is_even_in_the_direction():
    lattice, rotation = random_net(6), random_rotation(1)
    for found, turned, opposite in zip(
        strengths(lattice, RANDOM),
        strengths(lattice.rotate(rotation), RANDOM @ rotation.T),
        strengths(lattice, -RANDOM),
        strict=True,
    ):
        torch.testing.assert_close(turned.value, found.value, rtol=1e-8, atol=0.0)
        torch.testing.assert_close(opposite.value, found.value, rtol=1e-12, atol=0.0)


def test_the_weaker_strut_fails_first():
    allowed = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    lattice = simple_cubic(0.05)
    normal = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
    assert int(yield_strength(lattice, normal, yield_stress=allowed).strut) == 1
    stiff = buckling_strength(lattice, AXES, young_modulus=allowed).value
    torch.testing.assert_close(stiff / stiff[1], allowed, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: strut_forces(octet()), "strain or stress"),
        (lambda: strut_forces(octet(), strain=STRAINS, stress=STRAINS), "strain or stress"),
        (lambda: strut_forces(octet(), strain=STRAINS * float("nan")), "NaN"),
        (lambda: strut_forces(LatticeBatch.from_lattices([octet()] * 3), strain=STRAINS), "load"),
        (lambda: yield_strength(octet(), AXES, yield_stress=0.0), "yield_stress"),
        (lambda: yield_strength(octet(), AXES, yield_stress=torch.ones(2)), "yield_stress"),
        (lambda: yield_strength(octet(), 0 * AXES, yield_stress=1.0), "directions"),
        (lambda: buckling_strength(octet(), AXES, effective_length=0.0), "effective_length"),
        (lambda: buckling_strength(octet(), AXES, load="torsion"), "load"),
        (lambda: yield_strength(sheet(), AXES, yield_stress=1.0), "resists no stress"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def sheet():
    return StrutLattice(np.eye(3), [[0, 0, 0]], np.zeros((2, 2)), [[1, 0, 0], [0, 1, 0]], 0.02)
