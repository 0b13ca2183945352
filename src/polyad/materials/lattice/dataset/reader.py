"""Read data sets of lattices in constant memory: a folder of shards, or any Parquet file with these columns."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from polyad.errors import FileFormatError, InputError
from polyad.materials.lattice.dataset.arrow import from_arrow
from polyad.materials.lattice.dataset.generate import MANIFEST, read_manifest
from polyad.materials.lattice.dataset.recipe import Recipe
from polyad.materials.lattice.dataset.schema import REQUIRED, SCHEMA
from polyad.materials.lattice.dataset.table import LatticeTable
from polyad.materials.lattice.records import LatticeRecord

_UNREADABLE = (OSError, pa.ArrowException, UnicodeDecodeError)  # the last: column names that are no UTF-8


def read_dataset(
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    batch_size: int = 4096,
) -> Iterator[LatticeTable]:
    """The rows in order, some thousands at a time.

    Args:
        path: a Parquet file, or a folder of shards.
        columns: those wanted beside the lattices themselves, such as ("base_name", "stiffness"); default: all.
        batch_size: most rows at a time.

    Raises:
        FileFormatError: no such file, shards are missing, columns are missing or hold no lattices.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; give at least 1")
    for file, rows in iter_rows(path, columns=columns, batch_size=batch_size):
        try:
            yield from_arrow(rows)
        except InputError as error:
            raise FileFormatError(file, str(error)) from error


def read_records(path: str | os.PathLike[str]) -> Iterator[LatticeRecord]:
    """The rows one by one, each validated.

    Raises:
        FileFormatError: as `read_dataset`, or a row that is no valid lattice.
    """
    row = 0
    for table in read_dataset(path):
        for place in range(len(table)):
            try:
                record = table.record(place)
            except InputError as error:
                raise FileFormatError(os.fspath(path), f"row {row} ({table.name[place]}): {error}") from error
            yield record
            row += 1


def iter_rows(
    path: str | os.PathLike[str], *, columns: Sequence[str] | None = None, batch_size: int = 4096
) -> Iterator[tuple[Path, pa.Table]]:
    """(file, rows as Arrow), some thousands at a time; the columns of lattices only."""
    chosen = list(SCHEMA.names) if columns is None else [*REQUIRED, *columns]
    unknown = [name for name in chosen if name not in SCHEMA.names]
    if unknown:
        raise InputError(f"columns: {unknown[0]!r} is unknown; a data set has {', '.join(SCHEMA.names)}")
    for file in dataset_files(path):
        try:
            parquet = pq.ParquetFile(file)
            present = [name for name in chosen if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(batch_size, columns=present):
                if batch.num_rows:
                    yield file, pa.Table.from_batches([batch])
        except _UNREADABLE as error:
            raise _unreadable(file, error) from error


def count_rows(path: str | os.PathLike[str]) -> int:
    """Number of rows of a data set, from the files' footers."""
    total = 0
    for file in dataset_files(path):
        try:
            total += pq.read_metadata(file).num_rows
        except _UNREADABLE as error:
            raise _unreadable(file, error) from error
    return total


def dataset_files(path: str | os.PathLike[str]) -> list[Path]:
    """The files of a data set in order.

    Raises:
        FileFormatError: nothing there, or a generated data set that is not complete.
    """
    place = Path(path)
    if not place.exists():
        raise FileFormatError(place, "does not exist; give a Parquet file or a folder of shards")
    if not place.is_dir():
        return [place]
    if (place / MANIFEST).exists():
        try:
            recipe = Recipe.from_json(read_manifest(place))
        except FileFormatError:
            raise
        except InputError as error:
            raise FileFormatError(place / MANIFEST, f"{error}; generate the data set again") from error
        files = [place / recipe.shard_name(n) for n in range(recipe.num_shards)]
        missing = [file for file in files if not file.exists()]
        if missing:
            raise FileFormatError(
                place, f"{len(missing)} of {len(files)} shards are missing; run 'polyad lattice generate' again"
            )
        return files
    files = sorted(place.glob("*.parquet"))
    if not files:
        raise FileFormatError(place, "holds no Parquet files")
    return files


def _unreadable(file: Path, error: Exception) -> FileFormatError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return FileFormatError(file, f"cannot be read as Parquet ({reason}); copy it again")
