"""Baselines that see edge directions as plain numbers: no symmetry is built in.

    CGC      x_i <- x_i + (1/c) sum over j of sigmoid(W1 z_ij + b1) * softplus(W2 z_ij + b2),   z = (x_i, x_j, e_ij)
    NNConv   x_i <- SiLU( W x_i + (1/c) sum over j of T(e_ij) x_j ),     T a perceptron to w x w matrices

with e_ij the unit vector of the edge and the Gaussian bases of its length and radius, and c the mean number of
neighbours in the data. Both are averaged over the nodes and end in a layer norm and a perceptron of the numbers asked
for (without either, first predictions are a hundred times too large). Turning a structure changes the result in ways
that only data can teach; the `augment` of a training does so.

Sources: T. Xie and J. C. Grossman, Phys. Rev. Lett. 120 (2018) 145301; J. Gilmer et al., ICML 2017, arXiv:1704.01212
(edge networks); both as baselines of I. Grega et al., ICLR 2024, arXiv:2401.16914.

*When not to use them*: for a tensor that must turn with its structure. They are here to be compared with.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph, check_neighbors
from polyad.materials.properties.edges import edge_basis
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.irreps import Irreps


@final
class CGC(nn.Module):
    """Gated crystal-graph convolutions, `PointGraph` -> (structures, out.dim).

    Args:
        kinds: number of elements; lattices have one.
        cutoff: length up to which the length basis reaches.
        out: irreps of the result; only their number counts.
        neighbors: mean number of edges that end in a node.
        radius: largest strut radius; None for structures without one.
        width: numbers on a node.
        layers: convolutions.
        basis: Gaussians for lengths, and as many for radii.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        out: Irreps,
        neighbors: float = 4.0,
        radius: float | None = None,
        width: int = 128,
        layers: int = 3,
        basis: int = 6,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check("CGC", neighbors, kinds, width, layers, basis - 1)
        self.cutoff, self.radius, self.neighbors = float(cutoff), radius, neighbors
        self.basis, self.width = basis, width
        edges = 3 + basis * (1 if radius is None else 2)
        with seeded(seed):
            self.element = nn.Embedding(kinds, width)
            self.nodes = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(layers))
            self.edges = nn.ModuleList(nn.Linear(edges, 2 * width, bias=False) for _ in range(layers))
            self.head = _head(width, out.dim)

    def forward(self, graph: PointGraph) -> Float[Tensor, "structures features"]:
        """The numbers of every structure."""
        edges = _edge_features(graph, self.basis, self.cutoff, self.radius)
        state = self.element(graph.kind)
        source, target = graph.edge_index
        for of_nodes, of_edges in zip(self.nodes, self.edges, strict=True):
            # W z of the three parts of z apart: those of nodes once a node and not once an edge
            sent, own = of_nodes(state).split(2 * self.width, dim=1)
            mixed = sent.index_select(0, source) + own.index_select(0, target) + of_edges(edges)
            gates, values = mixed.split(self.width, dim=1)
            received = graph.sum_messages(torch.sigmoid(gates) * nn.functional.softplus(values))
            state = state + received / self.neighbors
        return self.head(graph.mean_nodes(state))


@final
class NNConv(nn.Module):
    """Convolutions with a matrix on every edge, `PointGraph` -> (structures, out.dim).

    Args:
        kinds: number of elements; lattices have one.
        cutoff: length up to which the length basis reaches.
        out: irreps of the result; only their number counts.
        neighbors: mean number of edges that end in a node.
        radius: largest strut radius; None for structures without one.
        width: numbers on a node; the cost of an edge grows as its square.
        layers: convolutions.
        hidden: width of the perceptron of the edges.
        basis: Gaussians for lengths, and as many for radii.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        out: Irreps,
        neighbors: float = 4.0,
        radius: float | None = None,
        width: int = 32,
        layers: int = 3,
        hidden: int = 64,
        basis: int = 6,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check("NNConv", neighbors, kinds, width, layers, hidden, basis - 1)
        self.cutoff, self.radius, self.neighbors = float(cutoff), radius, neighbors
        self.basis, self.width = basis, width
        edges = 3 + basis * (1 if radius is None else 2)
        with seeded(seed):
            self.element = nn.Embedding(kinds, width)
            self.matrices = nn.ModuleList(
                nn.Sequential(nn.Linear(edges, hidden), nn.SiLU(), nn.Linear(hidden, width * width))
                for _ in range(layers)
            )
            self.own = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
            self.head = _head(width, out.dim)

    def forward(self, graph: PointGraph) -> Float[Tensor, "structures features"]:
        """The numbers of every structure."""
        edges = _edge_features(graph, self.basis, self.cutoff, self.radius)
        state = self.element(graph.kind)
        for matrices, own in zip(self.matrices, self.own, strict=True):
            kernel = matrices(edges).view(-1, self.width, self.width)
            sent = (kernel @ state.index_select(0, graph.edge_index[0])[..., None])[..., 0]
            state = nn.functional.silu(own(state) + graph.sum_messages(sent) / self.neighbors)
        return self.head(graph.mean_nodes(state))


def _edge_features(graph: PointGraph, basis: int, cutoff: float, radius: float | None) -> Tensor:
    direction = graph.vectors / graph.distances()[:, None].clamp_min(1e-12)
    return torch.cat([direction, edge_basis(graph, size=basis, cutoff=cutoff, radius=radius)], dim=1)


def _head(width: int, numbers: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, numbers))


def _check(name: str, neighbors: float, *sizes: int) -> None:
    check_neighbors(neighbors)
    if min(sizes) < 1:
        raise InputError(f"{name}: sizes {sizes} were given; give at least 1 of each, and 2 of basis")
