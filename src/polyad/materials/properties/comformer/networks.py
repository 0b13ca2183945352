"""ComFormer: transformers that predict properties of crystals from features which determine the crystal.

Distances between neighbours do not determine a crystal, and never its hand. Measured against the frame that the lattice
carries by itself (see `lattice`), they do:

    iComFormer   edges have a length |r| and the cosines with e1, e2, e3; a transformer on edges puts the three angles
                 into the edge's features, transformers on nodes do the rest. Invariant under SE(3), and complete.
    eComFormer   edges keep their vectors, every atom gets edges to its own images at e1, e2, e3, and one equivariant
                 update with harmonics to degree two joins the transformers on nodes.

    -c / |r| -> Gaussians -> linear, softplus;  element -> embedding, or given features -> linear
    node layer [update] node layer ... -> mean over atoms -> perceptron

Where several triples are admissible, the prediction is their mean; in training one is drawn for every crystal, so what
is learned is the same function and a step costs no more.

Source: K. Yan, C. Fu, X. Qian, X. Qian, S. Ji, Complete and Efficient Graph Transformers for Crystal Material Property
Prediction, ICLR 2024, arXiv:2403.11857.

*Deviations*: the third rule of signs (right-handed triples), the reduction to primitive cells and the mean over ties
are not in the paper's text; without them the frame is not unique. Elements are embedded by number unless features are
given; the 92 numbers of CGCNN are such features. Tensor products of eComFormer go channel by channel with linear maps
between, where the paper's are fully connected.

*When not to use it*: iComFormer for tensors (its output is invariant); eComFormer where the hand matters: its products
give no pseudo-scalar, and it knows the hand from the frame alone, in which vectors of equal length are alike to it, so
left and right quartz are predicted alike. Neither for forces: neighbours and frames change by jumps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.materials.properties.comformer.copies import copies_of, mean_copies
from polyad.materials.properties.comformer.lattice import Triples, lattice_triples
from polyad.materials.properties.comformer.layers import (
    EdgeTransformer,
    EquivariantUpdate,
    NodeTransformer,
    gaussian_bins,
)
from polyad.symmetry.initialisation import seeded
from polyad.symmetry.irreps import Irreps


@final
class IComFormer(nn.Module):
    """Lengths and lattice angles, `PointGraph` with cells -> (structures, out) invariants of crystals.

    Args:
        kinds: number of elements.
        cutoff: of the neighbour list, kept for whoever builds it; edges may as well come from `nearest_neighbors`.
        out: scalars 0e and pseudo-scalars 0o.
        channels: of nodes and edges.
        layers: transformers on nodes.
        edge_layers: transformers on edges, each after a node layer. 0 leaves a network of distances alone, which needs
            no cells.
        bins: Gaussians of lengths.
        angle_bins: Gaussians of cosines.
        scale: c of -c / |r|, in the unit of lengths; Gaussians reach from -4 to 0.
        element_features: one row of numbers an element, in place of an embedding.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        out: Irreps | str = "1x0e",
        channels: int = 256,
        layers: int = 4,
        edge_layers: int = 1,
        bins: int = 512,
        angle_bins: int = 512,
        scale: float = 0.75,
        element_features: Sequence[Sequence[float]] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(kinds, channels, layers) < 1 or not 0 <= edge_layers < max(layers, 2):
            raise InputError(
                f"IComFormer: {kinds} kinds, {channels} channels, {layers} layers, {edge_layers} edge layers; give "
                "positive numbers, and fewer edge layers than layers"
            )
        self.out = _scalars(out, allowed="0e 0o")
        self.bins, self.angle_bins, self.scale, self.cutoff = bins, angle_bins, float(scale), float(cutoff)
        with seeded(seed):
            self.element = _Elements(kinds, channels, element_features)
            self.length = nn.Linear(bins, channels)
            self.nodes = nn.ModuleList(NodeTransformer(channels) for _ in range(layers))
            self.edges = nn.ModuleList(EdgeTransformer(channels, angle_bins) for _ in range(edge_layers))
            self.head = _head(channels, self.out.dim)

    def forward(self, graph: PointGraph) -> Float[Tensor, "structures out"]:
        """The prediction of every crystal."""
        if not self.edges:
            return self.head(graph.mean_nodes(self._features(graph, None)))
        graph, triples, structures = _framed(graph, training=self.training)
        return mean_copies(self.head(graph.mean_nodes(self._features(graph, triples))), triples.structure, structures)

    def node_features(self, graph: PointGraph) -> Float[Tensor, "nodes channels"]:
        """What every atom has after the last layer; of a crystal with several triples, the mean over them."""
        if not self.edges:
            return self._features(graph, None)
        framed, triples, structures = _framed(graph, training=self.training)
        features = self._features(framed, triples)
        counts = torch.bincount(graph.structure, minlength=structures)
        start = counts.cumsum(0) - counts
        within = torch.arange(len(features), device=start.device) - _starts(framed)[framed.structure]
        return mean_copies(features, start[triples.structure[framed.structure]] + within, graph.num_nodes)

    def _features(self, graph: PointGraph, triples: Triples | None) -> Tensor:
        distances = graph.distances()
        state, edges = self.element(graph.kind), self._lengths(distances)
        if triples is not None:
            structure = graph.structure.index_select(0, graph.edge_index[1])
            lengths = torch.linalg.vector_norm(triples.vectors, dim=-1)
            directions = (triples.vectors / lengths[..., None]).index_select(0, structure)
            cosines = (directions @ (graph.vectors / distances[:, None])[..., None])[..., 0]
            lattice, angles = self._lengths(lengths), gaussian_bins(cosines, -1.0, 1.0, self.angle_bins)
        for number, layer in enumerate(self.nodes):
            state = layer(state, edges, graph)
            if triples is not None and number < len(self.edges):
                edges = self.edges[number](edges, lattice, angles, structure)
        return state

    def _lengths(self, distances: Tensor) -> Tensor:
        return softplus(self.length(gaussian_bins(-self.scale / distances, -4.0, 0.0, self.bins)))


@final
class EComFormer(nn.Module):
    """Edge vectors and an equivariant update, `PointGraph` with cells -> (structures, out) scalars of crystals.

    Args:
        kinds: number of elements.
        cutoff: as of `IComFormer`.
        out: scalars 0e.
        channels: of nodes and edges.
        layers: transformers on nodes, at least 2; the equivariant update comes after the first.
        width: channels of vectors and tensors in the update.
        bins: Gaussians of lengths.
        scale: as of `IComFormer`.
        element_features: as of `IComFormer`.
        seed: of the weights.
    """

    def __init__(
        self,
        *,
        kinds: int,
        cutoff: float,
        out: Irreps | str = "1x0e",
        channels: int = 256,
        layers: int = 3,
        width: int = 128,
        bins: int = 512,
        scale: float = 0.75,
        element_features: Sequence[Sequence[float]] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(kinds, channels, layers - 1, width) < 1:
            raise InputError(
                f"EComFormer: {kinds} kinds, {channels} channels, {layers} layers, width {width}; give positive "
                "numbers, and at least 2 layers"
            )
        self.out = _scalars(out, allowed="0e")
        self.bins, self.scale, self.cutoff = bins, float(scale), float(cutoff)
        with seeded(seed) as generator:
            self.element = _Elements(kinds, channels, element_features)
            self.length = nn.Linear(bins, channels)
            self.nodes = nn.ModuleList(NodeTransformer(channels) for _ in range(layers))
            self.update = EquivariantUpdate(channels, width, generator=generator)
            self.head = _head(channels, self.out.dim)

    def forward(self, graph: PointGraph) -> Float[Tensor, "structures out"]:
        """The prediction of every crystal."""
        graph, triples, structures = _framed(graph, training=self.training)
        graph = _with_own_images(graph, triples)
        edges = softplus(self.length(gaussian_bins(-self.scale / graph.distances(), -4.0, 0.0, self.bins)))
        state = self.element(graph.kind)
        for number, layer in enumerate(self.nodes):
            state = layer(state, edges, graph)
            if number == 0:
                state = self.update(state, edges, graph)
        return mean_copies(self.head(graph.mean_nodes(state)), triples.structure, structures)


class _Elements(nn.Module):
    """Features of the elements: learned ones, or given ones through a linear map."""

    def __init__(self, kinds: int, channels: int, features: Sequence[Sequence[float]] | None) -> None:
        super().__init__()
        table = None if features is None else torch.tensor(features, dtype=torch.get_default_dtype())
        if table is not None and (table.ndim != 2 or len(table) != kinds):
            raise InputError(f"element_features: shape {tuple(table.shape)}; give one row for each of {kinds} kinds")
        self.register_buffer("table", table)
        self.embedding = nn.Embedding(kinds, channels) if table is None else nn.Linear(table.shape[1], channels)

    def forward(self, kind: Tensor) -> Tensor:
        known = self.embedding.weight if self.table is None else self.embedding(self.table)
        return known.index_select(0, kind)


def _scalars(out: Irreps | str, *, allowed: str) -> Irreps:
    irreps = Irreps(out)
    if not len(irreps) or any(str(irrep) not in allowed.split() for _, irrep in irreps):
        raise InputError(
            f"out: {irreps or 'nothing'} was given; the network gives {' and '.join(allowed.split())} only"
        )
    return irreps


def _head(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, out))


def _framed(graph: PointGraph, *, training: bool) -> tuple[PointGraph, Triples, int]:
    """A copy of every crystal for each of its triples, or for a random one; the triples; the number of crystals."""
    if graph.cell is None:
        raise InputError("graph: has no cell; ComFormer predicts crystals, which repeat in three directions")
    triples = lattice_triples(graph.positions, graph.kind, graph.structure, graph.cell)
    structures = graph.num_structures
    if training and len(triples) > structures:
        triples = triples.chosen(torch.randint(2**31, (structures,), device=graph.kind.device))
    return copies_of(graph, triples.structure), triples, structures


def _with_own_images(graph: PointGraph, triples: Triples) -> PointGraph:
    """Three more edges an atom, from its own images, along e1, e2, e3."""
    own = torch.arange(graph.num_nodes, device=graph.kind.device).repeat_interleave(3)
    vectors = triples.vectors[graph.structure].flatten(0, 1)
    return replace(
        graph,
        edge_index=torch.cat([graph.edge_index, own.expand(2, -1)], dim=1),
        vectors=torch.cat([graph.vectors, vectors]),
        edge_scalars=torch.cat(
            [graph.edge_scalars, graph.edge_scalars.new_zeros(len(own), graph.edge_scalars.shape[1])]
        ),
    )


def _starts(graph: PointGraph) -> Tensor:
    counts = torch.bincount(graph.structure, minlength=graph.num_structures)
    return counts.cumsum(0) - counts
