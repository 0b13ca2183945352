"""Load and save catalogues of lattices, whatever their format.

    records = load("jmps_val.lat")
    for label, found in scan("RCSR_topology.zip"):      # one net at a time; `found` may be a FileFormatError
        ...
    save(records, "mine.json")

| content | read | written |
|---|---|---|
| `.lat` catalogue | yes | yes |
| `.cgd` crystal nets | yes | |
| `.json` of this package, node-link graphs | yes | yes |
| Abaqus `.inp` beam cells | yes | one record |
| zip archives of these | yes | |
| CIF, POSCAR, extended XYZ (with `cutoff`, through ASE) | yes | |
| Parquet, also a folder of shards (see `polyad.materials.lattice.dataset`) | yes | yes |
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from polyad.errors import FileFormatError, InputError
from polyad.files import atomic_write
from polyad.materials.lattice.io import abaqus, archive, cgd, json_format, lat, structures
from polyad.materials.lattice.io.abaqus_writer import write_inp
from polyad.materials.lattice.io.text import decode
from polyad.materials.lattice.records import LatticeRecord

MAXIMUM_FILE = 2 * 2**30
"""Largest file that is read, in bytes."""

Found = tuple[str, list[LatticeRecord] | FileFormatError]

_WRITERS: dict[str, Callable[[Sequence[LatticeRecord]], str]] = {
    ".lat": lat.write_lat,
    ".json": json_format.write_json,
    ".inp": write_inp,
}


def load(
    path: str | os.PathLike[str],
    *,
    density: float | Sequence[float] = 0.01,
    primitive: bool = True,
    cutoff: float | None = None,
    on_error: str = "raise",
) -> list[LatticeRecord]:
    """All lattices of a file, one record per cell and density.

    Args:
        path: a file of any known format (found by content).
        density: relative densities given to nets that have none of their own (`.cgd`, structures).
        primitive: reduce centred crystal nets to the primitive cell.
        cutoff: bond length in the file's unit, for atomic structures (CIF, POSCAR, extended XYZ).
        on_error: "raise" the first error, or "skip" what cannot be read (use `scan` to see what that is).

    Raises:
        FileFormatError: a file that cannot be read, or none of whose lattices can; names file, line and remedy.
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error is {on_error!r}; give 'raise' or 'skip'")
    records: list[LatticeRecord] = []
    first_error = None
    for _, found in scan(path, density=density, primitive=primitive, cutoff=cutoff):
        if isinstance(found, FileFormatError):
            if on_error == "raise":
                raise found
            first_error = first_error or found
        else:
            records += found
    if not records:
        raise first_error or FileFormatError(str(path), "holds no lattice")
    return records


def scan(
    path: str | os.PathLike[str],
    *,
    density: float | Sequence[float] = 0.01,
    primitive: bool = True,
    cutoff: float | None = None,
) -> Iterator[Found]:
    """Lattices of a file one cell at a time, each with a label; a cell that cannot be read gives its error instead.

    Arguments are those of `load`. In an archive the label is `member` or `member: cell`.

    Raises:
        FileFormatError: the file as a whole cannot be read.
    """
    densities = [float(density)] if isinstance(density, int | float) else [float(d) for d in density]
    if not densities or not all(math.isfinite(d) and d > 0 for d in densities):
        raise InputError(f"density is {density!r}; give positive numbers, usually below 0.3")
    if _is_dataset(Path(path)):
        from polyad.materials.lattice.dataset import read_records

        yield from ((record.name, [record]) for record in read_records(path))
        return
    data = _read_bytes(Path(path))

    def cells(name: str, content: bytes) -> Iterator[Found]:
        return _cells(name, content, densities, primitive, cutoff)

    if not archive.looks_like_zip(data[:4]):
        yield from cells(str(path), data)
        return
    for member, content in archive.read_members(str(path), data):
        if isinstance(content, FileFormatError):
            yield member, content
            continue
        try:
            found = list(cells(f"{path}!{member}", content))
        except FileFormatError as error:
            yield member, error
            continue
        for label, records in found:
            yield (member if len(found) == 1 else f"{member}: {label}"), records


def save(records: Iterable[LatticeRecord] | LatticeRecord, path: str | os.PathLike[str]) -> None:
    """Write lattices; the ending of `path` (.lat, .json, .inp or .parquet) chooses the format.

    The file appears whole or not at all: after an error the name holds what it held before.

    Raises:
        InputError: unknown ending, no records, or records that the format cannot hold.
    """
    records = [records] if isinstance(records, LatticeRecord) else list(records)
    ending = Path(path).suffix.lower()
    if ending not in (*_WRITERS, ".parquet"):
        known = ", ".join(sorted((*_WRITERS, ".parquet")))
        raise InputError(f"{path}: unknown ending {ending!r}; lattices are written as {known}")
    if not records:
        raise InputError(f"{path}: there are no records to write")
    if ending == ".parquet":
        from polyad.materials.lattice.dataset import write_records

        write_records(records, path)
        return
    text = _WRITERS[ending](records)
    with atomic_write(path) as handle:
        handle.write(text.encode("utf-8"))


def _is_dataset(path: Path) -> bool:
    try:
        if path.is_dir():
            return True
        with open(path, "rb") as handle:
            return handle.read(4) == b"PAR1"
    except (OSError, ValueError):  # reported with its reason by whoever reads the file
        return False


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAXIMUM_FILE:
            raise FileFormatError(path, f"is larger than {MAXIMUM_FILE} bytes; split it")
        data = path.read_bytes()
    except OSError as error:
        raise FileFormatError(
            path, f"cannot be read ({error.strerror or error}); check name and permissions"
        ) from error
    except ValueError as error:
        raise FileFormatError(str(path), f"is no valid file name ({error})") from error
    if not data.strip():
        raise FileFormatError(path, "is empty")
    return data


def _cells(
    name: str, data: bytes, densities: Sequence[float], primitive: bool, cutoff: float | None
) -> Iterator[Found]:
    if archive.looks_like_zip(data[:4]):
        raise FileFormatError(name, "is an archive within an archive; unpack it first")
    text = decode(name, data)
    if lat.looks_like_lat(text):
        return lat.read_lat(name, text, densities=densities)
    if cgd.looks_like_cgd(text):
        return cgd.read_cgd(name, text, densities=densities, primitive=primitive)
    if json_format.looks_like_json(text):
        return json_format.read_json(name, text, densities=densities)
    if abaqus.looks_like_inp(text):
        return abaqus.read_inp(name, text)
    ase_format = structures.structure_format(text)
    if ase_format:
        return structures.read_structures(name, text, ase_format, cutoff=cutoff, densities=densities)
    raise FileFormatError(
        name, "is of no known format; lattices are read from .lat, .cgd, .json, .inp, CIF, POSCAR, extended XYZ and zip"
    )
