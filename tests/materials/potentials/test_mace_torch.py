"""Models of mace-torch 0.3.16 (float64, random weights), exported by `scripts/export_mace_torch.py`, beside the numbers
that mace-torch itself gave for a molecule and a crystal: `data/mace_torch_*.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from polyad.errors import FileFormatError
from polyad.materials.learning.potentials import load_potential
from polyad.materials.potentials.mace_torch import read_mace_torch
from polyad.materials.structures import Structures
from polyad.training.checkpoint import Checkpoint, save_checkpoint

DATA = Path(__file__).parent / "data"
every = pytest.mark.parametrize("name", ["mace_torch_mixing", "mace_torch_residual"])


def references(name: str) -> list[tuple[Structures, dict[str, Any]]]:
    found = []
    for record in json.loads((DATA / f"{name}.json").read_text()):
        data = Structures.from_arrays(torch.tensor(record["positions"], dtype=torch.float64), record["numbers"])
        if record["cell"] is not None:
            cell = torch.tensor([record["cell"]], dtype=torch.float64)
            data = data.replace(cell=cell, periodic=torch.ones(1, 3, dtype=torch.bool))
        found.append((data, record))
    return found


@every
def test_gives_the_numbers_of_mace_torch(name: str) -> None:
    potential, _ = read_mace_torch(DATA / f"{name}.safetensors")
    for data, record in references(name):
        found = potential(data, stress=record["stress"] is not None)
        forces = torch.tensor(record["forces"], dtype=torch.float64)
        assert float(forces.abs().max()) > 1e-3
        assert float(found["energy"]) == pytest.approx(record["energy"], abs=1e-7)
        assert float((found["forces"] - forces).abs().max()) < 1e-6 * float(forces.abs().max())
        if record["stress"] is not None:
            stress = torch.tensor(record["stress"], dtype=torch.float64)
            assert float((found["stress"][0] - stress).abs().max()) < 1e-6 * float(stress.abs().max())


@every
def test_becomes_a_checkpoint_of_our_own(name: str, tmp_path: Path) -> None:
    potential, facts = read_mace_torch(DATA / f"{name}.safetensors")
    save_checkpoint(tmp_path / "best.safetensors", Checkpoint(potential.state_dict(), facts=facts))
    data, _ = references(name)[0]
    assert torch.equal(load_potential(tmp_path)(data)["forces"], potential(data)["forces"])


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    source = DATA / "mace_torch_residual.safetensors"
    broken = tmp_path / "broken.safetensors"
    with pytest.raises(FileFormatError, match="no such file"):
        read_mace_torch(tmp_path / "absent.safetensors")
    broken.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(FileFormatError, match="no readable safetensors"):
        read_mace_torch(broken)
    tensors = load_file(source)
    save_file(tensors, broken)
    with pytest.raises(FileFormatError, match="no exported mace-torch model"):
        read_mace_torch(broken)
    from safetensors import safe_open

    with safe_open(source, framework="pt") as file:
        header = file.metadata()
    lost = {name: value for name, value in tensors.items() if name != "interactions.0.linear.weight"}
    save_file(lost, broken, metadata=header)
    with pytest.raises(FileFormatError, match=r"interactions\.0\.linear\.weight is missing"):
        read_mace_torch(broken)
    # a coupling that no rotation-invariant polynomial has
    name = "monomials.0.0.2"
    wrong = {**tensors, name: tensors[name] + torch.arange(tensors[name].numel()).view_as(tensors[name])}
    save_file(wrong, broken, metadata=header)
    with pytest.raises(FileFormatError, match="not equivariant"):
        read_mace_torch(broken)
    facts = json.loads(header["mace"])
    for change in ({"channels": 3}, {"first_block": "Unknown"}, {"lmax": "2"}):
        save_file(tensors, broken, metadata={"mace": json.dumps({**facts, **change})})
        with pytest.raises(FileFormatError, match="does not fit its own description"):
            read_mace_torch(broken)
