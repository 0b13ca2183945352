"""The kernel limit of entrywise-adaptive training: features freeze, and a nonlinear kernel moves the output.

In the NTP, one step on a batch changes the output by -eta sum_l K_l, with

    K_l(x) = E[dh_l(x) z_l(x) Q(mean_b chi_b dh_l(x_b) z_l(x_b))]

where z_l is the layer's input and dh_l is sqrt(n) times the backward vector, independent of each other, with the laws
of `covariances`; chi is the derivative of the loss by the output. The input layer sums over the input's coordinates in
the place of the mean over z, the output layer has dh = 1. Q = id gives the neural tangent kernel. Features do not move,
so an optimiser with a memory runs over the same (dh, z) with chi of every step.

Both expectations are averages over scrambled Sobol points, every dh with every z. As far as Q is linear, it is taken
out and put back by the exact tangent kernel (a control variate), so that Q = id is exact.

Source: Yang and Littwin, Tensor Programs IVb, 2023, arXiv:2308.01814.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.theory.width_limits.covariances import covariance_recursion, derivative, layer_kernels
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
class LayerPairs:
    """Nodes of one layer's expectation: dh (rows of `left`) and z (rows of `right`) at all points, and the NTK's part.

    Args:
        left: dh at every point; the mean over rows is taken.
        right: z at every point; the sum over rows is taken, times `weight`.
        weight: 1 over the rows of `right`, or 1 in the input layer.
        kernel: what the layer adds to the neural tangent kernel.
    """

    left: Float[Tensor, "nodes points"]
    right: Float[Tensor, "others points"]
    weight: float
    kernel: Float[Tensor, "points points"]


def adaptive_kernel(
    points: Float[Tensor, "points features"],
    batch: Float[Tensor, "batch features"],
    update: UpdateFunction,
    *,
    slopes: Float[Tensor, "members"] | None = None,
    depth: int = 3,
    activation: Activation = torch.relu,
    samples: int = 4096,
    seed: int = 0,
    control: bool = True,
) -> Float[Tensor, "layers points"]:
    """K_l of the first step, layer by layer; the output moves by -eta times their sum.

    Args:
        points: where the output is watched.
        batch: that the step is made on.
        update: Q.
        slopes: chi, the derivative of the loss by the output at each member of the batch; ones if None.
        depth: weight matrices.
        activation: phi.
        samples: of dh and of z, each with each.
        seed: of the scrambling.
        control: take out the linear part of Q, as the module says.

    Raises:
        InputError: slopes that are not one a member, or fewer than 2 samples.
    """
    chi = torch.ones(len(batch)) if slopes is None else slopes
    if len(chi) != len(batch):
        raise InputError(f"slopes: one for each of the {len(batch)} members of the batch, got {len(chi)}")
    layers = layer_pairs(torch.cat([batch, points]), depth=depth, activation=activation, samples=samples, seed=seed)
    moved = [_layer_step(layer, chi.double(), update, (), control)[0] for layer in layers]
    return torch.stack(moved)[:, len(batch) :]


def kernel_dynamics(
    inputs: Float[Tensor, "points features"],
    targets: Float[Tensor, "trained"],
    initial_outputs: Float[Tensor, "points"],
    *,
    update: UpdateFunction,
    learning_rate: float,
    steps: int,
    depth: int = 3,
    activation: Activation = torch.relu,
    loss_derivative: LossDerivative = squared_error,
    samples: int = 1024,
    seed: int = 0,
) -> Float[Tensor, "steps_and_one points"]:
    """Outputs at all inputs over a training on the first ones, in the kernel limit of `networks.train`.

    Args:
        inputs: trained on, then watched.
        targets: of the inputs trained on.
        initial_outputs: f_0, from a network or from N(0, covariance_recursion(...).forward[-1]).
        update: Q, with its memory.
        learning_rate: eta.
        steps: of training.
        depth: weight matrices.
        activation: phi.
        loss_derivative: of one output and its target, by the output.
        samples: of dh and of z; memory and time grow with the square.
        seed: of the scrambling.

    Raises:
        InputError: more targets than inputs, or none; numbers that are not finite.
    """
    check_data(inputs, targets)
    trained = len(targets)
    layers = layer_pairs(inputs, depth=depth, activation=activation, samples=samples, seed=seed)
    states: list[State] = [()] * len(layers)
    outputs = [initial_outputs.double()]
    for _ in range(steps):
        chi = loss_derivative(outputs[-1][:trained], targets.double())
        moved = torch.zeros_like(outputs[-1])
        for k, layer in enumerate(layers):
            part, states[k] = _layer_step(layer, chi, update, states[k], True)
            moved += part
        outputs.append(outputs[-1] - learning_rate * moved)
    return warn_of_divergence(torch.stack(outputs))


def layer_pairs(
    inputs: Float[Tensor, "points features"], *, depth: int, activation: Activation, samples: int, seed: int = 0
) -> list[LayerPairs]:
    """Nodes of all layers, input layer first.

    Raises:
        InputError: fewer than 2 samples.
    """
    if samples < 2:
        raise InputError(f"samples: 2 or more, got {samples}")
    inputs = inputs.double()
    found = covariance_recursion(inputs, depth=depth, activation=activation)
    kernels = layer_kernels(inputs, found)
    one = torch.ones(1, len(inputs), dtype=torch.float64)
    pairs = []
    for k, kernel in enumerate(kernels):
        left, right, weight = one, inputs.T, 1.0
        if k < depth - 1:
            backward, hidden = _draws(found.backward[k], found.forward[k], samples=samples, seed=seed + 2 * k)
            left = backward * derivative(activation, hidden)
        if k > 0:
            (hidden,) = _draws(found.forward[k - 1], samples=samples, seed=seed + 2 * k + 1)
            right, weight = activation(hidden), 1 / samples
        pairs.append(LayerPairs(left, right, weight, kernel))
    return pairs


def _layer_step(
    layer: LayerPairs, chi: Tensor, update: Callable[..., tuple[Tensor, State]], state: State, control: bool
) -> tuple[Tensor, State]:
    """K_l at all points and the memory of all pairs; the batch are the first points."""
    size = len(chi)
    gradient = (layer.left[:, :size] * (chi / size)) @ layer.right[:, :size].T
    step, state = update(gradient, state)
    moved = torch.zeros_like(layer.kernel[0])
    if control:
        slope = _linear_part(step, gradient)
        step = step - slope * gradient
        moved = slope * (layer.kernel[:, :size] @ (chi / size))
    inner = step @ layer.right
    return moved + layer.weight * (layer.left * inner).mean(0), state


def _linear_part(step: Tensor, gradient: Tensor) -> Tensor:
    """Slope of least squares, times the share of `step` that it explains."""
    product, tiny = (step * gradient).sum(), torch.finfo(step.dtype).tiny
    norms = [part.square().sum().clamp_min(tiny) for part in (step, gradient)]
    return product**3 / norms[0] / norms[1] ** 2


def _draws(*covariances: Tensor, samples: int, seed: int) -> list[Tensor]:
    """Centred normal points of independent families with these covariances, a row a sample."""
    size = len(covariances[0])
    sobol = torch.quasirandom.SobolEngine(size * len(covariances), scramble=True, seed=seed)
    uniform = sobol.draw(samples, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    normal = torch.special.ndtri(uniform).split(size, dim=1)
    return [part @ _root(covariance) for part, covariance in zip(normal, covariances, strict=True)]


def _root(covariance: Tensor) -> Tensor:
    """R with R^T R = covariance, which may be singular; large eigenvalues take the first, best Sobol dimensions."""
    values, vectors = torch.linalg.eigh(covariance)
    root = values.clamp_min(0).sqrt()[:, None] * vectors.T
    return root.flip(0)
