"""Load, scan and save: format by content, whole files or none, errors of one line."""

from __future__ import annotations

import errno
import os
import zipfile

import pytest
import torch

from polyad.errors import FileFormatError, InputError
from polyad.materials.lattice.io import load, save, scan
from polyad.materials.lattice.nets.named import named_cell
from polyad.materials.lattice.records import LatticeRecord

CGD = "CRYSTAL\nNAME {name}\nGROUP {group}\nCELL 1 1 1 90 90 90\nNODE 1 6 0 0 0\nEDGE 0 0 0 1 0 0\nEND\n"


def records():
    return [LatticeRecord("sc", named_cell("simple_cubic", density=d), d) for d in (0.01, 0.02)]


@pytest.mark.parametrize("ending", [".lat", ".json"])
def test_format_is_found_by_content(ending, tmp_path):
    save(records(), tmp_path / f"cells{ending}")
    os.rename(tmp_path / f"cells{ending}", tmp_path / "cells.xyz")
    assert [r.density for r in load(tmp_path / "cells.xyz")] == [0.01, 0.02]


def test_densities_for_nets(tmp_path):
    path = tmp_path / "net"
    path.write_text(CGD.format(name="pcu", group="Pm-3m"))
    assert [r.density for r in load(path, density=(0.01, 0.1))] == [0.01, 0.1]
    assert load(path)[0].density == 0.01
    with pytest.raises(InputError, match="density"):
        load(path, density=-1)


def test_errors_are_raised_or_skipped(tmp_path):
    path = tmp_path / "nets.cgd"
    path.write_text(CGD.format(name="bad", group="Px") + CGD.format(name="pcu", group="Pm-3m"))
    with pytest.raises(FileFormatError, match=r"nets\.cgd:3: space group"):
        load(path)
    assert [r.name for r in load(path, on_error="skip")] == ["pcu"]
    assert [(label, isinstance(found, list)) for label, found in scan(path)] == [("bad", False), ("pcu", True)]
    path.write_text(CGD.format(name="bad", group="Px"))
    with pytest.raises(FileFormatError, match="space group"):
        load(path, on_error="skip")
    with pytest.raises(InputError, match="on_error"):
        load(path, on_error="ignore")


def test_archives(tmp_path):
    path = tmp_path / "nets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/pcu.cgd", CGD.format(name="pcu", group="Pm-3m"))
        archive.writestr("b.cgd", CGD.format(name="x", group="Pm-3m") + CGD.format(name="y", group="Pq"))
        archive.writestr("readme.txt", "hello")
        archive.writestr(".hidden", "hello")
        archive.writestr("inner.zip", b"PK\x03\x04")
    found = dict(scan(path))
    assert list(found) == ["a/pcu.cgd", "b.cgd: x", "b.cgd: y", "readme.txt", "inner.zip"]
    assert found["a/pcu.cgd"][0].name == "pcu"
    assert "nets.zip!b.cgd:10: space group 'Pq'" in str(found["b.cgd: y"])
    assert "no known format" in str(found["readme.txt"])
    assert "archive within an archive" in str(found["inner.zip"])
    assert len(load(path, on_error="skip")) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\x00\x01\x02", "binary"),
        (b"hello world\n", "no known format"),
        (b"PK\x03\x04 not really", "no readable zip"),
        (b"{", "no valid JSON"),
    ],
)
def test_unknown_content(content, message, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_paths(tmp_path):
    with pytest.raises(FileFormatError, match="cannot be read"):
        load(tmp_path / "absent.lat")
    with pytest.raises(FileFormatError, match="Parquet"):
        load(tmp_path)
    with pytest.raises(FileFormatError, match="file name"):
        load("a\0b")


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "cells.json"
    path.write_text("old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cells\.json"):
        save(records(), path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["cells.json"]
    with pytest.raises(InputError):
        save(records(), tmp_path / "new.lat")
    assert not (tmp_path / "new.lat").exists()


def test_save_refuses(tmp_path):
    with pytest.raises(InputError, match="unknown ending"):
        save(records(), tmp_path / "cells.txt")
    with pytest.raises(InputError, match="no records"):
        save([], tmp_path / "cells.lat")
    with pytest.raises(InputError):
        save(records(), tmp_path / "absent" / "cells.lat")
    assert list(tmp_path.iterdir()) == []


def test_save_does_not_change_records(tmp_path):
    record = records()[0]
    before = record.lattice.positions.clone()
    save(record, tmp_path / "one.lat")
    assert torch.equal(record.lattice.positions, before)
