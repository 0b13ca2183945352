"""Bad input of optimisers, on the smallest optimiser there is."""

from __future__ import annotations

import io
import math
import warnings
from typing import Any, final

import pytest
import torch
from torch import nn

from polyad.errors import InputError, NumericalWarning
from polyad.optim import checks
from polyad.optim.base import GradientOptimizer, add_scaled, full_precision


@final
class Momentum(GradientOptimizer):
    """Heavy ball with float32 memory."""

    def __init__(self, params: Any, *, lr: float = 0.1, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def check_options(self, group: dict[str, Any]) -> None:
        checks.check_share(momentum=group["momentum"])

    def update(self, group: dict[str, Any], parameters: list[torch.Tensor]) -> None:
        gradients = full_precision([p.grad for p in parameters if p.grad is not None])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            memory = self.state[parameter].setdefault("memory", torch.zeros_like(gradient))
            memory.mul_(group["momentum"]).add_(gradient)
        add_scaled(parameters, [self.state[p]["memory"] for p in parameters], -group["lr"])


def with_gradients(*values: list[float], dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros(len(value), dtype=dtype)) for value in values]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = torch.tensor(value, dtype=dtype)
    return parameters


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_numbers_are_checked(bad: float) -> None:
    for call in (
        lambda: Momentum(with_gradients([1.0]), lr=bad),
        lambda: checks.check_positive(radius=bad),
        lambda: Momentum([{"params": with_gradients([1.0]), "lr": bad}]),
    ):
        with pytest.raises(InputError, match="must be positive"):
            call()
    if bad != 0:
        for check in (checks.check_share, checks.check_not_negative):
            with pytest.raises(InputError, match="decay"):
                check(decay=bad)
    checks.check_share(decay=0.0)
    checks.check_not_negative(decay=0.0)
    with pytest.raises(InputError, match="momentum"):
        Momentum(with_gradients([1.0]), momentum=1.0)


def test_a_refused_group_leaves_the_optimiser_as_it_was() -> None:
    optimizer = Momentum(with_gradients([1.0]))
    with pytest.raises(InputError, match="complex"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2, dtype=torch.complex64))]})
    assert len(optimizer.param_groups) == 1
    assert len(optimizer.state_dict()["param_groups"]) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_steps_without_finite_gradients_are_skipped_whole_and_counted(bad: float) -> None:
    parameters = with_gradients([1.0, 2.0], [3.0, bad])
    optimizer = Momentum(parameters)
    with pytest.warns(NumericalWarning, match="Momentum"):
        optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one warning is enough
        optimizer.step()
    assert optimizer.skipped_steps == 2
    assert optimizer.state_dict()["param_groups"][0][checks.SKIPPED] == 2
    assert not optimizer.state
    assert all(bool((p == 0).all()) for p in parameters)
    parameters[1].grad = torch.tensor([3.0, 4.0])
    optimizer.step()
    torch.testing.assert_close(parameters[1].detach(), torch.tensor([-0.3, -0.4]))


def test_large_finite_gradients_are_finite() -> None:
    assert checks.all_finite([torch.full((4,), 3e38), torch.full((3,), -3e38).bfloat16(), torch.zeros(0)])
    assert not checks.all_finite([torch.zeros(3), torch.tensor([1.0, math.nan]).bfloat16()])
    assert checks.all_finite([])


def test_unused_and_empty_parameters_are_passed_over() -> None:
    used, empty = with_gradients([1.0], [])
    unused = nn.Parameter(torch.ones(2))
    Momentum([used, empty, unused]).step()
    assert used.item() == pytest.approx(-0.1)
    assert bool((unused == 1).all())


def test_sparse_gradients_are_refused() -> None:
    table = nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="sparse=False"):
        Momentum(table.parameters()).step()


def test_closures() -> None:
    (parameter,) = with_gradients([1.0])
    optimizer = Momentum([parameter])
    assert optimizer.step() is None

    def closure() -> torch.Tensor:
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = (parameter - 1).square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == pytest.approx(1.1**2)
    with pytest.raises(InputError, match="returned None"):
        optimizer.step(lambda: None)
    with pytest.raises(InputError, match=r"step\(closure\)"):
        checks.require_loss(None, "Newton")
    with pytest.raises(InputError, match="returned None"):
        checks.require_loss(lambda: None, "Newton")()


def test_state_of_low_precision_parameters_comes_back_to_the_bit() -> None:
    parameters = with_gradients([0.1, 0.2], dtype=torch.bfloat16)
    optimizer = Momentum(parameters)
    for _ in range(3):
        optimizer.step()
    memory = optimizer.state[parameters[0]]["memory"]
    assert memory.dtype == torch.float32
    assert not torch.equal(memory, memory.bfloat16().float()), "the example must lose bits when cast"
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    fresh = Momentum(with_gradients([0.1, 0.2], dtype=torch.bfloat16))
    fresh.load_state_dict(torch.load(file, weights_only=True))
    loaded = fresh.state[fresh.param_groups[0]["params"][0]]["memory"]
    assert torch.equal(loaded, memory)
    assert loaded is not memory


def test_state_of_another_model_is_refused() -> None:
    state = Momentum(with_gradients([1.0, 2.0], [3.0])).state_dict()
    for other, message in (
        (Momentum(with_gradients([1.0, 2.0])), "same model"),
        (Momentum(with_gradients([1.0, 2.0, 3.0], [3.0])), "shape"),
    ):
        with pytest.raises(InputError, match=message):
            other.load_state_dict(state)
    with pytest.raises(InputError, match="no state_dict"):
        other.load_state_dict({"weights": 1})


def test_nested_states_are_copied() -> None:
    optimizer = Momentum(with_gradients([1.0]))
    (parameter,) = optimizer.param_groups[0]["params"]
    inner = torch.ones(2)
    optimizer.state[parameter] = {"pair": (inner, 3), "by_name": {"a": [inner]}}
    fresh = Momentum(with_gradients([1.0]))
    fresh.load_state_dict(optimizer.state_dict())
    inner.zero_()
    loaded = fresh.state[fresh.param_groups[0]["params"][0]]
    assert loaded["pair"][1] == 3
    assert bool((loaded["pair"][0] == 1).all())
    assert bool((loaded["by_name"]["a"][0] == 1).all())


def test_sums_are_formed_in_the_wider_type() -> None:
    parameter = torch.tensor([1.0]).bfloat16()
    add_scaled([parameter], [torch.tensor([1.0])], 0.01)  # 0.01 itself is 0.010009765625 in bfloat16
    assert parameter.item() == torch.tensor(1.01).bfloat16().item()
    assert full_precision([parameter])[0].dtype == torch.float32
    double = torch.ones(1, dtype=torch.float64)
    assert full_precision([double])[0] is double
