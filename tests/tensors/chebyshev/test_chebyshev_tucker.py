"""Functions in the Chebyshev-Tucker format: every operation against the plain sum over dense coefficients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev as oracle
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.chebyshev import ChebyshevTucker
from polyad.tensors.formats import Tucker

BOX = ((-1.0, 2.0), (0.0, 0.5), (-3.0, -1.0))


def draw(counts: tuple[int, ...] = (9, 6, 7), ranks: tuple[int, ...] = (3, 2, 4), *, seed: int = 0) -> ChebyshevTucker:
    generator = torch.Generator().manual_seed(seed)
    return ChebyshevTucker(Tucker.random(counts, ranks, generator=generator), BOX[: len(counts)])


def inside(count: int, order: int = 3, *, seed: int = 5) -> Tensor:
    ends = torch.tensor(BOX[:order], dtype=torch.float64)
    draws = torch.rand(count, order, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ends[:, 0] + (ends[:, 1] - ends[:, 0]) * draws


def by_numpy(function: ChebyshevTucker, points: Tensor) -> np.ndarray:
    ends = np.array(function.box)
    x = (2 * points.numpy() - ends.sum(1)) / (ends[:, 1] - ends[:, 0])
    return oracle.chebval3d(*x.T, function.coefficients.to_dense().numpy())


def close(found: Tensor, wanted: Tensor | np.ndarray, accuracy: float = 1e-13) -> bool:
    wanted = torch.as_tensor(wanted)
    return float((found - wanted).abs().max()) <= accuracy * float(wanted.abs().max())


def test_values_are_numpys() -> None:
    function, points = draw(), inside(50)
    assert close(function.evaluate(points), by_numpy(function, points))
    assert function.evaluate(points.reshape(5, 10, 3)).shape == (5, 10)
    assert close(function.evaluate(points.reshape(5, 10, 3)).flatten(), by_numpy(function, points))
    assert function.evaluate(points[:0]).shape == (0,)


@pytest.mark.parametrize("order", [1, 2])
def test_fewer_variables(order: int) -> None:
    function, points = draw((9, 6)[:order], (3, 2)[:order]), inside(20, order)
    ends = np.array(function.box)
    x = (2 * points.numpy() - ends.sum(1)) / (ends[:, 1] - ends[:, 0])
    dense = function.coefficients.to_dense().numpy()
    wanted = oracle.chebval(x[:, 0], dense) if order == 1 else oracle.chebval2d(*x.T, dense)
    assert close(function.evaluate(points), wanted)
    square = (function * function).evaluate(points)
    assert close(square, wanted**2)


def test_grid_values_come_with_orthonormal_factors() -> None:
    function = draw()
    axes = [torch.linspace(*ends, n, dtype=torch.float64) for ends, n in zip(BOX, (11, 13, 12), strict=True)]
    grid = function.on_grid([11, axes[1], 12])
    for factor in grid.factors:
        assert torch.allclose(factor.mT @ factor, torch.eye(factor.shape[1]).double(), atol=1e-13)
    wanted = function.evaluate(torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1))
    assert close(grid.to_dense(), wanted)
    large = function.on_grid([1025, 1025, 1025])  # 8.6 GB if it were dense
    assert large.storage.numbers == 24 + 1025 * 9
    assert function.storage.numbers == 24 + 9 * 3 + 6 * 2 + 7 * 4


def test_derivatives_are_those_of_autograd() -> None:
    function, points = draw(), inside(40).requires_grad_()
    (gradient,) = torch.autograd.grad(function.evaluate(points).sum(), points)
    for mode in range(3):
        assert close(function.derivative(mode).evaluate(points.detach()), gradient[:, mode], 1e-12)
    assert function.derivative(-1).counts == (9, 6, 6)
    mixed = function.derivative(0).derivative(2).evaluate(points.detach())
    assert close(mixed, function.derivative(2).derivative(0).evaluate(points.detach()), 1e-12)


def test_antiderivative_and_integrals() -> None:
    function, points = draw(), inside(40)
    for mode in range(3):
        area = function.antiderivative(mode)
        assert close(area.derivative(mode).evaluate(points), function.evaluate(points), 1e-12)
        face = points.clone()
        face[:, mode] = BOX[mode][0]
        assert float(area.evaluate(face).abs().max()) < 1e-12
        face[:, mode] = BOX[mode][1]
        others = [k for k in range(3) if k != mode]
        partial = function.integrate([mode])
        assert partial.box == tuple(BOX[k] for k in others)
        assert close(partial.evaluate(points[:, others]), area.evaluate(face), 1e-12)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    axes = [torch.from_numpy((a + b) / 2 + (b - a) / 2 * nodes) for a, b in BOX]
    scaled = [torch.from_numpy((b - a) / 2 * weights) for a, b in BOX]
    values = function.evaluate(torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1))
    assert close(function.integral(), torch.einsum("ijk,i,j,k->", values, *scaled), 1e-12)
    assert close(function.integrate([0, 1]).integral(), function.integral(), 1e-12)


def test_sums_and_products() -> None:
    one, two, points = draw(), draw((5, 8, 7), (2, 3, 3), seed=1), inside(60)
    a, b = one.evaluate(points), two.evaluate(points)
    assert close((one + two).evaluate(points), a + b)
    assert (one + two).ranks == (5, 5, 7)
    assert close((one - 3 * two).evaluate(points), a - 3 * b)
    product = one * two
    assert product.counts == (13, 13, 13)
    assert product.ranks == (6, 6, 12)
    assert close(product.evaluate(points), a * b, 1e-12)


def test_long_products_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from polyad.tensors.chebyshev import chebyshev_tucker

    one, two, points = draw(), draw(seed=1), inside(20)
    monkeypatch.setattr(chebyshev_tucker, "NUMBERS_AT_ONCE", 200)
    assert close((one * two).evaluate(points), one.evaluate(points) * two.evaluate(points), 1e-12)


def test_recompression_keeps_the_tolerance_and_finds_the_ranks() -> None:
    function, points = draw(), inside(30)
    assert function.add(function, tolerance=1e-12).ranks == function.ranks
    assert close(function.add(function, tolerance=1e-12).evaluate(points), 2 * function.evaluate(points), 1e-11)
    noise = draw(ranks=(6, 6, 6), seed=3)
    tilted = function + 1e-5 * noise
    rounded = tilted.round(1e-3)
    assert rounded.ranks == function.ranks
    gap = (rounded.coefficients - tilted.coefficients).norm() / tilted.coefficients.norm()
    assert 0 < float(gap) <= 1e-3
    square = function.multiply(function, tolerance=1e-10)
    assert close(square.evaluate(points), function.evaluate(points) ** 2, 1e-8)
    nothing = (function - function).round(1e-6)
    assert float(nothing.evaluate(points).abs().max()) < 1e-12


def test_gradients_flow_through_coefficients() -> None:
    function, points = draw(), inside(10)
    core = function.coefficients.core.clone().requires_grad_()
    factors = tuple(factor.clone().requires_grad_() for factor in function.coefficients.factors)

    def square(core: Tensor, *factors: Tensor) -> Tensor:
        one = ChebyshevTucker(Tucker(core, factors), BOX)
        return one.multiply(one).derivative(1).evaluate(points[:3]) + one.integral()

    assert torch.autograd.gradcheck(square, (core, *factors), atol=1e-5)


def test_single_precision_stays_single() -> None:
    function, points = draw(), inside(30)
    single = ChebyshevTucker(
        Tucker(function.coefficients.core.float(), tuple(f.float() for f in function.coefficients.factors)), BOX
    )
    found = single.multiply(single).derivative(0).evaluate(points.float())
    assert found.dtype == torch.float32
    wanted = function.multiply(function).derivative(0).evaluate(points)
    assert close(found.double(), wanted, 1e-4)


def test_bad_input_is_refused() -> None:
    function = draw()
    with pytest.raises(InputError, match="coordinates"):
        function.evaluate(torch.zeros(3, 2).double())
    with pytest.raises(InputError, match="outside"):
        function.evaluate(torch.tensor([[0.0, 0.6, -2.0]]).double())
    with pytest.raises(InputError, match="coordinates"):
        function.on_grid([3, 3])
    with pytest.raises(InputError, match="mode"):
        function.derivative(3)
    with pytest.raises(InputError, match="integral"):
        function.integrate([0, 1, -1])
    with pytest.raises(InputError, match="box"):
        function.add(ChebyshevTucker(function.coefficients, ((0, 1),) * 3))
    with pytest.raises(InputError, match="other"):
        function.add(function.coefficients)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="box"):
        ChebyshevTucker(function.coefficients, BOX[:2])
    with pytest.raises(InputError, match="batch"):
        ChebyshevTucker(Tucker.random((3, 3), 2, batch_shape=(2,)), BOX[:2])
