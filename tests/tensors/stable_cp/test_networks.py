"""Networks compressed to a budget, and the fine-tuning loop against hand-written gradient descent."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from polyad.errors import InputError
from polyad.tensors.formats import CP
from polyad.tensors.stable_cp import (
    METHODS,
    accuracy,
    balance,
    compress_network,
    cp_sensitivity,
    fine_tune,
    network_cost,
)


def small_network(*, dtype: torch.dtype = torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(),
            nn.Conv2d(12, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 12, 1), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(12, 4),
        ).to(dtype)  # fmt: skip


def images(count: int, *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize("method", METHODS)
def test_every_convolution_keeps_to_its_share(method):
    model, example = small_network(), images(1)
    calls: list[tuple[int, int]] = []
    found = compress_network(
        model, example, method, reduction=2.5, sweeps=20, starts=1, progress=lambda *call: calls.append(call)
    )
    assert [layer.name for layer in found.layers] == ["2", "4", "6"]  # that of one input channel stays
    assert calls == [(1, 3), (2, 3), (3, 3)]
    for layer in found.layers:
        assert layer.after.flops <= layer.before.flops / 2.5
        assert 0 < layer.factors.error < 1
    assert found.layers[-1].factors.method == "svd"
    assert found.before == network_cost(model, example)
    assert found.after == network_cost(found.model, example)
    saved = sum(layer.before.flops - layer.after.flops for layer in found.layers)
    assert found.after.flops == found.before.flops - saved
    assert isinstance(model[2], nn.Conv2d)
    assert found.model(example).shape == (1, 4)


def test_target_of_the_whole_network_is_kept():
    model, example = small_network(), images(1)
    whole = network_cost(model, example).flops
    found = compress_network(model, example, "cp", target_flops=whole / 2, skip=["6"], sweeps=20)
    assert 0.4 * whole < found.after.flops <= whole / 2
    assert [layer.name for layer in found.layers] == ["2", "4"]


def test_correction_lowers_the_sensitivity_of_every_layer_at_equal_error():
    model, example = small_network(), images(1)
    plain = compress_network(model, example, "cp", reduction=2.5, skip=["6"], sweeps=60)
    stable = compress_network(model, example, "cp-epc", reduction=2.5, skip=["6"], sweeps=60)
    for one, two in zip(plain.layers, stable.layers, strict=True):
        assert one.ranks == two.ranks
        assert two.factors.error <= one.factors.error * (1 + 1e-8)
        assert isinstance(one.factors.value, CP)
        assert two.factors.sensitivity < float(cp_sensitivity(balance(one.factors.value)))


def test_nearly_full_ranks_leave_the_output():
    model, example = small_network(dtype=torch.float64), images(3, dtype=torch.float64)
    full = compress_network(model, example, "svd", reduction=1.0, skip=["6"]).model
    difference = torch.linalg.vector_norm(full(example) - model(example)) / torch.linalg.vector_norm(model(example))
    assert float(difference.detach()) < 0.05


def test_layers_under_two_names_are_replaced_under_both():
    shared = nn.Conv2d(8, 8, 3, padding=1)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), shared, shared)
    found = compress_network(model, images(1), "svd", reduction=1.5)
    assert found.model[1] is found.model[2]
    assert found.after == network_cost(found.model, images(1))
    assert found.layers[0].after.flops <= found.layers[0].before.flops / 1.5


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "give one of them"),
        ({"reduction": 0.5}, "at least 1"),
        ({"target_flops": 10.0}, "outside the chosen"),
        ({"reduction": 1000.0}, "raise the budget"),
        ({"reduction": 2.0, "skip": ["8"]}, "no convolutions"),
        ({"reduction": 2.0, "skip": ["2", "4", "6"]}, "no convolution to factor"),
    ],
)
def test_bad_budgets_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        compress_network(small_network(), images(1), "svd", **options)


# ---------------------------------------------------------------- fine-tuning


def labelled(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(count, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long()


def linear() -> nn.Module:
    layer = nn.Linear(5, 3, dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def test_training_is_gradient_descent_with_momentum():
    inputs, labels = labelled(20)
    found = fine_tune(linear(), inputs, labels, epochs=3, batch_size=20, learning_rate=0.3, momentum=0.5)
    weight, velocity, losses = torch.zeros(3, 6, dtype=torch.float64), torch.zeros(3, 6, dtype=torch.float64), []
    extended = torch.cat([inputs, torch.ones(20, 1, dtype=torch.float64)], dim=1)
    hot = nn.functional.one_hot(labels, 3)
    for _ in range(3):
        probabilities = (extended @ weight.T).softmax(1)
        losses.append(float(-(hot * probabilities.log()).sum(1).mean()))
        velocity = 0.5 * velocity + (probabilities - hot).T @ extended / 20
        weight = weight - 0.3 * velocity
    assert found.losses == pytest.approx(losses, rel=1e-12)
    torch.testing.assert_close(found.model.weight.detach(), weight[:, :5])


def test_training_is_seeded_and_leaves_everything_else_alone():
    inputs, labels = labelled(64)
    model, state = linear(), torch.random.get_rng_state()
    noisy = nn.Sequential(nn.Dropout(0.5), model)
    runs = [fine_tune(noisy, inputs, labels, batch_size=16, seed=seed) for seed in (0, 0, 1)]
    assert runs[0].losses == runs[1].losses
    assert runs[0].losses != runs[2].losses
    assert bool((torch.random.get_rng_state() == state).all())
    assert bool((model.weight == 0).all())


def test_training_learns_and_measures():
    inputs, labels = labelled(512)
    calls: list[tuple[int, int]] = []
    found = fine_tune(
        linear(), inputs, labels, held_out=(inputs, labels), epochs=4, learning_rate=0.5,
        progress=lambda *call: calls.append(call),
    )  # fmt: skip
    assert len(found.accuracies) == 5
    assert found.accuracies[0] == pytest.approx(float((labels == 0).double().mean()))
    assert found.accuracies[-1] > found.accuracies[0] + 0.2
    right = float((found.model(inputs).argmax(1) == labels).double().mean())
    assert accuracy(found.model, inputs, labels, batch_size=100) == right == found.accuracies[-1]
    assert calls[-1] == (32, 32)
    assert found.stopped_by == "epochs"


def test_training_stops_for_other_reasons():
    inputs, labels = labelled(64)
    assert fine_tune(linear(), inputs, labels, epochs=50, tolerance=5.0).stopped_by == "tolerance"
    assert len(fine_tune(linear(), inputs, labels, epochs=50, seconds=1e-9).losses) == 1
    wild = fine_tune(nn.Sequential(linear(), nn.Linear(3, 3, dtype=torch.float64)), 1e200 * inputs, labels, epochs=50)
    assert wild.stopped_by == "diverged"
    assert all(math.isfinite(loss) for loss in wild.losses)


def test_broken_logits_count_as_wrong():
    inputs, labels = labelled(16)
    broken = linear()
    with torch.no_grad():
        broken.weight.fill_(math.nan)
    assert accuracy(broken, inputs, labels) == 0.0


@pytest.mark.parametrize(
    ("options", "match"),
    [({"batch_size": 100}, "batch_size"), ({"learning_rate": 0.0}, "learning_rate"), ({"momentum": 1.0}, "momentum")],
)
def test_bad_training_options_are_refused(options, match):
    inputs, labels = labelled(20)
    with pytest.raises(InputError, match=match):
        fine_tune(linear(), inputs, labels, **{"batch_size": 10, **options})
