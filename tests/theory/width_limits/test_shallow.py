"""The limit of one hidden layer against networks that widen, and its first step against integrals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from polyad.errors import InputError
from polyad.theory.width_limits import AdamUpdate, initial_weights, mup_limit_shallow, preset, sgd, sign, train

INPUTS = torch.tensor([[0.9, 0.5, -0.2], [-0.3, 0.8, 0.4], [0.2, 0.1, 0.6]], dtype=torch.float64)
TARGETS = torch.tensor([1.0, -1.0], dtype=torch.float64)


def test_first_step_of_sgd_moves_by_the_integral() -> None:
    """To first order f_1 = -eta sum_b chi_b (E[relu relu] + E[v^2] E[relu' relu'] x x_b) / B."""
    rate, x = 1e-4, INPUTS[:1]
    found = mup_limit_shallow(x, TARGETS[:1], update=sgd(), learning_rate=rate, steps=1, samples=200_000)
    square = float((x @ x.T)[0, 0])
    assert abs(found.outputs[0].item()) < 1e-12
    assert found.outputs[1].item() / rate == pytest.approx(square / 2 + square / 2, rel=0.02)


def test_first_step_of_sign_moves_by_the_integral() -> None:
    """Of v, E relu = |x| / sqrt(2 pi); of u, E|v| times a half times the l1 norm of x."""
    rate, x = 1e-4, INPUTS[:1]
    found = mup_limit_shallow(x, TARGETS[:1], update=sign(), learning_rate=rate, steps=1, samples=200_000)
    length, norm_one = float(x.norm()), float(x.abs().sum())
    expected = length / math.sqrt(2 * math.pi) + math.sqrt(2 / math.pi) * norm_one / 2
    assert found.outputs[1].item() / rate == pytest.approx(expected, rel=0.02)
    assert found.changes[1].item() / rate == pytest.approx(norm_one / math.sqrt(2), rel=0.02)


def test_networks_meet_the_limit_as_they_widen() -> None:
    options: Any = {"update": AdamUpdate(), "learning_rate": 0.1, "steps": 8, "activation": torch.tanh}
    limit = mup_limit_shallow(INPUTS, TARGETS, samples=200_000, **options)
    spec, errors, changes = preset("mup", depth=2), [], []
    for width in (64, 1024):
        weights = initial_weights(spec, width=width, inputs=3, seeds=24, generator=torch.Generator().manual_seed(0))
        record = train(spec, weights, INPUTS, TARGETS, **options)
        errors.append(float((record.outputs - limit.outputs[:, None]).square().mean().sqrt()))
        changes.append(float(record.changes[-1].square().mean().sqrt()))
    assert -0.65 < math.log(errors[1] / errors[0]) / math.log(16) < -0.35
    assert changes[1] == pytest.approx(float(limit.changes[-1]), rel=0.02)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="samples"):
        mup_limit_shallow(INPUTS, TARGETS, update=sgd(), learning_rate=0.1, steps=1, samples=0)
    with pytest.raises(InputError, match="targets"):
        mup_limit_shallow(INPUTS[:1], TARGETS, update=sgd(), learning_rate=0.1, steps=1)
