"""VTK: meshes and struts with fields on points and cells, for ParaView and its kin.

`.vtu` is the XML format with base64 arrays, `.vtk` the legacy binary format of version 3.0; both hold an unstructured
grid in float64, triangles as cells of type 5 and struts as cells of type 3 (give each its radius as cell data, and the
Tube filter draws it).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.files import atomic_write
from polyad.geometry.mesh import TriangleMesh
from polyad.geometry.package import escape_text

LINE, TRIANGLE = 3, 5
"""Cell types of VTK."""

Fields = Mapping[str, Tensor]
"""Named fields: (number,) scalars, (number, 3) vectors, or (number, ...) of any shape, flattened."""


def write_vtk_struts(
    path: str | Path,
    positions: Float[Tensor, "nodes 3"],
    edge_index: Int[Tensor, "2 edges"],
    *,
    point_data: Fields | None = None,
    cell_data: Fields | None = None,
) -> None:
    """Write struts as lines with fields on nodes and struts (radius, axial force, ...), as .vtu or .vtk by suffix.

    Raises:
        InputError: another suffix, a field of the wrong length or with NaN, indices out of range.
    """
    _write(path, positions, edge_index.T, LINE, point_data or {}, cell_data or {})


def write_vtk_mesh(
    path: str | Path, mesh: TriangleMesh, *, point_data: Fields | None = None, cell_data: Fields | None = None
) -> None:
    """Write a triangle mesh with fields on vertices and triangles, as .vtu or .vtk by suffix.

    Raises:
        InputError: another suffix, a field of the wrong length or with NaN.
    """
    _write(path, mesh.vertices, mesh.triangles, TRIANGLE, point_data or {}, cell_data or {})


def _write(
    path: str | Path, positions: Tensor, cells: Tensor, kind: int, point_data: Fields, cell_data: Fields
) -> None:
    suffix = Path(path).suffix.lower()
    if suffix not in (".vtu", ".vtk"):
        raise InputError(f"{path}: suffix {suffix!r} is not VTK's; name the file .vtu (XML) or .vtk (legacy)")
    points = _array("positions", positions, len(positions))
    corners = cells.detach().cpu().numpy().astype(np.int64)
    if points.shape[1:] != (3,) or not corners.size or corners.min() < 0 or corners.max() >= len(points):
        raise InputError(f"cells must name points between 0 and {len(points) - 1}, each with three coordinates")
    on_points = {name: _array(name, value, len(points)) for name, value in point_data.items()}
    on_cells = {name: _array(name, value, len(corners)) for name, value in cell_data.items()}
    content = (_xml if suffix == ".vtu" else _legacy)(points, corners, kind, on_points, on_cells)
    with atomic_write(path) as handle:
        handle.write(content)


def _array(name: str, value: Tensor, count: int) -> np.ndarray:
    array = torch.as_tensor(value).detach().cpu().double().numpy()
    if array.ndim == 0 or len(array) != count:
        raise InputError(f"field {name!r}: shape is {array.shape}; the first axis must be {count}")
    if not np.isfinite(array).all():
        raise InputError(f"field {name!r}: holds NaN or infinity; every entry must be finite")
    return array.reshape(count, -1) if array.ndim > 1 else array


def _xml(
    points: np.ndarray,
    corners: np.ndarray,
    kind: int,
    on_points: Mapping[str, np.ndarray],
    on_cells: Mapping[str, np.ndarray],
) -> bytes:
    cells, size = corners.shape
    offsets = size * np.arange(1, cells + 1, dtype=np.int64)
    rows = [
        '<?xml version="1.0"?>',
        '<VTKFile type="UnstructuredGrid" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
        f'<UnstructuredGrid><Piece NumberOfPoints="{len(points)}" NumberOfCells="{cells}">',
        "<Points>",
        _xml_array("Points", points),
        "</Points><Cells>",
        _xml_array("connectivity", corners.reshape(-1)),
        _xml_array("offsets", offsets),
        _xml_array("types", np.full(cells, kind, np.uint8)),
        "</Cells><PointData>",
        *(_xml_array(name, value) for name, value in on_points.items()),
        "</PointData><CellData>",
        *(_xml_array(name, value) for name, value in on_cells.items()),
        "</CellData></Piece></UnstructuredGrid></VTKFile>",
    ]
    return "\n".join([*rows, ""]).encode("utf-8")


def _xml_array(name: str, array: np.ndarray) -> str:
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    text = base64.b64encode(len(data).to_bytes(8, "little") + data).decode("ascii")
    kind = {"f8": "Float64", "i8": "Int64", "u1": "UInt8"}[array.dtype.str[1:]]
    components = f' NumberOfComponents="{array.shape[1]}"' if array.ndim > 1 else ""
    return f'<DataArray type="{kind}" Name="{escape_text(name)}"{components} format="binary">{text}</DataArray>'


def _legacy(
    points: np.ndarray,
    corners: np.ndarray,
    kind: int,
    on_points: Mapping[str, np.ndarray],
    on_cells: Mapping[str, np.ndarray],
) -> bytes:
    cells, size = corners.shape
    if len(points) > np.iinfo(np.int32).max:
        raise InputError(f"{len(points)} points are more than legacy VTK's 32-bit indices can name; write .vtu")
    table = np.concatenate([np.full((cells, 1), size), corners], axis=1)
    blocks = [
        b"# vtk DataFile Version 3.0\nPolyad\nBINARY\nDATASET UNSTRUCTURED_GRID\n",
        f"POINTS {len(points)} double\n".encode() + points.astype(">f8").tobytes(),
        f"\nCELLS {cells} {table.size}\n".encode() + table.astype(">i4").tobytes(),
        f"\nCELL_TYPES {cells}\n".encode() + np.full(cells, kind, ">i4").tobytes(),
        *_legacy_fields("POINT_DATA", len(points), on_points),
        *_legacy_fields("CELL_DATA", cells, on_cells),
    ]
    return b"".join([*blocks, b"\n"])


def _legacy_fields(section: str, count: int, fields: Mapping[str, np.ndarray]) -> list[bytes]:
    if not fields:
        return []
    blocks = [f"\n{section} {count}\nFIELD FieldData {len(fields)}\n".encode()]
    for position, (name, array) in enumerate(fields.items()):
        if not name or any(c.isspace() for c in name) or not name.isascii():
            raise InputError(f"field {name!r}: legacy VTK wants names of ASCII letters without spaces; write .vtu")
        components = array.shape[1] if array.ndim > 1 else 1
        start = b"\n" if position else b""
        blocks.append(start + f"{name} {components} {count} double\n".encode() + array.astype(">f8").tobytes())
    return blocks
