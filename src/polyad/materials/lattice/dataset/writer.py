"""Write records of lattices to one Parquet file, a batch at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import pyarrow.parquet as pq

from polyad.errors import InputError
from polyad.files import atomic_path
from polyad.materials.lattice.dataset.arrow import to_arrow
from polyad.materials.lattice.dataset.schema import schema_with
from polyad.materials.lattice.dataset.table import LatticeTable
from polyad.materials.lattice.dataset.variants import WRITER_OPTIONS
from polyad.materials.lattice.records import LatticeRecord


def write_records(records: Iterable[LatticeRecord], path: str | os.PathLike[str], **facts: Any) -> int:
    """Write records as one Parquet file, whole or not at all; returns their number.

    Args:
        records: any number; a few thousand are held at a time.
        path: the file.
        facts: JSON values for the file's metadata.

    Raises:
        InputError: no records, or a file that cannot be written.
    """
    remaining = iter(records)
    first = next(remaining, None)
    if first is None:
        raise InputError(f"{path}: there are no records to write")
    count = 0
    with table_writer(path, **facts) as write:
        for batch in _batches(chain([first], remaining), 4096):
            write(LatticeTable.from_records(batch))
            count += len(batch)
    return count


@contextlib.contextmanager
def table_writer(path: str | os.PathLike[str], **facts: Any) -> Iterator[Callable[[LatticeTable], None]]:
    """A function that appends a table to the file; the file appears when the block ends well."""
    schema = schema_with(**facts)
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, **WRITER_OPTIONS) as writer:
        yield lambda table: writer.write_table(to_arrow(table, schema=schema))


def _batches(records: Iterable[LatticeRecord], size: int) -> Iterator[list[LatticeRecord]]:
    batch: list[LatticeRecord] = []
    for record in records:
        batch.append(record)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
