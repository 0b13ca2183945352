"""Layers of the crystal transformers: attention on nodes, attention on edges over the lattice, equivariant update.

Attention is a gate for every channel, not a softmax: a sum over neighbours keeps their number. Chains of linear maps
without anything between them (projection to keys, then the map of the joined keys) are written as one map for every
part of what is joined.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.irreps import Irreps
from polyad.symmetry.linear import EquivariantLinear
from polyad.symmetry.spherical_harmonics import spherical_harmonics
from polyad.symmetry.tensor_product import DepthwiseTensorProduct


def gaussian_bins(values: Float[Tensor, "*batch"], low: float, high: float, bins: int) -> Float[Tensor, "*batch bins"]:
    """exp(-(x - mu_k)^2 / h) with centres mu_k from `low` to `high`, h apart, as in CGCNN's descendants."""
    if bins < 2 or not low < high:
        raise InputError(f"gaussian_bins: {bins} centres from {low} to {high}; give at least 2 and low < high")
    centres = torch.linspace(low, high, bins, dtype=values.dtype, device=values.device)
    return torch.exp((values[..., None] - centres).square() * (-(bins - 1) / (high - low)))


@final
class NodeTransformer(nn.Module):
    """f_i <- softplus(f_i + BN(W sum_j sigmoid(BN(q_i * k_ij / sqrt d)) * v_ij)).

    k_ij = silu(linear map of k_i, k_j and the edge), v_ij = linear map of v_i, v_j and the edge.

    Args:
        channels: of nodes and edges.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sizes = [channels, 2 * channels, 2 * channels]
        self.node = nn.Linear(channels, sum(self.sizes))
        self.edge = nn.Linear(channels, 2 * channels, bias=False)
        self.out = nn.Linear(channels, channels)
        self.score_norm, self.norm = nn.BatchNorm1d(channels), nn.BatchNorm1d(channels)

    def forward(
        self, state: Float[Tensor, "nodes channels"], edges: Float[Tensor, "edges channels"], graph: PointGraph
    ) -> Float[Tensor, "nodes channels"]:
        """The new features of the nodes."""
        source, target = graph.edge_index
        query, receiving, sending = self.node(state).split(self.sizes, dim=1)
        pair = sending.index_select(0, source) + receiving.index_select(0, target) + self.edge(edges)
        key, value = pair.chunk(2, dim=1)
        score = query.index_select(0, target) * silu(key) / math.sqrt(key.shape[1])
        received = graph.sum_messages(torch.sigmoid(self.score_norm(score)) * value)
        return softplus(state + self.norm(self.out(received)))


@final
class EdgeTransformer(nn.Module):
    """Every edge attends over e1, e2, e3: query from its length, keys and values from length, lattice length and angle.

    Each of the three has a map of its own, so that equal lengths do not make them alike.

    Args:
        channels: of edges.
        bins: of the angles.
    """

    def __init__(self, channels: int, bins: int) -> None:
        super().__init__()
        self.edge = nn.Linear(channels, 3 * channels)
        self.lattice = nn.ModuleList(nn.Linear(channels, 2 * channels) for _ in range(3))
        self.angle = nn.Linear(bins, 2 * channels, bias=False)
        self.out = nn.Linear(channels, channels)
        self.score_norm, self.norm = nn.BatchNorm1d(channels), nn.BatchNorm1d(channels)

    def forward(
        self,
        edges: Float[Tensor, "edges channels"],
        lengths: Float[Tensor, "structures 3 channels"],
        angles: Float[Tensor, "edges 3 bins"],
        structure: Int[Tensor, " edges"],
    ) -> Float[Tensor, "edges channels"]:
        """The new features of the edges.

        Args:
            edges: features of their lengths.
            lengths: features of the lengths of e1, e2, e3.
            angles: expanded cosines of every edge with e1, e2, e3.
            structure: which structure an edge is in.
        """
        channels = edges.shape[1]
        query, own = self.edge(edges).split([channels, 2 * channels], dim=1)
        lattice = torch.stack([of_one(lengths[:, k]) for k, of_one in enumerate(self.lattice)], dim=1)
        key, value = (own[:, None] + lattice.index_select(0, structure) + self.angle(angles)).chunk(2, dim=2)
        score = (query[:, None] * silu(key) / math.sqrt(channels)).flatten(0, 1)
        gate = torch.sigmoid(self.score_norm(score)).view_as(value)
        return softplus(edges + self.norm(self.out((gate * value).sum(1))))


@final
class EquivariantUpdate(nn.Module):
    """Scalars to l = 0, 1, 2 and back by two tensor products with harmonics of the edge vectors, means over neighbours.

    f_i^l = mean_j TP(f_j, Y_l(r_ji)) (with f_i added to l = 0), f_i* = mean_j sum_l TP(f_j^l, Y_l(r_ji)) to scalars,
    f_i <- softplus(BN(W f_i*)) + W' f_i. Products are channel by channel with weights from the edge's features, linear
    maps between them mix the channels.

    Args:
        channels: of nodes and edges.
        width: channels of the tensors between the two products.
    """

    def __init__(self, channels: int, width: int, *, generator: torch.Generator) -> None:
        super().__init__()
        between = Irreps.spherical(2, multiplicity=width)
        self.first = DepthwiseTensorProduct(f"{width}x0e", Irreps.spherical(2))
        self.second = DepthwiseTensorProduct(between, Irreps.spherical(2), keep="0e")
        self.width = width
        self.down = nn.Linear(channels, width)
        self.weights = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 6 * width))
        self.mix = EquivariantLinear(between, between, generator=generator)
        self.up, self.skip = nn.Linear(3 * width, channels), nn.Linear(channels, channels)
        self.norm = nn.BatchNorm1d(channels)

    def forward(
        self, state: Float[Tensor, "nodes channels"], edges: Float[Tensor, "edges channels"], graph: PointGraph
    ) -> Float[Tensor, "nodes channels"]:
        """The new scalars of the nodes."""
        source = graph.edge_index[0]
        harmonics = spherical_harmonics(graph.vectors, 2, normalization="component")
        there, back = self.weights(edges).view(len(edges), 6, self.width).split(3, dim=1)
        count = torch.bincount(graph.edge_index[1], minlength=graph.num_nodes).clamp_min(1)[:, None].to(state)
        scalars = self.down(state)
        tensors = self.first(scalars.index_select(0, source), harmonics, there, gather=graph.sum_messages) / count
        tensors = torch.cat([tensors[:, : self.width] + scalars, tensors[:, self.width :]], dim=1)
        sent = self.mix(tensors).index_select(0, source)
        received = self.second(sent, harmonics, back, gather=graph.sum_messages) / count
        return softplus(self.norm(self.up(received))) + self.skip(state)
