"""Members of zip archives, read in memory and within limits: nothing is extracted, no bomb is unpacked.

A member's real size is counted while it is decompressed; what the archive's directory claims is not trusted.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator

from polyad.errors import FileFormatError

MAXIMUM_MEMBER = 256 * 2**20
"""Largest member, in bytes after decompression."""

MAXIMUM_TOTAL = 2 * 2**30
"""Largest sum of all members."""

MAXIMUM_RATIO = 200
"""Largest ratio of decompressed to compressed size, beyond the first mebibyte. Text compresses 3 to 20 times."""

MAXIMUM_MEMBERS = 200_000


def looks_like_zip(head: bytes) -> bool:
    """Whether a file starts as a zip archive does."""
    return head[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def read_members(name: str, data: bytes) -> Iterator[tuple[str, bytes | FileFormatError]]:
    """(member, content or what is wrong with it) for every file in the archive; folders and hidden files are left out.

    Raises:
        FileFormatError: not an archive, too many members, or more content than `MAXIMUM_TOTAL`.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
        raise FileFormatError(name, f"is no readable zip archive ({error}); copy it again") from error
    if len(members) > MAXIMUM_MEMBERS:
        raise FileFormatError(name, f"has {len(members)} members; at most {MAXIMUM_MEMBERS} are read")
    total = 0
    with archive:
        for member in members:
            base = member.filename.rsplit("/", 1)[-1]
            if member.is_dir() or not base or base.startswith(".") or member.filename.startswith("__MACOSX/"):
                continue
            content = _read(name, archive, member)
            if isinstance(content, bytes):
                total += len(content)
                if total > MAXIMUM_TOTAL:
                    raise FileFormatError(name, f"unpacks to more than {MAXIMUM_TOTAL} bytes; split the archive")
            yield member.filename, content


def _read(name: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | FileFormatError:
    where = f"{name}!{member.filename}"
    if member.flag_bits & 1:
        return FileFormatError(where, "is encrypted; unpack it first")
    allowed = min(MAXIMUM_MEMBER, max(2**20, MAXIMUM_RATIO * member.compress_size))
    try:
        with archive.open(member) as handle:
            content = handle.read(allowed + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError, RuntimeError) as error:
        return FileFormatError(where, f"cannot be unpacked ({error}); copy the archive again")
    if len(content) > allowed:
        return FileFormatError(where, f"unpacks to more than {allowed} bytes from {member.compress_size}; refused")
    return content
