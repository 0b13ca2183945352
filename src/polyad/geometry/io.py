"""Meshes from and to files, the format chosen by suffix on writing and by content on reading."""

from __future__ import annotations

from pathlib import Path

from polyad.errors import InputError
from polyad.files import read_bytes
from polyad.geometry.mesh import TriangleMesh
from polyad.geometry.obj import read_obj, write_obj
from polyad.geometry.ply import read_ply, write_ply
from polyad.geometry.stl import read_stl, write_stl
from polyad.geometry.threemf import read_3mf, write_3mf
from polyad.geometry.vtk import write_vtk_mesh

_WRITERS = {
    ".stl": write_stl,
    ".obj": write_obj,
    ".ply": write_ply,
    ".3mf": write_3mf,
    ".vtu": write_vtk_mesh,
    ".vtk": write_vtk_mesh,
}

MESH_SUFFIXES = tuple(_WRITERS)
"""Suffixes that `write_mesh` knows."""


def write_mesh(path: str | Path, mesh: TriangleMesh) -> None:
    """Write a mesh in the format that the suffix names: .stl, .obj, .ply, .3mf, .vtu or .vtk.

    Raises:
        InputError: another suffix, a mesh that the format cannot hold, a file that cannot be written.
    """
    writer = _WRITERS.get(Path(path).suffix.lower())
    if writer is None:
        raise InputError(f"{path}: unknown suffix {Path(path).suffix!r}; meshes are written as {', '.join(_WRITERS)}")
    writer(path, mesh)


def read_mesh(path: str | Path) -> TriangleMesh:
    """Read an STL, OBJ, PLY or 3MF file, whatever its suffix. Lengths of 3MF come in millimetres, others as they are.

    Raises:
        FileFormatError: none of these formats, damaged, or without a triangle.
    """
    data = read_bytes(path)
    if data.startswith(b"PK"):
        return read_3mf(path)
    if data.startswith((b"ply\n", b"ply\r")):
        return read_ply(path)
    words = {line.split(maxsplit=1)[0] for line in data[:65536].splitlines() if line.strip()}
    if words & {b"v", b"f"} and not data.startswith(b"solid") and b"\0" not in data[:65536]:
        return read_obj(path)
    return read_stl(path)
