"""Optimisers by name: lists cost nothing, entries are sound, and every one can be built."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from polyad.errors import InputError
from polyad.optim.registry import OPTIMIZERS, Entry, find_optimizer


def test_reading_the_registry_loads_no_torch() -> None:
    program = "import sys, polyad.optim.registry as r; print(len(r.OPTIMIZERS) > 4, 'torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_entries_are_built_and_take_a_rate(name: str) -> None:
    entry = find_optimizer(name)
    model = nn.Linear(3, 2)
    optimizer = entry.build(model, lr=0.02)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.02
    assert entry.name == name
    assert 0 < entry.rates[0] < entry.rates[1]
    only = entry.build(model, params=[model.weight], lr=entry.rates[1])
    assert len(only.param_groups[0]["params"]) == 1
    with pytest.raises(TypeError):
        entry.options["lr"] = 1.0  # type: ignore[index]


def test_bad_entries_and_names_are_refused() -> None:
    with pytest.raises(InputError, match="unknown; there are sgd"):
        find_optimizer("adamm")
    with pytest.raises(InputError, match="rates"):
        Entry("x", "torch.optim:SGD", "", (1.0, 0.1))
    with pytest.raises(InputError, match="needs"):
        Entry("x", "torch.optim:SGD", "", (0.1, 1.0), needs="hessian")
