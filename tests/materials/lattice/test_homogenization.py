"""Effective stiffness against closed forms, published numbers, an element-by-element oracle and its own invariances."""

import math

import numpy as np
import pytest
import torch

from polyad.errors import InputError, NumericalWarning
from polyad.materials.lattice import (
    LatticeBatch,
    Square,
    StrutLattice,
    Tube,
    effective_stiffness,
    homogenize,
)
from polyad.tensors.notation import mandel_basis, rotate_mandel
from polyad.testing import assert_gradient_matches, assert_positive_semidefinite
from tests.materials.lattice.seeds import (
    body_centred,
    body_centred_with_cube,
    diamond,
    kelvin,
    octet,
    random_net,
    random_rotation,
    simple_cubic,
)

METHODS = ["block", "dense", "iterative"]


# ------------------------------------------------------------------ closed forms and published numbers


@pytest.mark.parametrize("density", [0.003, 0.01, 0.05])
@pytest.mark.parametrize("method", METHODS)
def test_simple_cubic_has_its_closed_form(density, method):
    compliance = homogenize(simple_cubic().with_density(density), shear=False, method=method).compliance
    expected = torch.diag(torch.tensor([3 / density] * 3 + [3 * math.pi / density**2] * 3, dtype=torch.float64))
    torch.testing.assert_close(compliance, expected, rtol=1e-9, atol=1e-9 * 3 / density)


def test_simple_cubic_timoshenko_shear_compliance():
    compliance = homogenize(simple_cubic().with_density(0.01)).compliance
    assert float(compliance[3, 3]) == pytest.approx(95124.18, abs=5e-3)
    # phi = 12 E I / (kappa G A L^2) = 7.8 rho / (3 kappa pi) adds a fraction phi to each half-beam in bending
    phi = 12 * (0.01 / (3 * math.pi)) / 4 * 2.6 / 0.89
    assert float(compliance[3, 3]) == pytest.approx(3 * math.pi / 0.01**2 * (1 + phi), rel=1e-12)


@pytest.mark.parametrize(
    ("lattice", "density", "expected"),
    [
        (octet(), 0.01, (0.1668542326, 0.0832395504, 0.1668542326)),
        (body_centred(), 0.01, (0.1115195029, 0.1109069152, 0.2224264181)),
    ],
)
def test_published_cubic_constants_over_density(lattice, density, expected):
    stiffness = effective_stiffness(lattice.with_density(density), shear=False) / density
    found = [float(stiffness[i, j]) for i, j in ((0, 0), (0, 1), (3, 3))]
    assert found == pytest.approx(expected, abs=5e-11)


@pytest.mark.parametrize(("lattice", "expected"), [(diamond(), 0.3674176), (kelvin(), 0.5996710)])
def test_bending_dominated_cells(lattice, expected):
    density = 0.001
    result = homogenize(lattice.with_density(density), shear=False)
    bulk = result.stiffness[:3, :3].sum() / 9
    assert float(bulk / density) == pytest.approx(1 / 9, rel=1e-9)
    assert float(1 / result.compliance[0, 0]) / density**2 == pytest.approx(expected, abs=5e-8)


def test_body_centred_with_cube_has_the_catalogue_numbers():
    lattice = body_centred_with_cube().with_density(0.05, uniform=True)
    assert float(lattice.radius[0]) == pytest.approx(0.0400382177, abs=5e-11)
    compliance = homogenize(lattice).compliance
    young, ratio, shear = 1 / compliance[0, 0], -compliance[0, 1] / compliance[0, 0], 1 / (2 * compliance[3, 3])
    assert float(young) == pytest.approx(0.00664543, abs=5e-9)
    assert float(ratio) == pytest.approx(0.300637, abs=5e-7)
    assert float(shear) == pytest.approx(0.00390098, abs=5e-9)


def one_node_oracle(lattice, *, young_modulus=1.0):
    """The catalogue's closed form for one node a cell, minimised over the rotation by solving a 3x3 system."""
    vectors, radius, volume = lattice.edge_vectors, lattice.radius, lattice.volume
    length = vectors.norm(dim=1)
    n = vectors / length[:, None]
    area, second = math.pi * radius**2, math.pi * radius**4 / 4
    axial, bend = young_modulus * area * length, 12 * young_modulus * second / length
    basis = mandel_basis()
    strained = torch.einsum("cpq,eq->cep", basis, n)
    along = torch.einsum("cep,ep->ce", strained, n)
    across = strained - along[..., None] * n
    cross = torch.zeros(len(n), 3, 3, dtype=torch.float64)  # theta x n = cross @ theta
    for k in range(3):
        unit = torch.eye(3, dtype=torch.float64)[k]
        cross[:, :, k] = torch.linalg.cross(unit.expand(len(n), 3), n)
    normal = torch.einsum("e,epk,epl->kl", bend, cross, cross)
    load = torch.einsum("e,epk,cep->kc", bend, cross, across)
    theta = torch.linalg.pinv(normal, hermitian=True) @ load
    rest = across - torch.einsum("epk,kc->cep", cross, theta)
    energy = torch.einsum("e,ce,de->cd", axial, along, along) + torch.einsum("e,cep,dep->cd", bend, rest, rest)
    return energy / volume


@pytest.mark.parametrize("seed", range(6))
def test_any_one_node_lattice_has_the_closed_form(seed):
    generator = np.random.default_rng(seed)
    shift = np.concatenate([np.eye(3), generator.integers(-2, 3, (4, 3))])
    shift = shift[np.abs(shift).sum(1) > 0]
    cell = np.eye(3) + 0.3 * generator.standard_normal((3, 3))
    edges = np.zeros((2, len(shift)))
    lattice = StrutLattice(cell, [[0.1, 0.2, 0.3]], edges, shift, 0.02 * (1 + generator.random(len(shift))))
    found = effective_stiffness(lattice, shear=False)
    expected = one_node_oracle(lattice)
    assert float((found - expected).norm() / expected.norm()) < 1e-10


# ------------------------------------------------------------------ an independent element-by-element solution


def beam_element(vector, radius, young, poisson, kappa):
    """The textbook 12x12 Timoshenko matrix in local axes (the catalogue's blocks), turned to global axes."""
    length = np.linalg.norm(vector)
    area, second = np.pi * radius**2, np.pi * radius**4 / 4
    shear = young / (2 * (1 + poisson))
    phi = 12 * young * second / (kappa * shear * area * length**2) if kappa else 0.0
    local = np.zeros((12, 12))
    for (i, j), stiffness in (((0, 6), young * area / length), ((3, 9), shear * 2 * second / length)):
        local[np.ix_([i, j], [i, j])] = stiffness * np.array([[1, -1], [-1, 1]])
    el = length
    bending = np.array(
        [
            [12, 6 * el, -12, 6 * el],
            [6 * el, (4 + phi) * el**2, -6 * el, (2 - phi) * el**2],
            [-12, -6 * el, 12, -6 * el],
            [6 * el, (2 - phi) * el**2, -6 * el, (4 + phi) * el**2],
        ]
    ) * (young * second / ((1 + phi) * el**3))
    flip = np.diag([1, -1, 1, -1])
    local[np.ix_([1, 5, 7, 11], [1, 5, 7, 11])] = bending
    local[np.ix_([2, 4, 8, 10], [2, 4, 8, 10])] = flip @ bending @ flip
    axis = vector / length
    helper = np.eye(3)[np.argmin(np.abs(axis))]
    second_axis = np.cross(axis, helper)
    second_axis /= np.linalg.norm(second_axis)
    frame = np.stack([axis, second_axis, np.cross(axis, second_axis)])
    turn = np.kron(np.eye(4), frame)
    return turn.T @ local @ turn


def finite_element_stiffness(lattice, young=1.0, poisson=0.3, kappa=0.89):
    """C by assembling global matrices B and A of the catalogue and a pseudo-inverse."""
    vectors, radius = lattice.edge_vectors.numpy(), lattice.radius.numpy()
    image = (lattice.edge_shift.double() @ lattice.cell).numpy()
    young = np.broadcast_to(young, radius.shape)
    nodes = lattice.num_nodes
    basis = mandel_basis().numpy()
    size = 6 * nodes
    kbb, kba, kaa = np.zeros((size, size)), np.zeros((size, 6)), np.zeros((6, 6))
    for e, (i, j) in enumerate(lattice.edge_index.T.tolist()):
        b = np.zeros((12, size))
        b[:6, 6 * i : 6 * i + 6] += np.eye(6)
        b[6:, 6 * j : 6 * j + 6] += np.eye(6)
        a = np.zeros((12, 6))
        a[6:9] = np.stack([strain @ image[e] for strain in basis], axis=1)
        k = beam_element(vectors[e], radius[e], young[e], poisson, kappa)
        kbb, kba, kaa = kbb + b.T @ k @ b, kba + b.T @ k @ a, kaa + a.T @ k @ a
    # rotations count in lengths, so that one threshold separates stiffness from rigid motion
    return (kaa - kba.T @ np.linalg.lstsq(kbb, kba, rcond=1e-11)[0]) / float(lattice.volume)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(4))
def test_matches_textbook_elements_on_random_nets(seed, method):
    lattice = random_net(seed)
    expected = finite_element_stiffness(lattice)
    found = effective_stiffness(lattice, method=method).numpy()
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-8
    assert_positive_semidefinite(torch.from_numpy(found))


def test_per_strut_moduli_and_euler_bernoulli_match_textbook_elements():
    lattice = random_net(11)
    young = 0.5 + torch.rand(lattice.num_edges, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = effective_stiffness(lattice, young_modulus=young, poisson_ratio=0.2, shear=False).numpy()
    expected = finite_element_stiffness(lattice, young.numpy(), 0.2, None)
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-8


# ------------------------------------------------------------------ invariances


@pytest.mark.parametrize("seed", range(3))
def test_description_of_the_same_material_does_not_matter(seed):
    lattice = random_net(seed, radius=0.02)
    stiffness = effective_stiffness(lattice)
    order = torch.randperm(lattice.num_nodes, generator=torch.Generator().manual_seed(seed))
    inverse = torch.argsort(order)
    same = {
        "tiled": lattice.tile((2, 1, 3)),
        "other cell": lattice.change_cell([[1, 2, 0], [0, 1, -1], [1, 2, 1]]),
        "subdivided": lattice.subdivide(3),
        "moved": lattice.translate([0.3, -1.2, 0.7]),
        "wrapped": lattice.translate([0.3, -1.2, 0.7]).wrap(),
        "nodes renumbered": lattice.replace(positions=lattice.positions[order], edge_index=inverse[lattice.edge_index]),
        "struts reversed": lattice.replace(edge_index=lattice.edge_index.flip(0), edge_shift=-lattice.edge_shift),
    }
    for name, other in same.items():
        error = float((effective_stiffness(other) - stiffness).norm() / stiffness.norm())
        assert error < 1e-8, f"{name}: {error:.1e}"


@pytest.mark.parametrize("reflect", [False, True])
def test_stiffness_rotates_with_the_lattice(reflect):
    lattice, rotation = random_net(5), random_rotation(3, reflect=reflect)
    turned = effective_stiffness(lattice.rotate(rotation))
    expected = rotate_mandel(effective_stiffness(lattice), rotation)
    assert float((turned - expected).norm() / expected.norm()) < 1e-9


@pytest.mark.parametrize("factor", [1e-3, 25.4])
def test_unit_of_length_does_not_matter(factor):
    lattice = random_net(2)
    scaled = lattice.replace(
        cell=factor * lattice.cell, positions=factor * lattice.positions, radius=factor * lattice.radius
    )
    torch.testing.assert_close(effective_stiffness(scaled), effective_stiffness(lattice), rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(effective_stiffness(lattice, young_modulus=70e9) / 70e9, effective_stiffness(lattice))


# ------------------------------------------------------------------ batches


def test_a_batch_gives_each_lattice_its_own_result_to_the_bit():
    lattices = [random_net(k, nodes=3 + k % 7) for k in range(40)] + [octet(), simple_cubic(), kelvin().tile(2)]
    together = effective_stiffness(LatticeBatch.from_lattices(lattices))
    alone = torch.stack([effective_stiffness(x) for x in lattices])
    assert torch.equal(together, alone)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(effective_stiffness(LatticeBatch.from_lattices(lattices)), alone)
    finally:
        torch.set_num_threads(threads)


def test_methods_agree_on_a_ragged_batch_value_and_gradient():
    lattices = [random_net(k, nodes=3 + 2 * k) for k in range(4)]
    weight = torch.randn(4, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    results = {}
    for method in METHODS:
        batch = LatticeBatch.from_lattices(lattices)
        fields = {k: getattr(batch, k).clone().requires_grad_() for k in ("cell", "positions", "radius")}
        stiffness = effective_stiffness(batch.replace(**fields), method=method)
        gradient = torch.autograd.grad((weight * stiffness).sum(), tuple(fields.values()))
        results[method] = (stiffness.detach(), *gradient)
    for method in ("block", "iterative"):
        for found, expected in zip(results[method], results["dense"], strict=True):
            assert float((found - expected).norm() / expected.norm()) < 1e-8


@pytest.mark.parametrize("lattice", [octet().tile(4), kelvin().tile(3)])
def test_symmetric_blocks_whose_load_cancels_converge(lattice):
    expected = effective_stiffness(lattice, method="block")
    torch.testing.assert_close(effective_stiffness(lattice, method="iterative"), expected, rtol=1e-9, atol=1e-12)


def test_one_net_with_many_geometries_equals_separate_lattices():
    net = random_net(1)
    radii = net.radius * torch.linspace(0.5, 1.5, 7, dtype=torch.float64)[:, None]
    batch = LatticeBatch.from_geometries(net, radius=radii)
    found = effective_stiffness(batch)
    for row, value in zip(radii, found, strict=True):
        assert torch.equal(effective_stiffness(net.replace(radius=row)), value)


def test_float32_follows_the_input():
    lattice = random_net(0)
    single = homogenize(lattice.to(dtype=torch.float32))
    assert single.stiffness.dtype == torch.float32
    torch.testing.assert_close(single.stiffness.double(), effective_stiffness(lattice), rtol=2e-4, atol=1e-8)


# ------------------------------------------------------------------ gradients


@pytest.mark.parametrize("method", METHODS)
def test_gradient_by_cell_positions_radii_and_moduli(method):
    net = random_net(7, nodes=3, extra=2, radius=0.06)
    young = torch.ones(net.num_edges, dtype=torch.float64)
    poisson = torch.full((net.num_edges,), 0.3, dtype=torch.float64)

    def stiffness(cell, positions, radius, young, poisson):
        lattice = StrutLattice(cell, positions, net.edge_index, net.edge_shift, radius)
        # in hundreds, so that the comparison is about relative accuracy
        return 100 * effective_stiffness(lattice, young_modulus=young, poisson_ratio=poisson, method=method)

    values = (net.cell, net.positions, net.radius, young, poisson)
    assert_gradient_matches(stiffness, tuple(x.clone().requires_grad_() for x in values), tolerance=1e-6)


def test_second_derivatives_come_from_dense_and_are_refused_elsewhere():
    net = random_net(3, nodes=3, extra=1, radius=0.05)
    radius = net.radius.clone().requires_grad_()
    for method in ("block", "iterative"):
        value = effective_stiffness(net.replace(radius=radius), method=method)[0, 0]
        with pytest.raises(InputError, match="dense"):
            torch.autograd.grad(value, radius, create_graph=True)

    def slope(radius):
        with torch.enable_grad():
            radius = radius if radius.requires_grad else radius.clone().requires_grad_()
            value = effective_stiffness(net.replace(radius=radius), method="dense").square().sum() * 1e4
            return torch.autograd.grad(value, radius, create_graph=True)[0]

    assert_gradient_matches(slope, radius, tolerance=1e-5)


@pytest.mark.parametrize("section", [Tube(0.7), Square()])
def test_gradient_with_other_sections_and_rigid_joints(section):
    net = random_net(8, nodes=2, extra=1, radius=0.05)

    def stiffness(positions, radius):
        lattice = net.replace(positions=positions, radius=radius)
        return 100 * effective_stiffness(lattice, section=section, joint_length=0.5)

    values = (net.positions, net.radius)
    assert_gradient_matches(stiffness, tuple(x.clone().requires_grad_() for x in values), tolerance=1e-6)


# ------------------------------------------------------------------ sections, joints


def test_sections_enter_a_simple_cubic_lattice_as_in_the_books():
    lattice = simple_cubic(0.05)
    area, second = math.pi * 0.05**2 * (1 - 0.6**2), math.pi * 0.05**4 / 4 * (1 - 0.6**4)
    tube = homogenize(lattice, section=Tube(0.6), shear=False)
    assert float(tube.stiffness[0, 0]) == pytest.approx(area, rel=1e-12)
    # node rotation free: each strut is a double cantilever of stiffness 12 E I / L^3; Mandel C44 = 2 G
    assert float(tube.stiffness[3, 3]) == pytest.approx(12 * second, rel=1e-12)
    assert float(tube.relative_density) == pytest.approx(3 * area, rel=1e-12)
    square = homogenize(lattice, section=Square(), shear=False)
    assert float(square.stiffness[0, 0]) == pytest.approx(0.1**2, rel=1e-12)
    assert float(square.stiffness[3, 3]) == pytest.approx(12 * 0.1**4 / 12, rel=1e-12)


def test_torsion_constants_are_saint_venants():
    radius = torch.tensor([1.0], dtype=torch.float64)
    series = sum(math.tanh(n * math.pi / 2) / n**5 for n in range(1, 99, 2))
    assert float(Square().torsion_constant(radius)) == pytest.approx(16 / 3 * (1 - 192 / math.pi**5 * series), rel=1e-7)
    assert float(Tube(0.5).torsion_constant(radius)) == pytest.approx(math.pi / 2 * (1 - 0.5**4), rel=1e-12)
    assert float(Tube(0.0).shear_factor(torch.tensor(0.3))) == pytest.approx(6 * 1.3 / (7 + 1.8), rel=1e-6)


@pytest.mark.parametrize("bore", [1e-9, 0.3])
def test_tube_with_vanishing_bore_is_the_solid_section(bore):
    radius = torch.tensor([0.1], dtype=torch.float64)
    ratio = float(Tube(bore).second_moment(radius) / (math.pi / 4 * 0.1**4))
    assert ratio == pytest.approx(1 - bore**4, rel=1e-12)


def test_rigid_joints_equal_a_strut_with_stiff_ends():
    lattice = octet(0.03)
    length = float(lattice.edge_lengths[0])
    found = effective_stiffness(lattice, joint_length=2.0)
    # the same lattice with three beams a strut, the outer two (2 radii long) a million times stiffer
    fraction = 2.0 * 0.03 / length
    start, vectors = lattice.positions[lattice.edge_index[0]], lattice.edge_vectors
    inner = torch.cat([start + fraction * vectors, start + (1 - fraction) * vectors])
    m = lattice.num_edges
    first, second = torch.arange(1, m + 1), torch.arange(m + 1, 2 * m + 1)
    zero, shift = torch.zeros(m, dtype=torch.int64), torch.zeros(m, 3, dtype=torch.int64)
    cut = StrutLattice(
        lattice.cell,
        torch.cat([lattice.positions, inner]),
        torch.stack([torch.cat([zero, first, second]), torch.cat([first, second, zero])]),
        torch.cat([shift, shift, lattice.edge_shift]),
        0.03,
    )
    young = torch.cat([torch.full((m,), 1e6), torch.ones(m), torch.full((m,), 1e6)]).double()
    expected = effective_stiffness(cut, young_modulus=young)
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    assert float(found[0, 0]) > float(effective_stiffness(lattice)[0, 0])


# ------------------------------------------------------------------ mechanisms and dangling struts


def island_and_net():
    net = simple_cubic(0.05)
    positions = torch.cat([net.positions, torch.tensor([[0.3, 0.3, 0.3], [0.5, 0.3, 0.3], [0.4, 0.5, 0.4]])])
    edge_index = torch.cat([net.edge_index, torch.tensor([[1, 2, 3], [2, 3, 1]])], dim=1)
    edge_shift = torch.cat([net.edge_shift, torch.zeros(3, 3, dtype=torch.int64)])
    return StrutLattice(net.cell, positions, edge_index, edge_shift, 0.02)


def single(edges, shifts, positions):
    return StrutLattice(np.eye(3), positions, np.array(edges).T, shifts, 0.02)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("lattice", "mechanisms"),
    [
        (simple_cubic(), 0),
        (single([(0, 0), (0, 0)], [[1, 0, 0], [0, 1, 0]], [[0, 0, 0]]), 0),  # one sheet: only the global translation
        (single([(0, 1), (1, 0)], [[0, 0, 0], [1, 0, 0]], [[0, 0, 0], [0.5, 0.2, 0.1]]), 1),  # one zigzag chain
        (single([(0, 0)], [[1, 0, 0]], [[0, 0, 0]]), 1),  # one straight chain: free to spin
        (single([(0, 1)], [[0, 0, 0]], [[0, 0, 0], [0.5, 0.1, 0]]), 3),  # one loose strut
        (island_and_net(), 6),
        # two interpenetrating cubic nets
        (
            single([(0, 0)] * 3 + [(1, 1)] * 3, np.tile(np.eye(3), (2, 1)), [[0, 0, 0], [0.5, 0.5, 0.5]]),
            3,
        ),
    ],
)
def test_mechanisms_are_counted_and_carry_nothing(lattice, mechanisms, method):
    if mechanisms:
        with pytest.warns(NumericalWarning, match="zero-energy"):
            result = homogenize(lattice, method=method)
    else:
        result = homogenize(lattice, method=method)
    assert int(result.mechanisms) == mechanisms
    expected = finite_element_stiffness(lattice)
    assert np.abs(result.stiffness.numpy() - expected).max() < 1e-10
    # the count is the nullity of the textbook matrix
    assert nullity(lattice) - 3 == mechanisms


def nullity(lattice):
    size = 6 * lattice.num_nodes
    matrix = np.zeros((size, size))
    for e, (i, j) in enumerate(lattice.edge_index.T.tolist()):
        b = np.zeros((12, size))
        b[:6, 6 * i : 6 * i + 6] += np.eye(6)
        b[6:, 6 * j : 6 * j + 6] += np.eye(6)
        matrix += b.T @ beam_element(lattice.edge_vectors[e].numpy(), 0.02, 1.0, 0.3, 0.89) @ b
    values = np.linalg.eigvalsh(matrix)
    return int((values < 1e-10 * values[-1]).sum())


def test_dangling_struts_are_reported_and_change_nothing():
    net = simple_cubic(0.05)
    tail = StrutLattice(
        net.cell,
        [[0, 0, 0], [0.3, 0.2, 0.1], [0.5, 0.5, 0.2]],
        torch.cat([net.edge_index, torch.tensor([[0, 1], [1, 2]])], dim=1),
        torch.cat([net.edge_shift, torch.zeros(2, 3, dtype=torch.int64)]),
        0.05,
    )
    result = homogenize(tail)
    assert result.dangling.tolist() == [False] * 3 + [True] * 2
    assert int(result.mechanisms) == 0
    torch.testing.assert_close(result.stiffness, effective_stiffness(net), rtol=1e-10, atol=1e-14)


def test_compliance_of_a_sheet_is_refused():
    sheet = single([(0, 0), (0, 0)], [[1, 0, 0], [0, 1, 0]], [[0, 0, 0]])
    with pytest.raises(InputError, match="resists no stress"):
        _ = homogenize(sheet).compliance


def test_a_hair_thin_lattice_is_solved_with_a_warning_or_exactly():
    lattice = diamond().with_density(1e-9)
    result = homogenize(lattice, shear=False)
    assert float(result.stiffness[:3, :3].sum() / 9) / 1e-9 == pytest.approx(1 / 9, rel=1e-5)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "method"),
        ({"young_modulus": -1.0}, "young_modulus"),
        ({"young_modulus": torch.ones(3)}, "young_modulus"),
        ({"poisson_ratio": 0.6}, "poisson_ratio"),
        ({"joint_length": 100.0}, "joint_length"),
        ({"young_modulus": float("nan")}, "young_modulus"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        homogenize(octet(), **options)


# ------------------------------------------------------------------ the published finite-element catalogue


def test_published_finite_element_results(shared_data):
    from polyad.materials.lattice import load

    records = [r for r in load(shared_data / "lattice" / "jmps_val.lat") if r.stiffness is not None]
    assert len(records) == 1491
    found = effective_stiffness(LatticeBatch.from_lattices([r.lattice for r in records]))
    published = torch.stack([r.stiffness for r in records])
    error = ((found - published).flatten(1).norm(dim=1) / published.flatten(1).norm(dim=1)).numpy()
    assert np.median(error) <= 6e-4
    assert (error < 0.01).mean() >= 0.995
