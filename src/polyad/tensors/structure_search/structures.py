"""Structures of tensor networks: one integer for every pair of nodes, and nothing else.

Node i carries mode i where i < order; further nodes carry no mode. R_ij is the size of the bond between nodes i and j,
and a bond of size one is no bond:

    core i:  d_i x R_i1 x R_i2 x ...            parameters = sum_i d_i prod_j R_ij        (d_i = 1 without a mode)

All ranks one is a rank-one tensor, a path is a tensor train, a cycle a tensor ring; Tucker and hierarchical formats are
trees with nodes of their own. The value that belongs to a structure is a `polyad.tensors.formats.TensorNetwork`.

Source: M. Hashemizadeh, M. Liu, J. Miller, G. Rabusseau, arXiv:2008.05437 (2020), section 3; C. Li and Z. Sun,
ICML 2020 (adjacency matrices).

When not to use it: for networks with hyperedges, which have no rank matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from math import prod
from typing import final

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats import TensorNetwork

MOST_INNER_NODES = 7
"""`canonical` compares all orders of the nodes without a mode, so there may not be more of them."""

Label = int | tuple[int, int]


@final
@dataclass(frozen=True)
class NetworkStructure:
    """A rank matrix over nodes.

    Args:
        shape: sizes of the modes; node i carries mode i.
        ranks: symmetric, (nodes, nodes), entries >= 1; the diagonal is ignored and stored as ones.
    """

    shape: tuple[int, ...]
    ranks: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        shape = tuple(int(size) for size in self.shape)
        ranks = [[int(rank) for rank in row] for row in self.ranks]
        if not shape or min(shape) < 1:
            raise InputError(f"shape: {shape} was given; give at least one mode, every size at least 1")
        if len(ranks) < len(shape) or any(len(row) != len(ranks) for row in ranks):
            raise InputError(f"ranks: a square matrix with at least {len(shape)} rows is needed, one a mode")
        for i, row in enumerate(ranks):
            row[i] = 1
        if any(ranks[i][j] != ranks[j][i] or ranks[i][j] < 1 for i in range(len(ranks)) for j in range(i)):
            raise InputError("ranks: the matrix must be symmetric with entries >= 1 (1 where there is no bond)")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "ranks", tuple(tuple(row) for row in ranks))

    @classmethod
    def from_edges(
        cls, shape: Sequence[int], edges: dict[tuple[int, int], int], *, nodes: int | None = None
    ) -> NetworkStructure:
        """From bonds (i, j) -> size; `nodes` counts all nodes where some carry no mode."""
        count = len(shape) if nodes is None else nodes
        ranks = [[1] * count for _ in range(count)]
        for (i, j), rank in edges.items():
            if not (0 <= i < count and 0 <= j < count and i != j):
                raise InputError(f"edges: ({i}, {j}) was given; nodes are 0..{count - 1}, and two different ones")
            ranks[i][j] = ranks[j][i] = rank
        return cls(tuple(shape), tuple(tuple(row) for row in ranks))

    @property
    def order(self) -> int:
        """Number of modes."""
        return len(self.shape)

    @property
    def nodes(self) -> int:
        """Number of nodes, those without a mode included."""
        return len(self.ranks)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Bonds (i, j), i < j, of size above one."""
        return tuple((i, j) for i in range(self.nodes) for j in range(i + 1, self.nodes) if self.ranks[i][j] > 1)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """All pairs (i, j), i < j, with a bond or without."""
        return tuple((i, j) for i in range(self.nodes) for j in range(i + 1, self.nodes))

    @property
    def parameters(self) -> int:
        """Numbers in all cores."""
        return sum(prod(self.core_shape(node)) for node in range(self.nodes))

    @property
    def compression(self) -> float:
        """Parameters divided by the entries of the dense tensor."""
        return self.parameters / prod(self.shape)

    def labels(self, node: int) -> tuple[Label, ...]:
        """The legs of a core: its mode (an integer) first, then its bonds (i, j) by the other node."""
        mode: tuple[Label, ...] = (node,) if node < self.order else ()
        return mode + tuple((min(node, k), max(node, k)) for k, rank in enumerate(self.ranks[node]) if rank > 1)

    def core_shape(self, node: int) -> tuple[int, ...]:
        """Sizes of the legs, in the order of `labels`."""
        mode = (self.shape[node],) if node < self.order else ()
        return mode + tuple(rank for rank in self.ranks[node] if rank > 1)

    def with_rank(self, i: int, j: int, rank: int) -> NetworkStructure:
        """The same structure with another size of one bond."""
        ranks = [list(row) for row in self.ranks]
        ranks[i][j] = ranks[j][i] = rank
        return NetworkStructure(self.shape, tuple(tuple(row) for row in ranks))

    def canonical(self) -> NetworkStructure:
        """Equal for structures that differ in the numbering of nodes without a mode; those without bonds are dropped.

        Nodes with modes are told apart by them, so a structure without inner nodes is its own canonical form, and
        permutations of a template that are automorphisms of it give equal structures.
        """
        order = self.order
        inner = [node for node in range(order, self.nodes) if max(self.ranks[node]) > 1]
        if len(inner) > MOST_INNER_NODES:
            raise InputError(f"ranks: {len(inner)} nodes without a mode; at most {MOST_INNER_NODES} can be ordered")
        candidates = (
            tuple(tuple(self.ranks[a][b] for b in places) for a in places)
            for chosen in permutations(inner)
            for places in [[*range(order), *chosen]]
        )
        return NetworkStructure(self.shape, max(candidates))

    def random_cores(
        self, generator: torch.Generator, *, starts: int = 1, dtype: torch.dtype = torch.float64
    ) -> list[Tensor]:
        """Normal cores (starts, *core_shape) such that entries of the network have variance one."""
        cores = []
        for node in range(self.nodes):
            bonds = prod(self.ranks[node])
            shape = (starts, *self.core_shape(node))
            core = torch.randn(shape, generator=generator, dtype=dtype, device=generator.device)
            cores.append(core * bonds**-0.25)
        return cores

    def network(self, cores: Sequence[Tensor]) -> TensorNetwork:
        """The value of this structure with these cores (without a dimension for starts)."""
        for node, core in enumerate(cores):
            if tuple(core.shape) != self.core_shape(node):
                raise InputError(f"cores: core {node} is {tuple(core.shape)}, {self.core_shape(node)} is needed")
        return TensorNetwork(tuple(cores), tuple(map(self.labels, range(self.nodes))), tuple(range(self.order)))


def structure_of(network: TensorNetwork) -> tuple[NetworkStructure, list[Tensor]]:
    """Structure and cores of a network in which every mode has a tensor of its own and a bond joins two tensors.

    Raises:
        InputError: hyperedges, several modes on one tensor.
    """
    holders = {
        label: [k for k, names in enumerate(network.indices) if label in names]
        for names in network.indices
        for label in names
    }
    places = [holders[mode] for mode in network.modes]
    if any(len(found) != 1 for found in places) or len({found[0] for found in places}) < len(places):
        raise InputError("network: a rank matrix needs each mode alone on a tensor of its own")
    if any(len(holders[bond]) != 2 for bond in network.bonds):
        raise InputError("network: a rank matrix needs bonds that join two tensors; it has hyperedges")
    nodes = [found[0] for found in places]
    nodes += [k for k in range(len(network.tensors)) if k not in nodes]
    edges: dict[tuple[int, int], int] = {}
    for bond, rank in zip(network.bonds, network.ranks, strict=True):
        i, j = sorted(nodes.index(k) for k in holders[bond])
        edges[i, j] = edges.get((i, j), 1) * rank
    structure = NetworkStructure.from_edges(network.shape, edges, nodes=len(nodes))
    cores = []
    for node, place in enumerate(nodes):
        names = network.indices[place]
        others = [label for label in network.bonds if label in names]  # parallel bonds become one: same order in both
        others.sort(key=lambda label: next(nodes.index(k) for k in holders[label] if k != place))
        first = [network.modes[node]] if node < structure.order else []
        core = network.tensors[place].permute([names.index(label) for label in [*first, *others]])
        cores.append(core.reshape(structure.core_shape(node)))
    return structure, cores
