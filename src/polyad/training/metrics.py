"""What a run measured: rows of a CSV file, and TensorBoard events if wanted.

A run that was killed may have written rows beyond its last checkpoint; when it goes on, they are dropped first, so the
file holds each step once.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from polyad.errors import FileFormatError, MissingDependencyError
from polyad.files import atomic_write

Row = dict[str, float]


@final
class MetricsLog:
    """Rows of numbers, kept in memory and, with a folder, in `metrics.csv` there.

    Args:
        folder: where to write; None keeps them in memory.
        tensorboard: write events to the folder as well.
        step: the checkpoint's; later rows are dropped. 0 starts afresh.
    """

    def __init__(self, folder: Path | None, *, tensorboard: bool = False, step: int = 0) -> None:
        self.rows: list[Row] = []
        self._path = None if folder is None else folder / "metrics.csv"
        self._columns: list[str] = []
        if self._path is not None and step and self._path.exists():
            self.rows = [row for row in read_metrics(self._path) if row["step"] <= step]
        if self._path is not None:
            self._rewrite()
        self._events: Any = None
        if tensorboard and folder is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise MissingDependencyError("tensorboard=True", "tensorboard>=2.17") from error
            self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def add(self, row: Mapping[str, float]) -> None:
        """Append one row; a new column rewrites the file with it."""
        self.rows.append(dict(row))
        if self._path is not None:
            if set(row) <= set(self._columns):
                with open(self._path, "a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, self._columns).writerow(row)
            else:
                self._rewrite()
        if self._events is not None:
            for name, value in row.items():
                if name != "step":
                    self._events.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        """Finish the event file."""
        if self._events is not None:
            self._events.close()

    def _rewrite(self) -> None:
        self._columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        if self._columns:
            writer.writeheader()
        writer.writerows(self.rows)
        assert self._path is not None
        with atomic_write(self._path) as handle:
            handle.write(text.getvalue().encode())


def read_metrics(path: Path) -> list[Row]:
    """Rows of a `metrics.csv`; a last line that was cut short is left out.

    Raises:
        FileFormatError: not such a file.
    """
    with open(path, newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    if not lines:
        return []
    head, rows = lines[0], []
    for number, line in enumerate(lines[1:], start=2):
        try:
            values = {name: float(word) for name, word in zip(head, line, strict=True) if word}
            values["step"]
        except (ValueError, KeyError) as error:
            if number == len(lines):
                break
            raise FileFormatError(path, "is no table of metrics; move it out of the folder", line=number) from error
        rows.append(values)
    return rows
