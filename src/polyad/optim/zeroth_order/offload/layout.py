"""Where the tensors of a block lie, in a slot of the device and in host memory.

A block's parameters and buffers lie one after the other, each at a multiple of `ALIGNMENT` bytes: in a slot as they
are, in host memory float32 parameters possibly shorter (the wire's dtype). A block then crosses the link as one copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor, nn

from polyad.errors import InputError

ALIGNMENT = 64
"""Bytes; a multiple of every dtype's size, and what torch's own allocations have."""

WIRES = (torch.float32, torch.bfloat16, torch.float8_e4m3fn)
"""What float32 parameters can be in host memory and on the link."""


@final
@dataclass(frozen=True)
class PlacedTensor:
    """One tensor of a block.

    Args:
        name: in the block.
        shape: of the tensor.
        dtype: on the device.
        place: first byte in a slot.
        host_dtype: in host memory.
        host_place: first byte in host memory.
        parameter: whether it is one; else a buffer.
        trained: whether it is perturbed and updated.
    """

    name: str
    shape: torch.Size
    dtype: torch.dtype
    place: int
    host_dtype: torch.dtype
    host_place: int
    parameter: bool
    trained: bool


@final
@dataclass(frozen=True)
class BlockLayout:
    """The entries of a block, in the order of `named_parameters`, then `named_buffers`, and its bytes."""

    entries: tuple[PlacedTensor, ...]
    device_bytes: int
    host_bytes: int

    def in_slot(self, memory: Tensor) -> dict[str, Tensor]:
        """The tensors as views of a slot's bytes, by name."""
        return {e.name: _view(memory, e.place, e.dtype, e.shape) for e in self.entries}

    def in_host(self, memory: Tensor) -> dict[str, Tensor]:
        """The tensors as views of host bytes, by name, in the dtypes of the host."""
        return {e.name: _view(memory, e.host_place, e.host_dtype, e.shape) for e in self.entries}

    def trained(self, tensors: dict[str, Tensor]) -> list[Tensor]:
        """Those of the tensors that are updated, in order."""
        return [tensors[e.name] for e in self.entries if e.trained]


def layout_of(block: nn.Module, *, wire: torch.dtype = torch.float32) -> BlockLayout:
    """The layout of a block.

    Args:
        block: a module, possibly without parameters.
        wire: dtype of float32 parameters in host memory, one of `WIRES`; other tensors stay as they are.
    """
    entries, place, host_place = [], 0, 0
    named = [(n, t, True) for n, t in block.named_parameters()] + [(n, t, False) for n, t in block.named_buffers()]
    for name, tensor, parameter in named:
        host_dtype = wire if parameter and tensor.dtype == torch.float32 else tensor.dtype
        trained = parameter and tensor.requires_grad
        entries.append(
            PlacedTensor(name, tensor.shape, tensor.dtype, place, host_dtype, host_place, parameter, trained)
        )
        place += _aligned(tensor.numel() * tensor.dtype.itemsize)
        host_place += _aligned(tensor.numel() * host_dtype.itemsize)
    return BlockLayout(tuple(entries), place, host_place)


def check_blocks(blocks: Sequence[Any]) -> None:
    """Refuse blocks that cannot travel, or that would not give what one model in memory gives.

    Raises:
        InputError: no blocks, something that is no module, parameters that are shared between blocks or overlap, that
            are complex or not on the CPU, nothing to train, or dropout that is switched on.
    """
    if not blocks:
        raise InputError("blocks: is empty; give the model's parts in the order in which they are called")
    for number, block in enumerate(blocks):
        if not isinstance(block, nn.Module):
            raise InputError(f"blocks: number {number} is a {type(block).__name__}; give torch modules")
        for name, tensor in [*block.named_parameters(), *block.named_buffers()]:
            if tensor.device.type != "cpu" or tensor.is_complex() or tensor.layout is not torch.strided:
                raise InputError(
                    f"blocks: {name!r} of block {number} is {tensor.dtype} on {tensor.device}; blocks must be real "
                    "dense tensors on the CPU, the trainer brings them to the device"
                )
        for name, part in block.named_modules():
            if isinstance(part, nn.modules.dropout._DropoutNd) and part.training and part.p > 0:
                raise InputError(f"blocks: dropout {name!r} of block {number} is switched on; call .eval() first")
    _check_shared(blocks)
    if not any(p.requires_grad for block in blocks for p in block.parameters()):
        raise InputError("blocks: have no parameter that requires a gradient; there is nothing to train")


def _check_shared(blocks: Sequence[nn.Module]) -> None:
    """Refuse parameters that lie in the same memory, but for one parameter used twice within a block."""
    spans = sorted(
        (p.data_ptr(), p.data_ptr() + _extent(p), number, name)
        for number, block in enumerate(blocks)
        for name, p in block.named_parameters()
        if p.numel()
    )
    for (_, end, one, name), (start, _, other, other_name) in pairwise(spans):
        if start < end:
            raise InputError(
                f"blocks: {name!r} of block {one} and {other_name!r} of block {other} share memory; tied weights "
                "cannot travel: give each block its own copy"
            )


def _extent(tensor: Tensor) -> int:
    """Bytes from a tensor's first element to the end of its last."""
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (reach + 1) * tensor.dtype.itemsize


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _view(memory: Tensor, place: int, dtype: torch.dtype, shape: torch.Size) -> Tensor:
    return memory[place : place + shape.numel() * dtype.itemsize].view(dtype).view(shape)
