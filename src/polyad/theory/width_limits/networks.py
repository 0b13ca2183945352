"""Perceptrons of finite width in an abcd-parametrisation, many seeds at once: what the limits are compared with.

h_1 = W_1 x,    h_{l+1} = W_{l+1} phi(h_l),    f(x) = W_out phi(h_L),    one output, no biases
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError, NumericalWarning
from polyad.theory.width_limits.parametrisation import ABCDParam
from polyad.theory.width_limits.updates import State, UpdateFunction

Activation = Callable[[Tensor], Tensor]
LossDerivative = Callable[[Tensor, Tensor], Tensor]


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Derivative of (f - y)^2 / 2 by f."""
    return outputs - targets


@final
@dataclass(frozen=True)
class TrainingRecord:
    """A training of several networks; the first place is the state before it.

    Args:
        outputs: at every input that was given, trained on or not, after every step.
        changes: root mean square over coordinates and inputs of h_l - h_l at the start, layer by layer.
    """

    outputs: Float[Tensor, "steps_and_one seeds inputs"]
    changes: Float[Tensor, "steps_and_one seeds layers"]


def initial_weights(
    parametrisation: ABCDParam,
    *,
    width: int,
    inputs: int,
    seeds: int = 1,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Draws of w_0 ~ N(0, n^-2b), each (seeds, fan out, fan in).

    Raises:
        InputError: a width, a number of inputs or of seeds below 1.
    """
    if min(width, inputs, seeds) < 1:
        raise InputError(f"width, inputs, seeds: 1 or more each, got {width}, {inputs}, {seeds}")
    sizes = [inputs, *[width] * (parametrisation.depth - 1), 1]
    return [
        torch.randn(seeds, sizes[k + 1], sizes[k], generator=generator, dtype=dtype) * width**-layer.b
        for k, layer in enumerate(parametrisation.layers)
    ]


def forward(
    parametrisation: ABCDParam,
    weights: Sequence[Tensor],
    inputs: Float[Tensor, "points features"],
    *,
    activation: Activation = torch.relu,
) -> tuple[Float[Tensor, "seeds points"], list[Float[Tensor, "seeds points width"]]]:
    """Outputs and the hidden coordinates h_l before the activation."""
    width = weights[0].shape[-2]
    values, hidden = inputs.expand(len(weights[0]), -1, -1), []
    for layer, weight in zip(parametrisation.layers, weights, strict=True):
        hidden.append(values @ weight.mT * width**-layer.a)
        values = activation(hidden[-1])
    return hidden.pop()[..., 0], hidden


def train(
    parametrisation: ABCDParam,
    weights: Sequence[Tensor],
    inputs: Float[Tensor, "points features"],
    targets: Float[Tensor, "trained"],
    *,
    update: UpdateFunction,
    learning_rate: float,
    steps: int = 1,
    activation: Activation = torch.relu,
    loss_derivative: LossDerivative = squared_error,
) -> TrainingRecord:
    """Full-batch training on the mean loss of the first inputs, as many as there are targets; the others are watched.

    Args:
        parametrisation: exponents of the layers.
        weights: from `initial_weights`; they stay as they are.
        inputs: trained on, then watched.
        targets: of the inputs trained on.
        update: Q.
        learning_rate: eta, alike for all widths.
        steps: of training.
        activation: phi.
        loss_derivative: of one output and its target, by the output.

    Raises:
        InputError: more targets than inputs, or none; numbers not finite, or of another dtype than the weights.
    """
    check_data(inputs, targets)
    if inputs.dtype != weights[0].dtype:
        raise InputError(f"inputs: of the weights' dtype {weights[0].dtype}, got {inputs.dtype}; convert one of them")
    trained, width = len(targets), weights[0].shape[-2]
    weights = [weight.detach() for weight in weights]
    states: list[State] = [()] * len(weights)
    with torch.no_grad():
        outputs, start = forward(parametrisation, weights, inputs, activation=activation)
    record, changes = [outputs], [outputs.new_zeros(len(outputs), len(start))]
    for _ in range(steps):
        leaves = [weight.requires_grad_() for weight in weights]
        fitted, _ = forward(parametrisation, leaves, inputs[:trained], activation=activation)
        slopes = loss_derivative(fitted.detach(), targets) / trained
        gradients = torch.autograd.grad((fitted * slopes).sum(), leaves)
        with torch.no_grad():
            for k, layer in enumerate(parametrisation.layers):
                step, states[k] = update(gradients[k] * width**layer.d, states[k])
                weights[k] = weights[k].detach() - learning_rate * width**-layer.c * step
            outputs, hidden = forward(parametrisation, weights, inputs, activation=activation)
        record.append(outputs)
        moved = [(now - before).square().mean((1, 2)).sqrt() for now, before in zip(hidden, start, strict=True)]
        changes.append(torch.stack(moved, 1))
    return TrainingRecord(warn_of_divergence(torch.stack(record)), torch.stack(changes))


def check_data(inputs: Tensor, targets: Tensor) -> None:
    """Refuse targets that do not belong to the first inputs, and numbers that are not finite."""
    if not 1 <= len(targets) <= len(inputs):
        raise InputError(f"targets: of the first inputs, 1 to {len(inputs)}, got {len(targets)}")
    if not bool(inputs.isfinite().all() and targets.isfinite().all()):
        raise InputError("inputs, targets: finite numbers only, got inf or nan; clean the data")


def warn_of_divergence(outputs: Tensor) -> Tensor:
    """The same outputs; a warning where they are not finite."""
    if not bool(outputs.isfinite().all()):
        warnings.warn("training diverged: outputs are not finite; lower the rate", NumericalWarning, stacklevel=3)
    return outputs
