"""Truncation of a general network, bond by bond, with a measured error; equations in `network`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.base import Truncation, check_tolerance, rank_caps
from polyad.tensors.formats.contraction import Label, contract_network

if TYPE_CHECKING:
    from polyad.tensors.formats.network import TensorNetwork

SWEEPS = 20


def truncate_network(
    network: TensorNetwork, *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None
) -> Truncation[TensorNetwork]:
    """Every plain bond in order, the smallest rank whose measured error lies within its share of the tolerance."""
    check_tolerance(tolerance, ranks, network.dtype)
    smallest = 4 * torch.finfo(network.dtype).eps ** 0.5
    if tolerance is not None and tolerance < smallest:
        raise InputError(
            f"tolerance: {tolerance:g} was given, but a network with loops measures its error by squares, which shows "
            f"nothing below {smallest:.1e}; take that, or a tensor train or tree"
        )
    refuse_gradient(network.arrays)
    caps = dict(zip(network.bonds, rank_caps(ranks, network.ranks), strict=True))
    with torch.no_grad():
        size = network.norm()
        spent = torch.zeros_like(size)
        bonds = network.plain_bonds()
        for done, bond in enumerate(bonds):
            share = (size * (tolerance or 0.0) - spent).clamp_min(0) / (len(bonds) - done)
            network, error = _truncate_bond(network, bond, None if tolerance is None else share, caps[bond], size)
            spent = spent + error
    return Truncation(network, spent)


def refuse_gradient(arrays: Sequence[Tensor]) -> None:
    """A search has no derivative: say so rather than return a wrong one."""
    if torch.is_grad_enabled() and any(array.requires_grad for array in arrays):
        raise InputError("truncate: this format is truncated by a search, which has no gradient; use torch.no_grad()")


def _truncate_bond(
    network: TensorNetwork, bond: Label, share: Tensor | None, cap: int, size: Tensor
) -> tuple[TensorNetwork, Tensor]:
    first, second = (place for place, names in enumerate(network.indices) if bond in names)
    environment = _environment(network, bond, second)
    full = environment.shape[0]
    noise = torch.finfo(size.dtype).eps ** 0.5 * size
    best = None
    for rank in range(1 if share is not None else cap, cap + 1):
        left, right = _low_rank_identity(environment, rank)
        error = torch.hypot(_error(environment, left @ right), noise)
        best = left, right, error
        if share is None or bool(error <= share):
            break
    assert best is not None  # the cap is at least one
    left, right, error = best
    if left.shape[1] >= full:  # nothing is gained
        return network, torch.zeros_like(error)
    tensors = list(network.tensors)
    for place, matrix in ((first, left.mT), (second, right)):
        at = network.indices[place].index(bond)
        tensors[place] = torch.tensordot(matrix, tensors[place], dims=([1], [at])).movedim(0, at)
    return type(network)(tuple(tensors), network.indices, network.output), error


def _environment(network: TensorNetwork, bond: Label, second: int) -> Num[Tensor, "r r r r"]:
    """E[a, b, c, d]: bond ends a (first tensor) and b (second) of the conjugate network, c and d of the network."""
    tensors, indices = [], []
    modes = set(network.modes)
    for mark in ("conjugate", "plain"):
        for place, (tensor, names) in enumerate(zip(network.tensors, network.indices, strict=True)):
            end = 1 if place == second else 0
            labels = [("mode", n) if n in modes else (mark, n, end if n == bond else 0) for n in names]
            tensors.append(tensor.conj() if mark == "conjugate" else tensor)
            indices.append(labels)
    output = [("conjugate", bond, 0), ("conjugate", bond, 1), ("plain", bond, 0), ("plain", bond, 1)]
    return contract_network(tensors, indices, output)


def _error(environment: Tensor, matrix: Tensor) -> Tensor:
    gap = (torch.eye(matrix.shape[0], dtype=matrix.dtype, device=matrix.device) - matrix).flatten()
    full = len(gap)
    return (gap.conj() @ environment.reshape(full, full) @ gap).real.clamp_min(0).sqrt()


def _low_rank_identity(environment: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """P = left @ right of this rank, near the identity in the metric of the environment."""
    left_metric = torch.einsum("abcb->ac", environment)
    right_metric = torch.einsum("abad->bd", environment)
    left_root, left_inverse = _roots(left_metric)
    right_root, right_inverse = _roots(right_metric)
    u, s, vh = torch.linalg.svd(left_root @ right_root.mT)
    root = s[:rank].sqrt()
    left, right = left_inverse @ (u[:, :rank] * root), (root[:, None] * vh[:rank]) @ right_inverse.mT
    error = _error(environment, left @ right)
    for _ in range(SWEEPS):
        newer = _fit_right(environment, left)
        new_left = _fit_right(environment.permute(1, 0, 3, 2), newer.mT).mT
        new_error = _error(environment, new_left @ newer)
        if not bool(new_error < error * (1 - 1e-3)):
            break
        left, right, error = new_left, newer, new_error
    return left, right


def _fit_right(environment: Tensor, left: Tensor) -> Tensor:
    """The right factor that minimises the error for this left factor: normal equations, by pseudo-inverse."""
    rank, full = left.shape[1], left.shape[0]
    reduced = torch.einsum("ai,abcd->ibcd", left.conj(), environment)
    matrix = torch.einsum("ibcd,cj->ibjd", reduced, left).reshape(rank * full, rank * full)
    wanted = torch.einsum("ibcc->ib", reduced).reshape(-1)
    inverse = torch.linalg.pinv(matrix, hermitian=True, rtol=torch.finfo(left.dtype).eps * rank * full * 10)
    return (inverse @ wanted).reshape(rank, full)


def _roots(metric: Tensor) -> tuple[Tensor, Tensor]:
    """X with X^H X = metric, and its pseudo-inverse."""
    values, vectors = torch.linalg.eigh((metric + metric.mH) / 2)
    keep = values > values.max().clamp_min(0) * torch.finfo(metric.dtype).eps * len(values)
    root = torch.where(keep, values, 0).sqrt()
    inverse = torch.where(keep, 1 / torch.where(keep, root, 1), 0)
    return root[:, None] * vectors.mH, vectors * inverse
