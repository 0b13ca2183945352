"""`polyad train`, `predict`, `compare` with a property as target: printed, written and refused."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from polyad.cli import main
from polyad.materials.lattice import LatticeRecord
from polyad.materials.lattice.dataset import write_records
from polyad.materials.learning.properties import evaluate_property, load_property
from polyad.materials.structures import read_structures
from tests.materials.properties.lattices import data_set

Polyad = Callable[..., str]
TINY = ("--option", "channels=2", "--option", "hidden=6", "--option", "readout=3")


@pytest.fixture
def polyad(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Polyad:
    """Runs `polyad ...` in a folder with nets.parquet, of which one lattice is unsolved, and returns what it says."""
    monkeypatch.chdir(tmp_path)
    data = data_set(8)
    records = [
        LatticeRecord(
            name=f"{data.names[k]}-{k}",
            lattice=data.to_lattices()[k],
            density=float(data.to_lattices().relative_density[k]),
            stiffness=None if k == 3 else data.targets["stiffness"][k],
            base_name=data.names[k],
            source="test",
            metadata={},
        )
        for k in range(len(data))
    ]
    write_records(records, "nets.parquet")

    def words(*arguments: object, code: int = 0) -> str:
        result = main([*map(str, arguments)])
        captured = capsys.readouterr()
        assert result == code, captured.err
        return captured.out if code == 0 else captured.err

    return words


def test_train_and_predict(polyad: Polyad) -> None:
    train = (
        "train",
        "nets.parquet",
        "--target",
        "elasticity",
        "--out",
        "m",
        "--epochs",
        1,
        "--validation",
        0.34,
        *TINY,
    )
    said = polyad(*train)
    assert "left out 1 of 16 lattices" in said
    assert "lattice on elasticity" in said
    said = polyad("predict", "m", "nets.parquet", "--out", "found.csv")
    assert "of 15 structures with known elasticity" in said
    assert "wrote found.csv: elasticity of 16 structures" in said
    with open("found.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    found = evaluate_property(load_property("m").double(), read_structures("nets.parquet"))
    assert [row["name"] for row in rows] == [f"net{k // 2}" for k in range(16)]
    assert float(rows[4]["elasticity_12"]) == pytest.approx(float(found[4, 0, 1]), rel=1e-9)
    assert float(rows[4]["elasticity_66"]) == pytest.approx(float(found[4, 5, 5]), rel=1e-9)


def test_compare_has_the_exact_solver(polyad: Polyad) -> None:
    small = ("--option", "cgc.width=8", "--option", "lattice.channels=2", "--option", "lattice.hidden=6")
    said = polyad(
        "compare", "nets.parquet", "--target", "elasticity", "--models", "lattice,cgc", "--minutes", 0.01, "--out", "c",
        "--test", 0.25, *small,
    )  # fmt: skip
    facts = {row["model"]: row for row in json.loads(Path("c/comparison.json").read_text())}
    assert list(facts) == ["lattice", "cgc", "exact solver"]
    assert facts["exact solver"]["relative"] < 1e-6
    assert facts["lattice"]["equivariance"] < 1e-4 < facts["cgc"]["equivariance"]
    assert facts["lattice"]["unphysical"] == 0.0
    assert all(math.isfinite(row["directional"]) for row in facts.values())
    for name in facts:
        assert any(line.strip().startswith(name) for line in said.splitlines())
    assert Path("c/comparison.png").stat().st_size > 5000


def test_scalars_are_columns(polyad: Polyad) -> None:
    train = ("train", "nets.parquet", "--target", "density", "--out", "d", "--epochs", 1, "--validation", 0.34, *TINY)
    assert "lattice on density" in polyad(*train)
    polyad("predict", "d", "nets.parquet", "--out", "d.csv")
    assert Path("d.csv").read_text().splitlines()[0] == "structure,name,density"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("train", "nets.parquet", "--out", "m", "--epochs", 1, "--target", "elastic"),
            "'elastic' is unknown; there are",
        ),
        (
            ("train", "nets.parquet", "--out", "m", "--epochs", 1, "--target", "dielectric"),
            "the data have density, stiff",
        ),
        (("train", "nets.parquet", "--out", "m", "--target", "elasticity"), "give --minutes or --epochs"),
        (
            ("train", "nets.parquet", "--out", "m", "--epochs", 1, "--target", "elasticity", "--model", "mace"),
            "there are cgc, cgc+",
        ),
        (
            (
                "train",
                "nets.parquet",
                "--out",
                "m",
                "--epochs",
                1,
                "--target",
                "elasticity",
                "--option",
                "positivity=a",
            ),
            "'a' is unknown; there are square",
        ),
        (
            ("compare", "nets.parquet", "--target", "elasticity", "--models", ",", "--minutes", 1, "--out", "o"),
            "models",
        ),
        (("predict", "nets.parquet", "nets.parquet", "--out", "y.csv"), "is no readable safetensors"),
    ],
)
def test_bad_input_is_one_line(polyad: Polyad, arguments: tuple, words: str) -> None:
    said = polyad(*arguments, code=2)
    assert words in said
    assert len(said.strip().splitlines()) == 1


def test_a_property_goes_to_a_table_and_has_no_stress(polyad: Polyad) -> None:
    polyad("train", "nets.parquet", "--target", "density", "--out", "d", "--epochs", 1, "--validation", 0.34, *TINY)
    assert "must end in .csv" in polyad("predict", "d", "nets.parquet", "--out", "d.extxyz", code=2)
    assert "--stress" in polyad("predict", "d", "nets.parquet", "--out", "d.csv", "--stress", code=2)


def test_files_without_a_known_tensor_are_refused(polyad: Polyad) -> None:
    data = data_set(1)
    record = LatticeRecord(
        name="a", lattice=data.to_lattices()[0], density=float(data.to_lattices().relative_density[0]), stiffness=None,
        base_name="a", source="test", metadata={},
    )  # fmt: skip
    write_records([record], "bare.parquet")
    said = polyad("train", "bare.parquet", "--target", "elasticity", "--out", "m", "--epochs", 1, code=2)
    assert "stiffness" in said
    assert len(said.strip().splitlines()) == 1
