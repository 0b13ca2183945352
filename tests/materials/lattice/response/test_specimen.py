"""Finite blocks under a displaced-face test against closed forms, textbook elements and the infinite lattice."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from polyad.errors import InputError
from polyad.materials.lattice import StrutLattice, compress, finite_block, homogenize
from polyad.materials.lattice.response.specimen import block_coordinates
from polyad.materials.lattice.solids.printing import material
from polyad.testing import assert_convergence_order
from tests.materials.lattice.response.textbook_frames import pressed_block
from tests.materials.lattice.seeds import body_centred_with_cube, diamond, octet, random_net, simple_cubic

CENTRED = (0.5, 0.5, 0.0)
"""Corner of a block whose columns stand in the middle of the cells."""


# ------------------------------------------------------------------ blocks


def test_a_block_of_whole_cells_has_every_node_and_strut():
    block = finite_block(simple_cubic(), (2, 3, 4))
    assert len(block.positions) == 3 * 4 * 5
    assert block.edge_index.shape[1] == 2 * 4 * 5 + 3 * 3 * 5 + 3 * 4 * 4
    torch.testing.assert_close(block_coordinates(block).amax(0), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("lattice", [diamond(), random_net(0, nodes=10, radius=3e-3), octet()])
def test_boundaries_keep_the_length_that_they_promise(lattice):
    origin, counts = (0.137, 0.291, 0.433), (2, 1, 3)  # no node on a face
    cut, whole, inner = (
        finite_block(lattice, counts, boundary=name, origin=origin, keep_dangling=True)
        for name in ("cut", "keep", "drop")
    )
    # a block of whole cells holds, cut at its faces, exactly the length of its cells
    length = (cut.ends - cut.starts).norm(dim=1)
    assert float(length.sum()) == pytest.approx(6 * float(lattice.edge_lengths.sum()), rel=1e-9)
    coordinates = block_coordinates(cut)
    assert float(coordinates.min()) > -1e-9
    assert float(coordinates.max()) < 1 + 1e-9
    assert whole.edge_index.shape[1] == cut.edge_index.shape[1] > inner.edge_index.shape[1]
    torch.testing.assert_close(
        (whole.ends - whole.starts).norm(dim=1), lattice.edge_lengths[whole.strut], rtol=1e-9, atol=0.0
    )
    inside = block_coordinates(inner)
    assert float(inside.min()) > -1e-9
    assert float(inside.max()) < 1 + 1e-9


def test_cut_struts_keep_their_taper():
    block = finite_block(
        simple_cubic(0.05), 1, boundary="cut", origin=(0.5, 0.5, 0.5), grading=lambda x: 1 + 0.2 * x[:, 0]
    )
    along = (block.ends - block.starts)[:, 0].abs() > 0.1
    for side in range(2):
        place = block.positions[block.edge_index[side]]
        torch.testing.assert_close(block.radii[along, side], 0.05 * (1 + 0.2 * place[along, 0]))


def test_removal_is_seeded_counted_and_leaves_nothing_loose_inside():
    lattice = body_centred_with_cube(0.03)
    full = finite_block(lattice, 3)
    struts = full.edge_index.shape[1]
    loose = finite_block(lattice, 3, remove=0.7, seed=4, keep_dangling=True)
    assert loose.edge_index.shape[1] == struts - round(0.7 * struts)
    tidy, again, other = (finite_block(lattice, 3, remove=0.7, seed=s) for s in (4, 4, 5))
    assert torch.equal(tidy.positions, again.positions)
    assert torch.equal(tidy.edge_index, again.edge_index)
    assert tidy.edge_index.shape != other.edge_index.shape or not torch.equal(tidy.strut, other.strut)
    assert tidy.edge_index.shape[1] < loose.edge_index.shape[1]
    coordinates = block_coordinates(tidy)
    inner = ((coordinates > 1e-6) & (coordinates < 1 - 1e-6)).all(1)
    assert int(torch.bincount(tidy.edge_index.reshape(-1))[inner].min()) >= 2
    mask = torch.zeros(struts, dtype=torch.bool)
    mask[7] = True
    without = finite_block(lattice, 3, remove=mask)
    assert torch.equal(without.strut, full.strut[~mask])


# ------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("faces", ["clamped", "sliding"])
@pytest.mark.parametrize("n", [1, 3])
def test_simple_cubic_block_has_the_modulus_of_its_columns(n, faces):
    lattice, area = simple_cubic(0.05), math.pi * 0.05**2
    test = compress(finite_block(lattice, n, origin=CENTRED), 2, displacement=0.02, faces=faces, young_modulus=3.0)
    assert test.apparent_modulus == pytest.approx(3.0 * area, rel=1e-12)
    assert test.force == pytest.approx(3.0 * area * n**2 * 0.02 / n, rel=1e-12)
    assert (test.area, test.height) == pytest.approx((n**2, n))
    # columns on the faces too: (n + 1)^2 on an area of n^2
    test = compress(finite_block(lattice, n), 0, displacement=-0.02, faces=faces)
    assert test.apparent_modulus == pytest.approx(area * (n + 1) ** 2 / n**2, rel=1e-9)
    assert test.force < 0
    # columns are in tension, cross struts idle
    along = test.forces.vectors[:, 0].abs() > 0.5
    torch.testing.assert_close(
        test.forces.axial[along], torch.full_like(test.forces.axial[along], area * 0.02 / n), rtol=1e-9, atol=0.0
    )
    assert float(test.forces.axial[~along].abs().max()) < 1e-9 * area


def test_gripped_layers_are_held_and_do_not_count():
    block = finite_block(simple_cubic(0.05), (2, 2, 5), origin=CENTRED)
    test = compress(block, 2, displacement=0.02, grip=1.0)
    assert test.height == pytest.approx(3.0)
    assert test.force == pytest.approx(math.pi * 0.05**2 * 4 * 0.02 / 3, rel=1e-9)
    assert int(test.lower.sum()) == int(test.upper.sum()) == 8


def test_one_inclined_strut_between_plates():
    # net whose block is one strut from the lower to the upper face, guided at both ends
    lattice = StrutLattice(np.diag([1.0, 1.0, 2.0]), [[0.2, 0.2, 0], [0.5, 0.6, 1.99]], [[0], [1]], [[0, 0, 0]], 0.05)
    block = finite_block(lattice, 1, keep_dangling=True)
    vector, radius = np.array([0.3, 0.4, 1.99]), 0.05
    length = np.linalg.norm(vector)
    axial, second = math.pi * radius**2 / length, math.pi * radius**4 / 4
    phi = 12 * second * 2.6 / (0.89 * math.pi * radius**2 * length**2)
    bend = 12 * second / length**3 / (1 + phi)
    cosine = vector[2] / length
    clamped = compress(block, 2, displacement=0.01)
    assert clamped.height == pytest.approx(1.99)
    assert clamped.force == pytest.approx(0.01 * (axial * cosine**2 + bend * (1 - cosine**2)), rel=1e-9)
    # between frictionless plates it tips over
    assert abs(compress(block, 2, displacement=0.01, faces="sliding").force) < 1e-9 * clamped.force


@pytest.mark.parametrize("faces", ["clamped", "sliding"])
def test_graded_columns_are_springs_in_series(faces):
    radius = 0.02
    block = finite_block(simple_cubic(radius), (2, 2, 5), origin=CENTRED, grading=lambda x: 1 + 0.3 * x[:, 2])
    ends = radius * (1 + 0.3 * np.arange(6))
    # a straight taper gives way by L / (pi E r_1 r_2)
    expected = 5 / (1 / (math.pi * ends[1:] * ends[:-1])).sum()
    test = compress(block, 2, displacement=0.1, faces=faces)
    assert test.apparent_modulus == pytest.approx(expected, rel=1e-9)


def test_slow_gradients_approach_the_series_model():
    def profile(level):
        return 1 + 0.5 * np.sin(3 * level)

    # Reuss: 1 / modulus = mean of 1 / (E A / a^2) over the height
    level = (np.arange(4000) + 0.5) / 4000
    series = math.pi * 0.02**2 / np.mean(profile(level) ** -2.0)
    errors, counts = [], [4, 8, 16]
    for n in counts:
        block = finite_block(
            simple_cubic(0.02),
            (1, 1, n),
            origin=CENTRED,
            grading=lambda x, n=n: torch.from_numpy(profile(x[:, 2].numpy() / n)),
        )
        errors.append(abs(compress(block, 2, displacement=0.1).apparent_modulus / series - 1))
    assert_convergence_order(errors, [1 / n for n in counts], 2.0, 0.1)
    assert errors[-1] < 2e-3


def test_forces_are_newtons_for_millimetres_and_a_material():
    steel, size = material("316L"), 5.0
    block = finite_block(simple_cubic(0.05), 2, cell_size_mm=size, origin=CENTRED)
    test = compress(block, 2, displacement=0.1, material=steel)
    area = math.pi * (0.05 * size) ** 2
    assert test.force == pytest.approx(193e3 * area * 4 * 0.1 / (2 * size), rel=1e-9)
    assert test.apparent_modulus == pytest.approx(193e3 * area / size**2, rel=1e-9)


# ------------------------------------------------------------------ dense elements


def blocks():
    young = torch.tensor([1.0, 2.0, 0.5, 1.5, 3.0, 1.0, 0.7, 1.2, 2.2, 0.9, 1.1], dtype=torch.float64)
    cut = finite_block(random_net(5, nodes=6, extra=14, radius=5e-3), 1, boundary="cut", origin=(0.1, 0.2, 0.3))
    return {
        # the primitive cell: a rhombohedral block with faces askew
        "octet": (finite_block(octet(0.05), (2, 1, 2)), None),
        "holes": (finite_block(body_centred_with_cube(0.05), (2, 1, 1), remove=0.15, seed=2), young),
        "cut": (cut, None),
    }


@pytest.mark.parametrize("faces", ["clamped", "sliding"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["octet", "holes", "cut"])
def test_matches_textbook_elements(name, axis, faces):
    block, young = blocks()[name]
    modulus = 1.0 if young is None else young[block.strut]
    test = compress(block, axis, displacement=0.03, faces=faces, young_modulus=modulus, tolerance=1e-11)
    normal = torch.linalg.cross(block.edges[(axis + 1) % 3], block.edges[(axis + 2) % 3])
    normal = (normal / normal.norm() * torch.sign(normal @ block.edges[axis])).numpy()
    level = block.positions.numpy() @ normal
    thickness = float(block.edges[axis].numpy() @ normal)
    lower, upper = level < 1e-9, level > thickness - 1e-9
    assert lower.any()
    assert upper.any()
    rows, values = [], []
    for node in np.nonzero(lower | upper)[0]:
        push = -0.03 * upper[node]
        for component, value in zip(np.eye(6), push * np.append(normal, np.zeros(3)), strict=True):
            if faces == "clamped":
                rows.append(np.zeros(6 * len(level)))
                rows[-1][6 * node : 6 * node + 6] = component
                values.append(value)
        if faces == "sliding":
            rows.append(np.zeros(6 * len(level)))
            rows[-1][6 * node : 6 * node + 3] = normal
            values.append(push)
    radius = np.sqrt(block.radii.numpy().prod(1))
    stiff = modulus if young is None else modulus.numpy()
    moved, reactions = pressed_block(
        block.positions.numpy(), block.edge_index.numpy(), radius, np.stack(rows), np.array(values), young=stiff
    )
    # the work of the reactions is the work of the machine
    force = float(reactions @ np.array(values)) / 0.03
    assert test.force == pytest.approx(abs(force), rel=1e-7)
    assert test.height == pytest.approx(thickness, rel=1e-9)
    assert test.residual < 1e-10
    if faces == "clamped":
        # pieces that no plate holds may be anywhere
        graph = coo_array(
            (np.ones(block.edge_index.shape[1]), tuple(block.edge_index.numpy())), shape=(len(level),) * 2
        )
        piece = connected_components(graph, directed=False)[1]
        fixed = np.isin(piece, piece[lower | upper])
        assert np.abs(test.displacements.numpy() - moved)[fixed].max() < 1e-6 * 0.03


def test_free_nodes_are_in_equilibrium_and_the_plates_take_equal_forces():
    block = finite_block(octet_cube(0.04), 2, remove=0.1, seed=1)
    test = compress(block, 1, displacement=0.1)
    sums = test.forces.on_nodes(block.edge_index, len(block.positions))
    free = ~(test.lower | test.upper)
    assert float(sums[free].abs().max() / test.forces.force.abs().max()) < 1e-7
    assert float(sums[test.lower, 1].sum()) == pytest.approx(test.force, rel=1e-7)
    assert float(sums[test.upper, 1].sum()) == pytest.approx(-test.force, rel=1e-7)
    assert float(test.displacements[test.upper, 1].max()) == pytest.approx(-0.1)


# ------------------------------------------------------------------ towards the infinite lattice


def octet_cube(radius):
    """Octet in its cubic cell: 4 nodes, 24 struts."""
    nodes = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    images = np.array([[a, b, c] for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)])
    edges, shifts = [], []
    for i in range(4):
        for j in range(i + 1, 4):
            for s in images:
                if abs(np.linalg.norm(nodes[j] - nodes[i] + s) - np.sqrt(0.5)) < 1e-9:
                    edges.append((i, j))
                    shifts.append(s)
    return StrutLattice(np.eye(3), nodes, np.array(edges).T, shifts, radius)


def apparent(lattice, counts, faces):
    return compress(finite_block(lattice, counts), 2, displacement=0.01, faces=faces, tolerance=1e-7).apparent_modulus


def test_between_sliding_plates_cubes_tend_to_youngs_modulus():
    lattice, counts = octet_cube(0.04), [2, 4, 8]
    infinite = 1 / float(homogenize(lattice).compliance[2, 2])
    moduli = [apparent(lattice, n, "sliding") for n in counts]
    # struts in the faces make small blocks stiffer by a term of the order of 1 / n
    assert_convergence_order([m / infinite - 1 for m in moduli], [1 / n for n in counts], 1.0, 0.1)
    assert 2 * moduli[2] - moduli[1] == pytest.approx(infinite, rel=0.005)


def test_between_clamped_plates_wide_layers_tend_to_uniaxial_strain():
    lattice, counts = octet_cube(0.04), [3, 6, 12]
    stiffness = float(homogenize(lattice).stiffness[2, 2])
    moduli = [apparent(lattice, (n, n, 1), "clamped") for n in counts]
    assert_convergence_order([abs(m / stiffness - 1) for m in moduli], [1 / n for n in counts], 1.0, 0.1)
    assert 2 * moduli[2] - moduli[1] == pytest.approx(stiffness, rel=0.005)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: finite_block(octet(), 2, boundary="glue"), "boundary"),
        (lambda: finite_block(octet(), 2, remove=1.0), "remove"),
        (lambda: finite_block(octet(), 2, remove=torch.ones(3, dtype=torch.bool)), "remove"),
        (lambda: finite_block(simple_cubic(), 1, remove=torch.ones(12, dtype=torch.bool)), "no strut is left"),
        (lambda: compress(finite_block(octet(), 1), 3, displacement=0.1), "axis"),
        (lambda: compress(finite_block(octet(), 1), 0, displacement=0.0), "displacement"),
        (lambda: compress(finite_block(octet(), 1), 0, displacement=0.1, faces="glued"), "faces"),
        (lambda: compress(finite_block(octet(), 1), 0, displacement=0.1, grip=1.0), "grip"),
        (
            lambda: compress(finite_block(octet(), 1), displacement=0.1, material=material("PLA"), young_modulus=1.0),
            "material",
        ),
        (lambda: compress(finite_block(layers(), 2), displacement=0.1), "no struts join"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def layers():
    return StrutLattice(np.eye(3), [[0, 0, 0]], np.zeros((2, 2)), [[1, 0, 0], [0, 1, 0]], 0.02)
