"""The guide 'Which optimiser?' word for word, and its tables, which are those of the races that are kept."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from polyad.cli import main
from polyad.optim.registry import OPTIMIZERS

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDE = DOCS / "optim.md"


@pytest.mark.slow
def test_the_guide_is_true_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    printed = ""
    for kind, block in re.findall(
        r"^```(\w+)\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        if kind == "python":
            exec(block, names)  # our own page, run as a reader would
            continue
        for line in block.splitlines():
            program, *arguments = shlex.split(line)
            assert (program, main(arguments)) == ("polyad", 0), line
            printed += capsys.readouterr().out
    assert printed.count("adamw") >= 3
    assert Path("race/race.png").stat().st_size > 10_000
    assert Path("race/race.json").is_file()


def test_optimisers_and_tables_of_the_guide_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    import races

    text = GUIDE.read_text(encoding="utf-8")
    assert f"{races.BEGIN}\n{races.tables()}\n{races.END}" in text
    sys.modules.pop("races")
    advice = text[text.index("## Where to begin") :]
    named = set(re.findall(r"`([a-z0-9-]+)`", advice))
    assert named <= set(OPTIMIZERS)
    assert len(named) >= 4
