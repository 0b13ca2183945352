"""PLY: vertices and faces, binary little-endian in float64. ASCII and both binary orders are read.

Reading takes x, y, z of the element `vertex` and the list `vertex_indices` (or `vertex_index`) of the element `face`;
other properties are passed over, further elements may follow. Faces with more corners are cut into a fan.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from polyad.errors import FileFormatError, InputError
from polyad.files import atomic_write, read_bytes
from polyad.geometry.mesh import TriangleMesh

_CODES = {"char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "float": "f", "double": "d"}
_ALIASES = {"int8": "char", "uint8": "uchar", "int16": "short", "uint16": "ushort", "int32": "int", "uint32": "uint"}
_TYPES = {name: name for name in _CODES} | _ALIASES | {"float32": "float", "float64": "double"}
_FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])
_Numbers = list[int | float]
_Take = Callable[[str, int], _Numbers]
"""take(type, size): the next `size` numbers of that type."""


def write_ply(path: str | Path, mesh: TriangleMesh) -> None:
    """Write a binary PLY file; equal meshes give equal bytes, and reading gives back every bit."""
    if mesh.num_vertices > np.iinfo(np.int32).max:
        raise InputError(
            f"write_ply: {mesh.num_vertices} vertices are more than 32-bit indices can name; split the mesh"
        )
    faces = np.zeros(mesh.num_triangles, _FACE)
    faces["count"], faces["corners"] = 3, mesh.triangles.cpu().numpy()
    header = (
        f"ply\nformat binary_little_endian 1.0\ncomment Polyad\nelement vertex {mesh.num_vertices}\n"
        "property double x\nproperty double y\nproperty double z\n"
        f"element face {mesh.num_triangles}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    with atomic_write(path) as handle:
        handle.write(header.encode("ascii"))
        handle.write(mesh.vertices.detach().cpu().numpy().astype("<f8").tobytes())
        handle.write(faces.tobytes())


def read_ply(path: str | Path) -> TriangleMesh:
    """Read the vertices and faces of a PLY file.

    Raises:
        FileFormatError: with the line in the header, or what of the body is missing.
    """
    data = read_bytes(path)
    order, elements, start = _header(path, data)
    try:
        body = data[start:]
        vertices, triangles = _body(elements, _take_words(body) if order == "ascii" else _take_bytes(body, order))
        if not triangles:
            raise InputError("holds no triangle")
        return TriangleMesh(vertices, triangles)
    except (InputError, ValueError, IndexError, KeyError, OverflowError) as error:
        reason = str(error) if isinstance(error, InputError) else f"body does not fit its header ({error}); truncated?"
        raise FileFormatError(path, reason) from error


@dataclass
class _Element:
    name: str
    count: int
    properties: list[tuple[str, str, str | None]]
    """Name, type, and for a list the type of its length."""


def _header(path: str | Path, data: bytes) -> tuple[str, list[_Element], int]:
    end = data.find(b"end_header")
    if not data.startswith(b"ply") or end < 0:
        raise FileFormatError(path, "is not a PLY file: it must begin with 'ply' and hold 'end_header'")
    order, elements = "", list[_Element]()
    for line, text in enumerate(data[:end].decode("ascii", "replace").splitlines(), start=1):
        match text.split():
            case ["format", ("ascii" | "binary_little_endian" | "binary_big_endian") as name, *_]:
                order = {"ascii": "ascii", "binary_little_endian": "<", "binary_big_endian": ">"}[name]
            case ["element", name, count] if count.isdecimal() and int(count) <= len(data):
                elements.append(_Element(name, int(count), []))
            case ["property", "list", length, kind, name] if elements and {length, kind} <= set(_TYPES):
                elements[-1].properties.append((name, _TYPES[kind], _TYPES[length]))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1].properties.append((name, _TYPES[kind], None))
            case [] | ["ply"] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise FileFormatError(path, f"header line not understood: {text.strip()[:60]!r}", line=line)
    names = [element.name for element in elements]
    if not order or "vertex" not in names or "face" not in names:
        raise FileFormatError(path, "header must name a format, an element vertex and an element face")
    newline = data.find(b"\n", end)
    return order, elements, (newline + 1 if newline >= 0 else len(data))


def _body(elements: list[_Element], take: _Take) -> tuple[list[_Numbers], list[list[int]]]:
    vertices: list[_Numbers] = []
    triangles: list[list[int]] = []
    for element in elements:
        for _ in range(element.count):
            row: dict[str, _Numbers] = {}
            for name, kind, length in element.properties:
                size = 1 if length is None else int(take(length, 1)[0])
                row[name] = take(kind, size)
            if element.name == "vertex":
                vertices.append([row[axis][0] for axis in "xyz"])
            elif element.name == "face":
                triangles += _fan(row["vertex_indices"] if "vertex_indices" in row else row["vertex_index"])
    return vertices, triangles


def _fan(corners: _Numbers) -> list[list[int]]:
    index = [int(corner) for corner in corners]
    if index != corners:
        raise InputError("vertex_indices must be whole numbers")
    return [[index[0], b, c] for b, c in pairwise(index[1:]) if len({index[0], b, c}) == 3]


def _take_words(body: bytes) -> _Take:
    words = iter(body.decode("ascii", "replace").split())

    def take(kind: str, size: int) -> _Numbers:
        values: _Numbers = [float(word) for word in islice(words, max(size, 0))]
        if len(values) != size:
            raise ValueError(f"{size} numbers expected where {len(values)} are left")
        return values

    return take


def _take_bytes(body: bytes, order: str) -> _Take:
    readers = {kind: struct.Struct(order + code) for kind, code in _CODES.items()}
    at = 0

    def take(kind: str, size: int) -> _Numbers:
        nonlocal at
        reader, start = readers[kind], at
        at += size * reader.size
        if size < 0 or at > len(body):
            raise ValueError(f"{size} numbers expected where {len(body) - start} bytes are left")
        return [value for (value,) in reader.iter_unpack(body[start:at])]

    return take
