"""Completion of under-counted tensors: nonnegative CP rates times a learned probability of detection.

    N_i ~ Poisson(lambda_i),  Y_i | N_i ~ Binomial(N_i, p_i),  lambda = [[U_1..U_d]] >= 0,  p_i = g_theta(z_i)

so that Y_i ~ Poisson(lambda_i p_i). `UnderCountedCompletion` maximises the likelihood of the observed entries by block
coordinates; see the package's docstring for what can be identified.
"""

from __future__ import annotations

import copy
import time
import warnings as python_warnings
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.errors import InputError, NumericalWarning
from polyad.tensors.completion._alternation import Alternation, Rows, Schedule, alternate
from polyad.tensors.completion.detection import AttributeEncoding, DetectionModel, LogisticDetection, MLPDetection
from polyad.tensors.completion.identifiability import Identifiability, assess
from polyad.tensors.completion.observations import CountObservations, check_slices
from polyad.tensors.completion.poisson_cp import Progress, as_factors, poisson_cp, random_factors
from polyad.tensors.completion.surveys import survey_scale
from polyad.tensors.formats.cp import CP

Normalization = Literal["max", "anchor", "surveys", "none"]


@final
@dataclass(frozen=True, eq=False)
class UnderCountedFit:
    """Rates everywhere, detection for any attributes, and how far to trust them.

    Args:
        rates: lambda as a CP with columns of sum one; entries of cells that were never observed too.
        model: the detection model; it sees encoded attributes.
        encoding: standardises attributes as in training.
        log_shift: added to the model's log p.
        identifiability: what fixes the scale, and doubts.
        history: training deviance (mean of a row) after every round of the start that won.
        held_out_history: the same of held-out rows.
        starts: best held-out deviance of each start.
        stopped_by: "held-out deviance", "rounds" or "seconds".
        seconds: wall time.
    """

    rates: CP
    model: DetectionModel
    encoding: AttributeEncoding
    log_shift: float
    identifiability: Identifiability
    history: tuple[float, ...]
    held_out_history: tuple[float, ...]
    starts: tuple[float, ...]
    stopped_by: str
    seconds: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """Doubts about identifiability, one sentence each."""
        return self.identifiability.warnings

    def detection(
        self, attributes: Float[Tensor, "m features"], known: Bool[Tensor, "m features"] | None = None
    ) -> Float[Tensor, " m"]:
        """p of each row of attributes, at most 1."""
        with torch.no_grad():
            return (self.model(self.encoding(attributes, known)) + self.log_shift).clamp(max=0).exp()

    def predict(
        self,
        indices: Int[Tensor, "m order"],
        attributes: Float[Tensor, "m features"] | None = None,
        known: Bool[Tensor, "m features"] | None = None,
    ) -> Float[Tensor, " m"]:
        """Expected true counts lambda of these cells; with attributes, the expected observed counts lambda p."""
        rates = self.rates.entries(indices)
        return rates if attributes is None else rates * self.detection(attributes, known)

    def true_counts(self, observations: CountObservations) -> Float[Tensor, " m"]:
        """Expected N of each row given its count: Y + lambda (1 - p), as the missed ones are Poisson by themselves.

        Every row is taken by itself; surveys that share a population know more together.
        """
        if observations.attributes is None:
            raise InputError("observations: they have no attributes, so their detection is unknown")
        missed = 1 - self.detection(observations.attributes, observations.attributes_known)
        return observations.counts + self.rates.entries(observations.indices) * missed


@final
@dataclass(frozen=True)
class UnderCountedCompletion:
    """The model and how it is fitted.

    Args:
        shape: sizes of the modes.
        rank: terms of the rates.
        detection: "mlp" (two tanh layers of 32), "logistic" (linear log-odds), or a model for encoded attributes, a
            `torch.nn.Module` as in `DetectionModel`; it is copied, never changed.
        normalize: what fixes the scale of lambda against p. "max": the largest p of an observed row is 1. "anchor":
            rows with known detection are given to `fit`. "surveys": rows of one cell count the same individuals.
            "none": nothing; compare after the best scalar only.
        starts: how many; the best by held-out deviance is returned.
        rounds: largest number of rounds of a start.
        sweeps: sweeps of multiplicative updates a round.
        steps: minibatches a round of Adam.
        learning_rate: of Adam.
        weight_decay: of Adam, on the detection model.
        penalty: weight of sum U in the loss.
        patience: rounds without a better held-out deviance after which a start ends.
        held_out: share of rows kept for early stopping; the rates are refitted to all rows at the end.
        seconds: wall time after which no further round begins.
        seed: of starts, minibatches and the held-out rows.
    """

    shape: tuple[int, ...]
    rank: int
    detection: Literal["mlp", "logistic"] | DetectionModel = "mlp"
    normalize: Normalization = "max"
    starts: int = 2
    rounds: int = 100
    sweeps: int = 5
    steps: int = 10
    learning_rate: float = 1e-2
    weight_decay: float = 0.1
    penalty: float = 0.0
    patience: int = 15
    held_out: float = 0.1
    seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (
            ("rank", self.rank), ("starts", self.starts), ("rounds", self.rounds), ("sweeps", self.sweeps),
            ("steps", self.steps), ("patience", self.patience),
        ):  # fmt: skip
            if value < 1:
                raise InputError(f"{name}: {value} was given; it must be at least 1")
        if not self.learning_rate > 0 or not self.weight_decay >= 0 or not self.penalty >= 0:
            raise InputError("learning_rate must be positive, weight_decay and penalty must not be negative")
        if not 0 < self.held_out <= 0.5:
            raise InputError(f"held_out: {self.held_out} was given; it is a share of the rows, 0 < held_out <= 0.5")
        if self.normalize not in ("max", "anchor", "surveys", "none"):
            raise InputError(f"normalize: {self.normalize!r} was given; use 'max', 'anchor', 'surveys' or 'none'")
        if isinstance(self.detection, str) and self.detection not in ("mlp", "logistic"):
            raise InputError(f"detection: {self.detection!r} was given; use 'mlp', 'logistic' or a model")
        if self.seconds is not None and not self.seconds > 0:
            raise InputError(f"seconds: {self.seconds} was given; give a positive time, or None for no limit")

    def fit(
        self,
        observations: CountObservations,
        *,
        anchors: Bool[Tensor, " m"] | None = None,
        anchor_detection: Float[Tensor, " m"] | float = 1.0,
        initial: UnderCountedFit | None = None,
        progress: Progress | None = None,
    ) -> UnderCountedFit:
        """Fit to observed rows with attributes.

        Args:
            observations: every slice must be observed, every row needs attributes.
            anchors: True for rows whose detection is known (with normalize="anchor" only); their attributes are not
                used.
            anchor_detection: p of anchors, 0 < p <= 1; read at anchors only.
            initial: begin from this fit, once, instead of several starts.
            progress: called with rounds done and the most there can be.

        Doubts about identifiability are in the result's `warnings`, and each is a `NumericalWarning`.
        """
        began = time.perf_counter()
        encoding, rows = self._prepared(observations, anchors, anchor_detection, initial)
        generator = torch.Generator(device=rows.counts.device).manual_seed(self.seed)
        order = torch.randperm(len(rows.counts), generator=generator, device=rows.counts.device)
        size = max(2, round(self.held_out * len(order)))
        train, held_out = rows.select(order[size:]), rows.select(order[:size])
        schedule = Schedule(
            self.rounds, self.sweeps, self.steps, self.learning_rate, self.weight_decay, self.penalty, self.patience
        )
        count = 1 if initial is not None else self.starts
        report = _Counter(progress, (count + 1) * self.rounds)
        deadline = None if self.seconds is None else began + self.seconds
        training = observations.select(order[size:])
        runs: list[Alternation] = []
        for start in range(count):
            if initial is None:
                model = self._model(encoding, generator, rows.counts)
                exposure = train.log_detection(model, 0.0).exp()
                factors, shift = random_factors(training, exposure, self.rank, generator), 0.0
            else:
                model, shift = copy.deepcopy(initial.model), initial.log_shift
                factors = as_factors(initial.rates)
            runs.append(
                alternate(
                    train, held_out, factors, model, shift, schedule, generator, deadline=deadline, on_round=report
                )
            )
            report.jump((start + 1) * self.rounds)
            if runs[-1].reason == "seconds":
                break
        best = min(runs, key=lambda run: run.score)
        gains = None
        if rows.log_anchor is None:
            plain = random_factors(training, torch.ones_like(train.counts), self.rank, generator)
            constant = alternate(train, held_out, plain, None, 0.0, schedule, generator, deadline=deadline)
            gains = constant.deviances - best.deviances
        report.jump((count + 1) * self.rounds)
        return self._finished(observations, rows, encoding, best, runs, gains, began)

    def _prepared(
        self,
        observations: CountObservations,
        anchors: Tensor | None,
        anchor_detection: Tensor | float,
        initial: UnderCountedFit | None,
    ) -> tuple[AttributeEncoding, Rows]:
        if observations.shape != tuple(self.shape):
            raise InputError(f"observations: their shape is {observations.shape}, the model's is {tuple(self.shape)}")
        check_slices(observations)
        if len(observations) < 20:
            raise InputError(f"observations: {len(observations)} rows; held-out rows need at least 20 in all")
        encoding = AttributeEncoding.of(observations) if initial is None else initial.encoding
        assert observations.attributes is not None
        encoded = encoding(observations.attributes, observations.attributes_known)
        if (anchors is not None) != (self.normalize == "anchor"):
            raise InputError(f"anchors: they go with normalize='anchor' and only there; it is {self.normalize!r}")
        log_anchor = None
        if anchors is not None:
            log_anchor = _log_anchor(anchors, anchor_detection, observations.counts)
        return encoding, Rows(observations.indices, observations.counts, encoded, log_anchor)

    def _model(self, encoding: AttributeEncoding, generator: torch.Generator, like: Tensor) -> DetectionModel:
        if isinstance(self.detection, str):
            if self.detection == "logistic":
                return LogisticDetection(encoding.width, dtype=like.dtype, device=like.device)
            return MLPDetection(encoding.width, generator=generator, dtype=like.dtype)
        return self.detection.fresh(generator)

    def _finished(
        self,
        observations: CountObservations,
        rows: Rows,
        encoding: AttributeEncoding,
        best: Alternation,
        runs: list[Alternation],
        gains: Tensor | None,
        began: float,
    ) -> UnderCountedFit:
        """Rates refitted to all rows, then the scale, then the doubts."""
        assert best.model is not None
        log_detection = rows.log_detection(best.model, best.shift)
        refit = poisson_cp(
            observations,
            self.rank,
            detection=log_detection.exp(),
            penalty=self.penalty,
            initial=best.factors,
            sweeps=10 * self.sweeps,
        )
        free = slice(None) if rows.log_anchor is None else rows.log_anchor.isnan()
        fitted = log_detection[free]
        log_scale = 0.0
        further: tuple[str, ...] = ()
        if self.normalize == "max":
            log_scale = float(fitted.max())
        elif self.normalize == "surveys":
            log_scale, further = self._survey_scale(observations, refit.value, log_detection)
        shift = best.shift - log_scale
        capped = float((fitted - log_scale > 0.05).double().mean())
        if capped > 0:
            further += (
                f"{100 * capped:.1f} % of rows would need p > 1.05; p is cut at 1, anchors or surveys disagree",
            )
        chosen = torch.arange(len(observations), device=log_detection.device)[free]
        doubts = assess(observations.select(chosen), fitted, self.rank, self.normalize, gains=gains, further=further)
        for sentence in doubts.warnings:
            python_warnings.warn(sentence, NumericalWarning, stacklevel=3)
        return UnderCountedFit(
            refit.value.scale(torch.tensor(log_scale, dtype=refit.value.dtype, device=refit.value.device).exp()),
            best.model,
            encoding,
            shift,
            doubts,
            tuple(best.history),
            tuple(best.held_out_history),
            tuple(run.score for run in runs),
            best.reason,
            time.perf_counter() - began,
        )

    def _survey_scale(
        self, observations: CountObservations, rates: CP, log_detection: Tensor
    ) -> tuple[float, tuple[str, ...]]:
        found = survey_scale(observations, rates.entries(observations.indices), log_detection.exp())
        doubts: tuple[str, ...] = ()
        if not found.log_error < 0.3:
            doubts = (
                f"repeated surveys of {found.cells} cells leave the scale open (standard error of its logarithm "
                f"{found.log_error:.2g}); survey more cells repeatedly or use anchors",
            )
        return float(torch.tensor(found.factor, dtype=torch.float64).log()), doubts


class _Counter:
    """Counts rounds for the progress callback."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self) -> None:
        self.jump(self.done + 1)

    def jump(self, done: int) -> None:
        self.done = done
        if self.progress is not None:
            self.progress(done, self.total)


def _log_anchor(anchors: Tensor, detection: Tensor | float, counts: Tensor) -> Tensor:
    if anchors.shape != counts.shape or anchors.dtype != torch.bool or not bool(anchors.any()) or bool(anchors.all()):
        raise InputError("anchors: one truth value a row is needed, some of them True and some False")
    known = torch.as_tensor(detection, dtype=counts.dtype, device=counts.device).expand_as(counts)
    if not bool(((known > 0) & (known <= 1))[anchors].all()):
        raise InputError("anchor_detection: must lie in 0 < p <= 1 at every anchor")
    if not bool((counts[anchors] > 0).any()):
        raise InputError("anchors: all their counts are zero; they cannot fix a scale")
    return torch.where(anchors, known.log(), torch.nan)
