"""A layer of attention between nodes, its softmax over edges, and the nonlinearity between layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry._constants import constant_tables
from polyad.symmetry.linear import DegreeLinear
from polyad.symmetry.se3_transformer.kernels import EdgeBasis, EdgeKernel
from polyad.symmetry.spherical_harmonics import split_degrees


def edge_softmax(
    scores: Float[Tensor, "edges heads"],
    target: Int[Tensor, " edges"],
    num_nodes: int,
    *,
    window: Float[Tensor, " edges"] | None = None,
) -> Float[Tensor, "edges heads"]:
    """Weights of edges, normalised over those with one target.

    Without a window they sum to 1. With one, alpha = w exp(s) / (1 + sum of w exp(s)): smooth in w and s also where
    all windows of a node vanish, and then zero.
    """
    floor = -math.inf if window is None else 0.0
    index = target[:, None].expand_as(scores)
    largest = scores.new_full((num_nodes, scores.shape[1]), floor)
    # what is subtracted cancels, so no gradient flows through it
    largest = largest.scatter_reduce(0, index, scores.detach(), "amax")
    parts = (scores - largest.index_select(0, target)).exp()
    start = torch.zeros_like(largest)
    if window is not None:
        parts, start = parts * window[:, None], (-largest).exp()
    return parts / start.index_add(0, target, parts).index_select(0, target)


@final
class AttentionLayer(nn.Module):
    """One round of attention: features of degrees to `degree_in` to features of degrees to `degree_out`.

    Queries and keys have the degrees that both share, and the channels of the result.

    Args:
        channels_in, channels_out: copies of every degree.
        degree_in, degree_out: largest degrees.
        heads: into which the channels of the result are split.
        invariants: scalars of an edge, its length among them.
        hidden: width of the kernel's perceptron.
        reflections: whether the layer commutes with reflections.
        generator: of the weights.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        degree_in: int,
        degree_out: int,
        *,
        heads: int = 1,
        invariants: int = 1,
        hidden: int = 32,
        reflections: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if heads < 1 or channels_out % heads:
            raise InputError(f"heads: {channels_out} channels cannot be split into {heads} heads; give a divisor")
        self.channels, self.heads = channels_out, heads
        self.degree_out, self.degree_shared = degree_out, min(degree_in, degree_out)
        shared = self.degree_shared + 1
        self.query = DegreeLinear(channels_in, channels_out, self.degree_shared, bias=False, generator=generator)
        self.keep = DegreeLinear(channels_in, channels_out, self.degree_shared, generator=generator)
        self.kernel = EdgeKernel(
            channels_in,
            [2 * channels_out] * shared + [channels_out] * (degree_out + 1 - shared),
            degree_in,
            invariants=invariants,
            hidden=hidden,
            reflections=reflections,
            generator=generator,
        )

    def forward(
        self,
        features: Float[Tensor, "nodes c_in harmonics_in"],
        edge_index: Int[Tensor, "2 edges"],
        basis: EdgeBasis,
        invariants: Float[Tensor, "edges n"],
        *,
        window: Float[Tensor, " edges"] | None = None,
    ) -> Float[Tensor, "nodes c_out harmonics_out"]:
        """New features of the nodes."""
        weights, values = self.attend(features, edge_index, basis, invariants, window=window)
        scaled = values.unflatten(1, (self.heads, self.channels // self.heads)) * weights[..., None, None]
        kept = self.keep(features[..., : (self.degree_shared + 1) ** 2])
        kept = nn.functional.pad(kept, (0, values.shape[-1] - kept.shape[-1]))
        return kept.index_add(0, edge_index[1], scaled.flatten(1, 2))

    def attend(
        self,
        features: Float[Tensor, "nodes c_in harmonics_in"],
        edge_index: Int[Tensor, "2 edges"],
        basis: EdgeBasis,
        invariants: Float[Tensor, "edges n"],
        *,
        window: Float[Tensor, " edges"] | None = None,
    ) -> tuple[Float[Tensor, "edges heads"], Float[Tensor, "edges c_out harmonics_out"]]:
        """Weights alpha of the edges, invariant, and their values."""
        source, target = edge_index
        images = self.kernel(features.index_select(0, source), basis, invariants)
        shared = self.degree_shared + 1
        keys = torch.cat([image[:, : self.channels] for image in images[:shared]], dim=-1)
        values = torch.cat([image[:, -self.channels :] for image in images], dim=-1)
        queries = self.query(features[..., : shared**2]).index_select(0, target)
        length = self.channels // self.heads * shared**2
        scores = (queries * keys).view(-1, self.heads, length).sum(-1) / math.sqrt(length)
        return edge_softmax(scores, target, len(features), window=window), values


@final
class NormNonlinearity(nn.Module):
    """f^l <- f^l / |f^l| phi(LN(|f^l|)), with |f| = sqrt(|f|^2 + epsilon), LN over the channels of each degree.

    Args:
        channels: copies of every degree.
        lmax: largest degree.
        epsilon: under both roots, the norm's and that of LN's variance; the slope at 0 is up to 1 / sqrt(epsilon).
        activation: phi.
    """

    def __init__(
        self,
        channels: int,
        lmax: int,
        *,
        epsilon: float = 1e-5,
        activation: Callable[[Tensor], Tensor] = torch.relu,
    ) -> None:
        super().__init__()
        if not (math.isfinite(epsilon) and epsilon > 0):
            raise InputError(f"epsilon: {epsilon} was given; it must be positive, or gradients at 0 are not finite")
        self.lmax, self.epsilon, self.activation = lmax, epsilon, activation
        self.weight = nn.Parameter(torch.ones(channels, lmax + 1))
        self.bias = nn.Parameter(torch.zeros(channels, lmax + 1))

    def forward(self, features: Float[Tensor, "nodes channels harmonics"]) -> Float[Tensor, "nodes channels harmonics"]:
        """Channels first to channels first."""
        squares = [part.square().sum(-1) for part in split_degrees(features)]
        norms = (torch.stack(squares, dim=-1) + self.epsilon).sqrt()
        centred = norms - norms.mean(1, keepdim=True)
        normalised = centred * (centred.square().mean(1, keepdim=True) + self.epsilon).rsqrt()
        factors = self.activation(normalised * self.weight + self.bias) / norms
        (degree,) = _degree_of_component(features, self.lmax)
        return features * factors.index_select(-1, degree)


@constant_tables
def _degree_of_component(lmax: int) -> tuple[np.ndarray, ...]:
    return (np.repeat(np.arange(lmax + 1), 2 * np.arange(lmax + 1) + 1),)
