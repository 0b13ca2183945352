"""Fits of coordinate networks: records, stops, and curvature against explicit Hessians."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import ConvergenceError, InputError
from polyad.nn.coordinate import CoordinateMLP, PatchedCoordinateNet
from polyad.optim.second_order.fields import CurvatureAwareFit, FitRecord, psnr


def signal(number: int = 60) -> tuple[Tensor, Tensor]:
    x = torch.linspace(-1, 1, number, dtype=torch.float64)[:, None]
    return x, 0.5 + 0.4 * torch.sin(9 * x + 3 * x**2)


def network() -> CoordinateMLP:
    return CoordinateMLP(1, 1, 12, 2, deviation=0.3).double()


def test_ratio_in_decibels() -> None:
    assert psnr(1e-3) == pytest.approx(30.0)
    assert psnr(4e-3, peak=2.0) == pytest.approx(30.0)
    assert psnr(0.0) == math.inf
    assert psnr(math.inf) == psnr(math.nan) == -math.inf


@pytest.mark.parametrize("optimizer", ["lbfgs", "gauss_newton", "adam"])
def test_fits_reach_the_target_and_say_how(optimizer: str) -> None:
    ticks = iter(range(10**6))
    net = network()
    fit = CurvatureAwareFit(
        net, *signal(), optimizer=optimizer, lr=0.02 if optimizer == "adam" else None, clock=lambda: float(next(ticks))
    )
    record = fit.run(evaluations=3000, target=30.0)
    reached = record.evaluations_to(30.0)
    assert reached is not None
    assert reached <= record.evaluations[-1] == fit.evaluations
    assert all(a < b for a, b in zip(record.seconds, record.seconds[1:], strict=False))
    assert all(a < b for a, b in zip(record.evaluations, record.evaluations[1:], strict=False))
    assert record.seconds_to(30.0) is not None
    assert record.evaluations_to(300.0) is None
    x, y = signal()
    with torch.no_grad():
        now = psnr(float((net(x) - y).square().mean()))
    assert now == pytest.approx(record.best, abs=0.5)
    further = fit.run(evaluations=20)
    assert further.evaluations[: len(record.evaluations)] == record.evaluations
    assert fit.evaluations >= reached + 20


def test_curvature_needs_fewer_evaluations_than_adam_at_its_default_rate() -> None:
    counts = {}
    for optimizer in ("lbfgs", "adam"):
        record = CurvatureAwareFit(network(), *signal(), optimizer=optimizer).run(evaluations=700, target=30.0)
        counts[optimizer] = record.evaluations_to(30.0) or 700
    assert counts["lbfgs"] < 0.5 * counts["adam"]


def test_budgets_end_a_run() -> None:
    ticks = iter(range(10**6))
    fit = CurvatureAwareFit(network(), *signal(), optimizer="adam", clock=lambda: float(next(ticks)))
    assert fit.run(evaluations=7).evaluations == tuple(range(1, 8))
    seen: list[tuple[int, int]] = []
    fit.run(evaluations=1000, seconds=20.0, progress=lambda done, total: seen.append((done, total)))
    assert 7 + 5 <= fit.evaluations <= 7 + 20
    assert seen[-1] == (fit.evaluations - 7, 1000)


def test_curvature_is_that_of_the_explicit_hessian() -> None:
    x, y = signal(20)
    net = CoordinateMLP(1, 1, 3, 1, deviation=0.5).double()
    fit = CurvatureAwareFit(net, x, y)
    names = [name for name, _ in net.named_parameters()]

    def loss(*values: Tensor) -> Tensor:
        return (torch.func.functional_call(net, dict(zip(names, values, strict=True)), (x,)) - y).square().mean()

    values = tuple(p.detach() for p in net.parameters())
    blocks = torch.autograd.functional.hessian(loss, values)
    rows = [torch.cat([b.reshape(v.numel(), -1) for b in row], 1) for v, row in zip(values, blocks, strict=True)]
    eigenvalues = torch.linalg.eigvalsh(torch.cat(rows))
    assert fit.top_curvature() == pytest.approx(float(eigenvalues[-1]), rel=1e-9)
    largest = float(eigenvalues.abs().max())
    found = fit.gradient_lipschitz(radius=1e-6, directions=200)
    assert 0.4 * largest < found < 1.01 * largest
    assert all(torch.equal(p, v) for p, v in zip(net.parameters(), values, strict=True))


def test_patches_are_fitted_with_histories_of_their_own() -> None:
    x, y = signal(120)
    net = PatchedCoordinateNet(1, 1, (4,), 8, 1, deviation=0.5).double()
    record = CurvatureAwareFit(net, x, y, blocks=4, history=20).run(evaluations=400, target=40.0)
    assert record.best > 40.0


def test_bad_input_is_refused() -> None:
    x, y = signal()
    for options in ({"optimizer": "sgd"}, {"peak": 0.0}, {"blocks": 3}):
        with pytest.raises(InputError):
            CurvatureAwareFit(network(), x, y, **options)
    with pytest.raises(InputError, match="values"):
        CurvatureAwareFit(network(), x, y[:, 0])
    with pytest.raises(InputError, match="values"):
        CurvatureAwareFit(network(), x, y[:10])
    net = nn.Linear(1, 1).double()
    with pytest.raises(ConvergenceError, match="learning rate"):
        CurvatureAwareFit(net, x, y, optimizer="adam", lr=1e300).run(evaluations=10)
    assert FitRecord((), (), ()).best == -math.inf
