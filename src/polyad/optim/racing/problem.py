"""What optimisers race on: a model, a loss that draws its own batches, and the number that counts.

A script's `make_problem(seed)` returns a `Problem`, or just `(model, loss)`:

    def make_problem(seed: int):
        torch.manual_seed(seed)
        model = nn.Linear(10, 1)

        def loss(model, generator):                      # a scalar; draws its own batch
            rows = torch.randint(len(x), (64,), generator=generator)
            return nn.functional.mse_loss(model(x[rows]), y[rows])

        return model, loss

A loss that is a sum may be returned as a list of its terms: optimisers that treat each by itself get them so, all
others get the sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from polyad.errors import InputError

Loss = Callable[[nn.Module, torch.Generator], Tensor | Sequence[Tensor]]
"""Scalar loss of a batch that is drawn from the generator, or several of them whose sum is minimised."""

Maker = Callable[[int], "Problem"]
"""The problem of a seed: weights, and whatever else is random in it."""

JUDGED_BATCHES = 8
"""Batches whose mean loss counts where a problem does not say what else."""

_JUDGING_SEED = 987_654_321


@final
@dataclass(frozen=True, eq=False)
class Problem:
    """A training to be done.

    Args:
        model: its parameters are changed in place.
        loss: `loss(model, generator)`, the scalar that is minimised, or a list of its terms; generators are of the CPU.
        evaluate: `evaluate(model)`, the number that counts, smaller is better, without gradients; None for the mean
            loss of `JUDGED_BATCHES` batches that are always the same.
    """

    model: nn.Module
    loss: Loss
    evaluate: Callable[[nn.Module], float] | None = None

    def judge(self) -> float:
        """The number that counts, of the model as it is; the model stays in training mode or out of it as it was."""
        training = self.model.training
        self.model.eval()
        try:
            if self.evaluate is not None:
                with torch.no_grad():
                    return float(self.evaluate(self.model))
            generator = torch.Generator().manual_seed(_JUDGING_SEED)
            with torch.enable_grad():  # a loss may hold derivatives of the model
                losses = [float(total(self.loss(self.model, generator)).detach()) for _ in range(JUDGED_BATCHES)]
            return sum(losses) / len(losses)
        finally:
            self.model.train(training)


def total(losses: Tensor | Sequence[Tensor]) -> Tensor:
    """The sum of several losses; one loss as it is."""
    return losses if isinstance(losses, Tensor) else torch.stack([loss.reshape(()) for loss in losses]).sum()


def as_problem(value: Any, *, origin: str) -> Problem:
    """What a maker returned, as a `Problem` whose loss has been computed once.

    Args:
        value: a `Problem`, or `(model, loss)` or `(model, loss, evaluate)`.
        origin: whose it is, for messages.

    Raises:
        InputError: something else, a loss or term that is no finite scalar or does not depend on the parameters, or an
            evaluation that is not finite.
    """
    parts = (value.model, value.loss, value.evaluate) if isinstance(value, Problem) else value
    if not isinstance(parts, tuple) or len(parts) not in (2, 3):
        raise InputError(f"{origin}: returned {_kind(value)}; return (model, loss), or a Problem")
    model, loss, evaluate = (*parts, None)[:3]
    if not isinstance(model, nn.Module):
        raise InputError(f"{origin}: the model is {_kind(model)}; give a torch.nn.Module")
    if not callable(loss) or not (evaluate is None or callable(evaluate)):
        raise InputError(f"{origin}: loss and evaluate must be functions: loss(model, generator), evaluate(model)")
    problem = value if isinstance(value, Problem) else Problem(model, loss, evaluate)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(f"{origin}: the model has no parameter that can be trained")
    _check_loss(problem, origin)
    return problem


def _check_loss(problem: Problem, origin: str) -> None:
    state = {name: tensor.detach().clone() for name, tensor in problem.model.state_dict().items()}
    with torch.enable_grad():
        loss = problem.loss(problem.model, torch.Generator().manual_seed(0))
    terms = list(loss) if isinstance(loss, (list, tuple)) and loss else [loss]
    for term in terms:
        if not isinstance(term, Tensor) or term.numel() != 1:
            raise InputError(f"{origin}: the loss is {_kind(term)}; return a scalar tensor, or a list of such")
        if not term.requires_grad:
            raise InputError(f"{origin}: the loss does not depend on the model's parameters; no optimiser can lower it")
        if not math.isfinite(float(term.detach())):
            raise InputError(f"{origin}: the loss is {float(term.detach())} before the first step; it must be finite")
    value = problem.judge()
    if not math.isfinite(value):
        raise InputError(f"{origin}: evaluate gives {value} before the first step; it must be finite")
    problem.model.load_state_dict(state)  # running means of a normalisation have moved


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"of type {type(value).__name__}"
