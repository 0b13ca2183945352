"""PLY: exact round trip, the three encodings, trimesh as peer."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch

from polyad.errors import FileFormatError
from polyad.geometry.mesh import TriangleMesh
from polyad.geometry.ply import read_ply, write_ply

HEADER = (
    "ply\nformat {} 1.0\ncomment c\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    "property uchar red\nelement face 2\nproperty list uchar int vertex_index\nproperty short tag\nend_header\n"
)
POINTS = [(0.0, 0.0, 0.5, 7), (1.0, 0.0, 0.5, 7), (1.0, 1.0, 0.5, 7), (0.0, 1.0, 0.5, 7)]
FACES = [((0, 1, 2, 3), -1), ((2, 1, 0), 5)]
EXPECTED = [[0, 1, 2], [0, 2, 3], [2, 1, 0]]


def test_round_trip_keeps_every_bit(tmp_path: Path, solid: TriangleMesh) -> None:
    write_ply(tmp_path / "a.ply", solid)
    again = read_ply(tmp_path / "a.ply")
    assert torch.equal(again.vertices, solid.vertices)
    assert torch.equal(again.triangles, solid.triangles)


def test_trimesh_reads_the_same_solid(tmp_path: Path, solid: TriangleMesh) -> None:
    trimesh = pytest.importorskip("trimesh", reason="trimesh is the oracle here")
    write_ply(tmp_path / "a.ply", solid)
    peer = trimesh.load(tmp_path / "a.ply")
    assert peer.is_watertight
    assert peer.volume == pytest.approx(float(solid.volume), rel=1e-12)
    peer.export(tmp_path / "b.ply")
    assert float(read_ply(tmp_path / "b.ply").volume) == pytest.approx(float(solid.volume), rel=1e-6)
    peer.export(tmp_path / "c.ply", encoding="ascii")
    assert float(read_ply(tmp_path / "c.ply").volume) == pytest.approx(float(solid.volume), rel=1e-6)


@pytest.mark.parametrize(("name", "order"), [("binary_little_endian", "<"), ("binary_big_endian", ">"), ("ascii", "")])
def test_encodings_with_further_properties(tmp_path: Path, name: str, order: str) -> None:
    if order:
        body = b"".join(struct.pack(f"{order}fffB", *p) for p in POINTS)
        body += b"".join(struct.pack(f"{order}B{len(c)}ih", len(c), *c, tag) for c, tag in FACES)
    else:
        rows = [" ".join(map(str, p)) for p in POINTS] + [f"{len(c)} {' '.join(map(str, c))} {tag}" for c, tag in FACES]
        body = "\n".join(rows).encode()
    (tmp_path / "a.ply").write_bytes(HEADER.format(name).encode() + body)
    mesh = read_ply(tmp_path / "a.ply")
    assert mesh.triangles.tolist() == EXPECTED
    assert mesh.vertices.tolist() == [list(p[:3]) for p in POINTS]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "must begin with 'ply'"),
        (b"ply\nformat ascii 1.0\nelement vertex 99999999\nend_header\n", "a.ply:3: header line not understood"),
        (b"ply\nformat ascii 1.0\nproperty float x\nend_header\n", "a.ply:3"),
        (b"ply\nformat ascii 1.0\nend_header\n", "an element vertex and an element face"),
        (HEADER.format("ascii").encode() + b"0 0 0 0 1 0 0 0", "truncated"),
        (HEADER.format("binary_big_endian").encode() + b"0" * 40, "truncated"),
        (HEADER.format("ascii").encode() + b"0 " * 16 + b"3 0 1 9 0 3 0 1 2 0", "names vertex 9"),
        (HEADER.format("ascii").encode() + b"0 " * 16 + b"3 0 1 2.5 0 3 0 1 2 0", "whole numbers"),
        (HEADER.format("ascii").encode() + b"0 " * 16 + b"-3 0 1 2.5 0 3 0 1 2 0", "truncated"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.ply").write_bytes(data)
    with pytest.raises(FileFormatError, match=message):
        read_ply(tmp_path / "a.ply")
