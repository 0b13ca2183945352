"""MeZO against its formulas, and the mean of its steps against gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from torch import nn

from polyad.errors import InputError, NumericalWarning
from polyad.optim.zeroth_order.mezo import PIECE, MeZO, add_normal, step_seed


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).double()


def directions(parameters: Iterable[torch.Tensor], seed: int, step: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(step_seed(seed, step))
    return [torch.randn(p.numel(), dtype=p.dtype, generator=generator).reshape(p.shape) for p in parameters]


def test_steps_are_those_of_the_formulas() -> None:
    net, inputs = model(), torch.randn(4, 5, dtype=torch.float64)
    start = [p.detach().clone() for p in net.parameters()]
    optimizer = MeZO(net.parameters(), lr=0.01, eps=1e-3, seed=3)

    def loss_at(values: list[torch.Tensor]) -> torch.Tensor:
        named = {name: value for (name, _), value in zip(net.named_parameters(), values, strict=True)}
        return torch.func.functional_call(net, named, (inputs,)).square().mean()

    for step in range(3):
        noise = directions(start, 3, step)
        plus = loss_at([p + 1e-3 * z for p, z in zip(start, noise, strict=True)])
        minus = loss_at([p - 1e-3 * z for p, z in zip(start, noise, strict=True)])
        start = [p - 0.01 * float(plus - minus) / 2e-3 * z for p, z in zip(start, noise, strict=True)]
        loss = optimizer.step(lambda: net(inputs).square().mean())
        assert float(loss) == pytest.approx(float(plus + minus) / 2, rel=1e-12)
        for mine, theirs in zip(net.parameters(), start, strict=True):
            torch.testing.assert_close(mine.detach(), theirs, rtol=1e-9, atol=1e-12)


def test_groups_have_learning_rates_of_their_own() -> None:
    net = model()
    first, second = list(net[0].parameters()), list(net[2].parameters())
    optimizer = MeZO([{"params": first, "lr": 0.1}, {"params": second}], lr=0.01)
    before = [p.detach().clone() for p in (*first, *second)]
    noise = directions(before, 0, 0)
    optimizer.step(lambda: sum(p.sum() for p in (*first, *second)))
    slope = sum(float(z.sum()) for z in noise)
    for number, (new, old, z) in enumerate(zip((*first, *second), before, noise, strict=True)):
        rate = 0.1 if number < 2 else 0.01
        torch.testing.assert_close(new.detach(), old - rate * slope * z, rtol=1e-9, atol=1e-9)


def test_mean_of_steps_is_the_gradient_of_a_quadratic() -> None:
    generator = torch.Generator().manual_seed(5)
    matrix = torch.randn(6, 6, dtype=torch.float64, generator=generator)
    at = torch.randn(6, dtype=torch.float64, generator=generator)
    point = nn.Parameter(at.clone())
    optimizer = MeZO([point], lr=1.0, eps=0.1, seed=11)
    estimates = []
    for _ in range(3000):
        with torch.no_grad():
            point.copy_(at)
        optimizer.step(lambda: (matrix @ point).square().sum() / 2)
        estimates.append(at - point.detach())
    found = torch.stack(estimates)
    error = (found.mean(0) - matrix.T @ matrix @ at).abs()
    assert bool((error <= 3 * found.std(0) / math.sqrt(len(found))).all())


def test_pieces_do_not_change_the_numbers_and_order_of_memory_does_not_matter() -> None:
    size = 2 * PIECE + 40
    whole = torch.zeros(size)
    add_normal([whole], 0.5, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    expected = torch.cat([torch.randn(n, generator=generator) for n in (PIECE, PIECE, 40)])
    assert torch.equal(whole, 0.5 * expected)
    turned = torch.zeros(300, 400).T
    straight = torch.zeros(400, 300)
    for tensor in (turned, straight):
        add_normal([tensor], 1.0, generator=torch.Generator().manual_seed(2))
    assert torch.equal(turned, straight)


def test_half_precision_is_added_to_in_full() -> None:
    weights = torch.ones(1000, dtype=torch.bfloat16)
    add_normal([weights], 0.1, generator=torch.Generator().manual_seed(0))
    exact = 1 + 0.1 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(weights, exact.bfloat16())


def test_saved_state_goes_on_to_the_bit() -> None:
    nets = [model(), model()]
    inputs = torch.randn(4, 5, dtype=torch.float64)
    ends = []
    for net, interrupted in zip(nets, (False, True), strict=True):
        optimizer = MeZO(net.parameters(), lr=0.02, seed=4)
        for step in range(6):
            if interrupted and step == 3:
                state = optimizer.state_dict()
                optimizer = MeZO(net.parameters(), lr=1.0, seed=0)
                optimizer.load_state_dict(state)
            optimizer.step(lambda net=net: net(inputs).square().mean())
        ends.append([p.detach().clone() for p in net.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_losses_that_are_not_finite_move_nothing_and_are_counted() -> None:
    point = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = MeZO([point], lr=0.1)
    with pytest.warns(NumericalWarning, match="skipped"):
        optimizer.step(lambda: point.sum() * math.nan)
    torch.testing.assert_close(point.detach(), torch.ones(3, dtype=torch.float64), rtol=1e-14, atol=1e-15)
    assert optimizer.skipped_steps == 1


@pytest.mark.parametrize("call", [1, 2])
def test_closure_that_raises_leaves_the_parameters(call: int) -> None:
    point = nn.Parameter(torch.ones(50, dtype=torch.float64))
    optimizer, calls = MeZO([point], lr=0.1, eps=0.5), 0

    def closure() -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == call:
            raise RuntimeError("no data")
        return point.sum()

    with pytest.raises(RuntimeError, match="no data"):
        optimizer.step(closure)
    torch.testing.assert_close(point.detach(), torch.ones(50, dtype=torch.float64), rtol=1e-14, atol=1e-15)


def test_closure_is_called_without_gradients() -> None:
    point, seen = nn.Parameter(torch.ones(3)), []

    def closure() -> torch.Tensor:
        seen.append(torch.is_grad_enabled())
        return point.sum()

    MeZO([point]).step(closure)
    assert seen == [False, False]


def test_bad_input_is_refused() -> None:
    point = nn.Parameter(torch.ones(3))
    with pytest.raises(InputError, match="lr"):
        MeZO([point], lr=0.0)
    with pytest.raises(InputError, match="eps"):
        MeZO([point], eps=-1.0)
    with pytest.raises(InputError, match="every step"):
        MeZO([point]).step()
    for bad in (None, torch.ones(2), "0.3", torch.tensor(1j)):
        with pytest.raises(InputError, match="one real number"):
            MeZO([point]).step(lambda bad=bad: bad)


def test_seeds_of_steps_differ() -> None:
    seeds = {step_seed(seed, step) for seed in range(20) for step in range(200)}
    assert len(seeds) == 4000
    assert all(0 <= seed < 1 << 63 for seed in seeds)
