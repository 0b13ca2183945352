"""A dense tensor with holes, worked through in slabs: nothing of its size is made beside it and its mask.

A slab is a few slices along one mode, holes zeroed. What fits need of the whole is a sum or a row over slabs: norms,
Gram matrices of unfoldings, projections, and the separate least-squares problems of a factor's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.base import check_arrays
from polyad.tensors.formats.tucker import Tucker, multiply_modes, unfold

SLAB_NUMBERS = 400_000
"""Most entries of a slab, unless one slice has more."""


def slab_ranges(shape: Sequence[int], axis: int = 0) -> list[tuple[int, int]]:
    """Begin and end of every slab along a mode."""
    step = max(1, SLAB_NUMBERS // max(1, prod(shape) // shape[axis]))
    return [(low, min(low + step, shape[axis])) for low in range(0, shape[axis], step)]


def slabs(tensor: Tensor, mask: Tensor, axis: int = 0) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Which slices, their entries with holes zeroed, and where they are known (bool)."""
    for low, high in slab_ranges(tensor.shape, axis):
        known = mask.narrow(axis, low, high - low)
        yield slice(low, high), torch.where(known, tensor.narrow(axis, low, high - low), 0), known


def known_counts(mask: Tensor, mode: int = 0) -> Tensor:
    """How many entries of every slice of a mode are known; torch would count by way of an int64 copy of the mask."""
    counts = [
        mask.narrow(mode, low, high - low).movedim(mode, 0).flatten(1).sum(1)
        for low, high in slab_ranges(mask.shape, mode)
    ]
    return torch.cat(counts)


def check_slices(mask: Tensor, ranks: Sequence[int]) -> None:
    """Every slice of a mode must have as many known entries as its factor has columns."""
    for mode, rank in enumerate(ranks):
        counts = known_counts(mask, mode)
        fewest = int(counts.min())
        if fewest < rank:
            raise InputError(
                f"mask: slice {int(counts.argmin())} of mode {mode} has {fewest} known entries, rank {rank} needs as "
                "many; drop it or the rank"
            )


def check_known(tensor: Tensor, mask: Tensor) -> float:
    """Norm over the known entries; refuses a mask that does not fit, and entries that are not finite or all zero."""
    if mask.shape != tensor.shape or mask.dtype != torch.bool:
        raise InputError(f"mask: {mask.dtype} {tuple(mask.shape)} was given, bool {tuple(tensor.shape)} is needed")
    check_arrays([tensor], "tensor")
    if tensor.ndim < 1 or 0 in tensor.shape:
        raise InputError(f"tensor: shape {tuple(tensor.shape)} has no entries along some mode; every size must be >= 1")
    norms = torch.stack([torch.linalg.vector_norm(values) for _, values, _ in slabs(tensor, mask)])
    size = float(torch.linalg.vector_norm(norms))
    if not bool(torch.isfinite(norms).all()):
        raise InputError("tensor: it holds NaN or Inf; remove them, or mark missing entries with a mask")
    if not size > 0:
        raise InputError(
            "tensor: every entry is zero where the mask is True, so no relative tolerance and no rank is defined"
        )
    return size


def filled_tucker(tensor: Tensor, mask: Tensor, ranks: Sequence[int]) -> Tucker:
    """Truncated HOSVD of the tensor whose holes are filled with the mean of what is known: something to start from."""
    mean = sum(values.sum() for _, values, _ in slabs(tensor, mask)) / known_counts(mask).sum()
    order = tensor.ndim
    factors = []
    for mode, rank in enumerate(ranks):
        gram = tensor.new_zeros(tensor.shape[mode], tensor.shape[mode])
        for _, values, known in slabs(tensor, mask, axis=1 if mode == 0 and order > 1 else 0):
            unfolded = unfold(torch.where(known, values, mean), mode, order)
            gram += unfolded @ unfolded.mH
        factors.append(torch.linalg.eigh(gram).eigenvectors.flip(-1)[:, :rank].contiguous())
    core = tensor.new_zeros(tuple(factor.shape[1] for factor in factors))
    for place, values, known in slabs(tensor, mask):
        own = {mode: (factor[place] if mode == 0 else factor).mH for mode, factor in enumerate(factors)}
        core += multiply_modes(torch.where(known, values, mean), own, order)
    return Tucker(core, tuple(factors))


def solve_known_rows(tensor: Tensor, mask: Tensor, mode: int, design: Tensor) -> Tensor:
    """For every slice of a mode its least-squares coefficients over its known entries: slice = design coefficients."""
    found = tensor.new_empty(tensor.shape[mode], design.shape[1])
    for place, values, known in slabs(tensor, mask, axis=mode):
        rows, there = (unfold(part, mode, tensor.ndim) for part in (values, known))
        found[place] = solve_rows(rows, there.to(tensor.dtype), design)
    return found


def solve_rows(rows: Tensor, known: Tensor, design: Tensor) -> Tensor:
    """For every row of (n, m) its least-squares coefficients over the known entries: row = coefficients design^T."""
    conjugate, rank = design.conj(), design.shape[1]
    products = rows @ conjugate
    grams = known.new_zeros(known.shape[0], rank * rank)
    step = max(1, min(SLAB_NUMBERS, rows.numel()) // rank**2)
    for start in range(0, design.shape[0], step):
        part = conjugate[start : start + step]
        pairs = (part.conj()[:, :, None] * part[:, None, :]).flatten(1)
        grams += known[:, start : start + step] @ pairs
    return solve_gram(products[:, None, :], grams.reshape(-1, rank, rank))[:, 0]


def solve_gram(product: Tensor, gram: Tensor) -> Tensor:
    """product gram^{-1} for a Hermitian gram, by its eigenvalues; directions it does not see get nothing."""
    values, vectors = torch.linalg.eigh(gram)
    floor = values[..., -1:] * torch.finfo(gram.dtype).eps * gram.shape[-1]
    inverse = torch.where(values > floor, 1 / torch.where(values > floor, values, 1), 0)
    return (product @ vectors) * inverse[..., None, :] @ vectors.mH
