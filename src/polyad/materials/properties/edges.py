"""Invariants of edges as networks see them: length, and of struts the radius, each in a Gaussian basis."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from polyad.errors import InputError
from polyad.graphs.points import PointGraph
from polyad.symmetry.radial import gaussian


def edge_basis(graph: PointGraph, *, size: int, cutoff: float, radius: float | None) -> Float[Tensor, "edges features"]:
    """`size` Gaussians of the length from 0 to `cutoff`, and as many of the radius from 0 to `radius` if it is given.

    Raises:
        InputError: a radius is expected and the graph has none.
    """
    lengths = gaussian(graph.distances(), size, cutoff)
    if radius is None:
        return lengths
    if graph.edge_scalars.shape[1] < 1:
        raise InputError("graph: edges have no radius, this network was built for struts; leave `radius` out")
    return torch.cat([lengths, gaussian(graph.edge_scalars[:, 0], size, radius)], dim=1)
