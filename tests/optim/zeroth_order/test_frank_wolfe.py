"""Estimates against gradients, classic Frank-Wolfe and its bound, feasibility on every set, counts and schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from polyad.errors import InputError, NumericalWarning
from polyad.optim.zeroth_order import sets
from polyad.optim.zeroth_order.frank_wolfe import Schedule, ZerothOrderFrankWolfe, paper_schedule

CLASSIC = Schedule(step=lambda t: 2 / (t + 2), averaging=lambda t: 1.0, smoothing=lambda t: 1e-4)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def without_noise(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor, int], torch.Tensor]:
    return lambda points, seed: function(points)


@pytest.mark.parametrize(("estimator", "count", "draws"), [("rdsa", 1, 1_000_000), ("irdsa", 4, 100_000)])
def test_mean_of_estimates_is_the_gradient_of_a_quadratic(estimator: str, count: int, draws: int) -> None:
    matrix = normal(5, 5)
    matrix = matrix + matrix.mT
    at = 0.1 * normal(5, seed=1)
    optimizer = ZerothOrderFrankWolfe(
        at.expand(draws, 5),
        sets.L2Ball(1.0),
        estimator=estimator,
        count=count,
        schedule=Schedule(step=lambda t: 0.1, averaging=lambda t: 1.0, smoothing=lambda t: 0.5),  # a large c
    )
    estimates = optimizer.estimate(without_noise(lambda x: 0.5 * ((x @ matrix) * x).sum(-1) + x[..., 0]))
    gradient = matrix @ at
    gradient[0] += 1
    error = estimates.mean(0) - gradient
    assert bool((error.abs() <= 4.5 * estimates.std(0) / math.sqrt(draws)).all())


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 4)])
def test_coordinates_give_forward_differences(shape: tuple[int, ...]) -> None:
    constraint: Any = sets.L2Ball(9.0) if len(shape) == 2 else sets.NuclearBall(90.0)
    at, c = normal(*shape), 1e-3
    schedule = Schedule(step=CLASSIC.step, averaging=CLASSIC.averaging, smoothing=lambda t: c)
    optimizer = ZerothOrderFrankWolfe(at, constraint, estimator="kwsa", schedule=schedule)
    found = optimizer.estimate(without_noise(lambda x: (x**3).flatten(2).sum(-1)))
    assert torch.allclose(found, ((at + c) ** 3 - at**3) / c, atol=1e-9)


STARTS: list[tuple[Any, torch.Tensor, str, int]] = [
    (sets.L1Ball(0.7), torch.tensor([0.0, -0.7, 0.0, 0.0], dtype=torch.float64), "rdsa", 800),
    (sets.Simplex(0.7), torch.full((4,), 0.175, dtype=torch.float64), "irdsa", 300),
    (sets.L2Ball(0.7), torch.full((4,), 0.35, dtype=torch.float64), "kwsa", 200),
    (sets.Box(0.7), torch.full((4,), -0.7, dtype=torch.float64), "rdsa", 800),
    (sets.NuclearBall(0.7), torch.diag(torch.tensor([0.4, -0.3, 0.0], dtype=torch.float64))[:, :2], "irdsa", 300),
    (sets.Birkhoff(), torch.full((3, 3), 1 / 3, dtype=torch.float64), "kwsa", 200),
]


@pytest.mark.parametrize(("constraint", "start", "estimator", "steps"), STARTS, ids=lambda value: type(value).__name__)
def test_points_stay_in_every_set_and_values_fall(
    constraint: Any, start: torch.Tensor, estimator: str, steps: int
) -> None:
    target = 2 * normal(*start.shape, seed=3)
    axes = tuple(range(-constraint.event_dimensions, 0))

    def values(x: torch.Tensor, seed: int) -> torch.Tensor:
        noise = 0.1 * normal(2, *start.shape, seed=seed % 2**32)
        return 0.5 * ((x - target) ** 2).sum(axes) + (noise * x).sum(axes)

    optimizer = ZerothOrderFrankWolfe(
        start.expand(2, *start.shape), constraint, estimator=estimator, count=4 if estimator == "irdsa" else 1
    )
    worst = 0.0
    for _ in range(steps):
        worst = max(worst, float(constraint.violation(optimizer.step(values)).max()))
    assert worst <= 1e-10

    def value(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * ((x - target) ** 2).sum(axes)

    best = start.clone()  # of the exact problem, by classic steps
    exact = ZerothOrderFrankWolfe(best, constraint, schedule=CLASSIC)
    for _ in range(400):
        exact.move(exact.point - target)
    least = float(value(exact.point))
    assert float((value(optimizer.point) - least).max()) < 0.25 * (float(value(start)) - least)


def test_exact_gradients_give_classic_frank_wolfe_and_its_bound() -> None:
    """30 random convex quadratics on the l1 ball, by hand beside; f - f* <= 2 L D^2 / (t + 2), and <= the gap."""
    root, linear = normal(30, 6, 6), normal(30, 6, seed=1)
    matrix = root @ root.mT
    lipschitz = torch.linalg.eigvalsh(matrix)[:, -1]

    def value(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (x[:, None] @ matrix @ x[:, :, None])[:, 0, 0] + (linear * x).sum(-1)

    def gradient(x: torch.Tensor) -> torch.Tensor:
        return (matrix @ x[..., None])[..., 0] + linear

    start = torch.zeros(30, 6, dtype=torch.float64)
    start[:, 0] = 1
    optimizer = ZerothOrderFrankWolfe(start, sets.L1Ball(1.0), schedule=CLASSIC)
    by_hand, values, gaps = start.clone(), [], []
    for t in range(1500):
        before = value(optimizer.point)
        optimizer.move(gradient(optimizer.point))
        if t < 50:
            slope = gradient(by_hand)
            vertex = torch.zeros_like(by_hand)
            for run in range(30):
                place = int(slope[run].abs().argmax())
                vertex[run, place] = -math.copysign(1.0, float(slope[run, place]))
            by_hand = by_hand + 2 / (t + 2) * (vertex - by_hand)
            assert torch.allclose(by_hand, optimizer.point, atol=1e-12)
            values.append(before)
            gaps.append(optimizer.gap)
    assert bool((optimizer.gap < 0.05).all())
    best = before - optimizer.gap  # below the least value
    for t in range(1, 50):
        error = values[t] - best
        assert bool((values[t] - value(optimizer.point) <= gaps[t] + 1e-12).all())
        assert bool((error <= 2 * lipschitz * 4 / (t + 2)).all())


def test_default_schedule_breaks_the_classic_bound() -> None:
    """Its first steps are short: far from the minimum it is late."""
    target = torch.zeros(2, dtype=torch.float64)
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    schedule = paper_schedule("rdsa", 2)
    exact = Schedule(step=schedule.step, averaging=lambda t: 1.0, smoothing=schedule.smoothing)
    optimizer = ZerothOrderFrankWolfe(start, sets.L2Ball(1.0), schedule=exact)
    lipschitz, slope = 1e-3, 10.0  # almost linear: f = slope x_1 + lipschitz |x|^2 / 2
    for t in range(1, 10):
        optimizer.move(slope * torch.eye(2, dtype=torch.float64)[0] + lipschitz * (optimizer.point - target))
        excess = slope * (float(optimizer.point[0]) + 1) + lipschitz * (float(optimizer.point.square().sum()) - 1) / 2
        assert excess > 100 * 2 * lipschitz * 4 / (t + 2)


@pytest.mark.parametrize(("estimator", "count", "each"), [("rdsa", 1, 2), ("irdsa", 6, 7), ("kwsa", 1, 6)])
def test_evaluations_are_counted_and_a_step_has_one_seed(estimator: str, count: int, each: int) -> None:
    seen: list[tuple[int, int]] = []

    def values(x: torch.Tensor, seed: int) -> torch.Tensor:
        seen.append((x.shape[0], seed))
        return (x**2).sum(-1)

    optimizer = ZerothOrderFrankWolfe(
        torch.zeros(3, 5, dtype=torch.float64), sets.L2Ball(), estimator=estimator, count=count
    )
    for _ in range(4):
        optimizer.step(values)
    assert [points for points, _ in seen] == [each] * 4
    assert optimizer.evaluations == 4 * each
    assert len({seed for _, seed in seen}) == 4


def test_schedules_are_those_of_the_paper() -> None:
    for estimator, count in (("rdsa", 1), ("irdsa", 3), ("kwsa", 1)):
        schedule = paper_schedule(estimator, 27, count=count)
        for t in (0, 5, 100):
            assert schedule.step(t) == pytest.approx(2 / (t + 9))
            averaging = {"rdsa": 4 / 3, "irdsa": 4 / 10 ** (1 / 3), "kwsa": 4}[estimator] / (t + 8) ** (2 / 3)
            assert schedule.averaging(t) == pytest.approx(averaging)
            width = {"rdsa": 27**-1.5, "irdsa": 3**0.5 * 27**-1.5, "kwsa": 27**-0.5}[estimator]
            assert schedule.smoothing(t) == pytest.approx(2 * width / (t + 8) ** (1 / 3))
            assert 0 < schedule.averaging(t) <= 1
    assert paper_schedule("kwsa", 4, total_steps=16).step(3) == pytest.approx(1 / 8)


def test_noise_of_one_step_cancels_in_differences() -> None:
    """A noise that is the same at all points of a step, however large, leaves the path as it is."""
    paths = []
    for size in (0.0, 1e3):

        def values(x: torch.Tensor, seed: int, size: float = size) -> torch.Tensor:
            return (x - 0.3).square().sum(-1) + size * normal(1, seed=seed % 2**32)

        optimizer = ZerothOrderFrankWolfe(torch.zeros(2, 3, dtype=torch.float64), sets.Box())
        for _ in range(30):
            optimizer.step(values)
        paths.append(optimizer.point)
    assert torch.allclose(paths[0], paths[1], atol=1e-6)


def test_state_goes_on_to_the_bit_and_start_is_left_alone() -> None:
    start = torch.zeros(2, 3, dtype=torch.float64)
    values = without_noise(lambda x: (x - 0.3).square().sum(-1))
    one = ZerothOrderFrankWolfe(start, sets.L1Ball(), estimator="irdsa", count=2, seed=4)
    for _ in range(5):
        one.step(values)
    state = one.state_dict()
    other = ZerothOrderFrankWolfe(start, sets.L1Ball(), estimator="irdsa", count=2, seed=9)
    other.load_state_dict(state)
    for optimizer in (one, other):
        for _ in range(5):
            optimizer.step(values)
    assert torch.equal(one.point, other.point)
    assert torch.equal(one.gap, other.gap)
    assert torch.equal(one.direction, other.direction)
    assert one.evaluations == other.evaluations == 30
    assert not bool(start.any())
    with pytest.raises(InputError, match="same problem"):
        ZerothOrderFrankWolfe(start[:1], sets.L1Ball()).load_state_dict(state)


def test_runs_whose_values_are_not_finite_stand_still_and_are_counted() -> None:
    start = torch.tensor([[0.5, 0.5], [-0.5, 0.5]], dtype=torch.float64)
    optimizer = ZerothOrderFrankWolfe(start, sets.Box())

    def values(x: torch.Tensor, seed: int) -> torch.Tensor:
        return torch.where(x[..., 0] > 0, (x**2).sum(-1), math.nan)

    with pytest.warns(NumericalWarning, match="skipped_steps"):
        optimizer.step(values)
    assert torch.equal(optimizer.point[1], start[1])
    assert not bool(optimizer.direction[1].any())
    assert not torch.equal(optimizer.point[0], start[0])
    assert optimizer.gap.isinf().tolist() == [False, True]
    assert (optimizer.steps, optimizer.skipped_steps) == (1, 1)


def test_float32_stays_float32() -> None:
    start = torch.tensor([1.0, 0.0, 0.0])
    optimizer = ZerothOrderFrankWolfe(start, sets.Simplex(), estimator="kwsa")
    for _ in range(300):
        optimizer.step(without_noise(lambda x: (x - torch.tensor([0.2, 0.3, 0.5])).square().sum(-1)))
    assert optimizer.point.dtype == torch.float32
    assert torch.allclose(optimizer.point, torch.tensor([0.2, 0.3, 0.5]), atol=0.03)


def test_bad_input_is_refused() -> None:
    point = torch.zeros(3, dtype=torch.float64)
    calls: list[Callable[[], Any]] = [
        lambda: ZerothOrderFrankWolfe(point, sets.L1Ball(), estimator="spsa"),
        lambda: ZerothOrderFrankWolfe(point, sets.L1Ball(), count=2),
        lambda: ZerothOrderFrankWolfe(point, sets.L1Ball(), estimator="irdsa", count=0),
        lambda: ZerothOrderFrankWolfe(point, sets.Simplex()),
        lambda: ZerothOrderFrankWolfe(point + 1, sets.L1Ball()),
        lambda: ZerothOrderFrankWolfe(point * math.nan, sets.L1Ball()),
        lambda: ZerothOrderFrankWolfe(point, sets.L1Ball()).move(torch.zeros(2, dtype=torch.float64)),
        lambda: ZerothOrderFrankWolfe(point, sets.L1Ball()).step(lambda x, seed: x.sum()),
        lambda: paper_schedule("rdsa", 0),
        lambda: paper_schedule("rdsa", 3, total_steps=0),
    ]
    for call in calls:
        with pytest.raises(InputError):
            call()
