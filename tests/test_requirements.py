"""Every requirement is a range in pyproject.toml and one exact pin in constraints.txt that lies inside it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PIN_LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS = dict(line.split("==") for line in PIN_LINES)


def requirements() -> list[str]:
    """All requirements of the project: build, run time, extras and dependency groups."""
    tables = [PROJECT["build-system"]["requires"], PROJECT["project"]["dependencies"]]
    tables += PROJECT["project"]["optional-dependencies"].values()
    tables += PROJECT["dependency-groups"].values()
    return sorted({requirement for table in tables for requirement in table})


def test_constraints_are_exact_pins_with_torch_first() -> None:
    assert PIN_LINES[0] == "torch==2.13.0"
    assert [line for line in PIN_LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    names = [canonicalize_name(line.split("==")[0]) for line in PIN_LINES]
    assert len(names) == len(set(names))
    assert "pip" in names, "the set-up upgrades pip itself, so pip is pinned too"


@pytest.mark.parametrize("requirement", requirements())
def test_requirement_is_pinned_within_its_range(requirement: str) -> None:
    wanted = Requirement(requirement)
    pins = {canonicalize_name(name): version for name, version in PINS.items()}
    version = pins.get(canonicalize_name(wanted.name))
    assert version is not None, f"{wanted.name} has no pin: install it and add the line to constraints.txt"
    assert wanted.specifier.contains(version, prereleases=True)


@pytest.mark.parametrize("requirement", PROJECT["project"]["dependencies"])
def test_run_time_requirement_is_a_range(requirement: str) -> None:
    """An exact pin here would keep Polyad from being installed beside another library."""
    assert {part.operator for part in Requirement(requirement).specifier} <= {">=", "<", "!="}


def test_pins_of_what_a_pin_needs_exist() -> None:
    """What is installed here of the pinned packages needs only pinned packages: the set-up resolves to pins alone."""
    from importlib.metadata import PackageNotFoundError, requires

    pins = {canonicalize_name(name): name for name in PINS}
    missing = set()
    for name in pins:
        try:
            needed = requires(name) or []
        except PackageNotFoundError:
            continue
        for text in needed:
            requirement = Requirement(text)
            if requirement.name.startswith(("nvidia", "cuda", "triton")):
                continue  # torch built for a GPU names its own; the pins are those of any build
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and canonicalize_name(requirement.name) not in pins:
                missing.add(f"{name} needs {requirement.name}")
    assert missing == set()
