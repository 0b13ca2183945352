"""Oracles of convex problems against autograd."""

from __future__ import annotations

import pytest
import torch

from polyad.errors import InputError
from polyad.problems.convex import chebyshev_equations, equations_oracle, logistic_oracle, soft_maximum
from polyad.problems.optimisation import chebyshev_rosenbrock, logistic_regression

X = torch.tensor([0.3, -1.0, 0.7, 0.2], dtype=torch.float64)


def same(found, value, gradient, matrix):
    for ours, theirs in zip(found, (value, gradient, matrix), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("smoothing", [0.5, 0.05])
def test_soft_maximum(smoothing):
    problem = soft_maximum(20, 4, smoothing=smoothing, seed=0)
    value, gradient = problem(X), torch.func.grad(problem)(X)
    hessian = torch.func.hessian(problem)(X)
    same(problem.oracle()(X), value, gradient, hessian)
    same(problem.oracle("gauss_newton")(X), value, gradient, hessian + torch.outer(gradient, gradient) / smoothing)
    zero = torch.zeros(4, dtype=torch.float64)
    assert float(torch.func.grad(problem)(zero).norm()) < 1e-12
    largest = float((problem.rows @ X - problem.offsets).max())
    assert largest <= float(value) <= largest + smoothing * torch.tensor(20.0).log()
    assert problem(torch.stack([X, zero])).tolist() == pytest.approx([float(value), float(problem(zero))])


def test_logistic_regression_and_the_gram_matrix_that_bounds_it():
    problem = logistic_regression(40, 4, seed=0)
    exact = logistic_oracle(problem)(X)
    same(exact, problem(X), torch.func.grad(problem)(X), torch.func.hessian(problem)(X))
    value, gradient, gram = logistic_oracle(problem, "gram")(X)
    assert torch.equal(value, exact[0])
    assert torch.equal(gradient, exact[1])
    assert float(torch.linalg.eigvalsh(gram - exact[2])[0]) >= 0
    at_zero = logistic_oracle(problem)(torch.zeros(4, dtype=torch.float64))[2]
    assert torch.allclose(gram, at_zero, rtol=0, atol=1e-12)  # p (1 - p) = 1/4 there


@pytest.mark.parametrize("power", [2.0, 3.0])
def test_equations(power):
    u = chebyshev_equations(X)
    jacobian = torch.func.jacrev(chebyshev_equations)(X)
    gradient = u.norm() ** (power - 2) * jacobian.mT @ u
    matrix = u.norm() ** (power - 2) * jacobian.mT @ jacobian
    matrix = matrix + (power - 2) * torch.outer(gradient, gradient) / u.norm() ** power
    same(equations_oracle(chebyshev_equations, power=power)(X), u.norm() ** power / power, gradient, matrix)
    exact = equations_oracle(chebyshev_equations, power=power, hessian="exact")(X)
    wanted = torch.func.hessian(lambda x: chebyshev_equations(x).square().sum() ** (power / 2) / power)(X)
    assert torch.allclose(exact[2], wanted, rtol=0, atol=1e-10)
    assert float(u @ u) == pytest.approx(float(chebyshev_rosenbrock(X)))
    assert not chebyshev_equations(torch.ones(2, 3)).any()


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="smoothing"):
        soft_maximum(3, 2, smoothing=0.0, seed=0)
    with pytest.raises(InputError, match="gram"):
        logistic_oracle(logistic_regression(5, 2, seed=0), "fisher")
    with pytest.raises(InputError, match="exact"):
        soft_maximum(3, 2, smoothing=1.0, seed=0).oracle("fisher")
    with pytest.raises(InputError, match="power"):
        equations_oracle(chebyshev_equations, power=1.0)
