"""Truncation of the coefficients: its bounds, the bound of the whole error, and its derivative."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.tensors.chebyshev import from_function
from polyad.tensors.chebyshev.approximation import resolution, tails_of_tucker, truncated
from polyad.tensors.formats import Tucker

BOX = ((-1.0, 1.0), (0.0, 2.0), (-1.5, 0.5))


def inside(count: int) -> Tensor:
    ends = torch.tensor(BOX, dtype=torch.float64)
    draws = torch.rand(count, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return ends[:, 0] + (ends[:, 1] - ends[:, 0]) * draws


def bump(x: Tensor) -> Tensor:
    return 1 / (1.2 + (x * torch.tensor([1.0, 0.5, 0.8], dtype=x.dtype)).square().sum(-1) + 0.3 * x.prod(-1))


def plain(tensor: Tensor) -> Tucker:
    """The dense tensor as a Tucker tensor with unit factors."""
    return Tucker(tensor, tuple(torch.eye(size, dtype=tensor.dtype) for size in tensor.shape))


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-7])
def test_truncation_and_total_error_keep_their_bounds(tolerance: float) -> None:
    counts = (17, 17, 17)
    exact = from_function(bump, BOX, counts=counts, tolerance=1e-15)
    found = from_function(bump, BOX, counts=counts, tolerance=tolerance)
    dense = exact.value.coefficients.to_dense()
    lost = 0.0
    for mode in range(3):
        values = torch.linalg.svdvals(dense.movedim(mode, 0).flatten(1))
        lost += float(values[found.value.ranks[mode] :].square().sum())
    gap = torch.linalg.vector_norm(dense - found.value.coefficients.to_dense())
    assert torch.allclose(gap, found.truncation, rtol=1e-6, atol=1e-14)
    assert float(gap) <= math.sqrt(lost) * (1 + 1e-9)
    assert float(gap) <= tolerance * float(torch.linalg.vector_norm(dense))
    assert float(gap) >= 1e-3 * tolerance * float(torch.linalg.vector_norm(dense))  # ranks are not too large either
    points = inside(2000)
    interpolation = (exact.value.evaluate(points) - bump(points)).abs()
    total = (found.value.evaluate(points) - bump(points)).abs()
    assert bool((total <= interpolation + found.truncation_bound).all())
    assert float(found.truncation_bound) == pytest.approx(17**1.5 * float(gap), rel=1e-6)


@pytest.mark.parametrize("smallest", [1e-2, 1e-6, 1e-11])
def test_derivative_along_tensors_of_fixed_ranks_is_exact_to_rounding(smallest: float) -> None:
    generator = torch.Generator().manual_seed(0)
    core = torch.zeros(3, 3, 3, dtype=torch.float64)
    core[range(3), range(3), range(3)] = torch.tensor([1.0, smallest**0.5, smallest], dtype=torch.float64)
    factors = [torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (8, 9, 7)]
    pull = torch.randn(8, 9, 7, generator=generator, dtype=torch.float64)
    parameters = [core, *factors]
    for parameter in parameters:
        parameter.requires_grad_()
    dense = Tucker(core, tuple(factors)).to_dense()
    cut = truncated(plain(dense), 1e-13).value
    assert cut.ranks == (3, 3, 3)
    mine = torch.autograd.grad((cut.to_dense() * pull).sum(), parameters, retain_graph=True)
    wanted = torch.autograd.grad((dense * pull).sum(), parameters)
    # rounding of the tensor turns the direction of the smallest value by about eps / smallest; no more is lost
    allowed = 1e-13 + torch.finfo(torch.float64).eps / smallest
    for one, other in zip(mine, wanted, strict=True):
        assert float((one - other).abs().max()) < allowed * float(other.abs().max())


def test_derivative_is_projected_onto_the_tangent_space_once() -> None:
    tensor = torch.zeros(4, 4, dtype=torch.float64)
    tensor[0, 0] = 1.0
    tensor.requires_grad_()
    dense = truncated(plain(tensor), 1e-10).value.to_dense()
    pull = torch.arange(16, dtype=torch.float64).reshape(4, 4) + 1
    (gradient,) = torch.autograd.grad((dense * pull).sum(), tensor, create_graph=True)
    # rank one at e0 e0: its row and its column can move, the rest cannot
    allowed = torch.zeros(4, 4, dtype=torch.float64)
    allowed[0], allowed[:, 0] = 1.0, 1.0
    assert torch.allclose(gradient, pull * allowed, atol=1e-12)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_tails_and_resolution() -> None:
    dense = torch.zeros(16, 16, dtype=torch.float64)
    dense[0, 0], dense[15, 0], dense[0, 14], dense[0, 13] = 1.0, 3e-3, 4e-3, 1.0
    rows, columns = tails_of_tucker(plain(dense))
    size = float(torch.linalg.vector_norm(dense))
    assert rows == pytest.approx(3e-3 / size)
    assert columns == pytest.approx(4e-3 / size)
    assert resolution(1e-3, torch.float32) == 1e-3
    assert 1e-6 < resolution(1e-9, torch.float32) < 1e-5
