"""Rates: the best of those tried, found again, near the minimum of a known score."""

from __future__ import annotations

import builtins
import math
from typing import Any

import pytest

from polyad.errors import InputError, MissingDependencyError
from polyad.optim.racing.tuning import tune_rate
from polyad.optim.registry import Entry

ENTRY = Entry("x", "torch.optim:SGD", "", (1e-4, 1.0))


def bowl(_: int, rate: float) -> float:
    """Smallest at 0.02; diverges above 0.3, with either word for it."""
    return (math.nan if rate > 0.6 else math.inf) if rate > 0.3 else math.log(rate / 0.02) ** 2


def test_the_best_rate_tried_is_chosen_and_found_again() -> None:
    pytest.importorskip("optuna")
    tuning = tune_rate(ENTRY, bowl, trials=16)
    assert len(tuning.trials) == 16
    assert tuning.rate == min(tuning.trials, key=lambda pair: pair[1])[0]
    assert 0.013 < tuning.rate < 0.03
    assert not tuning.at_edge
    assert tune_rate(ENTRY, bowl, trials=16) == tuning
    rates = [rate for rate, _ in tuning.trials]
    assert rates[:8] == pytest.approx([10 ** (-4 + 4 * (k + 0.5) / 8) for k in range(8)])
    assert all(1e-4 <= rate <= 1.0 for rate in rates)
    assert tune_rate(ENTRY, bowl, trials=16, seed=1).trials[8:] != tuning.trials[8:]


def test_edges_and_failures_are_told() -> None:
    pytest.importorskip("optuna")
    assert tune_rate(ENTRY, lambda _, rate: -rate, trials=40).at_edge
    lost = tune_rate(ENTRY, lambda _, rate: math.inf, trials=3)
    assert math.isnan(lost.rate)
    assert [value for _, value in lost.trials] == [math.inf] * 3
    with pytest.raises(InputError, match="trials"):
        tune_rate(ENTRY, bowl, trials=0)


def test_without_optuna_the_pip_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **options: Any) -> Any:
        if name == "optuna":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingDependencyError, match=r"pip install 'polyad\[race\]'"):
        tune_rate(ENTRY, bowl, trials=1)
