"""STL: float32 round trip, trimesh as peer, ASCII, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from polyad.errors import FileFormatError, InputError
from polyad.geometry.mesh import TriangleMesh
from polyad.geometry.stl import read_stl, write_stl

ASCII = """solid corner
facet normal 0 0 -1
  outer loop
    vertex 0 0 0
    vertex 0 1.5e0 0
    vertex 1 0 0
  endloop
endfacet
endsolid corner
"""


def test_round_trip_is_exact_in_float32(tmp_path: Path, solid: TriangleMesh) -> None:
    write_stl(tmp_path / "a.stl", solid)
    again = read_stl(tmp_path / "a.stl")
    assert torch.equal(again.corners, solid.corners.float().double())
    assert again.is_watertight
    assert again.genus == solid.genus == 1
    assert float(again.volume) == pytest.approx(float(solid.volume), rel=1e-6)


def test_bytes_are_as_the_format_says(tmp_path: Path, solid: TriangleMesh) -> None:
    write_stl(tmp_path / "a.stl", solid)
    write_stl(tmp_path / "b.stl", solid)
    data = (tmp_path / "a.stl").read_bytes()
    assert data == (tmp_path / "b.stl").read_bytes()
    assert not data.startswith(b"solid")
    assert len(data) == 84 + 50 * solid.num_triangles
    first = np.frombuffer(data, "<f4", 12, 84).reshape(4, 3)
    a, b, c = solid.corners[0].numpy()
    normal = np.cross(b - a, c - a)
    np.testing.assert_allclose(first[0], normal / np.linalg.norm(normal), atol=1e-6)
    np.testing.assert_array_equal(first[1:], solid.corners[0].numpy().astype(np.float32))


def test_trimesh_reads_the_same_solid(tmp_path: Path, solid: TriangleMesh) -> None:
    trimesh = pytest.importorskip("trimesh", reason="trimesh is the oracle here")
    write_stl(tmp_path / "a.stl", solid)
    peer = trimesh.load(tmp_path / "a.stl")
    assert peer.is_watertight
    assert peer.volume == pytest.approx(float(solid.volume), rel=1e-6)
    assert peer.euler_number == 0


def test_triangles_that_collapse_in_float32_are_left_out(tmp_path: Path) -> None:
    """A tetrahedron with one edge split at a hair's breadth: two slivers vanish, the surface stays closed."""
    points = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1 + 1e-12, 0, 0]]
    faces = [[0, 2, 4], [0, 4, 1], [0, 1, 3], [0, 3, 2], [1, 4, 3], [4, 2, 3]]
    mesh = TriangleMesh(points, faces)
    assert mesh.is_watertight
    write_stl(tmp_path / "a.stl", mesh)
    again = read_stl(tmp_path / "a.stl")
    assert again.num_triangles == 4
    assert again.is_watertight
    assert float(again.volume) == pytest.approx(1 / 6)


def test_ascii(tmp_path: Path) -> None:
    (tmp_path / "a.stl").write_text(ASCII)
    mesh = read_stl(tmp_path / "a.stl")
    assert mesh.corners.tolist() == [[[0, 0, 0], [0, 1.5, 0], [1, 0, 0]]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "fewer than the header"),
        (b"\0" * 84, "holds no triangle"),
        (b"\0" * 80 + b"\2\0\0\0" + b"\0" * 50, "announces 2 triangles"),
        (ASCII.replace("1.5e0", "one").encode(), r"a.stl:5: expected 'vertex x y z'"),
        (ASCII.replace("    vertex 1 0 0\n", "").encode(), r"a.stl:6: a facet has other than three"),
        (ASCII.replace("1.5e0", "nan").encode(), "NaN"),
        (ASCII[: ASCII.index("    vertex 1")].encode(), "truncated"),
        (ASCII[:-18].encode(), "truncated"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.stl").write_bytes(data)
    with pytest.raises(FileFormatError, match=message):
        read_stl(tmp_path / "a.stl")


def test_beyond_float32(tmp_path: Path, solid: TriangleMesh) -> None:
    with pytest.raises(InputError, match="beyond float32"):
        write_stl(tmp_path / "a.stl", solid.transform(1e40 * torch.eye(3, dtype=torch.float64)))
    assert list(tmp_path.iterdir()) == []
