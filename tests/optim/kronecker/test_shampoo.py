"""Shampoo in 32 and in 4 bits, beside a straightforward loop and torch's own base methods."""

from __future__ import annotations

import io
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError, NumericalWarning
from polyad.optim.kronecker import Shampoo, StateBytes
from polyad.optim.kronecker.base_updates import BASES, base_update


def gradients(shape: tuple[int, ...], count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Around a fixed matrix, so that statistics have a direction."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.randn(shape, dtype=dtype, generator=generator)
    return [center + torch.randn(shape, dtype=dtype, generator=generator) for _ in range(count)]


def drive(optimizer: Any, parameter: nn.Parameter, steps: list[Tensor]) -> None:
    for gradient in steps:
        parameter.grad = gradient.clone().view_as(parameter)
        optimizer.step()


def naive_shampoo(start: Tensor, steps: list[Tensor], every: int = 1, momentum: float = 0.9) -> Tensor:
    """Roots by eigh of the matrices themselves, gradient as (rows, columns)."""
    value, memory = start.clone(), torch.zeros_like(start)
    left, right = (torch.zeros(n, n, dtype=start.dtype) for n in start.shape)

    def root(matrix: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        return vectors @ torch.diag((values + 1e-6 * values[-1]) ** -0.25) @ vectors.mT

    for number, gradient in enumerate(steps, 1):
        if number % every == 0:
            left = 0.95 * left + 0.05 * gradient @ gradient.mT
            right = 0.95 * right + 0.05 * gradient.mT @ gradient
            roots = root(left), root(right)
        direction = gradient if number < every else roots[0] @ gradient @ roots[1]
        memory = momentum * memory + direction * gradient.norm() / direction.norm()
        value = value - 0.1 * memory
    return value


@pytest.mark.parametrize("basis", ["eigh", "matrix"])
@pytest.mark.parametrize("every", [1, 3])
def test_32_bits_with_decompositions_equal_the_naive_loop(basis: str, every: int) -> None:
    steps = gradients((9, 14), 20)
    parameter = nn.Parameter(torch.ones(9, 14, dtype=torch.float64))
    optimizer = Shampoo(
        [parameter], lr=0.1, bits=32, basis=basis, statistics_every=every, roots_every=every, weight_decay=0.0
    )
    drive(optimizer, parameter, steps)
    expected = naive_shampoo(torch.ones(9, 14, dtype=torch.float64), steps, every)
    torch.testing.assert_close(parameter.detach(), expected, atol=1e-5, rtol=0)


def test_other_shapes_are_matrices_of_rows_and_rest() -> None:
    steps = gradients((4, 3, 2, 5), 6)
    options: dict[str, Any] = {"bits": 32, "basis": "eigh", "statistics_every": 1, "roots_every": 1, "lr": 0.1}
    kernel = nn.Parameter(torch.ones(4, 3, 2, 5, dtype=torch.float64))
    drive(Shampoo([kernel], **options), kernel, steps)
    expected = naive_shampoo(torch.ones(4, 30, dtype=torch.float64), [g.flatten(1) for g in steps])
    torch.testing.assert_close(kernel.detach().flatten(1), expected, atol=1e-5, rtol=0)


def test_long_axes_are_split() -> None:
    """With momentum off and one step, each block has its own roots and the whole has the gradient's length."""
    (gradient,) = gradients((5, 7), 1)
    parameter = nn.Parameter(torch.zeros(5, 7, dtype=torch.float64))
    optimizer = Shampoo(
        [parameter], lr=1.0, momentum=0.0, bits=32, basis="eigh", statistics_every=1, roots_every=1, max_order=4
    )
    drive(optimizer, parameter, [gradient])
    expected = torch.zeros_like(gradient)
    for rows in (slice(0, 2), slice(2, 5)):
        for columns in (slice(0, 3), slice(3, 7)):
            u, s, vh = torch.linalg.svd(gradient[rows, columns], full_matrices=False)
            # L = 0.05 U S^2 U', R = 0.05 V S^2 V': the step is U (S / sqrt(0.05 (S^2 + eps max S^2))) V'
            expected[rows, columns] = u @ torch.diag(s / (0.05 * (s**2 + 1e-6 * s[0] ** 2)).sqrt()) @ vh
    expected *= gradient.norm() / expected.norm()
    torch.testing.assert_close(parameter.detach(), -expected, atol=1e-9, rtol=0)
    assert len(optimizer.state[parameter]["blocks"]) == 4


def test_vectors_and_the_steps_before_the_first_root_are_the_base_method() -> None:
    peers = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    }
    for base, peer in peers.items():
        ours = [nn.Parameter(torch.ones(6)), nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(()))]
        theirs = [nn.Parameter(p.detach().clone()) for p in ours]
        first, second = Shampoo(ours, lr=0.01, base=base, weight_decay=0.1), peer(theirs)
        for number in range(5):
            for a, b in zip(ours, theirs, strict=True):
                a.grad = torch.randn(a.shape, generator=torch.Generator().manual_seed(number))
                b.grad = a.grad.clone()
            first.step()
            second.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, atol=1e-7, rtol=1e-6)


def test_lamb_scales_each_layer_by_its_length_over_the_updates() -> None:
    parameters = [nn.Parameter(torch.full((4,), 3.0)), nn.Parameter(torch.zeros(2))]
    directions = [torch.tensor([1.0, -2.0, 3.0, -4.0]), torch.tensor([5.0, 5.0])]
    group = {"base": "lamb", "lr": 0.1, "betas": (0.9, 0.99), "adam_eps": 1e-12, "weight_decay": 0.0}
    with torch.no_grad():
        base_update({p: {} for p in parameters}, group, parameters, directions)
    # the first update of Adam is the sign: lengths 6 over 2, and 1 where the parameter is zero
    torch.testing.assert_close(parameters[0].detach(), 3 - 0.1 * 3 * directions[0].sign())
    torch.testing.assert_close(parameters[1].detach(), torch.full((2,), -0.1))
    assert "lamb" in BASES


def test_statistics_too_rare_or_zero_leave_the_gradient() -> None:
    parameter = nn.Parameter(torch.ones(3, 2))
    drive(Shampoo([parameter], statistics_every=1, roots_every=1), parameter, [torch.zeros(3, 2)])
    assert bool((parameter == 1).all())


@pytest.mark.parametrize("order", [64, 128])
def test_bytes_of_four_and_of_32_bits(order: int) -> None:
    taken = {}
    for bits in (4, 32):
        parameter = nn.Parameter(torch.ones(order, order))
        optimizer = Shampoo([parameter], bits=bits, statistics_every=1, roots_every=1)
        assert optimizer.state_bytes() == StateBytes(0, 0)
        drive(optimizer, parameter, gradients((order, order), 1, dtype=torch.float32))
        taken[bits] = optimizer.state_bytes()
        assert taken[bits].base == 4 * order**2
        assert taken[bits].total == taken[bits].base + taken[bits].preconditioner
    assert taken[4].preconditioner == 2 * (order**2 * (0.5 + 4 / 64) * 2 + 8 * order)
    assert taken[32].preconditioner == 2 * (order**2 * 4 * 2 + 4 * order)
    assert taken[4].preconditioner <= 0.16 * taken[32].preconditioner


def test_small_matrices_stay_in_full_precision() -> None:
    results = []
    for bits in (4, 32):
        parameter = nn.Parameter(torch.ones(63, 20))
        drive(
            Shampoo([parameter], bits=bits, statistics_every=1, roots_every=2),
            parameter,
            gradients((63, 20), 4, dtype=torch.float32),
        )
        results.append(parameter.detach())
    assert torch.equal(*results)


@pytest.mark.parametrize("codebook", ["linear2", "dynamic_tree"])
def test_four_bits_step_nearly_as_32_do_and_nearer_than_rounded_matrices(codebook: str) -> None:
    """Second moments of a spectrum over four decades in a basis of its own, so that small eigenvalues matter."""
    turn = torch.linalg.qr(gradients((96, 96), 1, seed=5)[0]).Q
    steps = [
        (turn @ (torch.logspace(0, -2, 96)[:, None].double() * g) @ turn.mT).float() for g in gradients((96, 96), 12)
    ]

    def moved(bits: int, basis: str) -> Tensor:
        parameter = nn.Parameter(torch.zeros(96, 96))
        options: dict[str, Any] = {"statistics_every": 1, "roots_every": 12, "momentum": 0.0, "lr": 1.0}
        optimizer = Shampoo([parameter], bits=bits, basis=basis, codebook=codebook, **options)
        drive(optimizer, parameter, steps[:-1])
        before = parameter.detach().clone()
        drive(optimizer, parameter, steps[-1:])
        return parameter.detach() - before

    exact = moved(32, "eigh")
    error = {basis: float((moved(4, basis) - exact).norm() / exact.norm()) for basis in ("eigh", "matrix")}
    assert error["eigh"] < 0.35  # measured 0.26 and 0.29
    assert error["matrix"] > 2 * error["eigh"]


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(70, 80), nn.Tanh(), nn.Linear(80, 3))


def train(model: nn.Module, optimizer: Shampoo, first: int, last: int) -> None:
    for number in range(first, last):
        x = torch.randn(16, 70, generator=torch.Generator().manual_seed(number)).to(next(model.parameters()))
        optimizer.zero_grad()
        model(x).float().square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize(("bits", "basis"), [(4, "subspace"), (32, "subspace"), (4, "matrix")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_goes_on_from_a_saved_state_to_the_bit(bits: int, basis: str, dtype: torch.dtype) -> None:
    options: dict[str, Any] = {"bits": bits, "basis": basis, "statistics_every": 2, "roots_every": 3, "base": "adamw"}
    model = network().to(dtype)
    optimizer = Shampoo(model.parameters(), **options)
    train(model, optimizer, 0, 5)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(model, optimizer, 5, 9)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = network(1).to(dtype)
    resumed = Shampoo(other.parameters(), **options)
    other.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    train(other, resumed, 5, 9)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert a.dtype == dtype
        assert torch.equal(a, b)


def test_four_bits_reach_the_minimum_of_an_ill_conditioned_quadratic_sooner_than_momentum() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.logspace(0, -1.5, 64)
    target = torch.randn(64, 64, generator=generator)

    def final(make: Any) -> float:
        weight = nn.Parameter(torch.zeros(64, 64))
        optimizer = make([weight])
        for _ in range(60):
            optimizer.zero_grad()
            loss = ((weight - target) * scale[:, None] * scale).square().sum() / 2
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    plain = min(final(lambda p, lr=lr: torch.optim.SGD(p, lr=lr, momentum=0.9)) for lr in (0.1, 0.3, 1.0))
    ours = min(final(lambda p, lr=lr: Shampoo(p, lr=lr, statistics_every=1, roots_every=2)) for lr in (0.1, 0.3, 1.0))
    assert ours < 0.5 * plain


def test_overflowing_statistics_are_left_out_with_a_warning() -> None:
    parameter = nn.Parameter(torch.zeros(4, 4))
    optimizer = Shampoo([parameter], statistics_every=1, roots_every=1, lr=1e-30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drive(optimizer, parameter, [torch.ones(4, 4)])
    with pytest.warns(NumericalWarning, match="overflow"):
        drive(optimizer, parameter, [torch.full((4, 4), 1e25)])
    memory = optimizer.state[parameter]["memory"]
    torch.testing.assert_close(memory, torch.full((4, 4), 1e25), rtol=1e-4, atol=0)  # along the gradient, of its length


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 8},
        {"basis": "svd"},
        {"base": "rmsprop"},
        {"codebook": "float"},
        {"decay": 1.0},
        {"eps": 0.0},
        {"statistics_every": 0},
        {"roots_every": 0},
        {"max_order": 0},
        {"min_size": -1},
        {"rectify_roots": -1},
        {"rectify_statistics": -1},
        {"momentum": 1.0},
        {"weight_decay": -1.0},
        {"adam_eps": 0.0},
        {"lr": 0.0},
    ],
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        Shampoo([nn.Parameter(torch.ones(2, 2))], **options)
