"""The graph that a network on points sees: who sends to whom, along which vector, and which structure a node is in.

Messages flow from the source to the target of an edge, whose vector runs the same way. Positions are there for methods
that need more than differences; a network that uses `vectors` alone is invariant under translations by construction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError


def check_neighbors(neighbors: float) -> float:
    """The mean number of neighbours in the data, by which networks divide sums over edges.

    Raises:
        InputError: it is not a positive number.
    """
    if not (math.isfinite(neighbors) and neighbors > 0):
        raise InputError(f"neighbors: the mean number of neighbours must be positive, got {neighbors}")
    return float(neighbors)


@final
@dataclass(frozen=True, eq=False)
class PointGraph:
    """Nodes and directed edges of one or many structures.

    Args:
        edge_index: (2, edges) source and target.
        vectors: (edges, 3) from source to target.
        kind: (nodes,) number of the node's kind (element), from 0.
        structure: (nodes,) number of the structure, from 0, ascending.
        num_structures: how many there are.
        positions: (nodes, 3); images of periodic structures are in `vectors` only.
        edge_scalars: (edges, features) further invariants of an edge, such as a strut's radius; may have no columns.
        cell: (structures, 3, 3) rows are lattice vectors, where all structures repeat in three directions.
    """

    edge_index: Int[Tensor, "2 edges"]
    vectors: Float[Tensor, "edges 3"]
    kind: Int[Tensor, " nodes"]
    structure: Int[Tensor, " nodes"]
    num_structures: int
    positions: Float[Tensor, "nodes 3"]
    edge_scalars: Float[Tensor, "edges features"]
    cell: Float[Tensor, "structures 3 3"] | None = None

    @property
    def num_nodes(self) -> int:
        """Number of nodes of all structures."""
        return self.kind.shape[0]

    def distances(self) -> Float[Tensor, " edges"]:
        """Lengths of the edge vectors."""
        return torch.linalg.vector_norm(self.vectors, dim=-1)

    def sum_messages(self, messages: Float[Tensor, "edges *shape"]) -> Float[Tensor, "nodes *shape"]:
        """What every node receives: the sum over the edges that end in it."""
        received = messages.new_zeros(self.num_nodes, *messages.shape[1:])
        return received.index_add(0, self.edge_index[1], messages)

    def sum_nodes(self, values: Float[Tensor, "nodes *shape"]) -> Float[Tensor, "structures *shape"]:
        """Sums over the nodes of every structure."""
        total = values.new_zeros(self.num_structures, *values.shape[1:])
        return total.index_add(0, self.structure, values)

    def mean_nodes(self, values: Float[Tensor, "nodes *shape"]) -> Float[Tensor, "structures *shape"]:
        """Means over the nodes of every structure; 0 for one without nodes."""
        count = torch.bincount(self.structure, minlength=self.num_structures).clamp_min(1).to(values.dtype)
        return self.sum_nodes(values) / count.view(-1, *[1] * (values.ndim - 1))
