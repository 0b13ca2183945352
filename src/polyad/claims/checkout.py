"""Where results go: into the docs of a checkout of Polyad, or into a folder of the user's."""

from __future__ import annotations

import tomllib
from pathlib import Path

import polyad


def find_checkout() -> Path | None:
    """Root of the checkout that this package is imported from, or None for an installed package."""
    root = Path(polyad.__file__).resolve().parents[2]
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return None
    return root if project.get("project", {}).get("name") == "polyad" else None


def default_output() -> Path:
    """`docs/scoreboard` of the checkout; elsewhere `polyad-claims` in the current folder."""
    root = find_checkout()
    return root / "docs" / "scoreboard" if root is not None else Path("polyad-claims")
