"""Zip archives: bombs, lies and damage are refused member by member."""

from __future__ import annotations

import io
import zipfile

import pytest

from polyad.errors import FileFormatError
from polyad.materials.lattice.io import archive
from polyad.materials.lattice.io.archive import read_members


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as handle:
        for name, content in members.items():
            handle.writestr(name, content)
    return buffer.getvalue()


def test_members_in_order():
    data = zipped({"b": "2", "a/": "", "a/c": "3", "__MACOSX/a": "x", ".d": "y"})
    assert list(read_members("x.zip", data)) == [("b", b"2"), ("a/c", b"3")]


def test_bomb_is_refused_without_unpacking_it():
    data = zipped({"zeros": b"\0" * 2**26, "good": "1"})
    (_, bomb), (_, good) = read_members("x.zip", data)
    assert isinstance(bomb, FileFormatError)
    assert "refused" in str(bomb)
    assert good == b"1"


def test_size_in_the_directory_is_not_trusted():
    data = bytearray(zipped({"zeros": b"\0" * 2**24}))
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = (5).to_bytes(4, "little")  # uncompressed size
    ((_, member),) = read_members("x.zip", bytes(data))
    assert isinstance(member, FileFormatError) or len(member) == 5


def test_total_is_limited(monkeypatch):
    monkeypatch.setattr(archive, "MAXIMUM_TOTAL", 10)
    with pytest.raises(FileFormatError, match="split the archive"):
        list(read_members("x.zip", zipped({"a": "12345678", "b": "12345678"})))
    monkeypatch.setattr(archive, "MAXIMUM_MEMBERS", 1)
    with pytest.raises(FileFormatError, match="members"):
        list(read_members("x.zip", zipped({"a": "1", "b": "2"})))


def test_damage_is_an_error_of_its_member():
    data = bytearray(zipped({"a": "abcdefghijklmnopqrstuvwxyz"}, zipfile.ZIP_STORED))
    data[40] ^= 0xFF
    ((_, member),) = read_members("x.zip", bytes(data))
    assert isinstance(member, FileFormatError)
    assert "x.zip!a" in str(member)


def test_encrypted():
    data = bytearray(zipped({"a": "1"}, zipfile.ZIP_STORED))
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    ((_, member),) = read_members("x.zip", bytes(data))
    assert "encrypted" in str(member)


def test_no_archive():
    with pytest.raises(FileFormatError, match="no readable zip"):
        list(read_members("x.zip", b"PK\x03\x04"))
