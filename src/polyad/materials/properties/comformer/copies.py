"""Several copies of the structures of a graph, one for each way of looking at it, and the mean over the copies."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.graphs.points import PointGraph


def copies_of(graph: PointGraph, chosen: Int[Tensor, " copies"]) -> PointGraph:
    """The structures with these numbers, in this order, any of them several times."""
    if len(chosen) == graph.num_structures and torch.equal(chosen, torch.arange(len(chosen), device=chosen.device)):
        return graph
    nodes, node_start, first = _rows(graph.structure, graph.num_structures, chosen)
    owner = graph.structure[graph.edge_index[1]]
    order = owner.argsort(stable=True)
    edges, edge_start, _ = _rows(owner[order], graph.num_structures, chosen)
    edges = order[edges]
    moved = torch.repeat_interleave(node_start[:-1] - first, edge_start.diff())
    copies = torch.arange(len(chosen), device=chosen.device)
    return PointGraph(
        edge_index=graph.edge_index[:, edges] + moved,
        vectors=graph.vectors[edges],
        kind=graph.kind[nodes],
        structure=torch.repeat_interleave(copies, node_start.diff()),
        num_structures=len(chosen),
        positions=graph.positions[nodes],
        edge_scalars=graph.edge_scalars[edges],
        cell=None if graph.cell is None else graph.cell[chosen],
    )


def mean_copies(
    values: Float[Tensor, "copies *shape"], original: Int[Tensor, " copies"], size: int
) -> Float[Tensor, "originals *shape"]:
    """Means of the rows that belong to each of `size` originals."""
    if len(values) == size:
        return values
    counts = torch.bincount(original, minlength=size).to(values.dtype)
    total = values.new_zeros(size, *values.shape[1:]).index_add(0, original, values)
    return total / counts.view(-1, *[1] * (values.ndim - 1))


def _rows(owner: Tensor, owners: int, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (sorted by owner) of the chosen owners, where each choice starts among them, and where it was."""
    counts = torch.bincount(owner, minlength=owners)
    first = (counts.cumsum(0) - counts)[chosen]
    start = torch.nn.functional.pad(counts[chosen].cumsum(0), (1, 0))
    rows = torch.arange(int(start[-1]), device=owner.device)
    return rows + torch.repeat_interleave(first - start[:-1], start.diff()), start, first
