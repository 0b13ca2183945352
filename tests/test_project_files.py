"""What the files around the code say agrees with the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from polyad import __version__
from polyad.cli import VERBS

ROOT = Path(__file__).resolve().parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_version_is_the_same_everywhere() -> None:
    assert re.search(rf"^version: {re.escape(__version__)}$", read("CITATION.cff"), re.MULTILINE)
    changes = re.findall(r"^## \[(.+?)\]", read("CHANGELOG.md"), re.MULTILINE)
    assert changes[0] in ("Unreleased", __version__)


def test_floors_in_the_guide_are_those_that_are_checked() -> None:
    contract = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]
    checked = [re.sub(r"[()]", "", layer) for layer in contract["layers"]]
    shown = re.search(r"lists the floors[^#]*?\n\n((?:    [^\n]+\n)+)", read("CONTRIBUTING.md"))
    assert shown is not None
    assert [line.strip() for line in shown[1].splitlines()] == checked


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/start.md", "docs/index.md"])
def test_links_to_files_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", read(name))
    assert [target for target in targets if not (ROOT / name).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/start.md"])
def test_commands_in_the_text_exist(name: str) -> None:
    verbs = set(re.findall(r"\bpolyad ([a-z]+)\b", read(name))) - {"lattice"}
    targets = set(re.findall(r"^`?make ([a-z]+)\b|`make ([a-z]+)`", read(name), re.MULTILINE))
    rules = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    assert verbs <= set(VERBS)
    assert {first or second for first, second in targets} <= rules
