"""Accelerated Newton and third-order methods with stochastic gradients and inexact derivatives, for convex functions.

Both follow the estimating sequence of `polyad.optim.second_order.estimating`. Of order p = 2, with A_t, alpha_t as
there and the model's minimiser

    x_{t+1} = v + argmin_h g(v).h + h.H(v)h/2 + dbar_t |h|^2/2 + M |h|^3/6,

    lambda_t = sigma/R (t+3)^{5/2},                 dbar_t = delta2 + (sigma + tau)/R (t+3)^{3/2},
    kappa2_{t+1} = 2 dbar_t alpha_{t+1}^2/A_{t+1},  kappa3_{t+1} = 8M/3 alpha_{t+1}^3/A_{t+1};

of order p = 3 the model has D3[h, h, h]/6 and the powers dbar_t |h|^2/2 + 4 delta3 |h|^3/6 + M |h|^4/24, and

    lambda_t = sigma/R (t+4)^{7/2},                 dbar_t = delta2 + (sigma + tau)/R (t+4)^{3/2},
    kappa2 = 3 dbar_t alpha^2/A,  kappa3 = 8 sqrt(3) delta3 alpha^3/A,  kappa4 = 9M/2 alpha^4/A,  all at t + 1.

Source: A. Agafonov, D. Kamzolov, A. Gasnikov, A. Kavis, K. Antonakopoulos, V. Cevher and M. Takac, ICLR 2024,
arXiv:2309.01570.

*Deviations*: schedules have the units and the growth of the paper's proof, not its constants. Those of order 3 are
derived from <g(x_{t+1}), v - x_{t+1}> >= min over the penalty that dominates, and the uniform convexity 2^{2-i} of
|x|^i / i; for p = 2 the same way gives 4/sqrt(3) M <= 8M/3. y_{t+1} takes lambda_t, the noise that G holds by then. All
schedules can be replaced.

*When not to use it*: on small, smooth problems with exact derivatives plain Newton converges superlinearly and wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.optim import checks
from polyad.optim.second_order.cubic import minimize_cubic
from polyad.optim.second_order.estimating import EstimatingSequence, Schedule, growth
from polyad.optim.second_order.oracles import Oracle, derivatives, skip
from polyad.optim.second_order.quartic import minimize_quartic


@final
class AcceleratedInexactNewton:
    """The method of second order; `step(oracle)` moves `x`.

    Args:
        start: x_0, (n,); copied to float64.
        cubic: M, at least twice the Lipschitz constant of the Hessian.
        radius: R, about |x_0 - x*|; matters only where `sigma` or `tau` is not 0.
        sigma: standard deviation of the gradient's noise.
        tau: norm of the cubic model's gradient that is small enough.
        delta2: spectral norm of the Hessian's error.
        noise_schedule: t -> lambda_t, in place of the module's; so are the next three.
        penalty_schedule: t -> dbar_t.
        square_schedule: t -> kappa2_{t+1}.
        cube_schedule: t -> kappa3_{t+1}.

    Raises:
        InputError: a constant that cannot be used, or a start that is not finite.
    """

    def __init__(
        self,
        start: Float[Tensor, " n"],
        *,
        cubic: float,
        radius: float,
        sigma: float = 0.0,
        tau: float = 0.0,
        delta2: float = 0.0,
        noise_schedule: Schedule | None = None,
        penalty_schedule: Schedule | None = None,
        square_schedule: Schedule | None = None,
        cube_schedule: Schedule | None = None,
    ) -> None:
        checks.check_positive(cubic=cubic, radius=radius)
        checks.check_not_negative(sigma=sigma, tau=tau, delta2=delta2)
        self.cubic, self.tau = cubic, tau
        self.penalty = penalty_schedule or (lambda t: delta2 + (sigma + tau) / radius * (t + 3) ** 1.5)
        self.sequence = EstimatingSequence(
            start,
            order=2,
            noise=noise_schedule or (lambda t: sigma / radius * (t + 3) ** 2.5),
            kappas=(
                square_schedule or (lambda t: 2 * self.penalty(t) * growth(t, 2, 2)),
                cube_schedule or (lambda t: 8 * cubic / 3 * growth(t, 2, 3)),
            ),
        )

    @property
    def x(self) -> Float[Tensor, " n"]:
        """x_t, the iterate."""
        return self.sequence.x

    @property
    def steps(self) -> int:
        """Steps taken."""
        return self.sequence.steps

    @property
    def skipped_steps(self) -> int:
        """Steps not taken because an answer of the oracle was not finite."""
        return self.sequence.skipped_steps

    def step(self, oracle: Oracle) -> float:
        """One step, two calls of the oracle; returns its value at the new x.

        Where an answer is not finite, the step is not taken, and counted (`skipped_steps`).

        Raises:
            InputError: what `polyad.optim.second_order.oracles.derivatives` refuses; nothing has changed then.
        """
        v = self.sequence.looking_point()
        there = derivatives(oracle, v)
        if not there.finite:
            return skip(self.sequence, there, name=type(self).__name__)
        assert there.hessian is not None
        model = minimize_cubic(
            there.gradient,
            there.hessian,
            cubic=self.cubic,
            quadratic=self.penalty(self.sequence.steps),
            tolerance=self.tau,
        )
        x = v + model.step
        found = derivatives(oracle, x, order=1)
        if not found.finite:
            return skip(self.sequence, found, name=type(self).__name__)
        self.sequence.advance(x, found.gradient)
        return found.value

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on to the bit."""
        return self.sequence.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            InputError: the state of something else, or of a point of another size.
        """
        self.sequence.load_state_dict(state)


@final
class AcceleratedInexactTensor:
    """The method of order p = 3; `step(oracle)` moves `x`. With p = 2 use `AcceleratedInexactNewton`.

    Args:
        start: x_0, (n,); copied to float64.
        p: order of the model; 3.
        quartic: M, at least 3 times the Lipschitz constant of the third derivative; from 6 times on models are
            minimised at a linear rate.
        radius: R, about |x_0 - x*|; matters only where `sigma` or `tau` is not 0.
        sigma: standard deviation of the gradient's noise.
        tau: norm of the model's gradient that is small enough.
        delta2: spectral norm of the Hessian's error.
        delta3: norm of the third derivative's error.
        noise_schedule: t -> lambda_t, in place of the module's; so are the next four.
        penalty_schedule: t -> dbar_t.
        square_schedule: t -> kappa2_{t+1}.
        cube_schedule: t -> kappa3_{t+1}.
        fourth_schedule: t -> kappa4_{t+1}.

    Raises:
        InputError: a constant that cannot be used, another order, or a start that is not finite.
    """

    def __init__(
        self,
        start: Float[Tensor, " n"],
        *,
        p: int = 3,
        quartic: float,
        radius: float,
        sigma: float = 0.0,
        tau: float = 0.0,
        delta2: float = 0.0,
        delta3: float = 0.0,
        noise_schedule: Schedule | None = None,
        penalty_schedule: Schedule | None = None,
        square_schedule: Schedule | None = None,
        cube_schedule: Schedule | None = None,
        fourth_schedule: Schedule | None = None,
    ) -> None:
        if p != 3:
            raise InputError(f"p: must be 3, got {p}; for order 2 use AcceleratedInexactNewton")
        checks.check_positive(quartic=quartic, radius=radius)
        checks.check_not_negative(sigma=sigma, tau=tau, delta2=delta2, delta3=delta3)
        self.quartic, self.cubic, self.tau = quartic, 4 * delta3, tau
        self.penalty = penalty_schedule or (lambda t: delta2 + (sigma + tau) / radius * (t + 4) ** 1.5)
        self.sequence = EstimatingSequence(
            start,
            order=3,
            noise=noise_schedule or (lambda t: sigma / radius * (t + 4) ** 3.5),
            kappas=(
                square_schedule or (lambda t: 3 * self.penalty(t) * growth(t, 3, 2)),
                cube_schedule or (lambda t: 8 * math.sqrt(3) * delta3 * growth(t, 3, 3)),
                fourth_schedule or (lambda t: 9 * quartic / 2 * growth(t, 3, 4)),
            ),
        )

    @property
    def x(self) -> Float[Tensor, " n"]:
        """x_t, the iterate."""
        return self.sequence.x

    @property
    def steps(self) -> int:
        """Steps taken."""
        return self.sequence.steps

    @property
    def skipped_steps(self) -> int:
        """Steps not taken because an answer of the oracle was not finite."""
        return self.sequence.skipped_steps

    def step(self, oracle: Oracle) -> float:
        """One step, two calls of the oracle; returns its value at the new x.

        Where an answer is not finite, the step is not taken, and counted (`skipped_steps`).

        Args:
            oracle: of third order, as `FunctionOracle(function, order=3)` is.

        Raises:
            InputError: what `polyad.optim.second_order.oracles.derivatives` refuses; nothing has changed then.
            ConvergenceError: the model's minimiser was not found, see `minimize_quartic`.
        """
        v = self.sequence.looking_point()
        there = derivatives(oracle, v, order=3)
        if not there.finite:
            return skip(self.sequence, there, name=type(self).__name__)
        assert there.hessian is not None
        assert there.third is not None
        model = minimize_quartic(
            there.gradient,
            there.hessian,
            there.third,
            quartic=self.quartic,
            cubic=self.cubic,
            quadratic=self.penalty(self.sequence.steps),
            tolerance=self.tau,
        )
        x = v + model.step
        found = derivatives(oracle, x, order=1)
        if not found.finite:
            return skip(self.sequence, found, name=type(self).__name__)
        self.sequence.advance(x, found.gradient)
        return found.value

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on to the bit."""
        return self.sequence.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            InputError: the state of something else, or of a point of another size.
        """
        self.sequence.load_state_dict(state)
