"""The Mackey-Glass series, chaotic from a delay of about 17 on, and windows of a series to predict it from.

    dx/dt = beta x(t - tau) / (1 + x(t - tau)^n) - gamma x(t),    x(t) = x_0 for t <= 0

by the classical Runge-Kutta method of order 4; between grid points the delayed value is a cubic of values and slopes,
which keeps the order.

M. C. Mackey, L. Glass, 'Oscillation and chaos in physiological control systems', Science 197 (1977) 287.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError


def mackey_glass(
    length: int,
    *,
    tau: float = 17.0,
    beta: float = 0.2,
    gamma: float = 0.1,
    power: float = 10.0,
    start: float = 1.2,
    spacing: float = 1.0,
    skipped: int = 0,
    steps: int = 10,
) -> Float[Tensor, " length"]:
    """Values of the series, float64.

    Args:
        length: how many.
        tau: delay; a whole number of steps.
        beta: of the delayed term.
        gamma: of the decay.
        power: n.
        start: x_0.
        spacing: time between values.
        skipped: values left out before the first, which without is x_0.
        steps: of the method, a value.

    Raises:
        InputError: numbers that are not positive, or a delay that is no whole number of steps.
    """
    positive = (length, tau, beta, gamma, power, start, spacing, steps)
    if min(positive) <= 0 or skipped < 0:
        raise InputError(f"mackey_glass: needs positive numbers and skipped >= 0, got {positive} and {skipped}")
    step = spacing / steps
    delay = round(tau / step)
    if delay < 1 or abs(delay * step - tau) > 1e-9 * tau:
        raise InputError(f"tau: {tau} is no whole number of steps of {step}; choose spacing / steps to divide it")

    def feed(delayed: float) -> float:
        return float(beta * delayed / (1 + delayed**power))

    # On the grid and half-way between, from -tau on: index i + delay is time i * step.
    values, halves = [start] * (delay + 1), [start] * delay
    slope = feed(start) - gamma * start
    for i in range((length + skipped - 1) * steps):
        x, half, end = values[-1], feed(halves[i]), feed(values[i + 1])
        second = half - gamma * (x + step / 2 * slope)
        third = half - gamma * (x + step / 2 * second)
        fourth = end - gamma * (x + step * third)
        following = x + step / 6 * (slope + 2 * second + 2 * third + fourth)
        slope, former = end - gamma * following, slope
        halves.append((x + following) / 2 + step / 8 * (former - slope))
        values.append(following)
    return torch.tensor(values[delay::steps][skipped:], dtype=torch.float64)


def windows(
    series: Float[Tensor, " length"], width: int, *, lag: int = 1, ahead: int = 1
) -> tuple[Float[Tensor, "rows width"], Float[Tensor, "rows 1"]]:
    """Inputs x(t - (width - 1) lag), ..., x(t - lag), x(t) and targets x(t + ahead), for all t that have both.

    Args:
        series: x.
        width: values a row.
        lag: between them.
        ahead: from the last of them to the target.

    Raises:
        InputError: numbers below 1, or a series too short for one row.
    """
    if min(width, lag, ahead) < 1:
        raise InputError(f"width, lag, ahead: must be 1 or more, got {width}, {lag}, {ahead}")
    span = (width - 1) * lag
    rows = len(series) - span - ahead
    if rows < 1:
        raise InputError(f"series: {len(series)} values are too few for one row, which spans {span + ahead + 1}")
    inputs = torch.stack([series[k * lag : k * lag + rows] for k in range(width)], 1)
    return inputs, series[span + ahead :, None].clone()
