"""EquiformerV2: a transformer on atoms with features of high degree.

    start     scalars of the element, plus the sum over the edges of D' (radial network, m = 0)
    block     x <- x + attention( norm(x) ),   x <- x + feed-forward( norm(x) )          `layers` times
    energy    the scalar of a feed-forward of norm(x), a number for every atom
    force     l = 1 of one more attention of norm(x), with `direct_forces`

Attention is that of `polyad.symmetry.graph_attention`; activations and norms are those of `polyad.symmetry.separable`.
A feed-forward is a linear map, the activation (with scalars from a linear map of l = 0), and a linear map. Forces are
the energy's derivative, as for every potential, unless `energies_and_forces` is asked for those of the force head:
several times cheaper to train, but no gradient of anything.

Paper: Y.-L. Liao, B. Wood, A. Das and T. Smidt, "EquiformerV2: Improved Equivariant Transformer for Scaling to
Higher-Degree Representations", ICLR 2024, arXiv:2306.12059.

*Deviations*: those of `polyad.symmetry.graph_attention`; no dropout.

*When not to use it*: on small data, or where the symmetry must be exact; with `activation="gate"` and
`reflections=True` it is, the default is equivariant up to the error of its grids, which falls with `grid_degree`.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph, check_neighbors
from polyad.symmetry.edge_scales import EdgeEmbedding, EdgeScales
from polyad.symmetry.graph_attention import SO2Attention
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.linear import DegreeLinear
from polyad.symmetry.radial import polynomial_window
from polyad.symmetry.separable import DegreeNorm, GateActivation, SeparableActivation, SeparableNorm
from polyad.symmetry.so2 import EdgeFrames

_ACTIVATIONS, _NORMS = ("separable", "gate"), ("separable", "degree")


@final
class EquiformerV2(nn.Module):
    """The network, `PointGraph` -> (nodes,) energies.

    Args:
        kinds: number of elements.
        cutoff: of the neighbour list.
        neighbors: mean number of neighbours within the cutoff in the data.
        channels: functions on the sphere of every atom.
        lmax: their largest degree.
        mmax: largest order that is kept in an edge's frame.
        layers: blocks.
        heads: of every attention.
        hidden: channels inside attention and feed-forward; by default `channels`.
        head_channels: channels of a head's messages; by default channels / heads.
        head_invariants: invariants that make a head's weight.
        radial: number of Gaussians of the distance.
        edge_channels: sizes of the elements' embeddings on edges, and of the perceptrons of edges.
        grid_degree: of all grids on the sphere; by default 4 lmax.
        activation: "separable", on the sphere, or "gate".
        norm: "separable", one size for all degrees, or "degree", each its own.
        renormalize: layer norm in the attention.
        reflections: keep them too, at the price of half the weights of orders m > 0.
        direct_forces: build the force head.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        neighbors: float,
        channels: int = 64,
        lmax: int = 6,
        mmax: int = 2,
        layers: int = 4,
        heads: int = 4,
        hidden: int | None = None,
        head_channels: int | None = None,
        head_invariants: int = 16,
        radial: int = 32,
        edge_channels: int = 32,
        grid_degree: int | None = None,
        activation: str = "separable",
        norm: str = "separable",
        renormalize: bool = True,
        reflections: bool = False,
        direct_forces: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        small = min(kinds, channels, layers, heads, head_invariants, radial - 1, edge_channels)
        if small < 1 or not 0 <= mmax <= lmax or lmax < 1:
            raise InputError(
                f"EquiformerV2: {kinds} kinds, {channels} channels, {layers} layers, {heads} heads, lmax {lmax}, mmax "
                f"{mmax}; give at least 1 of each (2 radial functions) and 0 <= mmax <= lmax"
            )
        if activation not in _ACTIVATIONS or norm not in _NORMS:
            raise InputError(f"activation: {activation!r}, norm: {norm!r}; allowed are {_ACTIVATIONS} and {_NORMS}")
        check_neighbors(neighbors)
        self.cutoff, self.lmax, self.mmax, self.neighbors = float(cutoff), lmax, mmax, float(neighbors)
        degree, width = 4 * lmax if grid_degree is None else grid_degree, hidden or channels

        def activate(orders: int | None) -> SeparableActivation | GateActivation:
            if activation == "gate":
                return GateActivation(width, lmax, mmax=orders)
            return SeparableActivation(width, lmax, degree=degree, mmax=orders)

        def normalize() -> SeparableNorm | DegreeNorm:
            return SeparableNorm(channels, lmax) if norm == "separable" else DegreeNorm(channels, lmax)

        with seeded(seed) as generator:

            def attend(channels_out: int) -> SO2Attention:
                return SO2Attention(
                    channels,
                    channels_out,
                    lmax,
                    mmax=mmax,
                    hidden=width,
                    heads=heads,
                    head_channels=head_channels or max(channels // heads, 1),
                    head_invariants=head_invariants,
                    activation=activate(mmax),
                    edge_features=self.edges.size,
                    edge_hidden=edge_channels,
                    renormalize=renormalize,
                    reflections=reflections,
                    generator=generator,
                )

            self.element = nn.Parameter(torch.randn(kinds, channels))
            self.edges = EdgeEmbedding(kinds, cutoff=cutoff, radial=radial, channels=edge_channels)
            self.start = EdgeScales(self.edges.size, lmax + 1, channels, hidden=edge_channels)
            self.blocks = nn.ModuleList(
                _Block(
                    [normalize(), normalize()],
                    attend(channels),
                    FeedForward(channels, channels, lmax, activation=activate(None), width=width, generator=generator),
                )
                for _ in range(layers)
            )
            self.norm = normalize()
            self.energy = FeedForward(channels, 1, lmax, activation=activate(None), width=width, generator=generator)
            self.force = attend(1) if direct_forces else None

    def forward(self, graph: PointGraph) -> Float[Tensor, " nodes"]:
        """The energy of every atom."""
        return self.energy(self._features(graph, *self._edges(graph)))[:, 0, 0]

    def energies_and_forces(self, graph: PointGraph) -> tuple[Float[Tensor, " nodes"], Float[Tensor, "nodes 3"]]:
        """The energy of every atom, and its force by the force head.

        Raises:
            InputError: a network that was built without `direct_forces`.
        """
        if self.force is None:
            raise InputError("EquiformerV2: this network has no force head; build it with direct_forces=True")
        edges = self._edges(graph)
        features = self._features(graph, *edges)
        forces = self.force(features, graph.edge_index, *edges)[:, 1:4, 0]
        return self.energy(features)[:, 0, 0], forces[:, [2, 0, 1]]  # harmonics of degree 1 run y, z, x

    def _edges(self, graph: PointGraph) -> tuple[EdgeFrames, Tensor, Tensor]:
        frames = EdgeFrames.from_directions(graph.vectors, self.lmax, mmax=self.mmax)
        return frames, self.edges(graph), polynomial_window(graph.distances(), self.cutoff)

    def _features(self, graph: PointGraph, frames: EdgeFrames, edges: Tensor, window: Tensor) -> Tensor:
        """Normalised features after all blocks."""
        zonal = self.start(edges) * window[:, None, None]
        kept = sum(block.shape[1] for block in frames.blocks)
        around = frames.from_frame(nn.functional.pad(zonal, (0, 0, 0, kept - zonal.shape[1]))).mT
        features = graph.sum_messages(around) / math.sqrt(self.neighbors)
        features = features + nn.functional.pad(self.element[graph.kind][:, None], (0, 0, 0, features.shape[1] - 1))
        for block in self.blocks:
            features = block(features, graph.edge_index, frames, edges, window)
        return self.norm(features)


@final
class FeedForward(nn.Module):
    """Linear, activation, linear, on every node: (nodes, harmonics, channels) to (nodes, harmonics, channels_out)."""

    def __init__(
        self,
        channels: int,
        channels_out: int,
        lmax: int,
        *,
        activation: SeparableActivation | GateActivation,
        width: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.first = DegreeLinear(channels, width, lmax, generator=generator)
        self.scalars = nn.Linear(channels, activation.scalars)
        self.activation = activation
        self.second = DegreeLinear(width, channels_out, lmax, generator=generator)

    def forward(
        self, features: Float[Tensor, "nodes harmonics channels"]
    ) -> Float[Tensor, "nodes harmonics channels_out"]:
        """The image of the features."""
        hidden = self.activation(self.first(features.mT).mT, self.scalars(features[:, 0]))
        return self.second(hidden.mT).mT


class _Block(nn.Module):
    """Attention and feed-forward, each after a norm and added to what came in."""

    def __init__(self, norms: list[SeparableNorm | DegreeNorm], attention: SO2Attention, forward: FeedForward) -> None:
        super().__init__()
        self.norms, self.attention, self.feed_forward = nn.ModuleList(norms), attention, forward

    def forward(
        self, features: Tensor, edge_index: Tensor, frames: EdgeFrames, edges: Tensor, window: Tensor
    ) -> Tensor:
        features = features + self.attention(self.norms[0](features), edge_index, frames, edges, window)
        return features + self.feed_forward(self.norms[1](features))
