"""Cards are read without importing, and a malformed one is named with file, line and field."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyad.claims.cards import CLAIMS_FOLDER, find_card, read_card, read_cards
from polyad.errors import FileFormatError, InputError

TRIAL = Path(__file__).parent / "trial_cards"
STONE = TRIAL / "physics" / "falling_stone.py"


@pytest.fixture
def write_card(tmp_path: Path) -> Callable[..., Path]:
    """Writes the stone's card with some fields changed (None removes one) and returns its path."""

    def write(slug: str = "falling_stone", folder: str = "physics", run: str = "report", **changes: Any) -> Path:
        fields = read_card(STONE).as_dict() | {"slug": slug} | changes
        fields = {name: value for name, value in fields.items() if value is not None}
        path = tmp_path / folder / f"{slug}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# a comment\nCARD = {fields!r}\n\n\ndef run({run}):\n    raise SystemExit('was run')\n")
        return path

    return write


def test_card_has_the_fields_as_written() -> None:
    card = read_card(STONE)
    assert (card.id, card.slug, card.package, card.module) == ("S900", "falling_stone", "physics", "stones")
    assert card.import_name == "polyad.physics.stones"
    assert card.api == ("fall_time", "fall")
    assert card.published == {"height": 5.0}
    assert card.path == STONE
    assert card.as_dict()["api"] == ["fall_time", "fall"]
    assert "path" not in card.as_dict()


def test_reading_runs_nothing(write_card: Callable[..., Path]) -> None:
    path = write_card()
    path.write_text(path.read_text() + "\nraise SystemExit('was imported')\n")
    assert read_card(path).id == "S900"


def test_listing_all_cards_imports_no_torch() -> None:
    code = (
        "import sys\nfrom polyad.cli import main\nassert main(['systems', '--json']) == 0\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules, 'heavy import'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": "S1"}, "three digits"),
        ({"title": " "}, "title must be text"),
        ({"claim": None}, "lacks ['claim']"),
        ({"colour": "red"}, "unknown fields ['colour']"),
        ({"package": "optics"}, "must be the file's folder, 'physics'"),
        ({"module": "a/b"}, "dotted name"),
        ({"api": "fall"}, "api must be a list"),
        ({"api": []}, "api is empty"),
        ({"api": ["fall", "fall"]}, "twice"),
        ({"api": ["fall time"]}, "names of the module"),
        ({"bibtex": "Galilei 1638"}, "bibtex must be one entry"),
        ({"minutes": 0}, "positive number"),
        ({"minutes": True}, "positive number"),
        ({"published": [1]}, "published must be a dict"),
        ({"contracts": {"throw": "solver"}}, "names in api"),
        ({"contracts": {"fall": "poem"}}, "unknown kinds ['poem']"),
        ({"run": "report, out"}, "must take report alone"),
    ],
)
def test_malformed_card_is_refused(changes: dict[str, Any], reason: str, write_card: Callable[..., Path]) -> None:
    path = write_card(**changes)
    with pytest.raises(FileFormatError) as caught:
        read_card(path)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\n", "no CARD"),
        ("CARD = dict(id='S001')\n", "literals"),
        ("CARD = [1]\n", "must be a dict"),
        ("CARD = {\n", "not a Python file"),
        ("CARD = '\0'\n", "not a Python file"),
    ],
)
def test_file_without_a_card_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=reason):
        read_card(path)


def test_card_without_experiment_is_refused(write_card: Callable[..., Path]) -> None:
    path = write_card()
    path.write_text(path.read_text().replace("def run", "def walk"))
    with pytest.raises(FileFormatError, match="no function run"):
        read_card(path)


def test_cards_come_in_the_order_of_ids_and_are_filtered(write_card: Callable[..., Path], tmp_path: Path) -> None:
    write_card("zebra", id="S001", tags=["mechanics"])
    write_card("apple", "optics", package="optics", id="S002", tags=["light"])
    write_card("stone", id="S003", tags=["mechanics", "closed form"])

    def ids(**options: Any) -> list[str]:
        return [card.id for card in read_cards(folder=tmp_path, **options)]

    assert ids() == ["S001", "S002", "S003"]
    assert ids(package="optics") == ["S002"]
    assert ids(tags=["mechanics"]) == ["S001", "S003"]
    assert ids(tags=["mechanics", "closed form"]) == ["S003"]
    with pytest.raises(InputError, match=r"no package 'optic'; did you mean optics\?"):
        ids(package="optic")
    with pytest.raises(InputError, match="no tag 'heat'"):
        ids(tags=["heat"])


@pytest.mark.parametrize("same", ["id", "slug"])
def test_id_and_slug_are_unique(same: str, write_card: Callable[..., Path], tmp_path: Path) -> None:
    write_card("stone", id="S001")
    write_card(
        "stone" if same == "slug" else "brick", "optics", package="optics", id="S001" if same == "id" else "S002"
    )
    with pytest.raises(FileFormatError, match=r"is taken by (stone|brick)\.py"):
        read_cards(folder=tmp_path)


def test_find_by_slug_or_id_and_suggest() -> None:
    assert find_card("falling_stone", folder=TRIAL).id == "S900"
    assert find_card("S900", folder=TRIAL).slug == "falling_stone"
    with pytest.raises(InputError, match=r"no system 'faling_stone'; did you mean falling_stone\?"):
        find_card("faling_stone", folder=TRIAL)


def test_every_card_of_polyad_is_well_formed() -> None:
    assert [card.path.parent.parent for card in read_cards()] == [CLAIMS_FOLDER] * len(read_cards())
