"""FOSI against a dense loop, closed forms on quadratics and saddles, and its base alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.linalg.lanczos import RitzPairs
from polyad.optim.second_order.fosi import FOSI

SGD = torch.optim.SGD


def quadratic(values: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A matrix with these eigenvalues, and its eigenvectors."""
    noise = torch.randn(len(values), len(values), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    basis = torch.linalg.qr(noise)[0]
    return (basis * values) @ basis.mT, basis


def closure_of(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return closure


def pairs_of(values: Tensor, basis: Tensor, chosen: list[int]) -> RitzPairs:
    return RitzPairs(values[chosen], basis[:, chosen], torch.zeros(len(chosen), dtype=torch.float64))


def parameter(size: int, seed: int = 7) -> nn.Parameter:
    return nn.Parameter(torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def test_error_in_the_subspace_is_gone_after_one_step_and_the_rest_follows_gradient_descent() -> None:
    values = torch.logspace(1, -3, 30, dtype=torch.float64)
    matrix, basis = quadratic(values)
    x = parameter(30)
    start = basis.mT @ x.detach()
    optimizer = FOSI([x], base=SGD, lr=1 / float(values[5]), largest=5, every=None, alpha=1.0, lr_clip=1.0)
    optimizer.use_spectrum(pairs_of(values, basis, list(range(5))))
    for step in range(1, 8):
        optimizer.step(closure_of(optimizer, lambda: 0.5 * x @ matrix @ x))
        error = basis.mT @ x.detach()
        assert float(error[:5].abs().max()) < 1e-12
        torch.testing.assert_close(error[5:], start[5:] * (1 - values[5:] / values[5]) ** step, atol=1e-12, rtol=1e-10)


def reference(matrix: Tensor, x: Tensor, basis: Tensor, values: Tensor, kind: str, steps: int) -> Tensor:
    """The published equations with dense projectors; lr 0.1, alpha 0.3, momentum 0.8, second moment 0.95, clip 2."""
    inside = basis @ basis.mT
    memory, base_memory, square = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
    boost = min(float(values[0] / values[2]), 2.0)
    for step in range(1, steps + 1):
        gradient = matrix @ x
        first, second = inside @ gradient, gradient - inside @ gradient
        if kind == "none":
            remembered, move = first, second
        elif kind == "mean":
            memory = 0.8 * memory + 0.2 * first
            base_memory, square = 0.8 * base_memory + 0.2 * second, 0.95 * square + 0.05 * second**2
            remembered = memory
            move = base_memory / (1 - 0.8**step) / ((square / (1 - 0.95**step)).sqrt() + 1e-8)
        elif kind == "heavy_ball":
            memory, base_memory = 0.8 * memory + first, 0.8 * base_memory + second
            remembered, move = memory, base_memory
        else:
            remembered, move = 1.8 * first + 0.64 * memory, 1.8 * second + 0.64 * base_memory
            memory, base_memory = 0.8 * memory + first, 0.8 * base_memory + second
        newton = -0.3 * basis @ ((basis.mT @ remembered) / values.abs())
        base = -0.1 * boost * move
        base = base - inside @ base
        assert abs(float(newton @ base)) < 1e-12
        x = x + newton + base
    return x


BASES: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "none": SGD,
    "heavy_ball": partial(SGD, momentum=0.8),
    "nesterov": partial(SGD, momentum=0.8, nesterov=True),
    "mean": partial(torch.optim.Adam, betas=(0.8, 0.95)),
}


@pytest.mark.parametrize("kind", BASES)
def test_steps_equal_the_equations_with_dense_projectors(kind: str) -> None:
    """Three large eigenvalues, one negative; the parameters lie in two tensors of two groups, another is idle."""
    values = torch.tensor([5.0, 3.0, 1.0, 0.5, 0.4, 0.3, 0.2, -0.6], dtype=torch.float64)
    matrix, basis = quadratic(values, seed=3)
    start = parameter(8).detach()
    one, two = nn.Parameter(start[:6].clone().view(2, 3)), nn.Parameter(start[6:].clone())
    idle = nn.Parameter(torch.zeros(2, dtype=torch.float64), requires_grad=False)
    groups = [{"params": [one, idle]}, {"params": [two]}]
    optimizer = FOSI(
        groups, base=BASES[kind], lr=0.1, largest=3, smallest=1, every=50, warmup=0, alpha=0.3, lr_clip=2.0
    )

    def loss() -> Tensor:
        x = torch.cat([one.flatten(), two])
        return 0.5 * x @ matrix @ x

    for _ in range(6):
        optimizer.step(closure_of(optimizer, loss))
    chosen = [0, 1, 2, 7]
    torch.testing.assert_close(optimizer.values, values[chosen], atol=1e-10, rtol=0)
    found = torch.cat([one.detach().flatten(), two.detach()])
    expected = reference(matrix, start, basis[:, chosen], values[chosen], kind, 6)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("base", [SGD, partial(SGD, momentum=0.9, nesterov=True), torch.optim.Adam])
@pytest.mark.parametrize("options", [{"largest": 0, "every": 1}, {"largest": 2, "every": 1, "warmup": 9}])
def test_without_a_spectrum_it_is_the_base_to_the_bit(base: Any, options: dict[str, Any]) -> None:
    alone, ours = nn.Linear(5, 3), nn.Linear(5, 3)
    ours.load_state_dict(alone.state_dict())
    plain, hybrid = base(alone.parameters(), lr=0.05), FOSI(ours.parameters(), base=base, lr=0.05, **options)
    inputs = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    for _ in range(8):
        plain.step(closure_of(plain, lambda: alone(inputs).square().mean()))
        hybrid.step(closure_of(hybrid, lambda: ours(inputs).square().mean()))
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), ours.parameters(), strict=True))


def test_it_leaves_saddles_along_negative_curvature() -> None:
    """f = (x^2 - 0.01 y^2) / 2 from y = 1e-3: every Newton step multiplies y by 1 + alpha, the base by 1.0005."""
    place = nn.Parameter(torch.tensor([1.0, 1e-3], dtype=torch.float64))
    optimizer = FOSI([place], base=SGD, lr=0.05, largest=0, smallest=1, every=10, warmup=0, alpha=0.5)
    scale = torch.tensor([1.0, -0.01], dtype=torch.float64)
    for _ in range(10):
        optimizer.step(closure_of(optimizer, lambda: 0.5 * (scale * place**2).sum()))
    torch.testing.assert_close(optimizer.values, torch.tensor([-0.01], dtype=torch.float64))
    expected = torch.tensor([0.95**10, 1e-3 * 1.5**10], dtype=torch.float64)
    torch.testing.assert_close(place.detach(), expected, atol=1e-12, rtol=1e-10)


def test_spectrum_is_renewed_when_due_and_is_that_of_the_hessian() -> None:
    x = parameter(6)
    scale = torch.tensor([9.0, 4, 1, 1, 0.5, 0.1], dtype=torch.float64)
    optimizer = FOSI([x], base=SGD, lr=1e-3, largest=2, every=3, warmup=2, lanczos_steps=6)
    known: list[Tensor] = []
    for step in range(9):
        hessian = (12 * scale * x.detach() ** 2).sort(descending=True).values[:2]
        optimizer.step(closure_of(optimizer, lambda: (scale * x**4).sum()))
        if step in (2, 5, 8):
            torch.testing.assert_close(optimizer.values, hessian, atol=1e-9, rtol=1e-9)
            known.append(optimizer.values)
        elif known:
            assert torch.equal(optimizer.values, known[-1])
        else:
            assert len(optimizer.values) == 0


def test_the_spectrum_reaches_through_fused_attention() -> None:
    """Its kernel cannot be differentiated twice; the spectrum is that with the plain one."""
    torch.manual_seed(0)
    net = nn.MultiheadAttention(4, 2, batch_first=True)
    words = torch.randn(3, 5, 4)

    def loss() -> Tensor:
        return net(words, words, words, need_weights=False)[0].square().sum()

    parameters = list(net.parameters())
    shapes = [p.shape for p in parameters]
    flat = torch.cat([p.detach().reshape(-1) for p in parameters])
    optimizer = FOSI(parameters, lr=1e-3, largest=3, every=1, warmup=0, lanczos_steps=30)
    value = float(optimizer.step(closure_of(optimizer, loss)))

    def plain(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes])
        weight, bias, out, out_bias = (x.view(s) for x, s in zip(parts, shapes, strict=True))
        q, k, v = (words @ weight.mT + bias).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
        mixed = torch.softmax(q @ k.mT / 2**0.5, -1) @ v
        return (mixed.mT.permute(0, 3, 1, 2).flatten(2) @ out.mT + out_bias).square().sum()

    assert float(plain(flat)) == pytest.approx(value, rel=1e-4)
    expected = torch.linalg.eigvalsh(torch.autograd.functional.hessian(plain, flat)).flip(0)[:3]
    torch.testing.assert_close(optimizer.values, expected, rtol=1e-3, atol=1e-4)


def test_directions_without_curvature_are_left_to_the_base() -> None:
    """A Hessian of rank one: the nine other wanted pairs would be divided by rounding errors."""
    weights, row = nn.Parameter(torch.ones(12)), torch.arange(12.0)
    optimizer = FOSI([weights], base=SGD, lr=1e-3, largest=10, every=1, warmup=0, alpha=1.0)
    loss = optimizer.step(closure_of(optimizer, lambda: (row @ weights - 3).square()))
    assert len(optimizer.values) == 1
    assert float(optimizer.values) == pytest.approx(2 * float(row @ row), rel=1e-5)
    assert float((row @ weights - 3).detach().square()) < 1e-6 * float(loss)


def test_models_with_fewer_parameters_than_pairs_are_solved_by_newton() -> None:
    x = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    scale = torch.tensor([5.0, 2.0, 1.0], dtype=torch.float64)
    optimizer = FOSI([x], base=SGD, lr=1e-3, largest=10, smallest=2, every=1, warmup=0, alpha=1.0)
    optimizer.step(closure_of(optimizer, lambda: (scale * x**2).sum()))
    torch.testing.assert_close(optimizer.values, 2 * scale)
    torch.testing.assert_close(x.detach(), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)


def test_momentum_is_projected_when_the_subspace_turns() -> None:
    values = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)
    x = nn.Parameter(torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64))
    optimizer = FOSI([x], base=partial(SGD, momentum=0.5), lr=1e-12, largest=1, every=None, alpha=1.0)
    turned = torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64)
    first, second = torch.eye(3, dtype=torch.float64)[:, :1], turned[:, None]
    closure = closure_of(optimizer, lambda: 0.5 * (values * x**2).sum())
    optimizer.use_spectrum(RitzPairs(values[:1], first, torch.zeros(1)))
    optimizer.step(closure)  # memory 4 along e1, step -1: x = (0, 1, 1)
    optimizer.use_spectrum(RitzPairs(values[:1], second, torch.zeros(1)))
    optimizer.step(closure)  # memory 0.5 * 4 * 0.6 + 2 * 0.8 = 2.8, step -0.7 along (0.6, 0.8, 0)
    expected = torch.tensor([-0.42, 1 - 0.56, 1.0], dtype=torch.float64)
    torch.testing.assert_close(x.detach(), expected, atol=1e-9, rtol=0)


def test_schedules_and_groups_scale_both_parts() -> None:
    values = torch.tensor([4.0, 2.0, 0.5, 0.25], dtype=torch.float64)
    x, y = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimizer = FOSI(
        [{"params": [x]}, {"params": [y], "lr": 0.1}], base=SGD, lr=1.0, largest=1, every=None, alpha=1.0, lr_clip=1.0
    )
    optimizer.use_spectrum(RitzPairs(values[:1], torch.eye(4, dtype=torch.float64)[:, 2:3], torch.zeros(1)))
    optimizer.param_groups[1]["lr"] = 0.05
    optimizer.step(closure_of(optimizer, lambda: 0.5 * (values * torch.cat([x, y]) ** 2).sum()))
    assert x.tolist() == pytest.approx([1 - 4, 1 - 2])
    assert y.tolist() == pytest.approx([1 - 0.05 * 0.5 / 4, 1 - 0.05 * 0.25])


def test_the_base_takes_part_in_saving_and_in_new_groups() -> None:
    def build() -> tuple[nn.Parameter, FOSI]:
        x = parameter(9)
        return x, FOSI([x], lr=0.1, largest=2, every=2, warmup=1)

    scale = torch.arange(1.0, 10, dtype=torch.float64)
    x, optimizer = build()
    for _ in range(4):
        optimizer.step(closure_of(optimizer, lambda: (scale * x**4).sum()))
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert set(state["state"][0]["base"]) == {"step", "exp_avg", "exp_avg_sq"}
    y, other = build()
    y.data.copy_(x.detach())
    other.load_state_dict(state)
    assert other.base.param_groups[0] is other.param_groups[0]
    for _ in range(4):
        optimizer.step(closure_of(optimizer, lambda: (scale * x**4).sum()))
        other.step(closure_of(other, lambda: (scale * y**4).sum()))
    assert torch.equal(x, y)
    late = nn.Parameter(torch.ones(1, dtype=torch.float64))
    other.add_param_group({"params": [late], "lr": 0.2})
    other.every = None
    other.step(closure_of(other, lambda: (scale * y**4).sum() + late.square().sum()))
    assert late.item() == pytest.approx(0.8)
    with pytest.raises(InputError, match="spectrum"):
        other.load_state_dict(SGD([y, late], lr=0.1).state_dict())


def test_bad_input_is_refused() -> None:
    x = nn.Parameter(torch.ones(3))
    for options in (
        {"largest": -1},
        {"every": 0},
        {"warmup": -1},
        {"alpha": 0.0},
        {"lr_clip": 0.5},
        {"momentum": "heavy"},
        {"base": partial(SGD, weight_decay=0.1)},
        {"base": torch.optim.AdamW},
    ):
        with pytest.raises(InputError):
            FOSI([x], **options)
    optimizer = FOSI([x], largest=2, every=None)
    with pytest.raises(InputError, match="vectors have shape"):
        optimizer.use_spectrum(RitzPairs(torch.ones(1), torch.ones(3, 1), torch.zeros(1)))
    with pytest.raises(InputError, match="weight_decay"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "weight_decay": 0.1})
    with pytest.raises(InputError, match="graph"):
        optimizer.update_spectrum(torch.ones(()))
    with pytest.raises(InputError, match="closure"):
        FOSI([x]).step()
