"""The guide 'Compress your tensor' word for word: its code, its commands, and what they are said to print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from polyad.cli import main

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "tensor.md"


def test_the_guide_is_true_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("skimage", reason="the guide's pictures come from scikit-image")
    pytest.importorskip("tifffile")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    printed, commands = "", 0
    for kind, block in re.findall(
        r"^```(\w+)\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        if kind == "python":
            exec(block, names)  # our own page, run as a reader would
        elif kind == "sh":
            for line in block.splitlines():
                program, *arguments = shlex.split(line)
                assert (program, main(arguments)) == ("polyad", 0), line
                printed, commands = capsys.readouterr().out, commands + 1
        else:
            said = [" ".join(line.split()) for line in printed.splitlines()]
            assert [line for line in block.splitlines() if " ".join(line.split()) not in said] == []
    assert commands >= 3
    assert all(path.stat().st_size > 1000 for path in (Path("field.png"), Path("faces.png"), Path("large.safetensors")))
