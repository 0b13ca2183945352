"""3MF: meshes in millimetres with metadata, in a zip package; what printers' software reads best.

Written: the core specification 1.x, one object, one build item. Read: every object and component that the build names,
with transforms and units, joined into one mesh without union. Colours, slices, production and other extensions are
passed over. Beam lattices: `polyad.geometry.beam_lattice`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from polyad.errors import FileFormatError, InputError
from polyad.geometry.mesh import TriangleMesh, concatenate
from polyad.geometry.package import escape_text, parse_xml, read_package, write_package

CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
BEAM_LATTICE = "http://schemas.microsoft.com/3dmanufacturing/beamlattice/2017/02"
METADATA = ("Title", "Designer", "Description", "Copyright", "LicenseTerms", "Rating", "CreationDate", "Application")
"""Names that the specification allows without a namespace."""

MILLIMETRES = {
    "micron": 1e-3,
    "millimeter": 1.0,
    "centimeter": 10.0,
    "inch": 25.4,
    "foot": 304.8,
    "meter": 1000.0,
}

_MAXIMUM_INSTANCES = 100_000
_MAXIMUM_VERTICES = 20_000_000
_MODEL = "3D/3dmodel.model"
_RELATION = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
_RELATION_TYPES = "application/vnd.openxmlformats-package.relationships+xml"
_CONTENT_TYPES = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    f'<Default Extension="rels" ContentType="{_RELATION_TYPES}"/>'
    '<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>'
    "</Types>\n"
)
_RELATIONS = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Target="/{_MODEL}" Id="rel0" Type="{_RELATION}"/>'
    "</Relationships>\n"
)


def write_3mf(
    path: str | Path, mesh: TriangleMesh, *, title: str | None = None, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a mesh in millimetres; equal input gives equal bytes, and reading gives back every bit.

    Args:
        metadata: further entries, named as in `METADATA`.

    Raises:
        InputError: the mesh is not watertight (the format demands solids), a name or text that XML cannot hold.
    """
    if not mesh.is_watertight:
        raise InputError("write_3mf: the mesh is not watertight; 3MF holds solids only, STL or OBJ hold any mesh")
    triangles = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>\n' for a, b, c in mesh.triangles.tolist())
    body = f"<mesh>\n{vertices_xml(mesh.vertices)}<triangles>\n{triangles}</triangles>\n</mesh>\n"
    write_model(path, body, title=title, metadata=metadata)


def read_3mf(path: str | Path) -> TriangleMesh:
    """All meshes that the build names, in millimetres, as one mesh (overlapping solids stay overlapping).

    Raises:
        FileFormatError: not 3MF, damaged, hostile, or without a triangle.
    """
    meshes = [item for item, _ in read_model(path) if item.num_triangles]
    if not meshes:
        raise FileFormatError(path, "holds no triangle; a beam lattice is read by read_beam_lattice")
    return concatenate(meshes)


# -------------------------------------------------------------------- the model part, shared with beam lattices


def vertices_xml(vertices: Tensor) -> str:
    """The <vertices> element; numbers in the shortest form that reads back exactly."""
    rows = "".join(f'<vertex x="{x!r}" y="{y!r}" z="{z!r}"/>\n' for x, y, z in vertices.detach().double().tolist())
    return f"<vertices>\n{rows}</vertices>\n"


def write_model(
    path: str | Path,
    body: str,
    *,
    title: str | None = None,
    metadata: Mapping[str, str] | None = None,
    extensions: Mapping[str, str] | None = None,
) -> None:
    """Wrap the XML of one object's mesh into a package; `extensions` maps required prefixes to namespaces."""
    entries = {"Application": "Polyad"} | ({} if title is None else {"Title": title}) | dict(metadata or {})
    for name in entries:
        if name not in METADATA:
            raise InputError(f"metadata: unknown name {name!r}; 3MF has {', '.join(METADATA)}")
    prefixes = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in (extensions or {}).items())
    if extensions:
        prefixes += f' requiredextensions="{" ".join(extensions)}"'
    header = "".join(f'<metadata name="{name}">{escape_text(text)}</metadata>\n' for name, text in entries.items())
    model = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<model unit="millimeter" xml:lang="en-US" xmlns="{CORE}"{prefixes}>\n{header}'
        f'<resources>\n<object id="1" type="model">\n{body}</object>\n</resources>\n'
        '<build>\n<item objectid="1"/>\n</build>\n</model>\n'
    )
    write_package(path, {"[Content_Types].xml": _CONTENT_TYPES, "_rels/.rels": _RELATIONS, _MODEL: model})


@final
@dataclass
class Beams:
    """Beams of one object: vertex pairs, radii at both ends in millimetres, and cap per end."""

    nodes: list[tuple[int, int]] = field(default_factory=list)
    radii: list[tuple[float, float]] = field(default_factory=list)
    cap: str = "sphere"
    radius: float = 0.0


@final
@dataclass
class _Object:
    vertices: list[tuple[float, float, float]] = field(default_factory=list)
    triangles: list[tuple[int, int, int]] = field(default_factory=list)
    beams: Beams = field(default_factory=Beams)
    components: list[tuple[_Object, Tensor]] = field(default_factory=list)


def read_model(path: str | Path) -> list[tuple[TriangleMesh, Beams]]:
    """Every mesh that the build names, transformed and in millimetres, with its beams."""
    parts = read_package(path)
    name = _model_name(path, parts)
    reader = _ModelReader()
    parse_xml(path, parts[name], start=reader.start)
    instances: list[tuple[_Object, Tensor]] = []
    stack = list(reversed(reader.items))
    placed = vertices = 0
    while stack:
        item, transform = stack.pop()
        placed, vertices = placed + 1 + len(item.components), vertices + len(item.vertices)
        if placed > _MAXIMUM_INSTANCES or vertices > _MAXIMUM_VERTICES:  # components of components grow like powers
            raise FileFormatError(
                path, f"places more than {_MAXIMUM_INSTANCES} objects or {_MAXIMUM_VERTICES} vertices; split the model"
            )
        stack.extend((child, inner @ transform) for child, inner in reversed(item.components))
        if item.vertices:
            instances.append((item, transform))
    return [_place(path, item, transform, reader.unit) for item, transform in instances]


def _place(path: str | Path, item: _Object, transform: Tensor, unit: float) -> tuple[TriangleMesh, Beams]:
    scale = torch.linalg.det(transform[:3, :3]).abs() ** (1 / 3) * unit
    radii = [(float(a * scale), float(b * scale)) for a, b in item.beams.radii]
    try:
        mesh = TriangleMesh(item.vertices, item.triangles)
        mesh = mesh.transform(transform[:3, :3].T * unit, transform[3, :3] * unit)
        if any(not 0 <= i < mesh.num_vertices for pair in item.beams.nodes for i in pair):
            raise InputError(f"a beam names a vertex that is not among the {mesh.num_vertices} of its object")
    except InputError as error:
        raise FileFormatError(path, str(error)) from error
    return mesh, Beams(item.beams.nodes, radii, item.beams.cap, item.beams.radius * float(scale))


def _model_name(path: str | Path, parts: Mapping[str, bytes]) -> str:
    targets: list[str] = []

    def relation(name: str, attributes: dict[str, str]) -> None:
        if attributes.get("Type") == _RELATION:
            targets.append(attributes["Target"].lstrip("/"))

    if "_rels/.rels" in parts:
        parse_xml(path, parts["_rels/.rels"], start=relation)
    for name in [*targets, _MODEL]:
        if name in parts:
            return name
    raise FileFormatError(path, f"is not a 3MF package: it holds no part {_MODEL}")


class _ModelReader:
    """Collects objects and build items while the XML goes by; unknown elements are passed over."""

    def __init__(self) -> None:
        self.unit = 1.0
        self.items: list[tuple[_Object, Tensor]] = []
        self._objects: dict[str, _Object] = {}
        self._current = _Object()
        self._handlers = {
            f"{CORE} model": self._model,
            f"{CORE} object": self._object,
            f"{CORE} vertex": self._vertex,
            f"{CORE} triangle": self._triangle,
            f"{CORE} component": self._component,
            f"{CORE} item": self._item,
            f"{BEAM_LATTICE} beamlattice": self._beamlattice,
            f"{BEAM_LATTICE} beam": self._beam,
        }

    def start(self, name: str, attributes: dict[str, str]) -> None:
        handler = self._handlers.get(name)
        if handler is not None:
            handler(attributes)

    def _model(self, attributes: dict[str, str]) -> None:
        unit = attributes.get("unit", "millimeter")
        if unit not in MILLIMETRES:
            raise InputError(f"unknown unit {unit[:40]!r}; 3MF has {', '.join(MILLIMETRES)}")
        self.unit = MILLIMETRES[unit]

    def _object(self, attributes: dict[str, str]) -> None:
        self._current = self._objects[attributes["id"]] = _Object()

    def _vertex(self, attributes: dict[str, str]) -> None:
        self._current.vertices.append((float(attributes["x"]), float(attributes["y"]), float(attributes["z"])))

    def _triangle(self, attributes: dict[str, str]) -> None:
        self._current.triangles.append((int(attributes["v1"]), int(attributes["v2"]), int(attributes["v3"])))

    def _component(self, attributes: dict[str, str]) -> None:
        part = self._named(attributes["objectid"])
        if part is self._current:
            raise InputError("an object is a component of itself")
        self._current.components.append((part, _transform(attributes)))

    def _item(self, attributes: dict[str, str]) -> None:
        self.items.append((self._named(attributes["objectid"]), _transform(attributes)))

    def _beamlattice(self, attributes: dict[str, str]) -> None:
        self._current.beams = Beams(cap=attributes.get("cap", "sphere"), radius=float(attributes["radius"]))

    def _beam(self, attributes: dict[str, str]) -> None:
        beams = self._current.beams
        first = float(attributes.get("r1", beams.radius))
        beams.nodes.append((int(attributes["v1"]), int(attributes["v2"])))
        beams.radii.append((first, float(attributes.get("r2", first))))

    def _named(self, name: str) -> _Object:
        # the specification wants objects before their use; it also keeps references free of cycles
        if name not in self._objects:
            raise InputError(f"object {name[:40]!r} is used before it is defined")
        return self._objects[name]


def _transform(attributes: Mapping[str, str]) -> Tensor:
    """(4, 4) that acts on row vectors (x, y, z, 1) from the right."""
    matrix = torch.eye(4, dtype=torch.float64)
    if "transform" in attributes:
        numbers = [float(word) for word in attributes["transform"].split()]
        if len(numbers) != 12:
            raise InputError(f"transform holds {len(numbers)} numbers; it needs 12")
        matrix[:, :3] = torch.tensor(numbers, dtype=torch.float64).reshape(4, 3)
    return matrix
