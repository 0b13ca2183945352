"""`polyad lattice solve --solid`: both tensors side by side, warnings named, bad input in one line."""

from __future__ import annotations

import pytest

from polyad.cli import main
from polyad.materials.lattice import effective_stiffness, named_cell
from polyad.materials.lattice.solids.homogenized import solid_stiffness


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_solids_stand_beside_beams(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(
        capsys, "lattice", "solve", "name:octet", "--density", 0.3, "--solid", "--resolution", 12, "--young", 2
    )
    assert code == 0
    lattice = named_cell("octet", density=0.3)
    found = solid_stiffness(lattice, resolution=12, young_modulus=2.0)
    beams = effective_stiffness(lattice, young_modulus=2.0)
    gap = 100 * float((found.stiffness - beams).norm() / beams.norm())
    row = next(line.split() for line in out.splitlines() if line.split()[:1] == ["solid"])
    assert float(row[1]) == pytest.approx(found.density, rel=1e-3)
    assert float(row[-2]) == pytest.approx(gap, rel=1e-2)
    assert "voxels across; take a resolution of" in err


def test_rows_limit_the_solids(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("lattice", "solve", "name:octet", "name:bcc", "--density", 0.3, "--solid", "--resolution", 6)
    code, out, _ = run(capsys, *arguments, "--rows", 1)
    assert code == 0
    assert "the first 1 of 2 as solids; raise --rows for more" in out
    assert sum(line.split()[:1] == ["solid"] for line in out.splitlines()) == 1


def test_bad_resolution_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "lattice", "solve", "name:octet", "--solid", "--resolution", 2)
    assert code == 2
    assert "--resolution" in err
