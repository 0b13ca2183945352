"""Electrostatics in low rank: the Newton kernel as Gaussians, long and short parts, ranks, forces, generators."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.chebyshev import (
    GaussianSum,
    chebyshev_coefficients,
    chebyshev_points,
    direct_potential,
    gaussian_count,
    lattice_with_vacancies,
    long_range_potential,
    newton_kernel,
    random_cluster,
    sinc_gaussians,
)

BOX = ((-1.0, 1.0),) * 3


def inside(count: int, *, seed: int = 11) -> Tensor:
    return 2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


def coulomb(charges: Tensor, positions: Tensor, points: Tensor) -> Tensor:
    return (charges / torch.linalg.vector_norm(points[:, None] - positions, dim=-1)).sum(1)


# ---------------------------------------------------------------- the kernel


def test_plain_rule_has_the_known_errors() -> None:
    distances = torch.logspace(math.log10(0.05), math.log10(3), 400, dtype=torch.float64)
    kernel = sinc_gaussians(-12, 6, 160)
    errors = (kernel.evaluate(distances) * distances - 1).abs()
    assert float(errors.max()) < 1e-4
    assert float(errors[0]) == pytest.approx(3.3e-7, rel=0.05)
    assert float(errors[-1]) == pytest.approx(2.0e-5, rel=0.05)
    # all of it is the part cut off below: (2/sqrt(pi)) times t at the middle of the first interval, times r
    first = math.exp(-12 - 18 / 159 / 2)
    assert torch.allclose(errors, 2 / math.sqrt(math.pi) * first * distances, rtol=1e-2, atol=1e-12)


@pytest.mark.parametrize("accuracy", [1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("span", [(0.05, 3.5), (1e-3, 40.0)])
def test_short_kernel_keeps_its_accuracy(accuracy: float, span: tuple[float, float]) -> None:
    distances = torch.logspace(math.log10(span[0]), math.log10(span[1]), 500, dtype=torch.float64)
    kernel = newton_kernel(*span, accuracy=accuracy)
    errors = (kernel.evaluate(distances) * distances - 1).abs()
    assert 0.01 * accuracy < float(errors.max()) <= accuracy
    assert float(kernel.rates[0]) == 0


def test_split_is_the_error_function_and_the_rest_is_local() -> None:
    kernel = newton_kernel(0.01, 4.0, accuracy=1e-10)
    long, short = kernel.split(4.0)
    distances = torch.linspace(0.05, 3.0, 60, dtype=torch.float64)
    assert torch.allclose(long.evaluate(distances) + short.evaluate(distances), 1 / distances, rtol=1e-9)
    # half a step beyond the last rate kept, the long part is erf(t r) / r up to the rule's error there
    edge = math.sqrt(float(long.rates[-1] * short.rates[0]))
    step = math.log(float(short.rates[0] / long.rates[-1]))
    assert (long.evaluate(distances) - torch.erf(edge * distances) / distances).abs().max() < 0.1 * step**2 * edge
    reach = short.reach(1e-8)
    assert 0.5 < reach < 1.5
    assert float(short.evaluate(torch.tensor(reach).double())) == pytest.approx(1e-8, rel=1e-6)
    assert long.reach(1e-8) == math.inf


@pytest.mark.parametrize("width_ratio", [0.0, 0.05, 0.7, 4.0, 12.0])
def test_bound_on_gaussian_coefficients_holds_and_is_close(width_ratio: float) -> None:
    enough = gaussian_count(width_ratio, accuracy=1e-15)
    points = chebyshev_points(257)
    centres = torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)
    values = torch.exp(-((width_ratio * (points[:, None] - centres)) ** 2))
    largest = chebyshev_coefficients(values, dim=0).abs().amax(1)
    assert float(largest[enough:].max()) < 1e-15
    needed = int((largest > 1e-14).nonzero().max()) + 1
    assert needed <= enough <= 1.5 * needed + 6


# ---------------------------------------------------------------- potentials


def test_error_of_the_long_part_falls_with_the_count_as_measured() -> None:
    charges, positions = random_cluster(100, seed=0)
    long, _ = sinc_gaussians().split(4.0)
    points = inside(1000)
    exact = direct_potential(charges, positions, points, kernel=long)
    errors = {}
    for count in (17, 33, 49):
        found = long_range_potential(charges, positions, box=BOX, kernel=long, counts=count, tolerance=1e-14)
        errors[count] = float((found.value.evaluate(points) - exact).abs().max() / exact.abs().max())
    assert 2e-4 < errors[17] < 2e-3  # measured elsewhere: 6.6e-4, 9.6e-9, 1.7e-14
    assert 3e-9 < errors[33] < 3e-8
    assert errors[49] < 2e-13


@pytest.mark.parametrize(("tolerance", "ranks"), [(1e-6, range(19, 22)), (1e-4, range(13, 16))])
def test_ranks_are_those_measured_for_any_count(tolerance: float, ranks: range) -> None:
    charges, positions = random_cluster(100, seed=0)
    long, _ = sinc_gaussians().split(4.0)
    points = inside(1000)
    exact = direct_potential(charges, positions, points, kernel=long)
    seen = set()
    for count in (33, 49, 65):
        found = long_range_potential(charges, positions, box=BOX, kernel=long, counts=count, tolerance=tolerance)
        seen.add(found.value.ranks)
        assert set(found.value.ranks) <= set(ranks)
        gap = (found.value.evaluate(points) - exact).abs().max()
        assert float(gap) <= 10 * tolerance * float(exact.abs().max())
    assert len(seen) == 1


@pytest.mark.parametrize("rule", ["plain", "short"])
def test_long_and_short_parts_give_the_coulomb_potential(rule: str) -> None:
    charges, positions = random_cluster(100, separation=0.1, seed=2)
    kernel = sinc_gaussians() if rule == "plain" else newton_kernel(0.05, 3.5, accuracy=1e-7)
    long, short = kernel.split(4.0)
    smooth = long_range_potential(charges, positions, box=BOX, kernel=long, tolerance=1e-7)
    points = inside(3000)
    apart = torch.cdist(points, positions).amin(1)
    points = points[apart > 0.05]
    assert len(points) > 1000
    local = direct_potential(charges, positions, points, kernel=short, tolerance=1e-7)
    exact = coulomb(charges, positions, points)
    gap = (smooth.value.evaluate(points) + local - exact).abs()
    limit = 1e-4 if rule == "plain" else 1e-5
    assert float(gap.max()) < limit * float(exact.abs().max())
    assert float((gap / exact.abs().clamp_min(1)).max()) < limit
    assert torch.allclose(direct_potential(charges, positions, points), exact, rtol=1e-10)


def test_forces_are_derivatives_and_charges_and_places_have_gradients() -> None:
    charges, positions = random_cluster(20, seed=3)
    charges, positions = charges.requires_grad_(), positions.requires_grad_()
    long, _ = newton_kernel(0.05, 3.5, accuracy=1e-8).split(3.0)
    points = inside(50).requires_grad_()
    found = long_range_potential(charges, positions, box=BOX, kernel=long, counts=49, tolerance=1e-10)
    direct = direct_potential(charges, positions, points, kernel=long)
    pull = torch.randn(50, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    wanted = torch.autograd.grad(direct @ pull, (charges, positions, points), retain_graph=True)
    mine = torch.autograd.grad(found.value.evaluate(points) @ pull, (charges, positions, points))
    for one, other in zip(mine, wanted, strict=True):
        assert float((one - other).abs().max()) < 1e-7 * float(other.abs().max())
    (field,) = torch.autograd.grad(direct.sum(), points)
    with torch.no_grad():
        slopes = torch.stack([found.value.derivative(k).evaluate(points) for k in range(3)], dim=-1)
    assert float((slopes - field).abs().max()) < 1e-6 * float(field.abs().max())


def test_any_box_and_two_dimensions() -> None:
    charges, positions = random_cluster(30, seed=4)
    long, _ = newton_kernel(0.05, 5.0, accuracy=1e-8).split(2.5)
    box = ((-0.2, 1.4), (0.1, 0.9))
    found = long_range_potential(charges, positions[:, :2], box=box, kernel=long, tolerance=1e-9)
    assert found.value.counts[0] > found.value.counts[1]
    points = torch.tensor([[-0.2, 0.1], [0.5, 0.5], [1.4, 0.9]], dtype=torch.float64)
    exact = direct_potential(charges, positions[:, :2], points, kernel=long)
    assert torch.allclose(found.value.evaluate(points), exact, atol=1e-7)


def test_single_precision() -> None:
    charges, positions = random_cluster(50, seed=1)
    long, _ = newton_kernel(0.05, 3.5, accuracy=1e-6).split(3.0)
    points = inside(200)
    single = long_range_potential(charges.float(), positions.float(), box=BOX, kernel=long, tolerance=1e-5)
    assert single.value.dtype == torch.float32
    exact = direct_potential(charges, positions, points, kernel=long)
    assert float((single.value.evaluate(points.float()) - exact).abs().max()) < 2e-4 * float(exact.abs().max())


def test_lattices_need_lower_ranks_than_clusters_of_as_many_charges() -> None:
    long, _ = newton_kernel(0.05, 3.5, accuracy=1e-8).split(4.0)
    charges, positions = lattice_with_vacancies(6, vacancies=0.1, seed=0)
    with_holes = long_range_potential(charges, positions, box=BOX, kernel=long).value
    perfect = long_range_potential(*lattice_with_vacancies(6), box=BOX, kernel=long).value
    assert max(perfect.ranks) <= 8 < min(with_holes.ranks) <= 21
    points = inside(300)
    exact = direct_potential(charges, positions, points, kernel=long)
    assert float((with_holes.evaluate(points) - exact).abs().max()) < 1e-5 * float(exact.abs().max())


# ---------------------------------------------------------------- generators and bad input


def test_clusters_and_lattices() -> None:
    charges, positions = random_cluster(200, half_width=2.0, separation=0.3, seed=1)
    assert set(charges.tolist()) == {-1.0, 1.0}
    apart = torch.pdist(positions)
    assert float(apart.min()) >= 0.3
    assert float(positions.abs().max()) <= 2.0 < 2.2 * float(positions.abs().max())
    again = random_cluster(200, half_width=2.0, separation=0.3, seed=1)
    assert torch.equal(positions, again[1])
    assert not torch.equal(positions, random_cluster(200, half_width=2.0, separation=0.3, seed=2)[1])

    charges, positions = lattice_with_vacancies(4, half_width=2.0)
    assert len(charges) == 64
    assert float(charges.sum()) == 0
    distances = torch.cdist(positions, positions) + 10 * torch.eye(64)
    near = (distances - 1.0).abs() < 1e-12
    assert torch.allclose(distances.amin(1), torch.ones(64).double())
    assert bool((charges[:, None] * charges)[near].eq(-1).all())  # neighbours differ in sign
    assert len(lattice_with_vacancies(4, vacancies=0.25)[0]) == 48


def test_bad_input_is_refused() -> None:
    charges, positions = random_cluster(5)
    kernel = sinc_gaussians()
    with pytest.raises(InputError, match="cutoff"):
        kernel.split(1e9)
    with pytest.raises(InputError, match="ascending"):
        GaussianSum(kernel.weights, kernel.rates.flip(0))
    with pytest.raises(InputError, match="rates"):
        GaussianSum(kernel.weights, kernel.rates[1:])
    with pytest.raises(InputError, match="terms"):
        sinc_gaussians(terms=1)
    with pytest.raises(InputError, match="nearest"):
        newton_kernel(2.0, 1.0)
    with pytest.raises(InputError, match="NaN"):
        long_range_potential(charges * float("nan"), positions, box=BOX, kernel=kernel)
    with pytest.raises(InputError, match="dimensions"):
        long_range_potential(charges, positions, box=BOX[:2], kernel=kernel)
    with pytest.raises(InputError, match="points"):
        direct_potential(charges, positions, positions * float("nan"), kernel=kernel)
    with pytest.raises(InputError, match="without a kernel"):
        direct_potential(charges, positions, positions + 0.1, tolerance=1e-3)
    with pytest.raises(InputError, match="on a charge"):
        direct_potential(charges, positions, positions[:1])
    with pytest.raises(InputError, match="separation"):
        random_cluster(1000, separation=1.0)
    with pytest.raises(InputError, match="vacancies"):
        lattice_with_vacancies(3, vacancies=1.0)
