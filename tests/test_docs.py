"""The documentation is true: its code runs, and docstrings become what they mean."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "```python" in path.read_text(encoding="utf-8") and "_build" not in path.parts
]


OPTIONAL = ("ase", "skimage", "tifffile")
"""Packages that a page asks its reader to install."""


def python_blocks(text: str) -> list[tuple[int, str]]:
    """Every fenced block of Python with the line it starts on."""
    blocks = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: block.start(1)].count("\n") + 1, block[1]) for block in blocks]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_of_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks(page.read_text(encoding="utf-8"))
    assert blocks
    names: dict[str, object] = {"__name__": "page"}
    for line, block in blocks:
        # as many empty lines as precede the block, so that a traceback names the page's line
        try:
            exec(compile("\n" * (line - 1) + block, str(page), "exec"), names)  # our own pages, run as a reader would
        except ModuleNotFoundError as error:
            if error.name not in OPTIONAL:
                raise
            pytest.skip(f"line {line} and what follows needs {error.name}")


def test_blocks_are_found_with_their_lines() -> None:
    text = "a\n```python\nx = 1\n```\n```sh\nls\n```\n```python\ny = 2\nz = 3\n```\n"
    assert python_blocks(text) == [(3, "x = 1\n"), (9, "y = 2\nz = 3\n")]


@pytest.fixture(scope="module")
def docstrings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("polyad_docstrings", ROOT / "docs" / "docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`name`, `other`s and ``more``", "``name``, ``other``\\ s and ``more``"),
        ("rho = |det A| * 2 u_ v_j", "rho = \\|det A\\| \\* 2 u\\_ v_j"),
        ("*Deviations*: `a * b`", "*Deviations*: ``a * b``"),
        ("see `spread\nover` lines", "see ``spread\nover`` lines"),
        ("energy:\n\n    W = A'B |x|\n\nends", "energy:\n\n\n::\n\n    W = A'B |x|\n\nends"),
        ("energy:\n    W = x_\nends", "energy:\n\n::\n\n    W = x_\n\nends"),
        ("- one\n  more\n- two", "- one\n  more\n- two"),
        ("Args:\n    x: of |x|\n\nAfter\n\n    y = 1", "Args:\n    x: of \\|x\\|\n\nAfter\n\n\n::\n\n    y = 1"),
        ("* star\n* bullet", "* star\n* bullet"),
        ("back\\slash", "back\\\\slash"),
    ],
)
def test_docstring_becomes_restructured_text(text: str, expected: str, docstrings: ModuleType) -> None:
    assert "\n".join(docstrings.to_restructured_text(text.split("\n"))) == expected
