"""`polyad lattice solve`: moduli, tensors, comparison, what cannot be read."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from polyad.cli import main
from polyad.materials.lattice import effective_stiffness, named_cell
from polyad.materials.lattice.dataset import read_records
from tests.cli.printed import row

Run = Callable[..., str]


def test_solve_prints_moduli_and_writes_tensors(run: Run, catalogue: Path) -> None:
    text = run("solve", catalogue, "name:bcc_sc", "--density", "0.05", "--out", "tensors.parquet")
    # the published finite-element values of this cell: E 0.006646, nu 0.3006, G 0.003901; nearly isotropic
    stiffness = effective_stiffness(named_cell("bcc_sc", density=0.05))
    found = [float(x) for x in row(text, "bcc_sc")[1:]]
    assert found[0] == 0.05
    assert found[3] == pytest.approx(float(stiffness[:3, :3].sum()) / 9, rel=1e-3)
    assert "5 lattices" in text
    records = list(read_records("tensors.parquet"))
    assert [r.name for r in records] == ["octet", "octet", "kelvin", "kelvin", "bcc_sc"]
    for record in records:
        assert torch.equal(record.stiffness, effective_stiffness(record.lattice))
    solid = json.loads(pq.read_schema("tensors.parquet").metadata[b"polyad"])["solid"]
    assert solid == {"young_modulus": 1.0, "poisson_ratio": 0.3, "shear": True, "unit": ""}


def test_solve_compares_with_published_tensors(run: Run, catalogue: Path) -> None:
    text = run("solve", catalogue, "--compare")
    assert "2 tensors" in text
    assert row(text, "greatest") == ["greatest", "4.76", "%"]
    assert row(text, "share below 1 %")[-2:] == ["50", "%"]
    (outlier,) = re.findall(r"octet +0\.02 +4\.76 %", text)
    assert outlier


def test_solve_scales_with_the_solid(run: Run) -> None:
    plain = float(row(run("solve", "name:kelvin", "--poisson", 0.34), "kelvin")[2])
    metal = run("solve", "name:kelvin", "--material", "ti-6al-4v")
    assert "E (GPa)" in metal
    assert float(row(metal, "kelvin")[2]) == pytest.approx(114 * plain, rel=1e-3)
    beams = float(row(run("solve", "name:kelvin", "--poisson", 0.34, "--no-shear"), "kelvin")[2])
    assert beams > plain


def test_long_lists_are_summarised(run: Run) -> None:
    text = run("solve", "name:all", "--density", "0.01", "--rows", "3")
    assert "and 74 more; all 77" in text
    assert float(row(text, "least")[1]) == float(row(text, "greatest")[1]) == 0.01


def test_what_cannot_be_read_is_named_and_the_rest_solved(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = "CRYSTAL\nNAME pcu\nGROUP Pm-3m\nCELL 1 1 1 90 90 90\nNODE 1 6 0 0 0\nEDGE 0 0 0 1 0 0\nEND\n"
    with zipfile.ZipFile(tmp_path / "nets.zip", "w") as archive:
        archive.writestr("good.cgd", good)
        archive.writestr("bad.cgd", good.replace("Pm-3m", "nonsense"))
    assert main(["lattice", "solve", "nets.zip", "--density", "0.01"]) == 0
    captured = capsys.readouterr()
    assert float(row(captured.out, "pcu")[4]) == pytest.approx(0.01 / 9, rel=1e-3)
    first, last = captured.err.splitlines()
    assert first.startswith("polyad: skipped: nets.zip!bad.cgd:3: ")
    assert last == "polyad: skipped 1 lattices that cannot be read"
