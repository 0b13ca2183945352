"""A potential learns, is kept, comes back with the same numbers, and refuses data it cannot learn from."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from polyad.errors import FileFormatError, InputError
from polyad.materials.learning.data import hold_out
from polyad.materials.learning.potentials import (
    evaluate_potential,
    load_potential,
    new_potential,
    train_potential,
)
from polyad.materials.potentials import Potential
from polyad.materials.structures import Structures
from polyad.training import Checkpoint, load_checkpoint, save_checkpoint
from tests.materials.potentials.pair_network import Springs

SPECIES = [1, 6, 8, 1, 6, 1, 1]


def frames(count: int = 40, seed: int = 0) -> Structures:
    """Shaken molecules with energies and forces of a many-body potential, energies shifted by thousands."""
    generator = torch.Generator().manual_seed(seed)
    place = 1.4 * torch.randn(7, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    shaken = place + 0.1 * torch.randn(count, 7, 3, generator=generator, dtype=torch.float64)
    data = Structures.from_arrays(shaken.reshape(-1, 3), SPECIES * count, sizes=[7] * count)
    truth = Potential(Springs(), species=[1, 6, 8], cutoff=6.0, shift=[-1000.0, -2000.0, -3000.0]).eval()(data)
    return data.replace(targets={"energy": truth["energy"]}, node_targets={"forces": truth["forces"]})


def test_learns_and_comes_back(tmp_path: Path) -> None:
    data = frames()
    options = {"channels": 16, "layers": 1, "radial": 12}
    potential, result = train_potential(
        data, "tensornet", folder=tmp_path, cutoff=4.0, options=options, epochs=25, learning_rate=0.01
    )
    first, best = result.history[0], min(row["validation_forces_mae"] for row in result.history)
    assert best < 0.5 * first["validation_forces_mae"]
    found = evaluate_potential(potential, data)
    spread = float(data.targets["energy"].std())
    assert float((found["energy"] - data.targets["energy"]).abs().mean()) < spread
    again = load_potential(tmp_path)
    assert torch.equal(evaluate_potential(again, data)["forces"], found["forces"])
    assert torch.equal(evaluate_potential(again, data)["energy"], found["energy"])


def test_forces_alone_and_energies_alone(tmp_path: Path) -> None:
    data = frames(10)
    options = {"channels": 4, "layers": 1}
    for name, part in (("f", data.replace(targets={})), ("e", data.replace(node_targets={}))):
        _, result = train_potential(part, "schnet", folder=tmp_path / name, options=options, steps=3)
        assert ("validation_forces_mae" in result.history[0]) == (name == "f")
        assert ("validation_energy_mae" in result.history[0]) == (name == "e")


def test_held_out_part_is_disjoint() -> None:
    data = frames(10).replace(names=tuple(map(str, range(10))))
    held, rest = hold_out(data, 0.3, seed=1)
    assert (len(held), len(rest)) == (3, 7)
    assert set(held.names) | set(rest.names) == set(map(str, range(10)))
    for share in (0.0, 0.01, 1.0):
        with pytest.raises(InputError, match="leaves a part empty"):
            hold_out(data, share)


def test_bad_data_are_refused() -> None:
    data = frames(4)
    energy, forces = data.targets["energy"].clone(), data.node_targets["forces"].clone()
    energy[2], forces[9, 1] = math.nan, math.inf
    for bad, words in (
        (data.replace(targets={}, node_targets={}), "neither energy nor forces"),
        (data.replace(targets={"energy": energy}), "energy of structure 2 is not finite"),
        (data.replace(node_targets={"forces": forces}), "forces of structure 1 is not finite"),
        (data.replace(targets={"energy": energy[:, None]}), "one number a structure"),
        (data.replace(node_start=torch.tensor([0, 7, 7, 21, 28])), "structure 1 has no atom"),
    ):
        with pytest.raises(InputError, match=words):
            new_potential(bad, "schnet")


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    potential, facts = new_potential(frames(4), "schnet", options={"channels": 4, "layers": 1})
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, Checkpoint(potential.state_dict(), facts=facts))
    assert torch.equal(load_potential(path).species, potential.species)
    whole = load_checkpoint(path)
    for changed, words in (
        ({"kind": "lens"}, "holds no potential but 'lens'"),
        ({"model": "os.system"}, "'os.system' is unknown"),
        ({"options": {"channels": 8, "layers": 1}}, "does not rebuild"),
        ({"species": None}, "does not rebuild"),
    ):
        save_checkpoint(path, Checkpoint(whole.model, facts={**facts, **changed}))
        with pytest.raises(FileFormatError, match=words):
            load_potential(path)
