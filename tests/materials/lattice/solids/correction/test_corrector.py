"""Files of corrections, and what is said outside the range of training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from polyad.errors import FileFormatError
from polyad.materials.lattice import effective_stiffness, named_cell
from polyad.materials.lattice.solids.correction.corrector import (
    SolidCorrection,
    difficulty,
    load_correction,
    mean_exponent,
    save_correction,
)
from polyad.materials.lattice.solids.correction.network import CorrectionNetwork
from polyad.training import Checkpoint, load_checkpoint, save_checkpoint
from tests.materials.lattice.solids.correction.test_features import inputs_of
from tests.materials.lattice.solids.correction.test_network import loud


def correction() -> SolidCorrection:
    return SolidCorrection([loud(0), loud(1)], (0.2, 0.5), 0.9, (0.05, 0.3), 0.3, {"pairs": 2})


def test_the_bar_and_the_range() -> None:
    lattices = [named_cell("octet", density=d) for d in (0.01, 0.1)]
    beams = torch.stack([effective_stiffness(x) for x in lattices])
    found = correction()(lattices, beams)
    assert found.inside.tolist() == [False, True]
    inputs = inputs_of(*lattices)
    torch.testing.assert_close(found.error, 0.2 * difficulty(inputs))
    torch.testing.assert_close(found.bar, 0.5 * difficulty(inputs))
    with torch.no_grad():
        one, two = (mean_exponent([net], inputs) for net in correction().networks)
        torch.testing.assert_close(mean_exponent(correction().networks, inputs), (one + two) / 2)
    zero = SolidCorrection([CorrectionNetwork().double()], (0.2, 0.5), 0.9, (0.05, 0.3), 0.3, {})
    torch.testing.assert_close(zero(lattices, beams).stiffness, beams, rtol=1e-9, atol=1e-14)
    metal = correction()(lattices, 110 * beams)  # a unit is a unit
    torch.testing.assert_close(metal.stiffness, 110 * found.stiffness, rtol=1e-8, atol=1e-12)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_correction(path, correction())
    assert load_correction(path).facts == {"pairs": 2}
    found = load_checkpoint(path)
    save_checkpoint(tmp_path / "other.safetensors", Checkpoint(found.model, facts={"kind": "potential"}))
    with pytest.raises(FileFormatError, match="no correction but 'potential'"):
        load_correction(tmp_path / "other.safetensors")
    save_checkpoint(tmp_path / "less.safetensors", Checkpoint(found.model, facts=found.facts | {"width": 3}))
    with pytest.raises(FileFormatError, match="does not rebuild"):
        load_correction(tmp_path / "less.safetensors")
    with pytest.raises(FileFormatError, match="no such file"):
        load_correction(tmp_path / "absent.safetensors")
    assert load_correction(path).quantiles == (0.2, 0.5)
