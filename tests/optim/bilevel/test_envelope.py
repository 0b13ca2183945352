"""The Moreau envelope's gradient against finite differences, and its bounds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.bilevel import ElasticNet, moreau_envelope
from polyad.optim.bilevel.envelope import total
from polyad.optim.bilevel.objectives import Variables


def lower(x: Variables, y: Variables) -> Tensor:
    """Coupled, not convex in y."""
    return (x[0].sum() + y[0]).sin().sum() + (x[0] * y[0][:2]).sum() + 0.3 * y[0].pow(4).sum() + y[1].square() * x[0][0]


POINT = (
    [torch.tensor([0.4, 0.9], dtype=torch.float64)],
    [
        torch.tensor([0.3, -0.8, 1.1], dtype=torch.float64),
        torch.tensor(0.6, dtype=torch.float64),
    ],
)
NET = ElasticNet(lambda x: (x[0][0].exp() / 4, x[0][1]))


@pytest.mark.parametrize("penalty", [None, NET])
def test_gradient_against_finite_differences(penalty: ElasticNet | None) -> None:
    options = {"gamma": 0.4, "eta": 0.15, "steps": 100, "penalty": penalty}
    found = moreau_envelope(lower, *POINT, **options)
    for level, gradient in enumerate((found.upper_gradient, found.lower_gradient)):
        for number, slope in enumerate(gradient):
            for index in range(slope.numel()):
                values = []
                for sign in (1, -1):
                    moved = [[v.clone() for v in variables] for variables in POINT]
                    moved[level][number].view(-1)[index] += sign * 1e-4
                    values.append(float(moreau_envelope(lower, *moved, **options).value))
                expected = (values[0] - values[1]) / 2e-4
                assert float(slope.reshape(-1)[index]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("penalty", [None, NET])
def test_the_envelope_lies_below_and_touches_at_stationary_points(penalty: ElasticNet | None) -> None:
    x, y = POINT
    above = float(total(lower, penalty, x, y))
    found = moreau_envelope(lower, x, y, gamma=0.4, eta=0.15, steps=100, penalty=penalty)
    assert float(found.value) < above - 1e-3
    for _ in range(90):
        y = moreau_envelope(lower, x, y, gamma=0.4, eta=0.15, steps=30, penalty=penalty).theta
    there = moreau_envelope(lower, x, y, gamma=0.4, eta=0.15, steps=30, penalty=penalty)
    assert float(there.value) == pytest.approx(float(total(lower, penalty, x, y)), abs=1e-12)
    for slope in there.lower_gradient:
        assert float(slope.abs().max()) < 1e-8


def test_start_and_bad_options() -> None:
    x, y = POINT
    start = [torch.zeros_like(v) for v in y]
    none = moreau_envelope(lower, x, y, gamma=0.4, eta=0.1, steps=0, start=start)
    assert all(torch.equal(t, s) for t, s in zip(none.theta, start, strict=True))
    distance = sum(float(v.square().sum()) for v in y)
    assert float(none.value) == pytest.approx(float(lower(x, start)) + distance / 0.8)
    with pytest.raises(InputError, match="gamma"):
        moreau_envelope(lower, x, y, gamma=0.0, eta=0.1, steps=1)
