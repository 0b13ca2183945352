"""Leading isometries: projector, first and second derivatives, degeneracy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.renormalization.gradients import leading_isometry, leading_left_isometry, square_root, sylvester


def matrices(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def kept_part(matrix: Tensor, count: int, by_svd: bool) -> Tensor:
    """A smooth function of the leading left space of a matrix alone."""
    u = leading_left_isometry(matrix, count) if by_svd else leading_isometry(matrix @ matrix.mT, count)
    probe = matrices(matrix.shape[-2], matrix.shape[-2], seed=9)
    return ((u @ u.mT @ probe @ u @ u.mT) ** 2).sum()


@pytest.mark.parametrize("by_svd", [False, True])
def test_spans_the_leading_space(by_svd: bool) -> None:
    matrix = matrices(3, 6, 8)
    u = leading_left_isometry(matrix, 2) if by_svd else leading_isometry(matrix @ matrix.mT, 2)
    left = torch.linalg.svd(matrix).U[..., :2]
    torch.testing.assert_close(u @ u.mT, left @ left.mT, rtol=0, atol=1e-12)


@pytest.mark.parametrize("by_svd", [False, True])
def test_first_and_second_derivatives_equal_differences(by_svd: bool) -> None:
    matrix = matrices(5, 7, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: kept_part(m, 2, by_svd), matrix)
    assert torch.autograd.gradgradcheck(lambda m: kept_part(m, 2, by_svd), matrix)


def test_equal_eigenvalues_inside_a_group_do_no_harm() -> None:
    def matrix_of(x: Tensor) -> Tensor:
        turn = torch.linalg.matrix_exp(x - x.mT)
        return turn @ torch.diag(torch.tensor([3.0, 3.0, 1.0, 1.0, 0.0, 0.0], dtype=torch.float64)) @ turn.mT

    def function(x: Tensor) -> Tensor:
        u = leading_isometry(matrix_of(x), 2)
        return ((u @ u.mT @ matrices(6, 6, seed=9)) ** 2).sum()

    x = matrices(6, 6, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)


def test_more_states_than_rank_give_finite_exact_gradients() -> None:
    left = matrices(6, 2, seed=3).requires_grad_()
    u = leading_isometry(left @ left.mT, 4)
    # the kept space holds the range of the matrix, so this is |left|^2, whatever the idle vectors are
    value = (u.mT @ left).square().sum()
    (gradient,) = torch.autograd.grad(value, left)
    torch.testing.assert_close(gradient, 2 * left.detach(), rtol=1e-9, atol=1e-9)


def test_sylvester_and_square_root_solve_their_equations() -> None:
    left, right = (x @ x.mT for x in (matrices(2, 4, 4, seed=4), matrices(2, 3, 3, seed=5)))
    value = matrices(2, 4, 3, seed=6)
    solution = sylvester(-left, right, value)
    torch.testing.assert_close(solution @ right + left @ solution, value, rtol=1e-10, atol=1e-10)
    root = square_root(left)
    torch.testing.assert_close(root @ root, left, rtol=1e-12, atol=1e-12)
    seed = matrices(4, 4, seed=7).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: square_root(x @ x.mT), seed)
    assert torch.autograd.gradgradcheck(lambda x: square_root(x @ x.mT), seed)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match=r"count is 0; it must lie in 1\.\.3"):
        leading_isometry(torch.eye(3, dtype=torch.float64), 0)
    with pytest.raises(InputError, match=r"count is 4; it must lie in 1\.\.3"):
        leading_left_isometry(torch.ones(3, 5, dtype=torch.float64), 4)
    with pytest.raises(InputError, match="NaN or Inf"):
        leading_isometry(torch.full((3, 3), math.nan, dtype=torch.float64), 1)
