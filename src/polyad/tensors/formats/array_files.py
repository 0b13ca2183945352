"""Dense real arrays from files: numpy, Parquet, zarr, TIFF, images and video, with every failure as one line.

Single and half precision become float32, everything else (integers and truth values too) float64. Colour is a mode,
behind rows and columns; frames and pages are the first one. Python objects are never unpickled. Sizes are checked
before anything is allocated; of .npy and .zarr single entries can be read, which is all that `tt_cross` needs:

    stored = open_array("large.zarr")
    cross = tt_cross(stored.entries, stored.shape, tolerance=1e-3)

When not to use it: for arrays that do not fit into memory `read_array` is the wrong one of the two.
"""

from __future__ import annotations

import os
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from polyad.errors import FileFormatError
from polyad.files import MAXIMUM_BYTES
from polyad.tensors.formats._array_source import StoredArray
from polyad.tensors.formats._image_files import MOVING, STILL, TIFF, open_image, open_tiff, open_video
from polyad.tensors.formats._numpy_files import open_npy, open_npz, open_parquet
from polyad.tensors.formats._zarr_files import open_zarr

SUFFIXES = (".npy", ".npz", ".parquet", ".zarr", *TIFF, *STILL, *MOVING)
"""Files that `read_array` reads."""

NAMED = (".npz", ".zarr", *TIFF)
"""Files that may hold several arrays."""


def read_array(
    path: str | os.PathLike[str], *, name: str | None = None, limit: int = MAXIMUM_BYTES
) -> Float[Tensor, "..."]:
    """The array that a file holds, as float32 (of half and single precision) or float64 (of all else).

    Args:
        path: .npy; .npz; .parquet (rows x columns, numeric); .zarr (a folder); .tif (pages x rows x columns, as its
            own description says); images (rows x columns, colour last); video and GIF (frames first).
        name: which array where there are several: a name in .npz, a path in .zarr, a number in .tif.
        limit: most bytes of the file, and of the array in the dtype that it is read into.

    Raises:
        FileFormatError: the file is missing, damaged, too large, of another kind, or holds no real numbers.
        MissingDependencyError: zarr, tifffile, imageio or av is needed and not installed.
    """
    return open_array(path, name=name, limit=limit).read()


def open_array(path: str | os.PathLike[str], *, name: str | None = None, limit: int = MAXIMUM_BYTES) -> StoredArray:
    """Shape and type of the array in a file; .npy and .zarr are not read yet. Arguments and errors: `read_array`."""
    where, suffix = os.fspath(path), Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise FileFormatError(where, f"has the suffix {suffix!r}; allowed are {', '.join(SUFFIXES)}")
    if name is not None and suffix not in NAMED:
        raise FileFormatError(where, f"holds one array, so the name {name!r} says nothing; leave it out")
    if suffix == ".npy":
        return open_npy(where, limit)
    if suffix == ".npz":
        return open_npz(where, name, limit)
    if suffix == ".parquet":
        return open_parquet(where, limit)
    if suffix == ".zarr":
        return open_zarr(where, name, limit)
    if suffix in TIFF:
        return open_tiff(where, name, limit)
    return open_image(where, limit) if suffix in STILL else open_video(where, limit)
