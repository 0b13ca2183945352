"""Kronecker factors by hooks against per-sample gradients by autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim.curvature.kronecker import KroneckerCollector, gram_matrix


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def perceptron() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 2, bias=False)).double()


def sample_gradients(model: nn.Module, x: Tensor, name: str) -> Tensor:
    """(samples, ...) gradients of every sample's loss, one backward pass each."""
    found = []
    for one in x:
        model.zero_grad()
        model(one[None]).square().sum().backward()
        gradient = dict(model.named_parameters())[name].grad
        assert gradient is not None
        found.append(gradient.clone())
    return torch.stack(found)


def test_factors_of_one_position_are_means_of_outer_products() -> None:
    model, x = perceptron(), normal(6, 4, seed=1)
    with KroneckerCollector(model) as collector:
        model(x).square().sum(1).mean().backward()
        factors = collector.factors()
    assert collector.uncovered == []
    first = factors["0"]
    ones = torch.ones(6, 1, dtype=torch.float64)
    assert first.input is not None
    assert torch.allclose(first.input, torch.cat([x, ones], 1).mT @ torch.cat([x, ones], 1) / 6, atol=1e-12)
    # the gradient of the bias is the gradient at the output
    g = sample_gradients(model, x, "0.bias")
    assert torch.allclose(first.output, g.mT @ g / 6, atol=1e-10)
    scale = sample_gradients(model, x, "2.weight"), sample_gradients(model, x, "2.bias")
    assert torch.allclose(factors["2"].output, torch.stack(scale, -1).square().mean(0), atol=1e-10)


@pytest.mark.parametrize("kind", ["conv1d", "conv2d", "embedding", "attention"])
def test_rows_give_the_gradients_of_samples(kind: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers: dict[str, nn.Module] = {
            "conv1d": nn.Conv1d(2, 3, 3, padding="same", dilation=2),
            "conv2d": nn.Conv2d(2, 3, (3, 2), stride=2, padding=1, padding_mode="circular"),
            "embedding": nn.Embedding(7, 3, padding_idx=0),
            "attention": nn.MultiheadAttention(4, 2, batch_first=True),
        }
    layer = layers[kind].double()
    inputs = {
        "conv1d": normal(5, 2, 9),
        "conv2d": normal(5, 2, 6, 7),
        "embedding": torch.randint(7, (5, 4), generator=torch.Generator().manual_seed(2)),
        "attention": normal(5, 6, 4),
    }[kind]

    def loss(x: Tensor) -> Tensor:
        result = layer(x, x, x)[0] if kind == "attention" else layer(x)
        return result.pow(3).flatten(1).sum(1)

    with KroneckerCollector(layer, loss_reduction="sum", keep_rows=True) as collector:
        loss(inputs).sum().backward()
        rows = collector.rows
    for entry in collector.layers.values():
        found = rows[entry.name][0].per_sample_gradient()
        for number, one in enumerate(inputs):
            layer.zero_grad()
            loss(one[None]).sum().backward()
            weight = dict(layer.named_parameters())[entry.weight].grad
            assert weight is not None
            part = weight if entry.rows is None else weight[entry.rows[0] : entry.rows[1]]
            expected = part if entry.kind == "table" else part.flatten(1)
            columns = expected.shape[1]
            assert torch.allclose(found[number][:, :columns], expected, atol=1e-10)
    assert len(collector.layers) == (4 if kind == "attention" else 1)


def test_attention_computes_what_it_did() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.MultiheadAttention(4, 2).double()
    x = normal(6, 3, 4)
    mask = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
    expected = layer(x, x, x, attn_mask=mask)
    with KroneckerCollector(layer):
        found = layer(x, x, x, attn_mask=mask)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, expected, strict=True))
    assert torch.equal(layer(x, x, x, attn_mask=mask)[0], expected[0])  # its own forward is back


def test_gram_matrix_of_gradients() -> None:
    model, x = perceptron(), normal(6, 4, seed=3)
    with KroneckerCollector(model, loss_reduction="sum", keep_rows=True) as collector:
        model(x).square().sum().backward()
        found = gram_matrix(collector.rows)
    names = [name for name, _ in model.named_parameters()]
    each = torch.cat([sample_gradients(model, x, name).flatten(1) for name in names], dim=1)
    assert torch.allclose(found, each @ each.mT, atol=1e-10)


def test_passes_add_up_and_can_be_hidden() -> None:
    model, x = perceptron(), normal(6, 4, seed=4)
    collector = KroneckerCollector(model, loss_reduction="sum")
    model(x).square().sum().backward()
    whole = collector.factors()["0"]
    collector.reset()
    for part in x.split(3):
        model(part).square().sum().backward()
    collector.enabled = False
    model(x).square().sum().backward()
    twice = collector.factors()["0"]
    collector.remove()
    assert twice.samples == whole.samples == 6
    assert torch.allclose(twice.output, whole.output, atol=1e-12)


def test_what_is_not_covered_is_named_and_bad_input_refused() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.BatchNorm2d(4), nn.Linear(3, 3))
    collector = KroneckerCollector(model)
    assert collector.uncovered == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert collector.factors() == {}
    collector.remove()
    with pytest.raises(InputError, match="loss_reduction"):
        KroneckerCollector(model, loss_reduction="median")
    with pytest.raises(InputError, match="keep them"):
        gram_matrix({})
