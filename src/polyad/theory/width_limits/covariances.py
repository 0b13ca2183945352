"""Covariances of a perceptron's coordinates in the infinite-width limit, forwards and backwards, and its NTK.

    C_1 = X X^T,    C_{l+1} = E[phi(h) phi(h)^T],    h ~ N(0, C_l)
    D_L = 1 1^T,    D_{l-1} = D_l * E[phi'(h) phi'(h)^T],    h ~ N(0, C_l)

C_l is the covariance, over the inputs, of a coordinate of h_l; D_l that of sqrt(n) dloss/dphi(h_l), with the output
layer at variance one. Both are exact for ReLU (arc-cosine kernels) and by Gauss-Hermite quadrature for smooth phi.

Source: Cho and Saul, Kernel methods for deep learning, NeurIPS 2009; Jacot, Gabriel, Hongler, Neural tangent kernel,
NeurIPS 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError

NODES = 80
"""Of the quadrature, each way; tanh and its derivative to seven digits or more at variances about 1."""


@final
@dataclass(frozen=True)
class GaussianRecursion:
    """Both recursions, from the input to the output.

    Args:
        forward: C_1, ..., C_L and the covariance of the output at the start.
        backward: D_1, ..., D_L.
        gradients: E[dh_l dh_l^T] = D_l * E[phi' phi'^T], layer by layer.
    """

    forward: tuple[Tensor, ...]
    backward: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]


def covariance_recursion(
    inputs: Float[Tensor, "points features"],
    *,
    depth: int,
    activation: Callable[[Tensor], Tensor] = torch.relu,
) -> GaussianRecursion:
    """Covariances of all layers, in float64.

    Args:
        inputs: one row each.
        depth: weight matrices, so that there are depth - 1 hidden layers.
        activation: phi; `torch.relu`, or a smooth one that autograd knows.

    Raises:
        InputError: a depth below 2, or inputs that are not finite.
    """
    if depth < 2:
        raise InputError(f"depth: an input and an output layer at least, got {depth}")
    if not bool(inputs.isfinite().all()):
        raise InputError("inputs: finite numbers only, got inf or nan; clean the data")
    inputs = inputs.double()
    forward, moments = [inputs @ inputs.T], []
    for _ in range(depth - 1):
        values, slopes = activation_moments(forward[-1], activation)
        forward.append(values)
        moments.append(slopes)
    backward = [torch.ones_like(forward[0])]
    for slopes in reversed(moments[1:]):
        backward.append(backward[-1] * slopes)
    backward.reverse()
    gradients = tuple(outer * slopes for outer, slopes in zip(backward, moments, strict=True))
    return GaussianRecursion(tuple(forward), tuple(backward), gradients)


def tangent_kernel(
    inputs: Float[Tensor, "points features"],
    *,
    depth: int,
    activation: Callable[[Tensor], Tensor] = torch.relu,
) -> Float[Tensor, "points points"]:
    """Neural tangent kernel of the infinitely wide network (weights of variance one, h_1 = W_1 x)."""
    found = covariance_recursion(inputs, depth=depth, activation=activation)
    return sum(layer_kernels(inputs, found), torch.zeros_like(found.forward[0]))


def layer_kernels(inputs: Tensor, found: GaussianRecursion) -> list[Tensor]:
    """What each layer adds to the tangent kernel, input layer first."""
    rights = [inputs.double() @ inputs.double().T, *found.forward[1:]]
    lefts = [*found.gradients, torch.ones_like(rights[0])]
    return [left * right for left, right in zip(lefts, rights, strict=True)]


def activation_moments(
    covariance: Float[Tensor, "m m"], activation: Callable[[Tensor], Tensor]
) -> tuple[Float[Tensor, "m m"], Float[Tensor, "m m"]]:
    """E[phi(h) phi(h)^T] and E[phi'(h) phi'(h)^T] of h ~ N(0, covariance)."""
    scale = covariance.diagonal().sqrt()
    lengths = torch.outer(scale, scale)
    cosine = (covariance / lengths.clamp_min(torch.finfo(covariance.dtype).tiny)).clamp(-1, 1)
    cosine.fill_diagonal_(1)
    if activation in (torch.relu, torch.nn.functional.relu):
        angle = torch.arccos(cosine)
        values = lengths * (torch.sin(angle) + (math.pi - angle) * cosine) / (2 * math.pi)
        return values, (math.pi - angle) / (2 * math.pi)
    nodes, weights = (torch.from_numpy(part).to(covariance) for part in np.polynomial.hermite_e.hermegauss(NODES))
    weights = weights / math.sqrt(2 * math.pi)
    sine = (1 - cosine**2).sqrt()
    first = scale[:, None] * nodes  # points, nodes
    second = scale[:, None, None, None] * (cosine[..., None, None] * nodes[:, None] + sine[..., None, None] * nodes)
    found = []
    for function in (activation, lambda h: derivative(activation, h)):
        inner = function(second) @ weights  # of the second variable, given the first
        found.append(torch.einsum("jp,ijp,p->ij", function(first), inner, weights))
    return found[0], found[1]


def derivative(activation: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """phi' of every entry."""
    with torch.enable_grad():
        leaf = values.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(activation(leaf).sum(), leaf)
    return slopes
