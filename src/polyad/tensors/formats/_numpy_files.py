"""Arrays in .npy, .npz and Parquet files. Of a .npy file only the header is parsed; its numbers are mapped."""

from __future__ import annotations

import io
import lzma
import os
import stat
import zipfile
import zlib
from math import prod
from typing import Any

import numpy as np

from polyad.errors import FileFormatError
from polyad.files import read_bytes
from polyad.tensors.formats._array_source import StoredArray, check_size, check_type, chosen

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def open_npy(where: str, limit: int) -> StoredArray:
    """A .npy file, mapped into memory page by page as it is asked for."""
    try:
        with open(where, "rb") as handle:
            status = os.fstat(handle.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FileFormatError(where, "is not a regular file; give the name of a file")
            shape, order, dtype = _header(where, handle, status.st_size)
            start = handle.tell()
        if 0 in shape:
            array: Any = np.empty(shape, dtype)
        else:
            array = np.memmap(where, dtype=dtype, mode="r", offset=start, shape=shape, order=order)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        if isinstance(error, FileFormatError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FileFormatError(where, f"cannot be read ({reason}); check the name and the permissions") from error
    return StoredArray(where, shape, dtype.str, limit, lambda: array, lambda indices: array[tuple(indices.T)])


def open_npz(where: str, name: str | None, limit: int) -> StoredArray:
    """One array of a .npz file."""
    content = _member(where, read_bytes(where, limit=limit), name, limit)
    handle = io.BytesIO(content)
    shape, order, dtype = _header(where, handle, len(content), limit)
    array = np.frombuffer(content, dtype=dtype, count=prod(shape), offset=handle.tell()).reshape(shape, order=order)
    return StoredArray(where, shape, dtype.str, limit, lambda: array)


def open_parquet(where: str, limit: int) -> StoredArray:
    """A table of numeric columns as a matrix."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(read_bytes(where, limit=limit)))
        schema = file.schema_arrow
        for column in schema:
            if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
                raise FileFormatError(where, f"column {column.name!r} is of type {column.type}; keep numeric columns")
        shape = (file.metadata.num_rows, len(schema))
        check_size(where, shape, np.dtype(np.float64), limit)
        table = file.read()
    except pa.ArrowException as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileFormatError(where, f"is not a whole Parquet file ({reason}); write it again") from error
    for column, values in zip(schema, table.columns, strict=True):
        if values.null_count:
            raise FileFormatError(where, f"column {column.name!r} lacks {values.null_count} values; fill or drop them")
    columns = [values.to_numpy() for values in table.columns]
    array = np.stack(columns, axis=1) if columns else np.empty(shape)
    return StoredArray(where, shape, array.dtype.str, limit, lambda: array)


def _header(
    where: str, handle: io.BufferedIOBase, size: int, limit: int | None = None
) -> tuple[tuple[int, ...], Any, np.dtype[Any]]:
    """Shape, order and type that a .npy file declares; all of its numbers are there."""
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
    check_type(where, dtype)
    if limit is not None:
        check_size(where, shape, dtype, limit)
    held, needed = size - handle.tell(), prod(shape) * dtype.itemsize
    if held < needed:
        raise FileFormatError(where, f"is cut off: {held} of {needed} bytes of shape {shape} are there; copy it again")
    return shape, "F" if by_columns else "C", dtype


def _member(where: str, content: bytes, name: str | None, limit: int) -> bytes:
    """The .npy file of this name in a .npz file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
            member = members[chosen(where, list(members), name, "write it with numpy.savez")]
            if member.file_size > limit:
                size = member.file_size
                raise FileFormatError(where, f"array {member.filename!r} unpacks to {size} bytes; at most {limit}")
            with archive.open(member) as handle:
                return handle.read(limit)  # a header that lies about the size ends here, too
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError) as error:
        raise FileFormatError(where, f"is not a whole .npz archive ({error}); write it with numpy.savez") from error
