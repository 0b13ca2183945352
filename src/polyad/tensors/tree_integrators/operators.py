"""Linear operators as trees of small tensors, on the same tree as the vectors that they act on.

    A_leaf[b] (n, n)          A_node[b] = sum C[b_1 .. b_m, b] A_1[b_1] x ... x A_m[b_m]          root: one b

A sum of local and pair terms, sum_i a_i + sum_{i<j} v_ij n_i n_j, needs three kinds of bond states at a node: the
identity, the terms that are complete inside, and open ones that wait for a partner outside. How many open ones is the
rank of the block v[inside, outside]: nested bases W_node = diag(W_children) R for all of these blocks (the structure
of hierarchically semi-separable matrices) give

    open_node[a] = sum_{k in node} W[k, a] n_k,        complete_node += sum_{c < d} open_c^T (W_c^T v_cd W_d) open_d

Sources: G. Ceruti, D. Kressner, D. Sulz, SIAM J. Matrix Anal. Appl. 46 (2025), arXiv:2405.09952 (operators from HSS
matrices); C. Lubich, T. Rohwedder, R. Schneider, B. Vandereycken, SIAM J. Matrix Anal. Appl. 34 (2013) 470 (trees).

When not to use it: nodes with many children; the operator's tensor there has b^(m+1) numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isqrt
from typing import final

import torch
from jaxtyping import Float, Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.tree import TreeTensorNetwork
from polyad.tensors.formats.tree_layout import Tree, check_tree, layout, leaves_in_order


@final
@dataclass(frozen=True, eq=False)
class TreeOperator:
    """A linear operator on tensors of shape (n_0, .., n_{d-1}).

    Args:
        tree: nested tuples of mode numbers.
        factors: one array (b, n, n) a mode.
        cores: one tensor (b_1, .., b_m, b) an inner node, children before parents; b = 1 at the root.
    """

    tree: Tree
    factors: tuple[Tensor, ...]
    cores: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", tuple(self.factors))
        object.__setattr__(self, "cores", tuple(self.cores))
        for mode, factor in enumerate(self.factors):
            if factor.ndim != 3 or factor.shape[1] != factor.shape[2]:
                raise InputError(f"factors: mode {mode} has shape {tuple(factor.shape)}; (bond, n, n) is needed")
        self.as_network()  # checks tree, cores, dtypes and finiteness

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the modes that it acts on."""
        return tuple(factor.shape[-1] for factor in self.factors)

    @property
    def dtype(self) -> torch.dtype:
        """Of all arrays."""
        return self.factors[0].dtype

    @property
    def bonds(self) -> tuple[int, ...]:
        """Bond states of every node but the root, children before parents."""
        return self.as_network().ranks

    def by_node(self) -> list[Tensor]:
        """Factors and cores as one list, children before parents, the root last."""
        cores = iter(self.cores)
        return [self.factors[node.mode] if node.mode is not None else next(cores) for node in layout(self.tree)]

    def as_network(self) -> TreeTensorNetwork:
        """The same numbers as a tensor with modes of size n^2 (row, then column)."""
        return TreeTensorNetwork(self.tree, tuple(factor.flatten(1).mT for factor in self.factors), self.cores)

    @classmethod
    def from_network(cls, network: TreeTensorNetwork) -> TreeOperator:
        """The inverse of `as_network`."""
        sizes = [isqrt(size) for size in network.shape]
        if [size * size for size in sizes] != list(network.shape):
            raise InputError(f"network: its modes have sizes {network.shape}; squares are needed, row times column")
        factors = (f.mT.unflatten(1, (n, n)) for f, n in zip(network.factors, sizes, strict=True))
        return cls(network.tree, tuple(factors), network.cores)

    def to_dense(self) -> Num[Tensor, "size size"]:
        """The matrix; the last mode runs fastest on both sides."""
        dense, order, size = self.as_network().to_dense(), len(self.shape), 1
        dense = dense.reshape([n for mode in self.shape for n in (mode, mode)])
        dense = dense.permute(*range(0, 2 * order, 2), *range(1, 2 * order, 2))
        for mode in self.shape:
            size *= mode
        return dense.reshape(size, size)

    def apply(self, value: TreeTensorNetwork) -> TreeTensorNetwork:
        """The operator times a tensor; ranks multiply by the bonds."""
        if value.tree != self.tree or value.shape != self.shape or value.batch_shape:
            raise InputError(
                f"value: tree {value.tree}, shape {value.shape} and batch {value.batch_shape} were given; "
                f"the operator acts on tree {self.tree}, shape {self.shape}, without batch"
            )
        arrays = []
        for node, mine, other in zip(layout(self.tree), self.by_node(), value.by_node(), strict=True):
            if node.mode is not None:
                arrays.append(torch.einsum("bij,jr->ibr", mine, other.to(mine.dtype)).flatten(1))
                continue
            product = torch.tensordot(mine, other.to(mine.dtype), dims=0)
            order = mine.ndim
            product = product.permute([axis + shift for axis in range(order) for shift in (0, order)])
            arrays.append(product.reshape([a * b for a, b in zip(mine.shape, other.shape, strict=True)]))
        return value.with_nodes(arrays)

    def add(self, other: TreeOperator) -> TreeOperator:
        """The sum; bonds add."""
        return self.from_network(self.as_network().add(other.as_network()))

    def scale(self, factor: complex) -> TreeOperator:
        """The operator times a number; a complex one makes it complex."""
        if isinstance(factor, complex) and not self.dtype.is_complex:
            return self.to(torch.promote_types(self.dtype, torch.complex64)).scale(factor)
        return type(self)(self.tree, self.factors, (*self.cores[:-1], self.cores[-1] * factor))

    def to(self, dtype: torch.dtype) -> TreeOperator:
        """The same operator with numbers of this kind."""
        factors, cores = (tuple(array.to(dtype) for array in arrays) for arrays in (self.factors, self.cores))
        return type(self)(self.tree, factors, cores)

    def round(self, tolerance: float) -> TreeOperator:
        """Fewer bond states, within this relative error in the Frobenius norm."""
        return self.from_network(self.as_network().round(tolerance=tolerance))


def product_operator(tree: Tree, products: Sequence[Sequence[Num[Tensor, "_ _"]]]) -> TreeOperator:
    """Sum of products of matrices, one matrix a mode in each; as many bond states as products. `round` finds fewer."""
    if not products:
        raise InputError("products: none was given; at least one product of matrices is needed")
    nodes = check_tree(tree, len(products[0]))
    factors = tuple(torch.stack(list(column)) for column in zip(*products, strict=True))
    cores = []
    for node in (node for node in nodes if node.mode is None):
        order, terms = len(node.children), len(products)
        last = terms if node.tree != tree else 1
        core = factors[0].new_zeros([terms] * order + [last])
        for term in range(terms):
            core[(*[term] * order, term if last > 1 else 0)] = 1
        cores.append(core)
    return TreeOperator(tree, factors, tuple(cores))


def pair_operator(
    tree: Tree,
    local: Num[Tensor, "d n n"],
    partners: Num[Tensor, "d n n"],
    strengths: Float[Tensor, "d d"],
    *,
    tolerance: float = 1e-13,
) -> TreeOperator:
    """sum_i a_i + sum_{i<j} v_ij n_i n_j with nested bases for the strengths.

    Args:
        tree: of the d modes.
        local: a_i.
        partners: n_i.
        strengths: v, symmetric; its diagonal is not used.
        tolerance: singular values of the blocks v[inside, outside] below this share of |v| are left out.
    """
    order = local.shape[0]
    nodes = check_tree(tree, order)
    if not torch.equal(strengths, strengths.mT):
        raise InputError("strengths: the matrix is not symmetric; give v with v_ij = v_ji")
    cut = tolerance * float(torch.linalg.vector_norm(strengths)) or tolerance
    inside = [leaves_in_order(node.tree) if isinstance(node.tree, tuple) else [node.tree] for node in nodes]
    bases: list[Tensor] = []  # W (sites of the node, open states)
    arrays: list[Tensor] = []
    dtype = torch.promote_types(local.dtype, partners.dtype)
    for place, node in enumerate(nodes):
        is_root = place == len(nodes) - 1
        others = [mode for mode in range(order) if mode not in inside[place]]
        if node.mode is not None:
            below = strengths.new_ones(1, 1)
        else:
            below = torch.block_diag(*(bases[child] for child in node.children))
        left, values, _ = torch.linalg.svd(below.mT @ strengths[inside[place]][:, others], full_matrices=False)
        transfer = left[:, : int((values > cut).sum())]
        bases.append(below @ transfer)
        if node.mode is not None:
            eye = torch.eye(local.shape[-1], dtype=dtype, device=local.device)
            open_states = transfer[0, :, None, None] * partners[node.mode]
            arrays.append(torch.cat([torch.stack([eye, local[node.mode].to(dtype)]), open_states.to(dtype)]))
            continue
        core = _pair_core([bases[c] for c in node.children], [inside[c] for c in node.children], transfer, strengths)
        arrays.append((core[..., 1:2] if is_root else core).to(dtype))
    factors = {node.mode: a for node, a in zip(nodes, arrays, strict=True) if node.mode is not None}
    cores = (a for node, a in zip(nodes, arrays, strict=True) if node.mode is None)
    return TreeOperator(tree, tuple(factors[mode] for mode in range(order)), tuple(cores))


def _pair_core(bases: Sequence[Tensor], sites: Sequence[Sequence[int]], transfer: Tensor, strengths: Tensor) -> Tensor:
    """Bond states: 0 identity, 1 complete, 2.. open."""
    children = len(bases)
    counts = [basis.shape[1] for basis in bases]
    core = strengths.new_zeros([2 + count for count in counts] + [2 + transfer.shape[1]])
    core[(0,) * (children + 1)] = 1
    start = 0
    for child, count in enumerate(counts):
        place: list[int | slice] = [0] * children
        place[child] = 1
        core[(*place, 1)] = 1
        place[child] = slice(2, None)
        core[(*place, slice(2, None))] = transfer[start : start + count]
        start += count
    for one, two in combinations(range(children), 2):
        place = [0] * children
        place[one] = place[two] = slice(2, None)
        core[(*place, 1)] = bases[one].mT @ strengths[list(sites[one])][:, list(sites[two])] @ bases[two]
    return core
