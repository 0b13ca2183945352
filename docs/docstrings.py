"""Docstrings of Polyad are plain text, equations included; this turns them into what Sphinx reads.

Names in single backticks become literals, stray `*`, `|` and trailing underscores of formulas are escaped, and indented
blocks (equations, code) outside the sections "Args:", "Returns:", ... become literal blocks.
"""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

_SECTION = re.compile(r"(Args|Arguments|Attributes|Returns|Yields|Raises|Note|Notes|Warns|Example|Examples):\s*$")
_BULLET = re.compile(r"\s*([-*+]|\(?\d+[.)]|\(?[a-z]\))\s")
_CODE = re.compile(r"(``[^`]+``|`[^`]+`)")
_STAR_BULLET = re.compile(r"(?m)^(\s*)\*(?=\s)")
_EMPHASIS = re.compile(r"(?<![\w*])\*([A-Za-z][^*\n]*[A-Za-z])\*(?![\w*])")


def connect(app: Any) -> dict[str, bool]:
    """Sphinx's entry point of an extension."""
    app.connect("autodoc-process-docstring", _process, priority=400)  # before napoleon reads the sections
    return {"parallel_read_safe": True}


def to_restructured_text(lines: list[str]) -> list[str]:
    """The docstring's lines as reStructuredText, sections left for napoleon."""
    result: list[str] = []
    paragraph: list[str] = []

    def end_paragraph() -> None:
        result.extend(_escape("\n".join(paragraph)).split("\n") if paragraph else [])
        paragraph.clear()

    in_section = in_block = in_item = False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        starts_item = bool(_BULLET.match(line))
        if not line.strip():
            end_paragraph()
            result.append("")
        elif in_block and indent > 0:
            result.append(line)
        elif indent == 0:
            if in_block and result[-1] != "":
                result.append("")
            in_block = False
            in_section = bool(_SECTION.match(line))
            in_item = starts_item or (in_item and bool(paragraph))
            paragraph.append(line)
        elif in_section or starts_item or (in_item and (indent < 4 or paragraph)):
            paragraph.append(line)
        else:
            end_paragraph()
            result += ["", "::", "", line]
            in_block = True
    end_paragraph()
    return result


def _escape(paragraph: str) -> str:
    """Literals for names in backticks, backslashes before what only a formula means."""
    parts = _CODE.split(paragraph)
    for number, part in enumerate(parts):
        if number % 2:
            # from the s of a plural or a superscript, say
            set_off = "\\ " if re.match(r"[\w^]", parts[number + 1]) else ""
            parts[number] = f"``{part.strip('`')}``{set_off}"
        else:
            marked = _STAR_BULLET.sub("\\1\0", _EMPHASIS.sub("\0\\1\0", part))
            escaped = re.sub(r"_(?=\W|$)", r"\\_", re.sub(r"([*|\\])", r"\\\1", marked))
            parts[number] = escaped.replace("\0", "*")
    return "".join(parts)


def _process(_app: Any, what: str, _name: str, item: Any, _options: Any, lines: list[str]) -> None:
    text = to_restructured_text(lines)
    if what == "module" and isinstance(item, ModuleType) and getattr(item, "__all__", None):
        names = ", ".join(f"``{name}``" for name in item.__all__)
        text += ["", f"Public names: {names}.", ""]
    lines[:] = text
