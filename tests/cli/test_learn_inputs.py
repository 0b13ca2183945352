"""Words become options, targets and structures; what does not fit is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from polyad.cli.learn_inputs import (
    is_number,
    is_property,
    options_by_model,
    parse_options,
    read_atoms,
    read_with_property,
)
from polyad.errors import InputError
from polyad.materials.structures import write_extxyz
from tests.materials.learning.test_potentials import frames


def test_options_are_json_or_words() -> None:
    found = parse_options(["channels=64", "sizes=[8, 9]", "positivity=exp", "flag=true"])
    assert found == {"channels": 64, "sizes": [8, 9], "positivity": "exp", "flag": True}
    assert parse_options(None) == {}
    for word in ("channels", "=3", "channels="):
        with pytest.raises(InputError, match="write KEY=VALUE"):
            parse_options([word])


def test_options_go_to_their_model() -> None:
    found = options_by_model(["a.x=1", "b.y=2", "a.z=w"], ["a", "b"])
    assert found == {"a": {"x": 1, "z": "w"}, "b": {"y": 2}}
    with pytest.raises(InputError, match="'c' is none of the models a, b"):
        options_by_model(["c.x=1"], ["a", "b"])


def test_kinds_of_targets_and_words() -> None:
    assert [is_property(x) for x in (None, "energy", "forces", "elasticity", "gap")] == [False] * 3 + [True] * 2
    assert [is_number(x) for x in ("0.1", "3", "held.xyz")] == [True, True, False]


def test_structures_bring_what_was_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    path, data = tmp_path / "frames.xyz", frames(4)
    write_extxyz(path, data)
    both = read_atoms(path, "energy", "forces", None)
    assert torch.allclose(both.targets["energy"], data.targets["energy"])
    assert torch.allclose(both.node_targets["forces"], data.node_targets["forces"])
    assert not read_atoms(path, "energy", "none", None).node_targets
    assert not read_atoms(path, "none", "forces", None).targets
    with pytest.raises(InputError, match=r"--energy: .* has no 'E_dft'"):
        read_atoms(path, "E_dft", "forces", None)
    assert len(read_with_property(path, "energy", 3)) == 3
    with pytest.raises(InputError, match=r"'gap' is unknown; .* columns energy"):
        read_with_property(path, "gap", None)
