"""Inverse-free K-FAC against per-sample gradients, the stationary point of the full product, and explicit inverses."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim.kronecker import InverseFreeKFAC, factor_gradients

WIDE = torch.float64


def data(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=WIDE)


def moments(order: int, seed: int = 0) -> Tensor:
    root = data(order, 2 * order, seed=seed)
    return root @ root.mT / (2 * order)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3, bias=False)).double()


def factors_of(optimizer: InverseFreeKFAC, weight: Tensor, key: str = "0") -> tuple[Tensor, Tensor]:
    pair = optimizer.state[weight]["factors"][key]
    return pair["inputs"]["factor"], pair["outputs"]["factor"]


def settle(aa: Tensor, gg: Tensor, damping: float, steps: int) -> tuple[Tensor, Tensor]:
    """Factors after updates with moments that stay."""
    a = torch.eye(len(aa), dtype=WIDE) + 0.2 * data(*aa.shape, seed=5) / len(aa) ** 0.5
    b = torch.eye(len(gg), dtype=WIDE) + 0.2 * data(*gg.shape, seed=6) / len(gg) ** 0.5
    for _ in range(steps):
        one, other = factor_gradients(a, b, aa, gg, damping=damping)
        a, b = a - 0.3 * a @ one, b - 0.3 * b @ other
    return a, b


def test_fixed_point_is_stationary_for_the_whole_product() -> None:
    """tr((AA' x BB') F) - log det (AA' x BB') with F = aa x gg + damping I, differentiated by autograd."""
    aa, gg, damping = moments(5), moments(4, seed=1), 0.1
    a, b = settle(aa, gg, damping, 2000)
    for gradient in factor_gradients(a, b, aa, gg, damping=damping):
        assert float(gradient.abs().max()) < 1e-8
    a.requires_grad_(), b.requires_grad_()
    product = torch.kron(a @ a.mT, b @ b.mT)
    whole = torch.kron(aa, gg) + damping * torch.eye(20, dtype=WIDE)
    (torch.sum(product * whole) - torch.linalg.slogdet(product).logabsdet).backward()
    assert float(a.grad.abs().max()) < 1e-7
    assert float(b.grad.abs().max()) < 1e-7


def test_gradients_are_those_of_the_whole_product_anywhere() -> None:
    """The loss above changes along A + A X by 2 d <N_A, X> each; factors are not symmetric."""
    aa, gg, damping = moments(5), moments(4, seed=1), 0.3
    a = (torch.eye(5, dtype=WIDE) + 0.4 * data(5, 5, seed=2)).requires_grad_()
    b = (torch.eye(4, dtype=WIDE) + 0.4 * data(4, 4, seed=3)).requires_grad_()
    product = torch.kron(a @ a.mT, b @ b.mT)
    whole = torch.kron(aa, gg) + damping * torch.eye(20, dtype=WIDE)
    (torch.sum(product * whole) - torch.linalg.slogdet(product).logabsdet).backward()
    one, other = factor_gradients(a.detach(), b.detach(), aa, gg, damping=damping)
    torch.testing.assert_close(a.detach().mT @ a.grad, 4 * 4 * one)
    torch.testing.assert_close(b.detach().mT @ b.grad, 4 * 5 * other)


def test_without_damping_the_inverse_of_both_moments() -> None:
    aa, gg = moments(5), moments(4, seed=1)
    a, b = settle(aa, gg, 0.0, 3000)
    found = torch.kron(a @ a.mT, b @ b.mT)
    torch.testing.assert_close(found, torch.linalg.inv(torch.kron(aa, gg)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_moments_are_those_of_per_sample_gradients(reduction: str) -> None:
    """torch.func gives the gradients of each sample; the first update of the factors follows from them."""
    model = network()
    inputs, targets = data(7, 5), data(7, 3, seed=1)
    options = {"update_every": 1, "factor_lr": 0.01, "damping": 0.05, "warm_up": (), "loss_reduction": reduction}
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}

    def loss(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return (torch.func.functional_call(model, values, (x[None],))[0] - y).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(weights, inputs, targets)
    per_sample = torch.cat([each["0.weight"], each["0.bias"][..., None]], 2)  # g_n (a_n, 1)'
    g = each["0.bias"]
    gg = torch.einsum("ni,nj->ij", g, g) / 7
    aa = torch.einsum("ndp,ndq,n->pq", per_sample, per_sample, 1 / g.square().sum(1)) / 7
    optimizer = InverseFreeKFAC(model.parameters(), model=model, **options)
    summed = (model(inputs) - targets).square().sum(1)
    (summed.mean() if reduction == "mean" else summed.sum()).backward()
    gradient = torch.cat([model[0].weight.grad, model[0].bias.grad[:, None]], 1)
    optimizer.step()
    one, other = factor_gradients(torch.eye(6, dtype=WIDE), torch.eye(4, dtype=WIDE), aa, gg, damping=0.05)
    a, b = factors_of(optimizer, model[0].weight)
    torch.testing.assert_close(a, torch.eye(6, dtype=WIDE) - 0.01 * one)
    torch.testing.assert_close(b, torch.eye(4, dtype=WIDE) - 0.01 * other)
    change = 0.01 * b @ b.mT @ gradient @ a @ a.mT
    torch.testing.assert_close(model[0].weight.detach(), weights["0.weight"] - change[:, :5])
    torch.testing.assert_close(model[0].bias.detach(), weights["0.bias"] - change[:, 5])


def test_two_steps_written_out() -> None:
    """Momentum of factors and weights, weight decay, the old factor of the other side."""
    model = network()[:1]
    weight = model[0].weight
    optimizer = InverseFreeKFAC(
        [weight], model=model, lr=0.1, momentum=0.8, weight_decay=0.02, damping=0.05, factor_lr=0.05,
        factor_momentum=0.5, update_every=1, warm_up=((1, 0.02), (2, 0.03)),
    )  # fmt: skip
    model[0].bias.requires_grad_(False)
    a, b, m_a, m_b = torch.eye(6, dtype=WIDE), torch.eye(4, dtype=WIDE), 0.0, 0.0
    value, memory = weight.detach().clone(), 0.0
    for number, rate in enumerate((0.02, 0.03)):
        x = data(7, 5, seed=number)
        outputs = x @ value.mT + model[0].bias.detach()
        g = 2 * outputs  # of the sum of squares of each sample
        rows = torch.cat([x, torch.ones(7, 1, dtype=WIDE)], 1)
        n_a, n_b = factor_gradients(a, b, rows.mT @ rows / 7, g.mT @ g / 7, damping=0.05)
        m_a, m_b = 0.5 * m_a + n_a, 0.5 * m_b + n_b
        a, b = a - rate * a @ m_a, b - rate * b @ m_b
        gradient = torch.cat([g.mT @ x / 7, torch.zeros(4, 1, dtype=WIDE)], 1)
        memory = 0.8 * memory + (b @ b.mT @ gradient @ a @ a.mT)[:, :5] + 0.02 * value
        value = value - 0.1 * memory
        optimizer.zero_grad()
        model(x).square().sum(1).mean().backward()
        optimizer.step()
        torch.testing.assert_close(weight.detach(), value)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv1d(3, 8, 2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.filter(x).mT
        return self.norm(x + self.attention(x, x, x, need_weights=False)[0])


def train(model: nn.Module, optimizer: InverseFreeKFAC, numbers: range, shape: tuple[int, ...]) -> list[float]:
    losses = []
    dtype = next(model.parameters()).dtype
    for number in numbers:
        optimizer.zero_grad()
        loss = (model(data(*shape, seed=number).to(dtype)) - 1).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_convolutions_and_projections_are_covered_and_the_rest_steps() -> None:
    torch.manual_seed(0)
    model = Attention().double()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = InverseFreeKFAC(model.parameters(), model=model, update_every=1, warm_up=())
    train(model, optimizer, range(3), (4, 3, 6))
    assert set(optimizer.state[model.attention.in_proj_weight]["factors"]) == {"0", "8", "16"}
    a, b = factors_of(optimizer, model.filter.weight)
    assert a.shape == (7, 7)
    assert b.shape == (8, 8)
    assert "factors" not in optimizer.state[model.norm.weight]
    assert not any(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_factors_have_the_dtype_of_weights_or_the_one_that_is_asked_for(dtype: torch.dtype) -> None:
    model = network().to(torch.bfloat16)
    chosen = None if dtype == torch.bfloat16 else dtype
    optimizer = InverseFreeKFAC(model.parameters(), model=model, update_every=1, factor_dtype=chosen, warm_up=())
    train(model, optimizer, range(2), (6, 5))
    assert {x.dtype for x in factors_of(optimizer, model[0].weight)} == {dtype}
    assert all(p.dtype == torch.bfloat16 for p in model.parameters())


def test_factors_of_half_precision_reach_an_ill_conditioned_inverse_roughly() -> None:
    """Products round to 8 bits; nothing has to be inverted, and no factor becomes singular."""
    scales = torch.logspace(-1, 0.5, 5, dtype=WIDE)
    model = nn.Sequential(nn.Linear(5, 3, bias=False)).bfloat16()
    options = {"update_every": 1, "factor_lr": 0.1, "damping": 1e-4, "warm_up": (), "lr": 1e-12, "momentum": 0.0}
    optimizer = InverseFreeKFAC(model.parameters(), model=model, **options)
    for number in range(150):
        optimizer.zero_grad()
        x = (data(400, 5, seed=number) * scales).bfloat16()
        targets = model(x).detach() + data(400, 3, seed=1000 + number).bfloat16()
        (model(x) - targets).square().sum(1).mean().div(2).backward()
        optimizer.step()
    a, b = (x.double() for x in factors_of(optimizer, model[0].weight))
    found = torch.kron(a @ a.mT, b @ b.mT) * torch.kron(scales.square(), torch.ones(3, dtype=WIDE))
    torch.testing.assert_close(found, torch.eye(15, dtype=WIDE), atol=0.35, rtol=0)


def test_fewer_steps_than_sgd_on_an_ill_conditioned_regression() -> None:
    """With unit noise the curvature is that of the inputs: found, 60 steps do; SGD is far off at its best rate."""
    scales = torch.logspace(-1, 0.5, 6, dtype=WIDE)
    x = data(200, 6) * scales
    target = x @ data(6, 2, seed=1) + data(200, 2, seed=2)
    solution = torch.linalg.lstsq(x, target).solution.mT
    ends: dict[str, list[float]] = {"ours": [], "sgd": []}
    for name, rate in (("ours", 0.3), ("sgd", 0.03), ("sgd", 0.1), ("sgd", 0.3)):
        model = nn.Sequential(nn.Linear(6, 2, bias=False)).double()
        nn.init.zeros_(model[0].weight)
        if name == "ours":
            options = {"update_every": 1, "factor_lr": 0.3, "damping": 1e-3, "warm_up": (), "momentum": 0.5}
            optimizer: torch.optim.Optimizer = InverseFreeKFAC(model.parameters(), model=model, lr=rate, **options)
        else:
            optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.5)
        for _ in range(60):
            optimizer.zero_grad()
            loss = (model(x) - target).square().sum(1).mean() / 2
            loss.backward()
            optimizer.step()
        ends[name].append(float((model[0].weight.detach() - solution).norm() / solution.norm()))
    assert max(ends["ours"]) < 1e-2
    assert min(ends["sgd"]) > 0.1


def test_factors_are_renewed_at_their_interval_only() -> None:
    model = network()
    optimizer = InverseFreeKFAC(model.parameters(), model=model, update_every=3, warm_up=())
    seen = []
    for number in range(5):
        train(model, optimizer, range(number, number + 1), (6, 5))
        seen.append(factors_of(optimizer, model[0].weight)[0].clone())
    assert [not torch.equal(*two) for two in pairwise(seen)] == [False, False, True, False]
    optimizer.remove_hooks()
    train(model, optimizer, range(5, 9), (6, 5))
    assert torch.equal(factors_of(optimizer, model[0].weight)[0], seen[-1])


def test_long_steps_of_factors_are_shortened() -> None:
    """Inputs of a thousand would turn the factor over; it stays invertible and shrinks by half at most."""
    model = network().float()
    optimizer = InverseFreeKFAC(model.parameters(), model=model, update_every=1, factor_lr=1.0, warm_up=(), lr=1e-9)
    with torch.no_grad():
        model[0].weight.mul_(1e-3)
    optimizer.zero_grad()
    model(1000 * data(6, 5).float()).square().sum().backward()
    optimizer.step()
    eigenvalues = torch.linalg.eigvalsh(factors_of(optimizer, model[0].weight)[0])
    assert float(eigenvalues.min()) > 0.4
    assert float(eigenvalues.min()) < 0.9


def test_training_goes_on_between_two_updates_to_the_bit() -> None:
    model = network()
    options: dict[str, Any] = {"update_every": 3, "warm_up": ((2, 1e-3),)}
    optimizer = InverseFreeKFAC(model.parameters(), model=model, **options)
    train(model, optimizer, range(4), (6, 5))
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict()], file)
    train(model, optimizer, range(4, 9), (6, 5))
    file.seek(0)
    values, state = torch.load(file, weights_only=True)
    other = network(1)
    resumed = InverseFreeKFAC(other.parameters(), model=other, **options)
    other.load_state_dict(values)
    resumed.load_state_dict(state)
    train(other, resumed, range(4, 9), (6, 5))
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def _worker(rank: int, store: str, results: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    model = network()
    parallel = nn.parallel.DistributedDataParallel(model)
    optimizer = InverseFreeKFAC(model.parameters(), model=model, update_every=1, warm_up=())
    for number in range(4):
        optimizer.zero_grad()
        (parallel(data(8, 5, seed=number).chunk(2)[rank]) - 1).square().mean().backward()
        optimizer.step()
    torch.save(model.state_dict(), f"{results}{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Any) -> None:
    torch.multiprocessing.spawn(_worker, (str(tmp_path / "store"), str(tmp_path / "result")), nprocs=2)
    model = network()
    train(model, InverseFreeKFAC(model.parameters(), model=model, update_every=1, warm_up=()), range(4), (8, 5))
    for rank in range(2):
        found = torch.load(tmp_path / f"result{rank}.pt", weights_only=True)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(found[name], value, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"damping": 0.0},
        {"factor_lr": 0.0},
        {"factor_momentum": 1.0},
        {"momentum": -0.1},
        {"weight_decay": -1.0},
        {"update_every": 0},
        {"warm_up": ((10, 0.0),)},
        {"factor_dtype": torch.int64},
        {"loss_reduction": "none"},
        {"lr": 0.0},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    model = network()
    with pytest.raises(InputError, match=next(iter(options))):
        InverseFreeKFAC(model.parameters(), model=model, **options)


def test_a_model_without_matrices_is_refused() -> None:
    model = nn.LayerNorm(3)
    with pytest.raises(InputError, match="model"):
        InverseFreeKFAC(model.parameters(), model=model)
