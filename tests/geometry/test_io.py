"""Formats by suffix and by content, and thousands of damaged files: a mesh, or one line why not."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from polyad.errors import FileFormatError, InputError
from polyad.geometry.beam_lattice import read_beam_lattice, write_beam_lattice
from polyad.geometry.io import MESH_SUFFIXES, read_mesh, write_mesh
from polyad.geometry.mesh import TriangleMesh
from tests.geometry.conftest import mutations
from tests.geometry.test_beam_lattice import EDGES, POSITIONS, RADII

READ = (".stl", ".obj", ".ply", ".3mf")


@pytest.mark.parametrize("suffix", READ)
def test_content_decides_on_reading(tmp_path: Path, solid: TriangleMesh, suffix: str) -> None:
    write_mesh(tmp_path / f"a{suffix.upper()}", solid)
    (tmp_path / f"a{suffix.upper()}").rename(tmp_path / "a.unknown")
    again = read_mesh(tmp_path / "a.unknown")
    assert float(again.volume) == pytest.approx(float(solid.volume), rel=1e-6)
    assert again.genus == 1


def test_every_suffix_is_written_the_same_twice(tmp_path: Path, solid: TriangleMesh) -> None:
    for suffix in MESH_SUFFIXES:
        write_mesh(tmp_path / f"a{suffix}", solid)
        write_mesh(tmp_path / f"b{suffix}", solid)
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    with pytest.raises(InputError, match=r"unknown suffix '.step'"):
        write_mesh(tmp_path / "a.step", solid)


def refusals(read: Callable[[Path], object], path: Path, copies: Iterable[bytes]) -> list[str]:
    """Messages of the copies that are refused; any exception but FileFormatError fails the test."""
    messages = []
    for copy in copies:
        path.write_bytes(copy)
        try:
            read(path)
        except FileFormatError as error:
            messages.append(str(error))
    return messages


def repacked(model: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("3D/3dmodel.model", model)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", READ)
def test_damaged_meshes_give_one_line(tmp_path: Path, solid: TriangleMesh, suffix: str) -> None:
    write_mesh(tmp_path / f"a{suffix}", solid.pieces()[0])
    data = (tmp_path / f"a{suffix}").read_bytes()
    copies = list(mutations(data, count=80, seed=1))
    if suffix == ".3mf":  # damage inside the archive too, behind its checksum
        with zipfile.ZipFile(tmp_path / "a.3mf") as archive:
            model = archive.read("3D/3dmodel.model")
        copies += [repacked(copy) for copy in mutations(model, count=100, seed=2)]
    errors = refusals(read_mesh, tmp_path / "b", copies)
    assert len(errors) > len(copies) // 5
    assert all(error.startswith(str(tmp_path / "b")) and "\n" not in error for error in errors)


def test_damaged_beam_lattices_give_one_line(tmp_path: Path) -> None:
    write_beam_lattice(tmp_path / "a.3mf", POSITIONS, EDGES, RADII)
    with zipfile.ZipFile(tmp_path / "a.3mf") as archive:
        model = archive.read("3D/3dmodel.model")
    copies = (repacked(copy) for copy in mutations(model, count=400, seed=3))
    errors = refusals(read_beam_lattice, tmp_path / "b.3mf", copies)
    assert len(errors) > 80
    assert not any("\n" in error for error in errors)
