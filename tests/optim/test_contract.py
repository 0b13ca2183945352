"""One contract for all optimisers by gradient: how they load, repeat, resume, and answer bad input."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError, NumericalWarning
from polyad.optim import checks
from polyad.optim.registry import OPTIMIZERS, Entry
from tests.optim.contract import OURS, Awkward, batch, build, closure_for, train

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
every_optimizer = pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def values(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def assert_same_bits(one: nn.Module, other: nn.Module) -> None:
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b), name


@every_optimizer
def test_loss_falls_and_idle_parameters_stay(entry: Entry) -> None:
    model = Awkward()
    frozen, idle = model.frozen.clone(), model.idle.weight.detach().clone()
    losses = train(entry, model, build(entry, model), [batch(0)] * 25)
    assert losses[-1] < 0.9 * losses[0]
    assert torch.equal(model.frozen, frozen)
    assert torch.equal(model.idle.weight, idle)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@every_optimizer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_saved_training_goes_on_to_the_bit(entry: Entry, dtype: torch.dtype) -> None:
    batches = [batch(k, dtype) for k in range(6)]
    model = Awkward().to(dtype)
    optimizer = build(entry, model)
    train(entry, model, optimizer, batches[:4])
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(entry, model, optimizer, batches[4:])
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = Awkward(seed=1).to(dtype)
    resumed = build(entry, other)
    other.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    train(entry, other, resumed, batches[4:])
    assert_same_bits(model, other)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


@every_optimizer
def test_the_same_training_twice_and_no_global_randomness(entry: Entry) -> None:
    models = [Awkward(), Awkward()]
    state = torch.get_rng_state()
    for model in models:
        train(entry, model, build(entry, model), [batch(k) for k in range(4)])
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_bits(*models)


@every_optimizer
def test_closures_and_plain_steps_agree(entry: Entry) -> None:
    if entry.needs == "closure":
        model = Awkward()
        with pytest.raises(InputError, match="closure"):
            build(entry, model).step()
        return
    models = [Awkward(), Awkward()]
    plain, closed = (build(entry, model) for model in models)
    for k in range(4):
        expected = closure_for(models[0], plain, batch(k))()
        plain.step()
        assert torch.equal(closed.step(closure_for(models[1], closed, batch(k))), expected)
    assert_same_bits(*models)


@every_optimizer
def test_groups_have_options_of_their_own(entry: Entry) -> None:
    """A group with a hundredth of the rate moves less; both move."""
    model = Awkward()
    before = values(model)
    slow = [model.first.weight, model.first.bias]
    rest = [p for p in model.parameters() if all(p is not q for q in slow)]
    optimizer = build(entry, model, params=[{"params": rest}, {"params": slow, "lr": 1e-4}])
    assert [group["lr"] for group in optimizer.param_groups] == [1e-2, 1e-4]
    train(entry, model, optimizer, [batch(k) for k in range(3)])
    moved = {
        name: float((p - b).detach().norm()) for (name, p), b in zip(model.named_parameters(), before, strict=True)
    }
    assert 0 < moved["first.weight"] < 0.2 * moved["last.weight"]
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2, 2))], "lr": 0.5})
    assert optimizer.param_groups[2]["lr"] == 0.5
    assert {checks.SKIPPED, checks.SHAPES} <= set(optimizer.param_groups[2])


@every_optimizer
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradients_that_are_not_finite_are_skipped_counted_and_reported(entry: Entry, bad: float) -> None:
    model, clean = Awkward(), Awkward()
    optimizer, reference = build(entry, model), build(entry, clean)
    for one, its in ((model, optimizer), (clean, reference)):
        train(entry, one, its, [batch(0), batch(1)])
    with pytest.warns(NumericalWarning, match="skipped"):
        train(entry, model, optimizer, [batch(2) * bad])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(entry, model, optimizer, [batch(2) * bad])
    assert checks.skipped_steps(optimizer) == 2
    assert_same_bits(model, clean)
    for one, its in ((model, optimizer), (clean, reference)):
        train(entry, one, its, [batch(3), batch(4)])
    assert_same_bits(model, clean)


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(5, 4, sparse=True), nn.Linear(4, 2)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.table(words))


@every_optimizer
def test_sparse_gradients_are_refused(entry: Entry) -> None:
    model = Sparse()
    with pytest.raises(InputError, match="sparse"):
        train(entry, model, build(entry, model), [torch.tensor([0, 3])])


@every_optimizer
def test_a_closure_that_returns_nothing_is_refused(entry: Entry) -> None:
    model = Awkward()
    before = values(model)
    with pytest.raises(InputError, match="returned None"):
        build(entry, model).step(lambda: None)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


@every_optimizer
def test_the_state_of_another_model_is_refused(entry: Entry) -> None:
    model, other = Awkward(), Awkward()
    other.first = nn.Linear(12, 9)
    other.norm, other.last, other.nothing = nn.LayerNorm(9), nn.Linear(9, 2, bias=False), nn.Linear(9, 0)
    foreign = build(entry, other)
    train(entry, other, foreign, [batch(0)])
    small = nn.Linear(2, 2)
    for state in (foreign.state_dict(), build(entry, small).state_dict(), {"nothing": 1}):
        with pytest.raises(InputError, match="state"):
            build(entry, model).load_state_dict(state)


@every_optimizer
@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_rates_that_are_not_positive_are_refused(entry: Entry, rate: float) -> None:
    with pytest.raises(InputError, match="lr"):
        build(entry, Awkward(), lr=rate)


@every_optimizer
def test_complex_parameters_are_refused(entry: Entry) -> None:
    model = Awkward()
    with pytest.raises(InputError, match="complex"):
        build(entry, model, params=[*model.parameters(), nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))])


@every_optimizer
def test_schedules_reach_every_group_and_may_end_at_zero(entry: Entry) -> None:
    model = Awkward()
    optimizer = build(entry, model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step < 2 else 0.0)
    for k in range(2):
        train(entry, model, optimizer, [batch(k)])
        schedule.step()
    before = values(model)
    train(entry, model, optimizer, [batch(2)])
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def _compile(_: int, names: list[str]) -> None:
    """In a process of its own, where functions are not wrapped by the checks of annotations."""
    for name in names:
        torch._dynamo.reset()
        entry = OPTIMIZERS[name]
        models = [Awkward(), Awkward()]
        for model, compiled in zip(models, (False, True), strict=True):
            optimizer = build(entry, model)

            def step(inputs: Tensor, entry: Entry = entry, model: Any = model, optimizer: Any = optimizer) -> Tensor:
                closure = closure_for(model, optimizer, inputs)
                if entry.needs == "closure":
                    return optimizer.step(closure)
                loss = closure()
                optimizer.step()
                return loss

            run = torch.compile(step, backend="eager") if compiled else step
            for k in range(4):
                run(batch(k))
        for (key, a), b in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
            torch.testing.assert_close(a, b, msg=lambda text, name=name, key=key: f"{name}, {key}: {text}")


@pytest.mark.slow
@every_optimizer
def test_compiled_training_steps_equal_plain_ones(entry: Entry) -> None:
    torch.multiprocessing.spawn(_compile, ([entry.name],), nprocs=1)


def _worker(rank: int, folder: str, names: list[str]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for name in names:
        entry = OPTIMIZERS[name]
        model = Awkward(seed=rank)  # DDP spreads the first process's
        parallel = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
        train(entry, parallel, build(entry, model), [batch(k).chunk(2)[rank] for k in range(5)])
        torch.save(model.state_dict(), f"{folder}/{name}{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_end_with_the_same_parameters(tmp_path: Path) -> None:
    names = [entry.name for entry in OURS]
    torch.multiprocessing.spawn(_worker, (str(tmp_path), names), nprocs=2)
    for name in names:
        first, second = (torch.load(tmp_path / f"{name}{rank}.pt", weights_only=True) for rank in range(2))
        start = Awkward().state_dict()
        assert all(torch.equal(first[key], second[key]) for key in first), name
        assert not torch.equal(first["first.weight"], start["first.weight"]), name
