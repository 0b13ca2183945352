"""Functions sampled on a Chebyshev grid: reproduction, bounds of truncation and of the whole, found counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev as oracle
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.chebyshev import chebyshev_coefficients, chebyshev_points, from_function

BOX = ((-1.0, 1.0), (0.0, 2.0), (-1.5, 0.5))


def inside(count: int, box: tuple[tuple[float, float], ...] = BOX) -> Tensor:
    ends = torch.tensor(box, dtype=torch.float64)
    draws = torch.rand(count, len(box), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return ends[:, 0] + (ends[:, 1] - ends[:, 0]) * draws


def bump(x: Tensor) -> Tensor:
    return 1 / (1.2 + (x * torch.tensor([1.0, 0.5, 0.8], dtype=x.dtype)).square().sum(-1) + 0.3 * x.prod(-1))


@pytest.mark.parametrize("kind", ["nodes", "extrema"])
def test_coefficients_are_numpys_along_every_mode(kind: str) -> None:
    counts = (7, 12, 9)
    found = from_function(bump, BOX, counts=counts, tolerance=1e-15, kind=kind)  # type: ignore[arg-type]
    axes = [chebyshev_points(n, kind=kind, interval=ends) for n, ends in zip(counts, BOX, strict=True)]  # type: ignore[arg-type]
    wanted = bump(torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)).numpy()
    for mode, count in enumerate(counts):
        unit = chebyshev_points(count, kind=kind).numpy()  # type: ignore[arg-type]
        flat = np.moveaxis(wanted, mode, 0).reshape(count, -1)
        flat = np.linalg.solve(oracle.chebvander(unit, count - 1), flat)
        wanted = np.moveaxis(flat.reshape(np.moveaxis(wanted, mode, 0).shape), 0, mode)
    assert np.abs(found.value.coefficients.to_dense().numpy() - wanted).max() < 1e-12
    assert found.evaluations == math.prod(counts)


@pytest.mark.parametrize("kind", ["nodes", "extrema"])
def test_polynomials_are_reproduced(kind: str) -> None:
    coefficients = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def polynomial(x: Tensor) -> Tensor:
        ends = torch.tensor(BOX, dtype=torch.float64)
        unit = ((2 * x - ends.sum(1)) / (ends[:, 1] - ends[:, 0])).numpy()
        return torch.from_numpy(oracle.chebval3d(*unit.T, coefficients.numpy()))

    found = from_function(polynomial, BOX, counts=(6, 4, 5), tolerance=1e-15, kind=kind)  # type: ignore[arg-type]
    points = inside(200)
    wanted = polynomial(points)
    assert float((found.value.evaluate(points) - wanted).abs().max()) < 1e-13 * float(wanted.abs().max())
    assert torch.allclose(found.value.coefficients.to_dense(), coefficients, atol=1e-13)


def test_counts_are_found_variable_by_variable() -> None:
    def waves(x: Tensor) -> Tensor:
        return torch.sin(20 * x[:, 0]) * torch.exp(x[:, 1]) + torch.cos(x[:, 2] + 9 * x[:, 0])

    found = from_function(waves, BOX, tolerance=1e-9)
    assert found.value.counts == (65, 17, 17)
    assert found.value.ranks == (3, 2, 3)
    assert max(found.tails) <= 1e-9
    points = inside(500)
    assert float((found.value.evaluate(points) - waves(points)).abs().max()) < 1e-8


def test_what_hides_between_samples_is_found() -> None:
    # T_32 is one at all 17 extrema of the first grid: its samples are those of a constant
    def alias(x: Tensor) -> Tensor:
        return torch.cos(32 * torch.arccos(x[:, 0])) * (1 + x[:, 1])

    found = from_function(alias, (*BOX[:1], (-1.0, 1.0)))
    assert found.value.counts[0] >= 33
    points = inside(100, (*BOX[:1], (-1.0, 1.0)))
    assert float((found.value.evaluate(points) - alias(points)).abs().max()) < 1e-7


@pytest.mark.parametrize("order", [1, 2, 4])
def test_any_number_of_variables(order: int) -> None:
    box = (*BOX, (0.2, 0.7))[:order]

    def gaussian(x: Tensor) -> Tensor:
        return torch.exp(-x.sum(-1).square() / 4)

    found = from_function(gaussian, box, tolerance=1e-9)
    points = inside(100, box)
    assert float((found.value.evaluate(points) - gaussian(points)).abs().max()) < 1e-8


def test_complex_and_single_precision() -> None:
    def wave(x: Tensor) -> Tensor:
        return torch.exp(1j * (x * torch.tensor([2.0, -1.0, 3.0], dtype=x.dtype)).sum(-1))

    points = inside(100)
    found = from_function(wave, BOX)
    assert found.value.ranks == (1, 1, 1)
    assert float((found.value.evaluate(points) - wave(points)).abs().max()) < 1e-7
    slope = found.value.derivative(2).evaluate(points)
    assert float((slope - 3j * wave(points)).abs().max()) < 1e-6
    single = from_function(bump, BOX, tolerance=1e-5, dtype=torch.float32)
    assert single.value.dtype == torch.float32
    assert float((single.value.evaluate(points.float()) - bump(points)).abs().max()) < 1e-4


def test_zero_function_and_constants() -> None:
    nothing = from_function(lambda x: torch.zeros_like(x[:, 0]), BOX)
    assert nothing.value.ranks == (1, 1, 1)
    assert float(nothing.value.evaluate(inside(5)).abs().max()) == 0
    constant = from_function(lambda x: 3 + 0 * x[:, 0], BOX)
    assert torch.allclose(constant.value.evaluate(inside(5)), torch.full((5,), 3.0).double(), rtol=1e-14)
    assert float(constant.value.derivative(0).evaluate(inside(5)).abs().max()) < 1e-13


def test_gradient_reaches_the_functions_parameters() -> None:
    points = inside(20)
    width = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)

    def family(x: Tensor) -> Tensor:
        return 1 / (1.5 + width * x.square().sum(-1) + 0.2 * x.prod(-1))

    found = from_function(family, BOX, counts=33, tolerance=1e-10).value.evaluate(points).sum()
    (slope,) = torch.autograd.grad(found, width)
    (exact,) = torch.autograd.grad(family(points).sum(), width)
    assert torch.allclose(slope, exact, rtol=1e-7)


def test_progress_and_bad_input() -> None:
    seen: list[tuple[int, int]] = []
    from_function(bump, BOX, counts=9, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (729, 729)
    with pytest.raises(InputError, match="NaN or infinite at"):
        from_function(lambda x: 1 / x.prod(-1), ((-1, 1),) * 3)
    with pytest.raises(InputError, match="max_evaluations"):
        from_function(lambda x: x[:, 0].abs() * x[:, 1], BOX[:2], max_evaluations=5000)
    with pytest.raises(InputError, match="one number a point"):
        from_function(lambda x: x, BOX)
    with pytest.raises(InputError, match="counts"):
        from_function(bump, BOX, counts=(3, 3))
    with pytest.raises(InputError, match="tolerance"):
        from_function(bump, BOX, tolerance=0.0)
    with pytest.raises(InputError, match="interval"):
        from_function(bump, ((1, 0),) * 3)


def test_coefficients_keep_the_dtype() -> None:
    assert chebyshev_coefficients(torch.ones(4)).dtype == torch.float32
