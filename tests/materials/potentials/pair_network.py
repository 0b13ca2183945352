"""Analytic networks whose energies, forces and stresses are known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polyad.graphs.points import PointGraph


class LennardJones(nn.Module):
    """Half of every pair's energy to each of its atoms; cut at the neighbour list's cutoff, shifted like ASE's."""

    def __init__(self, cutoff: float = 3.0, *, sigma: float = 1.0) -> None:
        super().__init__()
        self.epsilon = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        self.cutoff, self.sigma = cutoff, sigma

    def forward(self, graph: PointGraph) -> Tensor:
        power, end = (graph.distances() / self.sigma) ** -6, (self.cutoff / self.sigma) ** -6
        pair = 4 * self.epsilon * (power**2 - power - (end**2 - end))
        return graph.sum_messages(0.5 * pair)


class Springs(nn.Module):
    """Many-body: the square of every atom's coordination, by Gaussians, and of its kind."""

    def forward(self, graph: PointGraph) -> Tensor:
        received = graph.sum_messages(torch.exp(-graph.distances().square()) * (1 + graph.kind[graph.edge_index[0]]))
        return received.square() + 0.1 * graph.kind
