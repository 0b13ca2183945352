"""Schedules against their formulas at the ends and in the middle."""

from __future__ import annotations

import math

import pytest

from polyad.errors import InputError
from polyad.training.schedules import Schedule, constant, cosine, exponential, linear, one_cycle


@pytest.mark.parametrize(
    ("schedule", "progress", "expected"),
    [
        (constant(), 0.0, 1.0),
        (constant(warmup=0.5), 0.25, 0.5),
        (constant(warmup=0.5), 0.75, 1.0),
        (cosine(warmup=0.2), 0.1, 0.5),
        (cosine(warmup=0.2), 0.2, 1.0),
        (cosine(warmup=0.2, final=0.1), 0.6, 0.55),
        (cosine(warmup=0.2, final=0.1), 1.0, 0.1),
        (cosine(warmup=0.0), 1 / 3, 0.75),
        (linear(warmup=0.0, final=0.2), 0.25, 0.8),
        (linear(warmup=0.5), 0.75, 0.5),
        (exponential(final=1e-4), 0.5, 1e-2),
        (one_cycle(peak=0.4, initial=0.2), 0.0, 0.2),
        (one_cycle(peak=0.4, initial=0.2), 0.2, 0.6),
        (one_cycle(peak=0.4), 0.4, 1.0),
        (one_cycle(peak=0.4, final=0.0), 0.7, 0.5),
    ],
)
def test_values(schedule: Schedule, progress: float, expected: float) -> None:
    assert schedule(progress) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("schedule", [constant(warmup=0.3), cosine(), linear(), exponential(), one_cycle()])
def test_rates_stay_between_0_and_1_and_never_start_at_0(schedule: Schedule) -> None:
    values = [schedule(k / 200) for k in range(201)]
    assert all(0 <= x <= 1 for x in values)
    assert values[0] > 0
    assert max(abs(a - b) for a, b in zip(values[1:], values[:-1], strict=True)) < 0.11  # no jump


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: cosine(warmup=1.0), "warmup"),
        (lambda: cosine(final=2.0), "final"),
        (lambda: exponential(final=0.0), "never reaches 0"),
        (lambda: one_cycle(peak=0.0), "peak"),
        (lambda: linear(final=math.nan), "final"),
    ],
)
def test_bad_shares_are_refused(build, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build()
