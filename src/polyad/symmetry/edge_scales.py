"""What an edge knows without its direction, and the factors that a network makes of it.

    t_ij = (Gaussians of the distance, embedding of the source's kind, embedding of the target's kind)
    factors of SO(2) maps  =  1 + perceptron(t_ij),   one for every pair (m, l) and channel

so that the weights of a convolution depend on distance and elements. Source: S. Passaro and C. L. Zitnick, ICML 2023,
arXiv:2302.03655, section 4.

When not to use it: for distances whose derivatives must vanish at the cutoff; multiply messages by a window.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.graphs.points import PointGraph
from polyad.symmetry.radial import gaussian


@final
class EdgeEmbedding(nn.Module):
    """Invariant features of every edge, (edges, size): `radial` Gaussians and `channels` numbers of both kinds.

    Weights come from torch's global generator; build it inside `polyad.symmetry.initialisation.seeded`.
    """

    def __init__(self, kinds: int, *, cutoff: float, radial: int, channels: int) -> None:
        super().__init__()
        self.cutoff, self.radial, self.size = float(cutoff), radial, radial + 2 * channels
        self.source, self.target = (nn.Parameter(torch.randn(kinds, channels)) for _ in range(2))

    def forward(self, graph: PointGraph) -> Float[Tensor, "edges features"]:
        """The features of a graph's edges."""
        kinds = graph.kind[graph.edge_index]
        basis = gaussian(graph.distances(), self.radial, self.cutoff)
        return torch.cat([basis, self.source[kinds[0]], self.target[kinds[1]]], dim=-1)


@final
class EdgeScales(nn.Module):
    """1 + perceptron of an edge's features, as (edges, pairs, channels): the `scales` of an `SO2Linear`."""

    def __init__(self, features: int, pairs: int, channels: int, *, hidden: int) -> None:
        super().__init__()
        self.shape = (pairs, channels)
        self.network = nn.Sequential(
            nn.Linear(features, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, pairs * channels),
        )

    def forward(self, features: Float[Tensor, "edges features"]) -> Float[Tensor, "edges pairs channels"]:
        """The factors."""
        return 1 + self.network(features).unflatten(-1, self.shape)
