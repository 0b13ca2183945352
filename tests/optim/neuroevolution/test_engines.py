"""Which engine runs where, and what cannot be asked for."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.optim.neuroevolution.engines import runs_compiled


@pytest.mark.parametrize(
    ("engine", "device", "compiled"),
    [
        ("auto", "cpu", True),
        ("compiled", "cpu", True),
        ("torch", "cpu", False),
        ("auto", "meta", False),
        ("torch", "meta", False),
    ],
)
def test_loops_run_on_processors_unless_array_operations_are_asked_for(
    engine: str, device: str, compiled: bool
) -> None:
    assert runs_compiled(engine, torch.zeros(2, device=device)) is compiled


def test_loops_on_another_device_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"^engine: 'compiled' runs on a CPU, the tensors are on meta; choose 'torch'$"
    ):
        runs_compiled("compiled", torch.zeros(2, device="meta"))
