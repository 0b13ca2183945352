"""Oracles for methods of second order: functions with their Hessians and the approximations that are cheap.

Each has `oracle(hessian)`: x -> (value, gradient, matrix), with the matrix exact or a named approximation.

    soft maximum          f = mu log sum_i exp((a_i.x - b_i) / mu),     pi the softmax,
                          exact (A' diag(pi) A - g g') / mu; 'gauss_newton' leaves g g', the Fisher term, out
    logistic regression   exact A' diag(p (1 - p)) A / n + penalty; 'gram' A' A / (4 n) + penalty, the same everywhere
    equations             f = |u(x)|^q / q; 'gauss_newton' J' (Hessian of |u|^q / q in u) J, without the curvature of u

Sources: A. Semenov, M. Jaggi and N. Doikov, arXiv:2506.13710 (2025); F. Jarre, Optimization Methods and Software 28
(2013) for the Chebyshev-Rosenbrock equations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.optim.second_order.oracles import FunctionOracle
from polyad.problems.optimisation import LogisticRegression

MatrixOracle = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""x -> (value, gradient, matrix)."""


@final
@dataclass(frozen=True, eq=False)
class SoftMaximum:
    """mu log sum_i exp((a_i.x - b_i) / mu), which tends to max_i (a_i.x - b_i) as mu falls.

    Args:
        rows: a_i, one a row.
        offsets: b_i.
        smoothing: mu > 0.
    """

    rows: Float[Tensor, "terms n"]
    offsets: Float[Tensor, " terms"]
    smoothing: float

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Values."""
        return self.smoothing * ((x @ self.rows.mT - self.offsets) / self.smoothing).logsumexp(-1)

    def oracle(self, hessian: str = "exact") -> MatrixOracle:
        """The oracle with this matrix, 'exact' or 'gauss_newton'."""
        _choose(hessian, ("exact", "gauss_newton"))

        def call(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            weights = ((self.rows @ x - self.offsets) / self.smoothing).softmax(0)
            gradient = self.rows.mT @ weights
            matrix = self.rows.mT @ (weights[:, None] * self.rows) / self.smoothing
            if hessian == "exact":
                matrix = matrix - torch.outer(gradient, gradient) / self.smoothing
            return self(x), gradient, matrix

        return call


def soft_maximum(terms: int, variables: int, *, smoothing: float, seed: int) -> SoftMaximum:
    """Rows and offsets uniform in [-1, 1], the rows moved by one vector so that the minimum lies at 0.

    Args:
        terms: number of rows.
        variables: n.
        smoothing: mu.
        seed: of rows and offsets.

    Raises:
        InputError: fewer than one row or variable, or a smoothing that is not positive.
    """
    if min(terms, variables) < 1 or not smoothing > 0:
        raise InputError(
            f"terms, variables, smoothing: need at least 1, at least 1, > 0; got {terms}, {variables}, {smoothing}"
        )
    generator = torch.Generator().manual_seed(seed)
    rows = 2 * torch.rand(terms, variables, generator=generator, dtype=torch.float64) - 1
    offsets = 2 * torch.rand(terms, generator=generator, dtype=torch.float64) - 1
    slope = (-offsets / smoothing).softmax(0) @ rows
    return SoftMaximum(rows - slope, offsets, smoothing)


def logistic_oracle(problem: LogisticRegression, hessian: str = "exact") -> MatrixOracle:
    """Logistic regression with its Hessian, 'exact', or the 'gram' matrix that bounds it everywhere."""
    _choose(hessian, ("exact", "gram"))
    rows = problem.features
    identity = torch.eye(rows.shape[1]).to(rows)
    gram = rows.mT @ rows / (4 * len(rows)) + problem.penalty * identity
    return lambda x: (problem(x), problem.gradient(x), problem.hessian(x) if hessian == "exact" else gram)


def equations_oracle(
    equations: Callable[[Tensor], Tensor], *, power: float = 2.0, hessian: str = "gauss_newton"
) -> FunctionOracle:
    """|u(x)|^power / power, whose zeros are the solutions of u = 0, with 'exact' or 'gauss_newton' matrix.

    Args:
        equations: u, (n,) -> (m,).
        power: q >= 2.
        hessian: which matrix.
    """
    _choose(hessian, ("exact", "gauss_newton"))
    if not power >= 2:
        raise InputError(f"power: must be at least 2, for second derivatives at solutions, got {power}")
    return FunctionOracle(equations, hessian=hessian, loss=lambda u: u.square().sum() ** (power / 2) / power)


def chebyshev_equations(x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """u_1 = (1 - x_1) / 2, u_{i+1} = x_{i+1} - 2 x_i^2 + 1: half of `chebyshev_rosenbrock` is |u|^2 / 2; u(1) = 0."""
    return torch.cat([(1 - x[..., :1]) / 2, x[..., 1:] - 2 * x[..., :-1].square() + 1], dim=-1)


def _choose(given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise InputError(f"hessian: {given!r} is unknown; choose one of {', '.join(allowed)}")
