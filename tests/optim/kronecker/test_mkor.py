"""MKOR against a loop with dense inverses, on every kind of layer, alone and over workers."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyad.errors import InputError, NumericalWarning
from polyad.optim.curvature.kronecker import KroneckerCollector
from polyad.optim.curvature.layers import layers_of
from polyad.optim.kronecker import MKOR, MeanRecorder, averaged
from polyad.optim.kronecker.means import averaged_over_processes


def data(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 3, bias=False)).double()


def first_state(optimizer: MKOR, model: nn.Module) -> dict[str, Any]:
    return optimizer.state[next(model.parameters())]


def train(model: nn.Module, optimizer: MKOR, steps: range, shape: tuple[int, ...] = (8, 6)) -> None:
    parameter = next(model.parameters())
    for number in steps:
        optimizer.zero_grad()
        model(data(*shape, seed=number).to(parameter)).square().mean().backward()
        optimizer.step()


def test_steps_equal_a_loop_with_dense_inverses() -> None:
    """One linear layer; inverse factors every other step; momentum and decay as in SGD."""
    model = nn.Linear(6, 4).double()
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    value = torch.cat([weight, bias[:, None]], 1)
    optimizer = MKOR(model.parameters(), model=model, lr=0.1, stabilizer=0.0, update_every=2, weight_decay=0.01)
    factors, memory = [torch.eye(7).double(), torch.eye(4).double()], torch.zeros_like(value)
    for number in range(7):
        x, y = data(9, 6, seed=number), data(9, 4, seed=100 + number)
        optimizer.zero_grad()
        (model(x) - y).square().sum(-1).mean().backward()
        optimizer.step()
        inputs = torch.cat([x, torch.ones(9, 1).double()], 1)
        errors = 2 * (inputs @ value.mT - y)  # of each sample
        gradient = errors.mT @ inputs / 9
        if number % 2 == 0:
            for place, vector in enumerate((inputs.mean(0), errors.mean(0))):
                factors[place] = 0.95 * factors[place] + 0.05 * torch.outer(vector, vector)
        direction = torch.linalg.inv(factors[1]) @ gradient @ torch.linalg.inv(factors[0])
        memory = 0.9 * memory + direction * gradient.norm() / direction.norm() + 0.01 * value
        value = value - 0.1 * memory
    found = torch.cat([model.weight, model.bias[:, None]], 1).detach()
    torch.testing.assert_close(found, value, atol=1e-12, rtol=0)


def test_means_are_those_of_rows_and_the_bias_gradient() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3)).double()
    recorder = MeanRecorder(model)
    x = data(4, 7, 6)
    model(x).square().mean(dim=(1, 2)).mean().backward()
    means = recorder.means()
    torch.testing.assert_close(means["0"].inputs, torch.cat([x.mean((0, 1)), torch.ones(1).double()]))
    torch.testing.assert_close(means["1"].inputs[:-1], model[0](x).mean((0, 1)).detach())
    for name, layer in (("0", model[0]), ("1", model[1])):
        torch.testing.assert_close(means[name].gradients, layer.bias.grad)
    recorder.forget()
    assert not recorder.means()
    recorder.remove()
    model(x).sum().backward()
    assert not recorder.means()


def test_a_layer_met_twice_and_a_shared_weight_are_one_matrix() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = nn.Linear(4, 4)
            self.second.weight, self.second.bias = self.first.weight, self.first.bias

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(self.first(x)))

    model = Twice().double()
    recorder = MeanRecorder(model)
    x = data(3, 4)
    model(x).square().mean().backward()
    (means,) = recorder.means().values()
    stages = [x, model.first(x), model.first(model.first(x))]
    torch.testing.assert_close(means.inputs[:-1], torch.cat(stages).mean(0).detach())
    torch.testing.assert_close(means.gradients, model.first.bias.grad)


class Patches(nn.Module):
    """A convolution as a linear layer on unfolded patches."""

    def __init__(self, like: nn.Conv2d) -> None:
        super().__init__()
        self.dense = nn.Linear(like.weight[0].numel(), like.out_channels)
        self.dense.weight = nn.Parameter(like.weight.detach().clone().flatten(1))
        assert like.bias is not None
        self.dense.bias = nn.Parameter(like.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        rows = self.dense(F.unfold(x, 3, padding=1, stride=2).mT)
        return rows.mT.unflatten(-1, (4, 4))


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_convolutions_are_linear_layers_on_patches(order: torch.memory_format) -> None:
    model = nn.Conv2d(2, 3, 3, padding=1, stride=2).double()
    peer = Patches(model)
    model.weight.data = model.weight.data.to(memory_format=order)
    for one in (model, peer):
        train(one, MKOR(one.parameters(), model=one, update_every=1), range(4), (5, 2, 8, 8))
    torch.testing.assert_close(model.weight.flatten(1), peer.dense.weight, atol=1e-12, rtol=0)
    torch.testing.assert_close(model.bias, peer.dense.bias, atol=1e-12, rtol=0)


class Attention(nn.Module):
    """Self-attention of linear layers."""

    def __init__(self, like: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = like.num_heads
        self.parts = nn.ModuleList(nn.Linear(like.embed_dim, like.embed_dim) for _ in range(4))
        weights = [*like.in_proj_weight.detach().chunk(3), like.out_proj.weight.detach()]
        biases = [*like.in_proj_bias.detach().chunk(3), like.out_proj.bias.detach()]
        for part, weight, bias in zip(self.parts, weights, biases, strict=True):
            part.weight, part.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.parts[:3])
        return self.parts[3](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


def test_projections_of_attention_are_linear_layers() -> None:
    torch.manual_seed(0)
    model = SelfAttention().double()
    peer = Attention(model.attention)
    for one in (model, peer):
        train(one, MKOR(one.parameters(), model=one, update_every=1), range(3), (4, 5, 8))
    found = [*model.attention.in_proj_weight.chunk(3), model.attention.out_proj.weight]
    for weight, part in zip(found, peer.parts, strict=True):
        torch.testing.assert_close(weight, part.weight, atol=1e-10, rtol=0)
    for bias, part in zip(model.attention.in_proj_bias.chunk(3), peer.parts[:3], strict=True):
        torch.testing.assert_close(bias, part.bias, atol=1e-10, rtol=0)


def test_other_parameters_and_the_layers_of_a_frozen_bias_step_too() -> None:
    model = network()
    model[0].bias.requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    vectors = [p for p in model.parameters() if p.ndim == 1 and p.requires_grad]
    matrices = [p for p in model.parameters() if p.ndim == 2]
    groups = [{"params": matrices}, {"params": vectors, "lr": 1e-3}]
    train(model, MKOR(groups, model=model, lr=0.1), range(2))
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == set(before) - {"0.bias"}


@pytest.mark.parametrize("count", [2, 4])
def test_workers_equal_one_process_on_the_union(count: int) -> None:
    model = network()
    recorder = MeanRecorder(model)
    x = data(8, 6)

    def means(batch: Tensor) -> dict[str, Any]:
        recorder.forget()
        model(batch).square().mean().backward()
        return recorder.means()

    whole = means(x)
    joint = averaged(means(part) for part in x.chunk(count))
    assert set(joint) == set(whole) == {"0", "3"}
    for name, one in whole.items():
        torch.testing.assert_close(joint[name].inputs, one.inputs, atol=1e-12, rtol=1e-6)
        torch.testing.assert_close(joint[name].gradients, one.gradients, atol=1e-12, rtol=1e-6)
    with pytest.raises(InputError, match="workers"):
        averaged([])


def _worker(rank: int, store: str, results: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    model = network()
    parallel = nn.parallel.DistributedDataParallel(model)
    optimizer = MKOR(model.parameters(), model=model, update_every=1)
    for number in range(4):
        optimizer.zero_grad()
        parallel(data(8, 6, seed=number).chunk(2)[rank]).square().mean().backward()
        optimizer.step()
    torch.save(model.state_dict(), f"{results}{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Any) -> None:
    torch.multiprocessing.spawn(_worker, (str(tmp_path / "store"), str(tmp_path / "result")), nprocs=2)
    model = network()
    train(model, MKOR(model.parameters(), model=model, update_every=1), range(4))
    for rank in range(2):
        found = torch.load(tmp_path / f"result{rank}.pt", weights_only=True)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(found[name], value, atol=1e-10, rtol=0)


def test_half_precision_rounds_the_vectors() -> None:
    model = network().float()
    recorder = MeanRecorder(model)
    model(data(8, 6).float()).square().mean().backward()
    means = recorder.means()
    rounded = averaged_over_processes(means, half_precision=True)
    same = averaged_over_processes(means)
    for name, one in means.items():
        assert torch.equal(rounded[name].inputs, one.inputs.bfloat16().float())
        assert torch.equal(same[name].gradients, one.gradients)
    assert not torch.equal(rounded["0"].inputs, means["0"].inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mode", ["exact", "published", "printed"])
def test_training_goes_on_from_a_saved_state_to_the_bit(dtype: torch.dtype, mode: str) -> None:
    def fresh(seed: int) -> tuple[nn.Module, MKOR]:
        model = network(seed).to(dtype)
        return model, MKOR(model.parameters(), model=model, lr=0.01, base="lamb", mode=mode, update_every=3)

    model, optimizer = fresh(0)
    train(model, optimizer, range(5))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(model, optimizer, range(5, 9))
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other, resumed = fresh(1)
    other.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    train(other, resumed, range(5, 9))
    factors = first_state(resumed, other)["factors"]["0"]
    assert factors["inputs"].dtype == torch.float32
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert a.dtype == dtype
        assert torch.equal(a, b)
        assert bool(a.isfinite().all())


def closure_of(model: nn.Module, optimizer: MKOR, loss: Callable[[], float]) -> Callable[[], Tensor]:
    """Random gradients beside a loss that is set by hand."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        model(data(8, 6)).square().mean().backward()
        return torch.tensor(loss())

    return closure


@pytest.mark.parametrize(("tail", "off"), [(0.5, False), (0.0, True)])
def test_the_hybrid_form_ends_preconditioning_when_the_loss_stops_falling(tail: float, off: bool) -> None:
    """The loss falls by one a step for 100 steps, then by `tail`."""
    model = network()
    optimizer = MKOR(model.parameters(), model=model, lr=1e-4, hybrid=0.25, hybrid_after=120)
    switched = None
    for number in range(260):
        loss = 1000.0 - min(number, 100) - tail * max(number - 100, 0)
        optimizer.step(closure_of(model, optimizer, partial(float, loss)))
        if switched is None and not optimizer.preconditions:
            switched = number
    assert (switched is not None) == off
    if switched is not None:
        assert switched > 120
        other = network()
        resumed = MKOR(other.parameters(), model=other, hybrid=0.25, hybrid_after=120)
        resumed.load_state_dict(optimizer.state_dict())
        assert not resumed.preconditions
        before = {p: p.detach().clone() for p in other.parameters()}
        memory = {p: resumed.state[p]["memory"].clone() for p in before}
        resumed.step(closure_of(other, resumed, lambda: 1.0))
        for p, value in before.items():  # plain momentum along the gradient
            assert p.grad is not None
            torch.testing.assert_close(p.detach(), value - 1e-4 * (0.9 * memory[p] + p.grad))
    with pytest.raises(InputError, match="closure"):
        optimizer.step()


def test_steps_without_finite_gradients_leave_the_factors() -> None:
    model = network()
    optimizer = MKOR(model.parameters(), model=model, update_every=1)
    train(model, optimizer, range(1))
    factor = first_state(optimizer, model)["factors"]["0"]["inputs"].clone()
    optimizer.zero_grad()
    (model(data(8, 6)).sum() * float("nan")).backward()
    with pytest.warns(NumericalWarning, match="skipped"):
        optimizer.step()
    assert torch.equal(first_state(optimizer, model)["factors"]["0"]["inputs"], factor)
    assert optimizer.skipped_steps == 1
    train(model, optimizer, range(1, 2))
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_factors_stay_as_they_are_without_hooks() -> None:
    model = network()
    optimizer = MKOR(model.parameters(), model=model, update_every=1)
    train(model, optimizer, range(2))
    factor = first_state(optimizer, model)["factors"]["0"]["inputs"].clone()
    optimizer.remove_hooks()
    train(model, optimizer, range(2, 4))
    assert torch.equal(first_state(optimizer, model)["factors"]["0"]["inputs"], factor)


def test_factors_out_of_bounds_start_again_with_a_warning() -> None:
    """Without a stabiliser, directions that no vector takes grow by 1 / decay at every update."""
    model = network().float()
    optimizer = MKOR(model.parameters(), model=model, update_every=1, stabilizer=0.0, decay=1e-3, lr=1e-6)
    with pytest.warns(NumericalWarning, match="out of bounds"):
        train(model, optimizer, range(40))
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    assert bool(first_state(optimizer, model)["factors"]["0"]["inputs"].abs().amax() < 1e12)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "paper"},
        {"stabilizer": 0.04},
        {"decay": 0.0},
        {"decay": 1.0},
        {"stabilizer": 1.0},
        {"threshold": 0.0},
        {"update_every": 0},
        {"hybrid": 0.0},
        {"hybrid_after": 0},
        {"base": "rmsprop"},
        {"lr": -1.0},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    model = network()
    with pytest.raises(InputError, match=next(iter(options))):
        MKOR(model.parameters(), model=model, **options)


def test_a_model_without_matrices_is_refused() -> None:
    model = nn.LayerNorm(3)
    with pytest.raises(InputError, match="model"):
        MKOR(model.parameters(), model=model)


def test_means_are_those_of_the_collector_of_whole_factors() -> None:
    """Its sums go over positions, and its gradients are each sample's."""
    model = network()
    recorder, collector = MeanRecorder(model), KroneckerCollector(model)
    model(data(4, 7, 6)).square().sum(-1).mean().backward()
    factors = collector.factors()
    for name, means in recorder.means().items():
        torch.testing.assert_close(means.inputs, factors[name].mean_input)
        torch.testing.assert_close(means.gradients, factors[name].mean_output)
        assert [layer.name for layer in layers_of(name, model[int(name)])] == [name]


def test_attention_with_its_projections_seen_is_the_attention_itself() -> None:
    torch.manual_seed(0)
    model = SelfAttention().double()
    x = data(3, 5, 8)
    before = model(x)
    recorder = MeanRecorder(model)
    torch.testing.assert_close(model(x), before, atol=1e-12, rtol=0)
    recorder.remove()
    assert "forward" not in vars(model.attention)
