"""The house keeps its order: cards, modules, tests and generated pages belong together, and files stay small."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from polyad.claims.cards import Card, read_cards
from polyad.claims.citations import names_used
from polyad.claims.pages import generated_pages
from polyad.claims.runner import read_result

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "polyad"
MODULES = sorted(SOURCE.rglob("*.py"))
CARDS = read_cards()
LONGEST_FILE = 400

every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
every_card = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.slug)


def import_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def names_used_by_tests() -> frozenset[str]:
    """Every dotted name of Polyad that some test reaches, under the name of the module that defines it too."""
    used = set()
    for path in (ROOT / "tests").rglob("*.py"):
        used |= names_used(ast.parse(path.read_text(encoding="utf-8")))
    origin = {}
    for path in SOURCE.rglob("__init__.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                for item in node.names:
                    origin[f"{import_name(path)}.{item.asname or item.name}"] = f"{node.module}.{item.name}"
    for name in list(used):
        while name in origin and origin[name] not in used:
            name = origin[name]
            used.add(name)
    return frozenset(used)


@cache
def committed_texts() -> dict[str, str]:
    """Content of every text file under version control, by path."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: nothing tells which files are committed")
    texts = {}
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            content = path.read_bytes()
            if b"\0" not in content:
                texts[name] = content.decode("utf-8", "replace")
    return texts


# ---------------------------------------------------------------- modules


@every_module
def test_module_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE, "split it by idea"
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or not tree.body, "begin with a docstring: the idea in two sentences"


@every_module
def test_public_module_has_a_test(path: Path) -> None:
    relative = path.relative_to(SOURCE)
    if path.stem.startswith("_") or path.stem.endswith("_kernels"):
        pytest.skip("private, or compiled kernels: tested through the module that calls them")
    if relative.parts[0] == "claims" and len(relative.parts) > 2:
        pytest.skip("a claim: run by `polyad claims`")
    folder = ROOT / "tests" / relative.parent
    named = list(folder.glob(f"test_{path.stem}*.py"))
    if len(relative.parts) > 3:  # the parts of one idea in a folder of their own may share the folder's test
        named += folder.parent.glob(f"test_{folder.name}*.py")
    name = import_name(path)
    reached = any(used == name or used.startswith(name + ".") for used in names_used_by_tests())
    assert named or reached, f"write tests/{relative.parent}/test_{path.stem}.py"


@every_module
def test_public_definitions_have_docstrings(path: Path) -> None:
    missing = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            inner = node.body if isinstance(node, ast.ClassDef) else []
            for item in (node, *inner):
                if isinstance(item, (ast.FunctionDef, ast.ClassDef)) and not item.name.startswith("_"):
                    missing += [] if ast.get_docstring(item) else [item.name]
    assert missing == []


# ---------------------------------------------------------------- cards


@every_card
def test_card_names_an_existing_module_and_api(card: Card) -> None:
    module = import_module(card.import_name)
    assert [name for name in card.api if not hasattr(module, name)] == []


@every_card
def test_card_has_a_test(card: Card) -> None:
    place = ROOT / "tests" / card.package / Path(*card.module.split("."))
    assert list(place.parent.glob(f"test_{place.name}*.py")) or list(place.rglob("test_*.py"))


@every_card
def test_contracts_of_a_card_have_members(card: Card) -> None:
    from tests.contract_members import GENERATORS, SOLVERS

    members = {"solver": {item.name for item in SOLVERS}, "generator": {item.name for item in GENERATORS}}
    promised = {f"{card.import_name}.{name}": kind for name, kind in card.contracts.items()}
    assert [name for name, kind in promised.items() if name not in members[kind]] == []


@every_card
def test_result_of_a_card_is_of_that_card_and_whole(card: Card) -> None:
    path = ROOT / "docs" / "scoreboard" / f"{card.slug}.json"
    if not path.is_file():
        pytest.skip("not measured yet; the scoreboard says so")
    result = read_result(path)
    assert {name: result[name] for name in ("id", "slug", "claim")} == {
        "id": card.id,
        "slug": card.slug,
        "claim": card.claim,
    }
    assert [name for name in result["figures"] if not (path.parent / name).is_file()] == []


def test_scoreboard_holds_results_of_cards_only() -> None:
    results = {path.stem for path in (ROOT / "docs" / "scoreboard").glob("*.json")}
    assert results <= {card.slug for card in CARDS}


@pytest.mark.parametrize("page", ["systems.md", "scoreboard.md"])
def test_generated_page_is_current(page: str) -> None:
    pages = {path.name: (path, text) for path, text in generated_pages(ROOT / "docs").items()}
    path, text = pages[page]
    assert path.read_text(encoding="utf-8") == text, "run `python docs/generate.py` and commit the pages"


# ---------------------------------------------------------------- everything committed


def test_no_path_of_one_machine_is_committed() -> None:
    pattern = re.compile(r"(?<![\w.~$}-])/(work|tmp|root|home)/")
    found = [
        name for name, text in committed_texts().items() if pattern.search(text) and name != "tests/test_layout.py"
    ]
    assert found == []


def test_nothing_is_left_to_do_in_the_code() -> None:
    pattern = re.compile(r"\b(TODO|FIXME|XXX|raise NotImplementedError)\b")
    found = [name for name, text in committed_texts().items() if name.startswith("src/") and pattern.search(text)]
    assert found == []
