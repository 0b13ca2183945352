"""One training by one optimiser at one learning rate: what counts over time and steps, and the bytes of the state.

Batches of step k depend on the seed and k alone, so that all optimisers see the same ones, and a closure that is called
several times in a step sees one. Judging takes no time of the clock.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from polyad.errors import InputError, NumericalWarning
from polyad.optim.racing.problem import Problem, total
from polyad.optim.registry import Entry

CLOCKS: Mapping[str, Callable[[], float]] = {"process": time.process_time, "wall": time.perf_counter}
"""`process`: processor time of all threads, which another load of the machine leaves alone; `wall`: as on the wall."""

POINTS = 40
"""Times at which a course is judged by default."""

TIME, STEPS, DIVERGED, REFUSED = "time", "steps", "diverged", "refused"
"""Why a course ended."""

_STRIDE = 1_000_003


class Point(NamedTuple):
    """What counts after so many steps and seconds."""

    steps: int
    seconds: float
    loss: float


@final
@dataclass(frozen=True)
class Course:
    """What became of one training.

    Args:
        optimizer: name.
        rate: learning rate.
        seed: of weights and batches.
        points: finite ones, in order; the first is the start.
        evaluations: gradients computed.
        state_bytes: largest size of the optimiser's state at a point.
        ended: `time`, `steps`, `diverged`, or `refused` where the optimiser cannot do this problem.
        reason: more of the last two.
    """

    optimizer: str
    rate: float
    seed: int
    points: tuple[Point, ...]
    evaluations: int
    state_bytes: int
    ended: str
    reason: str = ""

    @property
    def best(self) -> float:
        """The smallest of what counts; infinite for a course that diverged or was refused."""
        return math.inf if self.ended in (DIVERGED, REFUSED) else min(point.loss for point in self.points)

    def first_below(self, target: float) -> Point | None:
        """The first point at the target or under it."""
        return next((point for point in self.points if point.loss <= target), None)

    @property
    def seconds_a_step(self) -> float:
        """Mean over the course; not a number without steps."""
        last = self.points[-1]
        return last.seconds / last.steps if last.steps else math.nan


def run_course(
    entry: Entry,
    problem: Problem,
    *,
    rate: float,
    seed: int,
    seconds: float,
    clock: str = "process",
    points: int = POINTS,
    max_steps: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Course:
    """Train until the time is over; a loss that is not finite ends the course and is no error.

    Args:
        entry: which optimiser.
        problem: is changed.
        rate: learning rate.
        seed: of batches, and of what the model draws by itself (dropout).
        seconds: of the clock.
        clock: one of `CLOCKS`.
        points: times at which to judge, equally spaced.
        max_steps: end after so many; None for no limit.
        progress: called with the seconds used.

    Raises:
        InputError: an unknown clock, or processor time for a model that is not on the CPU; times or counts that are
            not positive.
    """
    check_clock(clock, problem)
    if not seconds > 0 or points < 1 or (max_steps is not None and max_steps < 1):
        raise InputError(f"seconds, points, max_steps: must be positive, got {seconds}, {points}, {max_steps}")
    watch = _Stopwatch(clock, problem)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # steps that are skipped show in the course
        torch.manual_seed(seed)
        found = [Point(0, 0.0, problem.judge())]
        try:
            steps = _Steps(entry, problem, rate, seed)
        except InputError as error:
            return Course(entry.name, rate, seed, tuple(found), 0, 0, REFUSED, str(error))
        held, due, ended, reason = 0, seconds / points, TIME, ""
        while watch.seconds < seconds:
            try:
                with watch:
                    loss = steps.take()
            except (torch.linalg.LinAlgError, InputError) as error:
                ended, reason = (DIVERGED if steps.done else REFUSED), " ".join(str(error).split())
                break
            last = watch.seconds >= seconds or steps.done == max_steps
            if math.isfinite(loss) and not last and watch.seconds < due:
                continue
            value = problem.judge() if math.isfinite(loss) else loss
            held = max(held, state_bytes(steps.optimizer))
            if not math.isfinite(value):
                ended, reason = DIVERGED, f"loss {value} at step {steps.done}"
                break
            found.append(Point(steps.done, watch.seconds, value))
            while due <= watch.seconds:
                due += seconds / points
            if progress is not None:
                progress(min(watch.seconds, seconds))
            if steps.done == max_steps:
                ended = STEPS
                break
    return Course(entry.name, rate, seed, tuple(found), steps.evaluations, held, ended, reason)


def check_clock(clock: str, problem: Problem) -> None:
    """Refuse a clock that is unknown or does not see where the model computes.

    Raises:
        InputError: as said.
    """
    if clock not in CLOCKS:
        raise InputError(f"clock: {clock!r} is none; allowed are {', '.join(CLOCKS)}")
    device = next(problem.model.parameters()).device.type
    if clock == "process" and device != "cpu":
        raise InputError(f"clock: processor time does not see what a model on {device!r} does; choose 'wall'")


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of all tensors in an optimiser's state; memory that two of them share counts once."""
    sizes: dict[tuple[str, int], int] = {}
    for tensor in _tensors(dict(optimizer.state)):
        storage = tensor.untyped_storage()
        sizes[str(tensor.device), storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads for torch inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@final
class _Steps:
    """Takes steps the way the optimiser needs them, and counts."""

    def __init__(self, entry: Entry, problem: Problem, rate: float, seed: int) -> None:
        self.optimizer = entry.build(problem.model, lr=rate)
        self.done = self.evaluations = 0
        self._problem, self._terms, self._seed = problem, entry.terms, seed
        self._by_closure = entry.terms or entry.needs == "closure"

    def take(self) -> float:
        """One step; the loss that it began with."""
        if self._by_closure:
            loss = self.optimizer.step(self._gradients)
        else:
            loss = self._gradients()
            self.optimizer.step()
        self.done += 1
        return float(loss if isinstance(loss, float) else total(loss).detach())

    def _gradients(self) -> Any:
        """Loss with its gradients computed; bare terms for an optimiser that takes them."""
        generator = torch.Generator().manual_seed(self._seed * _STRIDE + self.done)
        self.optimizer.zero_grad()
        losses = self._problem.loss(self._problem.model, generator)
        self.evaluations += 1
        if self._terms and not isinstance(losses, Tensor):
            return losses
        loss = total(losses)
        loss.backward()
        return loss


@final
class _Stopwatch:
    """Seconds spent inside its `with` blocks."""

    def __init__(self, clock: str, problem: Problem) -> None:
        self.seconds = 0.0
        self._clock, self._began = CLOCKS[clock], 0.0
        self._device = next(problem.model.parameters()).device

    def __enter__(self) -> None:
        self._began = self._now()

    def __exit__(self, *_: object) -> None:
        self.seconds += self._now() - self._began

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # what is queued belongs to the time before
        return self._clock()


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
