"""Dense real arrays from files: .npy, .npz and numeric Parquet tables, with every failure as one line.

Numbers that float32 holds exactly (bool, integers of up to 16 bits, half and single precision) become float32, all
others float64. Python objects are never unpickled: only the header of a .npy file is parsed, its numbers are taken as
they lie. Sizes are checked before anything is allocated.

When not to use it: for arrays that do not fit into memory; approximate those from their entries (`tt_cross`).
"""

from __future__ import annotations

import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import FileFormatError
from polyad.files import MAXIMUM_BYTES, read_bytes

SUFFIXES = (".npy", ".npz", ".parquet")
"""Files that `read_array` reads."""

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_array(
    path: str | os.PathLike[str], *, name: str | None = None, limit: int = MAXIMUM_BYTES
) -> Float[Tensor, "..."]:
    """The array that a file holds, as float32 or float64.

    Args:
        path: a .npy file, a .npz file, or a Parquet table of numeric columns (rows x columns).
        name: which array of a .npz file; needed where there are several.
        limit: most bytes of the file, and of the array in the dtype that it is read into.

    Raises:
        FileFormatError: the file is missing, damaged, too large, of another kind, or holds no real numbers.
    """
    where, suffix = os.fspath(path), Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise FileFormatError(where, f"has the suffix {suffix!r}; allowed are {', '.join(SUFFIXES)}")
    if name is not None and suffix != ".npz":
        raise FileFormatError(where, f"holds one array, so the name {name!r} says nothing; leave it out")
    content = read_bytes(path, limit=limit)
    if suffix == ".npy":
        array = _parse_npy(where, content, limit)
    elif suffix == ".npz":
        array = _parse_npy(where, _member(where, content, name, limit), limit)
    else:
        array = _parse_parquet(where, content, limit)
    return torch.from_numpy(np.array(array, dtype=_working_type(array.dtype), order="C"))


def _parse_npy(where: str, content: bytes, limit: int) -> Any:
    """A view of the numbers in a .npy file."""
    handle = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(handle)
        if version not in _HEADERS:
            raise ValueError(f"version {version[0]}.{version[1]}")
        shape, by_columns, dtype = _HEADERS[version](handle)
        if min(shape, default=0) < 0:
            raise ValueError(f"shape {shape} is negative")
    except (ValueError, SyntaxError, TypeError, EOFError, RecursionError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileFormatError(where, f"is not a .npy array ({reason}); write it with numpy.save") from error
    _check_type(where, dtype)
    _check_size(where, shape, dtype, limit)
    count = prod(shape)
    held = len(content) - handle.tell()
    if held < count * dtype.itemsize:
        needed = count * dtype.itemsize
        raise FileFormatError(where, f"is cut off: {held} of {needed} bytes of shape {shape} are there; copy it again")
    array = np.frombuffer(content, dtype=dtype, count=count, offset=handle.tell())
    return array.reshape(shape, order="F" if by_columns else "C")


def _member(where: str, content: bytes, name: str | None, limit: int) -> bytes:
    """The .npy file of this name in a .npz file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
            chosen = _chosen(where, list(members), name)
            if members[chosen].file_size > limit:
                size = members[chosen].file_size
                raise FileFormatError(where, f"array {chosen!r} unpacks to {size} bytes; at most {limit} are read")
            with archive.open(members[chosen]) as handle:
                return handle.read(limit)  # a header that lies about the size ends here, too
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError) as error:
        raise FileFormatError(where, f"is not a whole .npz archive ({error}); write it with numpy.savez") from error


def _chosen(where: str, names: Sequence[str], name: str | None) -> str:
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    if not names:
        raise FileFormatError(where, "holds no array; write it with numpy.savez")
    if name is None and len(names) > 1:
        raise FileFormatError(where, f"holds {len(names)} arrays; name one of {listed}")
    if name is not None and name not in names:
        raise FileFormatError(where, f"holds no array {name!r}; there are {listed}")
    return names[0] if name is None else name


def _parse_parquet(where: str, content: bytes, limit: int) -> Any:
    """A table of numeric columns as a matrix."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        schema = file.schema_arrow
        for column in schema:
            if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
                raise FileFormatError(where, f"column {column.name!r} is of type {column.type}; keep numeric columns")
        shape = (file.metadata.num_rows, len(schema))
        _check_size(where, shape, np.dtype(np.float64), limit)
        table = file.read()
    except pa.ArrowException as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileFormatError(where, f"is not a whole Parquet file ({reason}); write it again") from error
    for column, values in zip(schema, table.columns, strict=True):
        if values.null_count:
            raise FileFormatError(where, f"column {column.name!r} lacks {values.null_count} values; fill or drop them")
    columns = [values.to_numpy() for values in table.columns]
    return np.stack(columns, axis=1) if columns else np.empty(shape)


def _check_type(where: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind in "fiub" and dtype.itemsize <= 8:
        return
    if dtype.hasobject:
        raise FileFormatError(where, "holds Python objects, which are never read; save an array of numbers")
    if dtype.kind == "c":
        raise FileFormatError(where, f"holds complex numbers ({dtype}); save real and imaginary part along a new mode")
    raise FileFormatError(where, f"holds {dtype}; real numbers of at most 64 bits are read")


def _check_size(where: str, shape: Sequence[int], dtype: np.dtype[Any], limit: int) -> None:
    needed = prod(shape) * max(dtype.itemsize, _working_type(dtype).itemsize)
    if needed > limit:
        raise FileFormatError(
            where,
            f"shape {tuple(shape)} needs {needed / 1e9:.3g} GB in memory, at most {limit / 1e9:.3g} GB are read; "
            "compress parts of it, or use tt_cross, which needs no dense tensor",
        )


def _working_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float32 where it holds every value of this type exactly, float64 elsewhere."""
    return np.dtype(np.float32 if np.can_cast(dtype, np.float32, "safe") else np.float64)
