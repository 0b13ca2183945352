"""OBJ: exact round trip, the forms of face lines, trimesh as peer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from polyad.errors import FileFormatError
from polyad.geometry.mesh import TriangleMesh
from polyad.geometry.obj import read_obj, write_obj


def test_round_trip_keeps_every_bit(tmp_path: Path, solid: TriangleMesh) -> None:
    write_obj(tmp_path / "a.obj", solid)
    again = read_obj(tmp_path / "a.obj")
    assert torch.equal(again.vertices, solid.vertices)
    assert torch.equal(again.triangles, solid.triangles)


def test_trimesh_reads_the_same_solid(tmp_path: Path, solid: TriangleMesh) -> None:
    trimesh = pytest.importorskip("trimesh", reason="trimesh is the oracle here")
    write_obj(tmp_path / "a.obj", solid)
    peer = trimesh.load(tmp_path / "a.obj")
    assert peer.is_watertight
    assert peer.volume == pytest.approx(float(solid.volume), rel=1e-9)


def test_forms_of_faces(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text(
        "# square\nmtllib x.mtl\nv 0 0 0\nv 1 0 0 1.0\nv 1 1 0\nv 0 1 0\n"
        "vt 0 0\ng side\nf 1/1/1 2//2 3/1 4\nf -4 -2 -1\n"
    )
    assert read_obj(tmp_path / "a.obj").triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no face"),
        ("v 0 0\n", "a.obj:1: expected 'v x y z'"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", "a.obj:4: a face names a vertex"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", "a.obj:4: a face names a vertex"),
        ("v 0 0 0\nf 1 1\n", "three corners"),
        ("v 0 0 0\nf a b c\n", "a.obj:2: expected 'f a b c'"),
        ("v 0 0 0\nv 1 0 0\nv 0 nan 0\nf 1 2 3\n", "NaN"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(FileFormatError, match=message):
        read_obj(tmp_path / "a.obj")
