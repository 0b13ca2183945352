"""Text of files: encodings, numbers, whole numbers, and complaints that name file and line."""

import pytest

from polyad.errors import FileFormatError
from polyad.materials.lattice.io.text import TextLines, decode

LINES = TextLines("cells.lat", "first\r\nsecond\n\nfourth")


def test_lines_of_any_ending():
    assert LINES.lines == ["first", "second", "", "fourth"]


def test_numbers_with_commas_blanks_and_fractions():
    assert LINES.numbers("1, 2.5\t-3e-2 1/4", 0) == [1.0, 2.5, -0.03, 0.25]
    assert LINES.integers("3 -4 1.0", 0) == [3, -4, 1]
    assert LINES.integers("0.99999 -2.00001", 0, tolerance=1e-4) == [1, -2]
    assert LINES.integer("7", 0) == 7


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: LINES.number("x1", 3), "'x1' is no number"),
        (lambda: LINES.number("1/0", 3), "no number"),
        (lambda: LINES.number("nan", 3), "not finite"),
        (lambda: LINES.number("1e999", 3), "not finite"),
        (lambda: LINES.numbers("1 2", 3, count=3, what="coordinates"), "expected 3 coordinates, found 2"),
        (lambda: LINES.integers("1.5", 3), "1.5 is no whole number"),
        (lambda: LINES.integers("3e9", 3), "no whole number"),
        (lambda: LINES.fail("is odd", 3), "is odd"),
    ],
)
def test_complaints_name_file_and_line(read, message):
    with pytest.raises(FileFormatError, match=message) as caught:
        read()
    assert str(caught.value).startswith("cells.lat:4: ")
    assert caught.value.line == 4


def test_a_long_word_is_cut_in_the_complaint():
    with pytest.raises(FileFormatError) as caught:
        LINES.number("9x" * 500, 0)
    assert len(str(caught.value)) < 120


def test_encodings():
    assert decode("a", "ångström".encode()) == "ångström"
    assert decode("a", b"\xef\xbb\xbfNode") == "Node"
    assert decode("a", "ångström".encode("latin-1")) == "ångström"
    with pytest.raises(FileFormatError, match="binary file"):
        decode("a", b"PK\x03\x04\0\0")
