"""3MF Beam Lattice: exact round trip, lib3mf as peer, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from polyad.errors import FileFormatError, InputError
from polyad.geometry.beam_lattice import read_beam_lattice, write_beam_lattice
from polyad.geometry.mesh import parallelepiped
from polyad.geometry.package import write_package
from polyad.geometry.threemf import BEAM_LATTICE, CORE, write_3mf

POSITIONS = torch.tensor([[0, 0, 0], [10, 0, 0], [0, 10, 1 / 3], [0.1, 3, 9]], dtype=torch.float64)
EDGES = torch.tensor([[0, 0, 3, 2], [1, 2, 0, 3]])
RADII = torch.tensor([[1.0, 0.5], [0.7, 0.7], [0.3, 0.9], [0.1, 0.2]], dtype=torch.float64)


def test_round_trip_keeps_every_bit_and_bytes_are_equal(tmp_path: Path) -> None:
    for name in "ab":
        write_beam_lattice(tmp_path / f"{name}.3mf", POSITIONS, EDGES, RADII, cap="hemisphere", title="t")
    assert (tmp_path / "a.3mf").read_bytes() == (tmp_path / "b.3mf").read_bytes()
    lattice = read_beam_lattice(tmp_path / "a.3mf")
    assert torch.equal(lattice.positions, POSITIONS)
    assert torch.equal(lattice.edge_index, EDGES)
    assert torch.equal(lattice.radii, RADII)
    assert lattice.cap == "hemisphere"


def test_one_radius_a_beam(tmp_path: Path) -> None:
    write_beam_lattice(tmp_path / "a.3mf", POSITIONS, EDGES, RADII[:, 0])
    assert torch.equal(read_beam_lattice(tmp_path / "a.3mf").radii, RADII[:, :1].expand(-1, 2))


def test_lib3mf_reads_it_without_a_warning(tmp_path: Path) -> None:
    lib3mf = pytest.importorskip("lib3mf", reason="lib3mf, the consortium's own reader, is the oracle here")
    write_beam_lattice(tmp_path / "a.3mf", POSITIONS, EDGES, RADII)
    peer = lib3mf.get_wrapper().CreateModel()
    reader = peer.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(tmp_path / "a.3mf"))
    assert reader.GetWarningCount() == 0
    objects = peer.GetMeshObjects()
    assert objects.MoveNext()
    mesh = objects.GetCurrentMeshObject()
    beams = mesh.BeamLattice().GetBeams()
    assert [list(beam.Indices[:]) for beam in beams] == EDGES.T.tolist()
    radii = torch.tensor([list(beam.Radii[:]) for beam in beams], dtype=torch.float64)
    torch.testing.assert_close(radii, RADII, rtol=1e-6, atol=0)  # lib3mf keeps float32
    assert {cap for beam in beams for cap in beam.CapModes[:]} == {int(lib3mf.BeamLatticeCapMode.Sphere)}
    shortest = torch.linalg.vector_norm(POSITIONS[EDGES[1]] - POSITIONS[EDGES[0]], dim=-1).min()
    assert 0 < mesh.BeamLattice().GetMinLength() < float(shortest)


def test_radii_follow_unit_and_transform(tmp_path: Path) -> None:
    beams = '<b:beam v1="0" v2="1"/><b:beam v1="1" v2="2" r1="2"/><b:beam v1="0" v2="2" r1="1" r2="3"/>'
    vertices = '<vertex x="0" y="0" z="0"/><vertex x="9" y="0" z="0"/><vertex x="0" y="9" z="0"/>'
    lattice = f'<b:beamlattice radius="0.5" minlength="0.1"><b:beams>{beams}</b:beams></b:beamlattice>'
    text = (
        f'<model unit="inch" xmlns="{CORE}" xmlns:b="{BEAM_LATTICE}"><resources><object id="1"><mesh>'
        f"<vertices>{vertices}</vertices>{lattice}</mesh></object></resources>"
        '<build><item objectid="1" transform="0 2 0 -2 0 0 0 0 2 1 0 0"/></build></model>'
    )
    write_package(tmp_path / "a.3mf", {"3D/3dmodel.model": text})
    read = read_beam_lattice(tmp_path / "a.3mf")
    expected = 25.4 * 2 * torch.tensor([[0.5, 0.5], [2, 2], [1, 3]], dtype=torch.float64)
    torch.testing.assert_close(read.radii, expected)
    torch.testing.assert_close(read.positions[1], 25.4 * torch.tensor([1.0, 18, 0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("edges", "radii", "cap", "message"),
    [
        ([[0, 1], [1, 0]], [1.0, 1.0], "sphere", "two beams join the same nodes"),
        ([[0], [0]], [1.0], "sphere", "zero length"),
        ([[0], [1]], [0.0], "sphere", "positive radii"),
        ([[0], [1]], [math.nan], "sphere", "NaN"),
        ([[0], [4]], [1.0], "sphere", "outside 0 to 3"),
        ([[0], [1]], [1.0], "round", "one of sphere, hemisphere, butt"),
    ],
)
def test_bad_beams_are_refused(tmp_path: Path, edges: list, radii: list, cap: str, message: str) -> None:
    edge_index, radius = torch.tensor(edges), torch.tensor(radii, dtype=torch.float64)
    with pytest.raises(InputError, match=message):
        write_beam_lattice(tmp_path / "a.3mf", POSITIONS, edge_index, radius, cap=cap)
    assert list(tmp_path.iterdir()) == []


def test_a_mesh_holds_no_beams(tmp_path: Path) -> None:
    write_3mf(tmp_path / "a.3mf", parallelepiped(torch.eye(3)))
    with pytest.raises(FileFormatError, match="holds no beam"):
        read_beam_lattice(tmp_path / "a.3mf")
