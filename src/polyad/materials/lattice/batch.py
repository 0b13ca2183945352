"""Many strut lattices of different sizes in one value.

Nodes and struts of all lattices are concatenated; `node_start` and `edge_start` say where each lattice begins. Solvers
work on this form, so that thousands of small cells cost one call. Gradients flow through the concatenation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.materials.lattice.cell import StrutLattice, edge_vectors


@final
@dataclass(frozen=True, eq=False)
class LatticeBatch:
    """Many lattices of different sizes, concatenated; lattice b owns nodes node_start[b] .. node_start[b + 1].

    `edge_index` counts nodes of the whole batch. Build one with `from_lattices` or `from_geometries`.
    """

    cell: Float[Tensor, "batch 3 3"]
    positions: Float[Tensor, "nodes 3"]
    edge_index: Int[Tensor, "2 edges"]
    edge_shift: Int[Tensor, "edges 3"]
    radius: Float[Tensor, " edges"]
    node_start: Int[Tensor, " batch_plus_one"]
    edge_start: Int[Tensor, " batch_plus_one"]

    @staticmethod
    def from_lattices(lattices: Sequence[StrutLattice]) -> LatticeBatch:
        """Concatenate lattices (one dtype and device); gradients flow back to each."""
        if not lattices:
            raise InputError("from_lattices: the list is empty; give at least one StrutLattice")
        first = lattices[0].positions
        if any(x.positions.dtype != first.dtype or x.positions.device != first.device for x in lattices):
            raise InputError("from_lattices: lattices differ in dtype or device; convert them with .to(...) first")
        node_start = _starts([x.num_nodes for x in lattices], first.device)
        edge_start = _starts([x.num_edges for x in lattices], first.device)
        base = torch.repeat_interleave(node_start[:-1], edge_start.diff())
        return LatticeBatch(
            cell=torch.stack([x.cell for x in lattices]),
            positions=torch.cat([x.positions for x in lattices]),
            edge_index=torch.cat([x.edge_index for x in lattices], dim=1) + base,
            edge_shift=torch.cat([x.edge_shift for x in lattices]),
            radius=torch.cat([x.radius for x in lattices]),
            node_start=node_start,
            edge_start=edge_start,
        )

    @staticmethod
    def from_geometries(
        lattice: StrutLattice,
        *,
        positions: Float[Tensor, "batch nodes 3"] | None = None,
        radius: Float[Tensor, "batch edges"] | None = None,
        cell: Float[Tensor, "batch 3 3"] | None = None,
    ) -> LatticeBatch:
        """One net with many geometries: whatever is not given is the lattice's own. Not validated strut by strut."""
        sizes = {len(x) for x in (positions, radius, cell) if x is not None}
        if len(sizes) != 1:
            raise InputError(
                f"from_geometries: batch sizes are {sorted(sizes)}; give at least one field, all of one size"
            )
        batch = sizes.pop()
        nodes, edges, device = lattice.num_nodes, lattice.num_edges, lattice.positions.device
        steps = torch.arange(batch + 1, device=device)
        index = lattice.edge_index[:, None, :] + nodes * steps[None, :-1, None]
        own = lattice
        return LatticeBatch(
            cell=own.cell.expand(batch, 3, 3) if cell is None else cell,
            positions=(own.positions.expand(batch, nodes, 3) if positions is None else positions).reshape(-1, 3),
            edge_index=index.reshape(2, batch * edges),
            edge_shift=own.edge_shift.repeat(batch, 1),
            radius=(own.radius.expand(batch, edges) if radius is None else radius).reshape(-1),
            node_start=nodes * steps,
            edge_start=edges * steps,
        )

    def __len__(self) -> int:
        """Number of lattices."""
        return self.cell.shape[0]

    def __getitem__(self, index: int) -> StrutLattice:
        """Lattice number `index` as a value of its own."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"lattice {index} of a batch of {len(self)}")
        index %= len(self)
        nodes = slice(int(self.node_start[index]), int(self.node_start[index + 1]))
        edges = slice(int(self.edge_start[index]), int(self.edge_start[index + 1]))
        return StrutLattice(
            self.cell[index],
            self.positions[nodes],
            self.edge_index[:, edges] - self.node_start[index],
            self.edge_shift[edges],
            self.radius[edges],
        )

    @property
    def edge_batch(self) -> Int[Tensor, " edges"]:
        """Number of the lattice that every strut belongs to."""
        return torch.repeat_interleave(torch.arange(len(self), device=self.cell.device), self.edge_start.diff())

    @property
    def volume(self) -> Float[Tensor, " batch"]:
        """Volume of every cell."""
        return torch.linalg.det(self.cell).abs()

    @property
    def edge_vectors(self) -> Float[Tensor, "edges 3"]:
        """Vector of every strut of every lattice."""
        return edge_vectors(self.cell[self.edge_batch], self.positions, self.edge_index, self.edge_shift)

    @property
    def relative_density(self) -> Float[Tensor, " batch"]:
        """Beam-formula density of every lattice."""
        strut = math.pi * self.radius**2 * torch.linalg.vector_norm(self.edge_vectors, dim=-1)
        return torch.zeros_like(self.volume).index_add(0, self.edge_batch, strut) / self.volume

    def replace(self, **fields: Any) -> LatticeBatch:
        """A copy with some fields exchanged."""
        return replace(self, **fields)


def _starts(sizes: Sequence[int], device: torch.device) -> Int[Tensor, " batch_plus_one"]:
    return torch.nn.functional.pad(torch.tensor(sizes, device=device).cumsum(0), (1, 0))
