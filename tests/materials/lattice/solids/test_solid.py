"""Solids of lattices: exact volumes, laws of periodic material, blocks, plates and files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from polyad.errors import InputError, NumericalWarning
from polyad.geometry.beam_lattice import read_beam_lattice
from polyad.geometry.io import read_mesh
from polyad.geometry.mesh import TriangleMesh
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.solids.block import Boundary, strut_block
from polyad.materials.lattice.solids.solid import block_solid, export, unit_cell_solid, volume_fraction
from tests.materials.lattice.seeds import (
    body_centred,
    body_centred_with_cube,
    diamond,
    kelvin,
    octet,
    random_net,
    simple_cubic,
)


def area_in_plane(mesh: TriangleMesh, axis: int, value: float) -> float:
    corners = mesh.corners
    flat = (corners[..., axis] - value).abs().amax(1) < 1e-9
    return float(torch.linalg.vector_norm(mesh.normals[flat], dim=-1).sum() / 2)


@pytest.mark.parametrize("radius", [0.05, 0.2])
def test_simple_cubic_is_the_tricylinder(radius: float) -> None:
    """Three cylinders that meet at right angles: each pair shares 16 r^3 / 3, all three 8 (2 - sqrt 2) r^3."""
    exact = 3 * math.pi * radius**2 - 16 * radius**3 + 8 * (2 - math.sqrt(2)) * radius**3
    fraction = volume_fraction(simple_cubic(radius))
    assert fraction.solid == pytest.approx(exact, rel=2e-6)
    assert fraction.beam == pytest.approx(3 * math.pi * radius**2)
    assert fraction.counted_twice == pytest.approx(1 - exact / (3 * math.pi * radius**2), rel=1e-4)


@pytest.mark.parametrize("build", [octet, body_centred, kelvin, diamond])
def test_beam_formula_is_the_limit_of_thin_struts(build: Callable[[float], StrutLattice]) -> None:
    """1 - solid / beam falls in proportion to r, that is to the square root of the density."""
    twice = [volume_fraction(build(r), facets=8).counted_twice for r in (0.01, 0.005)]
    assert twice[0] / twice[1] == pytest.approx(2, rel=0.01)


def test_facets_converge_at_fourth_order() -> None:
    """Errors as n^-4 give differences to n = 32 in the ratio (4^4 - 1) / (2^4 - 1) = 17; second order would give 5."""
    values = [volume_fraction(octet(0.06), facets=n).solid for n in (8, 16, 32)]
    assert (values[0] - values[2]) / (values[1] - values[2]) == pytest.approx(17, rel=0.1)
    assert abs(values[1] - values[2]) < 2e-5 * values[2]


def test_volume_does_not_depend_on_origin_cell_or_tiling() -> None:
    lattice = random_net(3, nodes=3, extra=2, radius=0.02)
    reference = volume_fraction(lattice, facets=10).solid
    for origin in ((0.0, 0.0, 0.0), (0.31, 0.77, 0.2)):
        volume = float(unit_cell_solid(lattice, facets=10, origin=origin).volume)
        assert volume / float(lattice.volume) == pytest.approx(reference, rel=1e-9)
    assert volume_fraction(lattice.tile((2, 1, 1)), facets=10).solid == pytest.approx(reference, rel=1e-9)
    other = lattice.change_cell([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    assert volume_fraction(other, facets=10).solid == pytest.approx(reference, rel=1e-9)


@pytest.mark.parametrize("build", [octet, body_centred_with_cube])
def test_opposite_faces_of_the_cell_match(build: Callable[[float], StrutLattice]) -> None:
    lattice = build(0.06)
    mesh = unit_cell_solid(lattice, facets=12, origin=(0.1, 0.2, 0.3))
    straight = mesh.transform(torch.linalg.inv(lattice.cell.T))
    for axis in range(3):
        low, high = area_in_plane(straight, axis, 0.0), area_in_plane(straight, axis, 1.0)
        assert low > 1e-3
        assert low == pytest.approx(high, rel=1e-9)
    assert mesh.is_watertight


@pytest.mark.parametrize("build", [simple_cubic, octet, kelvin, body_centred_with_cube])
def test_block_has_the_handles_of_its_net(build: Callable[[float], StrutLattice]) -> None:
    lattice = build(0.03)
    mesh = block_solid(lattice, (2, 1, 1), cell_size_mm=8.0, facets=8)
    block = strut_block(lattice, (2, 1, 1))
    assert mesh.is_watertight
    assert mesh.genus == block.cycle_rank
    assert len(mesh.pieces()) == block.num_pieces


def test_trimmed_block_weighs_its_volume_fraction() -> None:
    lattice = body_centred_with_cube(0.05)
    mesh = block_solid(lattice, (2, 1, 2), cell_size_mm=4.0, boundary="trim", facets=12)
    fraction = volume_fraction(lattice, facets=12).solid
    assert float(mesh.volume) == pytest.approx(fraction * 4 * 4.0**3, rel=1e-9)
    torch.testing.assert_close(mesh.bounding_box, torch.tensor([[0, 0, 0], [8, 4, 8]], dtype=torch.float64))


def test_plates_add_their_volume_and_close_the_ends() -> None:
    lattice = octet(0.05)
    bare = block_solid(lattice, 1, cell_size_mm=10.0, boundary="trim", facets=10)
    plated = block_solid(lattice, 1, cell_size_mm=10.0, boundary="trim", facets=10, plates_mm=(0.5, 1.5))
    edges = strut_block(lattice, 1, cell_size_mm=10.0).edges
    footprint = float(torch.linalg.vector_norm(torch.linalg.cross(edges[0], edges[1])))
    assert float(plated.volume) == pytest.approx(float(bare.volume) + 2.0 * footprint, rel=1e-9)
    assert plated.is_watertight
    assert len(plated.pieces()) == 1


def test_uniform_grading_is_a_change_of_radius() -> None:
    graded = block_solid(octet(0.03), 1, grading=lambda x: torch.full((len(x),), 1.5, dtype=x.dtype), facets=8)
    thick = block_solid(octet(0.045), 1, facets=8)
    assert float(graded.volume) == pytest.approx(float(thick.volume), rel=1e-12)


def test_graded_struts_taper() -> None:
    """In the limit of thin struts the volume is the sum of frusta, pi L (a^2 + a b + b^2) / 3."""
    block = strut_block(simple_cubic(0.01), (3, 1, 1), grading=lambda x: 1 + x[:, 0])
    a, b = block.radii.T
    frusta = float((math.pi / 3 * (a * a + a * b + b * b)).sum())
    mesh = block_solid(simple_cubic(0.01), (3, 1, 1), grading=lambda x: 1 + x[:, 0], facets=12)
    assert float(mesh.volume) == pytest.approx(frusta, rel=0.03)
    half = block_solid(simple_cubic(0.005), (3, 1, 1), grading=lambda x: 1 + x[:, 0], facets=12)
    assert abs(4 * float(half.volume) / frusta - 1) == pytest.approx(abs(float(mesh.volume) / frusta - 1) / 2, rel=0.05)


def test_overlaps_away_from_nodes_are_told() -> None:
    crossing = StrutLattice(
        torch.eye(3), [[0, 0, 0], [0.5, -0.3, 0.05], [0.5, 0.3, 0.05]], [[0, 0, 0, 1], [0, 0, 0, 2]],
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], 0.05,
    )  # fmt: skip
    with pytest.warns(NumericalWarning, match="overlap away from their nodes"):
        block_solid(crossing, 1, facets=8)


def test_crumbs_are_left_out_on_demand() -> None:
    """A strut across a vertical edge of the window leaves three loose ends beside the cross in the middle."""
    lattice = StrutLattice(
        2 * torch.eye(3), [[1, 1, 1], [-0.4, 0.5, 0.4], [0.5, -0.4, 0.4]], [[0, 0, 0, 1], [0, 0, 0, 2]],
        [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], [0.3, 0.3, 0.3, 0.05],
    )  # fmt: skip
    pieces = {
        crumbs: sorted(
            float(p.volume) for p in block_solid(lattice, 1, boundary="trim", facets=8, crumbs=crumbs).pieces()
        )
        for crumbs in (0.0, 0.002, 0.01)
    }
    assert [len(p) for p in pieces.values()] == [4, 3, 1]
    assert pieces[0.002] == pytest.approx(pieces[0.0][1:])
    assert pieces[0.01] == pytest.approx(pieces[0.0][3:])
    assert pieces[0.0][0] == pytest.approx(math.pi * 0.05**2 * 0.1 * math.sqrt(2), rel=1e-6)


@pytest.mark.parametrize("name", ["a.stl", "a.obj", "a.ply", "a.3mf"])
def test_export_meshes(tmp_path: Path, name: str) -> None:
    lattice, boundary = octet(0.04), "trim" if name == "a.ply" else "keep"
    calls: list[tuple[int, int]] = []
    export(
        lattice, tmp_path / name, counts=(1, 1, 2), cell_size_mm=20.0, boundary=boundary, facets=8, title="octet",
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    expected = block_solid(lattice, (1, 1, 2), cell_size_mm=20.0, boundary=boundary, facets=8)
    mesh = read_mesh(tmp_path / name)
    assert mesh.is_watertight
    assert mesh.genus == expected.genus
    assert float(mesh.volume) == pytest.approx(float(expected.volume), rel=1e-6)
    assert calls[-1][0] == calls[-1][1]


def test_export_beams(tmp_path: Path) -> None:
    export(
        kelvin(0.02),
        tmp_path / "a.3mf",
        counts=2,
        cell_size_mm=6.0,
        beams=True,
        grading=lambda x: 1 + 0.01 * x[:, 2] ** 2,
    )
    block = strut_block(kelvin(0.02), 2, cell_size_mm=6.0, grading=lambda x: 1 + 0.01 * x[:, 2] ** 2)
    read = read_beam_lattice(tmp_path / "a.3mf")
    assert torch.equal(read.positions, block.positions)
    assert torch.equal(read.edge_index, block.edge_index)
    assert torch.equal(read.radii, block.radii)


def test_export_lines_with_fields(tmp_path: Path) -> None:
    lattice = simple_cubic(0.05)
    force = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    export(lattice, tmp_path / "a.vtk", counts=1, cell_size_mm=2.0, fields={"force": force})
    data = (tmp_path / "a.vtk").read_bytes()
    block = strut_block(lattice, 1)
    mark = b"force 1 12 double\n"
    found = torch.frombuffer(bytearray(data[data.index(mark) + len(mark) :][: 12 * 8]), dtype=torch.uint8)
    values = torch.from_numpy(found.numpy().view(">f8").astype("f8"))
    assert torch.equal(values, force[block.strut])
    assert b"radius 1 12 double" in data
    with pytest.raises(InputError, match="first axis must be 3 struts"):
        export(lattice, tmp_path / "b.vtu", fields={"force": force[:2]})
    assert [path.name for path in tmp_path.iterdir()] == ["a.vtk"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.step", {}, "use one of .stl"),
        ("a.stl", {"beams": True}, "a beam lattice is written as .3mf"),
        ("a.3mf", {"beams": True, "boundary": "trim"}, "cannot be trimmed"),
        ("a.vtu", {"plates_mm": 1.0}, "have no plates"),
        ("a.stl", {"fields": {"force": torch.zeros(3)}}, "fields are for"),
        ("a.stl", {"plates_mm": -1.0}, "none of them negative"),
        ("a.stl", {"facets": 2}, "at least 3"),
        ("no/a.stl", {"facets": 3}, "does not exist; create it"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        export(simple_cubic(0.05), tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_holes_closed_by_thick_struts_are_told() -> None:
    with pytest.warns(NumericalWarning, match="pieces - handles"):
        block_solid(octet(0.2), 1, facets=6)


@pytest.mark.parametrize("boundary", ["keep", "drop", "trim"])
def test_boundaries_reach_as_far_as_they_say(boundary: Boundary) -> None:
    mesh = block_solid(body_centred_with_cube(0.05), 1, boundary=boundary, facets=8)
    low, high = mesh.bounding_box
    reach = 0.0 if boundary == "trim" else 0.05
    assert low.tolist() == pytest.approx([-reach] * 3, abs=0.01)
    assert high.tolist() == pytest.approx([1 + reach] * 3, abs=0.01)
