"""What all array files share: an opened array, and the checks of type and size before anything is allocated."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import FileFormatError, InputError, MissingDependencyError
from polyad.tensors.formats.base import check_indices


@final
@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array in a file, of which nothing but its description need be in memory.

    Args:
        path: the file.
        shape: sizes of the modes.
        dtype: type of the numbers as they are stored, by numpy's name.
        limit: most bytes that `read` may take.
        load: reads everything.
        pick: reads the numbers at index tuples (count, order); None where the file must be read whole.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    limit: int
    load: Callable[[], Any]
    pick: Callable[[Any], Any] | None = None

    @property
    def working_type(self) -> torch.dtype:
        """The type that `read` gives."""
        return torch.float32 if working_type(np.dtype(self.dtype)) == np.float32 else torch.float64

    def read(self) -> Float[Tensor, "..."]:
        """All of it: float16 and float32 as float32, all else (integers, truth values, float64) as float64."""
        check_size(self.path, self.shape, np.dtype(self.dtype), self.limit)
        return torch.from_numpy(np.array(self.load(), dtype=working_type(np.dtype(self.dtype)), order="C"))

    def entries(self, indices: Int[Tensor, "count order"]) -> Float[Tensor, " count"]:
        """The numbers at these index tuples as float64, without the others: a function for `tt_cross`.

        Raises:
            FileFormatError: the file must be read whole, or one of these numbers is NaN or infinite.
        """
        if self.pick is None:
            raise FileFormatError(self.path, "cannot be read entry by entry, .npy and .zarr can; read it as a whole")
        places = check_indices(indices, self.shape)
        values = torch.from_numpy(np.asarray(self.pick(places.numpy()), dtype=np.float64))
        finite = torch.isfinite(values)
        if not bool(finite.all()):
            where = tuple(places[int((~finite).int().argmax())].tolist())
            raise FileFormatError(self.path, f"holds NaN or Inf at {where}; replace it by a number")
        return values


def working_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float32 for floating numbers of at most 32 bits, float64 for all others."""
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)


def check_type(where: str, dtype: np.dtype[Any]) -> None:
    """Real numbers of at most 64 bits."""
    if dtype.kind in "fiub" and dtype.itemsize <= 8:
        return
    if dtype.hasobject:
        raise FileFormatError(where, "holds Python objects, which are never read; save an array of numbers")
    if dtype.kind == "c":
        raise FileFormatError(where, f"holds complex numbers ({dtype}); save real and imaginary part along a new mode")
    raise FileFormatError(where, f"holds {dtype}; real numbers of at most 64 bits are read")


def check_size(where: str, shape: Sequence[int], dtype: np.dtype[Any], limit: int) -> None:
    """The array fits into `limit` bytes, as stored and in the type that it is read into."""
    needed = prod(shape) * max(dtype.itemsize, working_type(dtype).itemsize)
    if needed > limit:
        raise FileFormatError(
            where,
            f"shape {tuple(shape)} needs {needed / 1e9:.3g} GB in memory, at most {limit / 1e9:.3g} GB are read; "
            "compress parts of it, or sample it as .npy or .zarr: --cross, in Python tt_cross with open_array",
        )


@contextmanager
def reading(where: str, kind: str) -> Iterator[None]:
    """Whatever a decoder raises inside becomes one line that names the file; its own trace stays attached."""
    try:
        yield
    except (InputError, MissingDependencyError, MemoryError):
        raise
    except Exception as error:  # decoders raise what they like on damaged input
        cause = error.__cause__ or error
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
        raise FileFormatError(where, f"is not a whole {kind} ({reason}); copy or write it again") from error


def optional(module: str, what: str) -> Any:
    """An optional package, or the pip line that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(what, "polyad[arrays]") from error


def chosen(where: str, names: Sequence[str], name: str | None, remedy: str) -> str:
    """Which of several arrays is meant."""
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    if not names:
        raise FileFormatError(where, f"holds no array; {remedy}")
    if name is None and len(names) > 1:
        raise FileFormatError(where, f"holds {len(names)} arrays; name one of {listed}")
    if name is not None and name not in names:
        raise FileFormatError(where, f"holds no array {name!r}; there are {listed}")
    return names[0] if name is None else name
