"""Attention between neighbours whose messages are SO(2) maps in the frame of their edge.

For an edge from j to i, with s_ij factors made of distance and elements and D the turn to the pole:

    (h_ij, f_ij, g_ij) = SO2( s_ij D (x_j, x_i) )          features, and invariants for attention and activation
    z_ij = a . LeakySiLU( LayerNorm( f_ij ) )              one for every head; the layer norm is the re-normalisation
    a_ij = w_ij exp z_ij / sum over k of w_ik exp z_ik     weights that sum to 1 over the neighbours of i
    m_ij = w_ij a_ij D' SO2( act( h_ij, g_ij ) ),   x_i <- linear( sum over j of m_ij )

LeakySiLU(x) = 0.6 x + 0.4 x (2 sigmoid(x) - 1) is smooth, and nearly the leaky rectifier of slope 0.2. w is a window
that ends at the cutoff: in the softmax, so that the others' weights do not jump when a neighbour leaves, and before the
message, so that neither does a lone one's.

Paper: Y.-L. Liao, B. Wood, A. Das and T. Smidt, EquiformerV2, ICLR 2024, arXiv:2306.12059, section 4 and appendix;
the convolution is that of S. Passaro and C. L. Zitnick, ICML 2023, arXiv:2302.03655.

*Deviations*: the windows; the paper cuts off sharply.

When not to use it: on graphs whose degrees carry the signal, for weights that sum to 1 cannot count neighbours.
"""

from __future__ import annotations

from typing import cast, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polyad.symmetry.edge_scales import EdgeScales
from polyad.symmetry.linear import DegreeLinear
from polyad.symmetry.so2 import EdgeFrames, SO2Linear

_SMALLEST = 1e-20  # a window below this takes part in no softmax


@final
class AttentionWeights(nn.Module):
    """Weights of all edges, (edges, heads), that sum to 1 over the edges of one target.

    Args:
        heads: number of weights an edge.
        size: of the invariants that make one of them.
        renormalize: apply the layer norm to them.
    """

    def __init__(self, heads: int, size: int, *, renormalize: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(size) if renormalize else nn.Identity()
        self.vector = nn.Parameter(torch.randn(heads, size) / size**0.5)

    def forward(
        self,
        invariants: Float[Tensor, "edges values"],
        target: Int[Tensor, " edges"],
        nodes: int,
        window: Float[Tensor, " edges"],
    ) -> Float[Tensor, "edges heads"]:
        """The weights; `target` says to which of the nodes an edge belongs."""
        hidden = leaky_silu(self.norm(invariants.unflatten(-1, (self.heads, -1))))
        logits = torch.einsum("ehs,hs->eh", hidden, self.vector) + window.clamp_min(_SMALLEST).log()[:, None]
        owner = target[:, None].expand_as(logits)
        # the largest of each node is taken off: it changes no weight, and no exponential is too large
        largest = logits.detach().new_full((nodes, self.heads), -torch.inf)
        largest = largest.scatter_reduce(0, owner, logits.detach(), "amax")
        shares = torch.exp(logits - largest[target])
        return shares / shares.new_zeros(nodes, self.heads).index_add(0, target, shares)[target]


@final
class SO2Attention(nn.Module):
    """The layer, (nodes, harmonics, channels) to (nodes, harmonics, channels_out).

    Args:
        channels: of the features.
        channels_out: of the result.
        lmax: largest degree.
        mmax: largest order in the edges' frames.
        hidden: channels between the two SO(2) maps.
        heads: of the attention.
        head_channels: channels of a head's message.
        head_invariants: invariants that make a head's weight.
        activation: between the two SO(2) maps, in the frame, with as many `scalars` as it says: one of
            `polyad.symmetry.separable`, or what has the same call.
        edge_features: size of the edges' invariant features.
        edge_hidden: hidden size of the perceptron that makes factors of them.
        renormalize: as for `AttentionWeights`.
        reflections: leave out what would break them.
        generator: of the maps' weights; all else draws from torch's.
    """

    def __init__(
        self,
        channels: int,
        channels_out: int,
        lmax: int,
        *,
        mmax: int,
        hidden: int,
        heads: int,
        head_channels: int,
        head_invariants: int,
        activation: nn.Module,
        edge_features: int,
        edge_hidden: int,
        generator: torch.Generator,
        renormalize: bool = True,
        reflections: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.split = heads, [heads * head_invariants, cast(int, activation.scalars)]
        self.first = SO2Linear(
            2 * channels, hidden, lmax, mmax=mmax, invariants=sum(self.split), reflections=reflections,
            generator=generator,
        )  # fmt: skip
        self.second = SO2Linear(
            hidden, heads * head_channels, lmax, mmax=mmax, reflections=reflections, generator=generator
        )
        self.scales = EdgeScales(edge_features, self.first.pairs, 2 * channels, hidden=edge_hidden)
        self.activation = activation
        self.weights = AttentionWeights(heads, head_invariants, renormalize=renormalize)
        self.project = DegreeLinear(heads * head_channels, channels_out, lmax, generator=generator)

    def forward(
        self,
        features: Float[Tensor, "nodes harmonics channels"],
        edge_index: Int[Tensor, "2 edges"],
        frames: EdgeFrames,
        edge_features: Float[Tensor, "edges edge_features"],
        window: Float[Tensor, " edges"],
    ) -> Float[Tensor, "nodes harmonics channels_out"]:
        """What every node receives."""
        source, target = edge_index
        ends = torch.cat([features.index_select(0, source), features.index_select(0, target)], dim=-1)
        hidden, invariants = self.first(frames.to_frame(ends.mT), scales=self.scales(edge_features))
        attention, scalars = invariants.split(self.split, dim=-1)
        values, _ = self.second(self.activation(hidden, scalars))
        weights = self.weights(attention, target, len(features), window) * window[:, None]
        values = (values.unflatten(-1, (self.heads, -1)) * weights[:, None, :, None]).flatten(-2)
        messages = frames.from_frame(values).mT
        received = messages.new_zeros(len(features), *messages.shape[1:]).index_add(0, target, messages)
        return self.project(received.mT).mT


def leaky_silu(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """0.6 x + 0.4 x (2 sigmoid(x) - 1): slope 1 far right, 0.2 far left, smooth between."""
    return values * (0.2 + 0.8 * torch.sigmoid(values))
