"""What a structure is worth: fitted once, remembered for good.

    f = compression + lambda RSE          compression = parameters / entries,   RSE = min |T - network|^2 / |T|^2

The fit is by alternating least squares from several starts (or Adam). Structures that are equal up to the numbering of
nodes share an entry of the cache, and the starts depend on the evaluator's seed alone, so a value does not depend on
who asked first. `Counter` counts what one search asked for: its distinct structures, also those that another paid for.

Source: C. Li, J. Zeng, C. Li, C. Caiafa, Q. Zhao, ICML 2023, equation (2).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from math import inf, log10
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.executors import map_unordered
from polyad.tensors.formats import TensorNetwork
from polyad.tensors.formats.base import check_dense
from polyad.tensors.structure_search.network_als import fit_network
from polyad.tensors.structure_search.network_gradients import fit_network_adam
from polyad.tensors.structure_search.structures import NetworkStructure

Objective = Callable[[float, float], float]


def weighted_objective(weight: float) -> Objective:
    """compression + weight RSE."""
    return partial(_weighted, weight)


def tolerance_objective(tolerance: float) -> Objective:
    """Compression where the relative error is within the tolerance; above it one more for each decade of the square."""
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance: {tolerance} was given, allowed is 0 < tolerance < 1")
    return partial(_tolerated, tolerance**2)


@final
@dataclass(frozen=True, eq=False)
class Evaluation:
    """A structure and its fit.

    Args:
        structure: canonical.
        loss: squared relative error (RSE).
        objective: what searches minimise.
        value: the fitted network.
    """

    structure: NetworkStructure
    loss: float
    objective: float
    value: TensorNetwork


@final
class Evaluator:
    """Fits structures to one tensor and remembers them.

    Args:
        tensor: dense, real.
        objective: (compression, RSE) -> what is minimised.
        method: "als" or "adam".
        starts, sweeps, tolerance, goal: of `fit_network` (Adam: starts, goal).
        seed: of the starts.
        executor: fits structures in parallel.
    """

    def __init__(
        self,
        tensor: Float[Tensor, "..."],
        *,
        objective: Objective | None = None,
        method: str = "als",
        starts: int = 6,
        sweeps: int = 200,
        tolerance: float = 5e-2,
        goal: float = 1e-8,
        seed: int = 0,
        executor: Executor | None = None,
    ) -> None:
        check_dense(tensor)
        if method not in ("als", "adam"):
            raise InputError(f"method: {method!r} was given, allowed are 'als' and 'adam'")
        self.tensor, self.objective, self.executor = tensor, objective or weighted_objective(200.0), executor
        options: dict[str, Any] = {"starts": starts, "goal": goal, "seed": seed}
        if method == "als":
            options |= {"sweeps": sweeps, "tolerance": tolerance}
        self._fit = partial(_fitted, tensor, method, options)
        self._known: dict[NetworkStructure, Evaluation] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the tensor's modes."""
        return tuple(self.tensor.shape)

    @property
    def fits(self) -> int:
        """Structures fitted so far, for whomever."""
        return len(self._known)

    def evaluate(self, structures: Sequence[NetworkStructure]) -> list[Evaluation]:
        """Evaluations in the order given; what is known costs nothing."""
        keys = [structure.canonical() for structure in structures]
        missing = [key for key in dict.fromkeys(keys) if key not in self._known]
        fitted = map_unordered(self._fit, missing, executor=self.executor, in_flight=max(1, len(missing)))
        for structure, loss, value in fitted:
            score = self.objective(structure.compression, loss)
            self._known[structure] = Evaluation(structure, loss, score, value)
        return [self._known[key] for key in keys]


@final
class Counter:
    """An evaluator as one search sees it: counts, keeps the best and the history, knows when to stop.

    Args:
        evaluator: shared by searches or not.
        most: distinct structures at most.
        seconds: wall time at most.
        stop_at: an objective at which the search is done.
        progress: called with structures evaluated and `most` (0 without a limit).
    """

    def __init__(
        self,
        evaluator: Evaluator,
        *,
        most: int | None = None,
        seconds: float | None = None,
        stop_at: float = -inf,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if most is not None and most < 1:
            raise InputError(f"evaluations: {most} was given; at least 1 is needed")
        if seconds is not None and not seconds > 0:
            raise InputError(f"seconds: {seconds} was given; give a positive time, or None for no limit")
        self.evaluator, self.most, self.seconds, self.stop_at = evaluator, most, seconds, stop_at
        self.progress, self.begun = progress, time.perf_counter()
        self.seen: dict[NetworkStructure, None] = {}
        self.history: list[Evaluation] = []
        self.best: Evaluation | None = None

    @property
    def count(self) -> int:
        """Distinct structures so far."""
        return len(self.seen)

    @property
    def stopped_by(self) -> str | None:
        """Why the search must end now: "goal", "evaluations", "seconds"; None where it may go on."""
        if self.best is not None and self.best.objective <= self.stop_at:
            return "goal"
        if self.most is not None and self.count >= self.most:
            return "evaluations"
        if self.seconds is not None and time.perf_counter() - self.begun > self.seconds:
            return "seconds"
        return None

    def evaluate(self, structures: Sequence[NetworkStructure]) -> list[Evaluation]:
        """Evaluate until a limit is met; the list may then be shorter than what was asked for."""
        at_once = len(structures) if self.evaluator.executor is not None else 1
        found: list[Evaluation] = []
        for begin in range(0, len(structures), max(1, at_once)):
            part = structures[begin : begin + at_once]
            affordable = self._affordable(part)
            for evaluation in self.evaluator.evaluate(part[:affordable]):
                found.append(evaluation)
                self._note(evaluation)
            if affordable < len(part) or self.stopped_by in ("goal", "seconds"):
                break
        return found

    def _affordable(self, structures: Sequence[NetworkStructure]) -> int:
        """How many from the beginning can be evaluated before the limit is met."""
        fresh: set[NetworkStructure] = set()
        for place, structure in enumerate(structures):
            key = structure.canonical()
            if key not in self.seen:
                fresh.add(key)
            if self.most is not None and self.count + len(fresh) > self.most:
                return place
        return len(structures)

    def _note(self, evaluation: Evaluation) -> None:
        if evaluation.structure in self.seen:
            return
        self.seen[evaluation.structure] = None
        self.history.append(evaluation)
        if self.best is None or evaluation.objective < self.best.objective:
            self.best = evaluation
        if self.progress is not None:
            self.progress(self.count, self.most or 0)


@final
@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search over structures found.

    Args:
        best: the evaluation with the smallest objective.
        history: every distinct structure in the order of evaluation; its length is the number of evaluations.
        sweeps: evaluations that each sweep, generation or round took.
        stopped_by: "goal", "evaluations", "seconds", "minimum" or "rounds".
        seconds: wall time.
    """

    best: Evaluation
    history: tuple[Evaluation, ...]
    sweeps: tuple[int, ...]
    stopped_by: str
    seconds: float

    @property
    def evaluations(self) -> int:
        """Distinct structures evaluated."""
        return len(self.history)

    def evaluations_to(self, objective: float) -> int | None:
        """How many it took to an objective at most this large; None where it was not reached."""
        for place, evaluation in enumerate(self.history):
            if evaluation.objective <= objective:
                return place + 1
        return None


def result_of(counter: Counter, sweeps: Sequence[int], reason: str) -> SearchResult:
    """The result of a search that used this counter."""
    assert counter.best is not None  # every search evaluates its starting point
    seconds = time.perf_counter() - counter.begun
    return SearchResult(counter.best, tuple(counter.history), tuple(sweeps), reason, seconds)


def _fitted(
    tensor: Tensor, method: str, options: dict[str, Any], structure: NetworkStructure
) -> tuple[NetworkStructure, float, TensorNetwork]:
    fit = (fit_network if method == "als" else fit_network_adam)(tensor, structure, **options)
    return structure, fit.loss, fit.value


def _weighted(weight: float, compression: float, loss: float) -> float:
    return compression + weight * loss


def _tolerated(square: float, compression: float, loss: float) -> float:
    return compression + max(0.0, log10(max(loss, square) / square))
