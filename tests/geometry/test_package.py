"""Zip packages: equal bytes for equal parts; bombs, entities and damage are refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from polyad.errors import FileFormatError, InputError
from polyad.geometry import package
from polyad.geometry.package import escape_text, parse_xml, read_package, write_package


def names_in(path: Path, content: bytes) -> list[str]:
    names: list[str] = []
    parse_xml(path, content, start=lambda name, _: names.append(name))
    return names


def test_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    parts = {"[Content_Types].xml": "<a/>", "3D/x.model": "<ü>1</ü>"}
    write_package(tmp_path / "a.zip", parts)
    write_package(tmp_path / "b.zip", parts)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert read_package(tmp_path / "a.zip") == {name: text.encode() for name, text in parts.items()}


def test_names_carry_their_namespace(tmp_path: Path) -> None:
    content = b'<a xmlns="urn:x" xmlns:b="urn:y"><b:c/></a>'
    assert names_in(tmp_path, content) == ["urn:x a", "urn:y c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><a>&z;</a>', "document type declaration"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "document type declaration"),
        (b"<a>" * 100, "deeper than 64"),
        (b"<a>\n<b>\n</a>", ":3: XML is not well-formed"),
        (b"", "not well-formed"),
        (b"<a>\xff\xfe</a>", "not well-formed"),
    ],
)
def test_hostile_xml_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        names_in(tmp_path / "part", content)


def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MAXIMUM_PART_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.3mf", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("3D/3dmodel.model", b" " * (3 << 20))
    assert (tmp_path / "bomb.3mf").stat().st_size < 10_000
    with pytest.raises(FileFormatError, match="unpacks to more than 1 MiB"):
        read_package(tmp_path / "bomb.3mf")


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(FileFormatError, match="not a readable zip"):
        read_package(tmp_path / "a.zip")


def test_text_that_xml_cannot_hold() -> None:
    assert escape_text('a<b & "c"') == "a&lt;b &amp; &quot;c&quot;"
    for text in ("bell \a", "lone \ud800"):
        with pytest.raises(InputError, match="XML cannot hold"):
            escape_text(text)
