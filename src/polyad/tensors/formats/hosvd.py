"""Orthogonal decompositions of a dense tensor into Tucker and tree formats.

HOSVD takes the dominant left singular vectors of every unfolding; sequential truncation (ST-HOSVD) projects after
each mode, which is cheaper and in practice closer; HOOI improves either by alternating. A tree adds the same step for
groups of modes. With the singular values s of the unfoldings that are truncated,

    |x - value|^2 <= sum over the truncated unfoldings of sum_{i > r} s_i^2        (equality for the sequential ones)

and the error is at most sqrt(number of truncated unfoldings) times the best one of the same ranks.

Sources: L. De Lathauwer, B. De Moor, J. Vandewalle, SIAM J. Matrix Anal. Appl. 21 (2000) 1253 and 1324; N.
Vannieuwenhoven, R. Vandebril, K. Meerbergen, SIAM J. Sci. Comput. 34 (2012) A1027; L. Grasedyck, SIAM J. Matrix Anal.
Appl. 31 (2010) 2029.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.tensors.formats.base import Truncation, check_dense, check_tolerance, rank_caps, refuse_gradient
from polyad.tensors.formats.randomised import Basis, basis_finder
from polyad.tensors.formats.tree import TreeTensorNetwork
from polyad.tensors.formats.tree_layout import Tree, check_tree, largest_ranks
from polyad.tensors.formats.tucker import Tucker, multiply_modes, unfold


def hosvd(
    tensor: Num[Tensor, "..."], *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None
) -> Truncation[Tucker]:
    """Truncated higher-order SVD: every factor from the tensor itself; see the module for the bound."""
    allowed, caps, find = _prepare(tensor, tolerance, ranks, None)
    factors, lost = [], torch.zeros_like(allowed)
    for mode in range(tensor.ndim):
        budget = None if tolerance is None else allowed / tensor.ndim
        basis, discarded = find(unfold(tensor, mode, tensor.ndim), budget=budget, cap=caps[mode])
        factors.append(basis)
        lost = lost + discarded
    core = multiply_modes(tensor, {mode: factor.mH for mode, factor in enumerate(factors)}, tensor.ndim)
    return Truncation(Tucker(core, tuple(factors)), lost.sqrt())


def st_hosvd(
    tensor: Num[Tensor, "..."],
    *,
    tolerance: float | None = None,
    ranks: int | Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> Truncation[Tucker]:
    """Sequentially truncated HOSVD, the modes in order.

    Args:
        tensor: dense, finite, not zero.
        tolerance: allowed relative error.
        ranks: largest ranks, one for all or one a mode.
        generator: with one, subspaces come from random sketches (see `randomised`).
    """
    allowed, caps, find = _prepare(tensor, tolerance, ranks, generator)
    core, factors, lost = tensor, [], torch.zeros_like(allowed)
    for mode in range(tensor.ndim):
        budget = None if tolerance is None else (allowed - lost).clamp_min(0) / (tensor.ndim - mode)
        basis, discarded = find(unfold(core, mode, tensor.ndim), budget=budget, cap=caps[mode])
        core = multiply_modes(core, {mode: basis.mH}, tensor.ndim)
        factors.append(basis)
        lost = lost + discarded
    return Truncation(Tucker(core, tuple(factors)), lost.sqrt())


def hooi(
    tensor: Num[Tensor, "..."], ranks: int | Sequence[int], *, sweeps: int = 20, tolerance: float = 1e-8
) -> Truncation[Tucker]:
    """Higher-order orthogonal iteration from ST-HOSVD: alternating best factors of the given ranks; without a gradient.

    Args:
        tensor: dense, finite, not zero.
        ranks: one for all or one a mode.
        sweeps: largest number of sweeps.
        tolerance: stop when a sweep raises the core's norm by less than this, relative to the tensor's.
    """
    refuse_gradient([tensor], "hooi: its factors are found by a search")
    start = st_hosvd(tensor, ranks=ranks).value
    factors, order = list(start.factors), tensor.ndim
    size = torch.linalg.vector_norm(tensor)
    core, held = start.core, torch.linalg.vector_norm(start.core)
    for _ in range(sweeps):
        for mode in range(order):
            others = {k: factors[k].mH for k in range(order) if k != mode}
            reduced = multiply_modes(tensor, others, order)
            flat = unfold(reduced, mode, order)
            factors[mode], _ = basis_finder(None)(flat, budget=None, cap=start.ranks[mode])
        core = multiply_modes(reduced, {order - 1: factors[-1].mH}, order)
        before, held = held, torch.linalg.vector_norm(core)
        if bool(held - before <= tolerance * size):
            break
    error = torch.linalg.vector_norm(Tucker(core, tuple(factors)).to_dense().sub_(tensor))
    return Truncation(Tucker(core, tuple(factors)), error)


def tree_svd(
    tensor: Num[Tensor, "..."],
    tree: Tree,
    *,
    tolerance: float | None = None,
    ranks: int | Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> Truncation[TreeTensorNetwork]:
    """Hierarchical SVD, leaves first, each node projected before the next; `ranks` in the order of the format's."""
    nodes = check_tree(tree, tensor.ndim)
    check_dense(tensor)
    check_tolerance(tolerance, ranks, tensor.dtype)
    caps, find = rank_caps(ranks, largest_ranks(nodes, tensor.shape)), basis_finder(generator)
    allowed = torch.linalg.vector_norm(tensor.detach()).square() * (tolerance or 0.0) ** 2
    lost = torch.zeros_like(allowed)
    open_nodes = [next(p for p, node in enumerate(nodes) if node.mode == mode) for mode in range(tensor.ndim)]
    rest, factors, cores = tensor, {}, []
    for place, node in enumerate(nodes[:-1]):
        gathered = [place] if node.mode is not None else list(node.children)
        rest = rest.movedim([open_nodes.index(p) for p in gathered], list(range(len(gathered))))
        open_nodes = [place, *(p for p in open_nodes if p not in gathered)]
        sizes = rest.shape[: len(gathered)]
        tall = rest.flatten(0, len(gathered) - 1).flatten(1)
        inner = rest.shape[len(gathered) :]
        del rest  # where the modes had to be moved, tall is a copy
        budget = None if tolerance is None else (allowed - lost).clamp_min(0) / (len(nodes) - 1 - place)
        basis, discarded = find(tall, budget=budget, cap=min(caps[place], tall.shape[0]))
        lost = lost + discarded
        rest = (basis.mH @ tall).reshape(basis.shape[1], *inner)
        del tall
        if node.mode is not None:
            factors[node.mode] = basis
        else:
            cores.append(basis.reshape(*sizes, basis.shape[-1]))
    root = rest.permute([open_nodes.index(child) for child in nodes[-1].children])
    result = TreeTensorNetwork(tree, tuple(factors[m] for m in range(tensor.ndim)), (*cores, root[..., None]))
    return Truncation(result, lost.sqrt())


def _prepare(
    tensor: Tensor, tolerance: float | None, ranks: int | Sequence[int] | None, generator: torch.Generator | None
) -> tuple[Tensor, list[int], Basis]:
    check_dense(tensor)
    check_tolerance(tolerance, ranks, tensor.dtype)
    largest = [min(size, tensor.numel() // size) for size in tensor.shape]
    allowed = torch.linalg.vector_norm(tensor.detach()).square() * (tolerance or 0.0) ** 2
    return allowed, rank_caps(ranks, largest), basis_finder(generator)
