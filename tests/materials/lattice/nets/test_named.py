"""The collection: every cell is connected, three-periodic and free of crossings, with the counts that its net has."""

from __future__ import annotations

import itertools
import math
import zipfile

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.graphs.periodic import periodic_components
from polyad.materials.lattice import effective_stiffness, primitive
from polyad.materials.lattice.io.cgd import read_cgd
from polyad.materials.lattice.nets.contacts import strut_contacts
from polyad.materials.lattice.nets.named import cell_info, list_cells, named_cell

# nodes and struts of the primitive cell, nodes of every coordination number
COUNTS = {
    "acs": (2, 6, {6: 2}),
    "analcime": (24, 48, {4: 24}),
    "bcc": (1, 4, {8: 1}),
    "bcc_braced": (1, 7, {14: 1}),
    "bcc_sc": (2, 11, {8: 1, 14: 1}),
    "bccz": (2, 9, {8: 1, 10: 1}),
    "bcs": (8, 24, {6: 8}),
    "boracite": (7, 12, {3: 4, 4: 3}),
    "bto": (6, 9, {3: 6}),
    "cantic_cubic": (12, 30, {5: 12}),
    "carbon_nitride": (14, 24, {3: 8, 4: 6}),
    "cds": (2, 4, {4: 2}),
    "chiral_cubic": (8, 24, {6: 8}),
    "clathrate_2": (34, 68, {4: 34}),
    "crb": (4, 8, {4: 4}),
    "cubic_braced": (5, 23, {4: 3, 8: 1, 26: 1}),
    "cubic_face_braced": (4, 15, {4: 3, 18: 1}),
    "cuboctahedron": (3, 12, {8: 3}),
    "diamond": (2, 4, {4: 2}),
    "elongated_kelvin": (6, 12, {4: 6}),
    "elongated_triangular_prism": (2, 7, {7: 2}),
    "f2bccz": (4, 17, {4: 2, 8: 1, 18: 1}),
    "f2cc": (3, 8, {4: 2, 8: 1}),
    "f2ccz": (3, 9, {4: 2, 10: 1}),
    "face_centred": (4, 12, {4: 3, 12: 1}),
    "fbcc": (5, 20, {4: 3, 8: 1, 20: 1}),
    "fbccz": (5, 21, {4: 3, 8: 1, 22: 1}),
    "fccz": (4, 13, {4: 3, 14: 1}),
    "gismondine": (8, 16, {4: 8}),
    "hcp": (2, 12, {12: 2}),
    "hexachiral_prism": (6, 15, {5: 6}),
    "hexagons": (4, 12, {6: 4}),
    "honeycomb_prism": (2, 5, {5: 2}),
    "kagome_prism": (3, 9, {6: 3}),
    "kelvin": (6, 12, {4: 6}),
    "lcy": (4, 12, {6: 4}),
    "lonsdaleite": (4, 8, {4: 4}),
    "lvt": (4, 8, {4: 4}),
    "nbo": (3, 6, {4: 3}),
    "nickel_arsenide": (4, 12, {6: 4}),
    "octet": (1, 6, {12: 1}),
    "octet_cubic": (4, 27, {12: 3, 18: 1}),
    "omnitruncated_cubic": (24, 48, {4: 24}),
    "perovskite": (5, 18, {6: 4, 12: 1}),
    "pts": (4, 8, {4: 4}),
    "pyrite": (12, 24, {3: 8, 6: 4}),
    "pyrochlore": (4, 12, {6: 4}),
    "quartz": (3, 6, {4: 3}),
    "reentrant": (2, 5, {5: 2}),
    "reentrant_cubic": (7, 27, {5: 6, 24: 1}),
    "rhombic_dodecahedron": (3, 8, {4: 2, 8: 1}),
    "rhombicuboctahedron": (12, 36, {6: 12}),
    "rhombitrihexagonal_prism": (6, 18, {6: 6}),
    "runcic_cubic": (8, 24, {6: 8}),
    "runcicantic_cubic": (24, 48, {4: 24}),
    "runcitruncated_cubic": (24, 60, {5: 24}),
    "rutile": (6, 12, {3: 4, 6: 2}),
    "simple_cubic": (1, 3, {6: 1}),
    "snub_hexagonal_prism": (6, 21, {7: 6}),
    "snub_square_prism": (4, 14, {7: 4}),
    "spinel_net": (12, 24, {3: 8, 6: 4}),
    "square_hexagons": (10, 24, {4: 6, 6: 4}),
    "square_octahedra": (10, 24, {4: 6, 6: 4}),
    "square_prism": (1, 3, {6: 1}),
    "srs": (4, 6, {3: 4}),
    "star": (5, 18, {6: 4, 12: 1}),
    "stp": (5, 12, {4: 3, 6: 2}),
    "tetrachiral_prism": (4, 10, {5: 4}),
    "ths": (4, 6, {3: 4}),
    "triangular_prism": (1, 4, {8: 1}),
    "truncated_cube": (6, 15, {5: 6}),
    "truncated_cuboctahedron": (24, 48, {4: 24}),
    "truncated_hexagonal_prism": (6, 15, {5: 6}),
    "truncated_square_prism": (4, 10, {5: 4}),
    "truncated_trihexagonal_prism": (12, 30, {5: 12}),
    "twisted_boracite": (14, 24, {3: 8, 4: 6}),
    "weaire_phelan": (46, 92, {4: 46}),
}

# edges of uniform honeycombs and of quasiregular nets are equally long
UNIFORM = [
    *("simple_cubic", "bcc", "octet", "diamond", "kelvin", "cuboctahedron", "truncated_cube", "rhombicuboctahedron"),
    *("truncated_cuboctahedron", "runcitruncated_cubic", "omnitruncated_cubic", "pyrochlore", "cantic_cubic"),
    *("runcic_cubic", "runcicantic_cubic", "rhombic_dodecahedron", "srs", "nbo", "hcp", "lonsdaleite", "pts"),
]

# the cells of `prisms` that are Archimedean tilings
TILINGS = [name for name in COUNTS if name.endswith("_prism") and "chiral" not in name]


def test_the_collection_is_listed():
    assert set(list_cells()) == set(COUNTS)
    assert len(COUNTS) >= 60
    names = [x for name in list_cells() for x in (name, *cell_info(name).aliases)]
    assert len(names) == len(set(names)), "an alias is used twice"
    for name in list_cells():
        info = cell_info(name)
        assert info.description
        assert any(character.isdigit() for character in info.source), f"{name}: source without a year"


@pytest.mark.parametrize("name", COUNTS)
def test_counts_connection_and_clearance(name):
    lattice = named_cell(name, density=1e-4)
    coordination = dict(zip(*(x.tolist() for x in lattice.coordination.unique(return_counts=True)), strict=True))
    assert (lattice.num_nodes, lattice.num_edges, coordination) == COUNTS[name]
    found = periodic_components(lattice.num_nodes, lattice.edge_index, lattice.edge_shift)
    assert found.dimension.tolist() == [3]
    assert round(abs(float(torch.linalg.det(found.directions[0])))) == 1  # one net, not several interpenetrating
    assert len(strut_contacts(lattice, 0.02 * float(lattice.edge_lengths.min()))) == 0
    assert float(lattice.relative_density) == pytest.approx(1e-4)


@pytest.mark.parametrize("name", COUNTS)
def test_no_smaller_cell_describes_the_net(name):
    lattice = named_cell(name)
    assert primitive(lattice).num_nodes == lattice.num_nodes


def test_truncated_hexagons_have_triangles_and_dodecagons():
    # edge 1 / (2 + sqrt 3) of the period, corners of 60 and twice 150 degrees in the plane
    lattice = named_cell("truncated_hexagonal_prism")
    flat = lattice.edge_vectors[:, 2].abs() < 1e-9
    assert torch.allclose(lattice.edge_lengths[flat], torch.tensor(1 / (2 + 3**0.5), dtype=torch.float64))
    in_plane = [angle for angle in angles_of(lattice, 0) if abs(angle - 90) > 1e-6 and angle < 179]
    assert in_plane == pytest.approx([60, 150, 150])


@pytest.mark.parametrize("name", COUNTS)
def test_conventional_cell(name):
    """Edge 1 along x, and a whole number of primitive cells with the same struts."""
    small, large = named_cell(name, density=1e-4), named_cell(name, density=1e-4, primitive=False)
    assert torch.linalg.vector_norm(large.cell, dim=1)[0] == pytest.approx(1.0)
    ratio = round(float(large.volume / small.volume))
    assert large.num_edges == ratio * small.num_edges
    lengths = small.edge_lengths.sort().values.repeat_interleave(ratio)
    assert torch.allclose(large.edge_lengths.sort().values, lengths, atol=1e-12)


@pytest.mark.parametrize("name", UNIFORM)
def test_equal_struts(name):
    lengths = named_cell(name, density=1e-4).edge_lengths
    assert float(lengths.max() - lengths.min()) < 2e-5 * float(lengths.max())


@pytest.mark.parametrize("name", TILINGS)
def test_tilings_have_equal_edges_in_the_plane(name):
    vectors = named_cell(name, density=1e-4, c=1.7).edge_vectors
    flat = vectors[:, 2].abs() < 1e-9
    lengths = torch.linalg.vector_norm(vectors[flat], dim=1)
    assert float(lengths.max() - lengths.min()) < 1e-9
    assert torch.allclose(vectors[~flat].abs(), torch.tensor([0, 0, 1.7], dtype=torch.float64), atol=1e-12)


def angles_of(lattice, node):
    """Sorted angles between all pairs of struts at a node, in degrees."""
    vectors = lattice.edge_vectors
    out = [v for (i, j), v in zip(lattice.edge_index.T.tolist(), vectors, strict=True) if i == node]
    out += [-v for (i, j), v in zip(lattice.edge_index.T.tolist(), vectors, strict=True) if j == node]
    unit = [v / v.norm() for v in out]
    return sorted(math.degrees(math.acos(max(-1, min(1, float(a @ b))))) for a, b in itertools.combinations(unit, 2))


@pytest.mark.parametrize(
    ("name", "angles"),
    [
        ("diamond", [109.4712206] * 6),
        ("lonsdaleite", [109.4712206] * 6),
        ("srs", [120.0] * 3),
        ("kelvin", [90, 90, 120, 120, 120, 120]),
        ("nbo", [90, 90, 90, 90, 180, 180]),
        ("simple_cubic", [90] * 12 + [180] * 3),
        ("octet", [60] * 24 + [90] * 12 + [120] * 24 + [180] * 6),
        ("pyrochlore", [60] * 6 + [120] * 6 + [180] * 3),
    ],
)
def test_angles_at_a_node(name, angles):
    assert angles_of(named_cell(name, density=1e-4), 0) == pytest.approx(angles, abs=2e-5)


@pytest.mark.parametrize("name", ["weaire_phelan", "clathrate_2"])
def test_foams_are_nearly_plateau(name):
    """Four struts at every node at angles near 109.47 degrees, as Plateau's laws ask of soap froth."""
    lattice = named_cell(name, density=1e-4)
    for node in range(lattice.num_nodes):
        angles = angles_of(lattice, node)
        assert min(angles) > 100
        assert max(angles) < 126
        assert sum(angles) / 6 == pytest.approx(109.47, abs=0.6)


def test_reentrant_is_auxetic_and_its_convex_form_is_not():
    def poisson(angle):
        compliance = torch.linalg.inv(effective_stiffness(named_cell("reentrant", density=0.002, angle=angle)))
        return -float(compliance[0, 2] / compliance[2, 2])

    assert poisson(20.0) < -0.1
    assert poisson(-20.0) > 0.1


def test_chiral_cells_differ_from_their_mirror_images():
    """Coupling of shear and stretch in the tetrachiral cell changes sign with the angle."""
    left, right = (effective_stiffness(named_cell("tetrachiral_prism", angle=x)) for x in (25.0, -25.0))
    mirror = torch.diag(torch.tensor([1, 1, 1, -1, 1, -1], dtype=torch.float64))
    assert torch.allclose(left, mirror @ right @ mirror, atol=1e-9 * float(left.abs().max()))
    assert float((left - right).abs().max()) > 1e-3 * float(left.abs().max())


def test_parameters_change_geometry():
    assert named_cell("honeycomb_prism", c=2.0).cell[2, 2] == pytest.approx(2.0)
    kelvin = named_cell("elongated_kelvin", c=1.0)
    assert np.allclose(kelvin.edge_lengths, math.sqrt(1 / 8))


def test_aliases_and_spelling():
    assert cell_info("FCC").name == "octet"
    assert cell_info("gyroid net").name == "srs"
    assert cell_info("BCC+SC").name == "bcc_sc"
    assert cell_info("Weaire-Phelan").name == "weaire_phelan"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: named_cell("kelvni"), "did you mean kelvin"),
        (lambda: named_cell("xyzzy"), "list_cells"),
        (lambda: named_cell("kelvin", c=2.0), "no parameter 'c'"),
        (lambda: named_cell("square_prism", c=-1.0), "between"),
        (lambda: named_cell("reentrant", angle=59.0, height=1.0), "must exceed"),
        (lambda: named_cell("kelvin", density=float("nan")), "density"),
        (lambda: named_cell("kelvin", density=3.0), "radius"),
    ],
)
def test_bad_requests(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_same_nets_as_the_public_collection(shared_data):
    """Cells with a three-letter alias have the counts of that net in the published archive."""
    wanted = {alias: name for name in list_cells() for alias in (name, *cell_info(name).aliases) if len(alias) == 3}
    published = {}
    with zipfile.ZipFile(shared_data / "lattice" / "RCSR_topology.zip") as archive:
        for net in {f"{alias}.cgd" for alias in wanted} & set(archive.namelist()):
            ((_, found),) = read_cgd(net, archive.read(net).decode(), densities=[0.01])
            published[net.removesuffix(".cgd")] = found[0].lattice
    assert len(published) > 40
    for net, lattice in published.items():
        ours = named_cell(wanted[net])
        assert (ours.num_nodes, ours.num_edges) == (lattice.num_nodes, lattice.num_edges), net
        assert ours.coordination.sort().values.tolist() == lattice.coordination.sort().values.tolist(), net
        if wanted[net] in TILINGS:  # free height
            continue
        scale = float(torch.pow(lattice.volume / ours.volume, 1 / 3))
        assert torch.allclose(ours.edge_lengths.sort().values * scale, lattice.edge_lengths.sort().values, rtol=0.02), (
            net
        )
