"""From a canonical sum of many terms to Tucker by reduced higher-order SVD, exact to rounding.

    C = sum_q w_q u^1_q (x) ... (x) u^d_q,   |u^k_q| = 1   ->   C = G x_1 U^1 ... x_d U^d,   U^k = left singular
                                                               vectors of the m_k x R matrix with columns |w_q| u^k_q

The dense C is not formed. The factors are cut at rounding alone: where terms of opposite sign cancel, a direction that
is small in the weighted columns can be large in the sum, so a looser cut belongs after the summation, on G. Terms come
in blocks, each reduced on its own and lifted to the common factors at the end: cost O(m R min(m, R)) for the factors
and r_b^d a term for the core, with the rank r_b of its own block, so blocks of alike terms are cheap.

Source: B. N. Khoromskij and V. Khoromskaia, SIAM J. Sci. Comput. 31 (2009) 3002 (reduced HOSVD).

When not to use it: for a few terms of known low rank; a CP tensor serves them as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from polyad.errors import InputError
from polyad.tensors.formats import CP, Tucker
from polyad.tensors.formats.cp import khatri_rao
from polyad.tensors.formats.tucker import multiply_modes

CACHED_NUMBERS = 2**16


class _Part(NamedTuple):
    """A reduced block: the Tucker tensor, and its factors' columns times their weighted singular values."""

    value: Tucker
    weighted: list[Tensor]


def canonical_to_tucker(blocks: CP | Iterable[CP], *, shape: Sequence[int] | None = None) -> Tucker:
    """The sum of canonical tensors as a Tucker tensor with orthonormal factors.

    Args:
        blocks: one CP tensor, or some to be summed, made one after the other and not kept; without batch dimensions.
        shape: of the sum, where blocks have fewer rows than that; the missing ones are zero.

    The core carries the derivative, the factors none. Where a block's factors need a gradient, they are kept whole, as
    the derivatives of columns need not lie in the columns' span: its core then has as many numbers as the dense block.
    """
    parts = [_reduce(block, shape) for block in ([blocks] if isinstance(blocks, CP) else blocks)]
    if not parts:
        raise InputError("blocks: none were given; give at least one canonical tensor")
    shapes = {part.value.shape for part in parts}
    if len(shapes) > 1:
        raise InputError(f"blocks: shapes {sorted(shapes)} were given; all must be of one shape, or give the sum's")
    if len(parts) == 1:
        return parts[0].value
    modes = range(parts[0].value.order)
    factors = [_weighted_basis(torch.cat([part.weighted[mode] for part in parts], dim=1))[0] for mode in modes]
    core: Tensor | float = 0.0
    for part in parts:
        lift = {mode: factors[mode].mH @ part.value.factors[mode] for mode in modes}
        core = core + multiply_modes(part.value.core, lift, len(modes))
    assert isinstance(core, Tensor)
    return Tucker(core, tuple(factors))


def _reduce(block: CP, shape: Sequence[int] | None) -> _Part:
    if block.batch_shape:
        raise InputError(f"blocks: a batch {block.batch_shape} of canonical tensors was given; reduce them one by one")
    shape = block.shape if shape is None else tuple(shape)
    if len(shape) != block.order or any(rows > most for rows, most in zip(block.shape, shape, strict=True)):
        raise InputError(f"shape: {shape} was given; a block of shape {block.shape} does not fit into it")
    whole = [torch.is_grad_enabled() and factor.requires_grad for factor in block.factors]
    with torch.no_grad():
        lengths = [torch.linalg.vector_norm(factor, dim=0) for factor in block.factors]
        size = block.weights.abs()
        for length in lengths:
            size = size * length
        if not bool(torch.isfinite(size).all()):
            raise InputError("blocks: a weight or factor holds NaN or Inf; check the functions and the box")
        bases, weighted = [], []
        for factor, length, keep in zip(block.factors, lengths, whole, strict=True):
            columns = factor * (size / torch.where(length > 0, length, 1))
            basis, values = _unit_basis(columns) if keep else _weighted_basis(columns)
            bases.append(basis)
            weighted.append(basis * values)
    core = _dense(block.weights, [b.mH @ f for b, f in zip(bases, block.factors, strict=True)])
    missing = [most - rows for rows, most in zip(block.shape, shape, strict=True)]
    bases, weighted = (
        [pad(matrix, (0, 0, 0, rows)) for matrix, rows in zip(matrices, missing, strict=True)]
        for matrices in (bases, weighted)
    )
    return _Part(Tucker(core, tuple(bases)), weighted)


def _dense(weights: Tensor, factors: list[Tensor]) -> Tensor:
    """All entries of a canonical tensor of many terms, some rows of the first mode at a time to stay in the cache."""
    first, *middle, last = factors if len(factors) > 1 else [factors[0], torch.ones_like(weights)[None]]
    others = khatri_rao(middle) if middle else torch.ones_like(weights)[None]
    others = others * weights
    rows = max(1, CACHED_NUMBERS // others.numel())
    parts = [(part[:, None] * others).flatten(0, 1) @ last.mT for part in first.split(rows)]
    return torch.cat(parts).reshape([len(factor) for factor in factors])


def _unit_basis(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The unit vectors and the rows' lengths, none of them zero: every direction stays."""
    lengths = torch.linalg.vector_norm(matrix, dim=1)
    smallest = 8 * torch.finfo(lengths.dtype).eps * lengths.max()
    return torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device), lengths.clamp_min(smallest)


def _weighted_basis(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Left singular vectors and values down to rounding, at least one; rows that are rounding alone are left out."""
    with torch.no_grad():
        matrix = matrix.detach()
        rows, eps = matrix.shape[0], torch.finfo(matrix.dtype).eps
        lengths = torch.linalg.vector_norm(matrix, dim=1)
        alive = lengths > 4 * eps / rows**0.5 * torch.linalg.vector_norm(lengths)
        if not bool(alive.any()):
            alive[0] = True
        tall = matrix[alive].mH
        if tall.shape[0] > tall.shape[1]:
            tall = torch.linalg.qr(tall, mode="r").R
        _, values, right = torch.linalg.svd(tall, full_matrices=False)
        rank = max(1, int((values > eps * values[0]).sum()))
        basis = matrix.new_zeros(rows, rank)
        basis[alive] = right[:rank].mH
    return basis, values[:rank]


def split_terms(value: CP, size: int) -> Sequence[CP]:
    """Consecutive blocks of at most `size` terms."""
    pieces = zip(value.weights.split(size), *(factor.split(size, dim=1) for factor in value.factors), strict=True)
    return [CP(weights, tuple(factors)) for weights, *factors in pieces]
