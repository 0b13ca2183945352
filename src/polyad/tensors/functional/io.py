"""Scattered values of a tensor with continuous indices, from files.

Layouts:

    .npz      arrays `indices` (N, K) and `values` (N,)
    .npy, .parquet   numeric columns, the K indices first and the value last
    .csv      the same columns under one line of names, comma-separated

Python objects are never unpickled: a .npy file of pickled dictionaries, as research code likes to leave them, is
refused.

When not to use it: for dense arrays; `tensors.formats.read_array` reads those.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from polyad.errors import FileFormatError
from polyad.files import read_bytes
from polyad.tensors.formats.array_files import read_array


@final
@dataclass(frozen=True, eq=False)
class Entries:
    """Index tuples (N, K) and values (N,), float64."""

    indices: Tensor
    values: Tensor


def read_entries(path: str | os.PathLike[str]) -> Entries:
    """The entries in a file; see the module for the layouts.

    Raises:
        FileFormatError: the file is missing, damaged, pickled, of another layout, or holds NaN or infinity.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        indices, values = read_array(path, name="indices").double(), read_array(path, name="values").double()
        if indices.ndim != 2 or values.shape != indices.shape[:1]:
            raise FileFormatError(
                path,
                f"indices {tuple(indices.shape)} beside values {tuple(values.shape)}; (N, K) and (N,) are needed",
            )
    else:
        table = (_read_csv(path) if suffix == ".csv" else read_array(path)).double()
        if table.ndim != 2 or table.shape[1] < 2:
            raise FileFormatError(
                path,
                f"shape {tuple(table.shape)}; a table with the indices and then the value in its columns is needed",
            )
        indices, values = table[:, :-1].contiguous(), table[:, -1].contiguous()
    if len(values) == 0 or not bool(torch.isfinite(indices).all() & torch.isfinite(values).all()):
        raise FileFormatError(path, "holds no entries, or NaN or infinity; leave out rows that were not observed")
    return Entries(indices, values)


def _read_csv(path: Path) -> Tensor:
    lines = read_bytes(path).decode("utf-8", errors="replace").splitlines()
    rows: list[list[float]] = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            rows.append([float(cell) for cell in line.split(",")])
        except ValueError:
            raise FileFormatError(path, "a cell is no number; keep numeric columns", line=number) from None
        if len(rows[-1]) != len(rows[0]):
            raise FileFormatError(path, f"{len(rows[-1])} cells where {len(rows[0])} are needed", line=number)
    return torch.tensor(rows, dtype=torch.float64)
