"""Compression that chooses the format and its ranks, and says why.

Every candidate keeps the tolerance; the one that stores the fewest numbers wins. Tucker comes first: its core stands
for the tensor from there on, so that the others (trains in several mode orders, a balanced tree, CP of growing rank)
work on something small and the tensor itself is read a few times only. Half of the squared tolerance goes to the
core, half to what follows; each train is also tried on the tensor itself where that is small.

When not to use it: where the format is fixed by what comes next; call its own decomposition.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import final

import torch
from jaxtyping import Num
from torch import Tensor

from polyad.errors import InputError
from polyad.tensors.formats.als_ranks import cp_within
from polyad.tensors.formats.base import TensorFormat, check_dense, check_tolerance
from polyad.tensors.formats.cp import CP
from polyad.tensors.formats.hosvd import st_hosvd, tree_svd
from polyad.tensors.formats.mode_order import order_modes
from polyad.tensors.formats.tensor_train import TensorTrain
from polyad.tensors.formats.tree import TreeTensorNetwork
from polyad.tensors.formats.tree_layout import balanced_tree
from polyad.tensors.formats.tt_svd import tt_svd
from polyad.tensors.formats.tucker import Tucker

FORMATS = ("tucker", "train", "tree", "cp")
SMALL = 2_000_000
"""Up to this many entries trains and trees are also found from the tensor itself, with the whole tolerance."""


@final
@dataclass(frozen=True, eq=False)
class Candidate:
    """One format that keeps the tolerance.

    Args:
        name: "tucker", "train", "tree" or "cp".
        value: the compressed tensor; for a train in another order of modes, of the permuted tensor.
        modes: position k of `value` holds mode modes[k] of the tensor.
        error: measured relative error.
        numbers: how many numbers it stores.
    """

    name: str
    value: TensorFormat
    modes: tuple[int, ...]
    error: float
    numbers: int

    def to_dense(self) -> Num[Tensor, "..."]:
        """All entries, the modes in the order of the original tensor."""
        dense = self.value.to_dense()
        return dense.permute([self.modes.index(mode) for mode in range(dense.ndim)])


@final
@dataclass(frozen=True, eq=False)
class Compression:
    """What `compress` chose.

    Args:
        best: the candidate with the fewest numbers.
        candidates: all that keep the tolerance, the smallest first.
        ratio: numbers of the dense tensor / numbers stored.
        reason: why, in words.
    """

    best: Candidate
    candidates: tuple[Candidate, ...]
    ratio: float
    reason: str

    @property
    def value(self) -> TensorFormat:
        """The compressed tensor, its modes in the order `best.modes`."""
        return self.best.value

    def to_dense(self) -> Num[Tensor, "..."]:
        """All entries, the modes in the order of the original tensor."""
        return self.best.to_dense()


def compress(
    tensor: Num[Tensor, "..."],
    *,
    tol: float,
    formats: Sequence[str] = FORMATS,
    reorder: bool = True,
    max_cp_rank: int = 64,
    seconds: float | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Compression:
    """The smallest of several formats that keep |x - value| <= tol |x|; without a gradient.

    Args:
        tensor: dense, finite, not zero, of order >= 2.
        tol: allowed relative error.
        formats: which to try, of "tucker", "train", "tree", "cp".
        reorder: also try trains whose modes are ordered by how much they share.
        max_cp_rank: largest CP rank that is tried.
        seconds: no new candidate is begun after this wall time; the first one is always finished.
        seed: of the CP starts.
        progress: called with candidates done and candidates in all.
    """
    check_dense(tensor)
    check_tolerance(tol, None, tensor.dtype)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats or tensor.ndim < 2:
        raise InputError(f"formats: {list(formats)} for order {tensor.ndim}; allowed are {FORMATS} and order >= 2")
    start = time.perf_counter()
    with torch.no_grad():
        tensor = tensor.detach()
        size = torch.linalg.vector_norm(tensor)
        core = st_hosvd(tensor, tolerance=tol * 0.5**0.5).value
        finders: list[Callable[[], Candidate | None]] = []
        orders = [tuple(range(tensor.ndim))]
        if reorder and tensor.ndim > 3:
            orders = list(dict.fromkeys([*orders, order_modes(core.core)]))
        if "tucker" in formats:
            finders.append(partial(_tucker, tensor, tol, size))
        if "train" in formats:
            finders += [partial(_train, tensor, core, order, tol, size) for order in orders]
        if "tree" in formats and tensor.ndim > 3:
            finders += [partial(_tree, tensor, core, order, tol, size) for order in orders]
        found: list[Candidate] = []
        total = len(finders) + ("cp" in formats)
        for done, finder in enumerate(finders):
            if found and seconds is not None and time.perf_counter() - start > seconds:
                break
            candidate = finder()
            found += [candidate] if candidate is not None else []
            if progress is not None:
                progress(done + 1, total)
        tried = ""
        if "cp" in formats and (seconds is None or not found or time.perf_counter() - start < seconds):
            fewest = min((candidate.numbers for candidate in found), default=tensor.numel())
            candidate, tried = _cp(tensor, tol, size, max_cp_rank, fewest, seed)
            found += [candidate] if candidate is not None else []
            if progress is not None:
                progress(total, total)
    ranked = tuple(sorted((c for c in found if c.error <= tol), key=lambda candidate: candidate.numbers))
    if not ranked:
        raise InputError(f"tol: none of {list(formats)} reaches {tol:g}; allow more formats or a larger max_cp_rank")
    ratio = tensor.numel() / ranked[0].numbers
    return Compression(ranked[0], ranked, ratio, _reason(ranked, tensor, tol, ratio, tried))


def _measured(name: str, value: TensorFormat, tensor: Tensor, size: Tensor, modes: Sequence[int] = ()) -> Candidate:
    modes = tuple(modes) or tuple(range(tensor.ndim))
    gap = torch.linalg.vector_norm(value.to_dense().sub_(tensor.permute(modes)))  # in place: one dense tensor, not two
    return Candidate(name, value, modes, float(gap / size), value.storage.numbers)


def _tucker(tensor: Tensor, tol: float, size: Tensor) -> Candidate:
    return _measured("tucker", st_hosvd(tensor, tolerance=tol).value, tensor, size)


def _train(tensor: Tensor, core: Tucker, modes: tuple[int, ...], tol: float, size: Tensor) -> Candidate:
    if tensor.numel() <= SMALL:
        value = tt_svd(tensor.permute(modes), tolerance=tol).value
    else:
        value = tt_svd(core.core.permute(modes), tolerance=_rest(core, tol, size)).value
        for place, mode in enumerate(modes):
            value = value.mode_product(core.factors[mode], place)
    return _measured("train", value, tensor, size, modes)


def _tree(tensor: Tensor, core: Tucker, modes: tuple[int, ...], tol: float, size: Tensor) -> Candidate:
    tree = balanced_tree(tensor.ndim)
    if tensor.numel() <= SMALL:
        value = tree_svd(tensor.permute(modes), tree, tolerance=tol).value
    else:
        value = tree_svd(core.core.permute(modes), tree, tolerance=_rest(core, tol, size)).value
        for place, mode in enumerate(modes):
            value = value.mode_product(core.factors[mode], place)
    return _measured("tree", value, tensor, size, modes)


def _rest(core: Tucker, tol: float, size: Tensor) -> float:
    """What the core may still lose, relative to itself."""
    held = float(torch.linalg.vector_norm(core.core) / size)
    return max((tol**2 - max(0.0, 1 - held**2)), 0.25 * tol**2) ** 0.5 / held


def _cp(tensor: Tensor, tol: float, size: Tensor, largest: int, fewest: int, seed: int) -> tuple[Candidate | None, str]:
    """The smallest CP rank that keeps the tolerance while it stores fewer numbers than the best so far."""
    per_term = sum(tensor.shape) + 1
    limit = min(largest, prod(tensor.shape) // max(tensor.shape), (fewest - 1) // per_term)
    if limit < 1:
        return None, "a single CP term already stores more"
    fit = cp_within(tensor, tol, max_rank=limit, seed=seed)
    if fit is None:
        return None, f"CP did not reach it up to rank {limit}, where it would store as much"
    return _measured("cp", fit.value, tensor, size), ""


def _reason(ranked: Sequence[Candidate], tensor: Tensor, tol: float, ratio: float, tried: str) -> str:
    best = ranked[0]
    text = (
        f"{_describe(best)} stores {best.numbers:,} numbers, {ratio:.3g} times fewer than the dense "
        f"{tensor.numel():,}, at relative error {best.error:.2e} (allowed {tol:g})"
    )
    others = [f"{_describe(c)} {c.numbers:,}" for c in ranked[1:]]
    text += f"; of the others that keep it, {', '.join(others)}" if others else ""
    text += f"; {tried}" if tried else ""
    if ratio <= 1:
        text += "; nothing is gained: the tensor has no low-rank structure at this tolerance, keep it dense"
    return text


def _describe(candidate: Candidate) -> str:
    kinds = {CP: "CP", Tucker: "Tucker", TensorTrain: "tensor train", TreeTensorNetwork: "tree"}
    name = kinds[type(candidate.value)]
    moved = candidate.modes != tuple(sorted(candidate.modes))
    order = f" in mode order {candidate.modes}" if moved else ""
    return f"{name} of rank {'x'.join(map(str, candidate.value.ranks))}{order}"
