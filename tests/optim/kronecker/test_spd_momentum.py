"""Momentum in normal coordinates against closed forms, the full Kronecker product, and affine invariance."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.optim.kronecker import SPDMomentum
from polyad.optim.kronecker.spd_momentum import coordinate_weights, exponential


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(order: int, seed: int = 0) -> Tensor:
    root = random(order, order, seed=seed)
    return root @ root.mT / order + 0.1 * torch.eye(order)


def objective(statistics: Tensor) -> Callable[[Tensor], Tensor]:
    """tr(tau S) - log det tau of a factor, least at tau = S^-1."""
    return lambda factor: ((factor @ factor.mT) * statistics).sum((-2, -1)) - 2 * torch.linalg.slogdet(factor).logabsdet


def minimise(factor: Tensor, loss: Callable[[Tensor], Tensor], steps: int, **options: Any) -> list[Tensor]:
    """Factors after every step."""
    parameter = nn.Parameter(factor.clone())
    optimizer = SPDMomentum([parameter], **options)
    path = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss(parameter).backward()
        optimizer.step()
        path.append(parameter.detach().clone())
    return path


@pytest.mark.parametrize("kind", ["exact", "first", "second"])
def test_one_factor_reaches_the_inverse(kind: str) -> None:
    """From a random start that is not symmetric, where A F A' in place of A' F A ends elsewhere."""
    basis = torch.linalg.qr(random(30, 30)).Q
    moments = (basis * torch.logspace(-3, 0, 30, dtype=torch.float64)) @ basis.mT + 0.01 * torch.eye(30)
    start = torch.eye(30) + 0.3 * random(30, 30, seed=1) / 30**0.5
    options = {"lr": 0.1, "momentum": 0.0, "exponential": kind}
    factor = minimise(start.double(), objective(moments), 400, **options)[-1]
    inverse = torch.linalg.inv(moments)
    assert float((factor @ factor.mT - inverse).norm() / inverse.norm()) < 1e-6


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_affine_invariance(momentum: float) -> None:
    """The transformed problem starts at any factor of the transformed matrix."""
    statistics, change = positive(6), random(6, 6, seed=2) + 2 * torch.eye(6)
    inverse = torch.linalg.inv(change)
    start = torch.linalg.cholesky(positive(6, seed=3))
    other = torch.linalg.cholesky(change @ start @ start.mT @ change.mT)
    plain = minimise(start, objective(statistics), 30, lr=0.05, momentum=momentum)
    moved = minimise(other, objective(inverse.mT @ statistics @ inverse), 30, lr=0.05, momentum=momentum)
    for one, two in zip(plain, moved, strict=True):
        expected = change @ one @ one.mT @ change.mT
        assert float((two @ two.mT - expected).norm() / expected.norm()) < 1e-9


def test_truncations_have_their_orders() -> None:
    """Halving the rate quarters the gap of the first order to expm, and divides that of the second by eight."""
    start = torch.linalg.cholesky(positive(5, seed=3))
    gaps: dict[str, list[float]] = {"first": [], "second": []}
    for rate in (0.02, 0.01, 0.005):
        exact = minimise(start, objective(positive(5)), 1, lr=rate)[0]
        for kind, found in gaps.items():
            found.append(
                float((minimise(start, objective(positive(5)), 1, lr=rate, exponential=kind)[0] - exact).norm())
            )
    for kind, ratio in (("first", 4.0), ("second", 8.0)):
        for large, small in pairwise(gaps[kind]):
            assert large / small == pytest.approx(ratio, rel=0.05)


def test_momentum_is_a_sum_of_pulled_back_gradients() -> None:
    """Two steps, written out with the gradient by tau."""
    statistics, start = positive(4), torch.linalg.cholesky(positive(4, seed=3))
    factor, memory = start, torch.zeros(4, 4, dtype=torch.float64)
    for found in minimise(start, objective(statistics), 2, lr=0.1, momentum=0.7):
        pulled = factor.mT @ (statistics - torch.linalg.inv(factor @ factor.mT)) @ factor
        memory = 0.7 * memory + pulled
        factor = factor @ torch.linalg.matrix_exp(-0.05 * memory)
        torch.testing.assert_close(found, factor)


@pytest.mark.parametrize("kind", ["exact", "first", "second"])
def test_diagonal_factors_are_diagonal_matrices(kind: str) -> None:
    """With a diagonal problem, the dense path stays diagonal and is the same."""
    statistics, start = torch.diag(positive(4).diagonal()), positive(4, seed=3).diagonal().sqrt()
    options = {"lr": 0.1, "exponential": kind}
    dense = minimise(torch.diag(start), objective(statistics), 5, **options)
    vectors = minimise(start, lambda a: objective(statistics)(torch.diag(a)), 5, structure="diagonal", **options)
    for matrix, vector in zip(dense, vectors, strict=True):
        torch.testing.assert_close(torch.diag(vector), matrix)


@pytest.mark.parametrize("blocks", [[2, 1, 2], None])
def test_triangular_factors_keep_their_blocks_and_reach_the_inverse(blocks: list[int] | None) -> None:
    statistics = positive(5)
    options = {"structure": "triangular", "blocks": blocks, "lr": 0.2, "momentum": 0.5}
    factor = minimise(torch.eye(5, dtype=torch.float64), objective(statistics), 300, **options)[-1]
    below = coordinate_weights(blocks or [1] * 5, factor) == 0
    assert bool(below.any())
    assert float(factor[below].abs().max()) < 1e-12
    torch.testing.assert_close(factor @ factor.mT, torch.linalg.inv(statistics), rtol=1e-8, atol=1e-8)


def test_triangular_coordinates_are_orthonormal() -> None:
    """At x = 0 the affine-invariant length of A (D x + (D x)') A' is that of x, for every pair of coordinates."""
    factor = torch.linalg.cholesky(positive(4, seed=3)).mT
    inverse = torch.linalg.inv(factor @ factor.mT)
    weights = coordinate_weights([2, 1, 1], factor)
    directions = []
    for row, column in [(0, 0), (0, 1), (1, 1), (2, 2), (3, 3), (0, 2), (1, 3), (2, 3)]:
        x = torch.zeros(4, 4, dtype=torch.float64)
        x[row, column] = 1.0
        if (row, column) == (0, 1):  # inside a diagonal block coordinates are symmetric
            x[1, 0] = 1.0
            x /= 2**0.5
        directions.append(factor @ (weights * x + (weights * x).mT) @ factor.mT)
    products = [[float((inverse @ a @ inverse @ b).trace()) for b in directions] for a in directions]
    metric = torch.tensor(products, dtype=torch.float64)
    torch.testing.assert_close(metric, torch.eye(len(directions), dtype=torch.float64), atol=1e-9, rtol=0)


def test_steps_of_triangular_factors_follow_the_gradient_in_coordinates() -> None:
    """The coordinates' gradient by finite differences of the loss along A expm(D x)."""
    statistics, start = positive(4), torch.linalg.cholesky(positive(4, seed=3)).mT.contiguous()
    weights, loss = coordinate_weights([2, 2], start), objective(statistics)
    gradient = torch.zeros(4, 4, dtype=torch.float64)
    for row in range(4):
        for column in range(4):
            if float(weights[row, column]):
                x = torch.zeros(4, 4, dtype=torch.float64)
                x[row, column] = 1e-5
                x = (x + x.mT) / 2 if weights[row, column] == 0.5 else x
                ends = [loss(start @ exponential(sign * weights * x)) for sign in (1, -1)]
                gradient[row, column] = float(ends[0] - ends[1]) / 2e-5
    found = minimise(start, loss, 1, structure="triangular", blocks=[2, 2], lr=0.1)[0]
    torch.testing.assert_close(found, start @ exponential(-0.1 * weights * gradient), rtol=1e-7, atol=1e-7)


def test_kronecker_factors_take_partial_traces_of_the_full_gradient() -> None:
    statistics = positive(6)
    factors = [torch.linalg.cholesky(positive(2, seed=3)), torch.linalg.cholesky(positive(3, seed=4))]
    parameters = [nn.Parameter(factor.clone()) for factor in factors]
    optimizer = SPDMomentum(parameters, lr=0.1, momentum=0.5, structure="kronecker")
    objective(statistics)(torch.kron(*parameters)).backward()
    optimizer.step()
    whole = torch.kron(*factors)
    pulled = (whole.mT @ statistics @ whole - torch.eye(6)).reshape(2, 3, 2, 3)
    means = [torch.einsum("iaja->ij", pulled) / 3, torch.einsum("aiaj->ij", pulled) / 2]
    for parameter, factor, mean in zip(parameters, factors, means, strict=True):
        torch.testing.assert_close(parameter.detach(), factor @ torch.linalg.matrix_exp(-0.05 * mean))


def test_kronecker_factors_reach_the_inverse_of_a_kronecker_product() -> None:
    left, right = positive(2), positive(3, seed=1)
    parameters = [nn.Parameter(torch.eye(n, dtype=torch.float64)) for n in (2, 3)]
    optimizer = SPDMomentum(parameters, lr=0.2, momentum=0.5, structure="kronecker", exponential="first")
    for _ in range(300):
        optimizer.zero_grad()
        objective(torch.kron(left, right))(torch.kron(*parameters)).backward()
        optimizer.step()
    product = torch.kron(*(p.detach() @ p.detach().mT for p in parameters))
    torch.testing.assert_close(product, torch.kron(torch.linalg.inv(left), torch.linalg.inv(right)))


def test_batches_are_many_single_problems() -> None:
    statistics = torch.stack([positive(3, seed=seed) for seed in range(4)])
    start = torch.eye(3, dtype=torch.float64)
    batch = minimise(start.expand(4, 3, 3), lambda a: objective(statistics)(a).sum(), 5, lr=0.1)[-1]
    for number, found in enumerate(batch):
        torch.testing.assert_close(found, minimise(start, objective(statistics[number]), 5, lr=0.1)[-1])


def test_half_precision_needs_products_alone() -> None:
    statistics = positive(5).bfloat16()
    parameter = nn.Parameter(torch.eye(5, dtype=torch.bfloat16))
    optimizer = SPDMomentum([parameter], lr=0.1, momentum=0.5, exponential="second")
    for _ in range(150):
        inverse = torch.linalg.inv(parameter.detach().float()).bfloat16()
        parameter.grad = 2 * (statistics @ parameter.detach()) - 2 * inverse.mT
        optimizer.step()
    product = (parameter @ parameter.mT).detach().float()
    torch.testing.assert_close(product @ statistics.float(), torch.eye(5), atol=0.15, rtol=0)


def test_a_saved_minimisation_goes_on_to_the_bit() -> None:
    statistics, start = positive(4), torch.eye(4, dtype=torch.float64)
    whole = minimise(start, objective(statistics), 6, structure="triangular", blocks=[1, 3])
    first = nn.Parameter(start.clone())
    optimizer = SPDMomentum([first], structure="triangular", blocks=[1, 3])
    for number in range(6):
        if number == 3:
            other = nn.Parameter(first.detach().clone())
            resumed = SPDMomentum([other])
            resumed.load_state_dict(optimizer.state_dict())
            first, optimizer = other, resumed
        optimizer.zero_grad()
        objective(statistics)(first).backward()
        optimizer.step()
    assert torch.equal(first.detach(), whole[-1])


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 3), {"structure": "sparse"}, "structure"),
        ((3, 3), {"exponential": "third"}, "exponential"),
        ((3, 2), {}, "params"),
        ((), {"structure": "diagonal"}, "params"),
        ((3, 3), {"structure": "triangular", "blocks": [1, 1]}, "blocks"),
        ((3, 3), {"momentum": 1.0}, "momentum"),
        ((3, 3), {"lr": 0.0}, "lr"),
    ],
)
def test_bad_input_is_refused(shape: tuple[int, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SPDMomentum([nn.Parameter(torch.zeros(shape))], **options)
