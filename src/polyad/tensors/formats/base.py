"""What every tensor format offers: one interface, so that an algorithm need not know which format it was given.

A format is a frozen value that stands for a tensor of order d without holding its entries. Leading dimensions of its
arrays are batch dimensions: they index independent tensors and come first in every result. All operations are
differentiable, keep dtype and device, and leave their operands as they are.

    inner(x, y) = sum conj(x) y          |x| = sqrt(inner(x, x))          (x *_k M)_{..j..} = sum_i M_ji x_{..i..}

Truncation is by orthogonal projections; the sum of the squared norms of what they discard bounds the squared error,
and is reported with the result.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Generic, NamedTuple, TypeVar, final

import torch
from jaxtyping import Int, Num
from torch import Tensor

from polyad.errors import InputError

F = TypeVar("F", bound="TensorFormat")

SEARCHED = "truncate: this format is truncated by a search"


class Storage(NamedTuple):
    """How many numbers a format holds, and how many bytes these take."""

    numbers: int
    bytes: int


@final
@dataclass(frozen=True, eq=False)
class Truncation(Generic[F]):
    """A truncated tensor and the guarantee that comes with it.

    Args:
        value: the tensor of lower rank.
        error: bound on the Frobenius norm of what was lost (absolute, one number a batch entry).
    """

    value: F
    error: Tensor


class TensorFormat(ABC):
    """A tensor of order d in some low-rank format; see the module for the conventions."""

    @property
    @abstractmethod
    def arrays(self) -> tuple[Tensor, ...]:
        """The arrays that hold the format's numbers."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Sizes of the d modes, without batch dimensions."""

    @property
    @abstractmethod
    def batch_shape(self) -> tuple[int, ...]:
        """Sizes of the leading batch dimensions."""

    @property
    @abstractmethod
    def ranks(self) -> tuple[int, ...]:
        """Ranks, in the order that the format's docstring gives."""

    @abstractmethod
    def to_dense(self) -> Num[Tensor, "..."]:
        """All entries: (*batch, *shape)."""

    @abstractmethod
    def entries(self, indices: Int[Tensor, "count order"]) -> Num[Tensor, "... count"]:
        """The entries at these index tuples, one a row, without any other entry being formed."""

    @abstractmethod
    def inner(self: F, other: F) -> Num[Tensor, "..."]:
        """sum conj(self) other over all modes, for two tensors of the same format and shape."""

    @abstractmethod
    def norm(self) -> Num[Tensor, "..."]:
        """Frobenius norm; accurate also where large terms cancel, unless the format's docstring says otherwise."""

    @abstractmethod
    def add(self: F, other: F) -> F:
        """The sum; ranks add. `round` brings them down."""

    @abstractmethod
    def scale(self: F, factor: Num[Tensor, "..."] | complex) -> F:
        """The tensor times a number, or times one number a batch entry."""

    @abstractmethod
    def hadamard(self: F, other: F) -> F:
        """The entrywise product; ranks multiply."""

    @abstractmethod
    def mode_product(self: F, matrix: Num[Tensor, "... rows columns"], mode: int) -> F:
        """Multiply the matrix onto one mode; mode `mode` then has `rows` entries."""

    @abstractmethod
    def squeeze(self: F, modes: Sequence[int]) -> F:
        """Remove modes of size one; at least one mode stays."""

    @abstractmethod
    def orthogonalise(self: F) -> F:
        """The same tensor in the canonical form of its format (see there)."""

    @abstractmethod
    def truncate(self: F, *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None) -> Truncation[F]:
        """The tensor with smaller ranks, and a bound on the error.

        Args:
            tolerance: allowed |self - value| / |self|; the smallest ranks that the format's algorithm finds within it.
            ranks: largest ranks, one for all or one each. With both, ranks win and the bound tells what it cost.
        """

    # ------------------------------------------------------------ the same for every format

    @property
    def order(self) -> int:
        """Number of modes d."""
        return len(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers."""
        return self.arrays[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the numbers lie."""
        return self.arrays[0].device

    @property
    def storage(self) -> Storage:
        """Numbers and bytes held, batch included."""
        return Storage(
            sum(array.numel() for array in self.arrays),
            sum(array.numel() * array.element_size() for array in self.arrays),
        )

    def round(self: F, *, tolerance: float | None = None, ranks: int | Sequence[int] | None = None) -> F:
        """`truncate` without the bound: |self - result| <= tolerance |self| when a tolerance alone is given."""
        return self.truncate(tolerance=tolerance, ranks=ranks).value

    def contract(self: F, vectors: Mapping[int, Num[Tensor, "... size"]]) -> F | Tensor:
        """Sum modes against vectors (not conjugated): mode -> vector. All modes contracted leave a plain tensor."""
        if not vectors:
            return self
        result = self
        for mode, vector in vectors.items():
            result = result.mode_product(vector[..., None, :], mode)
        modes = [check_mode(mode, self.order) for mode in vectors]
        if len(set(modes)) == self.order:
            return result.to_dense().reshape(self.batch_shape)
        return result.squeeze(modes)

    def __add__(self: F, other: F) -> F:
        return self.add(other)

    def __sub__(self: F, other: F) -> F:
        return self.add(other.scale(-1.0))

    def __neg__(self: F) -> F:
        return self.scale(-1.0)

    def __mul__(self: F, other: Any) -> F:
        if isinstance(other, TensorFormat):
            return self.hadamard(other)  # type: ignore[arg-type]
        return self.scale(other)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        batch = f", batch={self.batch_shape}" if self.batch_shape else ""
        name, numbers = type(self).__name__, self.storage.numbers
        return f"{name}(shape={self.shape}, ranks={self.ranks}{batch}, numbers={numbers}, {self.dtype})"


# ---------------------------------------------------------------- checks that all formats share


def check_arrays(arrays: Sequence[Tensor], what: str) -> None:
    """All arrays are floating, of one dtype and device, and there is at least one."""
    if not arrays:
        raise InputError(f"{what}: no arrays were given; give at least one")
    for array in arrays:
        if not isinstance(array, Tensor):
            raise InputError(f"{what}: {type(array).__name__} was given where a torch.Tensor is needed")
        if not (array.is_floating_point() or array.is_complex()):
            raise InputError(f"{what}: dtype {array.dtype} is not a floating or complex type; use .double()")
        if array.dtype != arrays[0].dtype or array.device != arrays[0].device:
            raise InputError(
                f"{what}: {array.dtype} on {array.device} beside {arrays[0].dtype} on {arrays[0].device}; "
                "bring all arrays to one dtype and device"
            )


def check_dense(tensor: Tensor, *, name: str = "tensor", order: int | None = None) -> None:
    """A dense tensor that can be decomposed: floating, finite, not zero, with at least one mode and no empty one."""
    check_arrays([tensor], name)
    if tensor.ndim < 1 or 0 in tensor.shape:
        raise InputError(f"{name}: shape {tuple(tensor.shape)} has no entries along some mode; every size must be >= 1")
    if order is not None and tensor.ndim != order:
        raise InputError(f"{name}: {tensor.ndim} modes were given, {order} are needed")
    largest = torch.linalg.vector_norm(tensor.detach(), float("inf"))  # NaN and Inf come through; one pass, no copy
    if not bool(torch.isfinite(largest)):
        raise InputError(f"{name}: it holds NaN or Inf; remove them, or mark missing entries with a mask")
    if not bool(largest > 0):
        raise InputError(f"{name}: every entry is zero, so no relative tolerance and no rank is defined")


def check_memory(value: TensorFormat) -> None:
    """The dense tensor must fit into this machine's memory."""
    numbers = prod(value.batch_shape) * prod(value.shape)
    needed = numbers * value.arrays[0].element_size()
    if value.device.type == "cpu" and hasattr(os, "sysconf"):
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > there:
            raise InputError(
                f"to_dense: {needed / 1e9:.3g} GB would be needed, the machine has {there / 1e9:.3g}; "
                "ask for entries(), or contract or round first"
            )


def check_mode(mode: int, order: int) -> int:
    """The mode counted from 0; negative ones count from the end."""
    if not -order <= mode < order:
        raise InputError(f"mode: {mode} was given, allowed is {-order}..{order - 1} for a tensor of order {order}")
    return mode % order


def check_matrix(matrix: Tensor, mode: int, shape: tuple[int, ...]) -> int:
    """A matrix that fits a mode; returns the mode counted from 0."""
    mode = check_mode(mode, len(shape))
    if matrix.shape[-1] != shape[mode]:
        raise InputError(f"matrix: it has {matrix.shape[-1]} columns, but mode {mode} has {shape[mode]} entries")
    return mode


def check_squeezed(modes: Sequence[int], shape: tuple[int, ...]) -> list[int]:
    """Modes of size one, sorted, not all of them."""
    found = sorted({check_mode(mode, len(shape)) for mode in modes})
    for mode in found:
        if shape[mode] != 1:
            raise InputError(f"modes: mode {mode} has {shape[mode]} entries; only modes of size 1 can be removed")
    if len(found) == len(shape):
        raise InputError("modes: all modes would go; keep one, or use to_dense()")
    return found


def check_indices(indices: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Index tuples within the shape; negative ones are refused, as they hide mistakes in sampled functions."""
    if indices.ndim != 2 or indices.shape[1] != len(shape):
        raise InputError(f"indices: shape {tuple(indices.shape)} was given, (count, {len(shape)}) is needed")
    limit = torch.tensor(shape, device=indices.device)
    if bool(((indices < 0) | (indices >= limit)).any()):
        raise InputError(f"indices: some lie outside 0..size-1 of shape {shape}")
    return indices


def check_same(one: TensorFormat, other: TensorFormat) -> None:
    """Two tensors of the same format, shape and batch."""
    if type(one) is not type(other):
        raise InputError(f"other: {type(other).__name__} was given beside {type(one).__name__}; convert one of them")
    if one.shape != other.shape or one.batch_shape != other.batch_shape:
        raise InputError(
            f"other: shape {other.shape} (batch {other.batch_shape}) does not match "
            f"{one.shape} (batch {one.batch_shape})"
        )


def check_tolerance(tolerance: float | None, ranks: int | Sequence[int] | None, dtype: torch.dtype) -> None:
    """A tolerance between the rounding unit of the dtype and one, or ranks, or both."""
    if tolerance is None and ranks is None:
        raise InputError("tolerance: neither a tolerance nor ranks were given; give one of them")
    smallest = torch.finfo(dtype).eps
    if tolerance is not None and not smallest <= tolerance < 1:
        raise InputError(
            f"tolerance: {tolerance:g} was given, allowed is {smallest:.2g} <= tolerance < 1 in {dtype} "
            f"(for no visible loss take {100 * smallest:.0e})"
        )


def refuse_gradient(arrays: Sequence[Tensor], what: str) -> None:
    """A search has no derivative: say so rather than return a wrong one."""
    if torch.is_grad_enabled() and any(array.requires_grad for array in arrays):
        raise InputError(f"{what}, which has no gradient; use torch.no_grad(), or detach what you give")


def rank_caps(ranks: int | Sequence[int] | None, largest: Sequence[int]) -> list[int]:
    """One cap a bond: a single number caps all, a sequence must fit `largest` one by one."""
    if ranks is None:
        return list(largest)
    if isinstance(ranks, int):
        caps = [min(ranks, most) for most in largest]
    else:
        caps = [int(rank) for rank in ranks]
        if len(caps) != len(largest):
            raise InputError(f"ranks: {len(caps)} were given, {len(largest)} are needed (or one number for all)")
        for place, (rank, most) in enumerate(zip(caps, largest, strict=True)):
            if rank > most:
                raise InputError(f"ranks: {rank} at place {place}, where {most} is the largest possible")
    if min(caps, default=1) < 1:
        raise InputError(f"ranks: {ranks} was given; every rank must be at least 1")
    return caps
