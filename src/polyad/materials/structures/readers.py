"""Structures from files: extended XYZ, POSCAR, CIF, tables of CIF strings, and data sets of strut lattices.

What a file holds is found by its name; `.gz` is unpacked in memory. Every number a file gives per structure becomes a
target and every number per atom a node target, under the file's own name, except that the many spellings of energy,
forces and stress become these three words. Units are the file's own (electronvolt and angstrom by custom).
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyad.errors import FileFormatError, MissingDependencyError
from polyad.files import read_bytes
from polyad.materials.lattice.dataset import read_dataset
from polyad.materials.lattice.dataset.table import LatticeTable
from polyad.materials.lattice.io import load
from polyad.materials.structures.batch import Structures

MAXIMUM_UNPACKED = 4 << 30
"""Most bytes that a compressed file may unpack to."""

_SPELLINGS = {
    "energy": {"energy", "ref_energy", "dft_energy", "total_energy", "free_energy", "e"},
    "forces": {"forces", "force", "ref_forces", "dft_forces", "f"},
    "stress": {"stress", "ref_stress", "dft_stress"},
}
_GEOMETRY = {"numbers", "positions", "tags", "masses", "momenta", "initial_magmoms", "initial_charges"}

_Frame = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any], dict[str, np.ndarray], str]
"""positions, species, cell, periodic, values a structure, values an atom, name"""


def read_structures(
    path: str | os.PathLike[str],
    *,
    targets: Sequence[str] | None = None,
    limit: int | None = None,
    dtype: torch.dtype = torch.float64,
) -> Structures:
    """All structures of a file or data set, without neighbours (lattices bring their struts).

    Args:
        path: `.xyz`, `.extxyz`, `.cif`, `POSCAR`, `CONTCAR`, `.vasp`, `.csv` with a column `cif`, each also with `.gz`;
            a Parquet file or folder of lattices, or any file of lattices that `polyad.materials.lattice` reads.
        targets: those that must be there; by default all that every structure of the file has.
        limit: read this many structures at most.
        dtype: of positions, cells and targets.

    Raises:
        FileFormatError: no such file, an unknown format, or content that does not fit it; also for an asked target that
            is missing, with the list of those that exist.
        MissingDependencyError: ASE is not installed (XYZ and POSCAR need it).
    """
    name = os.fspath(path)
    kind = _kind(name)
    if kind == "lattices":
        return _wanted(name, _lattices(name, limit), targets).to(dtype)
    text = _text(name)
    frames = (
        {"cif": _cif, "csv": _csv}[kind](name, text, limit) if kind in ("cif", "csv") else _ase(name, text, kind, limit)
    )
    if not frames:
        raise FileFormatError(name, "holds no structure")
    return _wanted(name, from_frames(frames), targets).to(dtype)


def from_ase(atoms: Any) -> Structures:
    """Structures of one `ase.Atoms`, or of several in a sequence, with what their calculators and arrays hold."""
    several = [atoms] if hasattr(atoms, "get_positions") else list(atoms)
    return from_frames([_ase_frame(x) for x in several])


def from_frames(frames: Sequence[_Frame]) -> Structures:
    """One batch of frames; a target that not all of them have, or that has another shape in some, is left out."""
    graph, node = _shared([f[4] for f in frames]), _shared([f[5] for f in frames], per_row=True)
    return Structures.from_arrays(
        torch.from_numpy(np.concatenate([f[0] for f in frames]).astype(np.float64)),
        torch.from_numpy(np.concatenate([f[1] for f in frames]).astype(np.int64)),
        sizes=[len(f[1]) for f in frames],
        cell=torch.from_numpy(np.stack([f[2] for f in frames]).astype(np.float64)),
        periodic=torch.from_numpy(np.stack([f[3] for f in frames]).astype(bool)),
        targets={key: torch.from_numpy(np.stack(values)) for key, values in graph.items()},
        node_targets={key: torch.from_numpy(np.concatenate(values)) for key, values in node.items()},
        names=[f[6] for f in frames],
    )


def from_lattice_table(table: LatticeTable) -> Structures:
    """Lattices with targets density and, where known, stiffness (NaN where not); names are the base names."""
    targets = {"density": table.density}
    if bool(table.known.any()):
        targets["stiffness"] = table.stiffness
    return Structures.from_lattices(table.lattices, targets=targets, names=list(table.base_name))


# ------------------------------------------------------------------ what a file is


def _kind(name: str) -> str:
    base = Path(name).name.lower().removesuffix(".gz")
    if base.endswith((".xyz", ".extxyz")):
        return "extxyz"
    if base in ("poscar", "contcar") or base.endswith((".vasp", ".poscar")):
        return "vasp"
    return {".cif": "cif", ".csv": "csv"}.get(Path(base).suffix, "lattices")


def _text(name: str) -> str:
    data = read_bytes(name)
    if data[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as handle:
                data = handle.read(MAXIMUM_UNPACKED + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise FileFormatError(name, f"is no complete gzip file ({error}); copy it again") from error
        if len(data) > MAXIMUM_UNPACKED:
            raise FileFormatError(name, f"unpacks to more than {MAXIMUM_UNPACKED} bytes; split it")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FileFormatError(name, "is no text; give XYZ, CIF, POSCAR, CSV or a data set of lattices") from error


def _wanted(name: str, structures: Structures, targets: Sequence[str] | None) -> Structures:
    """The structures with only the targets that were asked for."""
    if targets is None:
        return structures
    there = [*structures.targets, *structures.node_targets]
    missing = [target for target in targets if target not in there]
    if missing:
        raise FileFormatError(
            name, f"has no target {missing[0]!r} in every structure; there are {', '.join(there) or 'none'}"
        )
    return structures.replace(
        targets={key: value for key, value in structures.targets.items() if key in targets},
        node_targets={key: value for key, value in structures.node_targets.items() if key in targets},
    )


def _shared(values: Sequence[Mapping[str, Any]], *, per_row: bool = False) -> dict[str, list[np.ndarray]]:
    """Numbers that all frames have, each in one shape (of a row)."""
    found = {}
    for key in values[0]:
        column = [np.asarray(v[key], dtype=np.float64) for v in values if key in v]
        shapes = {x.shape[1:] if per_row else x.shape for x in column}
        if len(column) == len(values) and len(shapes) == 1:
            found[key] = column
    return found


def _common_name(key: str) -> str:
    return next((name for name, spellings in _SPELLINGS.items() if key.lower() in spellings), key)


def _numeric(values: Mapping[str, Any]) -> dict[str, Any]:
    """What can be a target: numbers and arrays of numbers, under their common names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        array = np.asarray(value) if not isinstance(value, str | dict) else np.asarray("")
        if array.dtype.kind in "fiub" and array.size:
            found.setdefault(_common_name(key), array.astype(np.float64))
    return found


# ------------------------------------------------------------------ formats


def _ase(name: str, text: str, kind: str, limit: int | None) -> list[_Frame]:
    try:
        import ase.io
    except ImportError as error:
        raise MissingDependencyError("reading atomic structures", "ase>=3.23") from error
    if kind == "extxyz":
        _check_xyz(name, text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ASE warns of details that do not concern geometry
            found = ase.io.read(io.StringIO(text), index=slice(0, limit), format=kind)
            return [_ase_frame(atoms) for atoms in found]
    except Exception as error:  # a foreign parser: whatever it stumbles over is a fault of the file
        raise _foreign(name, kind, error) from error


def _ase_frame(atoms: Any) -> _Frame:
    results = {} if atoms.calc is None else atoms.calc.results
    arrays = {key: value for key, value in atoms.arrays.items() if key not in _GEOMETRY}
    count = len(atoms)
    computed = {key: value for key, value in results.items() if value is not None}
    per_atom = {
        key: v
        for key, v in computed.items()
        if np.ndim(v) and len(v) == count and key in ("forces", "charges", "magmoms")
    }
    per_frame = {key: v for key, v in computed.items() if key not in per_atom}
    return (
        atoms.get_positions(),
        atoms.get_atomic_numbers(),
        np.array(atoms.cell),
        np.array(atoms.pbc),
        _numeric({**atoms.info, **per_frame}),
        _numeric({**arrays, **per_atom}),
        str(atoms.info.get("name", "")) or atoms.get_chemical_formula(),
    )


def _check_xyz(name: str, text: str) -> None:
    """Refuse numbers of atoms that the file does not hold: ASE would wait for them."""
    lines = text.splitlines()
    start = 0
    while start < len(lines) and lines[start].strip():
        word = lines[start].strip()
        if not (word.isdecimal() and len(word) < 9 and start + 2 + int(word) <= len(lines)):
            raise FileFormatError(
                name, f"expected the number of atoms that follow, found {word[:40]!r}", line=start + 1
            )
        start += 2 + int(word)


def _cif(name: str, text: str, limit: int | None) -> list[_Frame]:
    import gemmi

    try:
        blocks = list(gemmi.cif.read_string(text))
        return [_cif_frame(block, {}) for block in blocks[:limit] if block.find_loop("_atom_site_fract_x")]
    except (RuntimeError, ValueError) as error:
        raise _foreign(name, "cif", error) from error


def _cif_frame(block: Any, values: dict[str, Any]) -> _Frame:
    """One crystal: all atoms of the cell, symmetry applied."""
    import gemmi

    crystal = gemmi.make_small_structure_from_block(block)
    sites = crystal.get_all_unit_cell_sites()
    if not sites:
        raise ValueError(f"block {block.name} holds no atom with coordinates")
    if any(site.element.atomic_number == 0 for site in sites):
        raise ValueError(f"block {block.name} holds an atom of unknown element")
    if any(abs(site.occ - 1) > 1e-3 for site in sites):
        raise ValueError(f"block {block.name} has partly occupied sites; resolve the disorder first")
    # gemmi's matrix has the lattice vectors as columns
    cell = np.array(crystal.cell.orth.mat.tolist()).T
    fractional = np.array([[site.fract.x, site.fract.y, site.fract.z] for site in sites])
    species = np.array([site.element.atomic_number for site in sites])
    return fractional @ cell, species, cell, np.ones(3, dtype=bool), values, {}, block.name


def _csv(name: str, text: str, limit: int | None) -> list[_Frame]:
    import gemmi

    rows = csv.DictReader(io.StringIO(text))
    if "cif" not in (rows.fieldnames or ()):
        raise FileFormatError(
            name, f"has no column 'cif'; columns are {', '.join(rows.fieldnames or ()) or 'none'}", line=1
        )
    frames = []
    for row in rows if limit is None else _first(rows, limit):
        values = {key: number for key, word in row.items() if key and (number := _number(word)) is not None}
        try:
            block = gemmi.cif.read_string(row["cif"] or "").sole_block()
            frames.append(_cif_frame(block, _numeric(values)))
        except (RuntimeError, ValueError) as error:
            raise _foreign(name, f"structure {len(frames) + 1}", error, line=rows.line_num) from error
    return frames


def _first(rows: Iterable[dict[str, Any]], limit: int) -> Iterable[dict[str, Any]]:
    return (row for _, row in zip(range(limit), rows, strict=False))


def _number(word: Any) -> float | None:
    try:
        return float(word)
    except (TypeError, ValueError):
        return None


def _lattices(name: str, limit: int | None) -> Structures:
    if Path(name).is_dir() or name.lower().endswith(".parquet"):
        parts, count = [], 0
        for table in read_dataset(name):
            parts.append(from_lattice_table(table))
            count += len(parts[-1])
            if limit is not None and count >= limit:
                break
        if not parts:
            raise FileFormatError(name, "holds no lattice")
        whole = _alike(parts)
    else:
        whole = from_lattice_table(LatticeTable.from_records(load(name)))
    return whole if limit is None else whole[:limit]


def _alike(parts: list[Structures]) -> Structures:
    """Shards in one batch; a stiffness that only some have is NaN in the others."""
    if len({"stiffness" in part.targets for part in parts}) > 1:
        unknown = torch.full((1, 6, 6), torch.nan, dtype=torch.float64)
        parts = [part.replace(targets={"stiffness": unknown.expand(len(part), 6, 6), **part.targets}) for part in parts]
    return Structures.concatenate(parts)


def _foreign(name: str, kind: str, error: Exception, *, line: int | None = None) -> FileFormatError:
    if isinstance(error, FileFormatError):
        return error
    reason = " ".join(str(error).split())[:160]
    return FileFormatError(name, f"cannot be read as {kind} ({type(error).__name__}: {reason})", line=line)
