"""Update functions against torch's optimisers."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.theory.width_limits import AdamUpdate, sgd, sign


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_adam_is_torchs(epsilon: float) -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    weight = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    optimizer = torch.optim.Adam([weight], lr=0.1, betas=(0.7, 0.9), eps=epsilon)
    ours, state = torch.zeros(5, dtype=torch.float64), ()
    update = AdamUpdate(beta1=0.7, beta2=0.9, epsilon=epsilon)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        step, state = update(gradient, state)
        ours -= 0.1 * step
        assert torch.allclose(ours, weight, atol=1e-14)


def test_adam_starts_as_sign_and_ignores_scale() -> None:
    gradient = torch.tensor([2.0, -1e-3, 0.0], dtype=torch.float64)
    first, state = AdamUpdate()(gradient)
    assert torch.allclose(first, sign()(gradient)[0])
    scaled = AdamUpdate()(1e6 * gradient.flip(0), AdamUpdate()(1e6 * gradient)[1])[0]
    assert torch.allclose(AdamUpdate()(gradient.flip(0), state)[0], scaled, rtol=1e-12)
    assert sgd()(gradient)[0] is gradient


def test_bad_decay_is_refused() -> None:
    with pytest.raises(InputError, match="beta2"):
        AdamUpdate(beta2=1.0)
