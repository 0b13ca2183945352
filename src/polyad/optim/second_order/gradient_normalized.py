"""Newton's method with a Hessian or an approximation of it, regularised by the gradient's norm over one radius.

    lam = |g| / gamma,    (H + lam I) h = -g,    accepted if f(x) - f(x + h) >= |grad f(x + h)|^2 / (8 lam)

gamma doubles after a step that is accepted and halves after one that is not. It follows the gradient-normalised
smoothness of f: the largest gamma with |grad f(x + h) - grad f(x) - H h| <= |grad f(x)| |h| / gamma for |h| <= gamma.

Source: A. Semenov, M. Jaggi and N. Doikov, arXiv:2506.13710 (2025), algorithm 1.

*When not to use it*: where a system of the size of x cannot be solved at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import ConvergenceError, InputError
from polyad.optim import checks

MatrixOracle = Callable[[Tensor], tuple[Any, Tensor, Tensor]]
"""x -> (value, gradient, Hessian or an approximation of it as a matrix)."""


@final
class GradientNormalizedNewton:
    """`step(oracle)` moves `x`; `gamma` adapts by itself, `solves` counts linear systems.

    Args:
        start: x_0, (n,); copied to float64.
        gamma: first radius.
        least_gamma: it never falls below this.
        tries: trials a step before it gives up.

    Raises:
        InputError: a radius that is not positive, fewer than one try, or a start that is not finite.
    """

    def __init__(
        self, start: Float[Tensor, " n"], *, gamma: float = 1.0, least_gamma: float = 1e-9, tries: int = 40
    ) -> None:
        checks.check_positive(gamma=gamma, least_gamma=least_gamma, tries=tries)
        if start.is_complex() or not bool(start.isfinite().all()):
            raise InputError("start: must be real and finite")
        self.x, self.gamma, self.least_gamma, self.tries = start.detach().double().clone(), gamma, least_gamma, tries
        self.solves = 0

    def step(self, oracle: MatrixOracle) -> Any:
        """One accepted step; returns the oracle's value at the new x. A point with gradient 0 is not left.

        Raises:
            InputError: a value, gradient or matrix at x that is not finite.
            ConvergenceError: no trial made the progress that is asked, as at the limit of rounding.
        """
        value, gradient, matrix = oracle(self.x)
        g, curvature = gradient.double(), matrix.double()
        if not checks.all_finite([torch.as_tensor(value), g, curvature]):
            raise InputError("oracle: value, gradient or Hessian is not finite; look at the point where they are taken")
        norm = float(torch.linalg.vector_norm(g))
        if norm == 0:
            return value
        for _ in range(self.tries):
            damping = norm / self.gamma
            factor, failed = torch.linalg.cholesky_ex(curvature + damping * torch.eye(len(g)).to(curvature))
            self.solves += 1
            if not bool(failed):
                trial = self.x - torch.cholesky_solve(g[:, None], factor)[:, 0]
                after, slope, _ = oracle(trial)
                if float(value - after) >= float(slope.double() @ slope.double()) / (8 * damping):
                    self.x, self.gamma = trial, 2 * self.gamma
                    return after
            self.gamma = max(self.gamma / 2, self.least_gamma)
        raise ConvergenceError(
            f"GradientNormalizedNewton: no progress in {self.tries} tries at a gradient of norm {norm:.3g}; "
            "stop here, or check that value and gradient belong together"
        )
