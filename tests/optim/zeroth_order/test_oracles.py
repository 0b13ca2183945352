"""Oracles are counted by points and refused where their answer is not one value a point; starts are copied."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError, NumericalWarning
from polyad.optim.zeroth_order.oracles import CountedValues, checked_start, chosen, usable_runs
from polyad.optim.zeroth_order.two_point import PerturbedTwoPointZO


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
    optimizer = PerturbedTwoPointZO(torch.zeros(3, 2), lr=1.0)
    values = torch.zeros(3, 2, 2)
    values[1, 0, 1] = math.inf
    with pytest.warns(NumericalWarning, match="PerturbedTwoPointZO"):
        usable = usable_runs(optimizer, values, 2)
    assert usable is not None
    assert usable.tolist() == [True, False, True]
    assert chosen(usable, torch.ones(3, 2), torch.zeros(3, 2)).tolist() == [[1, 1], [0, 0], [1, 1]]
    assert usable_runs(optimizer, values[::2], 1) is None
    assert bool(chosen(None, torch.ones(3, 2), torch.zeros(3, 2)).all())
    values[0, 1, 0] = math.nan
    found = usable_runs(optimizer, values, 1)
    assert found is not None
    assert found.tolist() == [[True, False], [False, True], [True, True]]
    assert (optimizer.steps, optimizer.skipped_steps) == (3, 2)


def test_states_of_other_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="generator"):
        PerturbedTwoPointZO(torch.zeros(3, 2), lr=1.0).load_state_dict({"point": torch.zeros(3, 2)})
