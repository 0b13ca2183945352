"""eSCN: features to high degree on atoms, convolved in the frame of every edge at O(L^3).

Atoms start from a scalar embedding of their element; `layers` blocks of `polyad.symmetry.escn` follow; the energy of an
atom is the mean over the sphere of a perceptron of its channels. Forces are the energy's derivative, as for every
potential, or, with `direct_forces`, read out as a vector beside it (`energies_and_forces`): several times cheaper to
train, but no gradient of anything.

Paper: S. Passaro and C. L. Zitnick, "Reducing SO(3) convolutions to SO(2) for efficient equivariant GNNs", ICML 2023,
arXiv:2302.03655, section 4. *Deviations*: those of `polyad.symmetry.escn`.

*When not to use it*: where the symmetry must be exact; the grid's error is in energies and forces and falls with
`grid_degree`. For small data of few elements TensorNet is faster.
"""

from __future__ import annotations

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph, check_neighbors
from polyad.symmetry.edge_scales import EdgeEmbedding
from polyad.symmetry.escn import ESCNBlock, ESCNMessage, SphereReadout
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.radial import polynomial_window
from polyad.symmetry.so2 import EdgeFrames


@final
class ESCN(nn.Module):
    """The network, `PointGraph` -> (nodes,) energies.

    Args:
        kinds: number of elements.
        cutoff: of the neighbour list.
        neighbors: mean number of neighbours within the cutoff in the data.
        channels: functions on the sphere of every atom.
        lmax: their largest degree.
        mmax: largest order that is kept in an edge's frame.
        layers: rounds of messages.
        hidden: channels inside a message; by default `channels`.
        radial: number of Gaussians of the distance.
        edge_channels: sizes of the elements' embeddings on edges, and of the perceptrons of edges.
        grid_degree: of all grids on the sphere; by default 4 lmax.
        reflections: keep them too, at the price of half the weights of orders m > 0.
        direct_forces: build the readout of forces.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        neighbors: float,
        channels: int = 64,
        lmax: int = 4,
        mmax: int = 2,
        layers: int = 2,
        hidden: int | None = None,
        radial: int = 32,
        edge_channels: int = 32,
        grid_degree: int | None = None,
        reflections: bool = False,
        direct_forces: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(kinds, channels, layers, radial - 1, edge_channels) < 1 or not 0 <= mmax <= lmax:
            raise InputError(
                f"ESCN: {kinds} kinds, {channels} channels, {layers} layers, {radial} radial functions, lmax {lmax}, "
                f"mmax {mmax}; give at least 1 of each (2 radial functions) and 0 <= mmax <= lmax"
            )
        check_neighbors(neighbors)
        self.cutoff, self.lmax, self.mmax = float(cutoff), lmax, mmax
        degree = 4 * lmax if grid_degree is None else grid_degree
        with seeded(seed) as generator:
            # the constant function 1 has the coefficient sqrt(4 pi)
            self.element = nn.Parameter(math.sqrt(4 * math.pi) * torch.randn(kinds, channels))
            self.edges = EdgeEmbedding(kinds, cutoff=cutoff, radial=radial, channels=edge_channels)
            blocks = []
            for _ in range(layers):
                message = ESCNMessage(
                    channels,
                    hidden or channels,
                    lmax,
                    mmax=mmax,
                    degree=degree,
                    edge_features=self.edges.size,
                    edge_hidden=edge_channels,
                    reflections=reflections,
                    generator=generator,
                )
                blocks.append(ESCNBlock(message, channels, lmax, degree=degree, neighbors=neighbors))
            self.blocks = nn.ModuleList(blocks)
            self.energy = SphereReadout(channels, lmax, degree=degree)
            self.force = SphereReadout(channels, lmax, degree=degree) if direct_forces else None

    def forward(self, graph: PointGraph) -> Float[Tensor, " nodes"]:
        """The energy of every atom."""
        return self.energy.scalars(self._features(graph))

    def energies_and_forces(self, graph: PointGraph) -> tuple[Float[Tensor, " nodes"], Float[Tensor, "nodes 3"]]:
        """The energy of every atom, and its force as it is read out directly.

        Raises:
            InputError: a network that was built without `direct_forces`.
        """
        if self.force is None:
            raise InputError("ESCN: this network has no readout of forces; build it with direct_forces=True")
        features = self._features(graph)
        return self.energy.scalars(features), self.force.vectors(features)

    def _features(self, graph: PointGraph) -> Tensor:
        frames = EdgeFrames.from_directions(graph.vectors, self.lmax, mmax=self.mmax)
        edges = self.edges(graph)
        window = polynomial_window(graph.distances(), self.cutoff)
        features = nn.functional.pad(self.element[graph.kind][:, None], (0, 0, 0, (self.lmax + 1) ** 2 - 1))
        for block in self.blocks:
            features = block(features, graph.edge_index, frames, edges, window)
        return features
