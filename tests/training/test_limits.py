"""The first limit that is reached ends a run."""

from __future__ import annotations

import pytest

from polyad.errors import InputError
from polyad.training.limits import Limits
from polyad.training.run import State


def test_epochs_are_steps() -> None:
    assert Limits.of(50, 8, 2.0, None, None).steps == 14
    assert Limits.of(50, 8, 2.0, 5, None).steps == 5
    assert Limits.of(50, 8, 0.001, None, None).steps == 1


def test_progress_is_of_the_limit_that_is_nearer() -> None:
    limits = Limits.of(50, 8, None, 100, 1.0)
    assert limits.progress(State(step=20, seconds=6.0)) == 0.2
    assert limits.progress(State(step=20, seconds=30.0)) == 0.5
    assert limits.progress(State(step=20, seconds=90.0)) == 1.0
    assert limits.reached(State(step=100)) == "steps"
    assert limits.reached(State(step=9, seconds=60.0)) == "minutes"
    assert limits.reached(State(step=99, seconds=59.0)) is None
    assert limits.count(State(step=20, seconds=30.0)) == (500, 1000)
    assert Limits.of(50, 8, None, 100, None).count(State(step=20)) == (20, 100)


def test_no_limit_is_refused() -> None:
    with pytest.raises(InputError, match="give a limit"):
        Limits.of(50, 8, None, None, None)
