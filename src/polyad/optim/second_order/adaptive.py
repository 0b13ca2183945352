"""Methods with one constant that adapts by trial, which gradient-normalised Newton is measured against.

- Super-universal Newton: lam = H |g|^a, (Hess + lam I) h = -g, accepted if -grad f(x + h).h >= |grad f(x + h)|^2 /
  (4 lam); H is divided by 4 after a trial that is accepted, multiplied by 4 after one that is not.
- Adaptive cubic Newton: h minimises the model g.h + h.Hess h/2 + M |h|^3/6, accepted if f(x + h) is at most f(x) plus
  its minimum; M halves or doubles.
- Gradient descent with line search: h = -g / L, accepted if f(x) - f(x + h) >= |g|^2 / (2 L); L halves or doubles.

Where the oracle's answer at x is not finite, a step is not taken, and counted (`skipped_steps`).

Sources: N. Doikov, K. Mishchenko and Yu. Nesterov, SIAM J. Optim. 34 (2024) 27; Yu. Nesterov and B. T. Polyak, Math.
Program. 108 (2006) 177; Yu. Nesterov, Lectures on Convex Optimization, 2018, section 1.2.

*When not to use them*: with approximate Hessians, for which `GradientNormalizedNewton` is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from polyad.errors import ConvergenceError
from polyad.optim import checks
from polyad.optim.second_order.cubic import minimize_cubic
from polyad.optim.second_order.gradient_normalized import damped_step
from polyad.optim.second_order.metric import Metric
from polyad.optim.second_order.oracles import Derivatives, Oracle, checked_start, derivatives, load, saved, skip

_STATE = ("x", "constant", "solves", "steps", "skipped_steps")

_Trial = Callable[[Derivatives, float], tuple[Tensor, Callable[[Derivatives], bool]] | None]
"""Answer at x, constant -> the step h and whether the answer at x + h makes it acceptable; None for no step."""


@final
class SuperUniversalNewton:
    """`step(oracle)` moves `x`; `constant` is H, `solves` counts linear systems.

    Args:
        start: x_0, (n,); copied to float64.
        constant: first H.
        power: a, in [2/3, 1] for all classes of functions at once.
        tries: trials a step before it gives up.

    Raises:
        InputError: a number that is not positive, or a start that is not finite.
    """

    def __init__(
        self, start: Float[Tensor, " n"], *, constant: float = 1.0, power: float = 2 / 3, tries: int = 40
    ) -> None:
        checks.check_positive(constant=constant, power=power, tries=tries)
        self.x, self.constant, self.power, self.tries = checked_start(start), constant, power, tries
        self.solves = self.steps = self.skipped_steps = 0

    def step(self, oracle: Oracle) -> float:
        """One accepted step; returns the value at the new x. A point with gradient 0 is not left.

        Raises:
            InputError: what `polyad.optim.second_order.oracles.derivatives` refuses at x.
            ConvergenceError: no trial was accepted.
        """
        metric = Metric(None, like=self.x)

        def trial(here: Derivatives, constant: float) -> Any:
            assert here.hessian is not None
            damping = constant * float(here.gradient.norm()) ** self.power
            h = damped_step(here.hessian, here.gradient, damping, metric)
            if h is None:
                return None
            return h, lambda there: float(-there.gradient @ h) >= float(there.gradient.square().sum()) / (4 * damping)

        return _step(self, oracle, trial, factor=4.0)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on to the bit."""
        return saved(self, *_STATE)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; InputError where it is of something else."""
        load(self, state, *_STATE)


@final
class AdaptiveCubicNewton:
    """`step(oracle)` moves `x`; `constant` is M, `solves` counts cubic models.

    Args:
        start: x_0, (n,); copied to float64.
        constant: first M.
        tries: trials a step before it gives up.

    Raises:
        InputError: a number that is not positive, or a start that is not finite.
    """

    def __init__(self, start: Float[Tensor, " n"], *, constant: float = 1.0, tries: int = 40) -> None:
        checks.check_positive(constant=constant, tries=tries)
        self.x, self.constant, self.tries = checked_start(start), constant, tries
        self.solves = self.steps = self.skipped_steps = 0

    def step(self, oracle: Oracle) -> float:
        """One accepted step; returns the value at the new x. Strict saddles are left, minima are not.

        Raises:
            InputError: what `polyad.optim.second_order.oracles.derivatives` refuses at x.
            ConvergenceError: no trial was accepted.
        """

        def trial(here: Derivatives, constant: float) -> Any:
            assert here.hessian is not None
            model = minimize_cubic(here.gradient, here.hessian, cubic=constant)
            return model.step, lambda there: there.value <= here.value - model.decrease

        return _step(self, oracle, trial, factor=2.0)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on to the bit."""
        return saved(self, *_STATE)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; InputError where it is of something else."""
        load(self, state, *_STATE)


@final
class LineSearchGradient:
    """Gradient descent with line search: `step(oracle)` moves `x`; `constant` is L, `solves` counts trials.

    Args:
        start: x_0, (n,); copied to float64.
        constant: first L.
        tries: trials a step before it gives up.

    Raises:
        InputError: a number that is not positive, or a start that is not finite.
    """

    def __init__(self, start: Float[Tensor, " n"], *, constant: float = 1.0, tries: int = 60) -> None:
        checks.check_positive(constant=constant, tries=tries)
        self.x, self.constant, self.tries = checked_start(start), constant, tries
        self.solves = self.steps = self.skipped_steps = 0

    def step(self, oracle: Oracle) -> float:
        """One accepted step; returns the value at the new x. A point with gradient 0 is not left.

        Raises:
            InputError: what `polyad.optim.second_order.oracles.derivatives` refuses at x.
            ConvergenceError: no trial was accepted.
        """

        def trial(here: Derivatives, constant: float) -> Any:
            wanted = float(here.gradient.square().sum()) / (2 * constant)
            return -here.gradient / constant, lambda there: here.value - there.value >= wanted

        return _step(self, oracle, trial, factor=2.0, order=1)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on to the bit."""
        return saved(self, *_STATE)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; InputError where it is of something else."""
        load(self, state, *_STATE)


def _step(method: Any, oracle: Oracle, trial: _Trial, *, factor: float, order: int = 2) -> float:
    """Try, from the constant that the method holds, until a step is accepted."""
    here = derivatives(oracle, method.x, order=order)
    if not here.finite:
        return skip(method, here, name=type(method).__name__)
    if not bool(here.gradient.any()) and not isinstance(method, AdaptiveCubicNewton):
        return here.value
    for _ in range(method.tries):
        method.solves += 1
        if (tried := trial(here, method.constant)) is not None:
            h, acceptable = tried
            if not bool(h.any()):
                return here.value
            there = derivatives(oracle, method.x + h, order=1)
            if there.finite and acceptable(there):
                method.x, method.constant, method.steps = method.x + h, method.constant / factor, method.steps + 1
                return there.value
        method.constant *= factor
    raise ConvergenceError(
        f"{type(method).__name__}: no trial of {method.tries} was accepted at a gradient of norm "
        f"{float(here.gradient.norm()):.3g}; stop here, or check that value and gradient belong together"
    )
