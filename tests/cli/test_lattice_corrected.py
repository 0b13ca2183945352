"""`polyad lattice solve --corrected`: both tensors with their bars, silence about bars outside the range, bad input."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from polyad.materials.elasticity import hill_average
from polyad.materials.lattice import effective_stiffness, named_cell
from polyad.materials.lattice.solids.correction.corrector import save_correction
from tests.cli.test_lattice_solid import run
from tests.materials.lattice.solids.correction.test_corrector import correction


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_correction(tmp_path / "model.safetensors", correction())
    return tmp_path / "model.safetensors"


def test_corrected_stands_beside_beams(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("lattice", "solve", "name:octet", "--density", 0.16, "--young", 2, "--corrected", model)
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    lattice = named_cell("octet", density=0.16)
    beams = effective_stiffness(lattice, young_modulus=2.0)
    found = correction()([lattice], beams[None])
    row = next(line.split() for line in out.splitlines() if line.split()[:1] == ["corrected"])
    assert float(row[2]) == pytest.approx(float(hill_average(found.stiffness[0]).young), rel=1e-3)
    assert "8 %" in out  # 0.2 sqrt(0.16)
    assert f"x/ {math.exp(0.5 * 0.4):.3g}" in out
    assert "bars hold with 90%" in out


def test_no_bar_outside_the_densities_of_training(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "lattice", "solve", "name:octet", "--density", 0.01, "--corrected", model)
    assert code == 0
    assert "trained on densities from 0.05 to 0.3: no bar for octet" in out + err
    assert "x/" not in out


def test_another_solid_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "lattice", "solve", "name:octet", "--poisson", 0.2, "--corrected", model)
    assert code != 0
    assert "Poisson's ratio 0.3" in out + err
    code, out, err = run(capsys, "lattice", "solve", "name:octet", "--corrected", model.with_name("none"))
    assert code != 0
    assert "no such file" in out + err
