"""MultiAdam against torch's Adam and the equations in a loop, and the invariance that it exists for."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError, NumericalWarning
from polyad.optim.multiscale import MultiAdam
from polyad.pde.pinn import poisson_2d


def network(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype)


def losses_at(model: nn.Module, step: int, *, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Residual and boundary loss of a Poisson problem at the points of a step; the first misses the last bias."""
    problem, generator = poisson_2d(1.0), torch.Generator().manual_seed(step)
    inside, outside = problem.interior(16, generator, dtype=dtype), problem.boundary(8, generator, dtype=dtype)
    return problem.losses(model, inside, outside)


def total(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).sum()


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, losses: Callable[[int], Any], steps: int = 50, start: int = 0
) -> Tensor:
    """All parameters at the end."""
    for step in range(start, start + steps):
        optimizer.step(partial(losses, step))
    return flat(model)


def train_adam(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[int], Tensor], steps: int = 50
) -> Tensor:
    for step in range(steps):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
    return flat(model)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.1},
    {"amsgrad": True, "betas": (0.9, 0.8)},
    {"amsgrad": True, "weight_decay": 0.01, "betas": (0.5, 0.999), "eps": 1e-3},
]


@pytest.mark.parametrize(
    ("options", "dtype"), [(OPTIONS[1], torch.float32), *((options, torch.float64) for options in OPTIONS)], ids=str
)
def test_one_loss_is_adam(options: dict[str, Any], dtype: torch.dtype) -> None:
    options = {"lr": 1e-3, "betas": (0.99, 0.99), **options}
    ours, theirs, plain = (network(dtype=dtype) for _ in range(3))
    found = train(ours, MultiAdam(ours.parameters(), **options), lambda k: [total(losses_at(ours, k, dtype=dtype))], 20)
    adam = torch.optim.Adam(theirs.parameters(), **options)
    expected = train_adam(theirs, adam, lambda k: total(losses_at(theirs, k, dtype=dtype)), 20)
    tolerance = 1e-7 if dtype == torch.float64 else 2e-6
    assert torch.allclose(found, expected, atol=tolerance, rtol=0)
    assert float((found - flat(network(dtype=dtype))).abs().max()) > 0.01
    backward = MultiAdam(plain.parameters(), **options)
    same = train_adam(plain, backward, lambda k: total(losses_at(plain, k, dtype=dtype)), 20)
    assert torch.allclose(same, found, atol=tolerance, rtol=0)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_two_equal_losses_are_adam_on_one(options: dict[str, Any]) -> None:
    options = {"lr": 1e-3, "betas": (0.99, 0.99), **options}
    ours, theirs = network(), network()
    found = train(ours, MultiAdam(ours.parameters(), **options), lambda k: [total(losses_at(ours, k))] * 2, 20)
    adam = torch.optim.Adam(theirs.parameters(), **options)
    assert torch.allclose(found, train_adam(theirs, adam, lambda k: total(losses_at(theirs, k)), 20), atol=1e-10)


@pytest.mark.parametrize("which", [0, 1])
def test_the_scale_of_a_loss_does_not_matter(which: int) -> None:
    def run(scale: float) -> tuple[Tensor, Tensor]:
        factors = [scale if k == which else 1.0 for k in range(2)]
        ours, adams = network(), network()

        def scaled(model: nn.Module, step: int) -> list[Tensor]:
            return [f * loss for f, loss in zip(factors, losses_at(model, step), strict=True)]

        optimizer = MultiAdam(ours.parameters(), lr=1e-2, eps=1e-30)
        adam = torch.optim.Adam(adams.parameters(), lr=1e-2, betas=(0.99, 0.99), eps=1e-30)
        found = train(ours, optimizer, lambda k: scaled(ours, k))
        return found, train_adam(adams, adam, lambda k: total(scaled(adams, k)))

    (ours, adam), (scaled_ours, scaled_adam) = run(1.0), run(1e4)
    assert torch.allclose(ours, scaled_ours, atol=1e-5, rtol=0)
    assert float((adam - scaled_adam).abs().max()) > 1e-2


def test_steps_are_the_equations_in_a_loop() -> None:
    """Three losses of unequal weight, one of which misses a parameter; two groups with rates of their own."""
    x, y = (nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in ([1.0, -2.0], [0.5]))
    weights, b1, b2, eps, rates = (0.2, 0.5, 1.0), 0.9, 0.95, 1e-3, (0.1, 0.05)
    optimizer = MultiAdam(
        [{"params": [x]}, {"params": [y], "lr": rates[1]}], lr=rates[0], betas=(b1, b2), eps=eps, group_weights=weights
    )
    theta = [1.0, -2.0, 0.5]
    m, v = ([[0.0] * 3 for _ in range(3)] for _ in range(2))
    for step in range(1, 8):
        optimizer.step(lambda: [x.pow(2).sum(), 100 * (x * x).prod(), (x[0] * y).sum() ** 2])
        a, b, c = theta
        gradients = [[2 * a, 2 * b, 0.0], [200 * a * b * b, 200 * a * a * b, 0.0], [2 * a * c * c, 0.0, 2 * a * a * c]]
        for i in range(3):
            for j in range(3):
                m[i][j] = b1 * m[i][j] + (1 - b1) * gradients[i][j]
                v[i][j] = b2 * v[i][j] + (1 - b2) * gradients[i][j] ** 2
        for j in range(3):
            parts = [
                w * m[i][j] / (1 - b1**step) / (math.sqrt(v[i][j] / (1 - b2**step)) + eps)
                for i, w in enumerate(weights)
            ]
            theta[j] -= rates[j == 2] * sum(parts)
        assert [*x.tolist(), *y.tolist()] == pytest.approx(theta, rel=1e-10)
    assert optimizer.state[x]["exp_avg"].tolist() == [pytest.approx(row[:2], rel=1e-10) for row in m]
    assert optimizer.state[y]["exp_avg_sq"].shape == (3, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_saved_trainings_with_several_losses_go_on_to_the_bit(dtype: torch.dtype) -> None:
    def terms(model: nn.Module, step: int) -> list[Tensor]:
        inputs = torch.randn(6, 2, generator=torch.Generator().manual_seed(step)).to(dtype)
        return [model(inputs).square().mean(), 1e3 * (model(inputs) - 1).square().mean()]

    model, other = network(dtype=dtype), network(1, dtype=dtype)
    optimizer, resumed = (MultiAdam(m.parameters(), lr=1e-2, amsgrad=True) for m in (model, other))
    train(model, optimizer, lambda k: terms(model, k), steps=4)
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], file)
    expected = train(model, optimizer, lambda k: terms(model, k), steps=4, start=4)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    other.load_state_dict(weights)
    resumed.load_state_dict(state)
    assert torch.equal(train(other, resumed, lambda k: terms(other, k), steps=4, start=4), expected)
    assert bool(expected.isfinite().all())


def test_parameters_that_no_loss_reaches_stay_and_a_tensor_of_losses_is_taken() -> None:
    used, idle, frozen, empty = (nn.Parameter(torch.ones(n)) for n in (2, 2, 2, 0))
    frozen.requires_grad_(False)
    optimizer = MultiAdam([used, idle, frozen, empty], weight_decay=0.1)
    returned = optimizer.step(lambda: torch.stack([used.square().sum(), (3 * used[0]).square()]))
    assert returned.tolist() == [2.0, 9.0]
    assert torch.equal(idle, torch.ones(2))
    assert used.tolist() == pytest.approx([1 - 1e-3, 1 - 0.5e-3 - 0.5e-3])
    assert set(optimizer.state) == {used}


def test_losses_that_are_not_finite_skip_the_step() -> None:
    x = nn.Parameter(torch.ones(2))
    optimizer = MultiAdam([x])
    optimizer.step(lambda: [x.sum(), x.square().sum()])
    before, state = x.detach().clone(), optimizer.state[x]["exp_avg"].clone()
    with pytest.warns(NumericalWarning, match="skipped"):
        optimizer.step(lambda: [x.sum(), math.nan * x.sum()])
    assert torch.equal(x, before)
    assert torch.equal(optimizer.state[x]["exp_avg"], state)
    assert optimizer.skipped_steps == 1


def test_bad_closures_and_options_are_refused() -> None:
    x = nn.Parameter(torch.ones(2))
    optimizer = MultiAdam([x])
    bad: list[tuple[Any, str]] = [
        ([], "one loss or a list"),
        ([x], "scalar"),
        ([x.sum(), 3.0], "scalar"),
        ([x.sum(), torch.tensor(1.0)], "loss 1 does not depend"),
    ]
    for losses, message in bad:
        with pytest.raises(InputError, match=message):
            optimizer.step(partial(list, losses))
    optimizer.step(lambda: [x.sum(), x.square().sum()])
    with pytest.raises(InputError, match="3 now, 2 before"):
        optimizer.step(lambda: [x.sum()] * 3)
    with pytest.raises(InputError, match="one weight a loss"):
        MultiAdam([x], group_weights=[1.0]).step(lambda: [x.sum(), x.sum()])
    table = nn.Embedding(3, 2, sparse=True)
    with pytest.raises(InputError, match="sparse"):
        MultiAdam(table.parameters()).step(lambda: [table(torch.tensor([1])).sum()] * 2)
    for options in ({"eps": 0.0}, {"betas": (1.0, 0.9)}, {"weight_decay": -1.0}, {"group_weights": (-1.0, 1.0)}):
        with pytest.raises(InputError):
            MultiAdam([x], **options)


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = network()
    optimizer = MultiAdam(model.parameters(), lr=1e-2)
    train(model, optimizer, lambda k: losses_at(model, 2 * k + rank), steps=5)
    torch.save(flat(model), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_as_one_on_all_points(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_worker, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert torch.equal(first, second)
    model = network()

    def both(step: int) -> list[Tensor]:
        pairs = zip(losses_at(model, 2 * step), losses_at(model, 2 * step + 1), strict=True)
        return [(a + b) / 2 for a, b in pairs]

    expected = train(model, MultiAdam(model.parameters(), lr=1e-2), both, steps=5)
    assert torch.allclose(first, expected, atol=1e-12)
