"""Trainers of two stages: the input weights along a direction with optimal gains, the output weights exactly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.optim import checks
from polyad.optim.second_order.input_gain import multiplies
from polyad.optim.second_order.input_gain.directions import (
    check_gains,
    gain_system,
    jacobian,
    moved,
    negative_gradient,
    whitened,
)
from polyad.optim.second_order.input_gain.network import BypassNetwork, Sweep

Patterns = Callable[[], tuple[Tensor, Tensor]]
"""Gives inputs, Float[Tensor, "p n"], and targets, Float[Tensor, "p m"], of a step."""

_STATE = ("error", "steps", "multiplies", "stalled")


@final
@dataclass(frozen=True)
class Record:
    """After a step: E on its patterns, multiplications so far, and whether the step was given up."""

    error: float
    multiplies: int
    stalled: bool


class TwoStageTrainer:
    """What the trainers share: `step(closure)` moves the input weights, then solves the output weights.

    Subclasses say which direction (`whiten`) and which gains they take, or replace `_advance`.

    Args:
        network: whose weights are trained, in place.
        gains: one of `directions.GAINS`; by default the trainer's own. With "matrix" the direction's whitening does
            not matter.
        halvings: of a step that raises the error, before it is given up and `stalled` says so.

    Attributes:
        error: E after the last step, on its patterns; infinite before.
        steps: taken, stalled ones too.
        multiplies: counted so far, see `multiplies`.
        stalled: whether the last step was given up and left all weights as they were.

    Raises:
        InputError: unknown gains, or a negative number of halvings.
    """

    whiten: ClassVar[bool] = False
    gains: str = "one"

    def __init__(self, network: BypassNetwork, *, gains: str | None = None, halvings: int = 20) -> None:
        checks.check_not_negative(halvings=halvings)
        self.network, self.halvings = network, halvings
        self.gains = type(self).gains if gains is None else gains
        check_gains(self.gains)
        self.error, self.steps, self.multiplies, self.stalled = math.inf, 0, 0, False

    @torch.no_grad()
    def step(self, closure: Patterns) -> float:
        """One step; E after it. On the same patterns E never rises.

        Args:
            closure: the patterns of this step; all there are, or a batch with more patterns than output weights.

        Raises:
            InputError: something else than finite patterns that fit the network; nothing has changed then.
        """
        features, targets = self._patterns(closure)
        sweep = self._swept(features, targets)
        if not self.steps:
            sweep = self._solved(sweep)
        self.stalled = False
        self.error = self._advance(sweep).error
        self.steps += 1
        return self.error

    def fit(
        self,
        closure: Patterns,
        *,
        iterations: int = 100,
        tolerance: float = 0.0,
        budget: float = math.inf,
        seconds: float = math.inf,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Record]:
        """Steps until one of four limits; what each has reached.

        Args:
            closure: as of `step`.
            iterations: the most steps.
            tolerance: stop after a step that lowers E by less than this share of it; with 0, after one that stalls.
            budget: stop before a step once this many multiplications have been counted, here and before.
            seconds: stop once they are over.
            progress: called with steps done and the most there can be.

        Raises:
            InputError: as of `step`, or no positive number of iterations.
        """
        checks.check_positive(iterations=iterations)
        checks.check_not_negative(tolerance=tolerance)
        start, history = time.perf_counter(), list[Record]()
        for done in range(1, iterations + 1):
            if self.multiplies >= budget or time.perf_counter() - start > seconds:
                break
            before = self.error
            self.step(closure)
            history.append(Record(self.error, self.multiplies, self.stalled))
            if progress is not None:
                progress(done, iterations)
            if self.stalled or (done > 1 and before - self.error < tolerance * before):
                break
        return history

    def state_dict(self) -> dict[str, Any]:
        """Error and counts; the weights are the network's own state."""
        return {name: getattr(self, name) for name in self._state_names()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            InputError: another trainer's state.
        """
        if set(state) != set(self._state_names()):
            raise InputError(f"state: has {sorted(state)}; give what state_dict() of {type(self).__name__} returned")
        for name, value in state.items():
            setattr(self, name, value)

    def _advance(self, sweep: Sweep) -> Sweep:
        """Both stages from a sweep; the sweep at the new weights, or the same where the step stalls."""
        network, sizes = self.network, sweep.sizes
        direction = negative_gradient(sweep)
        self.multiplies += multiplies.gradient(sizes)
        if self.whiten:
            direction = whitened(sweep, direction)
            self.multiplies += multiplies.whitening(sizes)
        change = moved(direction, gain_system(jacobian(sweep, direction, self.gains), sweep).solution(), self.gains)
        self.multiplies += multiplies.gains(sizes, self.gains)
        inward, outputs = network.inward.detach().clone(), network.output_weights
        for halved in range(self.halvings + 1):
            network.inward.copy_(inward + 0.5**halved * change)
            trial = self._swept(sweep.features, sweep.targets)
            if math.isfinite(trial.error):
                trial = self._solved(trial)
                if trial.error <= sweep.error:
                    return trial
        network.inward.copy_(inward)
        network.set_output_weights(outputs)
        self.stalled = True
        return sweep

    def _swept(self, features: Float[Tensor, "p c"], targets: Float[Tensor, "p m"]) -> Sweep:
        """A counted sweep at the weights as they are."""
        found = self.network.sweep(features, targets)
        self.multiplies += multiplies.sweep(found.sizes)
        return found

    def _solved(self, sweep: Sweep) -> Sweep:
        """The second stage, counted."""
        self.multiplies += multiplies.output_stage(sweep.sizes)
        return self.network.solve_outputs(sweep)

    def _patterns(self, closure: Patterns) -> tuple[Tensor, Tensor]:
        """x_a and t."""
        given: Any = closure()
        if not (isinstance(given, tuple) and len(given) == 2 and all(isinstance(part, Tensor) for part in given)):
            raise InputError(f"closure: must return (inputs, targets), two tensors, got {type(given).__name__}")
        inputs, targets = given
        sizes = (self.network.inputs, len(self.network.bypass))
        if inputs.dim() != 2 or targets.dim() != 2 or (inputs.shape[1], targets.shape[1]) != sizes:
            raise InputError(
                f"closure: inputs {tuple(inputs.shape)} and targets {tuple(targets.shape)} do not fit the network; "
                f"give (patterns, {sizes[0]}) and (patterns, {sizes[1]})"
            )
        if len(inputs) != len(targets) or not len(inputs):
            raise InputError(f"closure: {len(inputs)} inputs and {len(targets)} targets; give one target an input")
        wanted = self.network.inward.dtype
        if inputs.dtype != wanted or targets.dtype != wanted:
            raise InputError(f"closure: dtypes {inputs.dtype} and {targets.dtype}; the network has {wanted}")
        if not checks.all_finite([inputs, targets]):
            raise InputError("closure: inputs or targets hold NaN or infinity; leave such patterns out")
        return self.network.augmented(inputs.detach()), targets.detach()

    def _state_names(self) -> tuple[str, ...]:
        return _STATE


@final
class BP(TwoStageTrainer):
    """Along the negative gradient by one gain, its optimal learning factor."""


@final
class HWO(TwoStageTrainer):
    """Hidden weight optimisation: the gradient whitened by the features' second moments, by one gain."""

    whiten = True


@final
class MOLF(TwoStageTrainer):
    """Multiple optimal learning factors: the negative gradient by one gain a hidden unit."""

    gains = "unit"


@final
class OIGBP(TwoStageTrainer):
    """Optimal input gains: the negative gradient by one gain an input."""

    gains = "input"


@final
class OIGHWO(TwoStageTrainer):
    """Optimal input gains on the direction of hidden weight optimisation."""

    whiten = True
    gains = "input"
