"""The best network of given ranks near a network: alternating least squares over its tensors.

With all tensors but one held, y = A t is linear in the entries t of that one, and t = (A^H A)^+ A^H x, both products
contracted from the two networks without forming A. A label on no other tensor (a plain mode) is a batch of right-hand
sides. Fits all bonds at once, which truncation bond by bond cannot: of two equal summands it keeps one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.contraction import Label, contract_network

if TYPE_CHECKING:
    from polyad.tensors.formats.network import TensorNetwork


def leading_part(network: TensorNetwork, ranks: Mapping[Label, int]) -> TensorNetwork:
    """The first coordinates of every bond: of a sum, its first terms."""
    tensors = [
        tensor[tuple(slice(ranks.get(label)) for label in names)]
        for tensor, names in zip(network.tensors, network.indices, strict=True)
    ]
    return type(network)(tuple(tensors), network.indices, network.modes)


def fit_network(wanted: TensorNetwork, start: TensorNetwork, *, sweeps: int = 30, gain: float = 1e-3) -> TensorNetwork:
    """Sweeps over the tensors of `start` until one lowers the error by less than `gain`; modes have the same labels."""
    tensors = list(start.tensors)
    square = float(wanted.inner(wanted).real)
    error = float("inf")
    for _ in range(sweeps):
        for place in range(len(tensors)):
            tensors[place], explained = _solve(wanted, start.indices, tensors, place)
        before, error = error, max(square - float(explained), 0.0) ** 0.5
        if not error < before * (1 - gain):
            break
    return type(start)(tuple(tensors), start.indices, start.modes)


def fit_dense(
    wanted: TensorNetwork,
    indices: Sequence[Sequence[Label]],
    ranks: Mapping[Label, int],
    *,
    starts: int,
    sweeps: int,
    seed: int,
) -> tuple[TensorNetwork, float]:
    """The best fit on a graph of a network that is one dense tensor, from random starts, and its relative error."""
    (tensor,) = wanted.tensors
    sizes = {**ranks, **dict(zip(wanted.modes, tensor.shape, strict=True))}
    generator = torch.Generator(device=tensor.device).manual_seed(seed)
    best, least = wanted, float("inf")
    for _ in range(starts):
        start = type(wanted).random(indices, sizes, output=wanted.modes, generator=generator, dtype=tensor.dtype)
        found = fit_network(wanted, start, sweeps=sweeps, gain=1e-4)
        gap = torch.linalg.vector_norm(found.to_dense().sub_(tensor))
        error = float(gap / torch.linalg.vector_norm(tensor))
        if error < least:
            best, least = found, error
        if error <= torch.finfo(tensor.dtype).eps ** 0.5:
            break
    return best, least


def fit_within(
    wanted: TensorNetwork,
    indices: Sequence[Sequence[Label]],
    tolerance: float,
    caps: Mapping[Label, int],
    *,
    starts: int,
    sweeps: int,
    seed: int,
) -> TensorNetwork:
    """Fits of growing ranks until one keeps the tolerance with room to spare, or at all; then truncation of the rest.

    A bond grows no further than its largest cap, and all no further than where the network stores as many numbers as
    the tensor.
    """
    (tensor,) = wanted.tensors
    smallest = 4 * torch.finfo(tensor.dtype).eps ** 0.5
    if tolerance < smallest:
        raise InputError(
            f"tolerance: {tolerance:g} was given, but least squares on a graph show nothing below {smallest:.1e}; take "
            "that, or a tensor train or tree"
        )
    rank, tried, least = 1, None, float("inf")
    while True:
        ranks = {label: min(rank, cap) for label, cap in caps.items()}
        if tried is not None and (ranks == tried or _numbers(wanted, indices, ranks) > tensor.numel()):
            limit = "ranks allows no larger ones" if ranks == tried else "larger ones store more than the tensor"
            raise InputError(
                f"tolerance: fits on this graph up to rank {max(tried.values(), default=1)} reach {least:.2g}, not "
                f"{tolerance:g}, and {limit}; allow more of either, or take another graph"
            )
        found, error = fit_dense(wanted, indices, ranks, starts=starts, sweeps=sweeps, seed=seed)
        tried, least = ranks, min(least, error)
        if error <= tolerance:
            break
        rank += 1 + rank // 3
    # what the fit lost and what truncation loses add up at most
    rest = (tolerance - error) / (1 + error)
    return found.truncate(tolerance=rest).value if rest >= smallest else found


def _numbers(wanted: TensorNetwork, indices: Sequence[Sequence[Label]], ranks: Mapping[Label, int]) -> int:
    sizes = {**ranks, **dict(zip(wanted.modes, wanted.shape, strict=True))}
    return sum(prod(sizes[label] for label in labels) for labels in indices)


def _solve(
    wanted: TensorNetwork, indices: Sequence[Sequence[Label]], tensors: list[Tensor], place: int
) -> tuple[Tensor, Num[Tensor, ""]]:
    """The best tensor at this place, and the squared norm that the network then explains."""
    names, modes = indices[place], set(wanted.modes)
    others = [k for k in range(len(tensors)) if k != place]
    elsewhere = {label for k in others for label in indices[k]}
    batch = [label for label in names if label in modes and label in elsewhere]
    bonds = [label for label in names if label not in modes]
    alone = [label for label in names if label in modes and label not in elsewhere]
    conjugates = [tensors[k].conj() for k in others]
    mirrored = [[_mirror(label, modes) for label in indices[k]] for k in others]
    left = [_mirror(label, modes) for label in bonds]
    one = tensors[place].new_ones(())
    sizes = dict(zip(names, tensors[place].shape, strict=True))
    # a bond that stands on this tensor alone is summed there; both sides then lack it
    ones = [(one.expand(sizes[label]), label) for label in bonds if label not in elsewhere]
    extra, extra_names = [vector for vector, _ in ones], [[label] for _, label in ones]
    mirrored_extra = [[_mirror(label, modes)] for _, label in ones]
    gram = contract_network(
        [*conjugates, *extra, *(tensors[k] for k in others), *extra],
        [*mirrored, *mirrored_extra, *(indices[k] for k in others), *extra_names],
        [*batch, *left, *bonds],
    )
    theirs = [[label if label in modes else ("wanted", label) for label in group] for group in wanted.indices]
    right = contract_network(
        [*conjugates, *extra, *wanted.tensors], [*mirrored, *mirrored_extra, *theirs], [*batch, *left, *alone]
    )
    shape = [sizes[label] for label in batch]
    count = int(torch.tensor([sizes[label] for label in bonds]).prod()) if bonds else 1
    right = right.reshape(*shape, count, -1)
    gram = gram.reshape(*shape, count, count)
    inverse = torch.linalg.pinv(gram, hermitian=True, rtol=count * torch.finfo(gram.dtype).eps)
    solution = inverse @ right
    explained = (right.conj() * solution).sum().real
    ordered = [*batch, *bonds, *alone]
    found = solution.reshape([sizes[label] for label in ordered])
    return found.permute([ordered.index(label) for label in names]), explained


def _mirror(label: Label, modes: set[Label]) -> Label:
    return label if label in modes else ("mirror", label)
