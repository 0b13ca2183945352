"""Metrics against dense formulas."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.optim.second_order.metric import Metric

B = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
H = torch.tensor([[1.0, 3.0], [3.0, -1.0]], dtype=torch.float64)
G = torch.tensor([1.0, -2.0], dtype=torch.float64)


def test_norms_and_sums():
    metric = Metric(B, like=G)
    assert metric.dual_square(G) == pytest.approx(float(G @ torch.linalg.inv(B) @ G))
    assert torch.allclose(metric.solve(metric.apply(G)), G)
    assert torch.equal(metric.added_to(H, 3.0), H + 3 * B)


def test_identity_leaves_the_hessian_as_it_is():
    metric, before = Metric(None, like=G), H.clone()
    assert metric.dual_square(G) == 5.0
    assert torch.equal(metric.added_to(H, 3.0), H + 3 * torch.eye(2))
    assert torch.equal(H, before)


@pytest.mark.parametrize(
    "bad", [torch.eye(3), torch.zeros(2, 2), torch.tensor([[1.0, 0.5], [0.0, 1.0]]), B * torch.nan]
)
def test_bad_metrics_are_refused(bad):
    with pytest.raises(InputError, match="metric"):
        Metric(bad, like=G)
