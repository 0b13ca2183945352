"""Lattices as JSON: the package's own lossless schema, and node-link graphs as networkx writes them.

Own schema: `{"format": "polyad-lattices", "version": 1, "records": [...]}`, each record an object with name, base_name,
source, density, cell, positions, edge_index, edge_shift, radius, stiffness (6x6 Kelvin-Mandel or null), metadata, notes
and dtype. Numbers are written so that they read back bit by bit.

Node-link graphs: `{"graph": {"cell": 3x3, "name": ...}, "nodes": [{"id": ..., "position": [x, y, z]}, ...],
"links": [{"source": ..., "target": ..., "shift": [..], "radius": r}, ...]}` ("edges" for "links" is accepted). Without
radii all struts get one radius for the density asked for; without a shift the nearest image is meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from polyad.errors import FileFormatError, InputError
from polyad.materials.lattice.cell import StrutLattice
from polyad.materials.lattice.nets.net import Net, lattice_of, with_uniform_radius
from polyad.materials.lattice.records import LatticeRecord

FORMAT, VERSION = "polyad-lattices", 1
_FIELDS = ("cell", "positions", "edge_index", "edge_shift", "radius")


def looks_like_json(text: str) -> bool:
    """Whether a text starts as a JSON object."""
    return text[:4096].lstrip().startswith("{")


def write_json(records: Sequence[LatticeRecord]) -> str:
    """The text of a file in the package's own schema.

    Raises:
        InputError: metadata that JSON cannot hold.
    """
    rows = []
    for record in records:
        lattice = record.lattice.detach()
        row: dict[str, Any] = {
            "name": record.name,
            "base_name": record.base_name,
            "source": record.source,
            "density": float(record.density),
            "dtype": str(lattice.positions.dtype).removeprefix("torch."),
            **{name: getattr(lattice, name).tolist() for name in _FIELDS},
            "stiffness": None if record.stiffness is None else record.stiffness.detach().double().tolist(),
            "metadata": record.metadata,
            "notes": list(record.notes),
        }
        try:
            rows.append(json.dumps(row, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise InputError(f"{record.name}: metadata must be JSON values ({error})") from error
    head = f'{{"format": "{FORMAT}", "version": {VERSION}, "records": [\n'
    return head + ",\n".join(rows) + "\n]}\n"


def read_json(
    name: str, text: str, *, densities: Sequence[float]
) -> Iterator[tuple[str, list[LatticeRecord] | FileFormatError]]:
    """Records of a JSON file one by one, each with its label.

    Raises:
        FileFormatError: no JSON, or JSON of another kind.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise FileFormatError(name, f"is no valid JSON: {error.msg}", line=error.lineno) from error
    except (RecursionError, ValueError) as error:
        raise FileFormatError(
            name, f"is no readable JSON ({type(error).__name__}: nested or numbers too long)"
        ) from error
    if data.get("format") == FORMAT:
        if data.get("version") != VERSION:
            raise FileFormatError(name, f"has version {data.get('version')!r}; this reader knows version {VERSION}")
        rows = data.get("records")
        if not isinstance(rows, list) or not rows:
            raise FileFormatError(name, "holds no records")
        return (_own(name, number, row) for number, row in enumerate(rows))
    if "nodes" in data and ("links" in data or "edges" in data):
        return iter([_node_link(name, data, densities)])
    if "Instances" in data and "Job name" in data:
        raise FileFormatError(
            name, "holds results of a finite-element job without geometry; load the .inp file beside it"
        )
    raise FileFormatError(name, f'is JSON of another kind; expected "format": "{FORMAT}" or a node-link graph')


def _own(name: str, number: int, row: Any) -> tuple[str, list[LatticeRecord] | FileFormatError]:
    label = f"record {number + 1}"
    try:
        if not isinstance(row, dict):
            raise InputError("is no object")
        missing = [key for key in ("name", "density", *_FIELDS) if key not in row]
        if missing:
            raise InputError(f"lacks {missing[0]!r}")
        dtype = {"float64": torch.float64, "float32": torch.float32}.get(row.get("dtype", "float64"))
        if dtype is None:
            raise InputError(f"dtype is {row['dtype']!r}; float64 or float32")
        cell, positions, radius = (_array(row, key) for key in ("cell", "positions", "radius"))
        index, shift = (_array(row, key, integer=True) for key in ("edge_index", "edge_shift"))
        stiffness = None if row.get("stiffness") is None else torch.from_numpy(_array(row, "stiffness"))
        if stiffness is not None and tuple(stiffness.shape) != (6, 6):
            raise InputError(f"stiffness: shape is {tuple(stiffness.shape)}; expected a 6x6 Kelvin-Mandel matrix")
        lattice = StrutLattice(cell, positions, index, shift, radius)
        label = str(row["name"])
        metadata, notes = row.get("metadata") or {}, row.get("notes") or []
        if not isinstance(metadata, dict) or not isinstance(notes, list):
            raise InputError("metadata must be an object and notes a list")
        record = LatticeRecord(
            name=label,
            lattice=lattice if dtype == torch.float64 else lattice.to(dtype=dtype),
            density=float(_number(row["density"], "density")),
            stiffness=stiffness,
            base_name=str(row.get("base_name") or ""),
            source=str(row.get("source") or ""),
            metadata=metadata,
            notes=tuple(map(str, notes)),
        )
        return label, [record]
    except InputError as error:
        return label, FileFormatError(name, f"record {number + 1}: {error}")


def _node_link(
    name: str, data: dict[str, Any], densities: Sequence[float]
) -> tuple[str, list[LatticeRecord] | FileFormatError]:
    label = "graph"
    try:
        graph = data.get("graph")
        graph = dict(graph) if isinstance(graph, dict) else {}
        label = str(graph.get("name") or data.get("name") or "graph")
        links = data["links"] if "links" in data else data["edges"]
        nodes = data["nodes"]
        if (
            not isinstance(nodes, list)
            or not isinstance(links, list)
            or not all(isinstance(x, dict) for x in nodes + links)
        ):
            raise InputError("nodes and links must be lists of objects")
        if "cell" not in graph and "cell" not in data:
            raise InputError('node-link graph needs its lattice vectors: "graph": {"cell": [[...], [...], [...]]}')
        cell = _array(graph if "cell" in graph else data, "cell")
        if any("position" not in node or "id" not in node for node in nodes):
            raise InputError('every node needs "id" and "position"')
        return label, records_from_graph(
            label, cell, [(n["id"], n["position"]) for n in nodes], links, densities, source=name
        )
    except InputError as error:
        return label, FileFormatError(name, str(error))


def records_from_graph(
    label: str,
    cell: np.ndarray,
    nodes: Sequence[tuple[Any, Any]],
    links: Sequence[dict[str, Any]],
    densities: Sequence[float],
    *,
    source: str = "",
) -> list[LatticeRecord]:
    """Records of a graph with `position` at its nodes and `shift` and `radius` at its links.

    Raises:
        InputError: what is missing or does not fit.
    """
    number: dict[str, int] = {}
    for key, _ in nodes:
        if repr(key) in number:
            raise InputError(f"node {key!r} is given twice")
        number[repr(key)] = len(number)
    positions = _array({"positions": [p for _, p in nodes]}, "positions")
    if cell.shape != (3, 3) or positions.ndim != 2 or positions.shape[1] != 3:
        raise InputError("cell must be 3x3 and every position three numbers")
    index = []
    for link in links:
        ends = [number.get(repr(link.get(end))) for end in ("source", "target")]
        if None in ends:
            raise InputError(f"link joins {link.get('source')!r} and {link.get('target')!r}, which are not both nodes")
        index.append(ends)
    if not index:
        raise InputError("graph has no links")
    edge_index = np.array(index, dtype=np.int64).T
    if all("shift" in link for link in links):
        edge_shift = _array({"shift": [link["shift"] for link in links]}, "shift", integer=True)
    elif any("shift" in link for link in links):
        raise InputError('either all links or none must have a "shift"')
    else:
        if not abs(np.linalg.det(cell)) > 0:
            raise InputError("cell: lattice vectors are linearly dependent")
        fractional = positions @ np.linalg.inv(cell)
        edge_shift = -np.rint(fractional[edge_index[1]] - fractional[edge_index[0]]).astype(np.int64)
    if edge_shift.shape != (len(links), 3):
        raise InputError("every shift must be three integers")
    net = Net(cell, positions, edge_index, edge_shift, np.ones(len(links)))
    if all("radius" in link for link in links):
        radius = _array({"radius": [link["radius"] for link in links]}, "radius")
        lattice = StrutLattice(cell, positions, edge_index, edge_shift, radius)
        return [LatticeRecord(label, lattice, float(lattice.relative_density), source=source)]
    records = []
    for density in densities:
        records.append(LatticeRecord(label, lattice_of(with_uniform_radius(net, density)), density, source=source))
    return records


def _array(row: dict[str, Any], key: str, *, integer: bool = False) -> np.ndarray:
    try:
        array = np.array(row[key], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{key}: must be a regular array of numbers") from error
    if not np.isfinite(array).all() or (integer and not ((array == np.rint(array)) & (np.abs(array) < 2**40)).all()):
        raise InputError(f"{key}: must hold {'integers' if integer else 'finite numbers'}")
    return array.astype(np.int64) if integer else array


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{key} is {value!r}; it must be a number")
    try:
        return float(value)
    except OverflowError as error:
        raise InputError(f"{key} is too large") from error
