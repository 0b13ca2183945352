"""The average against its recurrence, and the model untouched by looking at it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from polyad.errors import InputError
from polyad.training.averaging import MovingAverage


def test_average_follows_its_recurrence() -> None:
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    average = MovingAverage(model, 0.8)
    expected = model[0].weight.detach().clone()
    for step in range(1, 40):
        with torch.no_grad():
            model[0].weight.normal_(generator=torch.Generator().manual_seed(step))
            model[1].running_mean.fill_(step)  # type: ignore[union-attr, operator]
        average.update(model, step)
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    assert torch.allclose(average.average["0.weight"], expected, atol=1e-6)
    assert average.average["1.running_mean"].item() == 39  # buffers are copied


def test_applied_average_is_taken_off_again() -> None:
    model = nn.Linear(2, 2)
    average = MovingAverage(model, 0.5)
    before = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    with average.applied_to(model):
        assert torch.equal(model.weight, before)
    assert torch.equal(model.weight, before + 1.0)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_bad_decay_is_refused(decay: float) -> None:
    with pytest.raises(InputError, match="decay"):
        MovingAverage(nn.Linear(1, 1), decay)
