"""Files to take away: solids for printers, JSON, and self-contained reports."""

from __future__ import annotations

import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

from polyad.errors import InputError, NumericalWarning
from polyad.materials.lattice import LatticeRecord, save
from polyad.materials.lattice.design import Design
from polyad.materials.lattice.report import report_html
from polyad.materials.lattice.solids.solid import export
from polyad.web.tasks import read_record
from polyad.web.workers import Channel

TYPES = {
    "stl": "model/stl",
    "3mf": "model/3mf",
    "json": "application/json",
    "report": "text/html; charset=utf-8",
}
"""Formats and their media types."""

MOST_SOLIDS = 20_000
"""Struts of the largest block that is joined to a solid."""


def export_lattices(payload: dict[str, Any], channel: Channel) -> dict[str, Any]:
    """{"name", "type", "content"} of a file.

    Args:
        payload: `lattices` (objects with name and lattice) and `designs` (texts of `Design.to_json`, with `names`),
            `format`, `counts` of cells and the length `cell_mm` of the first vector, for solids.

    Raises:
        InputError: an unknown format, nothing to write, a block that is too large.
    """
    kind = payload["format"]
    if kind not in TYPES:
        raise InputError(f"format: {kind!r} is unknown; choose of {', '.join(TYPES)}")
    records = [read_record(row) for row in payload["lattices"]]
    designs = [Design.from_json(text) for text in payload.get("designs", ())]
    if not records and not designs:
        raise InputError("lattices: give at least one to export")
    names = payload.get("names") or []
    stem = _stem(records[0].name if records else names[0] if names else "design")
    if kind == "report":
        text = report_html(records, designs, design_names=names, title="Lattices")
        return _file(f"{stem}.html", kind, text.encode())
    if kind == "json" and designs:
        return _file(f"{stem}.json", kind, payload["designs"][0].encode())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"lattice.{kind}"
        if kind == "json":
            save(records, path)
        else:
            _write_solid(records[0] if records else _record(designs[0], stem), path, payload)
        return _file(f"{stem}.{kind}", kind, path.read_bytes())


def _record(found: Design, name: str) -> LatticeRecord:
    return LatticeRecord(name, found.lattice, found.density)


def _write_solid(record: LatticeRecord, path: Path, payload: dict[str, Any]) -> None:
    counts = payload["counts"]
    if len(counts) != 3 or not all(1 <= count <= 12 for count in counts):
        raise InputError(f"counts: {counts} must be three numbers of cells between 1 and 12")
    struts = record.lattice.num_edges * counts[0] * counts[1] * counts[2]
    if struts > MOST_SOLIDS:
        raise InputError(f"counts: the block has {struts} struts; at most {MOST_SOLIDS} are joined")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        title = record.name if path.suffix == ".3mf" else None
        export(record.lattice, path, counts=counts, cell_size_mm=payload["cell_mm"], title=title)


def _stem(name: str) -> str:
    """A file name made of letters, digits and dashes only."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60] or "lattice"


def _file(name: str, kind: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "type": TYPES[kind], "content": content}
