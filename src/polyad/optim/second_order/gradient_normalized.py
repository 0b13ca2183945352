"""Newton's method with a Hessian or an approximation of it, regularised by the gradient's norm over one radius.

    lam = |g|* / gamma,    (H + lam B) h = -g,    accepted if f(x) - f(x + h) >= |grad f(x + h)|*^2 / (8 lam)

gamma doubles after a step that is accepted and halves after one that is not. It follows the gradient-normalised
smoothness of f: the largest gamma with |grad f(x + h) - grad f(x) - H h|* <= |grad f(x)|* |h| / gamma for |h| <= gamma.
With a metric B, |h|^2 = h.B h and |g|*^2 = g.B^-1 g; without one B = I.

Source: A. Semenov, M. Jaggi and N. Doikov, arXiv:2506.13710 (2025), algorithm 1.

*When not to use it*: where a system of the size of x cannot be solved at every step, not even by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import ConvergenceError, InputError
from polyad.linalg.krylov import conjugate_gradients
from polyad.optim import checks
from polyad.optim.second_order.metric import Metric
from polyad.optim.second_order.oracles import (
    FunctionOracle,
    Hessian,
    Oracle,
    checked_start,
    derivatives,
    load,
    saved,
    skip,
)

_STATE = ("x", "gamma", "solves", "steps", "skipped_steps")


@final
class GradientNormalizedNewton:
    """`step(oracle)` moves `x`; `gamma` adapts by itself, `solves` counts linear systems, `steps` those accepted.

    Steps at points where the oracle's answer is not finite are not taken, and counted (`skipped_steps`).

    Args:
        start: x_0, (n,); copied to float64.
        hessian: None where the oracle answers with (value, gradient, Hessian); else the oracle is a function for torch
            to differentiate, and this is its Hessian: 'exact', 'gauss_newton', 'fisher', 'diag' or a function x ->
            matrix, as `FunctionOracle` takes them.
        loss: with `hessian`, outputs of the function -> value.
        gamma: first radius.
        least_gamma: it never falls below this.
        metric: B, symmetric positive definite (n, n).
        matrix_free: form products alone and solve by conjugate gradients; oracles that answer with products are solved
            so anyway.
        tolerance: relative residual of conjugate gradients.
        tries: trials a step before it gives up.

    Raises:
        InputError: a number out of its range, a metric or start that cannot be used, or an unknown Hessian.
    """

    def __init__(
        self,
        start: Float[Tensor, " n"],
        *,
        hessian: str | Callable[[Tensor], Hessian] | None = None,
        loss: Callable[[Tensor], Tensor] | None = None,
        gamma: float = 1.0,
        least_gamma: float = 1e-9,
        metric: Float[Tensor, "n n"] | None = None,
        matrix_free: bool = False,
        tolerance: float = 1e-10,
        tries: int = 40,
    ) -> None:
        checks.check_positive(gamma=gamma, least_gamma=least_gamma, tolerance=tolerance, tries=tries)
        self.x = checked_start(start)
        self.metric = Metric(metric, like=self.x)
        self.gamma, self.least_gamma, self.tolerance, self.tries = gamma, least_gamma, tolerance, tries
        self.hessian, self.loss, self.matrix_free = hessian, loss, matrix_free
        self.solves = self.steps = self.skipped_steps = 0
        if hessian is None and (matrix_free or loss is not None):
            raise InputError("matrix_free, loss: need `hessian`; an oracle answers with products by itself")
        if hessian is not None:
            self._from_function(torch.sum)  # refuses options that do not fit together now, not at the first step

    def step(self, oracle: Oracle) -> float:
        """One accepted step; returns the value at the new x. A point with gradient 0 is not left.

        Args:
            oracle: as `hessian` says.

        Raises:
            InputError: what `derivatives` refuses at x; nothing has changed then.
            ConvergenceError: no trial made the progress that is asked, as at the limit of rounding.
        """
        asked = oracle if self.hessian is None else self._from_function(oracle)
        here = derivatives(asked, self.x)
        if not here.finite:
            return skip(self, here, name=type(self).__name__)
        assert here.hessian is not None
        square = self.metric.dual_square(here.gradient)
        if square == 0:
            return here.value
        for _ in range(self.tries):
            damping = square**0.5 / self.gamma
            h = self._direction(here.hessian, here.gradient, damping)
            if h is not None:
                trial = self.x + h
                there = derivatives(asked, trial, order=1)
                progress = self.metric.dual_square(there.gradient) / (8 * damping)
                if there.finite and here.value - there.value >= progress:
                    self.x, self.gamma, self.steps = trial, 2 * self.gamma, self.steps + 1
                    return there.value
            self.gamma = max(self.gamma / 2, self.least_gamma)
        raise ConvergenceError(
            f"GradientNormalizedNewton: no progress in {self.tries} tries at a gradient of norm {square**0.5:.3g}; "
            "stop here, or check that value and gradient belong together"
        )

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on to the bit; options are not in it."""
        return saved(self, *_STATE)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            InputError: the state of something else, or of a point of another size.
        """
        load(self, state, *_STATE)

    def _from_function(self, function: Callable[[Tensor], Tensor]) -> FunctionOracle:
        assert self.hessian is not None
        return FunctionOracle(function, hessian=self.hessian, loss=self.loss, products=self.matrix_free)

    def _direction(self, hessian: Hessian, gradient: Tensor, damping: float) -> Tensor | None:
        """h, or None where H + lam B is not positive definite."""
        self.solves += 1
        return damped_step(hessian, gradient, damping, self.metric, tolerance=self.tolerance)


def damped_step(
    hessian: Hessian, gradient: Float[Tensor, " n"], damping: float, metric: Metric, *, tolerance: float = 1e-10
) -> Float[Tensor, " n"] | None:
    """h with (H + damping B) h = -g, by Cholesky or, from products, by conjugate gradients.

    Args:
        hessian: H, a matrix or v -> H v.
        gradient: g.
        damping: lam.
        metric: B.
        tolerance: relative residual of conjugate gradients.

    Returns:
        h; None where the matrix is not positive definite, or so ill-conditioned that conjugate gradients do not end.
    """
    if isinstance(hessian, Tensor):
        factor, failed = torch.linalg.cholesky_ex(metric.added_to(hessian, damping))
        return None if bool(failed) else -torch.cholesky_solve(gradient[:, None], factor)[:, 0]

    def operator(columns: Tensor) -> Tensor:
        v = columns[:, 0]
        return (hessian(v).to(v) + damping * metric.apply(v))[:, None]

    try:
        solution = conjugate_gradients(
            operator,
            -gradient[:, None],
            preconditioner=lambda r: metric.solve(r[:, 0])[:, None],
            tolerance=tolerance,
            max_iterations=10 * len(gradient) + 50,
        ).solution[:, 0]
    except ConvergenceError:
        return None
    return solution if bool(gradient @ solution < 0) else None
