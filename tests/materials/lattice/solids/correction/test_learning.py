"""Learning the correction: a known one is found, the bar covers nets that nobody trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from polyad.errors import InputError
from polyad.materials.lattice import effective_stiffness, named_cell
from polyad.materials.lattice.dataset import LatticeTable
from polyad.materials.lattice.records import LatticeRecord
from polyad.materials.lattice.solids.correction.corrector import load_correction, save_correction
from polyad.materials.lattice.solids.correction.features import correction_inputs
from polyad.materials.lattice.solids.correction.learning import (
    TrainingOptions,
    conformal_quantile,
    deal,
    density_slope,
    measure,
    train_correction,
)
from polyad.materials.lattice.solids.correction.network import corrected_stiffness
from polyad.materials.lattice.solids.correction.pairs import Pairs

OPTIONS = TrainingOptions(folds=2, width=4, steps=40, rate=0.05, level=0.8)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Solids that are exactly B exp(2 G + sqrt(density) (K / 2 + noise)) B, of 60 nets."""
    generator = torch.Generator().manual_seed(0)
    records = []
    for k in range(60):
        cell = ("octet", "bcc_sc", "kelvin", "diamond")[k % 4]
        lattice = named_cell(cell, density=0.05 * 6 ** (k / 60)).perturb(0.04, seed=k)
        stiffness = effective_stiffness(lattice)
        density = float(lattice.relative_density)
        records.append(LatticeRecord(f"{cell}_{k}", lattice, density, stiffness, base_name=f"net_{k}"))
    table = LatticeTable.from_records(records)
    inputs = correction_inputs(table.lattices, table.stiffness)
    noise = torch.randn(60, 6, 6, dtype=torch.float64, generator=generator)
    size = inputs.size[:, None, None]
    exponent = 2 * inputs.tensors[:, 5] + size * (inputs.tensors[:, 1] / 2 + 0.01 * (noise + noise.mT))
    solid = corrected_stiffness(exponent, inputs.root)
    ones = torch.ones(60, dtype=torch.float64)
    return Pairs(table, solid, inputs.size**2, 32 * ones, 5 * ones)


def test_a_known_correction_is_found_on_nets_not_seen(pairs: Pairs) -> None:
    found = measure(pairs, OPTIONS, outer=2)
    assert float(found.corrected.median()) < 0.3 * float(found.beams.median())
    assert float(found.corrected.median()) < 0.5 * float(found.density_alone.median())
    assert all(0.65 <= share <= 0.95 for share in found.coverage)  # three standard deviations of 60 draws around 0.8
    torch.testing.assert_close(found.error, found.corrected, rtol=0.5, atol=0)
    assert float(found.bar.median()) < float(found.beams_distance.median())
    summary = found.summary()
    assert summary["pairs"] == 60
    assert summary["coverage"] == found.coverage[0]


def test_a_corrector_kept_and_read_gives_the_same(pairs: Pairs, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    correction = train_correction(pairs, OPTIONS, progress=lambda done, count: steps.append((done, count)))
    assert steps == [(1, 2), (2, 2)]
    save_correction(tmp_path / "model.safetensors", correction)
    again = load_correction(tmp_path / "model.safetensors")
    lattices = [pairs.table.lattices[k] for k in range(5)]
    one, two = (x(lattices, pairs.table.stiffness[:5]) for x in (correction, again))
    assert torch.equal(one.stiffness, two.stiffness)
    assert torch.equal(one.error, two.error)
    assert again.densities == correction.densities
    assert bool(one.inside.all())
    repeated = train_correction(pairs, OPTIONS)(lattices, pairs.table.stiffness[:5])
    assert torch.equal(repeated.stiffness, one.stiffness)


def test_the_slope_of_the_density_is_exact_where_it_is_all(pairs: Pairs) -> None:
    size = pairs.solid_density.sqrt()
    beams = pairs.table.stiffness
    assert density_slope(beams, beams * (0.7 * size).exp()[:, None, None], size) == pytest.approx(0.7)


def test_quantile_of_conformal_prediction() -> None:
    """With n scores a new one is below the k-th smallest with probability k / (n + 1)."""
    scores = torch.arange(1.0, 10.0).double().flip(0)
    assert conformal_quantile(scores, 0.9) == 9
    assert conformal_quantile(scores, 0.8) == 8
    assert conformal_quantile(scores, 0.75) == 8
    with pytest.raises(InputError, match="too few"):
        conformal_quantile(scores, 0.95)


def test_relatives_share_a_fold(pairs: Pairs) -> None:
    names = [f"net_{k // 3}" for k in range(30)]
    fold = deal(names, 4, seed=1)
    assert all(len(set(fold[3 * k : 3 * k + 3].tolist())) == 1 for k in range(10))
    assert fold[::3].bincount().tolist() == [3, 3, 2, 2]
    assert not torch.equal(fold, deal(names, 4, seed=2))
    with pytest.raises(InputError, match="10 nets make no 11 folds"):
        deal(names, 11, seed=1)
    same = replace(pairs, table=replace(pairs.table, base_name=["octet"] * 60))
    with pytest.raises(InputError, match="1 nets make no 2 folds"):
        train_correction(same, OPTIONS)


def test_options_out_of_range_are_refused() -> None:
    for wrong in ({"folds": 1}, {"level": 1.0}):
        with pytest.raises(InputError, match="at least 2 folds"):
            TrainingOptions(**wrong)  # type: ignore[arg-type]
