"""TT-SVD and TR-SVD: a dense tensor as a chain or ring of cores by a sequence of truncated SVDs.

    |x - value|^2 = sum over bonds of sum_{i > r_k} s_i^2  <=  tolerance^2 |x|^2

where s are the singular values of the k-th unfolding of what is left. Each bond may spend an equal share of what its
predecessors left of the tolerance. The error is at most sqrt(d - 1) times the best of the same ranks. For a ring the
first SVD's rank is split over two bonds.

Sources: I. V. Oseledets, SIAM J. Sci. Comput. 33 (2011) 2295; Q. Zhao et al., arXiv:1606.05535 (2016), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.base import Truncation, check_dense, check_tolerance, rank_caps
from polyad.tensors.formats.randomised import Basis, basis_finder
from polyad.tensors.formats.tensor_ring import TensorRing
from polyad.tensors.formats.tensor_train import TensorTrain, largest_bonds


def tt_svd(
    tensor: Num[Tensor, "..."],
    *,
    tolerance: float | None = None,
    ranks: int | Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> Truncation[TensorTrain]:
    """Tensor train of a dense tensor.

    Args:
        tensor: dense, finite, not zero.
        tolerance: allowed relative error.
        ranks: largest ranks, one for all or one a bond (d - 1 of them).
        generator: with one, subspaces come from random sketches (see `randomised`).
    """
    check_dense(tensor)
    check_tolerance(tolerance, ranks, tensor.dtype)
    caps, find = rank_caps(ranks, largest_bonds(tensor.shape)), basis_finder(generator)
    allowed = torch.linalg.vector_norm(tensor.detach()).square() * (tolerance or 0.0) ** 2
    cores, lost = _chain(tensor[None], caps, None if tolerance is None else allowed, find)
    return Truncation(TensorTrain(tuple(cores)), lost.sqrt())


def tr_svd(
    tensor: Num[Tensor, "..."],
    *,
    tolerance: float | None = None,
    ranks: int | Sequence[int] | None = None,
    generator: torch.Generator | None = None,
) -> Truncation[TensorRing]:
    """Tensor ring of a dense tensor.

    Args:
        tensor: dense, finite, not zero, of order >= 2.
        tolerance: allowed relative error; the first rank is split as evenly as its divisors allow.
        ranks: largest ranks, one for all or one a bond (d of them, the bond before each mode).
        generator: with one, subspaces come from random sketches (see `randomised`).
    """
    check_dense(tensor)
    check_tolerance(tolerance, ranks, tensor.dtype)
    order, shape = tensor.ndim, tensor.shape
    if order < 2:
        raise InputError("tensor: a ring needs at least two modes")
    find = basis_finder(generator)
    bonds = [ranks] * order if isinstance(ranks, int) else list(ranks) if ranks is not None else None
    if bonds is not None and (len(bonds) != order or min(bonds) < 1):
        raise InputError(f"ranks: {ranks} was given; a ring of order {order} needs {order} ranks >= 1")
    size = torch.linalg.vector_norm(tensor.detach()).square()
    allowed = None if tolerance is None else size * tolerance**2
    cap = min(shape[0], tensor.numel() // shape[0])
    cap = cap if bonds is None else min(cap, bonds[0] * bonds[1])
    flat = tensor.flatten(1)
    basis, lost = find(flat, budget=None if allowed is None else allowed / (order - 1), cap=cap)
    rank = basis.shape[1]
    first, second = _split(rank, *((rank, rank) if bonds is None else bonds[:2]))
    pad = first * second - rank
    if pad > 0:  # no divisors fit the ranks asked for: zero columns fill the grid
        basis = torch.cat([basis, basis.new_zeros(shape[0], pad)], dim=1)
    rest = (basis.mH @ flat).reshape(first, second, *shape[1:])
    head = basis.reshape(shape[0], first, second).movedim(0, 1)
    # the bond before the first core travels with the last mode
    rest = rest.movedim(0, -1).flatten(-2)
    sizes = [*shape[1:-1], shape[-1] * first]
    inner = largest_bonds([second * sizes[0], *sizes[1:]])
    caps = inner if bonds is None else [min(b, most) for b, most in zip(bonds[2:], inner, strict=True)]
    left = None if allowed is None else (allowed - lost).clamp_min(0)
    cores, more = _chain(rest, caps, left, find)
    cores[-1] = cores[-1].reshape(cores[-1].shape[0], shape[-1], first)
    return Truncation(TensorRing((head, *cores)), (lost + more).sqrt())


def _chain(rest: Tensor, caps: Sequence[int], allowed: Tensor | None, find: Basis) -> tuple[list[Tensor], Tensor]:
    """Cores of a tensor (r_0, n_1, .., n_d) and the squared norm lost."""
    shape, order = rest.shape[1:], rest.ndim - 1
    lost = torch.zeros((), dtype=rest.real.dtype, device=rest.device)
    rank, cores = rest.shape[0], []
    rest = rest.reshape(rank, -1)
    for k in range(order - 1):
        budget = None if allowed is None else (allowed - lost).clamp_min(0) / (order - 1 - k)
        tall = rest.reshape(rank * shape[k], -1)
        basis, discarded = find(tall, budget=budget, cap=min(caps[k], *tall.shape))
        lost = lost + discarded
        cores.append(basis.reshape(rank, shape[k], basis.shape[1]))
        rest, rank = basis.mH @ tall, basis.shape[1]
    cores.append(rest.reshape(rank, shape[-1], 1))
    return cores, lost


def _split(rank: int, first: int, second: int) -> tuple[int, int]:
    """The smallest a b >= rank with a <= first and b <= second, and of these the nearest to a square."""
    grids = ((a, -(-rank // a)) for a in range(1, first + 1))
    return min((g for g in grids if g[1] <= second), key=lambda grid: (grid[0] * grid[1], abs(grid[0] - grid[1]), grid))
