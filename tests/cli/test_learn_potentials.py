"""A target of one kind leaves the other out, and an empty list of models is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from polyad.cli import main
from polyad.cli.learn_potentials import compare_on_atoms
from polyad.errors import InputError
from polyad.materials.structures import write_extxyz
from tests.materials.learning.test_potentials import frames

pytest.importorskip("ase")


@pytest.mark.parametrize(("target", "measured"), [("energy", "energy"), ("forces", "forces")])
def test_only_the_target_is_learned(
    target: str, measured: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_extxyz("frames.xyz", frames(10))
    words = ["train", "frames.xyz", "--target", target, "--model", "schnet", "--out", "m", "--epochs", "1"]
    assert main([*words, "--option", "channels=4", "--option", "layers=1"]) == 0
    with open("m/metrics.csv", newline="") as handle:
        columns = next(csv.reader(handle))
    assert [name for name in columns if name.endswith("_mae")] == [f"validation_{measured}_mae"]


def test_no_models_are_refused(tmp_path: Path) -> None:
    write_extxyz(tmp_path / "frames.xyz", frames(10))
    with pytest.raises(InputError, match="--models: ',' names none"):
        compare_on_atoms(
            tmp_path / "frames.xyz", ",", out=tmp_path, test="0.2", keys=("energy", "forces"), limit=None, minutes=0.01,
            options=None, seed=0,
        )  # fmt: skip
