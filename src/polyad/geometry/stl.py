"""STL: loose triangles in float32. Binary is written; binary and ASCII are read.

The format has no shared vertices and no unit (printers take millimetres). Corners that are equal in float32 are joined
on reading; triangles that collapse by the rounding are left out on writing, so a watertight mesh comes back watertight.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from polyad.errors import FileFormatError, InputError
from polyad.files import atomic_write, read_bytes
from polyad.geometry.mesh import TriangleMesh, mesh_from_corners

_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_HEADER = 84


def write_stl(path: str | Path, mesh: TriangleMesh) -> None:
    """Write a binary STL file; equal meshes give equal bytes.

    Raises:
        InputError: a coordinate beyond float32, or a file that cannot be written.
    """
    with np.errstate(over="ignore"):
        corners = mesh.corners.detach().cpu().numpy().astype("<f4")
    if not np.isfinite(corners).all():
        raise InputError("write_stl: a coordinate is beyond float32 (3.4e38); choose another unit of length")
    equal = [(corners[:, i] == corners[:, (i + 1) % 3]).all(1) for i in range(3)]
    kept = ~np.logical_or.reduce(equal)
    normals = mesh.normals.detach().cpu().double().numpy()[kept]
    size = np.linalg.norm(normals, axis=1, keepdims=True)
    records = np.zeros(int(kept.sum()), _RECORD)
    records["normal"] = np.divide(normals, size, out=np.zeros_like(normals), where=size > 0)
    records["corners"] = corners[kept]
    with atomic_write(path) as handle:
        handle.write(b"Polyad binary STL".ljust(80))
        handle.write(np.uint32(len(records)).tobytes())
        handle.write(records.tobytes())


def read_stl(path: str | Path) -> TriangleMesh:
    """Read a binary or ASCII STL file; equal corners become one vertex, collapsed triangles are dropped.

    Raises:
        FileFormatError: not STL, truncated, or without a triangle.
    """
    data = read_bytes(path)
    corners = _binary_corners(data)
    if corners is None:
        if not data.lstrip()[:5].lower() == b"solid":
            raise FileFormatError(path, f"is not an STL file, or is truncated: {_expected(data)}")
        corners = _ascii_corners(path, data)
    if not np.isfinite(corners).all():
        raise FileFormatError(path, "holds NaN or infinity; every coordinate must be finite")
    mesh = mesh_from_corners(torch.from_numpy(corners.astype(np.float64)))
    if not mesh.num_triangles:
        raise FileFormatError(path, "holds no triangle")
    return mesh


def _binary_corners(data: bytes) -> np.ndarray | None:
    """Corners of a binary file, None where the size does not fit the count in the header."""
    if len(data) < _HEADER or len(data) != _HEADER + _count(data) * _RECORD.itemsize:
        return None
    return np.frombuffer(data, _RECORD, offset=_HEADER)["corners"]


def _count(data: bytes) -> int:
    return int.from_bytes(data[_HEADER - 4 : _HEADER], "little")


def _expected(data: bytes) -> str:
    if len(data) < _HEADER:
        return f"{len(data)} bytes are fewer than the header's {_HEADER}"
    return f"its header announces {_count(data)} triangles, {_HEADER} + 50 bytes each, and it has {len(data)} bytes"


def _ascii_corners(path: str | Path, data: bytes) -> np.ndarray:
    numbers: list[list[float]] = []
    for line, text in enumerate(data.decode("ascii", "replace").splitlines(), start=1):
        words = text.split()
        if words and words[0].lower() == "vertex":
            try:
                x, y, z = map(float, words[1:])
            except ValueError:
                raise FileFormatError(path, "expected 'vertex x y z' with three numbers", line=line) from None
            numbers.append([x, y, z])
        elif words and words[0].lower() == "endloop" and len(numbers) % 3:
            raise FileFormatError(path, "a facet has other than three vertices", line=line)
    if len(numbers) % 3 or b"endsolid" not in data.lower():
        raise FileFormatError(path, "ends within a solid; the file is truncated")
    return np.array(numbers).reshape(-1, 3, 3)
