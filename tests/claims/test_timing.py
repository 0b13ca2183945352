"""Threads come back, turns interleave, exponents are found."""

from __future__ import annotations

import itertools

import pytest
import torch

from polyad.claims.timing import log_slope, median_seconds, one_thread


def test_threads_come_back_also_after_an_error() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)

    def fail() -> None:
        with one_thread():
            assert torch.get_num_threads() == 1
            raise ValueError("inside")

    try:
        with pytest.raises(ValueError, match="inside"):
            fail()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_calls_take_turns_and_the_first_does_not_count() -> None:
    seen: list[str] = []
    now = itertools.count()  # every look at this clock is a second later
    found = median_seconds(
        {"a": lambda: seen.append("a"), "b": lambda: [seen.append("b"), next(now)]}, repeats=3, clock=lambda: next(now)
    )
    assert seen == ["a", "b"] * 4
    assert found == {"a": 1, "b": 2}


def test_exponent_of_a_power() -> None:
    assert log_slope((x, 7 * x**-1.5) for x in (1, 2, 5, 11)) == pytest.approx(-1.5, abs=1e-12)
