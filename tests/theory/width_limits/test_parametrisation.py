"""Counted powers against the known presets and against slopes that random parametrisations show."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from polyad.errors import InputError
from polyad.theory.width_limits import (
    ABCDParam,
    classify,
    faithful,
    from_exponents,
    initial_weights,
    preset,
    sgd,
    sign,
    train,
)


@pytest.mark.parametrize("depth", [2, 3, 5])
@pytest.mark.parametrize(("optimizer", "homogeneity"), [("adaptive", 0), ("sgd", 1)])
def test_presets_are_what_they_are_called(depth: int, optimizer: Any, homogeneity: Any) -> None:
    found = {
        name: classify(preset(name, optimizer=optimizer, depth=depth), homogeneity=homogeneity)  # type: ignore[arg-type]
        for name in ("mup", "ntp", "sp")
    }
    assert found["mup"].regime == "feature-learning"
    assert found["ntp"].regime == "kernel"
    assert found["sp"].regime == "unstable"
    assert set(found["ntp"].hidden) == {0.5}
    assert found["ntp"].output == found["mup"].output == 0


def test_faithful_presets_fix_d() -> None:
    assert faithful(preset("mup"))
    assert faithful(preset("ntp"))
    assert not faithful(preset("mup", optimizer="sgd"))
    assert [layer.d for layer in preset("ntp").layers] == list(classify(preset("ntp")).gradients)


def test_sgd_presets_are_the_known_ones() -> None:
    """NTP has one rate for all; muP in the form a = (-1/2, 0, 1/2), b = 1/2, c = 0 after w_1 -> n^1/2 w_1 and such."""
    assert [layer.c for layer in preset("ntp", optimizer="sgd").layers] == [0, 0, 0]
    moved = [layer.c + 2 * layer.a for layer in preset("mup", optimizer="sgd").layers]  # invariant: rate of W
    assert moved == [2 * a for a in (-0.5, 0, 0.5)]


def test_every_d_is_the_same_to_a_scale_invariant_function() -> None:
    rows = [(0, 0, 0.5), (0.5, 0, 1), (0.5, 0, 0.5)]
    found = {classify(from_exponents([(*row, d) for row in rows])) for d in (-1.0, 0.0, 2.0)}
    assert len(found) == 1


def test_trivial_and_swollen() -> None:
    assert classify(from_exponents([(0, 0, 1, 0), (0, 0.5, 2, 0), (1, 0, 1, 0)])).regime == "trivial"
    assert classify(from_exponents([(0, -0.25, 0.5, 0), (0.5, 0, 1, 0), (0.5, 0, 0.5, 0)])).regime == "unstable"
    assert classify(from_exponents([(0, 0, 0.5, 0), (0.5, 0, 1, 0), (0.5, -0.5, 0.5, 0)])).regime == "unstable"


def random_parametrisation(drawn: random.Random, homogeneity: int) -> ABCDParam:
    """Stable at the start; steps of orders that differ by halves, so that slopes show at widths of a thousand."""
    a = [drawn.choice([-0.5, 0.0, 0.25, 1.0]) for _ in range(3)]
    d = [drawn.choice([-1.0, 0.0, 0.5, 1.0]) for _ in range(3)]
    start_out = drawn.choice([0.5, 1.0])
    lowest = 0.0 if homogeneity else -0.5
    steps = [drawn.choice([lowest, 0, 0.5, 1]), drawn.choice([lowest, 0, 0.5, 1]) + 1, drawn.choice([0, 0.5, 1]) + 1]
    gradients = [a[0] + start_out, a[1] + start_out, a[2]]
    c = [steps[k] - a[k] - homogeneity * (gradients[k] - d[k]) for k in range(3)]
    b = [-a[0], 0.5 - a[1], start_out - a[2]]
    return from_exponents(list(zip(a, b, c, d, strict=True)))


def measured(parametrisation: ABCDParam, update: Any, widths: tuple[int, ...], seeds: int) -> torch.Tensor:
    """Exponents of the first step's change: of both hidden layers and of the output."""
    inputs = torch.tensor([[1.0, -0.5, 0.3]])
    rows = []
    for width in widths:
        generator = torch.Generator().manual_seed(width)
        weights = initial_weights(
            parametrisation, width=width, inputs=3, seeds=seeds, generator=generator, dtype=torch.float32
        )
        record = train(
            parametrisation,
            weights,
            inputs,
            torch.zeros(1),
            update=update,
            learning_rate=3.0,
            loss_derivative=lambda outputs, targets: torch.ones_like(outputs),
        )
        output = (record.outputs[1] - record.outputs[0]).square().mean().sqrt()
        rows.append([*record.changes[1].square().mean(0).sqrt().log(), output.log()])
    logs = torch.tensor(widths).double().log()
    logs = logs - logs.mean()
    return -(logs @ torch.tensor(rows, dtype=torch.float64)) / (logs @ logs)


def check_random_parametrisations(widths: tuple[int, ...], seeds: int, tolerance: float) -> None:
    drawn = random.Random(0)
    regimes = set()
    for k in range(30):
        homogeneity: Any = k % 2
        spec = random_parametrisation(drawn, homogeneity)
        counted = classify(spec, homogeneity=homogeneity)
        regimes.add(counted.regime)
        found = measured(spec, sgd() if homogeneity else sign(), widths, seeds)
        expected = torch.tensor([*counted.hidden, counted.output], dtype=torch.float64)
        assert torch.allclose(found, expected, atol=tolerance), (spec, found, counted)
    assert regimes == {"unstable", "trivial", "kernel", "feature-learning"}


def test_random_parametrisations_move_as_counted() -> None:
    check_random_parametrisations((128, 512), seeds=6, tolerance=0.25)


@pytest.mark.slow
def test_random_parametrisations_move_as_counted_when_wide() -> None:
    check_random_parametrisations((256, 512, 1024, 2048), seeds=6, tolerance=0.2)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="layers"):
        ABCDParam(preset("mup").layers[:1])
    with pytest.raises(InputError, match="depth"):
        preset("mup", depth=1)
    with pytest.raises(InputError, match="preset"):
        preset("mean-field")  # type: ignore[arg-type]
