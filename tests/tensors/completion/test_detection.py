"""Detection models: values by hand, gradients by finite differences, the encoding of missing attributes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import torch

from polyad.errors import InputError
from polyad.tensors.completion import (
    AttributeEncoding,
    CountObservations,
    DetectionModel,
    LogisticDetection,
    MLPDetection,
    detection_loss,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def observed(attributes, known=None):
    count = len(attributes)
    indices = torch.stack([torch.arange(count), torch.zeros(count, dtype=torch.long)], dim=1)
    return CountObservations((count, 1), indices, torch.ones(count, dtype=torch.float64), attributes, known)


def test_network_is_a_sigmoid_of_tanh_layers():
    model, z = MLPDetection(4, (6, 5), generator=generator()), normal(9, 4)
    hidden = z.numpy()
    for weight, bias in list(zip(model.weights, model.biases, strict=True))[:-1]:
        hidden = np.tanh(hidden @ weight.detach().numpy().T + bias.detach().numpy())
    logit = hidden @ model.weights[-1].detach().numpy()[0] + float(model.biases[-1].detach())
    np.testing.assert_allclose(model(z).detach().exp().numpy(), scipy.special.expit(logit), rtol=1e-12)


def test_logistic_model_is_linear_in_the_log_odds():
    model, z = LogisticDetection(3), normal(5, 3)
    torch.testing.assert_close(model(z).exp(), torch.full((5,), 0.5, dtype=torch.float64))
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
        model.bias.fill_(0.3)
    torch.testing.assert_close(torch.special.logit(model(z).exp()), z @ model.weight[0] + 0.3)


@pytest.mark.parametrize("make", [lambda: MLPDetection(3, (4,), generator=generator(1)), lambda: LogisticDetection(3)])
def test_gradient_of_the_loss_is_its_finite_difference(make):
    model, z = make(), normal(20, 3, seed=2)
    rates = normal(20, seed=3).square() * 10
    counts = torch.poisson(rates, generator=generator(4))

    def loss():
        return detection_loss(model(z), rates, counts)

    loss().backward()
    step = 1e-5
    for parameter in model.parameters():
        for place in range(parameter.numel()):
            flat = parameter.detach().view(-1)
            value = float(flat[place])
            flat[place] = value + step
            above = float(loss().detach())
            flat[place] = value - step
            below = float(loss().detach())
            flat[place] = value
            assert float(parameter.grad.view(-1)[place]) == pytest.approx(
                (above - below) / (2 * step), rel=1e-6, abs=1e-6
            )


def test_loss_is_that_of_the_counts_but_for_the_part_of_the_rates():
    rates, counts, p = normal(9, seed=5).square() + 1, torch.arange(9.0, dtype=torch.float64), torch.linspace(0.1, 1, 9)
    expected = rates * p.double()
    whole = (expected - counts * expected.log()).sum()
    part = detection_loss(p.double().log(), rates, counts)
    torch.testing.assert_close(part - (counts * rates.log()).sum(), whole)


def test_fresh_models_differ_by_seed_alone_and_leave_the_old_one():
    model, z = MLPDetection(4, (6,), generator=generator()), normal(9, 4)
    before = model(z).detach().clone()
    one, same, other = (model.fresh(generator(seed)) for seed in (1, 1, 2))
    assert isinstance(model, DetectionModel)
    assert torch.equal(one(z), same(z))
    assert not torch.equal(one(z), other(z))
    assert torch.equal(model(z), before)
    assert LogisticDetection(4).fresh(generator())(z).exp().unique().tolist() == [0.5]


def test_encoding_standardises_and_leaves_constant_columns_finite():
    z = torch.cat([normal(50, 2) * 7 + 3, torch.full((50, 1), 4.0, dtype=torch.float64)], dim=1)
    encoding = AttributeEncoding.of(observed(z))
    encoded = encoding(z)
    torch.testing.assert_close(encoded.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(encoded[:, :2].std(0, correction=0), torch.ones(2, dtype=torch.float64))
    assert encoding.width == 3
    assert float(encoded[:, 2].abs().max()) == 0


def test_missing_attributes_are_their_mean_with_a_flag():
    z = normal(30, 2)
    known = torch.ones(30, 2, dtype=torch.bool)
    known[::3, 0] = False
    spoiled = torch.where(known, z, torch.nan)
    encoding = AttributeEncoding.of(observed(spoiled, known))
    encoded = encoding(spoiled, known)
    assert encoding.width == encoded.shape[1] == 4
    seen = z[known[:, 0], 0]
    assert float(encoding.mean[0]) == pytest.approx(float(seen.mean()))
    assert float(encoding.scale[0]) == pytest.approx(float(seen.std(correction=0)))
    assert encoded[0].tolist()[0] == 0
    assert encoded[:, 2].tolist() == (~known[:, 0]).double().tolist()
    assert float(encoding(z)[:, 2:].abs().max()) == 0


def test_bad_attributes_are_refused():
    z = normal(10, 2)
    encoding = AttributeEncoding.of(observed(z))
    with pytest.raises(InputError, match="3 columns"):
        encoding(normal(10, 3))
    with pytest.raises(InputError, match="none was in training"):
        encoding(z, torch.zeros(10, 2, dtype=torch.bool))
    with pytest.raises(InputError, match="NaN"):
        encoding(z / 0)
    with pytest.raises(InputError, match="never known"):
        AttributeEncoding.of(observed(z, torch.tensor([[True, False]]).expand(10, 2).clone()))
    with pytest.raises(InputError, match="no attributes"):
        AttributeEncoding.of(CountObservations((2, 1), torch.tensor([[0, 0]]), torch.ones(1)))
    with pytest.raises(InputError, match="hidden"):
        MLPDetection(3, (0,))
