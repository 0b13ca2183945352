"""Tree tensor networks (hierarchical Tucker): modes at the leaves, small tensors at the branchings.

    X_leaf = U (n, r)        X_node[(i_1 .. i_m), r] = sum C[r_1 .. r_m, r] X_1[i_1, r_1] ... X_m[i_m, r_m]

The root has r = 1, and its X is the tensor. A tree is written as nested tuples of mode numbers: ((0, 1), (2, 3)).

Truncation goes from the leaves to the root. What lies outside a node enters by a triangular root, found from the root
downwards; every cut is a truncated SVD in that metric, and the squared errors add.

Sources: W. Hackbusch and S. Kuehn, J. Fourier Anal. Appl. 15 (2009) 706; L. Grasedyck, SIAM J. Matrix Anal. Appl. 31
(2010) 2029.

When not to use it: for a natural chain of modes, where a tensor train is the simpler tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int, Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats._norms import differentiable_norm
from polyad.tensors.formats.base import (
    TensorFormat,
    Truncation,
    check_arrays,
    check_indices,
    check_matrix,
    check_memory,
    check_same,
    check_squeezed,
    check_tolerance,
    rank_caps,
)
from polyad.tensors.formats.cp import normal, trailing
from polyad.tensors.formats.tree_layout import Node, Tree, check_tree, largest_ranks, layout, leaves_in_order
from polyad.tensors.formats.tucker import direct_sum, kronecker, multiply_modes


@final
@dataclass(frozen=True, eq=False, repr=False)
class TreeTensorNetwork(TensorFormat):
    """A tree of small tensors.

    Args:
        tree: nested tuples of mode numbers.
        factors: one matrix (*batch, n_k, r_k) a mode, in the order of the modes.
        cores: one tensor (*batch, r_1, .., r_m, r) an inner node, children before parents, left before right; the
            last one is the root's, with r = 1.

    `ranks` has one number a node other than the root (leaves too), in the same order. `orthogonalise` makes every
    node but the root an isometry towards it.
    """

    tree: Tree
    factors: tuple[Tensor, ...]
    cores: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", tuple(self.factors))
        object.__setattr__(self, "cores", tuple(self.cores))
        nodes = check_tree(self.tree, len(self.factors))
        inner = [node for node in nodes if node.mode is None]
        check_arrays([*self.factors, *self.cores], "TreeTensorNetwork")
        if len(inner) != len(self.cores):
            raise InputError(f"cores: {len(self.cores)} were given, the tree {self.tree} has {len(inner)} inner nodes")
        arrays, batch = self._by_node(), self.batch_shape
        for node, array in zip(nodes, arrays, strict=True):
            dims = 2 if node.mode is not None else len(node.children) + 1
            wanted = (*batch, *(arrays[child].shape[-1] for child in node.children))
            if array.ndim != len(batch) + dims or tuple(array.shape[: len(wanted)]) != wanted:
                raise InputError(
                    f"cores: node {node.tree} has shape {tuple(array.shape)}, expected it to begin with {wanted} and "
                    f"to have {len(batch) + dims} dimensions"
                )
        if arrays[-1].shape[-1] != 1:
            raise InputError(f"cores: the root ends with rank {arrays[-1].shape[-1]}; it must be 1")

    @classmethod
    def random(
        cls,
        shape: Sequence[int],
        ranks: int | Sequence[int],
        *,
        tree: Tree,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
        batch_shape: Sequence[int] = (),
    ) -> TreeTensorNetwork:
        """Normal tensors such that entries have variance one; ranks come down to what shape and tree allow."""
        nodes = check_tree(tree, len(shape))
        rank = [*rank_caps(ranks, largest_ranks(nodes, shape)), 1]
        factors: dict[int, Tensor] = {}
        cores = []
        for place, node in enumerate(nodes):
            if node.mode is not None:
                factors[node.mode] = normal((*batch_shape, shape[node.mode], rank[place]), generator, dtype)
                continue
            below = [rank[child] for child in node.children]
            terms = torch.tensor(below, dtype=torch.float64).prod().item()
            cores.append(normal((*batch_shape, *below, rank[place]), generator, dtype) / terms**0.5)
        return cls(tree, tuple(factors[mode] for mode in range(len(shape))), tuple(cores))

    @classmethod
    def from_dense(
        cls,
        tensor: Num[Tensor, "..."],
        *,
        tree: Tree,
        tolerance: float | None = None,
        ranks: int | Sequence[int] | None = None,
    ) -> TreeTensorNetwork:
        """Hierarchical SVD from the leaves to the root (see `tree_svd`)."""
        from polyad.tensors.formats.hosvd import tree_svd

        found = tree_svd(tensor, tree, tolerance=tolerance, ranks=ranks).value
        return cls(tree, found.factors, found.cores)

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """Factors, then cores."""
        return (*self.factors, *self.cores)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the modes."""
        return tuple(factor.shape[-2] for factor in self.factors)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Sizes of the leading batch dimensions."""
        return tuple(self.factors[0].shape[:-2])

    @property
    def ranks(self) -> tuple[int, ...]:
        """Rank of every node but the root, children before parents."""
        return tuple(array.shape[-1] for array in self._by_node()[:-1])

    def to_dense(self) -> Num[Tensor, "..."]:
        """All entries."""
        check_memory(self)
        nodes, full = layout(self.tree), self._by_node()
        for place, node in enumerate(nodes):
            if node.mode is None:
                full[place] = self._absorb(full, node, place)
        modes, batch = leaves_in_order(self.tree), len(self.batch_shape)
        dense = full[-1].reshape(*self.batch_shape, *(self.shape[mode] for mode in modes))
        return dense.permute(*range(batch), *(batch + modes.index(mode) for mode in range(self.order)))

    def entries(self, indices: Int[Tensor, "count order"]) -> Num[Tensor, "... count"]:
        """The entries at these index tuples, from the leaves to the root."""
        indices = check_indices(indices, self.shape)
        rows = self._by_node()
        for place, node in enumerate(layout(self.tree)):
            if node.mode is not None:
                rows[place] = rows[place][..., indices[:, node.mode], :]
                continue
            core = rows[place]
            partial = rows[node.children[0]] @ core.flatten(len(self.batch_shape) + 1)
            for child in node.children[1:]:
                row = rows[child]
                partial = (row[..., None, :] @ partial.unflatten(-1, (row.shape[-1], -1)))[..., 0, :]
            rows[place] = partial
        return rows[-1][..., 0]

    def inner(self, other: TreeTensorNetwork) -> Num[Tensor, "..."]:
        """Gram matrices between the two trees, from the leaves to the root."""
        check_same(self, other)
        self._check_tree(other)
        grams = self._by_node()
        for place, (node, others) in enumerate(zip(layout(self.tree), other._by_node(), strict=True)):
            moved = others if node.mode is not None else self._multiply(others, grams, node)
            start = len(self.batch_shape)
            grams[place] = grams[place].flatten(start, -2).mH @ moved.flatten(start, -2)
        return grams[-1][..., 0, 0]

    def norm(self) -> Num[Tensor, "..."]:
        """Norm of the root once all other nodes are isometries, of which only the triangles are kept."""
        from polyad.tensors.formats._tree_rounding import triangles

        fixed = self._from_nodes([array.detach() for array in self._by_node()])
        root = triangles(layout(self.tree), fixed.by_node(), len(self.batch_shape))[-1]
        return differentiable_norm(torch.linalg.vector_norm(root, dim=(-2, -1)), self, fixed)

    def add(self, other: TreeTensorNetwork) -> TreeTensorNetwork:
        """The sum on the same tree; ranks add."""
        check_same(self, other)
        self._check_tree(other)
        factors = [torch.cat(pair, dim=-1) for pair in zip(self.factors, other.factors, strict=True)]
        cores, batch = [], len(self.batch_shape)
        for place, (mine, others) in enumerate(zip(self.cores, other.cores, strict=True)):
            last = -1 if place == len(self.cores) - 1 else 0
            cores.append(direct_sum(mine, others, range(batch - mine.ndim, last)))
        return type(self)(self.tree, tuple(factors), tuple(cores))

    def scale(self, factor: Num[Tensor, "..."] | complex) -> TreeTensorNetwork:
        """The tensor times a number, or times one number a batch entry."""
        root = self.cores[-1]
        scaled = root * trailing(factor, root.ndim - len(self.batch_shape))
        return type(self)(self.tree, self.factors, (*self.cores[:-1], scaled))

    def hadamard(self, other: TreeTensorNetwork) -> TreeTensorNetwork:
        """The entrywise product on the same tree; ranks multiply."""
        check_same(self, other)
        self._check_tree(other)
        factors = (
            (mine[..., :, None] * others[..., None, :]).flatten(-2)
            for mine, others in zip(self.factors, other.factors, strict=True)
        )
        batch = len(self.batch_shape)
        cores = (kronecker(*pair, pair[0].ndim - batch) for pair in zip(self.cores, other.cores, strict=True))
        return type(self)(self.tree, tuple(factors), tuple(cores))

    def mode_product(self, matrix: Num[Tensor, "... rows columns"], mode: int) -> TreeTensorNetwork:
        """Multiply the matrix onto one mode."""
        mode = check_matrix(matrix, mode, self.shape)
        factors = list(self.factors)
        factors[mode] = matrix @ factors[mode]
        return type(self)(self.tree, tuple(factors), self.cores)

    def squeeze(self, modes: Sequence[int]) -> TreeTensorNetwork:
        """Remove modes of size one; a node left with one child becomes part of it."""
        from polyad.tensors.formats._tree_rounding import squeeze_tree

        return type(self)(*squeeze_tree(self, check_squeezed(modes, self.shape)))

    def orthogonalise(self) -> TreeTensorNetwork:
        """Every node but the root an isometry towards it, by QR from the leaves on."""
        arrays = self._by_node()
        triangles = list(arrays)
        for place, node in enumerate(layout(self.tree)):
            array = arrays[place] if node.mode is not None else self._multiply(arrays[place], triangles, node)
            if place < len(arrays) - 1:
                q, triangles[place] = torch.linalg.qr(array.flatten(len(self.batch_shape), -2))
                array = q.reshape(*array.shape[:-1], q.shape[-1])
            arrays[place] = array
        return self._from_nodes(arrays)

    def truncate(
        self, *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None
    ) -> Truncation[TreeTensorNetwork]:
        """From the leaves to the root; error <= sqrt(nodes - 1) times the best of these ranks."""
        from polyad.tensors.formats._tree_rounding import truncate_tree

        check_tolerance(tolerance, ranks, self.dtype)
        arrays, error = truncate_tree(self, tolerance, rank_caps(ranks, self.ranks))
        return Truncation(self._from_nodes(arrays), error)

    def by_node(self) -> list[Tensor]:
        """Factors and cores as one list, children before parents (the order of `ranks`, the root last)."""
        return self._by_node()

    def with_nodes(self, arrays: Sequence[Tensor]) -> TreeTensorNetwork:
        """A network on the same tree from one array a node, in the order of `by_node`."""
        return self._from_nodes(arrays)

    def _by_node(self) -> list[Tensor]:
        cores = iter(self.cores)
        return [self.factors[node.mode] if node.mode is not None else next(cores) for node in layout(self.tree)]

    def _from_nodes(self, arrays: Sequence[Tensor]) -> TreeTensorNetwork:
        nodes = layout(self.tree)
        factors = {node.mode: array for node, array in zip(nodes, arrays, strict=True) if node.mode is not None}
        cores = (array for node, array in zip(nodes, arrays, strict=True) if node.mode is None)
        return type(self)(self.tree, tuple(factors[mode] for mode in range(self.order)), tuple(cores))

    def _multiply(self, core: Tensor, matrices: Sequence[Tensor], node: Node) -> Tensor:
        return multiply_children(core, matrices, node)

    def _absorb(self, full: Sequence[Tensor], node: Node, place: int) -> Tensor:
        return multiply_children(full[place], full, node).flatten(len(self.batch_shape), -2)

    def _check_tree(self, other: TreeTensorNetwork) -> None:
        if self.tree != other.tree:
            raise InputError(f"other: its tree {other.tree} differs from {self.tree}; only equal trees combine")


def multiply_children(core: Tensor, matrices: Sequence[Tensor], node: Node) -> Tensor:
    """Multiply the matrices of a node's children onto its tensor."""
    return multiply_modes(core, {k: matrices[c] for k, c in enumerate(node.children)}, len(node.children) + 1)
