"""The main job at small size: all files, whole and consistent with what is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from polyad.errors import InputError
from polyad.materials.elasticity import symmetry_distance, young_modulus
from polyad.materials.lattice import effective_stiffness
from polyad.materials.lattice.dataset import Recipe, read_records
from polyad.materials.lattice.demo import DENSITIES, run_demo
from polyad.materials.lattice.design import Design


def test_everything_is_left_and_agrees(tmp_path: Path) -> None:
    recipe = Recipe(count=20, seed=5, densities=(0.003, 0.01), levels=(0.02, 0.05), shard_size=12)
    stages: list[str] = []

    class Shown:
        def __enter__(self):  # type: ignore[no-untyped-def]
            return lambda done, total: None

        def __exit__(self, *_: object) -> None:
            pass

    def stage(description: str, unit: str) -> Shown:
        stages.append(description)
        return Shown()

    found = run_demo(tmp_path / "out", cells=["octet", "kelvin"], generated=recipe, block=1, stage=stage)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in found.files)
    assert stages == list(found.seconds)
    assert all(value.holds for value in found.known)
    assert found.rate > 0

    records = list(read_records(tmp_path / "out" / "lattices.parquet"))
    assert len(records) == found.lattices == 2 * len(DENSITIES) + 20
    for record in records:
        expected = effective_stiffness(record.lattice)
        torch.testing.assert_close(record.stiffness, expected, rtol=1e-9, atol=1e-15)
    assert [r.density for r in records[:4]] == list(DENSITIES)
    assert {r.metadata["kind"] for r in records[:8]} == {"named"}
    assert pq.read_metadata(tmp_path / "out" / "lattices.parquet").num_rows == 28

    text = (tmp_path / "out" / "design.json").read_text()
    document, design = json.loads(text), Design.from_json(text)
    distance = float(symmetry_distance(effective_stiffness(design.lattice), "isotropic"))
    assert document["reached"]["isotropic"]["anisotropy"] == pytest.approx(distance, abs=1e-9)
    assert distance < 0.01 < document["start_values"]["isotropic"]["anisotropy"]
    assert document["reached"]["isotropic"]["relative density"] == pytest.approx(0.05, rel=1e-6)
    other = Design.from_json(json.dumps(document["also"]))
    modulus = float(young_modulus(effective_stiffness(other.lattice), torch.tensor([0.0, 0.0, 1.0]).double()))
    assert modulus == pytest.approx(2 * document["start_values"]["twice as stiff along z"]["E(z) / E_s"], rel=1e-4)
    assert float(other.lattice.relative_density) == pytest.approx(0.05, rel=1e-6)


def test_a_place_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be made .*another --out"):
        run_demo(tmp_path / "no" / "such")
