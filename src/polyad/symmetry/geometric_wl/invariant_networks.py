"""Minimal invariant networks: nodes hold scalars, and messages see distances, or distances and angles.

    SchNet-like    h_i <- h_i + phi( sum over j of f(d_ij) * W h_j )                                    body order 2
    DimeNet-like   h_i <- h_i + phi( sum over j, k of f(d_ij, d_ik, cos angle) * W h_j * W h_k )        body order 3

with perceptrons f, phi, and Bessel functions of d. The sum over nodes goes through a perceptron to the outputs.

Sources: K. Schuett et al., SchNet, J. Chem. Phys. 148 (2018) 241722; J. Gasteiger, J. Gross and S. Guennemann, DimeNet,
ICLR 2020, arXiv:2003.03123.

*Deviations*: DimeNet's messages live on edges and pass a perceptron there, so that an edge knows the multiset of its
own angles, which is more than triangles; here the sum runs over triangles of the node, which is body order 3 exactly.

*When not to use it*: for work; these are specimens, of which the tests of this package say what they can do.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.graphs.points import PointGraph
from polyad.symmetry.geometric_wl.specimens import RADIAL, check_sizes, distance_basis, perceptron
from polyad.symmetry.initialisation import seeded

_COSINES = 4  # powers of the cosine of an angle, from 0


@final
class SchNetLike(nn.Module):
    """Scalars and distances.

    Args:
        channels: scalars of a node.
        layers: rounds of messages.
        outputs: numbers for a structure.
        kinds: of nodes.
        cutoff: longest edge.
        seed: of the weights.
    """

    def __init__(
        self, *, channels: int = 32, layers: int, outputs: int = 2, kinds: int = 1, cutoff: float = 10.0, seed: int = 0
    ) -> None:
        super().__init__()
        check_sizes(channels, layers, outputs, kinds)
        self.cutoff = float(cutoff)
        with seeded(seed):
            self.element = nn.Embedding(kinds, channels)
            self.filters = nn.ModuleList(perceptron(RADIAL, channels, channels) for _ in range(layers))
            self.senders = nn.ModuleList(nn.Linear(channels, channels) for _ in range(layers))
            self.updates = nn.ModuleList(perceptron(channels, channels, channels) for _ in range(layers))
            self.head = perceptron(channels, channels, outputs)

    def forward(self, graph: PointGraph) -> Float[Tensor, "structures outputs"]:
        """Outputs for every structure."""
        basis, state = distance_basis(graph, self.cutoff), self.element(graph.kind)
        for filters, sender, update in zip(self.filters, self.senders, self.updates, strict=True):
            messages = filters(basis) * sender(state).index_select(0, graph.edge_index[0])
            state = state + update(graph.sum_messages(messages))
        return self.head(graph.sum_nodes(state))


@final
class DimeNetLike(nn.Module):
    """Scalars, distances and the angles between two edges of a node; arguments as of `SchNetLike`."""

    def __init__(
        self, *, channels: int = 32, layers: int, outputs: int = 2, kinds: int = 1, cutoff: float = 10.0, seed: int = 0
    ) -> None:
        super().__init__()
        check_sizes(channels, layers, outputs, kinds)
        self.cutoff = float(cutoff)
        with seeded(seed):
            self.element = nn.Embedding(kinds, channels)
            self.filters = nn.ModuleList(
                perceptron(2 * RADIAL + _COSINES, channels, channels) for _ in range(layers)
            )  # fmt: skip
            self.senders = nn.ModuleList(nn.Linear(channels, channels) for _ in range(layers))
            self.updates = nn.ModuleList(perceptron(channels, channels, channels) for _ in range(layers))
            self.head = perceptron(channels, channels, outputs)

    def forward(self, graph: PointGraph) -> Float[Tensor, "structures outputs"]:
        """Outputs for every structure."""
        basis, state = distance_basis(graph, self.cutoff), self.element(graph.kind)
        source, target = graph.edge_index
        one, other = (target[:, None] == target).nonzero().T  # all pairs of edges into a node, an edge with itself too
        units = graph.vectors / graph.distances()[:, None]
        cosine = (units[one] * units[other]).sum(-1, keepdim=True)
        seen = torch.cat([basis[one], basis[other], *(cosine**power for power in range(_COSINES))], dim=-1)
        for filters, sender, update in zip(self.filters, self.senders, self.updates, strict=True):
            sent = sender(state).index_select(0, source)
            messages = filters(seen) * sent[one] * sent[other]
            received = torch.zeros_like(state).index_add(0, target[one], messages)
            state = state + update(received)
        return self.head(graph.sum_nodes(state))
