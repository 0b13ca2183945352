"""The parts of a run that the loop's tests do not pin down: exact optimiser states, and batches of any make."""

from __future__ import annotations

import torch
from torch import nn

from polyad.training.run import _load_optimizer, _moved


def test_optimiser_state_keeps_its_dtype() -> None:
    """`load_state_dict` alone casts states to the weights' dtype; a float64 statistic would lose its digits."""
    model = nn.Linear(2, 1)
    first, second = (torch.optim.Adagrad(model.parameters(), lr=0.1) for _ in range(2))
    state = first.state_dict()
    exact = torch.tensor([[1 / 3, 1 / 7]], dtype=torch.float64)
    state["state"][0]["sum"] = exact
    _load_optimizer(second, state, "test")
    assert torch.equal(second.state[model.weight]["sum"], exact)


def test_batches_of_any_make_are_moved() -> None:
    class Own:
        def to(self, target: object) -> Own:
            seen.append(target)
            return self

    seen: list[object] = []
    cpu = torch.device("cpu")
    batch = ({"x": torch.zeros(2), "n": torch.tensor([1])}, [torch.ones(1)], Own(), "word")
    moved = _moved(batch, cpu, torch.float64)
    assert moved[0]["x"].dtype == moved[1][0].dtype == torch.float64
    assert moved[0]["n"].dtype == torch.int64
    assert seen == [cpu, torch.float64]
    assert moved[3] == "word"
