"""Molecules, crystals and strut lattices of any sizes in one value, ready for a network.

Nodes (atoms or joints) and edges of all structures lie one after another; `node_start` and `edge_start` say where each
structure begins. Targets and features travel along under their names: `targets` a value a structure (energy,
stiffness), `node_targets` a value a node (forces), `edge_features` a value an edge (strut radius).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polyad.errors import InputError
from polyad.graphs.neighbors import edge_vectors, neighbor_lists
from polyad.materials.lattice.batch import LatticeBatch


@final
@dataclass(frozen=True, eq=False)
class Structures:
    """A batch of structures; structure b owns the nodes node_start[b] .. node_start[b + 1].

    Args:
        positions: (nodes, 3), in one unit of length.
        species: (nodes,) atomic numbers; 0 is a node without one, such as the joint of a lattice.
        node_start: (structures + 1,).
        cell: (structures, 3, 3) rows are lattice vectors; anything where nothing repeats.
        periodic: (structures, 3) along which of them the structure repeats.
        edge_index: (2, edges) source and target, counted over the whole batch, both directions of every pair.
        edge_shift: (edges, 3) image of the target in units of the cell's rows.
        edge_start: (structures + 1,).
        targets: name -> (structures, ...).
        node_targets: name -> (nodes, ...).
        edge_features: name -> (edges, ...).
        names: one a structure, or none at all.

    Raises:
        InputError: sizes that do not fit together; the message names the field.
    """

    positions: Float[Tensor, "nodes 3"]
    species: Int[Tensor, " nodes"]
    node_start: Int[Tensor, " structures_plus_one"]
    cell: Float[Tensor, "structures 3 3"]
    periodic: Bool[Tensor, "structures 3"]
    edge_index: Int[Tensor, "2 edges"]
    edge_shift: Int[Tensor, "edges 3"]
    edge_start: Int[Tensor, " structures_plus_one"]
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    node_targets: Mapping[str, Tensor] = field(default_factory=dict)
    edge_features: Mapping[str, Tensor] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        structures, nodes, edges = len(self.node_start) - 1, len(self.positions), self.edge_index.shape[1]
        sizes = [("species", len(self.species), nodes), ("cell", len(self.cell), structures)]
        sizes += [("periodic", len(self.periodic), structures), ("edge_shift", len(self.edge_shift), edges)]
        sizes += [("edge_start", len(self.edge_start) - 1, structures)]
        sizes += [(f"targets[{name!r}]", len(value), structures) for name, value in self.targets.items()]
        sizes += [(f"node_targets[{name!r}]", len(value), nodes) for name, value in self.node_targets.items()]
        sizes += [(f"edge_features[{name!r}]", len(value), edges) for name, value in self.edge_features.items()]
        sizes += [("names", len(self.names), structures)] if self.names else []
        for what, got, wanted in sizes:
            if got != wanted:
                raise InputError(
                    f"Structures: {what} has {got} rows, {wanted} are needed ({structures} structures, {nodes} nodes, "
                    f"{edges} edges)"
                )

    # ------------------------------------------------------------------ build

    @staticmethod
    def from_arrays(
        positions: Float[Tensor, "nodes 3"],
        species: Int[Tensor, " nodes"] | Sequence[int],
        *,
        sizes: Sequence[int] | None = None,
        cell: Float[Tensor, "structures 3 3"] | None = None,
        periodic: Bool[Tensor, "structures 3"] | None = None,
        targets: Mapping[str, Tensor] | None = None,
        node_targets: Mapping[str, Tensor] | None = None,
        names: Sequence[str] = (),
    ) -> Structures:
        """Structures without edges yet; `with_neighbors` finds them.

        Args:
            positions: (nodes, 3) of all structures, one after another.
            species: (nodes,) atomic numbers.
            sizes: nodes of every structure; by default all nodes are one structure.
            cell: (structures, 3, 3) rows are lattice vectors; none for molecules.
            periodic: (structures, 3); by default along all three if there are cells.
            targets: name -> (structures, ...).
            node_targets: name -> (nodes, ...).
            names: one a structure, or none.
        """
        device = positions.device
        counts = torch.tensor([len(positions)] if sizes is None else list(sizes), device=device)
        if int(counts.sum()) != len(positions) or bool((counts < 0).any()):
            raise InputError(f"sizes: add up to {int(counts.sum())}, there are {len(positions)} nodes")
        structures = len(counts)
        flags = torch.full((structures, 3), cell is not None, device=device)
        return Structures(
            positions=positions,
            species=torch.as_tensor(species, dtype=torch.int64, device=device),
            node_start=_starts(counts),
            cell=positions.new_zeros(structures, 3, 3) if cell is None else cell,
            periodic=flags if periodic is None else periodic,
            edge_index=torch.zeros(2, 0, dtype=torch.int64, device=device),
            edge_shift=torch.zeros(0, 3, dtype=torch.int64, device=device),
            edge_start=torch.zeros(structures + 1, dtype=torch.int64, device=device),
            targets=targets or {},
            node_targets=node_targets or {},
            names=tuple(names),
        )

    @staticmethod
    def from_lattices(
        lattices: LatticeBatch, *, targets: Mapping[str, Tensor] | None = None, names: Sequence[str] = ()
    ) -> Structures:
        """Lattices as structures: joints are nodes of species 0, every strut is an edge in both directions.

        The edge feature `radius` holds the strut's radius. Directions of a strut lie side by side: 2k and 2k + 1.
        """
        device = lattices.positions.device
        both = torch.stack([lattices.edge_index, lattices.edge_index.flip(0)], dim=2).reshape(2, -1)
        shift = torch.stack([lattices.edge_shift, -lattices.edge_shift], dim=1).reshape(-1, 3)
        return Structures(
            positions=lattices.positions,
            species=torch.zeros(len(lattices.positions), dtype=torch.int64, device=device),
            node_start=lattices.node_start,
            cell=lattices.cell,
            periodic=torch.ones(len(lattices), 3, dtype=torch.bool, device=device),
            edge_index=both,
            edge_shift=shift,
            edge_start=2 * lattices.edge_start,
            targets=targets or {},
            edge_features={"radius": lattices.radius.repeat_interleave(2)},
            names=tuple(names),
        )

    def to_lattices(self) -> LatticeBatch:
        """The lattices that `from_lattices` made structures of, geometry as it is now.

        Raises:
            InputError: structures whose edges are no struts.
        """
        one, other = self.edge_index[:, ::2], self.edge_index[:, 1::2]
        if "radius" not in self.edge_features or not torch.equal(one, other.flip(0)):
            raise InputError("to_lattices: needs structures made of lattices: a radius on every edge, in pairs")
        return LatticeBatch(
            cell=self.cell,
            positions=self.positions,
            edge_index=one,
            edge_shift=self.edge_shift[::2],
            radius=self.edge_features["radius"][::2],
            node_start=self.node_start,
            edge_start=self.edge_start // 2,
        )

    @staticmethod
    def concatenate(parts: Sequence[Structures]) -> Structures:
        """One batch of all structures of several; targets and features must have the same names in each.

        Raises:
            InputError: no parts, or names that differ.
        """
        if not parts:
            raise InputError("concatenate: the list is empty; give at least one batch")
        for attribute in ("targets", "node_targets", "edge_features"):
            keys = [sorted(getattr(part, attribute)) for part in parts]
            if any(key != keys[0] for key in keys):
                bad = next(key for key in keys if key != keys[0])
                raise InputError(f"concatenate: {attribute} differ: {keys[0]} and {bad}; drop what not all have")
        nodes = _starts(torch.tensor([len(part.positions) for part in parts]))[:-1].tolist()
        edges = _starts(torch.tensor([part.num_edges for part in parts]))[:-1].tolist()
        fields: dict[str, Any] = {
            name: torch.cat([getattr(p, name) for p in parts]) for name in _NODE_FIELDS + _GRAPH_FIELDS
        }
        for attribute, first in parts[0]._named():
            fields[attribute] = {key: torch.cat([getattr(p, attribute)[key] for p in parts]) for key in first}
        return Structures(
            node_start=_joined([part.node_start + n for part, n in zip(parts, nodes, strict=True)]),
            edge_start=_joined([part.edge_start + n for part, n in zip(parts, edges, strict=True)]),
            edge_index=torch.cat([part.edge_index + n for part, n in zip(parts, nodes, strict=True)], dim=1),
            edge_shift=torch.cat([part.edge_shift for part in parts]),
            names=tuple(name for part in parts for name in part.names) if all(p.names for p in parts) else (),
            **fields,
        )

    # ------------------------------------------------------------------ look

    def __len__(self) -> int:
        """Number of structures."""
        return len(self.node_start) - 1

    @property
    def num_nodes(self) -> int:
        """Number of nodes of all structures."""
        return len(self.positions)

    @property
    def num_edges(self) -> int:
        """Number of directed edges of all structures."""
        return self.edge_index.shape[1]

    @property
    def structure(self) -> Int[Tensor, " nodes"]:
        """Number of the structure that every node belongs to."""
        steps = torch.arange(len(self), device=self.node_start.device)
        return torch.repeat_interleave(steps, self.node_start.diff(), output_size=self.num_nodes)

    def edge_vectors(self) -> Float[Tensor, "edges 3"]:
        """Vectors from source to target, differentiable in positions and cells."""
        return edge_vectors(self.positions, self.edge_index, self.edge_shift, self.cell, self.structure)

    def __getitem__(self, index: int | slice | Sequence[int] | Int[Tensor, " chosen"]) -> Structures:
        """Some of the structures, in the order asked for."""
        device = self.node_start.device
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"structure {index} of {len(self)}")
            index = [index]
        chosen = torch.arange(len(self), device=device)[
            index if isinstance(index, slice) else torch.as_tensor(index, dtype=torch.int64, device=device)
        ]
        nodes, node_start = _ragged(self.node_start, chosen)
        edges, edge_start = _ragged(self.edge_start, chosen)
        moved = torch.repeat_interleave(node_start[:-1] - self.node_start[chosen], edge_start.diff())
        rows = {"targets": chosen, "node_targets": nodes, "edge_features": edges}
        fields: dict[str, Any] = {name: getattr(self, name)[nodes] for name in _NODE_FIELDS}
        fields |= {name: getattr(self, name)[chosen] for name in _GRAPH_FIELDS}
        fields |= {name: {key: value[rows[name]] for key, value in named.items()} for name, named in self._named()}
        return Structures(
            node_start=node_start,
            edge_start=edge_start,
            edge_index=self.edge_index[:, edges] + moved,
            edge_shift=self.edge_shift[edges],
            names=tuple(self.names[k] for k in chosen.tolist()) if self.names else (),
            **fields,
        )

    # ------------------------------------------------------------------ change

    def with_neighbors(self, cutoff: float, **options: Any) -> Structures:
        """The same structures with an edge for every pair closer than the cutoff, images included.

        Edge features are dropped: they belonged to the old edges.

        Raises:
            InputError: as `polyad.graphs.neighbors.neighbor_lists`.
        """
        cells = self.cell if bool(self.periodic.any()) else None
        flags = self.periodic if cells is not None else None
        found = neighbor_lists(self.positions, self.node_start, cutoff, cells=cells, periodic=flags, **options)
        return replace(
            self,
            edge_index=found.edge_index,
            edge_shift=found.edge_shift,
            edge_start=found.edge_start,
            edge_features={},
        )

    def replace(self, **fields: Any) -> Structures:
        """A copy with some fields exchanged."""
        return replace(self, **fields)

    def to(self, target: torch.dtype | torch.device | str) -> Structures:
        """The same structures on a device, or with all floating-point fields in a dtype."""

        def moved(value: Tensor) -> Tensor:
            return value.to(target) if not isinstance(target, torch.dtype) or value.is_floating_point() else value

        fields: dict[str, Any] = {name: moved(getattr(self, name)) for name in _TENSOR_FIELDS}
        fields |= {name: {key: moved(value) for key, value in values.items()} for name, values in self._named()}
        return replace(self, **fields)

    def _named(self) -> list[tuple[str, Mapping[str, Tensor]]]:
        return [(name, getattr(self, name)) for name in ("targets", "node_targets", "edge_features")]


_NODE_FIELDS = ("positions", "species")
_GRAPH_FIELDS = ("cell", "periodic")
_TENSOR_FIELDS = (*_NODE_FIELDS, *_GRAPH_FIELDS, "node_start", "edge_index", "edge_shift", "edge_start")


def _starts(counts: Int[Tensor, " parts"]) -> Int[Tensor, " parts_plus_one"]:
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))


def _joined(starts: Sequence[Tensor]) -> Tensor:
    """Start vectors of several parts, each already moved, without the shared ends."""
    return torch.cat([*(start[:-1] for start in starts), starts[-1][-1:]])


def _ragged(start: Int[Tensor, " rows_plus_one"], chosen: Int[Tensor, " chosen"]) -> tuple[Tensor, Tensor]:
    """Places of the items of the chosen rows, one row after another, and where each row now starts."""
    counts = start.diff()[chosen]
    new = _starts(counts)
    places = torch.arange(int(new[-1]), device=start.device)
    return places + torch.repeat_interleave(start[chosen] - new[:-1], counts), new
