"""Reading what a command printed."""

from __future__ import annotations


def row(text: str, label: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.strip().startswith(label)]
    return line.split()
