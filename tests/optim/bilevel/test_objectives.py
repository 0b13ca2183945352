"""The elastic net's prox against its definition, and gradients of what is not reached."""

from __future__ import annotations

import pytest
import torch

from polyad.optim.bilevel.objectives import ElasticNet, descend, gradients, inner, leaves


@pytest.mark.parametrize("l2", [0.0, 0.8])
def test_prox_is_the_minimiser(l2: float) -> None:
    net = ElasticNet(lambda x: (x[0], torch.tensor(l2, dtype=torch.float64)))
    x, y = [torch.tensor(0.7, dtype=torch.float64)], [torch.linspace(-2, 2, 9, dtype=torch.float64)]
    grid = torch.linspace(-3, 3, 60_001, dtype=torch.float64)[:, None]
    step = 0.6
    objective = step * (0.7 * grid.abs() + l2 * grid.square() / 2) + (grid - y[0]).square() / 2
    torch.testing.assert_close(net.prox(x, y, step)[0], grid[objective.argmin(0), 0], atol=2e-4, rtol=0)


def test_value_sums_over_tensors_and_can_be_differentiated_by_the_weights() -> None:
    net = ElasticNet(lambda x: (x[0].exp(), x[1]))
    x = leaves([torch.tensor(0.3), torch.tensor(2.0)])
    y = [torch.tensor([1.0, -2.0]), torch.tensor([[3.0]])]
    value = net.value(x, y)
    torch.testing.assert_close(value, x[0].exp() * 6 + 14.0)
    first, second = gradients(value, x)
    torch.testing.assert_close(first, x[0].detach().exp() * 6)
    torch.testing.assert_close(second, torch.tensor(7.0))


def test_helpers() -> None:
    x = leaves([torch.ones(2), torch.ones(3)])
    assert torch.equal(gradients(x[0].sum(), x)[1], torch.zeros(3))
    assert torch.equal(gradients(torch.tensor(1.0), x)[0], torch.zeros(2))
    assert inner(x, x).item() == 5.0
    assert torch.equal(descend([torch.ones(2)], [torch.tensor([1.0, 2.0])], 0.5)[0], torch.tensor([0.5, 0.0]))
