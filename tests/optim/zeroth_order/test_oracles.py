"""Oracles are counted by points and refused where their answer is not one value a point; starts are copied."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.optim.zeroth_order.oracles import CountedValues, checked_start, finite_runs


def test_points_are_counted_for_each_run() -> None:
    weight = torch.ones(3, requires_grad=True)
    counted = CountedValues(lambda x: (weight * x).sum((-2, -1)), 2)
    values = counted(torch.ones(5, 2, 4, 3))
    assert torch.equal(values, torch.full((5, 2), 12.0))
    assert not values.requires_grad
    counted(torch.ones(2, 2, 4, 3))
    assert counted.evaluations == 7


@pytest.mark.parametrize("answer", [None, 1.0, torch.ones(5, 1), torch.ones(())])
def test_other_answers_are_refused(answer: object) -> None:
    counted = CountedValues(lambda x: answer, 1)  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError, match="one value a point"):
        counted(torch.ones(5, 3))


def test_starts() -> None:
    start = torch.ones(2, 3)
    copy = checked_start(start, 1)
    copy += 1
    assert torch.equal(start, torch.ones(2, 3))
    for bad in (torch.ones(3, dtype=torch.long), torch.ones(3) * math.nan, torch.ones(2, 0), torch.ones(())):
        with pytest.raises(InputError, match="point"):
            checked_start(bad, 1)


def test_runs_are_finite_as_a_whole() -> None:
    values = torch.zeros(3, 2, 2)
    values[1, 0, 1] = math.inf
    assert finite_runs(values, 2).flatten().tolist() == [True, False, True]
    assert finite_runs(values, 1).shape == (3, 2, 1)
