"""Layers in a row, and rounds of them that move the nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.irreps import Irreps, channels_to_flat
from polyad.symmetry.linear import DegreeLinear, EquivariantLinear
from polyad.symmetry.radial import polynomial_window
from polyad.symmetry.se3_transformer.attention import AttentionLayer, NormNonlinearity
from polyad.symmetry.se3_transformer.kernels import EdgeBasis


@final
class SE3Transformer(nn.Module):
    """The single-pass network: features of nodes, channels first, to a sum of irreps, flat.

    Args:
        channels_in: copies of every degree that nodes come with.
        degree_in: largest degree that they come with; 0 for scalars alone.
        out: irreps that every node leaves with, of parity (-1)^l.
        channels: copies of every degree between layers.
        lmax: largest degree between layers.
        layers: of attention.
        heads: of every layer.
        edge_scalars: invariants of an edge beside its length.
        hidden: width of the kernels' perceptrons.
        final_degree: largest degree after the last layer; by default what `out` needs.
        reflections: whether the network commutes with reflections, not with rotations alone.
        cutoff: where windows of the attention end, and the unit of lengths; None attends to every edge in full.
        epsilon: of the nonlinearity.
        activation: of the nonlinearity.
        shortest: lengths count at least this much.
        detach_basis: cut the gradient through the harmonics.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        channels_in: int,
        out: Irreps | str,
        degree_in: int = 0,
        channels: int = 8,
        lmax: int = 2,
        layers: int = 2,
        heads: int = 1,
        edge_scalars: int = 0,
        hidden: int = 32,
        final_degree: int | None = None,
        reflections: bool = False,
        cutoff: float | None = None,
        epsilon: float = 1e-5,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        shortest: float = 1e-3,
        detach_basis: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.out = Irreps(out)
        last = self.out.lmax if final_degree is None else final_degree
        if min(channels_in, channels, layers, hidden) < 1 or edge_scalars < 0 or not 0 <= self.out.lmax <= last <= lmax:
            raise InputError(
                f"SE3Transformer: channels_in {channels_in}, channels {channels}, layers {layers}, hidden {hidden}, "
                f"edge_scalars {edge_scalars}, out {self.out}, final_degree {last}, lmax {lmax}; give positive numbers "
                "and degrees out <= final_degree <= lmax"
            )
        if not 0 <= degree_in <= lmax:
            raise InputError(f"degree_in: {degree_in} was given; give a degree from 0 to lmax = {lmax}")
        self.lmax, self.edge_scalars, self.cutoff, self.shortest = lmax, edge_scalars, cutoff, shortest
        self.reflections, self.detach_basis = reflections, detach_basis
        widths, degrees = [channels_in] + [channels] * layers, [degree_in] + [lmax] * (layers - 1) + [last]
        with seeded(seed) as generator:
            self.layers = nn.ModuleList(
                AttentionLayer(
                    widths[t],
                    widths[t + 1],
                    degrees[t],
                    degrees[t + 1],
                    heads=heads,
                    invariants=1 + edge_scalars,
                    hidden=hidden,
                    reflections=reflections,
                    generator=generator,
                )
                for t in range(layers)
            )
            self.nonlinearities = nn.ModuleList(
                NormNonlinearity(channels, lmax, epsilon=epsilon, activation=activation) for _ in range(layers - 1)
            )
            hidden_irreps = Irreps.spherical(last, multiplicity=channels)
            self.head = EquivariantLinear(hidden_irreps, self.out, generator=generator)

    def forward(self, features: Float[Tensor, "nodes c_in harmonics"], graph: PointGraph) -> Float[Tensor, "nodes out"]:
        """The output of every node, flat."""
        return self.head(channels_to_flat(self.hidden(features, graph)))

    def hidden(
        self, features: Float[Tensor, "nodes c_in harmonics"], graph: PointGraph
    ) -> Float[Tensor, "nodes channels final_harmonics"]:
        """Features after the last layer.

        Raises:
            InputError: another number of edge scalars than the network was made for.
        """
        if graph.edge_scalars.shape[1] != self.edge_scalars:
            raise InputError(
                f"graph: edges have {graph.edge_scalars.shape[1]} scalars, the network takes {self.edge_scalars}"
            )
        basis = EdgeBasis.from_offsets(
            -graph.vectors,  # x_j - x_i, to the source from the target, which attends
            self.lmax,
            reflections=self.reflections,
            shortest=self.shortest,
            detach=self.detach_basis,
        )
        window, unit = None, 1.0
        if self.cutoff is not None:
            window, unit = polynomial_window(basis.lengths, self.cutoff), self.cutoff
        invariants = torch.cat([basis.lengths[:, None] / unit, graph.edge_scalars], dim=1)
        for number, layer in enumerate(self.layers):
            if number:
                features = self.nonlinearities[number - 1](features)
            features = layer(features, graph.edge_index, basis, invariants, window=window)
        return features


@final
class IterativeSE3Transformer(nn.Module):
    """Rounds of transformers, each of which moves the nodes and passes its features on to the next.

    Args:
        n_iter: rounds.
        share_weights: one transformer for all rounds; the features that nodes come with are then mapped to its
            channels first.
        channels_in, degree_in, channels, lmax: as of `SE3Transformer`.
        epsilon, activation: of the nonlinearity, which stands between rounds too.
        seed: of the weights.
        options: further ones of `SE3Transformer`.
    """

    def __init__(
        self,
        *,
        n_iter: int,
        channels_in: int,
        degree_in: int = 0,
        channels: int = 8,
        lmax: int = 2,
        share_weights: bool = False,
        epsilon: float = 1e-5,
        activation: Callable[[Tensor], Tensor] = torch.relu,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        if n_iter < 1 or lmax < 1:
            raise InputError(f"IterativeSE3Transformer: n_iter {n_iter}, lmax {lmax}; both must be at least 1")
        self.n_iter, self.lmax = n_iter, lmax

        def transformer(number: int) -> SE3Transformer:
            fresh = number == 0 and not share_weights
            return SE3Transformer(
                channels_in=channels_in if fresh else channels,
                degree_in=degree_in if fresh else lmax,
                out="1o",
                channels=channels,
                lmax=lmax,
                final_degree=lmax,
                epsilon=epsilon,
                activation=activation,
                seed=seed + number,
                **options,
            )

        self.rounds = nn.ModuleList(transformer(number) for number in range(1 if share_weights else n_iter))
        self.nonlinearities = nn.ModuleList(
            NormNonlinearity(channels, lmax, epsilon=epsilon, activation=activation) for _ in range(n_iter - 1)
        )
        with seeded(seed) as generator:
            self.embedding = (
                DegreeLinear(channels_in, channels, degree_in, generator=generator) if share_weights else None
            )

    def forward(
        self,
        features: Float[Tensor, "nodes c_in harmonics"],
        graph: PointGraph,
        *,
        rebuild: Callable[[PointGraph], PointGraph] | None = None,
    ) -> tuple[Float[Tensor, "nodes channels harmonics_out"], Float[Tensor, "rounds nodes 3"]]:
        """Features after the last round, and positions after every round.

        Args:
            features: of the nodes, channels first.
            graph: the nodes and edges at the start.
            rebuild: gives the graph that the next round runs on, from the moved one; by default edges stay.
        """
        if self.embedding is not None:
            features = self.embedding(features)
            features = nn.functional.pad(features, (0, (self.lmax + 1) ** 2 - features.shape[-1]))
        positions = []
        for number in range(self.n_iter):
            transformer: SE3Transformer = self.rounds[min(number, len(self.rounds) - 1)]  # type: ignore[assignment]
            if number:
                features = self.nonlinearities[number - 1](features)
                graph = graph if rebuild is None else rebuild(graph)
            features = transformer.hidden(features, graph)
            moves = transformer.head(channels_to_flat(features))
            graph = displaced(graph, moves[:, [2, 0, 1]])  # orders of degree 1 are y, z, x
            positions.append(graph.positions)
        return features, torch.stack(positions)


def displaced(graph: PointGraph, moves: Float[Tensor, "nodes 3"]) -> PointGraph:
    """The graph with its nodes moved: positions and edge vectors, those to images of other cells too."""
    source, target = graph.edge_index
    vectors = graph.vectors + moves.index_select(0, target) - moves.index_select(0, source)
    return replace(graph, positions=graph.positions + moves, vectors=vectors)
