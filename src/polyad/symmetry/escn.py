"""The eSCN block: messages through two SO(2) convolutions with an activation on the sphere between them.

For an edge from j to i, with features of both side by side and D the turn of the edge to the pole
(`polyad.symmetry.so2`):

    m_ij = D' SO2( act( SO2( D (x_j, x_i) ) ) )          act: to a grid, SiLU at every point, back to |m| <= mmax
    x_i <- x_i + project( F( x_i(g), sum over j of w(d_ij) m_ij(g) ) )      F: a perceptron over the channels of a point

and what is read out of a node are means over the sphere of a perceptron f of its channels,

    scalar = mean of f(x(g)),    vector = mean of f(x(g)) g.

w is a window that ends at the cutoff. The convolutions alone commute with rotations exactly; activations on the grid do
so up to its error, which falls with the grid's degree.

Paper: S. Passaro and C. L. Zitnick, "Reducing SO(3) convolutions to SO(2) for efficient equivariant GNNs", ICML 2023,
arXiv:2302.03655, section 4.

*Deviations*: Gauss-Legendre grids, where the authors' code takes other points; messages end smoothly at the cutoff; the
sum of messages is divided by the square root of the mean number of neighbours.

*When not to use it*: where energies may not jump at all: the roll of an edge's frame does when the edge passes the
equator, and what is left of it after the grid is of the size of the grid's error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.symmetry.activations import root_mean_square
from polyad.symmetry.edge_scales import EdgeScales
from polyad.symmetry.feature_grid import FeatureGrid
from polyad.symmetry.so2 import EdgeFrames, SO2Linear


@final
class ESCNMessage(nn.Module):
    """Messages of all edges, (edges, harmonics, channels), from the features of both ends.

    Args:
        channels: of the features.
        hidden: channels between the two convolutions.
        lmax: largest degree.
        mmax: largest order in the edges' frames.
        degree: of the grid.
        edge_features: size of the edges' invariant features.
        edge_hidden: hidden size of the perceptrons that make factors of them.
        reflections: leave out what would break them.
        generator: of the convolutions' weights; all else draws from torch's.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        lmax: int,
        *,
        mmax: int,
        degree: int,
        edge_features: int,
        edge_hidden: int,
        generator: torch.Generator,
        reflections: bool = False,
    ) -> None:
        super().__init__()
        self.grid = FeatureGrid(lmax, degree, mmax)
        self.first, self.second = (
            SO2Linear(a, b, lmax, mmax=mmax, reflections=reflections, generator=generator)
            for a, b in ((2 * channels, hidden), (hidden, channels))
        )
        self.scales = nn.ModuleList(
            EdgeScales(edge_features, layer.pairs, layer.channels_in, hidden=edge_hidden)
            for layer in (self.first, self.second)
        )

    def forward(
        self,
        features: Float[Tensor, "nodes harmonics channels"],
        edge_index: Int[Tensor, "2 edges"],
        frames: EdgeFrames,
        edge_features: Float[Tensor, "edges edge_features"],
    ) -> Float[Tensor, "edges harmonics channels"]:
        """What every edge carries to its target."""
        source, target = (features.index_select(0, end) for end in edge_index)
        inside = frames.to_frame(torch.cat([source, target], dim=-1).mT)
        hidden, _ = self.first(inside, scales=self.scales[0](edge_features))
        hidden = self.grid.from_grid(nn.functional.silu(self.grid.to_grid(hidden)))
        message, _ = self.second(hidden, scales=self.scales[1](edge_features))
        return frames.from_frame(message).mT


@final
class ESCNBlock(nn.Module):
    """One round of messages and the update of the nodes, (nodes, harmonics, channels) to the same.

    `message` is any module with the call of `ESCNMessage`; `neighbors` is the mean number of neighbours in the data.
    """

    def __init__(self, message: nn.Module, channels: int, lmax: int, *, degree: int, neighbors: float) -> None:
        super().__init__()
        self.message, self.neighbors = message, neighbors
        self.grid = FeatureGrid(lmax, degree)
        self.update = point_perceptron([2 * channels, channels, channels, channels])

    def forward(
        self,
        features: Float[Tensor, "nodes harmonics channels"],
        edge_index: Int[Tensor, "2 edges"],
        frames: EdgeFrames,
        edge_features: Float[Tensor, "edges edge_features"],
        window: Float[Tensor, " edges"],
    ) -> Float[Tensor, "nodes harmonics channels"]:
        """The features after the round."""
        messages = self.message(features, edge_index, frames, edge_features) * window[:, None, None]
        received = torch.zeros_like(features).index_add(0, edge_index[1], messages) / math.sqrt(self.neighbors)
        values = self.update(self.grid.to_grid(torch.cat([features, received], dim=-1)))
        return features + self.grid.from_grid(values)


@final
class SphereReadout(nn.Module):
    """A perceptron of a node's channels at every point of the sphere, and its means."""

    def __init__(self, channels: int, lmax: int, *, degree: int) -> None:
        super().__init__()
        self.grid = FeatureGrid(lmax, degree)
        self.network = point_perceptron([channels, channels, channels, 1])

    def scalars(self, features: Float[Tensor, "nodes harmonics channels"]) -> Float[Tensor, " nodes"]:
        """The mean over the sphere: an energy."""
        return self.grid.mean(self.network(self.grid.to_grid(features)))[:, 0]

    def vectors(self, features: Float[Tensor, "nodes harmonics channels"]) -> Float[Tensor, "nodes 3"]:
        """The mean of value times direction: a force."""
        values = self.network(self.grid.to_grid(features))
        return self.grid.mean(values * self.grid.directions(values))


def point_perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Linear maps of the last axis with SiLU between them; weights, from torch's global generator, keep variances."""
    layers: list[nn.Module] = []
    for number, (a, b) in enumerate(pairwise(sizes)):
        linear = nn.Linear(a, b)
        gain = 1 / root_mean_square(nn.functional.silu) if number else 1.0
        nn.init.normal_(linear.weight, std=gain / math.sqrt(a))
        nn.init.zeros_(linear.bias)
        layers += [nn.SiLU(), linear] if number else [linear]
    return nn.Sequential(*layers)
