"""What is written is read back, by us to the bit and by ASE with its energies and forces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from polyad.errors import InputError
from polyad.materials.structures import Structures, read_structures, write_extxyz
from tests.materials.structures.test_batch import random_structures


def test_round_trip(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    import ase.io

    data = random_structures([4, 2, 3])
    flags = torch.tensor([[True] * 3, [True, True, False], [False] * 3])
    stress = torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = data.replace(
        periodic=flags, targets={"energy": data.targets["energy"], "stress": stress + stress.mT}, names=()
    )
    write_extxyz(tmp_path / "a.extxyz", data)
    back = read_structures(tmp_path / "a.extxyz")
    assert torch.equal(back.positions, data.positions)
    assert torch.equal(back.species, data.species)
    assert torch.equal(back.periodic, data.periodic)
    assert torch.equal(back.cell[:2], data.cell[:2])
    assert torch.equal(back.targets["energy"], data.targets["energy"])
    assert torch.equal(back.node_targets["forces"], data.node_targets["forces"])
    atoms = ase.io.read(tmp_path / "a.extxyz", index=0)
    assert atoms.get_potential_energy() == float(data.targets["energy"][0])
    assert np.array_equal(atoms.get_forces(), data.node_targets["forces"][:4].numpy())
    assert np.allclose(atoms.get_stress(voigt=False), data.targets["stress"][0].numpy())


def test_results_of_another_origin_and_bad_paths(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    water = Structures.from_arrays(torch.zeros(3, 3), [8, 1, 0])
    write_extxyz(tmp_path / "a.xyz", water, {"energy": torch.tensor([2.5])})
    text = (tmp_path / "a.xyz").read_text().splitlines()
    assert text[:3] == ["3", 'Properties=species:S:1:pos:R:3 energy=2.5 pbc="F F F"', "O 0.0 0.0 0.0"]
    assert text[4].startswith("X ")
    with pytest.raises(InputError, match="does not exist"):
        write_extxyz(tmp_path / "absent" / "a.xyz", water)
