"""Results go to the docs of a checkout, and nowhere near an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

import polyad
from polyad.claims.checkout import default_output, find_checkout

ROOT = Path(__file__).resolve().parents[2]


def test_checkout_is_found() -> None:
    assert find_checkout() == ROOT
    assert default_output() == ROOT / "docs" / "scoreboard"


@pytest.mark.parametrize("project", [None, "[project]\nname = 'other'\n", "not toml ["])
def test_installed_package_is_no_checkout(project: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if project is not None:
        (tmp_path / "pyproject.toml").write_text(project)
    monkeypatch.setattr(polyad, "__file__", str(tmp_path / "lib" / "polyad" / "__init__.py"))
    assert find_checkout() is None
    assert default_output() == Path("polyad-claims")
