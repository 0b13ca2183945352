"""Split data sets by base name, so that no relative of a test net is in the training set.

The part of a net is decided by a hash of its base name and the seed alone: adding nets, or splitting elsewhere, never
moves a net from one part to another. Shares are therefore met on average, not to the net.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from polyad.errors import InputError
from polyad.files import atomic_path
from polyad.materials.lattice.dataset.arrow import from_arrow, to_arrow
from polyad.materials.lattice.dataset.reader import count_rows, iter_rows
from polyad.materials.lattice.dataset.recipe import derived_seed
from polyad.materials.lattice.dataset.schema import SCHEMA, schema_with
from polyad.materials.lattice.dataset.variants import WRITER_OPTIONS

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def part_of(base_name: str, fractions: Mapping[str, float] = FRACTIONS, *, seed: int = 0) -> str:
    """The part that a base name belongs to.

    Args:
        base_name: of a net; all its variants share it.
        fractions: share of the base names for each part; they add up to 1.
        seed: another one gives another split.

    Raises:
        InputError: fractions that are negative or do not add up to 1.
    """
    _check(fractions)
    return _part(base_name, fractions, seed)


def split(
    base_names: Iterable[str], fractions: Mapping[str, float] = FRACTIONS, *, seed: int = 0
) -> dict[str, list[str]]:
    """Distinct base names by part, in order of first appearance."""
    _check(fractions)
    parts: dict[str, list[str]] = {name: [] for name in fractions}
    for base_name in dict.fromkeys(base_names):
        parts[_part(base_name, fractions, seed)].append(base_name)
    return parts


def split_dataset(
    path: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Write `<part>.parquet` for every part of a data set into a folder; returns the rows of each.

    Args:
        path: a Parquet file or a folder of shards.
        out_dir: made where absent; all parts appear at the end, or none.
        fractions: as for `part_of`.
        seed: as for `part_of`.
        progress: called with (rows done, rows in all).

    Raises:
        InputError: impossible fractions, or a part that stays empty although it has a share.
        FileFormatError: a data set that cannot be read.
    """
    _check(fractions)
    folder = Path(out_dir)
    total, done = count_rows(path), 0
    folder.mkdir(exist_ok=True)
    counts: Counter[str] = Counter({name: 0 for name in fractions})
    with contextlib.ExitStack() as stack:
        temporary = {name: stack.enter_context(atomic_path(folder / f"{name}.parquet")) for name in fractions}
        # entered after all paths, so that every file is closed before the first gets its name
        writers = {
            name: stack.enter_context(
                pq.ParquetWriter(temporary[name], _schema(name, fraction, seed), **WRITER_OPTIONS)
            )
            for name, fraction in fractions.items()
        }
        for _, rows in iter_rows(path):
            names = rows.column("base_name" if "base_name" in rows.column_names else "name").to_pylist()
            part = [_part(name, fractions, seed) for name in names]
            for name, writer in writers.items():
                chosen = rows.filter(pa.array([p == name for p in part]))
                if len(chosen):
                    writer.write_table(_complete(chosen, writer.schema))
                    counts[name] += len(chosen)
            done += len(rows)
            if progress is not None:
                progress(done, total)
        empty = [name for name, fraction in fractions.items() if fraction > 0 and not counts[name]]
        if empty:
            raise InputError(f"part {empty[0]!r} is empty: the data set has too few base names; give it a larger share")
    return dict(counts)


def _part(base_name: str, fractions: Mapping[str, float], seed: int) -> str:
    place, total = derived_seed("split", seed, base_name) / 2**63, 0.0
    part = ""
    for name, fraction in fractions.items():
        if fraction > 0:
            part = name  # the last part with a share takes what rounding leaves
            total += fraction
            if place < total:
                break
    return part


def _schema(part: str, fraction: float, seed: int) -> pa.Schema:
    return schema_with(split={"part": part, "fraction": fraction, "seed": seed})


def _complete(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with all columns of the schema; absent ones are null or empty."""
    if rows.schema.equals(SCHEMA, check_metadata=False):
        return rows.cast(schema)
    return to_arrow(from_arrow(rows), schema=schema)


def _check(fractions: Mapping[str, float]) -> None:
    shown = ", ".join(f"{name} {fraction:g}" for name, fraction in fractions.items())
    if not fractions or not all(math.isfinite(f) and f >= 0 for f in fractions.values()):
        raise InputError(f"fractions are {shown or 'missing'}; give numbers from 0 to 1")
    if abs(sum(fractions.values()) - 1) > 1e-9:
        raise InputError(f"fractions are {shown}; they must add up to 1")
    if any(not name or os.sep in name or name.startswith(".") for name in fractions):
        raise InputError(f"fractions are {shown}; a part's name must be a plain word")
