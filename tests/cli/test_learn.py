"""`polyad train`, `predict`, `compare`: what a user types, what is printed and written, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from polyad.cli import main
from polyad.materials.structures import read_structures, write_extxyz
from tests.materials.learning.test_potentials import frames

pytest.importorskip("ase")
Polyad = Callable[..., str]
SMALL = ("--option", "channels=4", "--option", "radial=6", "--cutoff", 4.0)


@pytest.fixture
def polyad(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Polyad:
    """Runs `polyad ...` in a folder with frames.xyz and returns stdout, or for a failure stderr."""
    monkeypatch.chdir(tmp_path)
    write_extxyz("frames.xyz", frames(30))

    def words(*arguments: object, code: int = 0) -> str:
        result = main([*map(str, arguments)])
        captured = capsys.readouterr()
        assert result == code, captured.err
        return captured.out if code == 0 else captured.err

    return words


def test_train_and_predict(polyad: Polyad) -> None:
    said = polyad("train", "frames.xyz", "--out", "model", "--epochs", 3, *SMALL)
    assert "of 3 held-out structures" in said
    assert "force component" in said
    assert Path("model/best.safetensors").exists()
    assert Path("model/metrics.csv").exists()
    said = polyad("predict", "model", "frames.xyz", "--out", "found.extxyz")
    assert "wrote found.extxyz" in said
    found, data = read_structures("found.extxyz"), read_structures("frames.xyz")
    assert torch.equal(found.positions, data.positions)
    mean = float((found.node_targets["forces"] - data.node_targets["forces"]).abs().mean())
    row = next(line for line in said.splitlines() if "force component" in line)
    assert float(row.split()[2]) == pytest.approx(mean, rel=1e-3)


def test_compare(polyad: Polyad) -> None:
    small = ("--option", "schnet.channels=8", "--option", "tensornet.channels=4", "--cutoff", 4.0)
    said = polyad(
        "compare",
        "frames.xyz",
        "--models",
        "schnet,tensornet",
        "--minutes",
        0.02,
        "--clock",
        "process",
        "--out",
        "both",
        *small,
    )
    assert "equivariance error" in said
    facts = json.loads(Path("both/comparison.json").read_text())
    for row in facts:
        line = next(line for line in said.splitlines() if line.strip().startswith(row["model"]))
        assert float(line.split()[2]) == pytest.approx(row["force_mae"], rel=1e-3)
    assert Path("both/comparison.png").stat().st_size > 5000


def test_models_are_listed(polyad: Polyad) -> None:
    printed = polyad("train", "--model", "list")
    assert "tensornet" in printed
    assert "lattice" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "frames.xyz", "--out", "m"), "give --minutes or --epochs"),
        (("train", "frames.xyz", "--out", "m", "--minutes", 1, "--clock", "x"), "clock: 'x' is none"),
        (("train", "absent.xyz", "--out", "m", "--epochs", 1), "cannot be read"),
        (("train", "frames.xyz", "--out", "m", "--epochs", 1, "--model", "tensornett"), "'tensornett' is unknown"),
        (("train", "frames.xyz", "--out", "m", "--epochs", 1, "--option", "channels"), "write KEY=VALUE"),
        (("train", "frames.xyz", "--out", "m", "--epochs", 1, "--option", "chanels=3"), "has no option 'chanels'"),
        (("train", "frames.xyz", "--out", "m", "--epochs", 1, "--energy", "E_dft"), "there are energy, forces"),
        (("train", "frames.xyz", "--out", "m", "--epochs", 1, "--validation", 1.5), "leaves a part empty"),
        (
            ("train", "frames.xyz", "--out", "m", "--epochs", 1, "--energy", "none", "--forces", "none"),
            "neither energy",
        ),
        (("train", "frames.xyz", "--out", "m", "--epochs", 1, "--device", "nowhere"), "device"),
        (("train", "frames.xyz", "--out", "m", "--epochs", 1, "--cutoff", -2), "cutoff"),
        (("predict", "frames.xyz", "frames.xyz", "--out", "y.xyz"), "is no readable safetensors"),
        (("compare", "frames.xyz", "--models", "a,b", "--minutes", 1, "--out", "o"), "models"),
        (("compare", "frames.xyz", "--models", "schnet", "--minutes", 1, "--out", "o", "--option", "x.a=1"), "none of"),
    ],
)
def test_bad_input_is_one_line(polyad: Polyad, arguments: tuple, words: str) -> None:
    said = polyad(*arguments, code=2)
    assert words in said
    assert len(said.strip().splitlines()) == 1
