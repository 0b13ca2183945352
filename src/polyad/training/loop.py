"""The one training loop.

A step draws its batch from (seed, step), seeds torch with (seed, step, process), and has the rate that the schedule
gives for the progress of the run. So a run is a function of its inputs and of the last checkpoint: killed at any moment
and started again with the same call, it ends with the same bits as one that was never interrupted (on one kind of
machine; limited by steps or epochs, for a limit in minutes depends on the clock).

A non-finite loss stops the run before the weights take harm: the error names the samples, and the last checkpoint
stands.

*When not to use it*: several losses with optimisers of their own (adversarial training), or models that draw from
generators of their own; write that loop with `polyad.training.checkpoint` and `polyad.training.batches`.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from polyad.errors import InputError
from polyad.training.batches import Dataset, batches_per_epoch, own_share, training_batch
from polyad.training.limits import Limits
from polyad.training.metrics import MetricsLog, Row
from polyad.training.processes import own_device, process_group
from polyad.training.run import Loss, Metrics, Run, State
from polyad.training.schedules import Schedule, cosine

_CLOCKS = {"wall": time.monotonic, "process": time.process_time}
_PRECISIONS = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


@final
@dataclass(frozen=True)
class TrainingResult:
    """What a run came to; the model itself holds the weights.

    Args:
        steps: taken in all, over all interruptions.
        seconds: of training, over all interruptions.
        stopped: why: "steps", "minutes" or "patience".
        best: smallest validation loss, NaN without validation.
        best_step: the step it was reached at.
        history: rows of numbers: step, epoch, seconds, learning_rate, loss, and validation's.
    """

    steps: int
    seconds: float
    stopped: str
    best: float
    best_step: int
    history: list[Row]


def fit(
    model: nn.Module,
    loss: Loss,
    data: Dataset,
    *,
    validation: Dataset | None = None,
    metrics: Metrics | None = None,
    folder: str | os.PathLike[str] | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    clock: str = "wall",
    batch_size: int = 32,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
    learning_rate: float = 1e-3,
    schedule: Schedule | None = None,
    clip_norm: float | None = None,
    ema: float | None = None,
    patience: int | None = None,
    validate_every: int | None = None,
    precision: str = "float32",
    device: str | torch.device = "cpu",
    strategy: str = "ddp",
    compile: bool = False,
    checkpoint_seconds: float = 60.0,
    tensorboard: bool = False,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingResult:
    """Train a model; afterwards it holds the best weights (by validation), or the last ones, averaged with `ema`.

    Args:
        model: any module; trained in place.
        loss: (model, batch) -> mean over the samples of the batch.
        data: `len` samples; `data[numbers]` is a batch. A batch with a method `to` is moved to device and dtype.
        validation: data that is never trained on; its loss decides what is best and when patience ends.
        metrics: (model, batch) -> further named means, measured on `validation`.
        folder: checkpoints (`last.safetensors`, `best.safetensors`) and `metrics.csv` go there, and a run that was
            interrupted goes on from there. None keeps nothing.
        epochs, steps, minutes: at least one limit; the first that is reached ends the run.
        clock: of `minutes` and of the seconds reported: "wall", or "process" for the processor time of all threads of
            this process, which a busy machine does not spoil (not for work on a GPU, which it does not see).
        batch_size: samples a step, over all processes together.
        optimizer: parameters -> optimiser; by default AdamW with `learning_rate`.
        learning_rate: of the default optimiser; others bring their own.
        schedule: factor of the rate against progress; by default a cosine with a short warm-up.
        clip_norm: gradients are scaled down to this norm.
        ema: decay of the moving average of the weights, which is then what is validated and kept.
        patience: stop after this many validations without a gain.
        validate_every: steps between validations; by default once an epoch.
        precision: "float32", "float64", or "bfloat16" (autocast; weights stay float32).
        device: "cpu", "cuda" (under torchrun each process takes its own), or "cuda:1".
        strategy: with several processes "ddp", or "fsdp" for a model larger than one device.
        compile: run the model through `torch.compile`; not for models that differentiate inside, such as forces.
        checkpoint_seconds: time between checkpoints; 0 writes one every step.
        tensorboard: write events beside the CSV file.
        seed: of the order of samples and of everything the model draws from torch.
        facts: JSON values to be kept in the checkpoint, such as the options the model was built with.
        progress: called with steps done and steps in all (with a limit in minutes: thousandths of it).

    Raises:
        InputError: options that make no sense, or a folder with a checkpoint of another model or of other options.
        TrainingError: a loss that is not finite; names the samples.
    """
    if precision not in _PRECISIONS:
        raise InputError(f"precision: {precision!r} is none; allowed are {', '.join(_PRECISIONS)}")
    if clock not in _CLOCKS:
        raise InputError(f"clock: {clock!r} is none; allowed are {', '.join(_CLOCKS)}")
    limits = Limits.of(len(data), batch_size, epochs, steps, minutes)
    if ema is not None and strategy == "fsdp":
        raise InputError("ema: weights that are sharded are not averaged; leave ema out or use strategy='ddp'")
    if patience is not None and validation is None:
        raise InputError("patience: counts validations; give validation data")
    place = own_device(device)
    devices = [place] if place.type == "cuda" else []
    with process_group(place) as processes, torch.random.fork_rng(devices=devices):
        if processes.count > batch_size:
            raise InputError(f"batch_size: {batch_size} cannot be shared by {processes.count} processes; raise it")
        run = Run(
            model=model.to(device=place, dtype=_PRECISIONS[precision]),
            loss=loss,
            metrics=metrics,
            device=place,
            dtype=_PRECISIONS[precision],
            autocast=precision == "bfloat16",
            processes=processes,
            strategy=strategy,
            compile=compile,
            optimizer=optimizer or (lambda parameters: torch.optim.AdamW(parameters, lr=learning_rate)),
            schedule=schedule or cosine(),
            clip_norm=clip_norm,
            ema=ema,
            seed=seed,
            folder=None if folder is None else Path(folder),
        )
        state = run.restore(facts or {}, {"batch_size": batch_size, "samples": len(data), "seed": seed})
        log = MetricsLog(run.folder if processes.leads else None, tensorboard=tensorboard, step=state.step)
        try:
            state, stopped = _train(
                run,
                state,
                data,
                validation,
                limits,
                log,
                clock=_CLOCKS[clock],
                batch_size=batch_size,
                validate_every=validate_every or batches_per_epoch(len(data), batch_size),
                patience=patience,
                checkpoint_seconds=checkpoint_seconds,
                progress=progress,
            )
        finally:
            log.close()
        run.finish(state, keep_best=validation is not None)
    best = state.best if math.isfinite(state.best) else math.nan
    return TrainingResult(state.step, state.seconds, stopped, best, state.best_step, log.rows)


def _train(
    run: Run,
    state: State,
    data: Dataset,
    validation: Dataset | None,
    limits: Limits,
    log: MetricsLog,
    *,
    clock: Callable[[], float],
    batch_size: int,
    validate_every: int,
    patience: int | None,
    checkpoint_seconds: float,
    progress: Callable[[int, int], None] | None,
) -> tuple[State, str]:
    """Steps until a limit is reached; returns where the run stands and which limit it was."""
    per_epoch = batches_per_epoch(len(data), batch_size)
    saved = time.monotonic()
    while True:
        stopped = limits.reached(state)
        patient = patience is None or state.without_gain < patience
        done = stopped is not None or not patient
        (since,) = run.processes.lead([time.monotonic() - saved], run.device)
        if done or since >= checkpoint_seconds:
            run.save(state)
            saved = time.monotonic()
        if done:
            return state, stopped or "patience"
        began = clock()
        numbers = training_batch(len(data), batch_size, state.step, seed=run.seed)
        share, weight = own_share(numbers, run.processes.rank, run.processes.count)
        rate = run.set_rate(limits.progress(state))
        loss = run.step(data[share], weight, state.step, share)
        # all processes keep the leader's clock: it decides rates and the end
        (seconds,) = run.processes.lead([state.seconds + clock() - began], run.device)
        state = replace(
            state,
            step=state.step + 1,
            seconds=seconds,
            loss_sum=state.loss_sum + loss,
            loss_count=state.loss_count + 1,
        )
        if state.step % validate_every == 0 or limits.reached(state) is not None:
            began = clock()
            row = {"step": state.step, "epoch": state.step / per_epoch, "seconds": state.seconds}
            row |= {"learning_rate": rate, "loss": state.loss_sum / state.loss_count}
            state = replace(state, loss_sum=0.0, loss_count=0)
            if validation is not None:
                scores = run.validate(validation, batch_size, state.step)
                row |= {f"validation_{name}": value for name, value in scores.items()}
                state = run.judge(state, scores["loss"])
            log.add(row)
            if validation is not None:
                run.save(state)
                saved = time.monotonic()
            (seconds,) = run.processes.lead([state.seconds + clock() - began], run.device)
            state = replace(state, seconds=seconds)
        if progress is not None and run.processes.leads:
            progress(*limits.count(state))
