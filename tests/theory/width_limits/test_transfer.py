"""muP of torch models: the table, and that coordinates move alike at all widths; the other presets as they should."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.theory.width_limits import apply_mup, coord_check, preset

WIDTHS = (64, 128, 256, 512)
INPUTS = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS[:, :1].sin()


def perceptron(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, 1)
    )


def loss(outputs: Tensor) -> Tensor:
    return (outputs - TARGETS).square().mean()


def rms(parameter: Tensor) -> float:
    return float(parameter.detach().square().mean().sqrt())


def test_groups_and_init_are_those_of_the_table() -> None:
    torch.manual_seed(0)
    base, model = perceptron(32), perceptron(128)
    before = {name: rms(parameter) for name, parameter in base.named_parameters()}
    groups = {g["name"]: g for g in apply_mup(model, base, lr=0.1, epsilon=1e-6, weight_decay=0.01)}
    rates = {"0.weight": 1, "0.bias": 1, "2.weight": 4, "2.bias": 1, "3.weight": 1, "3.bias": 1, "5.weight": 4}
    assert {name: pytest.approx(0.1 / k) for name, k in (rates | {"5.bias": 1}).items()} == {
        name: group["lr"] for name, group in groups.items()
    }
    assert groups["2.weight"]["eps"] == groups["0.bias"]["eps"] == pytest.approx(1e-6 / 4)
    assert groups["5.weight"]["eps"] == 1e-6
    assert groups["2.weight"]["weight_decay"] == pytest.approx(0.04)
    factors = {"0.weight": 1, "2.weight": 0.5, "5.weight": 0.25, "3.weight": 1, "2.bias": 1}
    for name, factor in factors.items():
        assert rms(dict(model.named_parameters())[name]) == pytest.approx(factor * before[name], rel=1e-5)
    torch.optim.AdamW(list(groups.values()))
    sgd = {group["name"]: group["lr"] for group in apply_mup(model, base, optimizer="sgd", lr=0.1)}
    assert sgd["0.weight"] == sgd["0.bias"] == pytest.approx(0.4)
    assert sgd["2.weight"] == pytest.approx(0.1)
    assert sgd["5.weight"] == pytest.approx(0.025)


def test_nothing_changes_at_the_base() -> None:
    torch.manual_seed(0)
    model = perceptron(16)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    groups = apply_mup(model, model, lr=0.2)
    assert {group["lr"] for group in groups} == {0.2}
    assert all(torch.allclose(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_tables_have_their_width_last() -> None:
    class Words(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.words = nn.Embedding(7, width)
            self.places = nn.Parameter(torch.randn(1, 3, width))
            self.kernel = nn.Conv1d(width, 2 * width, 3)

    rates = {g["name"]: g["lr"] for g in apply_mup(Words(16), Words(8), lr=1.0, tables=["places"])}
    assert rates == {"words.weight": 1.0, "places": 1.0, "kernel.weight": 0.5, "kernel.bias": 1.0}
    with pytest.raises(InputError, match="places"):
        apply_mup(Words(16), Words(8), lr=1.0)
    with pytest.raises(InputError, match="tables"):
        apply_mup(Words(16), Words(8), lr=1.0, tables=["place"])


@pytest.mark.parametrize("optimizer", ["adaptive", "sgd"])
def test_coordinates_move_alike_under_mup(optimizer: Any) -> None:
    torch.manual_seed(0)
    base = perceptron(64)
    kind, lr = (torch.optim.Adam, 0.01) if optimizer == "adaptive" else (torch.optim.SGD, 0.02)

    def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = kind(apply_mup(model, base, lr=lr, optimizer=optimizer))  # type: ignore[operator]
        return made

    found = coord_check(perceptron, WIDTHS, inputs=INPUTS, loss=loss, make_optimizer=make_optimizer, seeds=range(6))
    assert found.layers == ("0", "2", "3", "5")
    assert found.slopes.abs().max() < 0.1, found


def test_coordinates_blow_up_under_torchs_own_rates() -> None:
    found = coord_check(
        perceptron,
        WIDTHS,
        inputs=INPUTS,
        loss=loss,
        make_optimizer=lambda model: torch.optim.Adam(model.parameters(), lr=0.001),
        seeds=range(3),
    )
    assert found.slopes[found.layers.index("2")] > 0.3
    assert found.slopes[found.layers.index("5")] > 0.3


class Scaled(nn.Module):
    """A layer with its scale in front, as NTP has it."""

    def __init__(self, inputs: int, outputs: int, factor: float) -> None:
        super().__init__()
        self.weight, self.factor = nn.Parameter(torch.randn(outputs, inputs)), factor

    def forward(self, values: Tensor) -> Tensor:
        return self.factor * values @ self.weight.T


def test_features_freeze_in_ntp() -> None:
    def make(width: int) -> nn.Module:
        root = width**-0.5
        return nn.Sequential(
            Scaled(5, width, 1), nn.Tanh(), Scaled(width, width, root), nn.Tanh(), Scaled(width, 1, root)
        )

    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        width = len(next(model.parameters()))
        layers = preset("ntp").layers
        return torch.optim.Adam(
            [
                {"params": [p], "lr": 0.05 * width**-layer.c}
                for p, layer in zip(model.parameters(), layers, strict=True)
            ],
            eps=0,
        )

    found = coord_check(make, WIDTHS, inputs=INPUTS, loss=loss, make_optimizer=optimizer, seeds=range(6), steps=3)
    assert torch.allclose(found.slopes[:2], torch.tensor([-0.5, -0.5]).double(), atol=0.1), found
    assert abs(found.slopes[2]) < 0.1, found


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="base"):
        apply_mup(perceptron(8), nn.Linear(5, 8), lr=0.1)
    with pytest.raises(InputError, match="optimizer"):
        apply_mup(perceptron(8), perceptron(8), lr=0.1, optimizer="lion")  # type: ignore[arg-type]
    tied = nn.ModuleDict({"table": nn.Embedding(7, 8), "head": nn.Linear(8, 7, bias=False)})
    tied["head"].weight = tied["table"].weight
    with pytest.raises(InputError, match="untie"):
        apply_mup(tied, tied, lr=0.1)
    options: Any = {"inputs": INPUTS, "loss": loss, "make_optimizer": lambda m: torch.optim.SGD(m.parameters(), lr=0.1)}
    with pytest.raises(InputError, match="widths"):
        coord_check(perceptron, [8, 8], **options)
    with pytest.raises(InputError, match="move"):
        coord_check(perceptron, [8, 16], **options, steps=0)
