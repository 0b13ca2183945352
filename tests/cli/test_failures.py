"""What is printed is one line whatever it is made of; what is a bug is not dressed up."""

from __future__ import annotations

import io

import pytest

from polyad.cli.failures import describe_failure, print_line, show_warning
from polyad.errors import InputError


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyError("radius"), ValueError("not ours"), AssertionError()])
def test_bug_is_not_described(error: Exception) -> None:
    assert describe_failure(error) is None


def test_both_paths_of_a_system_error_are_named() -> None:
    failure = describe_failure(FileNotFoundError(2, "No such file or directory", "a.lat", None, "b.lat"))
    assert failure is not None
    assert failure.text == "a.lat -> b.lat: no such file or directory; check the path"
    assert failure.code == 2


def test_line_fits_the_encoding_of_the_stream() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_line("r\u00f6d\udcff \u2028\x00\r\nend", stream=stream)
    assert raw.getvalue() == b"polyad: r\\xf6d\\udcff \\x00 end\n"


def test_failure_and_warning_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    failure = describe_failure(InputError("bad"))
    assert failure is not None
    assert failure.print() == 2
    show_warning(UserWarning("careful"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "polyad: error: bad\npolyad: warning: careful\n"
