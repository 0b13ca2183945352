"""The generated pages say what cards and results say."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyad.claims import pages
from polyad.claims.cards import read_cards
from polyad.claims.runner import run_claim, write_result

TRIAL = Path(__file__).parent / "trial_cards"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder `docs` whose scoreboard holds the result of the stone's claim."""
    docs = tmp_path_factory.mktemp("docs")
    card = read_cards(folder=TRIAL)[0]
    write_result(card, *run_claim(card), docs / "scoreboard")
    return docs


def test_systems_page_has_a_row_for_each_card() -> None:
    page = pages.systems_page(read_cards(folder=TRIAL))
    assert "## physics" in page
    assert (
        "| S900 | `falling_stone` | `polyad.physics.stones` | Two New Sciences [third day] | mechanics, closed form |"
        in page
    )


def test_scoreboard_shows_numbers_verdict_figure_and_machine(measured: Path) -> None:
    page = pages.scoreboard_page(read_cards(folder=TRIAL), measured / "scoreboard")
    assert "| fall time [s] | 1.01 | 1.02 | 1.01 |" in page
    assert "| height [m] \\| as asked |" in page
    assert "- a stone of no size" in page
    assert "- Open: air" in page
    assert "![falling_stone](scoreboard/falling_stone.png)" in page
    assert (measured / "scoreboard" / "falling_stone.png").is_file()
    assert "`polyad claim falling_stone`, 20" in page


def test_unmeasured_card_says_so(tmp_path: Path) -> None:
    assert "Not measured yet." in pages.scoreboard_page(read_cards(folder=TRIAL), tmp_path)


def test_pages_are_written_only_when_they_change(tmp_path: Path) -> None:
    assert {path.name for path in pages.write_pages(tmp_path)} == {"systems.md", "scoreboard.md"}
    assert pages.write_pages(tmp_path) == []
    (tmp_path / "systems.md").write_text("by hand")
    assert [path.name for path in pages.write_pages(tmp_path)] == ["systems.md"]
