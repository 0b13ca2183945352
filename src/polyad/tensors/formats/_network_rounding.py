"""Truncation of a general network with a measured error; equations in `network`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats._bond_truncation import shrink_bond
from polyad.tensors.formats._network_fit import fit_network, leading_part
from polyad.tensors.formats._network_triangle import joint_triangle, network_triangle
from polyad.tensors.formats.base import SEARCHED, Truncation, check_tolerance, rank_caps, refuse_gradient
from polyad.tensors.formats.contraction import Label, contract_network

if TYPE_CHECKING:
    from polyad.tensors.formats.network import TensorNetwork

DIVISORS = (2, 4, 8, None, None)
"""In pass after pass no bond falls below its first rank divided by this, so that none falls at the cost of others."""
LARGEST_BOND = 4096
"""A bond of size r between m tensors is cut alone where r^m is no larger, else only together with all others."""


def truncate_network(
    network: TensorNetwork, *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None
) -> Truncation[TensorNetwork]:
    """The smallest ranks within the tolerance that are found, or the best fit of given ranks."""
    check_tolerance(tolerance, ranks, network.dtype)
    refuse_gradient(network.arrays, SEARCHED)
    caps = dict(zip(network.bonds, rank_caps(ranks, network.ranks), strict=True))
    with torch.no_grad():
        size = network.norm()
        if not bool(size > 0):
            return Truncation(leading_part(network, dict.fromkeys(caps, 1)).scale(0.0), torch.zeros_like(size))
        value, error = _to_ranks(network, caps)
        if tolerance is not None and bool(error <= tolerance * size):
            value, error = _within(network, value, error, tolerance)
    return Truncation(value, error)


def distance(one: TensorNetwork, two: TensorNetwork) -> Num[Tensor, ""]:
    """|one - two| for two networks on one graph, and the rounding of its terms, which may be larger than their sum."""
    triangle = joint_triangle((one.tensors, two.tensors), one.indices, one.modes)
    gap = (one - two).norm() if triangle is None else torch.linalg.vector_norm(triangle[:, 0] - triangle[:, 1])
    return gap + 16 * torch.finfo(one.dtype).eps * (_norm_of_terms(one) + _norm_of_terms(two))


def _norm_of_terms(network: TensorNetwork) -> Num[Tensor, ""]:
    """Norm of the network of absolute values."""
    lengths = torch.stack([torch.linalg.vector_norm(tensor) for tensor in network.tensors])
    lengths = torch.where(lengths > 0, lengths, 1)
    unit = tuple(t.abs().div_(length) for t, length in zip(network.tensors, lengths, strict=True))
    positive = type(network)(unit, network.indices, network.modes)
    return positive.inner(positive).sqrt() * lengths.prod()


def _to_ranks(original: TensorNetwork, caps: Mapping[Label, int]) -> tuple[TensorNetwork, Num[Tensor, ""]]:
    """The best of joint fits that begin at the bonds cut one by one, and at their leading coordinates."""
    if tuple(caps.values()) == original.ranks:
        return original, torch.zeros_like(original.norm())
    network = original
    for bond, cap in caps.items():
        network, _ = _truncate_bond(network, bond, None, cap, cap, None)
    starts = [leading_part(network, caps), leading_part(original, caps)]
    found = [starts[0], *(fit_network(original, start) for start in starts)]
    errors = [distance(original, candidate) for candidate in found]
    best = min(range(len(found)), key=lambda k: float(errors[k]))
    return found[best], errors[best]


def _within(
    original: TensorNetwork, network: TensorNetwork, spent: Tensor, tolerance: float
) -> tuple[TensorNetwork, Num[Tensor, ""]]:
    """Pass after pass: all bonds at once where half of the tolerance suffices, then each as far as its share allows."""
    allowed = original.norm() * tolerance
    first = dict(zip(network.bonds, network.ranks, strict=True))
    for divisor in DIVISORS:
        before = network.ranks
        floors = {label: 1 if divisor is None else -(-rank // divisor) for label, rank in first.items()}
        lower = {label: min(rank, floors[label]) for label, rank in zip(network.bonds, before, strict=True)}
        if divisor is not None and tuple(lower.values()) != before:
            fitted = fit_network(original, leading_part(network, lower))
            error = distance(original, fitted)
            if bool(error <= allowed / 2):
                network, spent = fitted, error
        for done, bond in enumerate(network.bonds):
            share = (allowed - spent).clamp_min(0) / (len(before) - done)
            network, error = _truncate_bond(network, bond, share, first[bond], floors[bond], tolerance)
            spent = spent + error
        if network.ranks != before:
            spent = distance(original, network)
        elif divisor is None:
            break
    return network, spent


def _truncate_bond(
    network: TensorNetwork, bond: Label, share: Tensor | None, cap: int, floor: int, tolerance: float | None
) -> tuple[TensorNetwork, Num[Tensor, ""]]:
    holders = [place for place, names in enumerate(network.indices) if bond in names]
    full = network.tensors[holders[0]].shape[network.indices[holders[0]].index(bond)]
    unchanged = network, torch.zeros_like(network.tensors[0].real.flatten()[0])
    if full <= min(floor, cap) or full ** len(holders) > LARGEST_BOND:
        return unchanged
    if len(holders) == 1:  # a sum over one tensor alone
        matrices, error = [network.tensors[0].new_ones(full, 1)], unchanged[1]
    else:
        environment, noise = _environment(network, bond, holders, tolerance)
        found = shrink_bond(environment, share=share, cap=cap, floor=min(floor, cap))
        if found is None:
            return unchanged
        matrices, error = found[0], torch.hypot(found[1], noise)
    tensors = list(network.tensors)
    for place, matrix in zip(holders, matrices, strict=True):
        at = network.indices[place].index(bond)
        tensors[place] = torch.tensordot(matrix, tensors[place], dims=([0], [at])).movedim(0, at)
    return type(network)(tuple(tensors), network.indices, network.output), error


def _environment(
    network: TensorNetwork, bond: Label, holders: Sequence[int], tolerance: float | None
) -> tuple[Num[Tensor, "rank ..."], Num[Tensor, ""]]:
    """The network with the bond open at each holder (rank, r, .., r), see `_bond_truncation`, and its rounding."""
    ends: list[Label] = [("end", place) for place in holders]
    modes: list[Label] = [("mode", label) for label in network.modes]
    indices: list[list[Label]] = [
        [("end", place) if label == bond else ("mode" if label in network.modes else "bond", label) for label in names]
        for place, names in enumerate(network.indices)
    ]
    triangle = network_triangle(network.tensors, indices, modes, ends)
    if triangle is not None:
        return triangle, torch.zeros_like(triangle.real.flatten()[0])
    smallest = 4 * torch.finfo(network.dtype).eps ** 0.5
    if tolerance is not None and tolerance < smallest:
        raise InputError(
            f"tolerance: {tolerance:g} was given, but a network of cuts this wide measures its error by squares, which "
            f"show nothing below {smallest:.1e}; take that, or a tensor train or tree"
        )
    conjugate: list[list[Label]] = [
        [label if label in modes else ("conjugate", label) for label in names] for names in indices
    ]
    tensors = [*(tensor.conj() for tensor in network.tensors), *network.tensors]
    gram = contract_network(tensors, [*conjugate, *indices], [*(("conjugate", end) for end in ends), *ends])
    sizes = gram.shape[len(ends) :]
    values, vectors = torch.linalg.eigh(gram.reshape(sizes.numel(), sizes.numel()))
    root = values.clamp_min(0).sqrt()[:, None] * vectors.mH
    return root.reshape(-1, *sizes), smallest / 4 * network.norm()
