"""What is saved comes back to the bit, and a file that is not what it says is refused in one line."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from polyad.errors import FileFormatError, InputError
from polyad.training import Checkpoint, load_checkpoint, load_weights, save_checkpoint


def test_round_trip_keeps_bits_and_kinds(tmp_path: Path) -> None:
    shared = torch.randn(4, generator=torch.Generator().manual_seed(0))
    state: dict[str, Any] = {
        "state": {0: {"step": torch.tensor(3.0), "m": torch.randn(2, 3, dtype=torch.float64)}, 1: {"m": shared}},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "foreach": None, "amsgrad": True, "params": [0, 1]}],
        "words": "a", "odd": [math.inf, 1 << 60, torch.tensor([1, 2], dtype=torch.int32), torch.tensor(0.5).bfloat16()],
    }  # fmt: skip
    save_checkpoint(tmp_path / "a.safetensors", Checkpoint({"w": shared, "v": shared[:2]}, {"opt": state}, {"n": 1}))
    found = load_checkpoint(tmp_path / "a.safetensors")
    assert torch.equal(found.model["w"], shared)
    assert torch.equal(found.model["v"], shared[:2])
    assert found.facts == {"n": 1}
    back = found.states["opt"]
    assert back["state"][0]["m"].dtype == torch.float64
    assert torch.equal(back["state"][0]["m"], state["state"][0]["m"])
    assert back["param_groups"] == state["param_groups"]
    assert back["param_groups"][0]["betas"] == (0.9, 0.999)
    assert back["odd"][:2] == [math.inf, 1 << 60]
    assert (back["odd"][2].dtype, back["odd"][3].dtype) == (torch.int32, torch.bfloat16)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD, torch.optim.LBFGS, torch.optim.Adagrad])
def test_state_of_torch_optimisers(tmp_path: Path, optimizer: type[torch.optim.Optimizer]) -> None:
    model = nn.Linear(3, 2)
    used = optimizer(model.parameters(), lr=0.1)  # type: ignore[call-arg]

    def closure() -> torch.Tensor:
        used.zero_grad()
        loss = model(torch.ones(1, 3)).square().sum()
        loss.backward()
        return loss

    used.step(closure)
    save_checkpoint(tmp_path / "a.safetensors", Checkpoint({}, {"opt": used.state_dict()}))
    back = load_checkpoint(tmp_path / "a.safetensors").states["opt"]
    other = optimizer(nn.Linear(3, 2).parameters(), lr=0.2)  # type: ignore[call-arg]
    other.load_state_dict(back)
    assert str(other.state_dict()) == str(used.state_dict())


def test_objects_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"state.opt.x: holds a Linear"):
        save_checkpoint(tmp_path / "a.safetensors", Checkpoint({}, {"opt": {"x": nn.Linear(1, 1)}}))
    assert not list(tmp_path.iterdir())


def header(**fields: Any) -> dict[str, str]:
    whole = {"format": "polyad-checkpoint", "version": 1, "states": {}, "facts": {}}
    return {"polyad-checkpoint": json.dumps({**whole, **fields})}


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileFormatError, match="there is no such file"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(FileFormatError, match="is no readable safetensors file"):
        load_checkpoint(path)
    for metadata, words in (
        (None, "is no Polyad checkpoint"),
        (header(format="x"), "is no Polyad checkpoint"),
        (header(version=99), "has version 99"),
        (header(states=[]), "incomplete header"),
        (header(states={"a": {"__tensor__": "gone"}}), "lacks the tensor 'gone'"),
        (header(states={"a": {"other": 1}}), "lacks the tensor"),
        ({"polyad-checkpoint": "{"}, "is no readable"),
    ):
        save_file({"model.w": torch.zeros(2)}, path, metadata=metadata)
        with pytest.raises(FileFormatError, match=words) as error:
            load_checkpoint(path)
        assert "\n" not in str(error.value)
    save_checkpoint(path, Checkpoint({"w": torch.zeros(100)}))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(FileFormatError, match="is no readable"):
        load_checkpoint(path)


def test_weights_of_another_model_are_refused() -> None:
    weights = nn.Linear(3, 2).state_dict()
    model = nn.Linear(3, 2)
    load_weights(model, weights)
    assert torch.equal(model.weight, weights["weight"])
    for other, words in (
        (nn.Linear(3, 2, bias=False), "has 'bias', which this model has not"),
        (nn.Linear(4, 2), r"'weight' has shape \(2, 3\), here \(2, 4\)"),
        (nn.Sequential(nn.Linear(3, 2)), "lacks '0.weight'"),
    ):
        with pytest.raises(InputError, match=words):
            load_weights(other, weights)
