"""Geometric graphs: nodes with scalars and vectors in space, and the edges along which they see one another.

`geometric_graph(positions, edge_index)` is all that most need. Vectors of edges run from source to target, as in
`polyad.graphs.points.PointGraph`, from which `from_points` takes structures, periodic ones too: only differences of
positions matter to the tests of this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from polyad.errors import InputError
from polyad.graphs.points import PointGraph


@final
@dataclass(frozen=True, eq=False)
class GeometricGraph:
    """One structure.

    Args:
        positions: (nodes, 3).
        edge_index: (2, edges) source and target; the target is the one that sees the source.
        edge_vectors: (edges, 3) from source to target; in a periodic structure to the right image.
        scalars: (nodes, features) invariants of a node, such as its element; may have no columns.
        vectors: (nodes, channels, 3) vectors on a node, such as velocities, which turn with the structure.
        edge_scalars: (edges, features) invariants of an edge; may have no columns.

    Raises:
        InputError: sizes that do not fit, edges of nodes that are not there, or values that are not finite.
    """

    positions: Float[Tensor, "nodes 3"]
    edge_index: Int[Tensor, "2 edges"]
    edge_vectors: Float[Tensor, "_ 3"]
    scalars: Float[Tensor, "_ features"]
    vectors: Float[Tensor, "_ channels 3"]
    edge_scalars: Float[Tensor, "_ edge_features"]

    def __post_init__(self) -> None:
        nodes, edges = len(self.positions), self.edge_index.shape[1]
        sizes = [("scalars", self.scalars, nodes), ("vectors", self.vectors, nodes)]
        sizes += [("edge_vectors", self.edge_vectors, edges), ("edge_scalars", self.edge_scalars, edges)]
        for name, value, expected in (("positions", self.positions, nodes), *sizes):
            if len(value) != expected:
                raise InputError(f"{name}: {len(value)} rows were given; this graph needs {expected}")
            if not bool(torch.isfinite(value).all()):
                raise InputError(f"{name}: a value is not finite; give numbers")
        if edges and not 0 <= int(self.edge_index.min()) <= int(self.edge_index.max()) < nodes:
            raise InputError(f"edge_index: names node {int(self.edge_index.max())}; the graph has 0 to {nodes - 1}")

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.positions)


def geometric_graph(
    positions: Float[Tensor, "nodes 3"],
    edge_index: Int[Tensor, "2 edges"],
    *,
    scalars: Num[Tensor, "_ *features"] | None = None,
    vectors: Float[Tensor, "_ channels 3"] | None = None,
) -> GeometricGraph:
    """A graph in float64 from positions and edges, which are taken both ways, each once.

    Args:
        positions: of the nodes.
        edge_index: the pairs of nodes that see each other.
        scalars: one number, or a row, for every node (element, charge); nodes are alike without.
        vectors: vectors on the nodes; none without.

    Raises:
        InputError: as of `GeometricGraph`.
    """
    both = torch.unique(torch.cat([edge_index, edge_index.flip(0)], dim=1), dim=1)
    exact, nodes = positions.double(), len(positions)
    if both.numel() and not 0 <= int(both.min()) <= int(both.max()) < nodes:
        raise InputError(f"edge_index: names nodes {int(both.min())} to {int(both.max())}; there are 0 to {nodes - 1}")
    given = torch.zeros(nodes, 0) if scalars is None else scalars.reshape(len(scalars), -1)
    return GeometricGraph(
        positions=exact,
        edge_index=both,
        edge_vectors=exact[both[1]] - exact[both[0]],
        scalars=given.double(),
        vectors=exact.new_zeros(nodes, 0, 3) if vectors is None else vectors.double(),
        edge_scalars=exact.new_zeros(both.shape[1], 0),
    )


def from_points(points: PointGraph) -> list[GeometricGraph]:
    """The structures of a batch, one graph each, with the kind of a node as its scalar."""
    found, place = [], torch.zeros_like(points.structure)
    for number in range(points.num_structures):
        nodes = (points.structure == number).nonzero()[:, 0]
        place[nodes] = torch.arange(len(nodes), device=nodes.device)
        edges = (points.structure[points.edge_index[1]] == number).nonzero()[:, 0]
        found.append(
            GeometricGraph(
                positions=points.positions[nodes].double(),
                edge_index=place[points.edge_index[:, edges]],
                edge_vectors=points.vectors[edges].double(),
                scalars=points.kind[nodes, None].double(),
                vectors=points.positions.new_zeros(len(nodes), 0, 3).double(),
                edge_scalars=points.edge_scalars[edges].double(),
            )
        )
    return found


def to_points(graphs: Sequence[GeometricGraph]) -> PointGraph:
    """A batch for networks on points; a node's kind is its scalar.

    Raises:
        InputError: nodes with vectors, several scalars, or a scalar that is no whole number from 0: kinds are numbers.
    """
    if not graphs:
        raise InputError("graphs: none given; give at least one")
    for graph in graphs:
        whole = bool(((graph.scalars >= 0) & (graph.scalars == graph.scalars.round())).all())
        if graph.vectors.shape[1] or graph.scalars.shape[1] > 1 or not whole:
            raise InputError(
                f"graphs: one has {graph.vectors.shape[1]} vectors and {graph.scalars.shape[1]} scalars a node; a "
                "network on points takes one whole number from 0 a node, its kind, and no vectors"
            )
    counts = torch.tensor([graph.num_nodes for graph in graphs])
    starts = counts.cumsum(0) - counts
    indices = [graph.edge_index + start for graph, start in zip(graphs, starts, strict=True)]
    return PointGraph(
        edge_index=torch.cat(indices, dim=1),
        vectors=torch.cat([graph.edge_vectors for graph in graphs]),
        kind=torch.cat([graph.scalars.sum(1).long() for graph in graphs]),
        structure=torch.arange(len(graphs)).repeat_interleave(counts),
        num_structures=len(graphs),
        positions=torch.cat([graph.positions for graph in graphs]),
        edge_scalars=torch.cat([graph.edge_scalars for graph in graphs]),
    )
