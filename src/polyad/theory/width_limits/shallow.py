"""The muP limit of a network with one hidden layer, by the Monte-Carlo average over virtual neurons.

A neuron is a sample of (u, v) ~ N(0, 1), its weights in and out. In the limit the output is the mean of v phi(u x),
which vanishes at the start, and a neuron moves by its own gradients alone,

    u <- u - eta Q(mean_b chi_b v phi'(u x_b) x_b),    v <- v - eta Q(mean_b chi_b phi(u x_b)).

Every u is drawn with v and with -v, so that the output at the start is 0 as in the limit. Deeper limits need the
correlation of W and W^T; `tensor_program` has the rules, one step at a time.

Source: Yang and Littwin, Tensor Programs IVb, 2023, arXiv:2308.01814.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.theory.width_limits.covariances import derivative
from polyad.theory.width_limits.networks import (
    Activation,
    LossDerivative,
    check_data,
    squared_error,
    warn_of_divergence,
)
from polyad.theory.width_limits.updates import State, UpdateFunction


@final
@dataclass(frozen=True)
class ShallowLimit:
    """A training in the limit; the first place is the state before it.

    Args:
        outputs: at every input.
        changes: root mean square, over neurons and inputs, of the change of the hidden coordinate u x.
    """

    outputs: Float[Tensor, "steps_and_one points"]
    changes: Float[Tensor, "steps_and_one"]


def mup_limit_shallow(
    inputs: Float[Tensor, "points features"],
    targets: Float[Tensor, "trained"],
    *,
    update: UpdateFunction,
    learning_rate: float,
    steps: int,
    samples: int = 100_000,
    activation: Activation = torch.relu,
    loss_derivative: LossDerivative = squared_error,
    seed: int = 0,
) -> ShallowLimit:
    """Full-batch training on the mean loss of the first inputs; the others are watched.

    Args:
        inputs: trained on, then watched.
        targets: of the inputs trained on.
        update: Q.
        learning_rate: eta.
        steps: of training.
        samples: virtual neurons, rounded up to pairs.
        activation: phi.
        loss_derivative: of one output and its target, by the output.
        seed: of the draws.

    Raises:
        InputError: more targets than inputs, or none; numbers that are not finite; no samples.
    """
    check_data(inputs, targets)
    trained = len(targets)
    if samples < 1:
        raise InputError(f"samples: 1 or more, got {samples}")
    generator = torch.Generator().manual_seed(seed)
    pairs, kind = (samples + 1) // 2, inputs.dtype
    u = torch.randn(pairs, inputs.shape[1], generator=generator, dtype=kind).repeat(2, 1)
    v = torch.randn(pairs, generator=generator, dtype=kind)
    v = torch.cat([v, -v])
    start = hidden = u @ inputs.T
    outputs, changes = [v @ activation(hidden) / len(v)], [torch.zeros((), dtype=kind)]
    states: tuple[State, State] = ((), ())
    for _ in range(steps):
        chi = loss_derivative(outputs[-1][:trained], targets) / trained
        seen = hidden[:, :trained]
        step_u, state_u = update((v[:, None] * derivative(activation, seen) * chi) @ inputs[:trained], states[0])
        step_v, state_v = update(activation(seen) @ chi, states[1])
        u, v, states = u - learning_rate * step_u, v - learning_rate * step_v, (state_u, state_v)
        hidden = u @ inputs.T
        outputs.append(v @ activation(hidden) / len(v))
        changes.append((hidden - start).square().mean().sqrt())
    return ShallowLimit(warn_of_divergence(torch.stack(outputs)), torch.stack(changes))
