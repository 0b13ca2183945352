"""The delay equation against its closed form over the first delay, its order, and windows by hand."""

from __future__ import annotations

import math

import pytest
import torch

from polyad.errors import InputError
from polyad.problems.series import mackey_glass, windows


def test_first_delay_is_the_closed_form() -> None:
    """While the delayed value is x_0, the equation is linear with constant coefficients."""
    series = mackey_glass(18, tau=17, start=0.7)
    fed = 0.2 * 0.7 / (1 + 0.7**10) / 0.1
    for t in range(18):
        assert float(series[t]) == pytest.approx(fed + (0.7 - fed) * math.exp(-0.1 * t), abs=1e-9)


def test_second_delay_is_the_closed_form_integrated() -> None:
    """On [tau, 2 tau]: x' = F(x(t - tau)) - gamma x with x(t - tau) known; the integral by fine quadrature."""
    series = mackey_glass(31, tau=17, start=0.7, steps=20)
    fed = 0.2 * 0.7 / (1 + 0.7**10) / 0.1
    s = torch.linspace(0, 13, 20001, dtype=torch.float64)
    delayed = fed + (0.7 - fed) * torch.exp(-0.1 * s)
    drive = 0.2 * delayed / (1 + delayed**10)
    integral = float(torch.trapezoid(drive * torch.exp(-0.1 * (13 - s)), s))
    assert float(series[30]) == pytest.approx(float(series[17]) * math.exp(-1.3) + integral, abs=1e-7)


def test_order_is_four() -> None:
    finest = mackey_glass(60, steps=64)
    coarse, fine = ((mackey_glass(60, steps=n) - finest).abs().max() for n in (2, 4))
    assert 3.5 < math.log2(float(coarse / fine)) < 4.6


def test_series_stays_in_its_band_and_skips() -> None:
    series = mackey_glass(600)
    assert 0.2 < float(series[200:].min()) < 0.6
    assert 1.2 < float(series[200:].max()) < 1.5
    assert float(series[200:].std()) > 0.1
    assert torch.equal(mackey_glass(100, skipped=500), series[500:])
    torch.testing.assert_close(mackey_glass(20, spacing=2.0, steps=20), series[:40:2])
    assert mackey_glass(1).tolist() == [1.2]


def test_windows_hold_lagged_values_and_the_value_ahead() -> None:
    inputs, targets = windows(torch.arange(12.0), 3, lag=2, ahead=4)
    assert inputs.tolist() == [[0, 2, 4], [1, 3, 5], [2, 4, 6], [3, 5, 7]]
    assert targets.tolist() == [[8], [9], [10], [11]]


def test_bad_numbers() -> None:
    with pytest.raises(InputError, match="whole number of steps"):
        mackey_glass(10, tau=17.03)
    with pytest.raises(InputError, match="positive"):
        mackey_glass(0)
    with pytest.raises(InputError, match="width"):
        windows(torch.arange(5.0), 0)
    with pytest.raises(InputError, match="too few"):
        windows(torch.arange(5.0), 5)
