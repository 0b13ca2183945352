"""Block-coordinate descent from one start: sweeps of multiplicative updates, then steps of Adam on the detection model.

After every round the deviance of held-out rows is measured; the best round is kept, and a start ends when `patience`
rounds brought nothing. Where some rows have a known detection (anchors), the scale between them and the others is
solved for exactly in every round: with the other parameters held it is a quotient of sums.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from polyad.errors import TrainingError
from polyad.tensors.completion.detection import DetectionModel, detection_loss
from polyad.tensors.completion.poisson_cp import entry_rates, multiplicative_update, poisson_deviance

_LEAST_EXPECTED = 1e-3  # of a held-out row: one surprise must not decide when to stop


@dataclass(frozen=True, eq=False)
class Rows:
    """Observations as the alternation sees them; `log_anchor` is log p where detection is known, NaN elsewhere."""

    indices: Tensor
    counts: Tensor
    encoded: Tensor
    log_anchor: Tensor | None

    def select(self, chosen: Tensor) -> Rows:
        """Only these rows."""
        anchor = None if self.log_anchor is None else self.log_anchor[chosen]
        return Rows(self.indices[chosen], self.counts[chosen], self.encoded[chosen], anchor)

    def log_detection(self, model: DetectionModel | None, shift: float) -> Tensor:
        """log p of every row; without a model p is 1 but for anchors."""
        with torch.no_grad():
            values = torch.zeros_like(self.counts) if model is None else model(self.encoded) + shift
            if self.log_anchor is None:
                return values
            return torch.where(self.log_anchor.isnan(), values, self.log_anchor)


@dataclass(frozen=True)
class Schedule:
    """Rounds at most; sweeps and steps of a round; Adam's numbers; penalty of the factors; patience in rounds."""

    rounds: int
    sweeps: int
    steps: int
    learning_rate: float
    weight_decay: float
    penalty: float
    patience: int


@dataclass(frozen=True, eq=False)
class Alternation:
    """What one start gave: the state of its best round by held-out deviance, and the histories of all its rounds."""

    factors: list[Tensor]
    model: DetectionModel | None
    shift: float
    deviances: Tensor
    history: list[float]
    held_out_history: list[float]
    reason: str

    @property
    def score(self) -> float:
        """Mean held-out deviance."""
        return float(self.deviances.mean())


def alternate(
    train: Rows,
    held_out: Rows,
    factors: list[Tensor],
    model: DetectionModel | None,
    shift: float,
    schedule: Schedule,
    generator: torch.Generator,
    *,
    deadline: float | None = None,
    on_round: Callable[[], None] | None = None,
) -> Alternation:
    """Rounds until the held-out deviance stands still, rounds are used up or the deadline (`perf_counter`) is over."""
    optimizer = None if model is None else _adam(model, schedule)
    history: list[float] = []
    held: list[float] = []
    best, waited, reason = None, 0, "rounds"
    for _ in range(schedule.rounds):
        log_detection = train.log_detection(model, shift)
        with torch.no_grad():
            for _ in range(schedule.sweeps):
                for mode in range(len(factors)):
                    factors[mode] = multiplicative_update(
                        factors, mode, train.indices, train.counts, log_detection.exp(), penalty=schedule.penalty
                    )
            rates = entry_rates(factors, train.indices)
        if model is not None and optimizer is not None:
            _steps(train, rates, model, optimizer, shift, schedule.steps, generator)
            factors, shift = _rescaled(train, factors, rates, model, shift)
        expected = _expected(train, factors, model, shift)
        history.append(float(poisson_deviance(expected, train.counts).mean()))
        deviances = poisson_deviance(
            _expected(held_out, factors, model, shift).clamp(min=_LEAST_EXPECTED), held_out.counts
        )
        held.append(float(deviances.mean()))
        if not held[-1] < float("inf"):
            raise TrainingError(f"round {len(held)}: the held-out deviance is {held[-1]}; lower the learning rate")
        if best is None or held[-1] < best.score:
            state = None if model is None else copy.deepcopy(model.state_dict())
            best, waited = _Best(list(factors), state, shift, deviances), 0
        else:
            waited += 1
        if on_round is not None:
            on_round()
        if waited >= schedule.patience:
            reason = "held-out deviance"
            break
        if deadline is not None and time.perf_counter() > deadline:
            reason = "seconds"
            break
    assert best is not None
    if model is not None and best.state is not None:
        model.load_state_dict(best.state)
    return Alternation(best.factors, model, best.shift, best.deviances, history, held, reason)


@dataclass(frozen=True, eq=False)
class _Best:
    factors: list[Tensor]
    state: dict[str, Tensor] | None
    shift: float
    deviances: Tensor

    @property
    def score(self) -> float:
        return float(self.deviances.mean())


def _adam(model: DetectionModel, schedule: Schedule) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        list(model.parameters()), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, foreach=True
    )


def _steps(
    train: Rows,
    rates: Tensor,
    model: DetectionModel,
    optimizer: torch.optim.Optimizer,
    shift: float,
    steps: int,
    generator: torch.Generator,
) -> None:
    """One pass over the rows without an anchor, in this many minibatches."""
    counts = train.counts
    order = torch.randperm(len(counts), generator=generator, device=counts.device)
    if train.log_anchor is not None:
        order = order[train.log_anchor[order].isnan()]
    size = max(16, -(-len(order) // steps))
    mean = counts.mean()
    with torch.enable_grad():
        for batch in order.split(size):
            optimizer.zero_grad()
            log_detection = model(train.encoded[batch]) + shift
            loss = detection_loss(log_detection, rates[batch], counts[batch]) / (mean * size)
            loss.backward()
            optimizer.step()


def _rescaled(
    train: Rows, factors: list[Tensor], rates: Tensor, model: DetectionModel, shift: float
) -> tuple[list[Tensor], float]:
    """The exact minimum over the scale of lambda (by anchors) and of p of the other rows; nothing without anchors."""
    if train.log_anchor is None:
        return factors, shift
    anchored = ~train.log_anchor.isnan()
    expected = rates * train.log_detection(model, shift).exp()
    scale = train.counts[anchored].sum() / expected[anchored].sum()
    others = train.counts[~anchored].sum() / expected[~anchored].sum()
    if not bool(scale > 0) or not bool(others > 0):
        return factors, shift
    return [factor * scale ** (1 / len(factors)) for factor in factors], shift + float((others / scale).log())


def _expected(rows: Rows, factors: list[Tensor], model: DetectionModel | None, shift: float) -> Tensor:
    return entry_rates(factors, rows.indices) * rows.log_detection(model, shift).exp()
