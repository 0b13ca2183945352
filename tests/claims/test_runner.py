"""A claim is run, shown and written whole."""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from polyad import __version__
from polyad.claims.cards import read_card
from polyad.claims.report import Report
from polyad.claims.runner import RESULT_FIELDS, read_result, result_table, run_claim, summary_lines, write_result
from polyad.errors import FileFormatError, InputError

STONE = Path(__file__).parent / "trial_cards" / "physics" / "falling_stone.py"


@pytest.fixture(scope="module")
def outcome() -> tuple[Report, dict[str, Any]]:
    return run_claim(read_card(STONE))


def test_result_says_what_was_claimed_and_measured(outcome: tuple[Report, dict[str, Any]]) -> None:
    result = outcome[1]
    assert set(result) == set(RESULT_FIELDS)
    assert (result["id"], result["slug"], result["holds"]) == ("S900", "falling_stone", True)
    assert result["rows"][0]["ours"] == pytest.approx(1.00964, abs=1e-5)
    assert result["rows"][0]["ratio"] == pytest.approx(1.00964 / result["rows"][0]["baseline"], abs=1e-5)
    assert result["rows"][1] == {
        "quantity": "steps", "paper": "none", "baseline": 102, "ours": 0, "ratio": 0.0, "holds": True,
    }  # fmt: skip
    assert (result["notes"], result["open"]) == (["a stone of no size"], ["air"])
    assert result["figures"] == ["falling_stone.png", "falling_stone-again.png"]
    assert result["versions"]["polyad"] == __version__
    assert result["machine"]["cores"] >= 1
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(result["date"])
    assert datetime.timedelta(0) <= age + datetime.timedelta(seconds=1) < datetime.timedelta(minutes=10)
    assert 0 <= result["seconds"] < 60


def test_progress_is_passed_on() -> None:
    calls: list[tuple[int, int]] = []
    run_claim(read_card(STONE), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (5, 5)


def test_written_result_is_read_back(outcome: tuple[Report, dict[str, Any]], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    written = write_result(read_card(STONE), *outcome, folder)
    assert sorted(folder.iterdir()) == sorted(written)
    assert read_result(folder / "falling_stone.json") == json.loads(json.dumps(outcome[1]))
    for name in outcome[1]["figures"]:
        assert (folder / name).read_bytes().startswith(b"\x89PNG\r\n")


def test_failing_figure_leaves_no_result(outcome: tuple[Report, dict[str, Any]], tmp_path: Path) -> None:
    class Broken:
        def savefig(self, *_: object, **__: object) -> None:
            raise RuntimeError("no ink")

    report = Report()
    report.figure(Broken())
    with pytest.raises(RuntimeError, match="no ink"):
        write_result(read_card(STONE), report, outcome[1], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_claim_that_reports_nothing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "physics" / "falling_stone.py"
    path.parent.mkdir()
    path.write_text(STONE.read_text(encoding="utf-8").split("def run")[0] + "def run(report):\n    pass\n")
    with pytest.raises(InputError, match="added no row"):
        run_claim(read_card(path))


def test_table_and_summary_show_every_number_and_verdict(outcome: tuple[Report, dict[str, Any]]) -> None:
    result = json.loads(json.dumps(outcome[1]))
    result["rows"][1]["holds"], result["holds"] = False, False
    stream = io.StringIO()
    Console(file=stream, width=200).print(result_table(result))
    shown = stream.getvalue()
    for text in ("Two New Sciences [third day]", "fall time [s]", "1.01", "none", "102", "yes", "no"):
        assert text in shown
    assert list(summary_lines(result))[:2] == ["note: a stone of no size", "open: air"]
    assert "falling_stone: does not hold here" in summary_lines(result)[-1]


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"id": "S900"}', "\udcff"])
def test_result_that_is_not_whole_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FileFormatError, match="run the claim again"):
        read_result(path)
