"""The verbs around the cards, on cards made for trial."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polyad.claims import cards, checkout, pages
from polyad.cli import main

TRIAL = Path(__file__).parents[1] / "claims" / "trial_cards"


@pytest.fixture
def _trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the cards made for trial exist."""
    monkeypatch.setattr(cards, "CLAIMS_FOLDER", TRIAL)


@pytest.mark.usefixtures("_trial")
def test_systems_as_table_and_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["systems"]) == 0
    assert "Two New Sciences [third day]" in capsys.readouterr().out
    assert main(["systems", "--json", "--tag", "mechanics", "--package", "physics"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [card["slug"] for card in listed] == ["falling_stone"]
    assert listed[0]["contracts"] == {"fall": "solver"}


@pytest.mark.usefixtures("_trial")
@pytest.mark.parametrize(
    "words", [["systems", "--tag", "heat"], ["systems", "--package", "optics"], ["claim", "stone"], ["cite", "no.py"]]
)
def test_what_is_unknown_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.usefixtures("_trial")
@pytest.mark.parametrize("words", [["claim", "falling_stone"], ["claims", "--package", "physics"]])
def test_claim_prints_and_writes(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--out", str(tmp_path / "results")]) == 0
    assert "falling_stone: holds" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == ["falling_stone-again.png", "falling_stone.json", "falling_stone.png"]


@pytest.mark.usefixtures("_trial")
def test_claim_in_a_checkout_renews_the_scoreboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(checkout, "find_checkout", lambda: tmp_path)
    assert main(["claim", "S900"]) == 0
    assert (tmp_path / "docs" / "scoreboard" / "falling_stone.json").is_file()
    assert "fall time [s]" in (tmp_path / "docs" / "scoreboard.md").read_text(encoding="utf-8")
    assert pages.write_pages(tmp_path / "docs") == []


@pytest.mark.usefixtures("_trial")
def test_claim_that_does_not_hold_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cards" / "physics"
    folder.mkdir(parents=True)
    text = (TRIAL / "physics" / "falling_stone.py").read_text(encoding="utf-8")
    (folder / "falling_stone.py").write_text(text.replace("holds=True", "holds=False"))
    monkeypatch.setattr(cards, "CLAIMS_FOLDER", tmp_path / "cards")
    assert main(["claim", "falling_stone", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "falling_stone.json").read_text(encoding="utf-8"))["holds"] is False


@pytest.mark.usefixtures("_trial")
def test_cite_prints_bibtex(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "script.py"
    script.write_text("from polyad.physics.stones import fall\n")
    assert main(["cite", str(script)]) == 0
    assert capsys.readouterr().out.startswith("@book{galilei1638,")
    script.write_text("import polyad\n")
    assert main(["cite", str(script)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "uses no system" in captured.err
