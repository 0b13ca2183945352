"""A file is whole or absent: success, exceptions, full disks, links, permissions."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from polyad.errors import FileFormatError, InputError
from polyad.files import atomic_path, atomic_write, read_bytes


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_content_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with atomic_write(target) as handle:
        handle.write(b"first half ")
        handle.flush()
        assert not target.exists()
        handle.write(b"second half")
    assert target.read_bytes() == b"first half second half"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def interrupted() -> None:
        with atomic_write(target) as handle:
            handle.write(b"new")
            raise failure

    with pytest.raises(failure):
        interrupted()
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_path_keeps_the_suffix_for_libraries_that_look_at_it(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.parquet") as path:
        assert path.suffix == ".parquet"
        assert path.parent == tmp_path.resolve()
        path.write_text("table")
    assert (tmp_path / "a.parquet").read_text() == "table"
    assert names(tmp_path) == ["a.parquet"]


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """A real write error: the kernel refuses to let this child's files grow beyond 4 kB."""
    script = (
        "import resource, signal, sys\n"
        "from polyad.files import atomic_write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "with atomic_write(sys.argv[1]) as handle:\n"
        "    handle.write(bytes(100_000))\n"
    )
    target = tmp_path / "big.bin"
    done = subprocess.run([sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("polyad.errors.InputError")
    assert "big.bin: cannot be written" in last
    assert names(tmp_path) == []


def test_no_space_left_in_the_body(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No space left.*free some space"), atomic_path(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_other_operating_system_errors_of_the_body_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.bin"):
        (tmp_path / "absent").read_text()
    assert names(tmp_path) == []


def test_targets_that_cannot_be_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"), atomic_write(tmp_path):
        pass
    with pytest.raises(InputError, match="does not exist; create it"), atomic_write(tmp_path / "no" / "a.bin"):
        pass
    with pytest.raises(InputError, match="not a regular file"), atomic_write("/dev/null"):
        pass
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real.bin", tmp_path / "link.bin"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    with atomic_write(link) as handle:
        handle.write(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_new_files_obey_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a.bin") as handle:
            handle.write(b"x")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


def test_kill_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    script = (
        "import os, signal, sys\n"
        "from polyad.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as handle:\n"
        "    handle.write(bytes(50_000))\n"
        "    handle.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"


def test_reading_is_whole_or_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"0123456789")
    assert read_bytes(tmp_path / "a.bin", limit=10) == b"0123456789"
    for name, options, message in (
        ("a.bin", {"limit": 9}, "holds 10 bytes; at most 9"),
        ("b.bin", {}, "cannot be read \\(No such file"),
        ("", {}, "not a regular file"),
        ("a\0b", {}, "cannot be read"),
    ):
        with pytest.raises(FileFormatError, match=message):
            read_bytes(tmp_path / name, **options)
    with pytest.raises(FileFormatError, match="not a regular file"):
        read_bytes("/dev/zero")
