"""When a run ends, and how far it is: by steps, by time, or by what comes first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from polyad.errors import InputError
from polyad.training.batches import batches_per_epoch
from polyad.training.run import State


@final
@dataclass(frozen=True)
class Limits:
    """The first limit that is reached ends a run.

    Args:
        steps: of the optimiser, over all interruptions.
        seconds: of training, over all interruptions.
    """

    steps: int | None
    seconds: float | None

    @staticmethod
    def of(samples: int, batch_size: int, epochs: float | None, steps: int | None, minutes: float | None) -> Limits:
        """Limits in any of the three units; several may be given.

        Raises:
            InputError: none given, or one that is not positive.
        """
        if samples < 1:
            raise InputError("data: holds no sample")
        if batch_size < 1:
            raise InputError(f"batch_size: must be at least 1, got {batch_size}")
        for name, value in (("epochs", epochs), ("steps", steps), ("minutes", minutes)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{name}: must be positive, got {value}")
        counts = [] if steps is None else [steps]
        if epochs is not None:
            counts.append(max(1, round(epochs * batches_per_epoch(samples, batch_size))))
        if not counts and minutes is None:
            raise InputError("fit: give a limit: epochs=, steps= or minutes=")
        return Limits(min(counts, default=None), None if minutes is None else 60 * minutes)

    def progress(self, state: State) -> float:
        """From 0 to 1."""
        shares = [state.step / self.steps] if self.steps else []
        shares += [state.seconds / self.seconds] if self.seconds else []
        return min(1.0, max(shares))

    def reached(self, state: State) -> str | None:
        """Which limit is reached, None while none is."""
        if self.steps is not None and state.step >= self.steps:
            return "steps"
        if self.seconds is not None and state.seconds >= self.seconds:
            return "minutes"
        return None

    def count(self, state: State) -> tuple[int, int]:
        """Done and total, for a progress bar."""
        if self.seconds is None and self.steps is not None:
            return state.step, self.steps
        return round(1000 * self.progress(state)), 1000
