"""E(n)-equivariant graph network: scalars on nodes, and positions that move along differences of positions.

    m_ij = phi_e(h_i, h_j, |x_i - x_j|^2, a_ij),         gated by sigmoid(phi_a(m_ij)) with `attention`
    x_i <- x_i + phi_v(h_i) v_i + mean over j of (x_i - x_j) phi_x(m_ij)
    h_i <- h_i + phi_h(h_i, sum over j of m_ij)

Functions phi are perceptrons with SiLU. Everything that they see is invariant, and positions change by combinations of
vectors, so the map is equivariant under rotations, reflections and translations in any dimension.

Source: V. G. Satorras, E. Hoogeboom and M. Welling, ICML 2021, arXiv:2102.09844, equations 3 to 7,
C = 1 / (neighbours).

*When not to use it*: a scalar of a node knows distances alone, so layers cannot tell environments with equal distances
apart, and no output is a pseudo-vector or a tensor of higher rank.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.symmetry.initialisation import seeded


@final
class EGNN(nn.Module):
    """Layers of the network; maps scalars and positions of nodes to scalars and positions.

    Args:
        scalars: features that a node comes with.
        channels: width of everything inside.
        layers: rounds of messages.
        edge_scalars: features that an edge comes with.
        outputs: scalars that a node leaves with; None leaves with `channels`, without a last linear map.
        velocities: whether velocities are given.
        attention: whether messages are gated.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        scalars: int,
        channels: int = 64,
        layers: int = 4,
        edge_scalars: int = 0,
        outputs: int | None = None,
        velocities: bool = False,
        attention: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(scalars, channels, layers) < 1 or edge_scalars < 0 or (outputs is not None and outputs < 1):
            raise InputError(
                f"EGNN: scalars {scalars}, channels {channels}, layers {layers}, edge_scalars {edge_scalars}, "
                f"outputs {outputs}; give positive numbers"
            )
        self.scalars, self.edge_scalars, self.velocities = scalars, edge_scalars, velocities
        with seeded(seed):
            self.embedding = nn.Linear(scalars, channels)
            self.layers = nn.ModuleList(
                _Layer(channels, edge_scalars, velocities=velocities, attention=attention) for _ in range(layers)
            )
            self.head = nn.Identity() if outputs is None else nn.Linear(channels, outputs)

    def forward(
        self,
        scalars: Float[Tensor, "nodes features"],
        positions: Float[Tensor, "nodes d"],
        edge_index: Int[Tensor, "2 edges"],
        edge_scalars: Float[Tensor, "edges edge_features"] | None = None,
        velocities: Float[Tensor, "nodes d"] | None = None,
    ) -> tuple[Float[Tensor, "nodes outputs"], Float[Tensor, "nodes d"]]:
        """Scalars and positions after all layers; edges run from source to target, which receives the message.

        Raises:
            InputError: features of another number than the network was made for, or velocities missing or too many.
        """
        given = 0 if edge_scalars is None else edge_scalars.shape[1]
        if scalars.shape[1] != self.scalars or given != self.edge_scalars:
            raise InputError(
                f"EGNN: {scalars.shape[1]} scalars a node and {given} an edge were given; "
                f"the network takes {self.scalars} and {self.edge_scalars}"
            )
        if (velocities is not None) != self.velocities:
            raise InputError(f"EGNN: made with velocities={self.velocities}; give velocities exactly when it is True")
        features = self.embedding(scalars)
        received = torch.bincount(edge_index[1], minlength=len(positions)).clamp_min(1)
        share = received.to(positions.dtype).reciprocal()[:, None]
        for layer in self.layers:
            features, positions = layer(features, positions, edge_index, edge_scalars, velocities, share)
        return self.head(features), positions


class _Layer(nn.Module):
    """One round of messages."""

    def __init__(self, channels: int, edge_scalars: int, *, velocities: bool, attention: bool) -> None:
        super().__init__()
        self.message = nn.Sequential(
            nn.Linear(2 * channels + 1 + edge_scalars, channels), nn.SiLU(), nn.Linear(channels, channels), nn.SiLU()
        )
        self.gate = nn.Sequential(nn.Linear(channels, 1), nn.Sigmoid()) if attention else None
        self.update = _perceptron(2 * channels, channels, channels)
        self.along = _perceptron(channels, channels, 1, bias=False)
        for weight in self.along[2].parameters():
            nn.init.xavier_uniform_(weight, gain=1e-3)  # positions hardly move at the start
        self.speed = _perceptron(channels, channels, 1) if velocities else None

    def forward(
        self,
        features: Tensor,
        positions: Tensor,
        edge_index: Tensor,
        edge_scalars: Tensor | None,
        velocities: Tensor | None,
        share: Tensor,
    ) -> tuple[Tensor, Tensor]:
        source, target = edge_index
        difference = positions.index_select(0, target) - positions.index_select(0, source)
        seen = [features.index_select(0, target), features.index_select(0, source)]
        seen.append(difference.square().sum(-1, keepdim=True))
        message = self.message(torch.cat(seen if edge_scalars is None else [*seen, edge_scalars], dim=-1))
        if self.gate is not None:
            message = message * self.gate(message)
        push = torch.zeros_like(positions).index_add(0, target, difference * self.along(message))
        moved = positions + share * push
        if self.speed is not None and velocities is not None:
            moved = moved + self.speed(features) * velocities
        received = torch.zeros_like(features).index_add(0, target, message)
        return features + self.update(torch.cat([features, received], dim=-1)), moved


def _perceptron(size: int, hidden: int, out: int, *, bias: bool = True) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, hidden), nn.SiLU(), nn.Linear(hidden, out, bias=bias))
