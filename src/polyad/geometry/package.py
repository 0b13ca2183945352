"""Zip packages of XML parts (OPC, the container of 3MF): deterministic writing, and reading that trusts nothing.

Reading bounds the unpacked size and the depth of elements, and refuses document type declarations, so neither a zip
bomb nor an entity expansion nor an external reference can do harm. No part is ever written to the disk.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape

from polyad.errors import FileFormatError, InputError
from polyad.files import atomic_write, read_bytes

MAXIMUM_PART_BYTES = 256 << 20
"""Most XML that one package may unpack to: about 2 million triangles."""

MAXIMUM_DEPTH = 64
"""Deepest nesting of elements that is read."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError, NotImplementedError)


def write_package(path: str | Path, parts: Mapping[str, str]) -> None:
    """Write named text parts into a zip file; the same parts give the same bytes, whatever the date."""
    with atomic_write(path) as handle, zipfile.ZipFile(handle, "w") as archive:
        for name, text in parts.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # the same on every system
            archive.writestr(entry, text.encode("utf-8"), compresslevel=6)


def read_package(path: str | Path) -> dict[str, bytes]:
    """XML parts of a zip file by name (a leading slash removed): those named .xml, .rels or .model.

    Raises:
        FileFormatError: not a zip file, damaged, encrypted, or larger unpacked than `MAXIMUM_PART_BYTES`.
    """
    parts: dict[str, bytes] = {}
    budget = MAXIMUM_PART_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(read_bytes(path))) as archive:
            for entry in archive.infolist():
                if not entry.filename.lower().endswith((".xml", ".rels", ".model")):
                    continue
                with archive.open(entry) as part:
                    content = part.read(budget + 1)
                budget -= len(content)
                if budget < 0:
                    raise FileFormatError(path, f"unpacks to more than {MAXIMUM_PART_BYTES >> 20} MiB; split the model")
                parts[entry.filename.lstrip("/")] = content
    except FileFormatError:
        raise
    except _ZIP_ERRORS as error:
        raise FileFormatError(path, f"is not a readable zip package ({error})") from error
    return parts


def parse_xml(
    path: str | Path,
    content: bytes,
    *,
    start: Callable[[str, dict[str, str]], None],
    text: Callable[[str], None] | None = None,
    end: Callable[[str], None] | None = None,
) -> None:
    """Walk through an XML part: `start(name, attributes)` and `end(name)`, names as 'namespace local'.

    A KeyError, ValueError, IndexError or InputError raised by a handler becomes a FileFormatError with the line.

    Raises:
        FileFormatError: not well-formed, nested too deeply, or with a document type declaration.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    depth = 0

    def refuse(*_: object) -> None:
        raise InputError("a document type declaration is not allowed in a 3MF part")

    def open_element(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAXIMUM_DEPTH:
            raise InputError(f"elements are nested deeper than {MAXIMUM_DEPTH}")
        start(name, attributes)

    def close_element(name: str) -> None:
        nonlocal depth
        depth -= 1
        if end is not None:
            end(name)

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = open_element
    parser.EndElementHandler = close_element
    if text is not None:
        parser.CharacterDataHandler = text
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise FileFormatError(
            path, f"XML is not well-formed ({expat.ErrorString(error.code)})", line=error.lineno
        ) from error
    except KeyError as error:
        raise FileFormatError(path, f"attribute {error} is missing", line=parser.CurrentLineNumber) from error
    except (ValueError, LookupError) as error:
        raise FileFormatError(path, str(error), line=parser.CurrentLineNumber) from error


def escape_text(text: str) -> str:
    """Text for an XML element or attribute.

    Raises:
        InputError: a control character, which XML cannot hold.
    """
    wrong = next((c for c in text if (ord(c) < 32 and c not in "\t\n\r") or 0xD800 <= ord(c) <= 0xDFFF), None)
    if wrong is not None:
        raise InputError(f"text holds the character {wrong!r}, which XML cannot hold; remove it")
    return escape(text, {'"': "&quot;"})
