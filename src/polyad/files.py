"""Whole files or none: what is written appears under its final name only when it is complete and on the disk.

    with atomic_write("design.stl") as handle:      # a binary handle
        handle.write(data)

    with atomic_path("lattices.parquet") as path:   # a path, for libraries that open files themselves
        pyarrow.parquet.write_table(table, path)

Both write to a hidden file in the same folder, flush it to the disk and rename it; a rename within one file system is
atomic. After any failure (an exception, Ctrl-C, a full disk) the final name holds what it held before; after a kill
only the hidden file `.<name>.<random>.part` can remain. `read_bytes` is the other direction: whole, or one line why.

*When not to use it*: pipes and devices such as /dev/stdout; they are refused, because they would be replaced by a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from polyad.errors import FileFormatError, InputError

MAXIMUM_BYTES = 2 << 30
"""Largest file that is read into memory at once."""

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Binary handle whose content becomes the file `path` when the block ends without an exception.

    Raises:
        InputError: the folder is missing or not writable, `path` is a folder or a device, or the disk is full.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        yield handle


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Path of an empty file beside `path`, with the same suffix, that replaces `path` when the block ends well.

    A symbolic link keeps pointing where it does: the file behind it is replaced. An existing file's permissions stay.

    Raises:
        InputError: the folder is missing or not writable, `path` is a folder or a device, or the disk is full.
    """
    final = Path(os.path.realpath(path))
    temporary = final.with_name(f".{final.stem[:80]}.{secrets.token_hex(6)}.part{final.suffix}")
    try:
        mode = _writable_mode(final)
        # not tempfile: its files are readable by the owner only, these obey the umask like any other output
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise _cannot_write(final, error) from error
    try:
        try:
            yield temporary
        except OSError as error:
            if error.errno in _DISK_ERRORS:
                raise _cannot_write(final, error) from error
            raise
        try:
            _flush_to_disk(temporary)
            if mode is not None:
                os.chmod(temporary, mode)
            os.replace(temporary, final)
            _flush_folder(final.parent)
        except OSError as error:
            raise _cannot_write(final, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def read_bytes(path: str | os.PathLike[str], *, limit: int = MAXIMUM_BYTES) -> bytes:
    """Content of a file, with every failure as one line.

    Raises:
        FileFormatError: there is no such file, it may not be read, it is a folder or device, or exceeds `limit` bytes.
    """
    name = os.fspath(path)
    try:
        status = os.stat(name)
        if not stat.S_ISREG(status.st_mode):
            raise FileFormatError(name, "is not a regular file; give the name of a file")
        if status.st_size > limit:
            raise FileFormatError(name, f"holds {status.st_size} bytes; at most {limit} are read, split the file")
        with open(name, "rb") as handle:
            return handle.read(limit)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        if isinstance(error, FileFormatError):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FileFormatError(name, f"cannot be read ({reason}); check the name and the permissions") from error


def _writable_mode(final: Path) -> int | None:
    """Permissions of the file that will be replaced, None where there is none yet."""
    try:
        status = os.stat(final)
    except FileNotFoundError:
        if not final.parent.is_dir():
            raise InputError(f"{final}: folder {final.parent} does not exist; create it first") from None
        return None
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{final}: is a folder; give the name of a file")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{final}: is not a regular file; give the name of a file in an ordinary folder")
    return stat.S_IMODE(status.st_mode)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)  # opened for writing: Windows flushes no other
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable; a folder cannot be opened on Windows, where the rename is flushed anyway."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot; the file is whole
            raise
    finally:
        os.close(descriptor)


def _cannot_write(final: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    remedy = "free some space or write elsewhere" if error.errno in _DISK_ERRORS else "choose a folder you may write to"
    return InputError(f"{final}: cannot be written ({reason}); {remedy}, nothing was left under this name")
