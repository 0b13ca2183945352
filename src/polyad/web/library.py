"""The catalogue: shelves of lattices in Parquet files, searched and sorted by DuckDB.

A shelf is what one file holds, with two Parquet files (see `indexing`): the lattices themselves, and their numbers. A
lattice is named "shelf:row". Columns of a query are checked against a list and values are bound as parameters: no text
of a visitor becomes part of a statement.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pyarrow.parquet as pq

from polyad.errors import InputError, MissingDependencyError
from polyad.materials.lattice import LatticeRecord
from polyad.materials.lattice.dataset.arrow import from_arrow
from polyad.materials.lattice.dataset.reader import dataset_files
from polyad.materials.lattice.dataset.schema import SCHEMA
from polyad.web.indexing import NUMBERS
from polyad.web.wire import NotFoundError

TEXTS = ("name", "source", "symmetry")
MOST_ROWS, MOST_POINTS = 500, 4000
"""Rows of one page of the table, and points of one chart."""


@final
@dataclass(frozen=True)
class Shelf:
    """Lattices of one file.

    Args:
        key: of the shelf, a short word.
        title: what visitors read.
        kind: "named", "file", "upload" or "design".
        rows: number of lattices.
        lattices: Parquet file or store that holds them.
        index: Parquet file with their numbers.
        complaints: what could not be read.
    """

    key: str
    title: str
    kind: str
    rows: int
    lattices: Path
    index: Path
    complaints: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Filter:
    """Which lattices are wanted.

    Args:
        search: part of the name or source, in any case.
        symmetry: class of the tensor; empty takes all.
        shelf: key of a shelf; empty takes all.
        ranges: (column, least, greatest) of numbers; infinite ends are open.
    """

    search: str = ""
    symmetry: str = ""
    shelf: str = ""
    ranges: tuple[tuple[str, float, float], ...] = ()


@final
class Library:
    """All shelves. Safe to use from several threads."""

    def __init__(self) -> None:
        try:
            import duckdb
        except ImportError as error:
            raise MissingDependencyError("the catalogue of the explorer", "polyad[web]") from error
        self._database = duckdb.connect(":memory:")
        self._database.execute("SET threads = 1")
        self._shelves: dict[str, Shelf] = {}
        self._lock = threading.Lock()

    @property
    def shelves(self) -> list[Shelf]:
        """In the order in which they came."""
        with self._lock:
            return list(self._shelves.values())

    def add(self, shelf: Shelf) -> None:
        """Put a shelf up."""
        with self._lock:
            self._shelves[shelf.key] = shelf

    def remove(self, key: str) -> Shelf | None:
        """Take a shelf down; its files stay."""
        with self._lock:
            return self._shelves.pop(key, None)

    def rows(
        self, wanted: Filter, *, sort: str = "name", descending: bool = False, offset: int = 0, limit: int = 100
    ) -> tuple[int, list[dict[str, Any]]]:
        """(number of lattices in all, one page of them with all their numbers).

        Raises:
            InputError: an unknown column, or a page out of range.
            NotFoundError: an unknown shelf.
        """
        _check_column(sort, (*TEXTS, *NUMBERS))
        if not (0 <= offset <= 10**9 and 1 <= limit <= MOST_ROWS):
            raise InputError(f"limit: {limit} must lie between 1 and {MOST_ROWS}, offset {offset} from 0 to 10^9")
        columns = ", ".join(("key", "row", *TEXTS, *NUMBERS))
        order = f"{sort} {'DESC' if descending else 'ASC'} NULLS LAST, key, row"
        found = self._select(columns, wanted, f"ORDER BY {order} LIMIT {int(limit)} OFFSET {int(offset)}")
        (total,) = self._select("count(*) AS total", wanted, "")
        return total["total"], [_with_id(row) for row in found]

    def points(self, wanted: Filter, x: str, y: str) -> list[dict[str, Any]]:
        """Name, density and two numbers of every lattice that has both; of more than `MOST_POINTS` a fair sample."""
        for name in (x, y):
            _check_column(name, NUMBERS)
        extra = f"AND {x} IS NOT NULL AND {y} IS NOT NULL ORDER BY hash(key, row) LIMIT {MOST_POINTS}"
        found = self._select(f"key, row, name, symmetry, density, {x} AS x, {y} AS y", wanted, extra)
        return [_with_id(row) for row in found]

    def record(self, name: str) -> LatticeRecord:
        """The lattice of an id such as "named:3".

        Raises:
            NotFoundError: there is none of this id.
        """
        key, _, number = name.partition(":")
        with self._lock:
            shelf = self._shelves.get(key)
        if shelf is None or not number.isdecimal() or len(number) > 12 or int(number) >= shelf.rows:
            raise NotFoundError(f"id: there is no lattice {name[:80]!r}; take ids from the catalogue")
        return _read_row(shelf.lattices, int(number))

    def _select(self, columns: str, wanted: Filter, tail: str) -> list[dict[str, Any]]:
        shelves = [shelf for shelf in self.shelves if not wanted.shelf or shelf.key == wanted.shelf]
        if wanted.shelf and not shelves:
            raise NotFoundError(f"shelf: there is no {wanted.shelf[:80]!r}")
        if not shelves:
            return [{"total": 0}] if "total" in columns else []
        conditions, values = ["TRUE"], list[Any]()
        if wanted.search:
            conditions.append("(contains(lower(name), lower(?)) OR contains(lower(source), lower(?)))")
            values += [wanted.search, wanted.search]
        if wanted.symmetry:
            conditions.append("symmetry = ?")
            values.append(wanted.symmetry)
        for column, least, greatest in wanted.ranges:
            _check_column(column, NUMBERS)
            if math.isnan(least) or math.isnan(greatest):
                raise InputError(f"range: of {column} is no number")
            conditions.append(f"{column} BETWEEN ? AND ?")
            values += [least, greatest]
        query = f"SELECT {columns} FROM read_parquet(?) WHERE {' AND '.join(conditions)} {tail}"
        table = self._database.cursor().execute(query, [[str(shelf.index) for shelf in shelves], *values])
        names = [column[0] for column in table.description or ()]
        return [dict(zip(names, row, strict=True)) for row in table.fetchall()]


def _check_column(name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise InputError(f"column: {name[:80]!r} is unknown; choose of {', '.join(known)}")


def _with_id(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"{row.pop('key')}:{row.pop('row')}", **row}


def _read_row(path: Path, row: int) -> LatticeRecord:
    """One row of a store: the files' footers say where it is, and one group of rows is read."""
    left = row
    for file in dataset_files(path):
        parquet = pq.ParquetFile(file)
        if left >= parquet.metadata.num_rows:
            left -= parquet.metadata.num_rows
            continue
        for group in range(parquet.num_row_groups):
            size = parquet.metadata.row_group(group).num_rows
            if left < size:
                present = [name for name in SCHEMA.names if name in parquet.schema_arrow.names]
                rows: pa.Table = parquet.read_row_group(group, columns=present).slice(left, 1)
                return from_arrow(rows).record(0)
            left -= size
    raise NotFoundError(f"id: row {row} is not there any more; reload the catalogue")
