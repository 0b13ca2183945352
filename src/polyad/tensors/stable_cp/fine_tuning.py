"""Fine-tune a classifier: stochastic gradient descent with momentum, watched for divergence.

Plain on purpose (no schedule, no weight decay unless asked): it is how the paper tells stable decompositions from
degenerate ones, whose large cancelling terms make the loss jump or grow without bound.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class FineTuning:
    """A fine-tuned network and its history.

    Attributes:
        model: the trained copy; where training diverged, with the numbers of its last finite loss.
        losses: cross entropy of every batch, in nats.
        accuracies: on the held-out set, before training and after every epoch; empty without such a set.
        stopped_by: "epochs", "tolerance", "seconds" or "diverged" (a loss that is not finite).
        seconds: wall time.
    """

    model: nn.Module
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    stopped_by: Literal["epochs", "tolerance", "seconds", "diverged"]
    seconds: float


def fine_tune(
    model: nn.Module,
    inputs: Float[Tensor, "examples ..."],
    labels: Int[Tensor, " examples"],
    *,
    held_out: tuple[Float[Tensor, "others ..."], Int[Tensor, " others"]] | None = None,
    epochs: int = 3,
    learning_rate: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 64,
    tolerance: float = 0.0,
    seconds: float | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> FineTuning:
    """Train a copy of a classifier by cross entropy.

    Args:
        model: maps inputs to logits (examples, classes); left as it is.
        inputs, labels: the training set, on the model's device.
        held_out: inputs and labels to measure accuracy on.
        epochs: largest number of passes.
        learning_rate, momentum, weight_decay: of stochastic gradient descent.
        batch_size: examples a step; a last batch of fewer is left out.
        tolerance: stop when an epoch's mean loss is at most this.
        seconds: stop after the epoch in which this wall time ends.
        seed: of the order of the examples and of random layers; the global generator is left as it is.
        progress: called with steps done and the most there can be.
    """
    if not 1 <= batch_size <= inputs.shape[0] or epochs < 0:
        raise InputError(
            f"batch_size, epochs: {batch_size} and {epochs} were given; need 1..{inputs.shape[0]} examples and >= 0"
        )
    if not learning_rate > 0 or not 0 <= momentum < 1 or weight_decay < 0:
        raise InputError(
            f"learning_rate, momentum, weight_decay: {learning_rate}, {momentum}, {weight_decay} were given; need > 0, "
            "0 <= momentum < 1 and >= 0"
        )
    begun = time.perf_counter()
    model = copy.deepcopy(model)
    training = model.training
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum=momentum, weight_decay=weight_decay)
    order = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    accuracies = [] if held_out is None else [accuracy(model, *held_out)]
    reason: Literal["epochs", "tolerance", "seconds", "diverged"] = "epochs"
    steps = inputs.shape[0] // batch_size
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for epoch in range(epochs):
            model.train()
            shuffled = torch.randperm(inputs.shape[0], generator=order).to(inputs.device)
            for step in range(steps):
                rows = shuffled[step * batch_size : (step + 1) * batch_size]
                loss = nn.functional.cross_entropy(model(inputs[rows]), labels[rows])
                if not bool(torch.isfinite(loss)):
                    reason = "diverged"
                    break
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(float(loss.detach()))
                if progress is not None:
                    progress(epoch * steps + step + 1, epochs * steps)
            if held_out is not None:
                accuracies.append(accuracy(model, *held_out))
            if reason == "diverged":
                break
            if sum(losses[-steps:]) / steps <= tolerance:
                reason = "tolerance"
                break
            if seconds is not None and time.perf_counter() - begun > seconds:
                reason = "seconds"
                break
    return FineTuning(model.train(training), tuple(losses), tuple(accuracies), reason, time.perf_counter() - begun)


def accuracy(
    model: nn.Module, inputs: Float[Tensor, "examples ..."], labels: Int[Tensor, " examples"], *, batch_size: int = 512
) -> float:
    """Share of examples whose largest logit is their label's, in evaluation mode; with a NaN they count as wrong."""
    training = model.training
    model.eval()
    right = 0
    with torch.no_grad():
        for rows in torch.arange(inputs.shape[0], device=inputs.device).split(batch_size):
            logits = model(inputs[rows])
            known = torch.isfinite(logits).all(-1)
            right += int(((logits.argmax(-1) == labels[rows]) & known).sum())
    model.train(training)
    return right / inputs.shape[0]
