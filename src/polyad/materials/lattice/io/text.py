"""Lines of a text file, read with care: every number is checked, every complaint names file and line."""

from __future__ import annotations

import math
from typing import NoReturn, final

from polyad.errors import FileFormatError


@final
class TextLines:
    """The lines of one text, with the name under which it is reported.

    Args:
        name: path, or archive and member.
        text: the content.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.lines = text.splitlines()

    def fail(self, message: str, line: int | None = None) -> NoReturn:
        """Raise FileFormatError; `line` counts from 0."""
        raise FileFormatError(self.name, message, line=None if line is None else line + 1)

    def numbers(self, text: str, line: int, *, count: int | None = None, what: str = "numbers") -> list[float]:
        """Finite numbers separated by blanks or commas; fractions such as 1/3 are understood.

        Raises:
            FileFormatError: something else, or not `count` of them.
        """
        words = text.replace(",", " ").split()
        if count is not None and len(words) != count:
            self.fail(f"expected {count} {what}, found {len(words)}", line)
        return [self.number(word, line) for word in words]

    def number(self, word: str, line: int) -> float:
        """One finite number, possibly written as a fraction."""
        top, slash, bottom = word.partition("/")
        try:
            value = float(top) / float(bottom) if slash else float(top)
        except (ValueError, ZeroDivisionError):
            self.fail(f"{word[:40]!r} is no number", line)
        if not math.isfinite(value):
            self.fail(f"{word[:40]!r} is not finite", line)
        return value

    def integers(self, text: str, line: int, *, tolerance: float = 0.0) -> list[int]:
        """Whole numbers (also written as 1.0, or -0.99999 where a tolerance is given), below 2**31 in size."""
        return [self._whole(value, line, tolerance) for value in self.numbers(text, line)]

    def integer(self, word: str, line: int) -> int:
        """One whole number."""
        return self._whole(self.number(word, line), line, 0.0)

    def _whole(self, value: float, line: int, tolerance: float) -> int:
        if abs(value) >= 2**31 or abs(value - round(value)) > tolerance:
            self.fail(f"{value:g} is no whole number", line)
        return round(value)


def decode(name: str, data: bytes) -> str:
    """UTF-8 text (Latin-1 where that fails); binary content is refused.

    Raises:
        FileFormatError: NUL bytes.
    """
    if b"\0" in data:
        raise FileFormatError(name, "is a binary file of no known format; see the list of formats in the lattice guide")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
