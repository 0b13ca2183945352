"""What every solver of frames takes: struts as vectors and four stiffnesses, joined in nodes, many cells in a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.graphs.periodic import periodic_components_batched
from polyad.materials.lattice.batch import LatticeBatch


@final
@dataclass(frozen=True, eq=False)
class Frame:
    """A ragged batch of periodic frames in float64.

    Args:
        vectors: (edges, 3) strut vectors.
        coefficients: (edges, 4) stretch, shear, twist and curvature stiffness of every strut (`strut_stiffness`).
        edge_index: (2, edges) nodes counted over the whole batch.
        node_start, edge_start: (batch + 1,) where the nodes and struts of every cell begin.
        ground_start: (batch + 1,) where the components of every cell begin.
        ground_node: (components,) one node of every component, held by springs: with the load on a component in
            equilibrium they take no force.
        ground_rotation: (components, 3, 3) projector on the rotations that a component's rigid motion leaves free.
    """

    vectors: Float[Tensor, "edges 3"]
    coefficients: Float[Tensor, "edges 4"]
    edge_index: Int[Tensor, "2 edges"]
    node_start: Int[Tensor, " batch_plus_one"]
    edge_start: Int[Tensor, " batch_plus_one"]
    ground_start: Int[Tensor, " batch_plus_one"]
    ground_node: Int[Tensor, " components"]
    ground_rotation: Float[Tensor, "components 3 3"]

    def __len__(self) -> int:
        """Number of cells."""
        return self.node_start.shape[0] - 1

    def arrays(self) -> FrameArrays:
        """The same as NumPy arrays, for compiled code."""
        source, target = self.edge_index
        fields = (self.node_start, self.edge_start, source, target, self.vectors, self.coefficients)
        ground = (self.ground_start, self.ground_node, self.ground_rotation)
        return FrameArrays(*(np.ascontiguousarray(x.detach().numpy()) for x in fields + ground))


class FrameArrays(NamedTuple):
    """Fields of a `Frame` in the order in which compiled code takes them."""

    node_start: np.ndarray
    edge_start: np.ndarray
    source: np.ndarray
    target: np.ndarray
    vectors: np.ndarray
    coefficients: np.ndarray
    ground_start: np.ndarray
    ground_node: np.ndarray
    ground_rotation: np.ndarray


def assemble(
    batch: LatticeBatch, vectors: Float[Tensor, "edges 3"], coefficients: Float[Tensor, "edges 4"]
) -> tuple[Frame, Int[Tensor, " batch"]]:
    """The frame of a batch of lattices with given strut vectors and stiffnesses, and the mechanisms of every one."""
    parts = periodic_components_batched(batch.node_start, batch.edge_start, batch.edge_index, batch.edge_shift)
    device, labels = batch.cell.device, parts.label
    first = torch.full((len(parts),), len(labels), dtype=torch.int64, device=device)
    first.scatter_reduce_(0, labels, torch.arange(len(labels), device=device), "amin")
    rotation = torch.zeros(len(parts), 3, 3, dtype=torch.float64, device=device)
    rotation[parts.dimension == 0] = torch.eye(3, dtype=torch.float64, device=device)
    chains = torch.nonzero(parts.dimension == 1).flatten()
    owner = torch.searchsorted(parts.component_start, chains, right=True) - 1
    axis = torch.einsum("ck,ckd->cd", parts.directions[chains, 0].double(), batch.cell.detach()[owner].double())
    axis = axis / torch.linalg.vector_norm(axis, dim=-1, keepdim=True)
    rotation[chains] = axis[:, :, None] * axis[:, None, :]
    free = torch.tensor([6, 4, 3, 3], device=device)[parts.dimension]
    total = torch.nn.functional.pad(free.cumsum(0), (1, 0))
    mechanisms = total[parts.component_start[1:]] - total[parts.component_start[:-1]] - 3
    frame = Frame(
        vectors=vectors,
        coefficients=coefficients,
        edge_index=batch.edge_index,
        node_start=batch.node_start,
        edge_start=batch.edge_start,
        ground_start=parts.component_start,
        ground_node=first,
        ground_rotation=rotation,
    )
    return frame, mechanisms
