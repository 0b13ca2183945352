"""`polyad lattice demo`: what it prints of what the library found; a wrong number ends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from polyad.cli import main
from polyad.materials.lattice import demo
from polyad.materials.lattice.closed_forms import known_values
from tests.cli.printed import row


@pytest.fixture
def found() -> demo.Demo:
    goal = demo.Goal("isotropic", "anisotropy", 0.13, 0.0, 1e-9)
    known = tuple(known_values())
    return demo.Demo((Path("x/design.stl"),), 77, 2308, known, 12345.6, 10.4, 28.2, (goal,), {"Designing": 1.0})


def test_demo_prints_proof_throughput_and_designs(
    found: demo.Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def run(folder: Path, *, stage: demo.Stage) -> demo.Demo:
        with stage("Solving", "lattices") as progress:
            progress(1, 2)
        asked.append(folder)
        return found

    monkeypatch.setattr(demo, "run_demo", run)
    assert main(["lattice", "demo", "--out", "x"]) == 0
    text = capsys.readouterr().out
    assert asked == [Path("x")]
    assert text.count("yes, to 1e-09") + text.count("yes, all digits") == len(found.known)
    assert "2,308 lattices: 77 named cells at 4 densities and 2,000 generated ones" in text
    assert "12,300 a second" in text
    assert row(text, "isotropic")[-3:] == ["0.13", "0", "1e-09"]
    assert "wrote x/design.stl" in text


def test_demo_fails_where_a_number_is_wrong(
    found: demo.Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = replace(found.known[3], computed=1.01 * found.known[3].computed)
    bad = replace(found, known=(*found.known[:3], wrong))
    monkeypatch.setattr(demo, "run_demo", lambda folder, *, stage: bad)
    assert main(["lattice", "demo"]) == 2
    captured = capsys.readouterr()
    assert "NO, to 1e-09" in captured.out
    assert captured.err.startswith("polyad: error: C11 / rho of octet differs from its known value")
