"""Wavefront OBJ: vertices and faces as text, exact to the last digit of float64.

Only geometry is kept: `v` and `f` lines. Faces with more corners are cut into a fan; texture and normal indices,
groups, materials, lines and points are passed over.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from polyad.errors import FileFormatError, InputError
from polyad.files import atomic_write, read_bytes
from polyad.geometry.mesh import TriangleMesh


def write_obj(path: str | Path, mesh: TriangleMesh) -> None:
    """Write an OBJ file; equal meshes give equal bytes, and reading gives back every bit."""
    vertices = "".join(f"v {x!r} {y!r} {z!r}\n" for x, y, z in mesh.vertices.detach().double().tolist())
    faces = "".join(f"f {a} {b} {c}\n" for a, b, c in (mesh.triangles + 1).tolist())
    with atomic_write(path) as handle:
        handle.write(f"# Polyad\n{vertices}{faces}".encode("ascii"))


def read_obj(path: str | Path) -> TriangleMesh:
    """Read the vertices and faces of an OBJ file.

    Raises:
        FileFormatError: with the line of a number that is none, or of a face that names no vertex.
    """
    vertices: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    for line, text in enumerate(read_bytes(path).decode("utf-8", "replace").splitlines(), start=1):
        words = text.split()
        if not words or words[0] not in ("v", "f"):
            continue
        try:
            if words[0] == "v":
                x, y, z = map(float, words[1:4])
                vertices.append([x, y, z])
            else:
                triangles += _fan(words[1:], len(vertices))
        except (ValueError, IndexError) as error:
            raise FileFormatError(path, _expectation(words[0], error), line=line) from None
    if not triangles:
        raise FileFormatError(path, "holds no face; is it an OBJ file?")
    try:
        return TriangleMesh(vertices, triangles)
    except InputError as error:
        raise FileFormatError(path, str(error)) from error


def _fan(corners: list[str], count: int) -> list[tuple[int, int, int]]:
    """Triangles of one face; indices count from 1, negative ones back from the vertex read last."""
    index = [int(corner.split("/")[0]) for corner in corners]
    if len(index) < 3:
        raise IndexError("a face needs three corners")
    if any(i == 0 or abs(i) > count for i in index):
        raise IndexError(f"a face names a vertex that is not among the {count} above it")
    index = [i - 1 if i > 0 else count + i for i in index]
    return [(index[0], b, c) for b, c in pairwise(index[1:]) if len({index[0], b, c}) == 3]


def _expectation(kind: str, error: Exception) -> str:
    if isinstance(error, IndexError):
        return str(error)
    return "expected 'v x y z' with three numbers" if kind == "v" else "expected 'f a b c' with vertex numbers"
