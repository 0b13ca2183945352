"""Starts for alternating least squares: a matrix pencil, the leading singular vectors, then random factors.

The pencil: two random combinations S_1, S_2 of the slices along modes 0 and 1, reduced to rank R, share their factors,
S_i = A D_i B^T; the eigenvectors of S_1 S_2^+ are the columns of A. With A known, the rows of A^+ X_(0) are rank-one
tensors, whose leading singular vectors are the other factors. Exact for a tensor of rank R <= n_0, n_1 in general
position.
"""

from __future__ import annotations

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.tensors.formats.subspace import dominant_basis


def make_starts(
    tensor: Num[Tensor, "..."], rank: int, count: int, generator: torch.Generator
) -> list[list[Num[Tensor, "size rank"]]]:
    """`count` lists of factors, at least one."""
    found = [start for start in (pencil_start(tensor, rank, generator),) if start is not None]
    found.append(_singular_start(tensor, rank, generator))
    while len(found) < count:
        found.append([_normal(tensor, (size, rank), generator) for size in tensor.shape])
    return found[: max(count, 1)]


def pencil_start(
    tensor: Num[Tensor, "..."], rank: int, generator: torch.Generator
) -> list[Num[Tensor, "size rank"]] | None:
    """Factors from a matrix pencil over the two longest modes; None where the shape allows none."""
    order = sorted(range(tensor.ndim), key=lambda mode: -tensor.shape[mode])
    moved = tensor.permute(order)
    if tensor.ndim < 3 or moved.shape[1] < rank or rank < 2:
        return None
    flat = moved.flatten(2)
    left, _ = dominant_basis(moved.flatten(1), budget=None, cap=rank)
    right, _ = dominant_basis(moved.movedim(1, 0).flatten(1), budget=None, cap=rank)
    if left.shape[1] < rank or right.shape[1] < rank:
        return None
    reduced = left.mH @ (flat.movedim(2, 0) @ right.conj())
    draws = _normal(tensor, (2, flat.shape[2]), generator)
    first, second = torch.tensordot(draws, reduced, dims=1)
    values, vectors = torch.linalg.eig(first @ torch.linalg.pinv(second))
    if not tensor.is_complex():
        vectors = _real_vectors(values, vectors)
    factors = [left @ vectors.to(tensor.dtype)]
    rows = torch.linalg.pinv(factors[0]) @ moved.flatten(1)
    rest = rows.reshape(rank, *moved.shape[1:])
    for mode in range(1, tensor.ndim):
        unfolded = rest.movedim(mode, 1).flatten(2)
        factors.append(torch.linalg.svd(unfolded, full_matrices=False).U[:, :, 0].mT)
    back = [factors[order.index(mode)] for mode in range(tensor.ndim)]
    return back if all(bool(torch.isfinite(factor).all()) for factor in back) else None


def _singular_start(tensor: Tensor, rank: int, generator: torch.Generator) -> list[Tensor]:
    factors = []
    for mode, size in enumerate(tensor.shape):
        basis, _ = dominant_basis(tensor.movedim(mode, 0).flatten(1), budget=None, cap=rank)
        missing = rank - basis.shape[1]
        factors.append(torch.cat([basis, _normal(tensor, (size, missing), generator)], dim=1) if missing else basis)
    return factors


def _real_vectors(values: Tensor, vectors: Tensor) -> Tensor:
    """A conjugate pair of eigenvectors becomes its real and imaginary part."""
    return torch.where(values.imag < 0, vectors.imag, vectors.real)


def _normal(like: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)
