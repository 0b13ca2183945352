"""Training of finite networks against torch's own layers and optimisers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from polyad.errors import InputError, NumericalWarning
from polyad.theory.width_limits import AdamUpdate, forward, initial_weights, preset, sgd, train


def test_training_is_torchs_with_scales_moved_into_weights() -> None:
    """W = w / n^a moves by rate n^-(a + c) under Adam: torch's groups have that rate."""
    spec, width = preset("mup"), 16
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    targets = torch.randn(4, generator=generator, dtype=torch.float64)
    weights = initial_weights(spec, width=width, inputs=3, seeds=2, generator=generator)
    kept = [weight.clone() for weight in weights]
    record = train(spec, weights, inputs, targets, update=AdamUpdate(), learning_rate=0.1, steps=3)
    for seed in range(2):
        layers = [nn.Linear(*w.shape[:0:-1], bias=False, dtype=torch.float64) for w in weights]
        groups = []
        for layer, weight, scale in zip(layers, weights, spec.layers, strict=True):
            layer.weight.data = weight[seed] * width**-scale.a
            groups.append({"params": [layer.weight], "lr": 0.1 * width ** -(scale.a + scale.c)})
        model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        optimizer = torch.optim.Adam(groups, eps=1e-30)
        start = model[2](model[1](model[0](inputs))).detach()
        for step in range(4):
            assert torch.allclose(model(inputs)[:, 0], record.outputs[step, seed], atol=1e-9)
            moved = (model[2](model[1](model[0](inputs))) - start).square().mean().sqrt()
            assert torch.allclose(moved, record.changes[step, seed, 1], atol=1e-9)
            optimizer.zero_grad()
            (0.5 * (model(inputs[:4])[:, 0] - targets) ** 2).mean().backward()
            optimizer.step()
    assert all(torch.equal(weight, before) for weight, before in zip(weights, kept, strict=True))


def test_initial_weights_have_their_variance_and_seed() -> None:
    spec = preset("sp")
    draws = [
        initial_weights(spec, width=256, inputs=4, seeds=3, generator=torch.Generator().manual_seed(1)) for _ in "ab"
    ]
    assert [tuple(w.shape) for w in draws[0]] == [(3, 256, 4), (3, 256, 256), (3, 1, 256)]
    assert all(torch.equal(a, b) for a, b in zip(*draws, strict=True))
    assert float(draws[0][1].std()) == pytest.approx(1 / 16, rel=0.01)
    outputs, hidden = forward(spec, draws[0], torch.ones(2, 4, dtype=torch.float64))
    assert outputs.shape == (3, 2)
    assert [h.shape for h in hidden] == [(3, 2, 256)] * 2


def test_bad_input_is_refused() -> None:
    generator = torch.Generator()
    with pytest.raises(InputError, match="width"):
        initial_weights(preset("mup"), width=0, inputs=3, generator=generator)
    weights = initial_weights(preset("mup"), width=4, inputs=3, generator=generator)
    with pytest.raises(InputError, match="targets"):
        train(preset("mup"), weights, torch.ones(1, 3).double(), torch.ones(2), update=sgd(), learning_rate=0.1)
    data, target = torch.ones(1, 3).double(), torch.ones(1).double()
    with pytest.raises(InputError, match="dtype"):
        train(preset("mup"), weights, data.float(), target, update=sgd(), learning_rate=0.1)
    with pytest.raises(InputError, match="finite"):
        train(preset("mup"), weights, data, target * torch.nan, update=sgd(), learning_rate=0.1)


def test_divergence_is_said() -> None:
    weights = initial_weights(preset("mup"), width=4, inputs=3, generator=torch.Generator().manual_seed(0))
    with pytest.warns(NumericalWarning, match="diverged"):
        train(
            preset("mup"),
            weights,
            torch.ones(1, 3).double(),
            torch.ones(1).double(),
            update=sgd(),
            learning_rate=1e6,
            steps=30,
            activation=torch.nn.functional.leaky_relu,
        )
