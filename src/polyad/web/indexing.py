"""From a file to a shelf of the catalogue: lattices in one Parquet file, their numbers in another.

Runs in worker processes: what a stranger's file does, it does there. Up to `FULL` lattices get every number of a
report; of larger stores only those that have a closed formula, so that a million rows take minutes.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from polyad.errors import FileFormatError, InputError, NumericalWarning
from polyad.files import atomic_path
from polyad.materials import elasticity
from polyad.materials.lattice import LatticeRecord, homogenize, list_cells, named_cell, scan
from polyad.materials.lattice.dataset import read_dataset, read_records, write_records
from polyad.materials.lattice.dataset.reader import count_rows
from polyad.materials.lattice.dataset.table import LatticeTable
from polyad.materials.lattice.design import Design
from polyad.materials.lattice.report import analyse
from polyad.materials.lattice.report.analysis import SYMMETRIC
from polyad.materials.lattice.view.directions import is_stiff
from polyad.web.workers import Channel

FULL = 2000
"""Lattices that get every number; a store of more gets those with a closed formula."""

MOST = 5000
"""Lattices taken from one file that is not a Parquet store."""

COMPLAINTS = 20
"""Messages kept about what a file holds and cannot be read."""

NUMBERS = (
    "density", "nodes", "struts", "connectivity", "mechanisms", "young", "bulk", "shear", "poisson", "anisotropy",
    "young_min", "young_max", "poisson_min", "poisson_max", "zener", "exponent",
)  # fmt: skip
"""Columns of numbers; moduli in units of the solid's Young's modulus."""

_NAMES = {  # ours: those of a report
    "young": "young_hill", "bulk": "bulk_hill", "shear": "shear_hill", "poisson": "poisson_hill",
    "anisotropy": "universal", "exponent": "exponent_young",
}  # fmt: skip

_SCHEMA = pa.schema(
    [("key", pa.string()), ("row", pa.int64()), ("name", pa.string()), ("source", pa.string())]
    + [(name, pa.float64()) for name in NUMBERS]
    + [("symmetry", pa.string())]
)


def index_named_cells(payload: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """A shelf of all named cells at one density, in their conventional cells."""
    density = payload["density"]
    records = [
        LatticeRecord(name, named_cell(name, density=density, primitive=False), density, source="named cell")
        for name in list_cells()
    ]
    return _shelve(records, payload, [])


def index_file(payload: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """A shelf of the lattices of a file, whatever its format.

    Args:
        payload: `path` of the file, the `title` to call it by, `key`, `lattices` and `index` (files to write),
            `density` for nets that state none, `cutoff` for atomic structures.

    Raises:
        InputError: no lattice can be read; the message names the file by its title.
    """
    path, title = Path(payload["path"]), payload["title"]
    try:
        if path.is_dir() or _head(path, 4) == b"PAR1":
            return _index_store(path, payload)
        return _index_records(path, payload)
    except InputError as error:
        raise InputError(str(error).replace(str(path), title)) from error


def _index_records(path: Path, payload: dict[str, Any]) -> dict[str, Any]:
    title = payload["title"]
    records: list[LatticeRecord] = []
    complaints: list[str] = []
    for _, found in _records(path, payload):
        if isinstance(found, FileFormatError):
            complaints.append(str(found).replace(str(path), title))
        else:
            records += found[: MOST - len(records)]
        if len(records) >= MOST:
            complaints.append(f"{title}: more than {MOST} lattices; the first are shown")
            break
    if not records:
        raise InputError(complaints[0] if complaints else f"{title}: holds no lattice")
    return _shelve(records, payload, complaints)


def _records(path: Path, payload: dict[str, Any]) -> Iterator[tuple[str, list[LatticeRecord] | FileFormatError]]:
    if b'"polyad-design"' in _head(path, 200):
        try:
            found = Design.from_json(path.read_text(encoding="utf-8"))
        except (InputError, UnicodeDecodeError) as error:
            raise FileFormatError(path, str(error)) from error
        name = Path(payload["title"]).stem
        yield name, [LatticeRecord(name, found.lattice, found.density, found.stiffness, source="design")]
        return
    yield from scan(path, density=payload["density"], cutoff=payload.get("cutoff"))


def _head(path: Path, size: int) -> bytes:
    try:
        with open(path, "rb") as handle:
            return handle.read(size)
    except OSError:  # reported by who reads it as lattices
        return b""


def _shelve(records: list[LatticeRecord], payload: dict[str, Any], complaints: list[str]) -> dict[str, Any]:
    write_records(records, payload["lattices"])
    with _index_writer(payload["index"]) as writer:
        for start in range(0, len(records), FULL):
            part = records[start : start + FULL]
            writer.write_table(_table(payload["key"], start, part, _full_columns(part)))
    return {"rows": len(records), "lattices": payload["lattices"], "complaints": complaints[:COMPLAINTS]}


def _index_store(path: Path, payload: dict[str, Any]) -> dict[str, Any]:
    rows = count_rows(path)
    if rows <= FULL:
        result = _shelve(list(read_records(path)), payload, [])
        return result
    done = 0
    with _index_writer(payload["index"]) as writer:
        for table in read_dataset(path, columns=("stiffness", "mechanisms", "source", "base_name", "kind")):
            writer.write_table(_table(payload["key"], done, table, _closed_columns(table)))
            done += len(table)
    return {"rows": done, "lattices": str(path), "complaints": []}


@contextlib.contextmanager
def _index_writer(path: str) -> Iterator[pq.ParquetWriter]:
    """The index appears when the block ends well."""
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, _SCHEMA) as writer:
        yield writer


def _table(key: str, start: int, lattices: list[LatticeRecord] | LatticeTable, columns: dict[str, Any]) -> pa.Table:
    if isinstance(lattices, LatticeTable):
        names, sources = list(lattices.name), list(lattices.source)
    else:
        names, sources = [record.name for record in lattices], [record.source for record in lattices]
    count = len(names)
    arrays: dict[str, Any] = {"key": [key] * count, "row": range(start, start + count), "name": names}
    arrays |= {"source": sources, "symmetry": columns["symmetry"]}
    for name in NUMBERS:
        # NaN becomes null: it sorts last and JSON has a word for it
        arrays[name] = pa.array(np.asarray(columns[name], dtype=float), from_pandas=True)
    return pa.table({field.name: pa.array(arrays[field.name], type=field.type) for field in _SCHEMA}, schema=_SCHEMA)


def _full_columns(records: list[LatticeRecord]) -> dict[str, Any]:
    analysis = analyse(records)
    return {name: analysis.columns[_NAMES.get(name, name)] for name in NUMBERS} | {"symmetry": analysis.symmetry}


def _closed_columns(table: LatticeTable) -> dict[str, Any]:
    """Numbers without a search: Hill's averages, anisotropy, and symmetry about the axes as they stand."""
    stiffness, mechanisms = table.stiffness.clone(), table.mechanisms.double()
    unknown = ~table.known | (table.mechanisms < 0)
    if bool(unknown.any()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)
            solved = homogenize(table.lattices)
        stiffness[~table.known] = solved.stiffness[~table.known]
        mechanisms = solved.mechanisms.double()
    stiffness = (stiffness + stiffness.mT) / 2
    stiff = is_stiff(stiffness)
    nodes, struts = (start.diff().double().numpy() for start in (table.lattices.node_start, table.lattices.edge_start))
    columns: dict[str, Any] = {name: np.full(len(table), np.nan) for name in NUMBERS}
    columns |= {"density": table.density.numpy(), "nodes": nodes, "struts": struts, "connectivity": 2 * struts / nodes}
    columns["mechanisms"] = mechanisms.numpy()
    hill, rows = elasticity.hill_average(stiffness[stiff]), stiff.numpy()
    for name in ("young", "bulk", "shear", "poisson"):
        columns[name][rows] = getattr(hill, name).numpy()
    columns["anisotropy"][rows] = elasticity.universal_anisotropy(stiffness[stiff]).clamp_min(0).numpy()
    names = [""] * len(table)
    for symmetry in sorted(elasticity.SYMMETRIES, key=lambda name: elasticity.INDEPENDENT_CONSTANTS[name]):
        near = elasticity.symmetry_distance(stiffness, symmetry) < SYMMETRIC
        names = [name or (symmetry if hit else "") for name, hit in zip(names, near.tolist(), strict=True)]
    columns["symmetry"] = names
    return columns
