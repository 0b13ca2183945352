"""Residuals of solutions and of polynomials worked out by hand, samplers, errors, and the bound on Poisson's."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.pde.pinn import (
    PINNProblem,
    burgers,
    derivatives,
    heat_multiscale,
    helmholtz,
    poisson_1d,
    poisson_2d,
    poisson_errors,
    values,
)

PROBLEMS = [
    poisson_1d(16 * math.pi, half_waves=3),
    poisson_1d(),
    poisson_2d(8.0),
    poisson_2d(0.125),
    helmholtz(2.0),
    heat_multiscale(),
    burgers(),
    burgers(0.1),
]
every_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@every_problem
def test_residual_of_the_solution_vanishes(problem: PINNProblem) -> None:
    residual = problem.residual(problem.exact, problem.interior(2000, generator(), dtype=torch.float64))
    assert float(residual.detach().abs().max()) < 1e-8


@pytest.mark.parametrize(
    ("problem", "field", "expected"),
    [
        (
            poisson_1d(2.0),
            lambda x: x[..., 0] ** 3,
            lambda x: -6 * x[:, 0] - (math.pi / 2) ** 2 * torch.sin(math.pi * x[:, 0] / 2),
        ),
        (
            poisson_2d(2.0),
            lambda x: x[..., 0] ** 3 * x[..., 1] ** 2,
            lambda x: (
                -6 * x[:, 0] * x[:, 1] ** 2
                - 2 * x[:, 0] ** 3
                - math.pi**2 / 2 * torch.sin(math.pi * x[:, 0] / 2) * torch.sin(math.pi * x[:, 1] / 2)
            ),
        ),
        (
            helmholtz(3.0, waves=(1, 2)),
            lambda x: x[..., 0] ** 2 * x[..., 1],
            lambda x: (
                2 * x[:, 1]
                + 9 * x[:, 0] ** 2 * x[:, 1]
                - (9 - 5 * math.pi**2) * torch.sin(math.pi * x[:, 0]) * torch.sin(2 * math.pi * x[:, 1])
            ),
        ),
        (
            heat_multiscale(scale=2.0),
            lambda x: x[..., 0] ** 2 * x[..., 2] ** 2 + x[..., 1] ** 3,
            lambda x: 2 * x[:, 0] ** 2 * x[:, 2] - x[:, 2] ** 2 / (2 * math.pi**2) - 6 * x[:, 1] / math.pi**2,
        ),
        (
            burgers(0.3),
            lambda x: x[..., 0] ** 2 * x[..., 1],
            lambda x: x[:, 0] ** 2 + 2 * x[:, 0] ** 3 * x[:, 1] ** 2 - 0.6 * x[:, 1],
        ),
    ],
    ids=lambda value: value.name if isinstance(value, PINNProblem) else "",
)
def test_residuals_of_polynomials(
    problem: PINNProblem, field: Callable[[Tensor], Tensor], expected: Callable[[Tensor], Tensor]
) -> None:
    points = problem.interior(50, generator(), dtype=torch.float64)
    assert torch.allclose(problem.residual(field, points).detach(), expected(points), atol=1e-11)


def test_solutions_at_known_places() -> None:
    assert float(poisson_2d(8.0).exact(torch.tensor([4.0, 4.0]))) == pytest.approx(1)
    assert float(poisson_1d(4.0, half_waves=2).exact(torch.tensor([3.0]))) == pytest.approx(-1, rel=1e-6)
    heat = heat_multiscale()
    assert float(heat.exact(torch.tensor([0.025, 0.5, 1.0]).double())) == pytest.approx(math.exp(-1.0016))
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)
    start = burgers().exact(torch.stack([x, torch.zeros(9)], -1))
    assert torch.allclose(start, -torch.sin(math.pi * x), atol=1e-12)
    slope = derivatives(burgers().exact, torch.tensor([[0.0, 1.6037 / math.pi]], dtype=torch.float64))[1]
    assert slope[0, 0].item() == pytest.approx(-152.005, rel=1e-4)  # Basdevant et al., table of the largest slope


@every_problem
def test_samples_fill_the_box_and_its_faces(problem: PINNProblem) -> None:
    inside, outside = problem.interior(3000, generator()), problem.boundary(60 * len(problem.faces), generator())
    lower, upper = torch.tensor(problem.lower), torch.tensor(problem.upper)
    assert bool((inside >= lower).all() and (inside <= upper).all())
    assert torch.allclose(inside.mean(0), (lower + upper) / 2, atol=0.05 * float((upper - lower).max()))
    for axis, end in problem.faces:
        on_face = outside[:, axis] == torch.tensor((problem.lower, problem.upper)[end][axis])
        assert int(on_face.sum()) >= 60
        for other in set(range(len(lower))) - {axis}:
            spread = outside[on_face, other]
            assert float(spread.max() - spread.min()) > 0.8 * float(upper[other] - lower[other])
    assert torch.equal(inside, problem.interior(3000, generator()))


@every_problem
def test_losses_and_errors_of_solutions_and_of_zero(problem: PINNProblem) -> None:
    inside, outside = (sample(40, generator(), dtype=torch.float64) for sample in (problem.interior, problem.boundary))
    residual, boundary = (loss.detach() for loss in problem.losses(problem.exact, inside, outside))
    assert float(residual) < 1e-16
    assert float(boundary) == 0
    assert float(problem.relative_error(lambda x: 0 * x[..., 0], points=20)) == pytest.approx(1)
    assert float(problem.relative_error(problem.exact, points=20)) < 1e-5
    shifted = problem.losses(lambda x: problem.exact(x) + 0.5, inside, outside)
    assert float(shifted[1].detach()) == pytest.approx(0.25)


def test_a_batch_of_networks_is_each_of_them_and_columns_are_welcome() -> None:
    problem = poisson_2d(2.0)
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)).double() for _ in range(3)]

    def together(x: Tensor) -> Tensor:
        return torch.stack([network(part)[..., 0] for network, part in zip(networks, x, strict=True)])

    inside = torch.stack([problem.interior(10, generator(k), dtype=torch.float64) for k in range(3)])
    outside = torch.stack([problem.boundary(7, generator(k), dtype=torch.float64) for k in range(3)])
    found = problem.losses(together, inside, outside)
    for k, network in enumerate(networks):
        for loss, own in zip(found, problem.losses(network, inside[k], outside[k]), strict=True):
            assert torch.allclose(loss[k], own, rtol=1e-12)
    assert values(networks[0], inside[0]).shape == (10,)


def test_derivatives_against_differences() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    x = torch.randn(6, 2, generator=generator(), dtype=torch.float64)
    _, first, second = derivatives(network, x, second=(0, 1))
    for axis in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[axis] = 1e-4
        ahead, here, behind = (values(network, x + k * step).detach() for k in (1, 0, -1))
        assert torch.allclose(first[:, axis].detach(), (ahead - behind) / 2e-4, atol=1e-7)
        assert torch.allclose(second[axis].detach(), (ahead - 2 * here + behind) / 1e-8, atol=1e-6)
    second[0].sum().backward()  # and on to the parameters
    assert network[0].weight.grad is not None
    assert not bool(derivatives(lambda x: 2 * x[..., 0], x, second=(0,))[2][0].any())


@pytest.mark.parametrize("length", [1.0, 8.0, 16 * math.pi])
def test_error_of_poisson_stays_under_its_bound_and_meets_it(length: float) -> None:
    problem = poisson_1d(length)
    for k in range(20):
        a, b, c, d = torch.randn(4, generator=generator(k), dtype=torch.float64)

        def field(x: Tensor, c: Tensor = c, a: Tensor = a, b: Tensor = b, d: Tensor = d) -> Tensor:
            y = x[..., 0] / length
            return problem.exact(x) + a + b * y + c * torch.sin(3 * y) + d * y**2

        found = poisson_errors(field, problem)
        assert 0 < found.error <= found.bound * (1 + 1e-12)
    size = (length / math.pi) ** 2
    worst = poisson_errors(lambda x: (1 + 0.1 * size) * problem.exact(x), problem)  # the first eigenfunction
    assert worst.error == pytest.approx(0.1 * size / math.sqrt(2), rel=1e-9)
    assert worst.error == pytest.approx(worst.bound, rel=1e-9)
    assert worst.residual_loss == pytest.approx(0.1**2 / 2, rel=1e-9)  # of one size for all lengths
    lifted = poisson_errors(lambda x: problem.exact(x) + 0.3, problem)
    assert lifted.boundary_loss == pytest.approx(0.09)
    assert lifted.error == pytest.approx(lifted.bound, rel=1e-6)


def test_what_is_refused() -> None:
    for make in (poisson_1d, poisson_2d, helmholtz, burgers):
        with pytest.raises(InputError, match="positive"):
            make(-1.0)
    with pytest.raises(InputError, match="nodes"):
        burgers(1e-4)
    with pytest.raises(InputError, match="poisson_1d"):
        poisson_errors(poisson_2d().exact, poisson_2d())
    with pytest.raises(InputError, match="points"):
        poisson_2d().relative_error(poisson_2d().exact, points=0)
