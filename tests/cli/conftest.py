"""What the tests of `polyad lattice` share: a way to run verbs, and a small catalogue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from polyad.cli import main

Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `polyad lattice ...` in an empty folder and returns what it printed; any failure fails the test."""
    monkeypatch.chdir(tmp_path)

    def words(*arguments: object, code: int = 0) -> str:
        result = main(["lattice", *map(str, arguments)])
        captured = capsys.readouterr()
        assert result == code, captured.err
        return captured.out if code == 0 else captured.err

    return words


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Two cells at two densities; of the octet one tensor is right and one is 5 % too stiff."""
    from polyad.materials.lattice import LatticeRecord, effective_stiffness, named_cell, save

    records = []
    for name, factors in (("octet", (1.0, 1.05)), ("kelvin", (None, None))):
        for density, factor in zip((0.01, 0.02), factors, strict=True):
            lattice = named_cell(name, density=density)
            stiffness = None if factor is None else factor * effective_stiffness(lattice)
            records.append(LatticeRecord(name, lattice, density, stiffness=stiffness))
    path = tmp_path / "catalogue.json"
    save(records, path)
    return path
