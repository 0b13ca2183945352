"""Arrays in zarr stores (version 3 or 2) on disk: chunks are decoded when asked for, and a few of them kept.

A codec that unpickles is refused by name before any chunk is touched.
"""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from polyad.errors import FileFormatError, NumericalWarning
from polyad.tensors.formats._array_source import StoredArray, check_type, chosen, optional, reading

KEPT_BYTES = 256 << 20
"""Decoded chunks that are kept while entries are asked for."""


def open_zarr(where: str, name: str | None, limit: int) -> StoredArray:
    """An array, or one of a group, named by its path in it."""
    zarr = optional("zarr", "reading .zarr")
    if not os.path.isdir(where):
        what = "is a file; a zarr store is a folder" if os.path.exists(where) else "cannot be read (no such folder)"
        raise FileFormatError(where, f"{what}; check the name")
    with reading(where, "zarr store"):
        found = zarr.open(os.path.abspath(where), mode="r")
        if isinstance(found, zarr.Group):
            members = {path: item for path, item in found.members(max_depth=None) if isinstance(item, zarr.Array)}
            found = members[chosen(where, sorted(members), name, "write one with zarr.save")]
        elif name is not None:
            raise FileFormatError(where, f"holds one array, so the name {name!r} says nothing; leave it out")
        dtype = np.dtype(found.dtype)
        check_type(where, dtype)
        if any("pickle" in word.lower() for word in _words(found.metadata.to_dict())):
            raise FileFormatError(where, "is coded with pickle, which is never decoded; write it with another codec")
        there, chunks = found.nchunks_initialized, found.nchunks
    if there < chunks:
        warnings.warn(
            f"{where}: {chunks - there} of {chunks} chunks are not there and read as the fill value "
            f"{found.fill_value}; is the copy complete?",
            NumericalWarning,
            stacklevel=3,
        )
    kept = _Chunks(where, found)
    return StoredArray(where, tuple(found.shape), dtype.str, limit, kept.everything, kept.entries)


class _Chunks:
    """The chunks of an array, the latest ones in memory."""

    def __init__(self, where: str, array: Any) -> None:
        self.where, self.array = where, array
        self.sizes = np.array(array.chunks)
        self.kept: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self.most = max(1, int(KEPT_BYTES // max(1, int(np.prod(self.sizes)) * np.dtype(array.dtype).itemsize)))

    def everything(self) -> Any:
        with reading(self.where, "zarr array"):
            return self.array[...]

    def entries(self, indices: Any) -> Any:
        """Sorted by chunk, so that each is decoded once a call."""
        values = np.empty(len(indices), np.float64)
        places, inverse = np.unique(indices // self.sizes, axis=0, return_inverse=True)
        order = np.argsort(inverse.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(inverse.ravel(), minlength=len(places)))
        for place, rows in zip(places, np.split(order, ends[:-1]), strict=True):
            values[rows] = self._chunk(tuple(map(int, place)))[tuple((indices[rows] - place * self.sizes).T)]
        return values

    def _chunk(self, place: tuple[int, ...]) -> Any:
        if place in self.kept:
            self.kept.move_to_end(place)
            return self.kept[place]
        starts = np.array(place) * self.sizes
        ends = np.minimum(starts + self.sizes, self.array.shape)
        with reading(self.where, "zarr array"):
            chunk = self.array[tuple(slice(int(a), int(b)) for a, b in zip(starts, ends, strict=True))]
        self.kept[place] = chunk
        if len(self.kept) > self.most:
            self.kept.popitem(last=False)
        return chunk


def _words(value: Any) -> Iterator[str]:
    """Every text in a store's description, at any depth; what it says of users' own attributes is left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "attributes":
                yield from _words(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _words(inner)
