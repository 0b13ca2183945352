"""Arrays in image files: TIFF (stacks too) by tifffile, still images by imageio, animations and video by its pyav.

Rows and columns are modes, colour is one more behind them, frames or pages come first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from polyad.errors import FileFormatError, MissingDependencyError
from polyad.files import read_bytes
from polyad.tensors.formats._array_source import StoredArray, check_size, check_type, chosen, optional, reading

TIFF = (".tif", ".tiff")
STILL = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
MOVING = (".gif", ".mp4", ".mov", ".avi", ".mkv", ".webm")


def open_tiff(where: str, name: str | None, limit: int) -> StoredArray:
    """A TIFF file's only series of pages, or the one of this number."""
    tifffile = optional("tifffile", "reading .tif")
    content = read_bytes(where, limit=limit)
    with reading(where, "TIFF file"), _complaints(where, "tifffile"), tifffile.TiffFile(where) as file:
        names = [str(number) for number in range(len(file.series))]
        series = file.series[int(chosen(where, names, name, "write it with tifffile.imwrite"))]
        check_type(where, series.dtype)
        check_size(where, series.shape, series.dtype, limit)
        last = max(
            (start + size for page in series.pages if page is not None for start, size in _segments(page)), default=0
        )
        if series.dataoffset is not None:  # pages in one piece, of which only the first need be described
            last = max(last, series.dataoffset + series.nbytes)
        if last > len(content):
            raise FileFormatError(where, f"is cut off: {len(content)} of {last} bytes are there; copy it again")
        try:
            array = series.asarray()
        except ValueError as error:
            if "imagecodecs" in str(error):
                raise MissingDependencyError(
                    f"reading {where} ({series.pages[0].compression.name})", "imagecodecs"
                ) from error
            raise
    return StoredArray(where, tuple(array.shape), array.dtype.str, limit, lambda: array)


def open_image(where: str, limit: int) -> StoredArray:
    """A still image: (rows, columns), and colour where it has any."""
    imageio = optional("imageio.v3", "reading images")
    read_bytes(where, limit=limit)
    with reading(where, "image"):
        described = imageio.improps(where, plugin="pillow")
        check_size(where, described.shape, described.dtype, limit)
        array = imageio.imread(where, plugin="pillow")
    check_type(where, array.dtype)
    return StoredArray(where, tuple(array.shape), array.dtype.str, limit, lambda: array)


def open_video(where: str, limit: int) -> StoredArray:
    """Frames: (frames, rows, columns, colour)."""
    optional("av", "reading video")
    imageio = optional("imageio.v3", "reading video")
    content = read_bytes(where, limit=limit)
    if where.lower().endswith(".gif") and not content.rstrip(b"\0").endswith(b";"):
        raise FileFormatError(where, "is cut off: the end mark of a GIF is missing; copy it again")
    with reading(where, "video"):
        described = imageio.improps(where, plugin="pyav")
        declared = described.n_images or 0  # zero where the container does not say
        check_size(where, (max(declared, 1), *described.shape[1:]), described.dtype, limit)
        frames: list[Any] = []
        for frame in imageio.imiter(where, plugin="pyav"):
            frames.append(frame)
            check_size(where, (len(frames), *frame.shape), frame.dtype, limit)
        if len(frames) < max(declared, 1):
            raise FileFormatError(where, f"is cut off: {len(frames)} of {declared} frames are there; copy it again")
        array = np.stack(frames)
    return StoredArray(where, tuple(array.shape), array.dtype.str, limit, lambda: array)


def _segments(page: Any) -> Iterator[tuple[int, int]]:
    """Start and size of the pieces that a page consists of."""
    return zip(page.dataoffsets, page.databytecounts, strict=True)


@contextmanager
def _complaints(where: str, logger: str) -> Iterator[None]:
    """A reader that logs damage instead of raising it: the first complaint becomes the error."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                said.append(record.getMessage())

    log, listener = logging.getLogger(logger), Listener()
    propagated, log.propagate = log.propagate, False
    log.addHandler(listener)
    try:
        yield
    finally:
        log.removeHandler(listener)
        log.propagate = propagated
    if said:
        raise FileFormatError(where, f"is not a whole TIFF file ({said[0]}); copy or write it again")
